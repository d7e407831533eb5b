"""The Docker arm, through docker-py: every option of an environment as a parameter of the Docker Engine API.

The container is created before the gate opens and started after it. It is removed by name at the end instead
of by ``--rm``, so that its logs and its OOM state can be read first. A reaper (``reaper.py``) removes it if the
actor dies. The image's entry point is run, with the engine's argv for its command: what ``docker run IMAGE COMMAND``
does, and the chroot too.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.types import DeviceRequest, Ulimit
from docker.types import Mount as DockerMount

from actors.environments import (
    ContainerEngine,
    EngineGone,
    EngineMissing,
    EnvironmentError_,
    gpu_files,
    gpus,
    ownership,
    refusals,
    resolve,
)
from actors.environments.handover import Handover
from actors.types import Environment, Exit, ImageIdentity, Launch, Mount

REAPER = Path(__file__).with_name("reaper.py")
LABELS = {"campaign": "campaign.id", "run": "campaign.run", "attempt": "campaign.attempt"}
HOME_LABEL, ACTOR_LABEL = "campaign.home", "campaign.actor"
Options = dict[str, dict[str, Any]]
Rlimits = dict[str, tuple[int, int]]
RLIMITS = {
    "Max cpu time": "cpu",
    "Max file size": "fsize",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max core file size": "core",
    "Max resident set": "rss",
    "Max processes": "nproc",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
    "Max address space": "as",
    "Max msgqueue size": "msgqueue",
    "Max pending signals": "sigpending",
}
"""Row of /proc/<pid>/limits to the name in setrlimit(2)."""


def options(spec: Environment, gpu_uuid: str | None = None) -> Options:
    """Key of the environment to the parameters of ``containers.create`` that it sets; only keys that are used.

    One table serves the container, its shell line and the trial that names what a host refuses. ``gpu_uuid``: the
    unit's GPU, which the container gets alone; None is all. Raises OptionRefused for an arm that names another.
    """
    found: Options = {}
    if spec.gpu.by != "none":
        found["gpu"] = _gpu(spec, gpu_uuid)
    if spec.ipc is not None:
        found["ipc"] = {"ipc_mode": spec.ipc}
    for name, value in sorted(spec.ulimits.items()):
        found[f"ulimits.{name}"] = {"ulimits": [Ulimit(name=name, soft=value, hard=value)]}
    chosen = resolve.cpus(spec)
    simple: dict[str, tuple[bool, dict[str, Any]]] = {
        "shm_size": (spec.shm_size is not None, {"shm_size": spec.shm_size}),
        "network": (spec.network is not None, {"network_mode": spec.network}),
        "cpuset": (chosen is not None, {"cpuset_cpus": resolve.format_cpus(chosen or ())}),
        "privileged": (spec.privileged, {"privileged": True}),
        "memory": (spec.memory is not None, {"mem_limit": spec.memory}),
        "cgroup_parent": (spec.cgroup_parent is not None, {"cgroup_parent": spec.cgroup_parent}),
        "seccomp": (spec.seccomp == "unconfined", {"security_opt": ["seccomp=unconfined"]}),
        "init": (spec.init, {"init": True}),
        "user": (spec.user is not None, {"user": spec.user}),
    }
    found |= {key: parameters for key, (used, parameters) in simple.items() if used}
    return found


def _gpu(spec: Environment, gpu_uuid: str | None) -> dict[str, Any]:
    gpus.check(spec, gpu_uuid)
    named = [] if gpus.every_one(spec) else list(spec.gpu.devices)
    if gpu_uuid is not None and not named and not gpus.every_one(spec) and spec.gpu.by != "devices":
        named = [gpu_uuid if spec.gpu.by == "toolkit" else gpus.cdi_name(gpu_uuid, gpu_files.written())]
    if spec.gpu.by == "toolkit":
        which: dict[str, Any] = {"device_ids": named} if named else {"count": -1}
        return {"device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}
    if spec.gpu.by == "cdi":
        return {"device_requests": [DeviceRequest(driver="cdi", device_ids=named or ["nvidia.com/gpu=all"])]}
    return {"devices": [f"{node}:{node}:rwm" for node in named]}


def merge(chosen: Options) -> dict[str, Any]:
    """Parameters of several options as one; lists are joined."""
    merged: dict[str, Any] = {}
    for parameters in chosen.values():
        for name, value in parameters.items():
            merged[name] = merged[name] + value if isinstance(value, list) and name in merged else value
    return merged


def parameters(
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    planned: bool = False,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """All parameters of ``containers.create`` but the image."""
    return {
        **merge(options(spec, gpu_uuid)),
        "command": list(launch.argv),
        "environment": resolve.own_variables(spec, launch, labels, gpu_uuid, in_container=True),
        "working_dir": launch.workdir,
        "mounts": [
            DockerMount(mount.target, mount.source, type="bind", read_only=mount.read_only)
            for mount in resolve.mounts(spec, launch, planned)
        ],
        "labels": {
            **{label: labels[key] for key, label in LABELS.items()},
            HOME_LABEL: str(home.absolute()),
            ACTOR_LABEL: ownership.this_process(),
        },
    }


def shell_line(given: dict[str, Any], image: str, mounts: tuple[Mount, ...], program: str = "docker") -> str:
    """The ``docker run`` that makes the same container."""
    argv = [program, "run", "--rm"]
    for request in given.get("device_requests", ()):
        ids = ",".join(request["DeviceIDs"] or ())
        if request["Driver"] == "cdi":
            argv += [f"--device={device}" for device in request["DeviceIDs"]]
        else:
            argv += ["--gpus", f'"device={ids}"' if ids else "all"]
    argv += [f"--device={device}" for device in given.get("devices", ())]
    flags = {
        "ipc_mode": "--ipc",
        "shm_size": "--shm-size",
        "network_mode": "--network",
        "cpuset_cpus": "--cpuset-cpus",
        "mem_limit": "--memory",
        "cgroup_parent": "--cgroup-parent",
        "user": "--user",
        "working_dir": "--workdir",
    }
    argv += [f"{flag}={given[name]}" for name, flag in flags.items() if name in given]
    argv += [f"--ulimit={limit['Name']}={limit['Soft']}:{limit['Hard']}" for limit in given.get("ulimits", ())]
    argv += [f"--security-opt={option}" for option in given.get("security_opt", ())]
    argv += [f"--{flag}" for flag in ("privileged", "init") if given.get(flag)]
    for mount in mounts:
        argv.append(
            f"--mount=type=bind,source={mount.source},target={mount.target}" + (",readonly" if mount.read_only else "")
        )
    argv += [f"--env={key}={value}" for key, value in given["environment"].items()]
    argv += [f"--label={key}={value}" for key, value in given["labels"].items() if key in LABELS.values()]
    return shlex.join([*argv, image, *given["command"]])


def explain(error: Exception) -> str:
    """The Docker engine's own words."""
    return str(getattr(error, "explanation", None) or error).strip()


