"""One attempt, from order to evidence: create, gate, start, watch, parse.

Plain functions over the three seams. The GpuActor calls :func:`carry_out` and nothing else happens on the unit
meanwhile, save telemetry. Whatever the environment, the engine or its parser do, an attempt ends with evidence.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shlex
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from actors.canary import probe as canary
from actors.clock import REAL, Clock
from actors.engines import CACHE, OUTPUT, Program
from actors.engines.common.coherence import coherent
from actors.environments import Arm, EngineGone, Process
from actors.files import leavings, removal
from actors.gpu import caches, watchdog
from actors.gpu import gate as gates
from actors.gpu.kernel_log import KernelLog
from actors.types import (
    Attempt,
    Coherence,
    Evidence,
    Exit,
    GateRecord,
    KernelEvent,
    Launch,
    Metric,
    Mount,
    Outcome,
    Report,
    StageTimes,
    TelemetrySummary,
)

POLL_S = 0.5
"""How often an abort is noticed. The process's end is waited for, not polled."""

LOOK_S = 15.0
"""How often the watchdog looks at a running attempt, at most; four times within the time that counts as a stall."""

EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})
"""What the kernel says when the unit has no more of something."""

PARSER_FILE = "parser-traceback.txt"
"""Evidence of a parser that raised."""

ENGINE_STAGES = ("load_s", "warmup_s", "first_token_s", "steady_s")
"""Stages that only the engine can time; it reports them as metrics."""


class TelemetryLink(Protocol):
    """The unit's sampler, as an attempt sees it. Marking never waits."""

    def mark(
        self, run_id: str | None, attempt: int | None, stage: str, pid: int | None, cgroup: str | None
    ) -> None: ...

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary | None: ...


