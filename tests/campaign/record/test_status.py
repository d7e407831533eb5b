"""How a campaign stands can be read from its folder by anyone, whether its driver lives, died or never wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.record.durable import StoreError
from campaign.record.status import describe_run, standing
from tests import synthetic

LANE = {"unit": "unit-a", "stage": "run", "run_id": "x"}


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Five of eight runs done, the sixth under way."""
    folder = synthetic.write(
        tmp_path / "demo", repetitions=2, done=5, dispatched=True, rejections=False, telemetry_hz=0
    )
    for attempt in folder.glob("attempts/*/1"):
        (attempt / "command.json").write_text('{"argv": ["engine"]}')
    return folder


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line is a driver's, and has been said: the kernel sets it a moment after the exec."""
    program = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program, "campaign", "run"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def write_status(folder: Path, pid: int) -> None:
    status = {"campaign": "demo", "results": str(folder), "stage": "running", "pid": pid, "lanes": {"unit-a": LANE}}
    (folder / "status.json").write_text(json.dumps({**status, "eta_s": 60.0, "accepted": 1, "total": 99}))


def test_the_journal_counts_not_the_snapshot(half: Path, driver: subprocess.Popen[bytes]):
    write_status(half, driver.pid)
    snapshot, running = standing(half)
    assert running
    assert (snapshot.accepted, snapshot.total, snapshot.stage, snapshot.eta_s) == (5, 8, "running", 60.0)
    assert list(snapshot.lanes) == ["unit-a"]


def test_a_dead_driver_is_not_shown_as_running(half: Path, driver: subprocess.Popen[bytes]):
    write_status(half, driver.pid)
    driver.kill()
    driver.wait()
    snapshot, running = standing(half)
    assert not running
    assert snapshot.stage == "stopped; the same command goes on"
    assert (snapshot.lanes, snapshot.eta_s) == ({}, None)


@pytest.mark.parametrize("content", [None, b"", b'{"campaign": "de', b"[]", b"\xff"])
def test_without_a_readable_snapshot_the_journal_is_enough(half: Path, content: bytes | None):
    if content is not None:
        (half / "status.json").write_bytes(content)
    snapshot, running = standing(half)
    assert (snapshot.accepted, snapshot.total, running) == (5, 8, False)


def test_a_finished_campaign_is_completed(tmp_path: Path):
    snapshot, _ = standing(synthetic.write(tmp_path / "done", repetitions=2, rejections=False, telemetry_hz=0))
    assert (snapshot.stage, snapshot.accepted) == ("completed", 8)


def test_a_run_is_described_with_its_checks(half: Path):
    run_id = sorted(path.name for path in half.glob("attempts/*"))[0]
    text = describe_run(half, run_id)
    assert text.startswith(run_id)
    assert "attempt 1 on unit-a: completed, accepted" in text


def test_an_unknown_run_names_one_that_is_there(half: Path):
    with pytest.raises(StoreError, match=r"no such run in .*Did you mean 'tiny__"):
        describe_run(half, "tiny__nowhere__short__r01")


@pytest.mark.parametrize("name", ["metadata.json", "command.json"])
def test_a_damaged_attempt_is_named(half: Path, name: str):
    attempt = sorted(half.glob("attempts/*/1"))[0]
    (attempt / name).write_text("{")
    with pytest.raises(StoreError, match=rf"{name}: unreadable .*`campaign verify`"):
        describe_run(half, attempt.parent.name)
