"""A real campaign of the benchmarks' own: ``campaign run`` as a user types it, in a folder of its own,
that can stand still.

Its journal is looked at ten times a second. While it stands still every process of the harness is stopped (SIGSTOP):
driver, gcs_server, raylet, actors and what belongs to them. Nothing that it did not start is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console

from actors.engines import CACHE, OUTPUT

PROJECT = Path(__file__).resolve().parents[1]
POLL_S = 0.1
"""How often a benchmark looks whether something has ended; the same for both sides of a comparison."""

GATE: dict[str, Any] = {
    "cooldown_s": 1.0,
    "ceiling_c": None,
    "dwell_s": 0,
    "memory_tolerance_gib": None,
    "foreign_gpu_processes": "allow",
    "cache": "keep",
    "poll_s": 0.05,
    "timeout_s": 30,
    "on_timeout": "flag",
}


def config(
    name: str,
    environments: list[str],
    repetitions: int,
    *,
    requests: int = 6,
    output_tokens: int = 16,
    gate: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A campaign of one small model and one workload, its gate short and without a temperature."""
    return {
        "name": name,
        "description": "A benchmark of the harness",
        "engine": "llamacpp",
        "seed": 1,
        "models": ["random-llama-8m"],
        "environments": environments,
        "workloads": [
            {
                "name": "bench",
                "requests": requests,
                "input_tokens": 32,
                "output_tokens": output_tokens,
                "warmup_requests": 2,
                "timeout_s": 120,
            }
        ],
        "repetitions": repetitions,
        "without": ["gpu", "ulimits.memlock"],  # a CPU engine; and many machines withhold unlimited locked memory
        "library": str(PROJECT / "configs"),
        "gate": GATE | (gate or {}),
    }


class BenchmarkFailed(Exception):
    """A benchmark could not be carried out. The message is for the person."""


@dataclass
class Running:
    """A campaign under way."""

    results: Path
    """Its own results folder."""
    process: subprocess.Popen[bytes]
    log: Path

    def events(self) -> list[dict[str, Any]]:
        path = self.results / "journal.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def finished(self, count: int) -> dict[str, Any]:
        """The ``count``-th attempt's ``finished`` event, waited for."""
        path, size = self.results / "journal.jsonl", -1
        while True:
            now = path.stat().st_size if path.exists() else 0
            if now != size:
                size = now
                events = [event for event in self.events() if event["event"] == "finished"]
                if len(events) >= count:
                    if not events[count - 1]["accepted"]:
                        raise BenchmarkFailed(
                            f"{events[count - 1]['run_id']} was rejected by "
                            f"{', '.join(events[count - 1]['rejected_by'])}"
                        )
                    return events[count - 1]
            if self.process.poll() is not None:
                raise BenchmarkFailed(
                    f"`campaign run` ended with code {self.process.returncode}:\n{self.log.read_text()}"
                )
            time.sleep(POLL_S)

    def attempt(self, event: dict[str, Any]) -> Path:
        place: Path = self.results / "attempts" / event["run_id"] / str(event["attempt"])
        return place

    def command(self, event: dict[str, Any]) -> dict[str, Any]:
        """The attempt's ``command.json``."""
        value: dict[str, Any] = json.loads((self.attempt(event) / "command.json").read_bytes())
        return value

    def compiled(self, model: str) -> Path | None:
        """The unit's prepared compile caches of the model; None where its engine compiles nothing."""
        (unit,) = (self.results / "units").glob("*.json")
        place = json.loads(unit.read_bytes())["caches"].get(model)
        return Path(place) if place else None

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """The whole harness stopped. A new process may appear while the others are being stopped, hence the rounds."""
        stopped: list[int] = []
        try:
            while fresh := [pid for pid in (self.process.pid, *below(self.process.pid)) if pid not in stopped]:
                for pid in fresh:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                stopped += fresh
            yield
        finally:
            for pid in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def end(self, timeout_s: float = 120) -> None:
        """Wait for the end of the campaign."""
        if self.process.wait(timeout_s) != 0:
            raise BenchmarkFailed(f"`campaign run` ended with code {self.process.returncode}:\n{self.log.read_text()}")


@contextlib.contextmanager
def running(given: dict[str, Any], folder: Path) -> Iterator[Running]:
    """Start a campaign in ``folder``; interrupted if the block is left before it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / f"{given['name']}.yaml", folder / f"{given['name']}.log"
    path.write_text(yaml.safe_dump(given))
    command = [sys.executable, "-m", "campaign", "run", str(path), "--results", str(folder / "results"), "--no-report"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=PROJECT)
    campaign = Running(folder / "results" / given["name"], process, log)
    try:
        yield campaign
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def below(pid: int) -> list[int]:
    """All descendants of ``pid``."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait as :meth:`Running.finished` does, so that waiting costs both sides the same."""
    while (code := process.poll()) is None:
        time.sleep(POLL_S)
    return code


def elsewhere(command: dict[str, Any], output: Path, compiled: Path | None = None) -> str:
    """The attempt's shell line with another output folder, and with ``compiled`` for
    its copy of the compile caches, which went with it."""
    line, places = str(command["shell"]), {OUTPUT: output, CACHE: compiled}
    for mount in command["mounts"]:
        if (place := places.get(mount["target"])) is not None:
            line = line.replace(mount["source"], str(place))
    return line


def console() -> Console:
    """For tables; wide enough for them where nobody looks at a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=110)


def machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} CPUs, load average {load}"
