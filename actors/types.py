"""The data that cross between the driver and a unit.

The only module that both ``campaign`` and ``actors`` import. Everything here is immutable, picklable and
has a JSON form; configuration files are validated straight into the specifications below, so a key
is described in exactly one place. Units stand in the names: ``_s`` seconds, ``_ms`` milliseconds, ``_ns`` nanoseconds,
``_c`` degrees Celsius, ``_gib`` 2**30 bytes, ``_w`` watts. Missing is ``None`` with a reason, never 0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from actors.heat import CEILING_C

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=64)]
Outcome = Literal[
    "completed",
    "failed",
    "timeout",
    "hung",
    "parser_error",
    "infrastructure",
    "aborted",
    "gate_timeout",
    "environment_error",
    "interrupted",
]


class Frozen(BaseModel):
    """Immutable, strict: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- what the user specifies -------------------------------------------------------------------------------


class Mount(Frozen):
    """A host path made visible at the same place in both arms."""

    source: str
    target: str
    read_only: bool = True


class RandomWeights(Frozen):
    """Shape of a decoder-only transformer whose weights are drawn from a seed instead of downloaded."""

    architecture: Literal["llama", "qwen2"] = "llama"
    layers: Annotated[int, Field(ge=1)]
    hidden_size: Annotated[int, Field(ge=32)]
    feed_forward_size: Annotated[int, Field(ge=32)]
    heads: Annotated[int, Field(ge=1)]
    kv_heads: Annotated[int, Field(ge=1)]
    vocabulary: Annotated[int, Field(ge=256)] = 4096
    precision: Literal["f16", "f32", "q8_0", "bf16"] = "f16"
    """``bf16`` for vllm alone, ``q8_0`` for llamacpp alone."""
    seed: int = 1
    """For llamacpp, which writes the weights; vllm's drawn weights are the same at every start."""
    tied_embeddings: bool = False
    """Whether input and output embedding are one matrix (vllm alone)."""
    context_length: Annotated[int, Field(ge=1)] = 32768
    """Longest sequence that the shape claims to take (vllm alone)."""


class Model(Frozen):
    """An entry of ``configs/models.yaml``."""

    name: Name
    description: str = ""
    engines: tuple[str, ...] = Field(min_length=1)
    """Engines able to run it."""
    huggingface_id: str | None = None
    revision: str | None = None
    licence: str | None = None
    gated: bool = False
    parameters: Annotated[int, Field(ge=1)] | None = None
    active_parameters: Annotated[int, Field(ge=1)] | None = None
    dense_parameters: Annotated[int, Field(ge=1)] | None = None
    """Of a mixture of experts, what every token passes: attention and output. The rest are experts."""
    weight_bytes: Annotated[int, Field(ge=1)] | None = None
    kv_bytes_per_token: Annotated[int, Field(ge=1)] | None = None
    layers: Annotated[int, Field(ge=1)] | None = None
    precision: str | None = None
    batch_size: Annotated[int, Field(ge=1)] = 1
    """Sequences decoded together (``max_batch_size``)."""
    max_num_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens the engine may put into one step; None lets the engine's module choose from batch and workload."""
    kv_cache_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the memory that is free at start which the KV cache takes, for engines that size it so."""
    kv_cache_tokens: Annotated[int, Field(ge=1)] | None = None
    """A fixed KV cache instead, which takes the memory at start out of the experiment."""
    backend: str | None = None
    """Variant of the engine: ``pytorch`` (default) or ``tensorrt`` for trtllm."""
    expected_tok_s: tuple[float, float] | None = None
    """Output tokens per second that are plausible at ``batch_size`` on the device the entry was written for (GB10)."""
    engine_options: dict[str, dict[str, Any]] = {}
    """By engine, settings handed over as they are: keys of its YAML file for trtllm, command line options for vllm."""
    random_weights: RandomWeights | None = None
    path: str | None = None
    """Local checkpoint or GGUF file, where the weights are neither random nor downloaded."""


class Workload(Frozen):
    """What is asked of the engine."""

    name: Name
    kind: Literal["throughput", "latency"] = "throughput"
    requests: Annotated[int, Field(ge=1)]
    input_tokens: Annotated[int, Field(ge=1)]
    output_tokens: Annotated[int, Field(ge=1)]
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Requests in flight; ``None`` means the model's batch size."""
    warmup_requests: Annotated[int, Field(ge=0)] = 2
    seed: int = 420
    timeout_s: Annotated[float, Field(gt=0)] = 3600.0


class GpuAccess(Frozen):
    """How a container reaches the GPU. ``devices`` names nodes and read-only mounts by hand,
    where there is no toolkit."""

    by: Literal["none", "toolkit", "cdi", "devices"] = "none"
    devices: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    variables: dict[str, str] = {}


