"""Cleaning up after a crash: all of it, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from given_arms import alive, eventually, lines_of, python

from actors.environments import ownership
from actors.environments.docker.options import ACTOR_LABEL, HOME_LABEL, LABELS
from actors.environments.reap import reap
from actors.environments.registry import arm as arm_of
from actors.types import Environment

GONE = f"{ownership.boot()}-1-0"
"""An owner that no longer runs: PID 1 did not start at tick 0 of this boot's clock as somebody's actor."""


@pytest.fixture
def stray(labels):
    """A process that carries the mark of an attempt and has no supervisor."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={"CAMPAIGN_ATTEMPT": f"{labels['campaign']}/{labels['run']}/1"},
    )
    yield process
    process.kill()
    process.wait()


def test_where_nothing_was_left_nothing_is_done(home, docker_engine):
    assert reap(home, "no-such-campaign") == []
    assert list(home.iterdir()) == []


def test_a_stray_process_of_the_campaign_is_killed(home, docker_engine, labels, stray):
    assert reap(home, "another-campaign") == []
    assert stray.poll() is None
    done = reap(home, labels["campaign"])
    assert len(done) == 1 and f"killed process {stray.pid}" in done[0]
    assert stray.wait(30) == -signal.SIGKILL
    assert reap(home, labels["campaign"]) == []


def test_a_campaign_whose_name_begins_alike_is_another(home, docker_engine, labels, stray):
    assert reap(home, labels["campaign"][:-1]) == []
    assert stray.poll() is None


def test_what_runs_under_a_living_actor_stays(home, docker_engine, labels, logs):
    process = arm_of(Environment(name="n", kind="native-host"), home).create(
        python("print('up', flush=True); import time; time.sleep(600)"), labels, logs, None
    )
    process.start()
    assert eventually(lambda: lines_of(logs / "stdout.log") == ["up"])
    assert reap(home, labels["campaign"]) == []
    assert process.wait(0.01) is None
    process.close()


def test_when_all_are_killed_at_once_the_engines_children_are_found(owned, labels, logs, session_home, docker_engine):
    attempt = owned({"name": "n", "kind": "native-host"})
    assert eventually(lambda: len(lines_of(logs / "stdout.log")) == 2)
    for pid in (attempt.actor.pid, attempt.supervisor):
        os.kill(pid, signal.SIGSTOP)
    for pid in (attempt.supervisor, attempt.pid, attempt.actor.pid):
        os.kill(pid, signal.SIGKILL)
    attempt.actor.wait()
    assert eventually(lambda: len(alive(labels)) == 1), "only the daemonised grandchild"
    assert len(reap(session_home, labels["campaign"])) >= 1
    assert alive(labels) == []


def test_a_supervisor_that_outlived_its_actor_is_killed_with_all_below(
    owned, labels, logs, session_home, docker_engine
):
    """It would end itself; one that is stopped cannot."""
    attempt = owned({"name": "n", "kind": "native-host"})
    assert eventually(lambda: len(lines_of(logs / "stdout.log")) == 2)
    os.kill(attempt.supervisor, signal.SIGSTOP)
    attempt.actor.kill()
    attempt.actor.wait()
    assert len(alive(labels)) == 3
    reap(session_home, labels["campaign"])
    assert alive(labels) == []


def test_only_containers_of_this_home_whose_owner_is_gone_are_removed(
    home, docker_engine, local_image, labels, tmp_path
):
    def container(of_home: Path, by: str, campaign: str | None) -> str:
        marks = {HOME_LABEL: str(of_home), ACTOR_LABEL: by}
        if campaign:
            marks |= {LABELS["campaign"]: campaign, LABELS["run"]: "r", LABELS["attempt"]: "1"}
        return docker_engine.containers.create(
            local_image.digest, ["-c", "pass"], entrypoint=["python3"], network_mode="none", labels=marks
        ).id

    mine = container(home, GONE, labels["campaign"])
    probe = container(home, GONE, None)
    kept = [
        container(home, ownership.this_process(), labels["campaign"]),
        container(home, GONE, "another-campaign"),
        container(tmp_path / "another home", GONE, labels["campaign"]),
    ]
    foreign = docker_engine.containers.create(local_image.digest, ["-c", "pass"], network_mode="none").id
    try:
        assert [line for line in reap(home, labels["campaign"]) if "container" in line] == [
            f"removed container {mine[:12]} ({labels['campaign']} r 1, created)"
        ]
        there = {found["Id"] for found in docker_engine.api.containers(all=True)}
        assert mine not in there and {*kept, foreign, probe} <= there
        reap(home)
        there = {found["Id"] for found in docker_engine.api.containers(all=True)}
        assert not {probe, kept[1]} & there and {kept[0], kept[2], foreign} <= there
    finally:
        for leftover in (mine, probe, foreign, *kept):
            with contextlib.suppress(docker.errors.NotFound):
                docker_engine.api.remove_container(leftover, force=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_mounts_inside_a_root_filesystem_are_undone_and_no_others(home, docker_engine, tmp_path):
    root = home / "rootfs/abc/campaign"
    users = home / "spool"
    for folder in (root, users):
        folder.mkdir(parents=True)
    (tmp_path / "model").write_text("weights")
    subprocess.run(["mount", "--bind", str(tmp_path), str(users)], check=True)
    subprocess.run(["mount", "--bind", str(tmp_path), str(root)], check=True)
    try:
        assert reap(home) == [f"unmounted {root}"]
        assert not (root / "model").exists() and (users / "model").exists()
    finally:
        subprocess.run(["umount", str(users)], check=True)
    assert (tmp_path / "model").read_text() == "weights"


def test_scratch_folders_of_dead_actors_are_removed(home, docker_engine):
    (home / "scratch" / f"{GONE}_0" / "tmp").mkdir(parents=True)
    living = home / "scratch" / f"{ownership.this_process()}_7"
    living.mkdir()
    assert reap(home) == [f"removed {home}/scratch/{GONE}_0"]
    assert living.is_dir()


def test_an_owner_is_not_mistaken_for_a_process_that_reuses_its_pid():
    assert ownership.alive(ownership.this_process())
    boot, pid, ticks = ownership.this_process().split("-")
    assert not ownership.alive(f"{boot}-{pid}-{int(ticks) + 1}")
    assert not ownership.alive(f"otherboot-{pid}-{ticks}")
    assert not ownership.alive("")
