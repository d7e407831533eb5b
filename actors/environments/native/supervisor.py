"""Starts and watches one native engine process. A program of its own, run as ``python -I -S supervisor.py FD``.

The chain is ``actor -> supervisor -> engine``. The supervisor exists so that a native attempt has what a container
has: nothing of it outlives it, whoever is killed, and nothing has to be done between the gate and the engine's exec.

* It is its own session and a *child subreaper*: whatever the engine starts, also what daemonises, stays below it, and
  ``waitpid`` answering ECHILD proves that nothing is left.
* It holds one end of a socket whose other end only the actor holds. End of file means that the actor is
  gone, even by ``kill -9`` (PR_SET_PDEATHSIG would not do: it fires when the *thread* that forked ends).
* The engine has PR_SET_PDEATHSIG towards the supervisor, which has one thread only.
* For a chroot it unshares a mount namespace, so the kernel undoes the mounts when the last process is gone.
* The engine's process is forked, confined and waiting before the gate opens; ``go`` is one byte and one exec.

Standard library only, and little of it: it must start in some milliseconds. It imports nothing of this project.

Protocol: JSON lines over the socket at FD. In: the order (see ``native.py``), then ``{"go": 1}``, ``{"stop":
grace_s}``. Out: ``{"supervisor": pid}``, ``{"ready": 1, "pid": …, "notes": […]}``, ``{"exec_ns": …}`` (CLOCK_MONOTONIC,
just before exec), ``{"exit": code, …}``, or ``{"error": text, "option": name}`` and the end.
"""

# ruff: noqa: PTH103, PTH110, PTH112, PTH113, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, SIM105
# pathlib and contextlib would double the time to start.

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing costs as much as starting Python
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV = 2, 4
CPUS = 4096
"""More CPU numbers than any machine has: the kernel keeps those that exist."""

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """This host does not permit something. ``option`` names the key of the environment that asked for it."""

    def __init__(self, option: str, why: str):
        super().__init__(why)
        self.option = option


# --- mounts ----------------------------------------------------------------------------------------------------


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encode = [None if text is None else text.encode() for text in (source, target, kind, data)]
    if libc.mount(encode[0], encode[1], encode[2], ctypes.c_ulong(flags), encode[3]) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {source} on {target}: {os.strerror(code)}")


def inside(root: str, path: str) -> str:
    """Where ``path`` lies when ``root`` is /, symbolic links resolved as a process in the chroot would."""
    found: list[str] = []
    todo = [part for part in path.split("/") if part]
    links = 0
    while todo:
        part = todo.pop(0)
        if part in (".", ".."):
            found = found[:-1] if part == ".." else found
            continue
        here = "/".join([root, *found, part])
        if os.path.islink(here):
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, f"too many symbolic links in {path}")
            to = os.readlink(here)
            found = [] if to.startswith("/") else found
            todo = [step for step in to.split("/") if step] + todo
        else:
            found.append(part)
    return "/".join([root, *found])


