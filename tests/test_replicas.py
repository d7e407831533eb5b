"""Whole campaigns on the study's own engines, by the command line, in Docker and in the chroot:
on replicas of their images.

What a real trtllm-bench or vllm would stumble over here stops the replica as well: an option that its version does not
have, a library that only the entry point leads to, a report of another model.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from replicas import campaigns, image
from replicas.campaigns import LATENCY, THROUGHPUT, Attempt, checkpoint, write
from replicas.image import Replicas
from small_campaign import campaign, start

from actors.engines import OUTPUT
from actors.engines.registry import engine as engine_of
from actors.environments.docker import image as images
from actors.environments.registry import arm
from actors.types import Environment, Image, ImageIdentity, Model, Mount, Report, Workload
from campaign.audit.verification import verify
from campaign.errors import EXIT_INCOMPLETE
from campaign.record import journal
from campaign.record.store import Store

PRIMARY = ("token_throughput_tok_s", "request_throughput_req_s", "kv_cache_gib", "steady_s")
SERVED = ("latency_mean_ms", "latency_p95_ms", "ttft_mean_ms", "ttft_p95_ms", "tpot_mean_ms")


@pytest.fixture(scope="session")
def replicas(
    docker_engine: docker.DockerClient, session_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    made = image.build(docker_engine, tmp_path_factory.mktemp("replica"))
    yield made
    made.remove(session_home)


def in_place(replicas: Replicas, version: str, home: Path) -> dict[str, str]:
    """The campaign's ``image:`` with that version, put in place as `campaign prepare` does."""
    given = Image(source="registry", reference=replicas.version(version))
    images.export_rootfs(replicas.client, images.ensure(replicas.client, given, home), home)
    return given.model_dump(mode="json")


@dataclass(frozen=True)
class Finished:
    folder: Path
    """The results folder."""
    said: str
    code: int

    @property
    def attempts(self) -> list[Attempt]:
        return campaigns.attempts(self.folder)


def carry_out(config: Path, home: Path, *words: str) -> Finished:
    """`campaign run`."""
    done = campaign("run", config, "--results", config.parent / "results", *words, home=home)
    return Finished(config.parent / "results" / config.stem, done.stdout, done.returncode)


def assert_good(finished: Finished, runs: int) -> None:
    """Every run of the plan has one accepted attempt, none was rejected, and the folder is whole."""
    assert finished.code == 0, finished.said
    assert [attempt.failure for attempt in finished.attempts if not attempt.accepted] == [], finished.said
    planned = {row["run_id"] for row in Store(finished.folder).plan()}
    assert len(planned) == runs
    assert Counter(attempt.run_id for attempt in finished.attempts) == dict.fromkeys(planned, 1)
    assert verify(Store(finished.folder)) == []


def assert_both_arms_ran_the_same(finished: Finished) -> None:
    asked: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for attempt in finished.attempts:
        cell = (attempt.metadata["model"], attempt.metadata["workload"])
        asked.setdefault(cell, set()).add(tuple(attempt.command["argv"]))
    assert {cell: len(commands) for cell, commands in asked.items()} == dict.fromkeys(asked, 1)
    assert {attempt.metadata["environment"] for attempt in finished.attempts} == {"native-chroot", "docker-baseline"}


# --- trtllm-bench -------------------------------------------------------------------------------------------


def test_1_0_is_accepted_in_throughput_and_latency(replicas, session_home, tmp_path):
    model = checkpoint(tmp_path, "llama")
    config = write(
        tmp_path,
        "trtllm-1.0",
        engine="trtllm",
        models=[model],
        workloads=[THROUGHPUT, LATENCY],
        image=in_place(replicas, "1.0.0", session_home),
    )
    finished = carry_out(config, session_home, "--no-report")
    assert_good(finished, runs=4)
    assert_both_arms_ran_the_same(finished)
    for attempt in finished.attempts:
        assert attempt.metadata["report"]["engine_version"] == "1.0.0"
        assert attempt.metadata["report"]["model_identity"] == "example/llama"
        figures = attempt.metrics
        for name in (*PRIMARY, *(SERVED if attempt.metadata["workload"] == "single" else SERVED[:2])):
            assert figures[name] > 0, name
        # The engine's own account of its memory, which the parser must not take apart wrongly.
        assert abs(figures["memory_identity_gib"]) < 0.02