def _asleep_ns() -> int:
    """How long the machine has been suspended since it booted: the boot clock goes on meanwhile and the monotonic one does not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Surroundings:
    """What an attempt uses of the machine itself. A rehearsal hands in its own."""

    clock: Clock = REAL
    cache: Callable[[str, tuple[Path, ...], Event], tuple[str, str | None]] = gates.cache
    canary: Callable[[str, str | None, str | None], Metric] = canary.sing
    asleep_ns: Callable[[], int] = _asleep_ns


class Watch:
    """What an attempt is doing, for ``status`` calls from another thread."""

    def __init__(self) -> None:
        self.order: Attempt | None = None
        self.stage = "idle"
        self.detail = ""
        self.since_utc_ns = time.time_ns()
        self.output: Path | None = None
        self.pid: int | None = None

    def enter(self, stage: str, detail: str = "") -> None:
        if stage != self.stage:
            self.since_utc_ns = time.time_ns()
        self.stage, self.detail = stage, detail


def working_folder(spool: Path, run_id: str, attempt: int) -> Path:
    return spool / "attempts" / run_id / str(attempt)


def carry_out(
    order: Attempt,
    *,
    engine: Program,
    arm: Arm,
    telemetry: TelemetryLink,
    observe: gates.Sensing,
    spool: Path,
    rest_since_ns: int,
    stop: Event,
    watch: Watch,
    cache_variables: dict[str, str] | None = None,
    kernel_log: KernelLog | None = None,
    surroundings: Surroundings = Surroundings(),
) -> Evidence:
    """Carry out ``order`` and return its evidence, whatever happens: errors of the environment and of the engine's parser are
    outcomes. ``cache_variables`` are the engine's own, for where it keeps compiled kernels."""
    clock = surroundings.clock
    began_ns = clock.monotonic_ns()
    started_utc_ns = clock.utc_ns()
    folder = working_folder(spool, order.run_id, order.attempt)
    removal.remove(folder)
    output = folder / "output"
    output.mkdir(parents=True)
    output.chmod(0o777)  # the engine may run as another user
    watch.order, watch.output, watch.pid = order, output, None

    def mark(stage: str, process: Process | None = None) -> None:
        telemetry.mark(
            order.run_id, order.attempt, stage, process.pid if process else None, process.cgroup if process else None
        )

    watch.enter("cooldown")
    mark("cooldown")
    launch = Launch(argv=())
    compiled: Path | None = None
    labels = {"campaign": order.campaign_id, "run": order.run_id, "attempt": str(order.attempt)}
    extra: list[Metric] = []
    process: Process | None = None
    opened: GateRecord | None = None
    exit_: Exit | None = None
    outcome: Outcome = "environment_error"
    failure: str | None = None
    create_s = start_s = gate_to_exec_ms = run_s = teardown_s = exec_utc_ns = paused_s = None
    try:
        compiled = caches.for_attempt(order, spool)
        launch = launch_of(order, engine, output, compiled, cache_variables)
        process = arm.create(launch, labels, folder, order.image)
        create_s = (clock.monotonic_ns() - began_ns) / 1e9

        def on_change(stage: str) -> None:
            if stage in ("cooldown", "gate"):
                mark(stage)
            watch.enter("gate" if stage != "cooldown" else stage, stage)
            if order.canary and stage == "gate" and not extra:  # the gate then waits for what it has stirred up
                extra.append(surroundings.canary("before", observe.gpu_name, observe.gpu_uuid))

        opened = gates.wait(
            order.gate,
            observe,
            rest_since_ns=rest_since_ns,
            reference_gib=order.reference_gib,
            files=tuple(Path(file) for file in order.prepared.files.values()),
            stop=stop,
            on_change=on_change,
            clock=clock,
            prepare_cache=surroundings.cache,
        )
        if stop.is_set():
            outcome, failure = "aborted", "stopped before it started"
        elif not opened.opened:
            outcome, failure = "gate_timeout", "blocked by " + ", ".join(opened.blocked_by)
        else:
            watch.enter("run")
            if kernel_log is not None:
                kernel_log.mark()
            before_ns = clock.monotonic_ns()
            exec_ns = process.start()
            exec_utc_ns = clock.utc_ns() - (clock.monotonic_ns() - exec_ns)
            mark("run", process)
            watch.pid = process.pid
            start_s = (exec_ns - before_ns) / 1e9
            if opened.opened_at_ns is not None:
                gate_to_exec_ms = (exec_ns - opened.opened_at_ns) / 1e6
            asleep_ns = surroundings.asleep_ns()
            exit_, hung, stopped_s = _watch(process, order, observe, output, stop, clock)
            paused_s = stopped_s + max(0, surroundings.asleep_ns() - asleep_ns - 10**7) / 1e9
            ended_ns = clock.monotonic_ns()
            run_s = (ended_ns - exec_ns) / 1e9
            if exit_ is not None and exit_.engine_gone:
                outcome, failure = "infrastructure", exit_.detail
            elif exit_ is not None:
                outcome = "completed" if exit_.code == 0 else "failed"
                failure = None if exit_.code == 0 else _exit_text(exit_)
            elif stop.is_set():
                exit_, outcome, failure = process.stop(), "aborted", "stopped while it ran"
            elif hung is not None:
                exit_, outcome, failure = process.stop(), "hung", f"hung: {hung}"
            else:
                exit_, outcome = process.stop(), "timeout"
                failure = f"still running after {order.workload.timeout_s:g} s"
    except Exception as problem:  # an attempt always ends with evidence
        outcome = "infrastructure" if is_infrastructure(problem) else "environment_error"
        failure = f"{type(problem).__name__}: {problem}"
    telemetry.mark(order.run_id, order.attempt, "idle", None, None)
    watch.enter("evidence")
    summary = telemetry.summary(order.run_id, order.attempt)  # first, so that the samples go to disk beside the rest
    closing_ns = clock.monotonic_ns()
    if process is not None:
        try:
            process.close()
        except Exception as problem:
            failure = f"{failure + '; ' if failure else ''}could not be cleaned up: {problem}"
            outcome = (
                "infrastructure" if is_infrastructure(problem) or outcome == "infrastructure" else "environment_error"
            )
    ended_ns = clock.monotonic_ns()
    if run_s is not None:
        teardown_s = (ended_ns - closing_ns) / 1e9

    leavings.tidy(folder)  # nothing of the engine's is opened before
    if order.canary:
        extra.append(surroundings.canary("after", observe.gpu_name, observe.gpu_uuid))
    report = Report()
    if exit_ is not None:
        try:
            report = loaded(engine.parse(output, order.model, order.workload, order.prepared), exec_utc_ns)
        except Exception as problem:
            (folder / PARSER_FILE).write_text(traceback.format_exc())
            outcome = "parser_error" if outcome == "completed" else outcome
            unread = f"the report could not be read: {type(problem).__name__}: {problem} (see {PARSER_FILE})"
            failure = "; ".join(filter(None, (failure, unread)))
    if outcome == "completed" and report.failure:
        outcome = "failed"
    sense = sense_of(order, engine, output) if order.fills_caches and outcome == "completed" else None
    failure = "; ".join(filter(None, (failure, report.failure))) or None
    if (grown := caches.after(order, compiled)) is not None:
        extra.append(grown)
    engine_times = {metric.name: metric.value for metric in report.metrics if metric.name in ENGINE_STAGES}
    known_s = sum(part or 0.0 for part in (create_s, opened.waited_s if opened else None, start_s, run_s, teardown_s))
    stages = StageTimes(
        gate_s=opened.waited_s if opened else None,
        create_s=create_s,
        start_s=start_s,
        gate_to_exec_ms=gate_to_exec_ms,
        entrypoint_s=process.entrypoint_s if process is not None else None,
        teardown_s=teardown_s,
        harness_s=max(0.0, (clock.monotonic_ns() - began_ns) / 1e9 - known_s),
        **engine_times,
    )
    unknown = {"entrypoint_s": process.entrypoint_unknown} if process is not None else {}
    command: dict[str, Any] = process.command if process is not None else {"argv": list(launch.argv)}
    evidence = Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome=outcome,
        failure=failure,
        exit=exit_,
        report=report,
        gate=opened,
        telemetry=summary,
        stages=stages,
        metrics=(*all_metrics(report, opened, summary, stages, unknown), *extra),
        **kernel(kernel_log, started=run_s is not None),
        coherence=sense,
        paused_s=None if paused_s is None else round(paused_s, 1),
        started_utc_ns=started_utc_ns,
        ended_utc_ns=clock.utc_ns(),
        command=command,
        simulated=order.simulated,
        files={"command.json": _json(command), "command.sh": _script(command, order, compiled), **files_of(folder)},
    )
    watch.order, watch.output, watch.pid = None, None, None
    watch.enter("idle")
    return evidence


