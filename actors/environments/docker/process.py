"""One attempt's container, from its start to its removal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests

from actors import processes
from actors.environments import ContainerEngine, EnvironmentError_, refusals
from actors.environments.docker.reaping import dismiss
from actors.environments.docker.words import error_of, explain
from actors.environments.handover import Handover
from actors.types import Exit


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
            raise error_of(error, f"{self._engine.title} does not start the container: {why}") from error
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
            dismiss(self._reaper)
            self._closed = True

    def _call(self, action: Any) -> None:
        try:
            action()
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise error_of(error, f"container {self._container[:12]}: {explain(error)}") from error

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
    paths = [_cgroup(each) for each in (pid, os.getpid())]
    return paths[0] if paths[0] not in (None, "/", paths[1]) else None


def _cgroup(pid: int) -> str | None:
    rows = [line.split(":", 2) for line in processes.cgroup(pid).splitlines()]
    by_memory = [path for _, controllers, path in rows if "memory" in controllers.split(",")]
    unified = [path for number, _, path in rows if number == "0"]
    return next(iter(by_memory + unified), None)