def test_1_1_goes_on_after_a_kill_and_keeps_to_a_fixed_kv_cache(replicas, session_home, tmp_path):
    model = {**checkpoint(tmp_path, "llama"), "kv_cache_tokens": 65536}
    config = write(
        tmp_path,
        "trtllm-1.1",
        engine="trtllm",
        models=[model],
        repetitions=2,
        image=in_place(replicas, "1.1.0rc3", session_home),
    )
    killed = start("run", config, "--results", tmp_path / "results", "--no-report", home=session_home)
    accepted = _kill_after_the_first_acceptance(killed, tmp_path / "results" / "trtllm-1.1")
    finished = carry_out(config, session_home, "--no-report")
    assert finished.code == 0, finished.said
    attempts = [attempt for attempt in finished.attempts if attempt.metadata["outcome"] != "interrupted"]
    assert [attempt.failure for attempt in attempts if not attempt.accepted] == []
    planned = {row["run_id"] for row in Store(finished.folder).plan()}
    assert Counter(attempt.run_id for attempt in attempts) == dict.fromkeys(planned, 1)
    assert accepted <= {(attempt.run_id, attempt.number) for attempt in attempts}
    assert verify(Store(finished.folder)) == []
    assert {attempt.metrics["kv_cache_tokens"] for attempt in attempts} == {65536}


def _kill_after_the_first_acceptance(driver: subprocess.Popen[str], folder: Path) -> set[tuple[str, int]]:
    """Returns what had been accepted when the driver was killed."""
    path = folder / "journal.jsonl"
    deadline = time.monotonic() + 120
    accepted: set[tuple[str, int]] = set()
    while not accepted:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, "nothing was accepted"
        time.sleep(0.05)
        if path.exists():
            finished = journal.finished(journal.read(path)[0])
            accepted = {(event["run_id"], event["attempt"]) for event in finished if event["accepted"]}
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert driver.stdout is not None
    driver.stdout.close()
    return accepted


def test_1_2_from_a_saved_image_also_builds_and_runs_a_tensorrt_engine(replicas, session_home, tmp_path):
    models = [checkpoint(tmp_path, "llama"), {**checkpoint(tmp_path, "built"), "backend": "tensorrt"}]
    config = write(
        tmp_path,
        "trtllm-1.2",
        engine="trtllm",
        models=models,
        image={"source": "archive", "reference": str(archive := replicas.archive("1.2.0", tmp_path))},
    )
    prepared = campaign("prepare", config, home=session_home)
    assert prepared.returncode == 0, prepared.stdout
    assert "engine of built" in prepared.stdout
    finished = carry_out(config, session_home)
    assert_good(finished, runs=4)
    assert_both_arms_ran_the_same(finished)
    assert (finished.folder / "report" / "index.html").is_file()
    archive.unlink()
    for attempt in finished.attempts:
        assert ("--engine_dir" in attempt.command["argv"]) == (attempt.metadata["model"] == "built")
        # The TensorRT backend profiles no peak; missing with a reason is no ground to reject.
        assert (attempt.metrics["peak_memory_gib"] is None) == (attempt.metadata["model"] == "built")


