"""One native attempt: the supervisor's life, as its actor sees it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from actors import processes
from actors.environments import EnvironmentError_, OptionRefused, ownership, resolve
from actors.environments.handover import Handover
from actors.environments.native.by_hand import recorded
from actors.files.removal import remove
from actors.types import Exit, Mount

SUPERVISOR = Path(__file__).with_name("supervisor.py")


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
        self.command = recorded(order, environment, mounts, notes)
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
