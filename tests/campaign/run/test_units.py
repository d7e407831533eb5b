"""Several units share a campaign. Two Ray nodes on this machine's loopback stand for two machines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.files import private
from campaign.analysis import views
from campaign.audit.verification import verify
from campaign.record import journal
from campaign.record.store import Store

PROJECT = Path(__file__).parents[3]
CONFIG = f"""
name: units
description: Shared by two units.
engine: llamacpp
seed: 7
models: [random-llama-8m]
environments: [native-chroot, docker-baseline]
workloads:
  - {{name: tiny, requests: 6, input_tokens: 16, output_tokens: 24, concurrency: 2, warmup_requests: 1, timeout_s: 60}}
repetitions: 4
without: [gpu, ulimits.memlock]
gate: {{cooldown_s: 0.1, ceiling_c: null, dwell_s: 0, memory_tolerance_gib: null, timeout_s: 30, on_timeout: flag}}
acceptance: {{coverage_min_pct: 50}}   # of an attempt of a second one late sample is a tenth
library: {PROJECT}/configs
"""


class Units:
    """Ray nodes by unit name, each a process with everything of that unit below it."""

    def __init__(self, folder: str, home: Path) -> None:
        self.folder = folder
        quick = {"RAY_health_check_period_ms": "500"}
        secret = Path(folder) / "token"
        private.write(secret, "a secret of thirty-two characters and more")
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(secret)}
        self.environment = os.environ | quick | token | {"CAMPAIGN_HOME": str(home)}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.address = ""

    def start(self, unit: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("ray_unit.py")), unit, self.folder]
        process = subprocess.Popen(
            [*command, *([self.address] if self.address else [])],
            stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=self.environment | {"PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
        self.processes[unit] = process
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"unit {unit} did not start\n{self.logs()}"
        self.address = self.address or address

    def logs(self) -> str:
        """The ends of Ray's."""
        found = sorted(Path(self.folder).glob("session_latest/logs/*.*"))
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-4000:]}" for path in found)

    def kill(self, unit: str) -> None:
        """Kill -9 the raylet and everything else below the unit's process."""
        process = self.processes.pop(unit)
        for pid in (*below(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def campaign(self, folder: Path, config: str = CONFIG) -> subprocess.Popen[bytes]:
        path = folder / "units.yaml"
        path.write_text(config)
        command = [sys.executable, "-m", "campaign", "run", str(path), "--results", str(folder), "--no-report"]
        with (folder / "out.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--address", self.address], stdout=log, stderr=log, cwd=PROJECT, env=self.environment
            )


def below(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def cluster(local_image, session_home) -> Iterator[Units]:
    with tempfile.TemporaryDirectory(prefix="cu", dir="/tmp", ignore_cleanup_errors=True) as folder:
        both = Units(folder, session_home)
        try:
            both.start("a")
            yield both
        finally:
            for unit in list(both.processes):
                both.kill(unit)


@pytest.fixture
def units(cluster) -> Units:
    """Units a, which is the head, and b."""
    if "b" not in cluster.processes:
        cluster.start("b")
    return cluster


def events_of(results: Path) -> list[dict[str, Any]]:
    path = results / "units" / "journal.jsonl"
    return journal.read(path)[0] if path.exists() else []


def until(results: Path, driver: subprocess.Popen[bytes], holds: Callable[[list[dict[str, Any]]], bool]) -> None:
    while not holds(events_of(results)):
        assert driver.poll() is None, (results / "out.log").read_text()
        time.sleep(0.02)


def test_two_units_share_a_campaign(units, tmp_path):
    driver = units.campaign(tmp_path)
    assert driver.wait(200) == 0, (tmp_path / "out.log").read_text()
    store = Store(tmp_path / "units")
    assert verify(store) == []

    finished = list(journal.finished(events_of(tmp_path)))
    assert all(event["accepted"] for event in finished)
    plan = {row["run_id"]: row for row in store.plan()}
    assert Counter(event["run_id"] for event in finished) == dict.fromkeys(plan, 1)

    units_of_block = defaultdict(set)
    repetitions: Counter[tuple[str, str]] = Counter()
    for event in finished:
        row = plan[event["run_id"]]
        units_of_block[row["block"]].add(event["unit"])
        repetitions[row["environment"], event["unit"]] += 1
    assert all(len(where) == 1 for where in units_of_block.values()), "a block was split"
    assert set(repetitions.values()) == {2}, "the cells are not balanced over the units"
    assert len(repetitions) == 4

    with views.connect(store.root) as con:
        sampled = con.execute(
            "select distinct unit, run_id from telemetry where stage = 'run' and run_id in (select run_id from plan)"
        ).fetchall()
        assert {(event["unit"], event["run_id"]) for event in finished} == set(sampled)


def test_a_unit_that_dies_loses_its_block_to_the_other(units, tmp_path):
    driver = units.campaign(tmp_path)

    def second_of_a_block_on_b(events: list[dict[str, Any]]) -> bool:
        started = [event for event in events if event["event"] == "dispatched" and event["unit"] == "b"]
        return len(started) == 2

    until(tmp_path, driver, second_of_a_block_on_b)
    block = next(event["block"] for event in events_of(tmp_path) if event.get("unit") == "b" and "block" in event)
    units.kill("b")
    assert driver.wait(200) == 0, (tmp_path / "out.log").read_text()
    store = Store(tmp_path / "units")
    assert verify(store) == []

    events = events_of(tmp_path)
    plan = {row["run_id"]: row for row in store.plan()}
    of_block = {run_id for run_id, row in plan.items() if row["block"] == block}
    moved = [event for event in events if event["event"] == "requeued"]
    assert {"block": block, "from": "b", "to": "a"}.items() <= moved[0].items()
    assert len(moved) == 2, "b had two blocks to do"

    state = journal.fold(events)
    counts = {run_id: run.accepted for run_id, run in state.runs.items()}
    assert set(counts) == set(plan)
    assert None not in counts.values()
    where = {(event["run_id"], event["attempt"]): event["unit"] for event in journal.finished(events)}
    assert {where[run_id, counts[run_id]] for run_id in of_block} == {"a"}, "the block was not measured again whole"
    with views.connect(store.root) as con:
        rows = con.execute("select run_id, unit, accepted from runs").fetchall()
    assert sorted(rows) == sorted((run_id, "a", True) for run_id in plan)
    kept = json.loads((store.root / "campaign.json").read_bytes())["lanes"]
    assert kept == ["a", "b"]


@pytest.mark.skipif("CAMPAIGN_STORY" not in os.environ, reason="takes minutes: CAMPAIGN_STORY=1 runs it")
@pytest.mark.timeout(900)
def test_a_unit_that_joins_is_used_and_ends_its_engine_when_the_head_is_gone(cluster, tmp_path):
    """Last, because the head does not live through it."""
    if "b" in cluster.processes:
        cluster.kill("b")
    config = CONFIG.replace("requests: 6", "requests: 20000").replace("timeout_s: 60", "timeout_s: 900")
    config += "shakedown: false\nwatchdog: {driver_s: 3}\n"
    driver = cluster.campaign(tmp_path, config)
    until(tmp_path, driver, lambda events: any(event["event"] == "dispatched" for event in events))
    cluster.start("b")
    engine: list[int] = []

    def b_runs(events: list[dict[str, Any]]) -> bool:
        status = json.loads((tmp_path / "units" / "status.json").read_bytes())["lanes"].get("b", {})
        engine[:] = [status["pid"]] if status.get("stage") == "run" and status.get("pid") else []
        return bool(engine)

    until(tmp_path, driver, b_runs)
    store = Store(tmp_path / "units")
    events = events_of(tmp_path)
    moved = {event["block"] for event in events if event["event"] == "requeued"}
    assert [event["unit"] for event in events if event["event"] == "joined"] == ["b"]
    assert moved
    assert {event["block"] for event in events if event["event"] == "dispatched" and event["unit"] == "b"} <= moved

    cluster.kill("a")
    assert driver.wait(120) == 3, (tmp_path / "out.log").read_text()
    assert "is gone" in (tmp_path / "out.log").read_text()
    patience = time.monotonic() + 60
    while Path(f"/proc/{engine[0]}").exists():
        assert time.monotonic() < patience, "the unit's engine goes on for nobody"
        time.sleep(0.1)

    cluster.kill("b")
    cluster.address = ""
    cluster.start("a")
    cluster.start("b")
    before = len(events)
    driver = cluster.campaign(tmp_path, config)

    def both_go_on(events: list[dict[str, Any]]) -> bool:
        return {
            event["unit"] for event in events[before:] if event["event"] == "dispatched" and event["attempt"] == 2
        } == {"a", "b"}

    until(tmp_path, driver, both_go_on)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(120) != 0
    ended = {
        (event["unit"], event["outcome"]) for event in journal.finished(events_of(tmp_path)) if event["attempt"] == 1
    }
    assert ended == {("a", "interrupted"), ("b", "interrupted")}
    on_b = {event["block"] for event in events_of(tmp_path) if event["event"] == "dispatched" and event["unit"] == "b"}
    assert on_b <= moved, "a block that has moved stays where it went"
    assert verify(store) == []