def test_1_3_streams_one_request_at_a_time_on_a_device_that_tells_no_memory(replicas, session_home, tmp_path):
    config = write(
        tmp_path,
        "trtllm-1.3",
        engine="trtllm",
        models=[checkpoint(tmp_path, "llama")],
        workloads=[LATENCY],
        image=in_place(replicas, "1.3.0rc13", session_home),
    )
    finished = carry_out(config, session_home, "--no-report")
    assert_good(finished, runs=2)
    for attempt in finished.attempts:
        argv = attempt.command["argv"]
        assert "throughput" in argv, "`trtllm-bench latency` sizes itself by a query that a GB10 refuses"
        assert "--streaming" in argv
        assert attempt.metrics["concurrency_mean"] == pytest.approx(1.0, abs=0.05)
        assert all(attempt.metrics[name] > 0 for name in SERVED)


# --- vllm -------------------------------------------------------------------------------------------------------


def test_vllm_is_accepted_in_throughput_and_against_a_server(replicas, session_home, tmp_path):
    config = write(
        tmp_path,
        "vllm",
        engine="vllm",
        models=[checkpoint(tmp_path, "llama")],
        workloads=[THROUGHPUT, LATENCY],
        shakedown=True,
        image=in_place(replicas, "0.22.1", session_home),
    )
    finished = carry_out(config, session_home)
    assert_good(finished, runs=4)
    assert_both_arms_ran_the_same(finished)
    assert (finished.folder / "report" / "index.html").is_file()
    for attempt in finished.attempts:
        assert attempt.metadata["report"]["model_identity"] == "example/llama"
        for name in (*PRIMARY, *(SERVED if attempt.metadata["workload"] == "single" else ())):
            assert attempt.metrics[name] > 0, name
        # What an unmeasured start has compiled is found by the measured ones, in both arms.
        log = (attempt.folder / "stdout.log").read_text()
        assert "Directly load the compiled graph" in log
        assert "Compiling a graph" not in log


# --- failures in a campaign -----------------------------------------------------------------------------------

CAUSES = {
    # what the replica does: what the attempt's failure must say
    "out_of_memory": ("out_of_memory",),
    "missing_library": ("library_missing", "libcublasLt.so.13"),
    "ptxas": ("toolchain_too_old", "sm_121a"),
    "hang_at_load": (),
    "hang_in_decode": (),
    "killed": ("killed: ended by SIGKILL",),
    "no_report": ("report_missing",),
}
HANGS_S = 3
"""Silence that counts as a hang."""