class Image(Frozen):
    """Where a userland comes from. ``local`` is built from this machine's interpreter and packages."""

    source: Literal["local", "registry", "archive"] = "local"
    reference: str | None = None
    """``name:tag`` or ``name@sha256:…`` for a registry, a path for an archive."""


class Environment(Frozen):
    """A treatment arm: image, environment and engine options. Of the options only ``variables``, ``mounts``,
    ``cpuset``, ``ulimits`` apply to the native kinds; the others are namespaces and cgroups,
    which a native arm does not have."""

    name: Name
    description: str = ""
    kind: str
    """One of :mod:`actors.environments.registry`."""
    image: Image | None = None
    """Its own userland; None is the campaign's. Arms of two images are compared as they are:
    with all that is in them."""
    engine_options: dict[str, dict[str, Any]] = {}
    """By engine, options that this arm gives it over those of the model's entry."""
    gpu: GpuAccess = GpuAccess()
    ipc: Literal["host", "private", "shareable", "none"] | None = None
    ulimits: dict[Literal["memlock", "stack", "nofile", "core"], int] = {}
    """Bytes or counts, soft = hard; -1 is unlimited."""
    shm_size: str | None = None
    """Docker notation (``32g``). Inert under ``ipc: host``."""
    network: Literal["bridge", "host", "none"] | None = None
    cpuset: str | None = None
    """CPU list (``0-9``), or ``performance`` / ``efficiency`` resolved on the unit."""
    privileged: bool = False
    memory: str | None = None
    """Memory limit in Docker notation; absent is unlimited."""
    cgroup_parent: str | None = None
    seccomp: Literal["default", "unconfined"] = "default"
    init: bool = False
    user: str | None = None
    cache: Literal["drop", "keep", "warm"] | None = None
    """State of the page cache at the start, where it is a factor of the campaign; None is what the gate says."""
    mounts: tuple[Mount, ...] = ()
    variables: dict[str, str] = {}


class Gate(Frozen):
    """The start state that an attempt waits for."""

    cooldown_s: Annotated[float, Field(ge=0)] = 300.0
    """Least rest since the last attempt ended."""
    ceiling_c: Annotated[float, Field(gt=0)] | None = CEILING_C
    floor_c: float | None = None
    """What a start must be as warm as. Nothing warms the unit: only for one that idles above it."""
    dwell_s: Annotated[float, Field(ge=0)] = 10.0
    """How long the temperature must stay within the band."""
    memory_tolerance_gib: Annotated[float, Field(gt=0)] | None = 2.0
    """MemAvailable may lie this far below its reference (the campaign's first reading on the unit)."""
    idle_power_w: Annotated[float, Field(gt=0)] | None = None
    foreign_gpu_processes: Literal["forbid", "allow"] = "forbid"
    cache: Literal["drop", "keep", "warm"] = "drop"
    poll_s: Annotated[float, Field(gt=0)] = 1.0
    timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    on_timeout: Literal["pause", "skip", "flag"] = "pause"


class Watchdog(Frozen):
    """When an attempt that still runs counts as hung, or as nobody's any more."""

    stall_s: Annotated[float, Field(gt=0)] = 600.0
    """Without new output, without an answered request and without the device computing: hung."""
    factor: Annotated[float, Field(ge=1)] = 3.0
    """How many times as long as expected (the forecast's, the shakedown's,
    then the longest accepted run of the cell) it may take."""
    slack_s: Annotated[float, Field(ge=0)] = 300.0
    """Added to that, so that short runs are not cut off by a slow disk."""
    driver_s: Annotated[float, Field(gt=0)] = 120.0
    """Without a word from the driver (a head that is gone, a cable): the unit ends its engine."""


class Telemetry(Frozen):
    """Sampling of the unit."""

    rate_hz: Annotated[float, Field(gt=0, le=1000)] = 10.0


# --- what an engine and an environment agree on -----------------------------------------------------------


class ImageIdentity(Frozen):
    """A userland that exists on the unit."""

    reference: str
    digest: str
    """Docker image ID (``sha256:…``), or the digest of the exported root filesystem's manifest."""
    variables: dict[str, str] = {}
    workdir: str = "/"
    user: str = ""
    """``Config.User`` of the image; empty is root."""
    entrypoint: tuple[str, ...] = ()
    """``Config.Entrypoint`` of the image: in both arms the engine's argv is handed to it,
    as ``docker run IMAGE COMMAND`` does."""
    rootfs: str | None = None
    """Folder of the exported root filesystem, once there is one."""
    content_digest: str | None = None
    """sha256 over what a local or archived image holds: the same on every unit and after every import, which the image
    ID, having a creation time in it, is not."""
    repo_digest: str | None = None
    """``name@sha256:…`` of an image from a registry."""
    engine: str = "docker"
    """Kind of environment whose container engine holds it."""

    @property
    def userland(self) -> str:
        """What tells whether two attempts ran the same files, also where one of them ran after another import."""
        return self.content_digest or self.digest


