"""llama.cpp under load: what it reports is complete, agrees with itself, and names what went wrong."""

from __future__ import annotations

import ast
import json
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines import EngineError
from actors.engines.common.requests import SCHEMA
from actors.engines.llamacpp.engine import PROGRAM, compute_threads
from actors.engines.llamacpp.report import UNITS, EngineReport
from actors.engines.registry import engine
from actors.types import Prepared, Report, Workload
from tests.actors.engines.llamacpp import given_llamacpp as given_

REQUIRED = sorted(
    (section, key)
    for section, part in {
        "engine": ("name", "version"),
        "model": ("name", "parameters", "weight_bytes", "file_sha256"),
        "settings": ("threads", "concurrency"),
        "requests": ("expected", "answered", "failed"),
        "tokens": ("input", "output", "messages", "output_expected"),
        "performance": ("steady_s", "token_throughput_tok_s", "request_throughput_req_s"),
        "memory": ("peak_bytes", "kv_cache"),
        "clocks_ns": ("process_start", "load_end", "warmup_end", "steady_start", "first_token", "steady_end"),
    }.items()
    for key in part
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def served(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    """One real run: output folder and what was prepared."""
    output, ready, ended = given_.serve(cache, tmp_path_factory.mktemp("attempt"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ended.stdout == ""
    return output, ready


@pytest.fixture
def copied(served: tuple[Path, Prepared], tmp_path: Path) -> Path:
    """The real run's output folder, to be damaged."""
    return Path(shutil.copytree(served[0], tmp_path / "attempt" / "output"))


def parse(output: Path, ready: Prepared, workload: Workload = given_.WORKLOAD) -> Report:
    return given_.ENGINE.parse(output, given_.MODEL, workload, ready)


def values(report: Report) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in report.metrics}


def rewrite(output: Path, **sections: Any) -> None:
    report = json.loads((output / "report.json").read_text())
    for section, change in sections.items():
        report[section] |= change
    (output / "report.json").write_text(json.dumps(report))


# --- a run that went well ----------------------------------------------------------------------------------------


def test_every_request_is_answered_with_exactly_the_tokens_asked_for(served: tuple[Path, Prepared]) -> None:
    report = parse(*served)
    assert report.failure is None
    assert report.model_identity == "tiny"
    assert (report.requests_expected, report.requests_answered, report.requests_failed) == (7, 7, 0)
    assert report.tokens_generated == report.tokens_expected == 7 * 9
    assert report.engine_version is not None
    assert report.engine_version.startswith("xllamacpp 20")


def test_every_metric_is_there_finite_and_has_its_unit_and_source(served: tuple[Path, Prepared]) -> None:
    metrics = parse(*served).metrics
    assert {metric.name: metric.unit_of_measure for metric in metrics} == UNITS
    assert all(metric.value is not None and math.isfinite(metric.value) for metric in metrics)
    assert all(metric.source and metric.reason is None for metric in metrics)


def test_figures_can_be_recomputed_from_the_single_requests(served: tuple[Path, Prepared]) -> None:
    output, ready = served
    figures = values(parse(output, ready))
    table = pq.read_table(output.parent / "requests.parquet")
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert [row["request_index"] for row in rows] == list(range(7))
    latency = [row["latency_ms"] for row in rows]
    assert figures["latency_mean_ms"] == pytest.approx(statistics.mean(latency))
    # Python's "inclusive" quantiles are type 7 of Hyndman and Fan too.
    cuts = statistics.quantiles(latency, n=100, method="inclusive")
    assert figures["latency_p50_ms"] == pytest.approx(cuts[49])
    assert figures["latency_p95_ms"] == pytest.approx(cuts[94])
    assert figures["latency_p99_ms"] == pytest.approx(cuts[98])
    gaps = [gap for row in rows for gap in row["itl_ms"]]
    assert len(gaps) == 7 * (9 - 1)
    assert figures["itl_mean_ms"] == pytest.approx(statistics.mean(gaps), rel=1e-5)
    assert figures["ttft_mean_ms"] == pytest.approx(statistics.mean(row["ttft_ms"] for row in rows))
    for row in rows:
        assert row["ttft_ms"] + sum(row["itl_ms"]) <= row["latency_ms"] + 1e-3
    assert figures["token_throughput_tok_s"] == pytest.approx(7 * 9 / (figures["steady_s"] or 0))
    assert figures["total_token_throughput_tok_s"] == pytest.approx(7 * (9 + 12) / (figures["steady_s"] or 0))


def test_no_more_requests_are_in_flight_than_asked_for(served: tuple[Path, Prepared]) -> None:
    output, ready = served
    parse(output, ready)
    rows = pq.read_table(output.parent / "requests.parquet").to_pylist()
    changes = sorted(
        [(row["submitted_ms"] + row["latency_ms"], -1) for row in rows] + [(row["submitted_ms"], 1) for row in rows]
    )
    flying = most = 0
    for _, change in changes:
        flying += change
        most = max(most, flying)
    assert most == given_.MODEL.batch_size


def test_stage_clocks_are_in_order_and_leave_no_time_unaccounted(served: tuple[Path, Prepared]) -> None:
    output, ready = served
    clocks = json.loads((output / "report.json").read_text())["clocks_ns"]
    order = (
        "process_start",
        "load_start",
        "load_end",
        "warmup_end",
        "steady_start",
        "first_token",
        "steady_end",
        "report",
    )
    assert [clocks[name] for name in order] == sorted(clocks.values())
    figures = values(parse(output, ready))
    stages = sum(figures[name] or 0 for name in ("load_s", "warmup_s", "steady_s"))
    assert stages == pytest.approx((clocks["steady_end"] - clocks["process_start"]) / 1e9, abs=1e-3)


def test_kv_cache_is_what_llamacpp_allocated_and_what_the_shape_demands(served: tuple[Path, Prepared]) -> None:
    output, ready = served
    report = EngineReport.model_validate_json((output / "report.json").read_bytes())
    per_token = int(ready.facts["kv_bytes_per_token"])
    cache = report.memory.kv_cache
    assert cache.context_tokens == 3 * 256  # a slot per request in flight, in llama.cpp's steps of 256
    assert cache.computed_bytes == per_token * cache.context_tokens
    assert cache.logged_bytes == pytest.approx(cache.computed_bytes, abs=0.01 * 2**20)


def test_the_engine_itself_says_which_model_it_loaded(served: tuple[Path, Prepared]) -> None:
    output, ready = served
    model = json.loads((output / "report.json").read_text())["model"]
    assert model["name"] == "tiny"
    assert model["parameters"] == ready.facts["parameters"]
    assert model["file_sha256"] == ready.digests["weights"]


def test_progress_ends_with_everything_answered(served: tuple[Path, Prepared]) -> None:
    progress = json.loads((served[0] / "progress.json").read_text())
    assert (progress["stage"], progress["answered"], progress["expected"]) == ("steady", 7, 7)
    assert progress["throughput_tok_s"] > 0


def test_repeated_prompts_are_not_cheaper(served: tuple[Path, Prepared]) -> None:
    """Warm-up asks the first two prompts; the same two, measured, find nothing in a cache."""
    log = (served[0] / "engine.log").read_text()
    cached = [line for line in log.splitlines() if "cached n_tokens" in line]
    assert len(cached) >= 9
    assert all("cached n_tokens = 0," in line for line in cached)


# --- what runs inside an arm -------------------------------------------------------------------------------------


def test_the_program_needs_the_interpreter_and_xllamacpp_alone() -> None:
    tree = ast.parse(PROGRAM.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"xllamacpp"}


def test_the_command_is_the_same_for_every_arm_and_mounts_only_what_it_reads(cache: Path) -> None:
    ready = given_.prepared(cache)
    launch = given_.ENGINE.command(given_.MODEL, given_.WORKLOAD, ready)
    assert launch == given_.ENGINE.command(given_.MODEL, given_.WORKLOAD, given_.prepared(cache))
    assert launch.argv[:2] == ("python3", "-I")
    assert all(mount.read_only for mount in launch.mounts)
    assert {mount.source for mount in launch.mounts} == set(ready.files.values())
    assert {"--requests=7", "--concurrency=3", "--warmup-requests=2"} < set(launch.argv)


def test_a_latency_workload_keeps_one_request_in_flight(cache: Path) -> None:
    workload = given_.WORKLOAD.model_copy(update={"kind": "latency"})
    launch = given_.ENGINE.command(given_.MODEL, workload, given_.prepared(cache, workload=workload))
    assert "--concurrency=1" in launch.argv


def test_a_core_is_left_to_the_harness_unless_the_model_says_otherwise(cache: Path) -> None:
    assert given_.prepared(cache).facts["threads"] == compute_threads() == max(1, len(os.sched_getaffinity(1)) - 1)
    told = given_.MODEL.model_copy(update={"engine_options": {"llamacpp": {"threads": 3}}})
    assert given_.prepared(cache, told).facts["threads"] == 3


@pytest.mark.parametrize(
    ("options", "complaint"), [({"thraeds": 3}, "no option thraeds"), ({"threads": 0}, "positive number, not 0")]
)
def test_a_wrong_engine_option_is_named(options: dict[str, Any], complaint: str, cache: Path) -> None:
    with pytest.raises(EngineError, match=complaint):
        given_.prepared(cache, given_.MODEL.model_copy(update={"engine_options": {"llamacpp": options}}))


def test_a_workload_longer_than_the_context_is_refused(cache: Path) -> None:
    with pytest.raises(EngineError, match="more than the context of tiny"):
        given_.prepared(cache, workload=given_.WORKLOAD.model_copy(update={"input_tokens": 8190}))


def test_preparing_twice_changes_nothing(cache: Path) -> None:
    first = given_.prepared(cache)
    times = {path: Path(path).stat().st_mtime_ns for path in first.files.values()}
    assert given_.prepared(cache) == first
    assert {path: Path(path).stat().st_mtime_ns for path in first.files.values()} == times


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    assert engine("llamacpp").name == "llamacpp"
    with pytest.raises(EngineError, match=r"no engine is called 'llamacp'.*llamacpp"):
        engine("llamacp")


# --- a run that went wrong ---------------------------------------------------------------------------------------


def test_without_a_report_the_failure_says_what_the_program_said(cache: Path, tmp_path: Path) -> None:
    ready = given_.prepared(cache)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(Path(ready.files["weights"]).read_bytes()[:5000])
    argv = given_.argv_here(
        given_.ENGINE.command(given_.MODEL, given_.WORKLOAD, ready), tmp_path / "attempt" / "output"
    )
    argv = [f"--model={broken}" if text.startswith("--model=") else text for text in argv]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    (tmp_path / "attempt" / "stderr.log").write_text("2026-01-01T00:00:00Z " + ended.stderr)
    report = parse(tmp_path / "attempt" / "output", ready)
    assert (
        report.failure
        == f"report_missing: llama.cpp could not load {broken}: Failed to init server, please check the input params."
    )
    assert report.requests_answered == 0
    assert all(metric.value is None and metric.reason == report.failure for metric in report.metrics)
    assert [metric.name for metric in report.metrics] == list(UNITS)


SAYS = """
import atexit, os, sys
from actors.engines.llamacpp import bench
def benchmark(*_):
    atexit.register(os.write, 2, b"a thread of llama.cpp, late\\n")
    {then}
bench.benchmark = benchmark
sys.exit(bench.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [("pass", 0, ""), ("raise bench.Failure('no server')", 1, "llamacpp_bench: no server\n")],
)
def test_what_llamacpp_says_when_all_is_done_stays_in_its_log(then: str, code: int, said: str, tmp_path: Path) -> None:
    options = ["--model=m", "--dataset=d", f"--output={tmp_path}", "--requests=1", "--concurrency=1", "--threads=1"]
    command = [sys.executable, "-c", SAYS.format(then=then), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[4])
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", said)
    assert (tmp_path / "engine.log").read_text() == "a thread of llama.cpp, late\n"


def test_running_out_of_memory_has_its_own_name(cache: Path, tmp_path: Path) -> None:
    """A KV cache for 256 requests in flight, under a limit on the address space that has no room for it."""
    big = given_.SHAPE.model_copy(update={"layers": 24, "hidden_size": 512, "heads": 8, "kv_heads": 8})
    model = given_.MODEL.model_copy(update={"random_weights": big, "batch_size": 256})
    workload = given_.WORKLOAD.model_copy(update={"input_tokens": 2000, "output_tokens": 2000, "requests": 2})
    ready = given_.prepared(cache, model, workload)
    output = tmp_path / "output"
    limit = 3 * 2**30
    ended = subprocess.run(
        given_.argv_here(given_.ENGINE.command(model, workload, ready), output),
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert ended.returncode != 0
    report = given_.ENGINE.parse(output, model, workload, ready)
    assert report.failure is not None
    assert report.failure.startswith("out_of_memory: ")


def test_a_prompt_that_the_model_cannot_read_is_a_failed_request(cache: Path, tmp_path: Path) -> None:
    ready = given_.prepared(cache)
    lines = Path(ready.files["dataset"]).read_text().splitlines()
    wrong = json.loads(lines[4]) | {"input_ids": [100_000] * 12}
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text("\n".join([*lines[:4], json.dumps(wrong), *lines[5:]]) + "\n")
    output = tmp_path / "attempt" / "output"
    argv = given_.argv_here(given_.ENGINE.command(given_.MODEL, given_.WORKLOAD, ready), output)
    argv = [f"--dataset={dataset}" if text.startswith("--dataset=") else text for text in argv]
    subprocess.run(argv, check=True, capture_output=True)
    report = parse(output, ready)
    assert report.failure == "requests_failed: 1 of 7, the first: Prompt contains invalid tokens"
    assert (report.requests_answered, report.requests_failed) == (6, 1)
    assert report.tokens_generated == 6 * 9
    rows = pq.read_table(output.parent / "requests.parquet").to_pylist()
    assert [row["ok"] for row in rows] == [index != 4 for index in range(7)]
    assert rows[4]["error"] == "Prompt contains invalid tokens"
    assert rows[4]["ttft_ms"] is None


def test_another_model_than_the_one_asked_for_is_noticed(served: tuple[Path, Prepared], copied: Path) -> None:
    _, ready = served
    for section in ({"name": "tony"}, {"parameters": 1}, {"file_sha256": "0" * 64}):
        original = (copied / "report.json").read_text()
        rewrite(copied, model=section)
        assert str(parse(copied, ready).failure).startswith("model_identity: asked for tiny (")
        (copied / "report.json").write_text(original)
    rewrite(copied, model={"name": "tony"})
    assert parse(copied, ready).model_identity == "tony"


@pytest.mark.parametrize("first_process", [False, True], ids=["session", "pid 1"])
def test_sigterm_ends_it_and_no_report_appears(first_process: bool, cache: Path, tmp_path: Path) -> None:
    """Also where it is process 1 of a container, for which the kernel drops a signal that has no handler."""
    workload = given_.WORKLOAD.model_copy(update={"requests": 2000, "output_tokens": 200})
    ready = given_.prepared(cache, workload=workload)
    output = tmp_path / "output"
    argv = given_.argv_here(given_.ENGINE.command(given_.MODEL, workload, ready), output)
    if first_process:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        argv = ["unshare", *user, "--pid", "--fork", "--kill-child", *argv]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        while "steady" not in (output / "progress.json").read_text() if (output / "progress.json").exists() else True:
            assert process.poll() is None
            time.sleep(0.02)
        target = process.pid
        if first_process:
            target = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(target, signal.SIGTERM)
        assert process.wait(timeout=20) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert not (output / "report.json").exists()
    assert parse(output, ready, workload).failure == "report_missing"


# --- a report that is damaged ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "key"), REQUIRED)
def test_a_report_without_a_key_names_that_key(
    section: str, key: str, served: tuple[Path, Prepared], copied: Path
) -> None:
    report = json.loads((copied / "report.json").read_text())
    del report[section][key]
    (copied / "report.json").write_text(json.dumps(report))
    assert parse(copied, served[1]).failure == f"report_invalid: {section}.{key} is missing"
    del report[section]
    (copied / "report.json").write_text(json.dumps(report))
    assert parse(copied, served[1]).failure == f"report_invalid: {section} is missing"


@settings(max_examples=60)
@given(data=st.data())
def test_a_truncated_report_or_request_list_never_passes(
    data: st.DataObject, served: tuple[Path, Prepared], tmp_path_factory: pytest.TempPathFactory
) -> None:
    output = Path(shutil.copytree(served[0], tmp_path_factory.mktemp("attempt") / "output"))
    name = data.draw(st.sampled_from(["report.json", "requests.jsonl"]))
    whole = (output / name).read_bytes()
    (output / name).write_bytes(whole[: data.draw(st.integers(0, len(whole.rstrip()) - 1))])
    report = parse(output, served[1])
    assert str(report.failure).startswith("report_invalid: ")
    assert all(metric.value is None for metric in report.metrics)


@settings(max_examples=30)
@given(data=st.data())
def test_order_of_keys_and_keys_of_later_versions_do_not_matter(
    data: st.DataObject, served: tuple[Path, Prepared], tmp_path_factory: pytest.TempPathFactory
) -> None:
    output = Path(shutil.copytree(served[0], tmp_path_factory.mktemp("attempt") / "output"))

    def shuffled(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        keys = data.draw(st.permutations(sorted(part)))
        inner = {key: shuffled(part[key]) for key in keys}
        return inner | {f"later_{key}": None for key in data.draw(st.sets(st.text(max_size=5), max_size=2))}

    report = json.loads((output / "report.json").read_text())
    (output / "report.json").write_text(json.dumps(shuffled(report)))
    assert parse(output, served[1]).model_dump() == parse(*served).model_dump()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"requests": {"answered": 8}}, "requests.answered: 8 instead of 7"),
        ({"requests": {"expected": 6}}, "requests.expected: 6 instead of 7"),
        ({"tokens": {"output": 64}}, "tokens.output: 64 instead of 63"),
        ({"tokens": {"output_expected": 70}}, "tokens.output_expected: 70 instead of 63"),
        ({"performance": {"token_throughput_tok_s": 1e6}}, "performance.token_throughput_tok_s: 1e+06 does not agree"),
        ({"performance": {"steady_s": math.nan}}, "performance.steady_s: "),
        ({"model": {"parameters": "many"}}, "model.parameters: "),
        ({"memory": {"peak_bytes": 0}}, "memory.peak_bytes: "),
        ({"memory": {"peak_bytes": 10**400}}, "memory.peak_bytes: "),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(
    change: dict[str, Any], complaint: str, served: tuple[Path, Prepared], copied: Path
) -> None:
    rewrite(copied, **change)
    assert str(parse(copied, served[1]).failure).startswith(f"report_invalid: {complaint}")


def test_a_request_missing_from_the_list_or_twice_in_it_is_noticed(served: tuple[Path, Prepared], copied: Path) -> None:
    lines = (copied / "requests.jsonl").read_text().splitlines(keepends=True)
    (copied / "requests.jsonl").write_text("".join(lines[:-1]))
    assert parse(copied, served[1]).failure == "report_invalid: requests.jsonl lines: 6 instead of 7"
    (copied / "requests.jsonl").write_text("".join([*lines[:-1], lines[0]]))
    assert str(parse(copied, served[1]).failure).startswith("report_invalid: request indices: ")
    (copied / "requests.jsonl").unlink()
    assert parse(copied, served[1]).failure == "report_invalid: requests.jsonl is missing"