@pytest.fixture(scope="module")
def failed(replicas: Replicas, session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One model for each way to fail, and one that runs."""
    place = tmp_path_factory.mktemp("failing")
    config = write(
        place,
        "failing",
        engine="trtllm",
        models=[
            *(checkpoint(place, kind.replace("_", "-"), {"fails": kind}) for kind in CAUSES),
            checkpoint(place, "good"),
        ],
        attempts_max=1,
        watchdog={"stall_s": HANGS_S, "factor": 3, "slack_s": HANGS_S},
        image=in_place(replicas, "1.2.0", session_home),
    )
    return carry_out(config, session_home, "--no-report")


def of(finished: Finished, model: str) -> list[Attempt]:
    return [attempt for attempt in finished.attempts if attempt.metadata["model"] == model]


@pytest.mark.parametrize("kind", CAUSES)
def test_a_failure_is_rejected_with_its_cause_in_both_arms(failed, kind):
    attempts = of(failed, kind.replace("_", "-"))
    assert len(attempts) == 2, failed.said
    for attempt in attempts:
        assert not attempt.accepted
        assert all(word in attempt.failure for word in CAUSES[kind]), attempt.failure
        outcome = attempt.metadata["outcome"]
        assert outcome == ("hung" if kind.startswith("hang") else "failed")


def test_no_report_is_a_failure_whatever_the_exit_code(failed):
    ended = [(attempt.metadata["exit"]["code"], attempt.metadata["outcome"]) for attempt in of(failed, "no-report")]
    assert ended == [(0, "failed")] * 2


def test_seven_models_that_cannot_run_take_nothing_from_the_eighth(failed):
    assert failed.code == EXIT_INCOMPLETE
    assert [attempt.accepted for attempt in of(failed, "good")] == [True, True]
    assert verify(Store(failed.folder)) == []


# --- failures of single attempts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(replicas: Replicas, docker_engine: docker.DockerClient, session_home: Path) -> dict[str, ImageIdentity]:
    """Version to the image in the engine."""
    return {
        version: images.ensure(
            docker_engine, Image(source="registry", reference=replicas.version(version)), session_home
        )
        for version in ("1.1.0rc3", "0.22.1")
    }


def attempt(
    tmp_path: Path,
    image: ImageIdentity,
    engine: str,
    workload: dict[str, Any],
    entry: dict[str, Any],
    *mounts: Mount,
) -> Report:
    """One attempt in a container, without a campaign."""
    program = engine_of(engine)
    model, asked = Model.model_validate_json(json.dumps(entry)), Workload.model_validate_json(json.dumps(workload))
    output = tmp_path / "attempt" / "output"
    output.mkdir(parents=True)
    output.chmod(0o777)
    prepared = program.prepare(model, asked, tmp_path / "cache")
    launch = program.command(model, asked, prepared)
    launch = launch.model_copy(
        update={"mounts": (*launch.mounts, Mount(source=str(output), target=OUTPUT, read_only=False))}
    )
    labels = {"campaign": f"replica-{os.getpid()}", "run": tmp_path.name, "attempt": "1"}
    process = arm(Environment(name="docker", kind="docker", mounts=mounts), tmp_path / "home").create(
        launch, labels, output.parent, image
    )
    try:
        process.start()
        assert process.wait(60) is not None
    finally:
        process.close()
    return program.parse(output, model, asked, prepared)


@pytest.mark.parametrize(
    ("kind", "workload", "words"),
    [
        ("out_of_memory", THROUGHPUT, ("out_of_memory",)),
        ("out_of_memory_serving", LATENCY, ("out_of_memory",)),
        ("missing_library", LATENCY, ("library_missing", "libcudart.so.13")),
        ("ptxas", THROUGHPUT, ("toolchain_too_old", "sm_121a")),
        ("ptxas", LATENCY, ("toolchain_too_old", "sm_121a")),
        ("killed", LATENCY, ("kill",)),
        ("no_report", THROUGHPUT, ("report_missing",)),
        ("cut_report", THROUGHPUT, ("report_invalid",)),
    ],
)
def test_vllm_fails_with_its_cause(identity, tmp_path, kind, workload, words):
    entry = checkpoint(tmp_path, "llama", {"fails": kind})
    report = attempt(tmp_path, identity["0.22.1"], "vllm", workload, entry)
    assert report.failure is not None
    assert all(word in report.failure for word in words), report.failure


@pytest.mark.parametrize(
    ("kind", "words"),
    [("out_of_memory_serving", ("out_of_memory", "6 requests")), ("cut_report", ("report_invalid",))],
)
def test_trtllm_fails_with_its_cause(identity, tmp_path, kind, words):
    entry = checkpoint(tmp_path, "llama", {"fails": kind})
    report = attempt(tmp_path, identity["1.1.0rc3"], "trtllm", THROUGHPUT, entry)
    assert report.failure is not None
    assert all(word in report.failure for word in words), report.failure


def test_a_replica_may_fail_at_one_start_alone(identity, tmp_path):
    """For tests of what comes after: the retry, the shakedown before it."""
    entry = checkpoint(tmp_path, "llama", {"fails": "killed", "starts": [2]})
    starts = tmp_path / "starts"
    starts.mkdir()
    counter = Mount(source=str(starts), target="/replica/starts", read_only=False)
    reports = [
        attempt(tmp_path / str(start), identity["1.1.0rc3"], "trtllm", THROUGHPUT, entry, counter)
        for start in (1, 2, 3)
    ]
    assert [report.requests_answered for report in reports] == [6, 0, 6]