def launch_of(
    order: Attempt, engine: Program, output: Path, compiled: Path | None = None, variables: dict[str, str] | None = None
) -> Launch:
    """The engine's launch with the output folder mounted, and the compile caches where it has any."""
    launch = engine.command(order.model, order.workload, order.prepared)
    mounts = [*launch.mounts, Mount(source=str(output), target=OUTPUT, read_only=False)]
    if compiled is None:
        return launch.model_copy(update={"mounts": tuple(mounts)})
    mounts.append(Mount(source=str(compiled), target=CACHE, read_only=False))
    return launch.model_copy(update={"mounts": tuple(mounts), "variables": {**(variables or {}), **launch.variables}})


def _watch(
    process: Process, order: Attempt, observe: gates.Sensing, output: Path, stop: Event, clock: Clock
) -> tuple[Exit | None, str | None, float]:
    """Wait for the end; else why the attempt counts as hung; and the seconds that it was seen stopped. Neither of the first two is a stop of
    ours, or the workload's own time limit."""
    began_ns = clock.monotonic_ns()
    deadline_ns = began_ns + int(order.workload.timeout_s * 1e9)
    look_s = min(LOOK_S, order.watchdog.stall_s / 4, *([] if order.limit_s is None else [order.limit_s / 4]))

    def look() -> watchdog.Signs:
        return watchdog.signs(clock.monotonic_ns(), observe(), output, process.output_bytes(), process.pid)

    progress = watchdog.Progress(
        order.watchdog, watchdog.Signs(began_ns), limit_s=order.limit_s, usual_power_w=order.usual_power_w
    )
    next_look_ns = began_ns + int(look_s * 1e9)
    stopped_s = 0.0
    while not stop.is_set() and (left_ns := deadline_ns - (now_ns := clock.monotonic_ns())) > 0:
        ended = process.wait(max(0.0, min(POLL_S, left_ns / 1e9, (next_look_ns - now_ns) / 1e9)))
        if ended is not None:
            return ended, None, stopped_s
        stopped_s += POLL_S if _is_stopped(process.pid) else 0.0
        if clock.monotonic_ns() >= next_look_ns:
            if (hung := progress.hung(look())) is not None:
                return None, hung, stopped_s
            next_look_ns = clock.monotonic_ns() + int(look_s * 1e9)
    return None, None, stopped_s


