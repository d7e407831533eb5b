"""A Docker engine that is killed in the middle of a campaign costs no run,
and what was given up can be opened again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_campaign import PROJECT, campaign, start, write_config

from actors.environments.docker import daemon
from campaign.audit.verification import verify
from campaign.errors import EXIT_INCOMPLETE
from campaign.record import journal
from campaign.record.store import Store

ARM = "{name: docker-none, kind: docker, ipc: host, network: none}"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_engine) -> Iterator[Path]:
    """A private engine of the test's own, which it may kill; its home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(daemon, "candidates", lambda _: [(daemon.private_host(home), True)])
    monkeypatch.setenv("DOCKER_HOST", daemon.ensure(home).host)
    yield home
    daemon.remove(home)


def events(folder: Path, kind: str) -> list[dict]:
    path = folder / "journal.jsonl"
    return [event for event in journal.read(path)[0] if event["event"] == kind] if path.exists() else []


def test_a_killed_engine_is_waited_for_and_no_run_pays(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(
        tmp_path, environments=f"[native-chroot, {ARM}]", without="[gpu, ulimits.memlock]", repetitions=2
    )
    folder = tmp_path / "results" / "small"
    driver = start("run", config, "--results", folder.parent, "--no-report", home=engine)
    patience = time.monotonic() + 120
    while not any("docker" in event["run_id"] for event in events(folder, "dispatched")):
        assert driver.poll() is None and time.monotonic() < patience, driver.communicate()[0]
        time.sleep(0.02)
    pid = int((daemon.engine_folder(engine) / "dockerd.pid").read_text())
    os.kill(pid, signal.SIGSTOP)  # one that answers nobody for a while is waited for
    time.sleep(1)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    time.sleep(2)
    monkeypatch.delenv("DOCKER_HOST")  # an engine that somebody named is never replaced
    daemon.ensure(engine)
    said, _ = driver.communicate(timeout=150)
    assert driver.returncode == 0, said
    finished = events(folder, "finished")
    assert sum(event["accepted"] for event in finished) == 4
    assert {event["outcome"] for event in finished if not event["accepted"]} <= {"infrastructure"}, said
    assert events(folder, "exhausted") == [] and events(folder, "breaker") == []
    assert verify(Store(folder)) == []


def test_what_was_given_up_can_be_opened_again(docker_engine, session_home: Path, tmp_path: Path) -> None:
    """A time limit that nothing can keep gives every run up; `campaign retry` opens them,
    and the campaign is no longer finished."""
    config = write_config(tmp_path, repetitions=1)
    text = config.read_text().replace("timeout_s: 60}", "timeout_s: 0.05}")
    config.write_text(text + "attempts_max: 1\nbreaker: 9\n")
    done = campaign("run", config, "--results", tmp_path / "results", "--no-report", home=session_home)
    folder = tmp_path / "results" / "small"
    assert done.returncode == EXIT_INCOMPLETE and len(events(folder, "exhausted")) == 2, done.stdout
    one = campaign(
        "retry", folder, "--run", "random-llama-8m__native-chroot__tiny__r01", home=session_home, code=PROJECT
    )
    assert one.returncode == 0 and "1 runs opened again" in one.stdout
    wrong = campaign("retry", folder, "--run", "nothing", home=session_home)
    assert wrong.returncode == 3 and "nothing: not given up" in wrong.stdout
    state = journal.fold(journal.read(folder / "journal.jsonl")[0])
    assert not state.completed
    assert not state.done("random-llama-8m__native-chroot__tiny__r01")
    assert state.done("random-llama-8m__docker-baseline__tiny__r01")
    assert verify(Store(folder)) == []
