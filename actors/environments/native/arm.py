"""Native arms: ``native-chroot`` and ``native-host``.

native-chroot runs the engine in a chroot of the exported root filesystem of the very image that the Docker arm
runs, with the same entry point, argv, mounts, variables, user, affinity and rlimits. The root filesystem is read-only,
since all attempts share it; ``/tmp``, ``/var/tmp``, ``/run`` and the user's home are fresh folders on disk for each
attempt, ``/dev/shm`` a fresh tmpfs, and ``/proc``, ``/sys``, ``/dev`` the host's.
All of it lives in a mount namespace of the attempt.

native-host runs the engine on the host's userland without any privilege and therefore without mounts: in argv,
variables and working folder every mount target is replaced by its source.

The process tree and who watches whom: ``supervisor.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import resource
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from actors import processes
from actors.environments import EnvironmentError_, OptionRefused, gpu_files, gpus, ownership, resolve
from actors.environments.docker.rlimits import Rlimits, container_rlimits
from actors.environments.handover import Handover
from actors.environments.native import cuda_compat, linker
from actors.environments.native.supervisor import inside
from actors.files.removal import remove
from actors.types import Environment, Exit, ImageIdentity, Launch, Mount

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LARGEST_HOME = 64 * 2**20
"""Bytes of the image's home folder that are copied for each attempt; a larger one is seen read-only."""
_attempts = itertools.count()