def _is_stopped(pid: int | None) -> bool:
    """Whether the process stands still by a signal or a debugger (proc(5), state T or t)."""
    try:
        return pid is not None and Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"T", b"t")
    except OSError:
        return False


def _exit_text(exit_: Exit) -> str:
    if exit_.oom_killed:
        return "out_of_memory: killed by the kernel"
    if exit_.code == -signal.SIGKILL:
        return (
            "killed: ended by SIGKILL, which the campaign did not send. The kernel's OOM killer does: see `journalctl -k`, and free "
            "memory or ask for less"
        )
    return f"exit code {exit_.code}" + (f": {exit_.detail}" if exit_.detail else "")


def loaded(report: Report, exec_utc_ns: int | None) -> Report:
    """The report with ``load_s`` from the engine's exec, where its log says when it was ready: interpreter and imports count."""
    if report.ready_utc_ns is None or exec_utc_ns is None or report.ready_utc_ns < exec_utc_ns:
        return report
    load_s = Metric(
        name="load_s",
        value=(report.ready_utc_ns - exec_utc_ns) / 1e9,
        unit_of_measure="s",
        source="unit: exec until the log says ready",
    )
    return report.model_copy(update={"metrics": (*(m for m in report.metrics if m.name != load_s.name), load_s)})


def all_metrics(
    report: Report,
    opened: GateRecord | None,
    summary: TelemetrySummary | None,
    stages: StageTimes,
    unknown: Mapping[str, str] = {},
) -> tuple[Metric, ...]:
    """Every figure of an attempt under its standard name, each once; what is unknown says why, by stage in ``unknown``."""
    found = {metric.name: metric for metric in report.metrics}

    def add(name: str, value: float | None, unit: str, source: str, reason: str) -> None:
        if name not in found:
            found[name] = Metric(
                name=name, value=value, unit_of_measure=unit, source=source, reason=reason if value is None else None
            )

    for name, value in stages.model_dump().items():
        if name == "gate_s":
            add("gate_wait_s", value, "s", "unit", "the gate was not reached")
        else:
            reason = unknown.get(name) or "the attempt did not get that far"
            add(name, value, "ms" if name.endswith("_ms") else "s", "unit", reason)
    start = opened.model_dump() if opened else {}
    for name, key, unit in (
        ("start_temperature_c", "temperature_c", "°C"),
        ("start_mem_available_gib", "mem_available_gib", "GiB"),
        ("start_mem_free_gib", "mem_free_gib", "GiB"),
        ("start_mem_cached_gib", "mem_cached_gib", "GiB"),
        ("start_swap_used_gib", "swap_used_gib", "GiB"),
        ("start_power_w", "power_w", "W"),
        ("rest_s", "rest_s", "s"),
    ):
        add(name, start.get(key), unit, "gate", "this unit cannot tell" if opened else "the gate was not reached")
    if summary is not None:
        for metric in summary.metrics:
            found.setdefault(metric.name, metric)
    lost = "the sampler was lost during the attempt"
    add("telemetry_coverage_pct", summary.coverage_pct if summary else None, "%", "telemetry", lost)
    add("telemetry_jitter_p99_ms", summary.jitter_p99_ms if summary else None, "ms", "telemetry", lost)
    add("telemetry_cpu_pct", summary.sampler_cpu_pct if summary else None, "%", "telemetry", lost)
    return tuple(found.values())