GONE = re.compile(
    r"containerd[^\n]*(?:connection refused|no such file|unavailable|closing|not running|EOF)|"
    r"(?:unavailable|connection error|error reading from server)[^\n]*containerd|shim[^\n]*(?:disconnected|ttrpc: "
    r"closed)|"
    r"Cannot connect to the Docker daemon|transport is closing|ttrpc: closed",
    re.IGNORECASE,
)
"""Docker's words when the program behind it has gone."""


def gone(error: Exception) -> bool:
    """Whether the engine, or the containerd behind it, no longer answers."""
    return isinstance(error, requests.ConnectionError | requests.Timeout) or bool(GONE.search(explain(error)))


def _error(error: Exception, text: str) -> EnvironmentError_:
    return EngineGone(text) if gone(error) else EnvironmentError_(text)


class DockerArm:
    """An arm in containers of ``engine``."""

    def __init__(self, spec: Environment, home: Path, gpu_uuid: str | None, engine: ContainerEngine) -> None:
        self.spec = spec
        self.home = home
        self.gpu_uuid = gpu_uuid
        self.engine = engine
        try:
            self.client = engine.connect(home)
        except EngineMissing as error:
            raise EnvironmentError_(f"{spec.name}: {error}") from error

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> DockerProcess:
        """Create the container. Raises EnvironmentError_ with the Docker engine's words."""
        if image is None:
            raise EnvironmentError_(f"{self.spec.name}: an arm in containers of {self.engine.title} needs an image")
        given = parameters(self.spec, launch, labels, image, self.home, gpu_uuid=self.gpu_uuid)
        mounts = resolve.mounts(self.spec, launch)
        reaper = _reaper(self.client, resolve.attempt_key(labels))
        try:
            container = self.client.containers.create(image.digest, **given)
        except (docker.errors.DockerException, requests.RequestException) as error:
            _dismiss(reaper)
            why = refusals.told(explain(error), image.reference)
            raise _error(error, f"{self.spec.name}: {self.engine.title} refuses: {why}") from error
        if reaper is not None and reaper.stdin is not None:
            reaper.stdin.write(container.id.encode() + b"\n")
            reaper.stdin.flush()
        command = _command(self.engine, self.spec, launch, image, given, mounts) | {
            "container_id": container.id,
            "notes": [] if reaper is not None else ["no reaper: this engine's socket speaks TLS"],
        }
        handover = Handover(image.entrypoint, launch.argv)
        return DockerProcess(self.engine, self.client, container.id, image.reference, logs, command, reaper, handover)