class NativeArm:
    def __init__(self, spec: Environment, home: Path, gpu_uuid: str | None = None, *, chroot: bool) -> None:
        self.spec = spec
        self.home = home
        self.gpu_uuid = gpu_uuid
        self.chroot = chroot

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> NativeProcess:
        """Start the supervisor and the engine's process, which waits confined for :meth:`NativeProcess.start`."""
        spec = self.spec
        chroot = self.chroot
        if chroot and (image is None or image.rootfs is None or not Path(image.rootfs).is_dir()):
            raise EnvironmentError_(f"{spec.name}: native-chroot needs an image whose root filesystem is exported")
        root = image.rootfs if chroot and image else None
        asked = spec.user or (image.user if chroot and image else "")
        who = resolve.user(asked, root or "/") if asked or chroot else _myself()
        mounts = resolve.mounts(spec, launch)
        gpus.check(spec, self.gpu_uuid)
        own = resolve.own_variables(spec, launch, labels, self.gpu_uuid, in_container=False)
        argv, workdir = launch.argv, launch.workdir
        if chroot and image:
            variables = resolve.chroot_variables(image, who, own)
        else:
            variables = {key: _on_host(value, mounts) for key, value in resolve.host_variables(who, own).items()}
            argv = tuple(_on_host(text, mounts) for text in argv)
            workdir = _on_host(workdir, mounts)
        copied, notes = self._container_rlimits(image)
        explicit: Rlimits = {name: (value, value) for name, value in spec.ulimits.items()}
        scratch = self.home.absolute() / "scratch" / f"{ownership.this_process()}_{next(_attempts)}"
        try:
            gpu = _driver_files(spec, root, self.home, notes) if root else ()
            mounted = _chroot_mounts(root, who, (*gpu, *mounts), scratch, notes) if root else []
            return NativeProcess(
                order={
                    "argv": list(argv),
                    "entrypoint": list(image.entrypoint) if chroot and image else [],
                    "variables": variables,
                    "workdir": workdir,
                    "root": root,
                    "mounts": mounted,
                    "user": (who.uid, who.gid, who.groups) if asked or chroot else None,
                    "cpus": resolve.cpus(spec),
                    "rlimits": [
                        {"name": name, "soft": soft, "hard": hard, "explicit": name in explicit}
                        for name, (soft, hard) in {**copied, **explicit}.items()
                    ],
                    "stdout": str(logs.absolute() / "stdout.log"),
                    "stderr": str(logs.absolute() / "stderr.log"),
                },
                environment=spec.name,
                mounts=mounts,
                labels=labels,
                scratch=scratch,
                notes=notes,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                remove(scratch)
            raise

    def _container_rlimits(self, image: ImageIdentity | None) -> tuple[Rlimits, list[str]]:
        """The rlimits that a container of the image has, so that this arm can have the same."""
        from actors.environments.registry import engine_called

        if image is None:
            return {}, ["rlimits as the harness has them: there is no container arm to copy"]
        limits = container_rlimits(engine_called(image.engine), image.digest, self.home)
        if isinstance(limits, str):
            return {}, [f"rlimits as the harness has them: {limits}"]
        return limits, []


def _command(order: dict[str, Any], environment: str, mounts: tuple[Mount, ...], notes: list[str]) -> dict[str, Any]:
    return {
        "environment": environment,
        "argv": order["argv"],
        "entrypoint": order["entrypoint"],
        "variables": order["variables"],
        "mounts": [mount.model_dump() for mount in mounts],
        "workdir": order["workdir"],
        "user": ":".join(map(str, order["user"][:2])) if order["user"] else f"{os.getuid()}:{os.getgid()}",
        "root": order["root"] or "/",
        "rlimits": {limit["name"]: [limit["soft"], limit["hard"]] for limit in order["rlimits"]},
        "cpus": resolve.format_cpus(order["cpus"]) if order["cpus"] is not None else None,
        "notes": notes,
        "shell": shell_line(order),
    }


def planned(
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """What :meth:`NativeArm.create` would record as its command for a chroot, on a machine that has neither the image
    nor its root filesystem nor the mounts' sources. ``notes`` says what only the unit can tell."""
    root = image.rootfs or ""
    notes = ["rlimits besides those named: as a container of the image has them"]
    asked = spec.user or image.user
    if asked or Path(root, "etc/passwd").is_file():
        who = resolve.user(asked, root)
    else:
        who = resolve.User(0, 0, (0,), "/root")
        notes.append("user and home: root and /root, unless the image says otherwise")
    mounts = resolve.mounts(spec, launch, planned=True)
    gpu: tuple[Mount, ...] = ()
    try:
        gpu = _driver_files(spec, root, home, notes, planned=True)
    except OptionRefused:
        notes.append(
            "mounted besides: the GPU driver's files that `nvidia-ctk cdi generate` names on the unit, "
            "and a linker cache with them"
        )
    scratch = home.absolute() / "scratch" / "ATTEMPT"
    order: dict[str, Any] = {
        "argv": list(launch.argv),
        "entrypoint": list(image.entrypoint),
        "variables": resolve.chroot_variables(
            image, who, resolve.own_variables(spec, launch, labels, gpu_uuid, in_container=False)
        ),
        "workdir": launch.workdir,
        "root": root,
        "mounts": _in_order(
            [*_fixed_mounts(), *_fresh_folders(scratch), _bind(str(scratch / "home"), who.home)], (*gpu, *mounts)
        ),
        "user": (who.uid, who.gid, who.groups),
        "cpus": resolve.cpus(spec),
        "rlimits": [
            {"name": name, "soft": value, "hard": value, "explicit": True} for name, value in spec.ulimits.items()
        ],
    }
    return _command(order, spec.name, mounts, notes)


def _driver_files(
    spec: Environment, root: str, home: Path, notes: list[str], planned: bool = False
) -> tuple[Mount, ...]:
    """In a chroot the devices are there; ``gpu: toolkit`` or ``cdi`` adds the driver's
    files and a linker cache that has them."""
    if spec.gpu.by not in ("toolkit", "cdi"):
        return ()
    found = gpu_files.found()
    notes += found.notes
    if not found.folders:
        return found.mounts
    compat = None
    if found.compat is not None and Path(root).is_dir():
        compat, why = cuda_compat.compat_folder(root, found.compat)
        if compat is not None:
            notes.append(
                f"forward compatibility: {compat} comes before the driver's libraries, as in a container: {why}"
            )
    binds = [_bind(mount.source, mount.target, mount.read_only) for mount in found.mounts]
    file = linker.place(root, binds, list(found.folders), compat, home)
    if not planned and (why := linker.make(root, binds, list(found.folders), compat, file)):
        raise OptionRefused("gpu", f"the linker cache with the driver's libraries cannot be made: {why}")
    return (*found.mounts, Mount(source=str(file), target=linker.CACHE))


def _myself() -> resolve.User:
    home = os.environ.get("HOME", "/")
    return resolve.User(os.getuid(), os.getgid(), tuple(os.getgroups()), home)


def _on_host(text: str, mounts: tuple[Mount, ...]) -> str:
    """``text`` with each mount target that stands in it as a path, or as the beginning of one,
    replaced by its source."""
    targets = {mount.target.rstrip("/"): mount.source for mount in mounts}
    if not targets:
        return text
    longest_first = "|".join(re.escape(target) for target in sorted(targets, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({longest_first})(?![\w.-])", lambda match: targets[match[1]], text)


def _chroot_mounts(
    root: str, who: resolve.User, mounts: tuple[Mount, ...], scratch: Path, notes: list[str]
) -> list[dict[str, Any]]:
    """Everything mounted below the chroot's root, in order; makes the scratch folders."""
    entries = [*_fixed_mounts(), *_fresh_folders(scratch)]
    for entry in _fresh_folders(scratch):
        folder = Path(entry["source"])
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    if who.home != "/":
        original = Path(root, who.home.strip("/"))
        if _bytes_below(original, LARGEST_HOME) > LARGEST_HOME:
            notes.append(
                f"{who.home} of the image is over {LARGEST_HOME >> 20} MiB and read-only; mount what is written"
            )
        else:
            folder = scratch / "home"
            if original.is_dir():
                shutil.copytree(original, folder, symlinks=True)
            else:
                folder.mkdir()
            os.chown(folder, who.uid, who.gid)
            entries.append(_bind(str(folder), who.home))
    return _in_order(entries, mounts)


def _fixed_mounts() -> list[dict[str, Any]]:
    """The kernel's folders, /dev/shm as large as the host's, and the files that Docker too takes from the host."""
    shm = os.statvfs("/dev/shm")
    size = shm.f_blocks * shm.f_frsize
    return [
        *(_bind(path, path) for path in ("/proc", "/sys", "/dev")),
        {"kind": "tmpfs", "source": "tmpfs", "target": "/dev/shm", "read_only": False, "size": size},
        *(_bind(path, path, read_only=True) for path in resolve.HOST_FILES if Path(path).is_file()),
    ]


def _fresh_folders(scratch: Path) -> list[dict[str, Any]]:
    return [_bind(str(scratch / target.strip("/").replace("/", "-")), target) for target in resolve.WRITABLE]


def _in_order(entries: list[dict[str, Any]], mounts: tuple[Mount, ...]) -> list[dict[str, Any]]:
    """One entry for each target; what the engine and the environment mount wins."""
    given = [_bind(mount.source, mount.target, mount.read_only) for mount in mounts]
    by_target = {entry["target"].rstrip("/"): entry for entry in (*entries, *given)}
    return list(by_target.values())


def _bind(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    return {"kind": "bind", "source": source, "target": target, "read_only": read_only}


def _bytes_below(folder: Path, enough: int) -> int:
    total = 0
    for path in folder.rglob("*"):
        total += path.lstat().st_size
        if total > enough:
            break
    return total


class NativeProcess:
    """One native attempt. Its thread sleeps in a read of the supervisor's socket: nothing polls."""

    def __init__(
        self,
        order: dict[str, Any],
        *,
        environment: str,
        mounts: tuple[Mount, ...],
        labels: dict[str, str],
        scratch: Path,
        notes: list[str],
    ) -> None:
        self.pid: int | None = None
        self.supervisor_pid: int | None = None
        self.cgroup: str | None = None
        self.key = resolve.attempt_key(labels)
        self._logs = (Path(order["stdout"]), Path(order["stderr"]))
        self.command = _command(order, environment, mounts, notes)
        self._scratch = scratch
        self._handover = Handover(order["entrypoint"], order["argv"])
        self._exit: Exit | None = None
        self._exec_ns: int | None = None
        self._error: dict[str, Any] = {}
        self._ready, self._executed, self._ended = threading.Event(), threading.Event(), threading.Event()
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=ownership.marks(self.key),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        launcher.wait()  # the supervisor itself is nobody's child
        self._send(order)
        self._reader = threading.Thread(target=self._read, name=f"native {self.key}", daemon=True)
        self._reader.start()
        self._ready.wait()
        if self._error:
            self.close()
            raise OptionRefused(self._error["option"], self._error["error"])
        if self._ended.is_set():
            self.close()
            raise EnvironmentError_(f"{environment}: the supervisor of the engine died while it prepared")

    def start(self) -> int:
        self._send({"go": 1})
        self._executed.wait()
        if self._error:
            first = [*self.command["entrypoint"], *self.command["argv"]][0]
            raise EnvironmentError_(f"cannot start {first}: {self._error['error']}")
        if self._exec_ns is None or self.pid is None:
            raise EnvironmentError_("it was stopped before it started")
        self._handover.watch(self.pid, self._exec_ns)
        return self._exec_ns

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
        return sum(log.stat().st_size for log in self._logs if log.exists())

    def stop(self, grace_s: float = 5.0) -> Exit:
        self._send({"stop": grace_s})
        if not self._ended.wait(grace_s + 30) or self._exit is None:
            raise EnvironmentError_(
                f"process {self.pid} and its children do not end after SIGKILL; see `ps -o pid,wchan`"
            )
        return self._exit

    def close(self) -> None:
        """Whatever is still alive is killed at once; end it with :meth:`stop` to give it time."""
        with contextlib.suppress(OSError):  # closed before, or the supervisor is gone
            self._socket.shutdown(socket.SHUT_WR)
        self._reader.join()
        self._socket.close()
        # Not before the supervisor is gone: its mount namespace lies over these folders.
        self._await_supervisor()
        with contextlib.suppress(OSError):  # what is left is removed by the next reap
            remove(self._scratch)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # the supervisor is gone; the reader finds out and says so

    def _await_supervisor(self) -> None:
        """It ends by itself right after the last message, or has been killed."""
        if self.supervisor_pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(self.supervisor_pid)
            select.select([process], [], [], 30)
            os.close(process)

    def _read(self) -> None:
        ended: dict[str, Any] | None = None
        with self._socket.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "supervisor" in message:
                    self.supervisor_pid = message["supervisor"]
                elif "ready" in message:
                    self.pid = message["pid"]
                    self.command["notes"] += message["notes"]
                    self._ready.set()
                elif "exec_ns" in message:
                    self._exec_ns = message["exec_ns"]
                    self._executed.set()
                elif "error" in message:
                    self._error = message
                elif "exit" in message:
                    ended = message
                    break
        self._handover.end()
        self._exit = _exit(ended) if ended is not None else self._orphaned()
        for event in (self._ended, self._executed, self._ready):
            event.set()

    def _orphaned(self) -> Exit:
        """The supervisor was killed, and the engine with it; the engine's own children are found by their mark."""
        self._await_supervisor()
        left = processes.kill(lambda: ownership.carrying(self.key))
        detail = "the supervisor was killed" + (f"; could not kill {left}" if left else "")
        return Exit(code=-signal.SIGKILL, detail=detail)


def _exit(message: dict[str, Any]) -> Exit:
    details = [message["detail"]] if message["detail"] else []
    if message["left"]:
        details.append(f"processes {message['left']} do not end after SIGKILL")
    code = message["exit"]
    killed = code == -signal.SIGKILL and not message["stopped"] and message["oom_kills"] > 0
    return Exit(code=code, oom_killed=killed, detail="; ".join(details))


# --- the same by hand ----------------------------------------------------------------------------------------------


def shell_line(order: dict[str, Any]) -> str:
    """A line for a root shell that starts the engine as this arm does (util-linux and coreutils)."""
    argv = _tool("prlimit", _differing_rlimits(order["rlimits"]))
    if order["cpus"] is not None:
        argv += _tool("taskset", ["-c", resolve.format_cpus(tuple(order["cpus"]))])
    argv += [_path("env"), "-i", *(f"{key}={value}" for key, value in order["variables"].items())]
    root, who = order["root"], order["user"]
    if root is None:
        if who is not None:
            argv += [_path("setpriv"), f"--reuid={who[0]}", f"--regid={who[1]}", "--clear-groups"]
        return f"(cd {shlex.quote(order['workdir'])} && exec {shlex.join([*argv, *order['argv']])})"
    argv += [_path("unshare"), f"--root={root}", f"--wd={order['workdir']}"]
    argv += [f"--setgid={who[1]}", f"--setuid={who[0]}", *order["entrypoint"], *order["argv"]]
    steps = ["S=$(mktemp -d)", f"mount --rbind {shlex.quote(root)} {shlex.quote(root)}"]
    for entry in order["mounts"]:
        steps += _mount_steps(root, entry)
    steps += [f"mount -o remount,bind,ro {shlex.quote(root)}", f"exec {shlex.join(argv)}"]
    return shlex.join(["unshare", "--mount", "--propagation=private", "sh", "-ec", "; ".join(steps)])


def _mount_steps(root: str, entry: dict[str, Any]) -> list[str]:
    target = shlex.quote(inside(root, entry["target"]))
    if entry["kind"] == "tmpfs":
        return [f"mkdir -p {target}", f"mount -t tmpfs -o mode=1777,size={entry['size']} tmpfs {target}"]
    source = shlex.quote(entry["source"])
    steps = []
    if "/scratch/" in entry["source"] and entry["target"] in resolve.WRITABLE:
        source = f'"$S"/{Path(entry["source"]).name}'
        steps = [f"mkdir -m 1777 {source}"]
    elif "/scratch/" in entry["source"] and Path(entry["source"]).name == "home":
        source = '"$S"/home'
        steps = [f"mkdir -p {target}", f"cp -a {target} {source}"]
    place = Path(entry["source"])
    # What a planned run will mount need not be there yet; its files have a suffix where it is mounted.
    folder = place.is_dir() if place.exists() else not Path(entry["target"]).suffix
    above = shlex.quote(str(Path(inside(root, entry["target"])).parent))
    steps += (
        [f"mkdir -p {target}"] if folder else [f"mkdir -p {above}", f"[ -e {target} ] || touch {target}"]
    )  # a new time would make the file another
    steps += [f"mount --rbind {source} {target}"]
    if entry["read_only"]:
        steps.append(f"mount -o remount,bind,ro {target}")
    return steps


def _differing_rlimits(limits: list[dict[str, Any]]) -> list[str]:
    found = []
    for limit in limits:
        number = getattr(resource, f"RLIMIT_{limit['name'].upper()}", None)
        wanted = (limit["soft"], limit["hard"])
        if number is not None and resource.getrlimit(number) != wanted:
            soft, hard = ("unlimited" if value == -1 else value for value in wanted)
            found.append(f"--{limit['name']}={soft}:{hard}")
    return found


def _tool(name: str, options: list[str]) -> list[str]:
    return [_path(name), *options] if options else []


def _path(name: str) -> str:
    return shutil.which(name) or name
