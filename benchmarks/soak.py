"""A long campaign of short runs while its machine fails: does anything grow, is anything lost,
is anything measured twice?

    sudo python -m benchmarks soak [--runs 1000] [--seed 1] [--every 60] [--minutes 0] [--out FILE]

At random moments, ``--every`` seconds apart on average, one of: ``kill -9`` of the driver, of an actor, of the engine,
of a container, of everything; ``kill -9`` of the Docker daemon, which is started again some seconds later; the
filesystem of the results, or that of the spool, full for some seconds. A driver that ended is started again with the
same command. Needs root: for a private Docker engine in a home of its own, for small filesystems that can be filled,
and for a network namespace in which the campaign neither meets nor disturbs another one on the machine.

Told at the end, for the first and the last quarter of the runs: memory and descriptors of driver, actors, Ray and
Docker daemon; time from a run's ``finished`` to the next one's ``dispatched`` in the journal; bytes on disk per run;
and what ``campaign verify`` says. ``--minutes`` ends it early.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
import psutil
import yaml
from rich.table import Table

from actors import processes
from actors.environments import EngineMissing
from actors.environments.docker import daemon
from benchmarks.campaigns import PROJECT, BenchmarkFailed, below, config, console, machine
from campaign.audit.verification import verify
from campaign.record import journal
from campaign.record.store import Store

NAME = "soak"
ARMS = ["native-chroot", "docker-baseline"]
SAMPLE_S = 5.0
RESULTS_MIB, MIB_PER_RUN, SPOOL_MIB = 96, 0.5, 192
"""Sizes of the filesystems that are filled."""
OWN_NETWORK = ("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
FRUITLESS = 10
"""Drivers in a row that end without an accepted run."""
PROCESSES = {
    "driver": (),
    "GpuActor": ("ray::GpuActor",),
    "TelemetryActor": ("ray::TelemetryActor",),
    "raylet": ("/raylet/raylet",),
    "gcs_server": ("/gcs/gcs_server",),
}


@dataclass
class Soak:
    """The campaign, its machine, and what was seen of both."""

    runs: int
    chance: random.Random
    place: Path
    driver: subprocess.Popen[bytes] | None = None
    faults: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    samples: list[tuple[int, str, float, int]] = field(default_factory=list)
    """Accepted runs so far, process, MiB of RSS, descriptors."""
    disk: list[tuple[int, float]] = field(default_factory=list)
    """Accepted runs so far, MiB of the results folder."""

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def results(self) -> Path:
        return self.place / "results" / NAME

    # --- the campaign ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The same command, as a person would type it again."""
        self.engine()
        words = [sys.executable, "-m", "campaign", "run", str(self.place / "soak.yaml")]
        words += ["--results", str(self.results.parent), "--no-report"]
        environment = os.environ | {"CAMPAIGN_HOME": str(self.home), "PYTHONPATH": str(PROJECT)}
        with (self.place / "out.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [*OWN_NETWORK, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=PROJECT, env=environment
            )
        self.drivers += 1

    def engine(self) -> None:
        """The private Docker engine, started where it does not run. One that ``DOCKER_HOST`` names is never replaced,
        so it does not meanwhile."""
        named = os.environ.pop("DOCKER_HOST", None)
        try:
            daemon.ensure(self.home, say=lambda line: None)
        finally:
            if named is not None:
                os.environ["DOCKER_HOST"] = named

    def alive(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def accepted(self) -> int:
        """Read without the chain: only to see how far it is."""
        try:
            lines = (self.results / "journal.jsonl").read_bytes().splitlines()
        except OSError:
            return 0
        return len({json.loads(it)["run_id"] for it in lines if b'"accepted":true' in it and it.endswith(b"}")})

    def go(self, every_s: float, until: float) -> bool:
        """To the end of the campaign, or until the time is over; whether it is complete."""
        fruitless, before = 0, 0
        self.start()
        next_fault, next_sample = self._moment(every_s), time.monotonic()
        while True:
            time.sleep(0.2)
            now = time.monotonic()
            assert self.driver is not None
            if not self.alive():
                if self.driver.returncode == 0:
                    return True
                done = self.accepted()
                fruitless = 0 if done > before else fruitless + 1
                before = done
                if fruitless >= FRUITLESS:
                    raise BenchmarkFailed(
                        f"{FRUITLESS} drivers in a row accepted nothing; see {self.place / 'out.log'}"
                    )
                self.start()
            if now >= until:
                self.driver.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.driver.wait(180)
                return False
            if now >= next_sample:
                self._sample()
                next_sample = now + SAMPLE_S
            if now >= next_fault and self.alive():
                self._fault()
                next_fault = self._moment(every_s)

    def _moment(self, every_s: float) -> float:
        return time.monotonic() + self.chance.expovariate(1 / every_s)

    # --- what is done to it ------------------------------------------------------------------------------

    def _fault(self) -> None:
        kinds: dict[str, Callable[[], bool]] = {
            "kill driver": lambda: self._kill([self._driver_pid()]),
            "kill GpuActor": lambda: self._kill(self._pids("GpuActor")),
            "kill TelemetryActor": lambda: self._kill(self._pids("TelemetryActor")),
            "kill engine": lambda: self._kill(self._engines()),
            "kill container": self._kill_container,
            "kill everything": lambda: self._kill([*below(self._driver_pid()), self._driver_pid()]),
            "kill dockerd": self._kill_daemon,
            "results full": lambda: self._fill(self.results.parent),
            "spool full": lambda: self._fill(self.home / "spool"),
        }
        kind = min(kinds, key=lambda name: (self.faults[name], self.chance.random()))
        patience = time.monotonic() + 30
        while self.alive() and time.monotonic() < patience:
            if kinds[kind]():
                self.faults[kind] += 1
                print(f"{time.strftime('%H:%M:%S')} {kind}; {self.accepted()} runs accepted", flush=True)
                return
            time.sleep(0.05)

    def _driver_pid(self) -> int:
        """``unshare`` and ``sh`` become the driver by exec."""
        assert self.driver is not None
        return self.driver.pid

    def _kill(self, pids: list[int]) -> bool:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def _pids(self, kind: str) -> list[int]:
        if kind == "driver":
            return [self._driver_pid()]
        found = []
        for pid in below(self._driver_pid()):
            program = next(iter(processes.arguments(pid)), "")
            if any(it in program for it in PROCESSES[kind]):
                found.append(pid)
        return found

    def _engines(self) -> list[int]:
        try:
            status = json.loads((self.results / "status.json").read_bytes())
        except (OSError, ValueError):
            return []
        pids = [lane["pid"] for lane in status["lanes"].values() if lane["pid"] and lane["stage"] == "run"]
        return [pid for pid in pids if psutil.pid_exists(pid)]

    def _kill_container(self) -> bool:
        with contextlib.suppress(docker.errors.DockerException, EngineMissing):
            client = daemon.connect(self.home)
            for container in client.containers.list():
                container.kill("SIGKILL")
                return True
        return False

    def _kill_daemon(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((daemon.engine_folder(self.home) / "dockerd.pid").read_text()), signal.SIGKILL)
            time.sleep(self.chance.uniform(1, 8))
            self.engine()
            return True
        return False

    def _fill(self, folder: Path) -> bool:
        ballast = folder / ".ballast"
        try:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"x" * 2**16) == 2**16:
                    pass
            time.sleep(self.chance.uniform(1, 8))
        finally:
            ballast.unlink(missing_ok=True)
        return True

    # --- what is seen of it ------------------------------------------------------------------------------

    def _sample(self) -> None:
        done = self.accepted()
        for kind in PROCESSES:
            for pid in self._pids(kind)[:1]:
                self._look(done, kind, pid)
        with contextlib.suppress(OSError, ValueError):
            self._look(done, "dockerd", int((daemon.engine_folder(self.home) / "dockerd.pid").read_text()))
        usage = shutil.disk_usage(self.results.parent)
        self.disk.append((done, usage.used / 2**20))

    def _look(self, done: int, kind: str, pid: int) -> None:
        with contextlib.suppress(psutil.Error):
            seen = psutil.Process(pid)
            self.samples.append((done, kind, seen.memory_info().rss / 2**20, seen.num_fds()))

    def told(self, complete: bool, wall_s: float) -> dict[str, Any]:
        """Everything that was found, as JSON has it."""
        store = Store(self.results)
        events = journal.read(store.journal_path)[0]
        accepted = Counter(event["run_id"] for event in journal.finished(events) if event["accepted"])
        finished = list(journal.finished(events))
        done = len(accepted)
        early, late = done / 4, 3 * done / 4

        def quarters(values: list[tuple[int, float]]) -> list[float | None]:
            both = [[value for at, value in values if at <= early], [value for at, value in values if at >= late]]
            return [round(statistics.median(them), 1) if them else None for them in both]

        kept = defaultdict(list)
        for at, kind, mib, descriptors in self.samples:
            kept[f"{kind}: RSS, MiB"].append((at, mib))
            kept[f"{kind}: descriptors"].append((at, float(descriptors)))
        kept["finished to next dispatched, ms"] = list(gaps(events))
        per_run = [(at, mib / at) for at, mib in self.disk if at]
        kept["results on disk per run, MiB"] = per_run
        return {
            "machine": machine(),
            "runs": self.runs,
            "accepted": done,
            "complete": complete,
            "wall_s": round(wall_s),
            "drivers": self.drivers,
            "attempts": len(finished),
            "outcomes": dict(Counter(event["outcome"] for event in finished)),
            "accepted_twice": [run_id for run_id, count in accepted.items() if count > 1],
            "exhausted": sum(event["event"] == "exhausted" for event in events),
            "faults": dict(sorted(self.faults.items())),
            "quarters": {name: quarters(values) for name, values in kept.items()},
            "problems": [str(problem) for problem in verify(store)],
            "left": self.left(),
        }

    def left(self) -> list[str]:
        """Containers, engines, mounts and spools that are still there."""
        found = [f"container {it.short_id}" for it in daemon.connect(self.home).containers.list(all=True)]
        home = str(self.home).encode()
        for pid in processes.pids():
            command = processes.command_line(pid)
            if any(home in variable for variable in processes.environment(pid)) and "dockerd" not in command:
                found.append(f"process {pid} {command[:60]!r}")
        found += [f"scratch {path.name}" for path in (self.home / "scratch").glob("*")]
        return found + [f"spool {path.name}" for path in (self.home / "spool").glob("*/*/*")]


