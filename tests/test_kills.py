"""kill -9 of anything, at any moment: the same command goes on, and nothing accepted is lost or done twice.

Seven by default, one of each kind (the last stops everything for a while, as Ctrl-Z does); ``CAMPAIGN_KILLS=60`` is the
long version.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import docker
import psutil
import pytest

from actors import processes
from campaign import cluster
from campaign.audit.verification import verify
from campaign.errors import EXIT_INCOMPLETE
from campaign.record import journal
from campaign.record.durable import StoreError
from campaign.record.store import Store

KILLS = int(os.environ.get("CAMPAIGN_KILLS", "7"))
SEED = int(os.environ.get("CAMPAIGN_KILLS_SEED", "20261123"))
VICTIMS = ("driver", "gpu actor", "telemetry actor", "engine", "container", "everything", "stopped")
CONFIG = """
name: kills
description: Small runs to be killed.
engine: llamacpp
seed: 7
models: [random-llama-8m]
environments: [native-chroot, docker-baseline]
without: [gpu, ulimits.memlock]
workloads:
  - {name: tiny, requests: 6, input_tokens: 16, output_tokens: 24, concurrency: 2, warmup_requests: 1, timeout_s: 60}
repetitions: 6
attempts_max: 50
breaker: 50
gate: {cooldown_s: 0.2, ceiling_c: null, dwell_s: 0, memory_tolerance_gib: null, timeout_s: 30, on_timeout: flag}
acceptance: {coverage_min_pct: 50}   # of an attempt of a second one late sample is a tenth
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    library = Path(__file__).parent.parent / "configs"
    path = tmp_path / "kills.yaml"
    path.write_text(CONFIG + f"library: {library}\n")
    return path


def start(config: Path, results: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "campaign", "run", str(config), "--results", str(results), "--no-report"]
    return subprocess.Popen(command, stdout=(results.parent / "out.log").open("ab"), stderr=subprocess.STDOUT)


def children(pid: int) -> list[int]:
    """All descendants of ``pid``."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def titled(pids: list[int], title: str) -> list[int]:
    return [pid for pid in pids if processes.command_line(pid).startswith(title)]


def kill(victim: str, driver: subprocess.Popen[bytes], results: Path, client: docker.DockerClient) -> bool:
    """Kill -9 the victim; False when it is not there at this moment."""
    below = children(driver.pid)
    if victim == "driver":
        pids = [driver.pid]
    elif victim == "gpu actor":
        pids = titled(below, "ray::GpuActor")
    elif victim == "telemetry actor":
        pids = titled(below, "ray::TelemetryActor")
    elif victim == "engine":
        pids = engine_pids(results)
    elif victim == "container":
        containers = client.containers.list(filters={"label": f"campaign.id={campaign_id(results)}"})
        for container in containers:
            with contextlib.suppress(docker.errors.APIError):
                container.kill("SIGKILL")
        return bool(containers)
    elif victim == "stopped":
        return stop_for_a_while([driver.pid, *below])
    else:
        pids = [*engine_pids(results), driver.pid, *below]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def stop_for_a_while(pids: list[int]) -> bool:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(2.0 if number == signal.SIGSTOP else 0.0)
    return True


def campaign_id(results: Path) -> str:
    try:
        return str(Store(results / "kills").info()["campaign_id"])
    except StoreError:
        return "none yet"


def engine_pids(results: Path) -> list[int]:
    try:
        status = json.loads((results / "kills" / "status.json").read_bytes())
    except (OSError, ValueError):
        return []
    pids = [lane["pid"] for lane in status["lanes"].values() if lane["pid"] and lane["stage"] == "run"]
    return [pid for pid in pids if psutil.pid_exists(pid)]


def accepted(results: Path) -> dict[str, int]:
    path = results / "kills" / "journal.jsonl"
    if not path.exists():
        return {}
    return {event["run_id"]: event["attempt"] for event in journal.finished(journal.read(path)[0]) if event["accepted"]}


def leftovers(client: docker.DockerClient, home: Path, campaign_id: str) -> list[str]:
    """What is still there of a campaign: containers, engines, Ray processes of its drivers, mounts."""
    label = {"label": f"campaign.id={campaign_id}"}
    found = [f"container {item.short_id}" for item in client.containers.list(all=True, filters=label)]
    mark = f"CAMPAIGN_ATTEMPT={campaign_id}/".encode()
    for pid in processes.pids():
        if any(mark in variable for variable in processes.environment(pid)):
            found.append(f"process {pid} {processes.command_line(pid)[:80]!r}")
    for folder, driver in cluster.folders().items():
        if count := cluster.end_processes(folder.resolve()):
            found.append(f"{count} Ray processes of driver {driver}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if f" {home}/rootfs/" in line]


@pytest.mark.timeout(3600)
def test_any_kill_at_any_moment_loses_nothing(config, tmp_path, docker_engine, home):
    chance = random.Random(SEED)
    done: Counter[str] = Counter()
    rounds = 0
    while sum(done.values()) < KILLS:
        rounds += 1
        results = tmp_path / f"results-{rounds}"
        results.mkdir()
        driver = start(config, results)
        before: dict[str, int] = {}
        while True:
            victim = min(VICTIMS, key=lambda name: (done[name], chance.random()))
            moment = time.monotonic() + chance.uniform(2.0, 12.0)
            while time.monotonic() < moment and driver.poll() is None:
                time.sleep(0.02)
            if driver.poll() is None and sum(done.values()) < KILLS:
                patience = time.monotonic() + 10
                while not (hit := kill(victim, driver, results, docker_engine)) and time.monotonic() < patience:
                    time.sleep(0.01)
                done[victim] += hit
                print(f"{sum(done.values())} kills, the last of {victim}, in campaign {rounds}", flush=True)
            if sum(done.values()) >= KILLS or driver.poll() is not None:
                code = driver.wait(timeout=300)
            if driver.poll() is None:
                continue
            after = accepted(results)
            assert before.items() <= after.items(), "an accepted attempt was lost"
            before = after
            if code == 0:
                break
            assert code < 0 or code == EXIT_INCOMPLETE, (tmp_path / "out.log").read_text()[-2000:]
            driver = start(config, results)
        check(results, docker_engine, home)
    print(f"{sum(done.values())} kills over {rounds} campaigns: {dict(done)}")


def check(results: Path, client: docker.DockerClient, home: Path) -> None:
    """A finished campaign with exactly one accepted attempt a run, clean files, and nothing left on the machine."""
    store = Store(results / "kills")
    assert verify(store) == []
    events, _, _ = journal.read(store.journal_path)
    counts = Counter(event["run_id"] for event in journal.finished(events) if event["accepted"])
    assert set(counts) == {row["run_id"] for row in store.plan()}
    assert set(counts.values()) == {1}
    assert leftovers(client, home, store.info()["campaign_id"]) == []