def _command(
    engine: ContainerEngine,
    spec: Environment,
    launch: Launch,
    image: ImageIdentity,
    given: dict[str, Any],
    mounts: tuple[Mount, ...],
) -> dict[str, Any]:
    return {
        "environment": spec.name,
        "argv": list(launch.argv),
        "entrypoint": list(image.entrypoint),
        "variables": {"PATH": resolve.DEFAULT_PATH, **image.variables, **given["environment"]},
        "mounts": [mount.model_dump() for mount in mounts],
        "workdir": launch.workdir,
        "user": spec.user or image.user or "0:0",
        "container": _plain(given),
        "image": image.digest,
        "shell": shell_line(given, image.digest, mounts, engine.program),
    }


def planned(
    engine: ContainerEngine,
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """What :meth:`DockerArm.create` would record as its command, without an engine, an image or the mounts' sources."""
    given = parameters(spec, launch, labels, image, home, planned=True, gpu_uuid=gpu_uuid)
    mounts = resolve.mounts(spec, launch, planned=True)
    return _command(engine, spec, launch, image, given, mounts) | {"notes": []}


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters as JSON would have them (docker-py's types are dictionaries)."""
    return {
        name: [dict(entry) if isinstance(entry, dict) else entry for entry in value]
        if isinstance(value, list)
        else value
        for name, value in given.items()
    }


def _reaper(client: docker.DockerClient, key: str) -> subprocess.Popen[bytes] | None:
    base = client.api.base_url
    if base.startswith("http+docker"):
        url = f"unix://{client.api.get_adapter(base).socket_path}"
    elif base.startswith("http://"):
        url = base.replace("http://", "tcp://")
    else:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(REAPER), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=ownership.marks(key),
        start_new_session=True,
    )


def _dismiss(reaper: subprocess.Popen[bytes] | None) -> None:
    if reaper is None or reaper.stdin is None:
        return
    with contextlib.suppress(OSError):
        reaper.stdin.write(b"done\n")
        reaper.stdin.close()
    reaper.wait()  # the launcher: the reaper itself is nobody's child


class DockerProcess:
    """One attempt's container. Its thread sleeps in the Docker engine's wait call: nothing polls."""

    def __init__(
        self,
        engine: ContainerEngine,
        client: docker.DockerClient,
        container: str,
        image: str,
        logs: Path,
        command: dict[str, Any],
        reaper: subprocess.Popen[bytes] | None,
        handover: Handover,
    ) -> None:
        self.pid: int | None = None
        self.cgroup: str | None = None
        self.command = command
        self._engine = engine
        self._api = client.api
        self._container = container
        self._image = image
        self._logs = logs
        self._reaper = reaper
        self._handover = handover
        self._exit: Exit | None = None
        self._ended = threading.Event()
        self._waiter: threading.Thread | None = None
        self._log: Path | None = None
        self._closed = False
        self._lock = threading.Lock()

    def start(self) -> int:
        """Returns the Docker engine's own ``State.StartedAt`` on the monotonic clock. It is taken when ``runc start``
        has returned, some milliseconds after the exec, hence an upper bound,
        and a tighter one than the end of the call."""
        ordered_ns = time.monotonic_ns()
        try:
            self._api.start(self._container)
            returned_ns = time.monotonic_ns()
            inspected = self._api.inspect_container(self._container)
            state = inspected["State"]
        except (docker.errors.DockerException, requests.RequestException) as error:
            why = refusals.told(explain(error), self._image)
            raise _error(error, f"{self._engine.title} does not start the container: {why}") from error
        self._log = Path(inspected["LogPath"]) if inspected.get("LogPath") else None
        if state.get("Pid"):
            self.pid = int(state["Pid"])
            self.cgroup = cgroup_of(self.pid)
        self._waiter = threading.Thread(target=self._wait, name=f"docker {self._container[:12]}", daemon=True)
        self._waiter.start()
        offset_ns = time.time_ns() - time.monotonic_ns()
        started_ns = _epoch_ns(state["StartedAt"]) - offset_ns
        # A Docker engine on another machine, or a clock that was set meanwhile, is no evidence.
        exec_ns = started_ns if ordered_ns <= started_ns <= returned_ns else returned_ns
        if self.pid is not None:
            self._handover.watch(self.pid, exec_ns)
        return exec_ns

    @property
    def entrypoint_s(self) -> float | None:
        return self._handover.seconds

    @property
    def entrypoint_unknown(self) -> str:
        return self._handover.unknown

    def wait(self, timeout_s: float) -> Exit | None:
        self._ended.wait(timeout_s)
        return self._exit

    def output_bytes(self) -> int | None:
        """By the size of the log driver's file: asking the Docker engine would cost
        this arm what the other does not pay."""
        try:
            return self._log.stat().st_size if self._log is not None else None
        except OSError:  # it belongs to root, or the engine is on another machine
            return None

    def stop(self, grace_s: float = 5.0) -> Exit:
        if self._waiter is None:
            return Exit(code=None, detail="it was never started")
        if not self._ended.is_set():
            with contextlib.suppress(docker.errors.NotFound):
                self._call(lambda: self._api.stop(self._container, timeout=max(0, round(grace_s))))
        if not self._ended.wait(30) or self._exit is None:
            raise EnvironmentError_(
                f"container {self._container[:12]} does not end after SIGKILL; see `{self._engine.program} ps`"
            )
        return self._exit

    def close(self) -> None:
        """Whatever is still alive is killed at once (its log would be followed without an end)."""
        with self._lock:
            if self._closed:
                return
            if self._waiter is not None and not self._ended.is_set():
                self.stop(0)
            with contextlib.suppress(docker.errors.NotFound):
                self._call(self._save_logs)
                self._call(lambda: self._api.remove_container(self._container, force=True, v=True))
            if self._waiter is not None:
                self._waiter.join()
            _dismiss(self._reaper)
            self._closed = True

    def _call(self, action: Any) -> None:
        try:
            action()
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise _error(error, f"container {self._container[:12]}: {explain(error)}") from error

    def _save_logs(self) -> None:
        for name in ("stdout", "stderr"):
            chunks = self._api.logs(
                self._container, stdout=name == "stdout", stderr=name == "stderr", timestamps=True, stream=True
            )
            with (self._logs / f"{name}.log").open("wb") as file:
                file.writelines(chunks)

    def _wait(self) -> None:
        try:
            code = int(self._api.wait(self._container, timeout=None)["StatusCode"])
            state = self._api.inspect_container(self._container)["State"]
            self._exit = Exit(
                code=_as_subprocess(code), oom_killed=bool(state.get("OOMKilled")), detail=state.get("Error") or ""
            )
        except docker.errors.NotFound:
            self._exit = Exit(code=-9, detail="the container was removed by somebody else", engine_gone=True)
        except (docker.errors.DockerException, requests.RequestException) as error:
            self._exit = Exit(code=None, detail=f"{self._engine.title} went away: {explain(error)}", engine_gone=True)
        self._handover.end()
        self._ended.set()


def _as_subprocess(code: int) -> int:
    """128 + n from Docker is death by signal n, or an exit code chosen by the program: runc reports both alike.
    Signals that end programs are taken as such."""
    return 128 - code if code in (129, 130, 131, 132, 134, 135, 136, 137, 139, 141, 143) else code


def _epoch_ns(text: str) -> int:
    """``2026-01-31T12:00:00.123456789Z`` to nanoseconds since 1970."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def cgroup_of(pid: int) -> str | None:
    """Path below the mount of the memory controller (v1) or of the unified hierarchy (v2); None if it is ours too."""
    paths = [_cgroup(who) for who in (str(pid), "self")]
    return paths[0] if paths[0] not in (None, "/", paths[1]) else None


def _cgroup(who: str) -> str | None:
    try:
        rows = [line.split(":", 2) for line in Path("/proc", who, "cgroup").read_text().splitlines()]
    except OSError:
        return None
    by_memory = [path for _, controllers, path in rows if "memory" in controllers.split(",")]
    unified = [path for number, _, path in rows if number == "0"]
    return next(iter(by_memory + unified), None)


_known_rlimits: dict[tuple[str, str], Rlimits] = {}
"""By engine and image."""


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


TRIAL_S = 120.0
"""A container that is only asked something, and its entry point, must have ended by then."""


def run_once(client: docker.DockerClient, digest: str, home: Path, **given: Any) -> Ended | str:
    """Run a container to its end and remove it; how it ended, or why it did not run, in the Docker engine's words."""
    container = None
    labels = {HOME_LABEL: str(home.absolute()), ACTOR_LABEL: ownership.this_process()}
    try:
        container = client.containers.create(digest, labels=labels, **given)
        container.start()
        try:
            code = int(container.wait(timeout=TRIAL_S)["StatusCode"])
        except requests.exceptions.Timeout:
            return f"it does not end within {TRIAL_S:g} s"
        except requests.exceptions.ConnectionError as error:
            if "timed out" not in str(error).lower():
                raise
            return f"it does not end within {TRIAL_S:g} s"
        out, err = (
            container.logs(stdout=name == "stdout", stderr=name == "stderr").decode(errors="replace")
            for name in ("stdout", "stderr")
        )
        return Ended(code, out, err)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return explain(error)
    finally:
        if container is not None:
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                container.remove(force=True, v=True)


READERS = (
    ("cat", "/proc/self/limits"),
    ("python3", "-I", "-S", "-c", "print(open('/proc/self/limits').read())"),
    ("sh", "-c", 'while read -r line; do echo "$line"; done </proc/self/limits'),
)
"""Programs of which an image has at least one, if it has any. Its entry point is left out: it may write a banner."""


def container_rlimits(engine: ContainerEngine, digest: str, home: Path) -> Rlimits | str:
    """rlimit name to (soft, hard), -1 unlimited, in a container of that image that asks for none; or why it
    cannot be told. One container is run for it, once."""
    if (engine.name, digest) in _known_rlimits:
        return _known_rlimits[engine.name, digest]
    try:
        client = engine.connect(home)
    except EngineMissing as error:
        return f"no container could be asked for its own ({error})"
    why = []
    for program, *arguments in READERS:
        ended = run_once(client, digest, home, entrypoint=[program], command=arguments, network_mode="none")
        if isinstance(ended, Ended) and (found := read_rlimits(ended.stdout)):
            _known_rlimits[engine.name, digest] = found
            return found
        why.append(ended if isinstance(ended, str) else f"{program} ends with {ended.code}: {ended.stderr[-200:]}")
        if isinstance(ended, str) and not no_such_program(ended):
            break
    return f"no container could be asked for its own ({'; '.join(why)})"


def no_such_program(message: str) -> bool:
    """Whether the Docker engine refuses only because the image lacks the program:
    everything else was granted before."""
    return "executable file not found" in message or bool(re.search(r"exec: .*no such file or directory", message))


def read_rlimits(text: str) -> Rlimits:
    """Of proc_pid_limits(5)."""
    found = {}
    for line in text.splitlines():
        row, *columns = re.split(r"\s{2,}", line.strip())
        if row in RLIMITS and len(columns) >= 2:
            soft, hard = (-1 if value == "unlimited" else int(value) for value in columns[:2])
            found[RLIMITS[row]] = (soft, hard)
    return found