def gaps(events: list[dict[str, Any]]) -> Iterator[tuple[int, float]]:
    """Accepted runs so far, and milliseconds between the end of one and the dispatch of the next,
    where nothing stands between them."""
    done = 0
    for one, other in pairwise(events):
        done += one["event"] == "finished" and one["accepted"]
        if (one["event"], other["event"]) == ("finished", "dispatched"):
            yield done, (other["t_utc_ns"] - one["t_utc_ns"]) / 1e6


@contextlib.contextmanager
def small_filesystem(folder: Path, mib: float) -> Iterator[None]:
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={int(mib)}m,mode=0700"]
    subprocess.run(["mount", *options, "soak", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between faults, on average")
    parser.add_argument("--minutes", type=float, default=0.0, help="end it after so long; 0: when it is complete")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        raise BenchmarkFailed("this needs root, for a Docker engine, filesystems and a network of its own")
    place = Path(tempfile.mkdtemp(prefix="campaign-soak-"))
    given = config(NAME, ARMS, asked.runs // len(ARMS), gate={"cooldown_s": 0.1}) | {
        "shakedown": False, "attempts_max": 50, "breaker": 50, "seed": asked.seed,
    }  # fmt: skip
    (place / "soak.yaml").write_text(yaml.safe_dump(given))
    soak = Soak(asked.runs // len(ARMS) * len(ARMS), random.Random(asked.seed), place)
    os.environ["DOCKER_HOST"] = daemon.private_host(soak.home)
    soak.home.mkdir()
    daemon.candidates = lambda home: [
        (daemon.private_host(home), True)
    ]  # another engine of this machine is not for killing
    began = time.monotonic()
    with (
        small_filesystem(place / "results", RESULTS_MIB + MIB_PER_RUN * asked.runs),
        small_filesystem(soak.home / "spool", SPOOL_MIB),
    ):
        try:
            until = began + asked.minutes * 60 if asked.minutes else float("inf")
            complete = soak.go(asked.every, until)
            found = soak.told(complete, time.monotonic() - began)
        finally:
            if soak.alive():
                soak._kill([*below(soak._driver_pid()), soak._driver_pid()])
            daemon.remove(soak.home)
    shutil.rmtree(place, ignore_errors=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    show(found)
    clean = not (found["problems"] or found["left"] or found["accepted_twice"] or found["exhausted"])
    return 0 if clean and (complete or asked.minutes) else 1


def show(found: dict[str, Any]) -> None:
    table = Table("", "first quarter", "last quarter", title=f"soak: {found['accepted']} of {found['runs']} runs")
    for name, values in found["quarters"].items():
        table.add_row(name, *("–" if value is None else f"{value:g}" for value in values))
    out = console()
    out.print(table)
    for name in (
        "wall_s",
        "drivers",
        "attempts",
        "outcomes",
        "faults",
        "accepted_twice",
        "exhausted",
        "problems",
        "left",
        "machine",
    ):
        out.print(f"{name}: {found[name]}")


if __name__ == "__main__":
    sys.exit(main())