class Prepared(Frozen):
    """What an engine's ``prepare`` put in place for one model and workload, on the unit."""

    files: dict[str, str] = {}
    """Role (``weights``, ``dataset``, …) to absolute host path."""
    digests: dict[str, str] = {}
    """Role to sha256."""
    facts: dict[str, float | int | str] = {}
    """Anything worth a line in provenance (parameter count, weight bytes, …).
    ``model_identity`` is what the engine must say it ran."""

    @property
    def model_identity(self) -> str:
        """What the engine was prepared to run and must report. Raises KeyError where its ``prepare`` did not say."""
        return str(self.facts["model_identity"])


class Launch(Frozen):
    """A process to be started: what an engine asks for, the same for every arm. Paths are as seen inside."""

    argv: tuple[str, ...]
    variables: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    workdir: str = "/"


class Exit(Frozen):
    """How a process ended. ``code`` is negative for a signal, as in ``subprocess``."""

    code: int | None
    oom_killed: bool = False
    detail: str = ""
    engine_gone: bool = False
    """The container engine went away meanwhile: how the process ended is not known, or not its own doing."""


class Metric(Frozen):
    """One figure of an attempt. ``value`` is None with a ``reason`` where it could not be measured."""

    name: str
    value: float | None
    unit_of_measure: str
    source: str
    reason: str | None = None


class Report(Frozen):
    """An engine's own report, parsed."""

    metrics: tuple[Metric, ...] = ()
    model_identity: str | None = None
    """The model that the engine says it ran; must equal the one asked for."""
    requests_expected: int = 0
    requests_answered: int = 0
    requests_failed: int = 0
    tokens_expected: int | None = None
    tokens_generated: int | None = None
    failure: str | None = None
    """Named failure (``out_of_memory``, ``report_missing``, …) with its detail, or None."""
    engine_version: str | None = None
    ready_utc_ns: int | None = None
    """When the harness saw the line by which the engine takes requests;
    the attempt counts ``load_s`` from its exec to it."""


# --- what travels between driver and unit --------------------------------------------------------------------


class Attempt(Frozen):
    """One execution of a run, as the driver orders it from a unit."""

    campaign: str
    campaign_id: str
    run_id: str
    attempt: Annotated[int, Field(ge=1)]
    unit: str
    engine: str
    model: Model
    workload: Workload
    environment: Environment
    gate: Gate
    prepared: Prepared
    image: ImageIdentity | None
    reference_gib: float | None = None
    """MemAvailable that the gate asks for again; None before the unit's first attempt."""
    canary: bool = False
    """A fixed probe of the machine's speed before and after."""
    watchdog: Watchdog = Watchdog()
    limit_s: float | None = None
    """Seconds after which a run of this cell counts as hung, from what is known of it;
    None where only ``timeout_s`` holds."""
    usual_power_w: float | None = None
    """Mean GPU power of the cell's earlier runs: a device that draws less than half of it is not computing,
    whatever its utilisation."""
    caches: str | None = None
    """Host folder of the engine's compile caches. A measured attempt works on a copy of it."""
    fills_caches: bool = False
    """This attempt is unmeasured and writes to ``caches`` itself."""
    gpu_uuid: str | None = None
    """The unit's GPU."""
    simulated: bool = False

    @property
    def key(self) -> str:
        return f"{self.run_id}/{self.attempt}"


class GateRecord(Frozen):
    """How the gate opened, or did not."""

    opened: bool
    waited_s: float
    rest_s: float | None
    """Seconds since the previous attempt on the unit ended; None for the first."""
    blocked_by: tuple[str, ...] = ()
    """Conditions that held it, in order of first blocking; on timeout those still unmet."""
    unavailable: tuple[str, ...] = ()
    """Conditions that this host cannot show (no temperature sensor, no permission to drop caches …)."""
    opened_at_ns: int | None = None
    """Monotonic clock of the unit."""
    temperature_c: float | None = None
    mem_available_gib: float | None = None
    mem_free_gib: float | None = None
    mem_cached_gib: float | None = None
    swap_used_gib: float | None = None
    power_w: float | None = None
    cache_action: str = "keep"
    """``dropped``, ``evicted`` (posix_fadvise), ``kept``, ``warmed``."""
    flagged: bool = False
    """It did not open in time and the campaign says go on."""