def mount_point(path: str, like: str) -> None:
    """Make an empty folder, or an empty file where the source is not a folder, as Docker does."""
    if os.path.exists(path):
        return
    if os.path.isdir(like):
        os.makedirs(path)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def build_root(root: str, mounts: list[dict[str, Any]]) -> None:
    """Mount everything in a namespace of our own. The root filesystem ends read-only: it is shared by all
    attempts and must stay what its digest says."""
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Refused(
            "kind",
            f"unshare(CLONE_NEWNS): {os.strerror(ctypes.get_errno())}. native-chroot needs CAP_SYS_ADMIN: run as root "
            "(sudo make campaign)",
        )
    # Without this the mounts below would appear on the host: nothing may go on if it fails.
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND | MS_REC)
    for entry in mounts:
        source, target = entry["source"], inside(root, entry["target"])
        try:
            if entry["kind"] == "tmpfs":
                mount_point(target, "/")
                mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={entry['size']}")
                continue
            if not os.path.exists(source):
                raise OSError(errno.ENOENT, f"{source} does not exist")
            mount_point(target, source)
            mount(source, target, None, MS_BIND | MS_REC)
            if entry["read_only"]:
                mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        except OSError as error:
            raise Refused("mounts", f"cannot mount {source} at {entry['target']}: {error}") from error
    mount("none", root, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


# --- the engine's process ----------------------------------------------------------------------------------------


def find_program(program: str, variables: dict[str, str], workdir: str) -> str:
    """``execvp``'s search, done before the gate; called where / is the engine's root."""
    candidates = (
        [os.path.join(workdir, program)]
        if "/" in program
        else [os.path.join(folder, program) for folder in variables.get("PATH", "").split(":") if folder]
    )
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise Refused("argv", f"no program {program!r} in this userland (looked at {', '.join(candidates)})")


def set_rlimits(limits: list[dict[str, Any]]) -> list[str]:
    """Explicit limits must hold; limits copied from a container are lowered to what this process may have, and
    the difference is said."""
    notes = []
    for limit in limits:
        number = getattr(resource, "RLIMIT_" + limit["name"].upper(), None)
        if number is None:
            continue
        wanted = (limit["soft"], limit["hard"])
        try:
            resource.setrlimit(number, wanted)
        except (ValueError, OSError) as error:
            own = resource.getrlimit(number)
            if limit["explicit"]:
                raise Refused(
                    "ulimits." + limit["name"],
                    f"setrlimit {limit['name']}={wanted[0]}: {error}; the hard limit here is {own[1]}, and raising it "
                    "needs CAP_SYS_RESOURCE",
                ) from error
            soft, hard = (own[1] if want == -1 or -1 < own[1] < want else want for want in wanted)
            capped = (soft, hard)
            resource.setrlimit(number, capped)
            notes.append(
                f"rlimit {limit['name']}: {capped[0]}:{capped[1]} here, {wanted[0]}:{wanted[1]} in a container"
            )
    return notes


def set_cpus(cpus: list[int] | None) -> None:
    """All that exist, whatever the actor is confined to, or exactly those asked for."""
    if cpus is None:
        os.sched_setaffinity(0, range(CPUS))
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:  # none of them exists
        raise Refused("cpuset", f"CPUs {cpus}: {error.strerror}") from error
    if os.sched_getaffinity(0) != set(cpus):
        raise Refused("cpuset", f"CPUs {cpus} asked for, only {sorted(os.sched_getaffinity(0))} of them can be had")


def become_plain() -> list[str]:
    """Take off what the engine would inherit from the actor and a container does not have: niceness,
    OOM score, ignored and blocked signals, umask."""
    notes = []
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError as error:
        notes.append(f"niceness {os.getpriority(os.PRIO_PROCESS, 0)}, as the harness has it: {error.strerror}")
    try:
        write("/proc/self/oom_score_adj", "0")
    except OSError as error:
        notes.append(f"OOM score as the harness has it: {error.strerror}")
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    return notes


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def engine_process(order: dict[str, Any], parent: int, out: int, err: int, go: int, status: int) -> None:
    """In the forked child: confine, say ready, wait for the byte, exec. Never returns."""
    try:
        os.setsid()
        notes = become_plain()
        set_cpus(order["cpus"])
        notes += set_rlimits(order["rlimits"])
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        if order["root"] is not None:
            os.chroot(order["root"])
        try:
            os.chdir(order["workdir"])
        except OSError as error:
            raise Refused("workdir", f"working folder {order['workdir']}: {error.strerror}") from error
        if order["user"] is not None:
            uid, gid, groups = order["user"]
            try:
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
            except OSError as error:
                raise Refused("user", f"cannot become {uid}:{gid}: {error.strerror}") from error
        command = [*order["entrypoint"], *order["argv"]]
        program = find_program(command[0], order["variables"], order["workdir"])
        # After setuid, which clears it. The parent may have died in between.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        os.write(status, json.dumps({"ready": 1, "notes": notes}).encode() + b"\n")
        if os.read(go, 1) != b"g":
            os._exit(1)
        os.write(status, b'{"exec_ns": %d}\n' % time.monotonic_ns())
        os.execve(program, command, order["variables"])
    except BaseException as error:
        option = error.option if isinstance(error, Refused) else ""
        what = str(error) if isinstance(error, Refused | OSError) else repr(error)
        os.write(status, json.dumps({"error": what, "option": option}).encode() + b"\n")
    finally:
        os._exit(127)


# --- watching ------------------------------------------------------------------------------------------------------


def descendants(root: int) -> list[int]:
    """Every process below ``root``, from one pass over /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def oom_kills() -> int:
    """Processes that the kernel killed for want of memory since boot, whole machine (/proc/vmstat)."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


class Log:
    """A pipe copied to a file, each line with the UTC time at which it was complete, in ``docker logs`` notation."""

    def __init__(self, path: str, pipe: int):
        self.pipe = pipe
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.rest = b""
        self.failure = ""

    def pump(self) -> bool:
        """Copy what is there; False at end of file."""
        try:
            chunk = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        lines = (self.rest + chunk).split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > 1 << 20 or (not chunk and self.rest):
            lines.append(self.rest)
            self.rest = b""
        if lines:
            now = time.time_ns()
            day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
            stamp = f"{day}.{now % 10**9:09d}Z ".encode()
            try:
                os.write(self.file, b"".join(stamp + line + b"\n" for line in lines))
            except OSError as error:  # a full disk must not stop the engine; it is said at the end
                self.failure = f"{error.strerror}: output of the engine was lost"
        return bool(chunk)


class Watch:
    """The supervisor's state while the engine lives."""

    def __init__(self, control: int, order: dict[str, Any]):
        self.control = control
        self.order = order
        self.code: int | None = None
        self.exec_ns: int | None = None
        self.oom_before = oom_kills()
        self.wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        out, out_write = os.pipe2(os.O_CLOEXEC)
        err, err_write = os.pipe2(os.O_CLOEXEC)
        go_read, self.go = os.pipe2(os.O_CLOEXEC)
        self.status, status_write = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.engine = os.fork()
        if self.engine == 0:
            # The child must not hold the ends whose closing tells it, or the actor, that somebody died.
            for fd in (self.go, control):
                os.close(fd)
            signal.set_wakeup_fd(-1)
            engine_process(order, parent, out_write, err_write, go_read, status_write)
        for fd in (out_write, err_write, go_read, status_write):
            os.close(fd)
        for fd in (out, err):
            os.set_blocking(fd, False)
        self.logs = {out: Log(order["stdout"], out), err: Log(order["stderr"], err)}

    def say(self, message: dict[str, Any]) -> None:
        try:
            os.write(self.control, json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the actor is gone; the next read tells

    def reap(self) -> bool:
        """Collect the dead; False when there is no child left, which under a subreaper means no descendant."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.engine:
                self.code = os.waitstatus_to_exitcode(status)

    def kill_all(self) -> list[int]:
        """SIGKILL everything below, until nothing is left. Returns what could not be killed within 20 s
        (uninterruptible sleep in a driver)."""
        deadline = time.monotonic() + 20
        while self.reap():
            for pid in descendants(os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                return descendants(os.getpid())
            time.sleep(0.001)
        return []

    def run(self) -> None:
        poller = select.poll()
        for fd in (self.control, self.wake, self.status, *self.logs):
            poller.register(fd, select.POLLIN)
        deadline: float | None = None
        pending = b""
        while self.code is None and (deadline is None or time.monotonic() < deadline):
            wait_ms = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
            for fd, _ in poller.poll(wait_ms):
                if fd in self.logs:
                    if not self.logs[fd].pump():
                        poller.unregister(fd)
                elif fd == self.wake:
                    os.read(fd, 512)
                    self.reap()
                elif fd == self.status:
                    if not self.relay_status():
                        poller.unregister(fd)
                else:
                    *lines, pending = (pending + self.hear()).split(b"\n")
                    for line in lines:
                        deadline = self.obey(json.loads(line), deadline)
        self.finish(self.kill_all(), stopped=deadline is not None)

    def obey(self, message: dict[str, Any], deadline: float | None) -> float | None:
        """Carry out an order of the actor's; returns until when the engine may take to end, once it was told to."""
        if "go" in message:
            os.write(self.go, b"g")
        elif deadline is None:
            deadline = time.monotonic() + message["stop"]
            self.terminate()
        return deadline

    def hear(self) -> bytes:
        """What the actor says; if it is gone, an order to stop with no grace."""
        try:
            data = os.read(self.control, 65536)
        except ConnectionError:
            data = b""
        return data or b'{"stop": 0}\n'

    def relay_status(self) -> bool:
        """Pass on what the engine's process says before its exec. That the exec succeeded is known when the pipe
        closes with it."""
        text = os.read(self.status, 65536)
        for line in text.splitlines():
            message = json.loads(line)
            if "exec_ns" in message:
                self.exec_ns = message["exec_ns"]
                continue
            if "ready" in message:
                message["pid"] = self.engine
            else:
                self.exec_ns = None
            self.say(message)
        if not text and self.exec_ns is not None:
            self.say({"exec_ns": self.exec_ns})
            self.exec_ns = None
        return bool(text)

    def terminate(self) -> None:
        try:
            os.killpg(self.engine, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def finish(self, left: list[int], stopped: bool) -> None:
        while self.relay_status():
            pass
        for log in self.logs.values():
            if left:
                log.pump()
                continue
            while log.pump():
                pass
        failures = [log.failure for log in self.logs.values() if log.failure]
        self.say(
            {
                "exit": self.code,
                "stopped": stopped,
                "left": left,
                "oom_kills": oom_kills() - self.oom_before,
                "detail": "; ".join(failures),
            }
        )


def read_order(control: int) -> dict[str, Any]:
    text = b""
    while not text.endswith(b"\n"):
        chunk = os.read(control, 1 << 20)
        if not chunk:
            sys.exit(0)
        text += chunk
    order: dict[str, Any] = json.loads(text)
    return order


def main(control: int) -> None:
    # Not a child of the actor: Ray kills the children of a worker that it ends, and would leave the engine's.
    if os.fork():
        os._exit(0)
    os.set_inheritable(control, False)
    os.write(control, b'{"supervisor": %d}\n' % os.getpid())
    order = read_order(control)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        if order["root"] is not None:
            build_root(order["root"], order["mounts"])
        watch = Watch(control, order)
    except (Refused, OSError) as error:
        option = error.option if isinstance(error, Refused) else ""
        os.write(control, json.dumps({"error": str(error), "option": option}).encode() + b"\n")
        return
    watch.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # the interpreter's own end would take longer than all the rest