def is_infrastructure(problem: BaseException) -> bool:
    """Whether the unit is at fault and no run: its container engine is gone, its disk is full, its descriptors are out."""
    return isinstance(problem, EngineGone) or (isinstance(problem, OSError) and problem.errno in EXHAUSTED)


def sense_of(order: Attempt, engine: Program, output: Path) -> Coherence:
    """Whether the answers make sense; kernels for 4-bit weights are known to return garbage in silence."""
    if order.model.random_weights is not None:
        return Coherence(checked=False, why="random weights say nothing that makes sense")
    texts = engine.texts(output)
    if texts is None:
        return Coherence(checked=False, why=f"{order.engine} keeps no text of a {order.workload.kind} workload")
    return Coherence(checked=True, why=coherent(texts))


def kernel(log: KernelLog | None, started: bool) -> dict[str, Any]:
    """What the kernel said since the engine started, as fields of the evidence."""
    if log is None or log.unavailable is not None or not started:
        return {"kernel_unavailable": log.unavailable if log else "nobody listens on this unit"}
    told = tuple(
        KernelEvent(kind=one.kind, text=one.text, what=one.what, process=one.process, pid=one.pid)
        for one in log.since_mark()
    )
    return {"kernel": told, "kernel_unavailable": log.missed}


def files_of(folder: Path) -> dict[str, bytes]:
    """The attempt's files by name. ``requests.jsonl`` stays behind once it became ``requests.parquet``."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.is_symlink():
            continue
        if name in ("output/requests.jsonl", "output/progress.json") and (folder / "requests.parquet").exists():
            continue
        files[name] = path.read_bytes()
    return files


def salvage(order: Attempt, spool: Path) -> Evidence:
    """Evidence of an attempt that a crash interrupted: whatever it left."""
    folder = working_folder(spool, order.run_id, order.attempt)
    now = time.time_ns()
    if folder.exists():
        leavings.tidy(folder)
    return Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome="interrupted",
        failure="the campaign was interrupted while this attempt ran",
        started_utc_ns=int(folder.stat().st_ctime_ns) if folder.exists() else now,
        ended_utc_ns=now,
        simulated=order.simulated,
        files=files_of(folder) if folder.exists() else {},
    )


def discard(spool: Path, run_id: str, attempt: int) -> None:
    """Forget an attempt's working folder once the driver has it."""
    with contextlib.suppress(OSError):
        removal.remove(working_folder(spool, run_id, attempt))
    with contextlib.suppress(OSError):  # another attempt of the run may still be there
        (spool / "attempts" / run_id).rmdir()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, default=str).encode() + b"\n"


def _script(command: dict[str, Any], order: Attempt, compiled: Path | None) -> bytes:
    """The command as it may be pasted; what the attempt worked on and took away again is made first."""
    lines = ["#!/bin/sh", "# The attempt's command, to be pasted."]
    if compiled is not None and order.caches is not None and not order.fills_caches:
        lines.append(f"mkdir -p {shlex.quote(str(compiled.parent))} && rm -rf {shlex.quote(str(compiled))}")
        lines.append(f"cp -a --reflink=auto {shlex.quote(order.caches)} {shlex.quote(str(compiled))}")
    if (
        output := next((mount["source"] for mount in command.get("mounts", ()) if mount["target"] == OUTPUT), None)
    ) is not None:
        lines.append(f"mkdir -p {shlex.quote(output)} && chmod 777 {shlex.quote(output)}")
    return "\n".join([*lines, str(command.get("shell", "")), ""]).encode()