class TelemetrySummary(Frozen):
    """What the sampler says of itself and of the unit over the ``run`` stage of one attempt."""

    samples_expected: int
    samples: int
    coverage_pct: float
    duration_s: float | None = None
    """How long the stage lasted."""
    jitter_p50_ms: float | None
    jitter_p99_ms: float | None
    longest_gap_ms: float | None
    sampler_cpu_pct: float | None
    """CPU time of the sampling thread, percent of one core."""
    throttle_reasons: int | None = None
    """OR of the sampled NVML bitmask; None where the device does not tell."""
    throttled_us: dict[str, int] = {}
    """Increase of the cumulative counters by reason, microseconds."""
    foreign_gpu_pids: tuple[int, ...] = ()
    metrics: tuple[Metric, ...] = ()
    """Mean power, energy, peak memory … over the run."""
    unsupported: dict[str, str] = {}
    """Sample field to the reason why this unit cannot give it."""


class StageTimes(Frozen):
    """Seconds by stage; None where the environment or the engine cannot tell."""

    gate_s: float | None = None
    create_s: float | None = None
    start_s: float | None = None
    """From the order to start until the engine's exec."""
    gate_to_exec_ms: float | None = None
    entrypoint_s: float | None = None
    """From the entry point's exec until it has handed over to the engine; None where the image has none."""
    load_s: float | None = None
    warmup_s: float | None = None
    first_token_s: float | None = None
    steady_s: float | None = None
    teardown_s: float | None = None
    harness_s: float | None = None
    """Time on the unit that is none of the above."""


class KernelEvent(Frozen):
    """One message of the kernel that matters to an attempt (``actors.gpu.kernel_log``)."""

    kind: str
    text: str
    what: str = ""
    """The meaning, in words."""
    process: str | None = None
    pid: int | None = None


class Coherence(Frozen):
    """Whether an unmeasured attempt's answers are language at all."""

    checked: bool
    why: str | None = None
    """What is wrong with them; or, where nothing was checked, why."""


class Evidence(Frozen):
    """Everything a unit says about one attempt. ``files`` and ``large`` are the attempt's folder, by name."""

    run_id: str
    attempt: int
    unit: str
    outcome: Outcome
    failure: str | None = None
    exit: Exit | None = None
    report: Report = Report()
    gate: GateRecord | None = None
    telemetry: TelemetrySummary | None = None
    stages: StageTimes = StageTimes()
    metrics: tuple[Metric, ...] = ()
    """All figures of the attempt: the engine's, the telemetry's and the stages'."""
    kernel: tuple[KernelEvent, ...] = ()
    """What the kernel said of the GPU, memory and heat from the gate's opening to the end."""
    kernel_unavailable: str | None = None
    """Why its log could not be read, or not all of it."""
    paused_s: float | None = None
    """How long the engine stood still by no fault of its own while it ran: stopped by a signal,
    or the machine suspended."""
    coherence: Coherence | None = None
    """Of the shakedown's attempts that ended well."""
    started_utc_ns: int = 0
    ended_utc_ns: int = 0
    simulated: bool = False
    files: dict[str, bytes] = {}
    large: dict[str, int] = {}
    """Further files, too large to travel together, and their bytes: the driver fetches them one after another."""


class Status(Frozen):
    """What a unit is doing now; answered while an attempt runs."""

    unit: str
    run_id: str | None = None
    attempt: int | None = None
    stage: str = "idle"
    since_utc_ns: int = 0
    detail: str = ""
    temperature_c: float | None = None
    progress: float | None = None
    """Answered requests over expected ones."""
    throughput_tok_s: float | None = None
    pid: int | None = None


class UnitFacts(Frozen):
    """What a unit is, recorded before the first run."""

    unit: str
    hostname: str = ""
    """Empty: it would be published, and names somebody's machine. Old results have it."""
    machine: str
    gpu: str
    """GPU name, or ``none``."""
    cpus: int
    mem_total_gib: float
    code_digest: str
    details: dict[str, Any] = {}
    """Kernel, driver, CPU model, sensors and what they cannot give, versions."""
    images: dict[str, ImageIdentity] = {}
    """``image`` is the campaign's; an arm's own stands by its source (:mod:`actors.environments.software`)."""
    prepared: dict[str, Prepared] = {}
    """``<model>/<workload>`` to what was put in place, with ``@<variant>`` for arms with software of their own."""
    unprepared: dict[str, str] = {}
    """The same to why it cannot run and what to do, where the engine refuses it."""
    caches: dict[str, str] = {}
    """``<model>``, or ``<model>@<variant>``, to the host folder of its compile caches on this unit; empty where the
    engine compiles nothing."""
    gpu_uuid: str | None = None
    conditions: dict[str, str] = {}
    """Versions, firmware, locks and limits that must not change in silence (``actors.gpu.machine``)."""
    refused_options: dict[str, str] = {}
    """Environment name to the option this host forbids and why."""
    simulated: bool = False
