"""What an engine leaves is read in bounded memory and time, however much it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.engines.registry import engine
from actors.gpu import parsing
from actors.types import Attempt, Environment, Gate, Model, Prepared, Workload

PROJECT = Path(__file__).parents[3]
GAP_MS = 2.0


def order(requests: int, tokens: int = 4, engine_name: str = "llamacpp", **more: object) -> Attempt:
    return Attempt(
        campaign="c", campaign_id="c1", run_id="r", attempt=1, unit="u", engine=engine_name,
        model=Model(name="m", engines=(engine_name,), path="/m"),
        workload=Workload(name="w", requests=requests, input_tokens=16, output_tokens=tokens),
        environment=Environment(name="native-host", kind="native-host"), gate=Gate(), image=None,
        prepared=Prepared(facts={"model_identity": "m", "general_name": "m", "parameters": 8},
            digests={"weights": "0" * 64}),
    ).model_copy(update=more)  # fmt: skip


def served(output: Path, requests: int, tokens: int = 4) -> None:
    """What llamacpp_bench.py leaves after so many requests."""
    output.mkdir(parents=True)
    seconds = 2.0 * requests / 1000
    with (output / "requests.jsonl").open("w") as file:
        for number in range(requests):
            latency = 5.0 + (number * 7919 % 1000) / 100
            file.write(
                f'{{"request_index": {number}, "submitted_ms": {number * 1.5}, "ttft_ms": 3.5, "latency_ms": '
                f'{latency}, "input_tokens": 16, "output_tokens": {tokens}, "ok": true, "error": null, "itl_ms": '
                f'{[GAP_MS] * (tokens - 1)}, "answer": "a{number}"}}\n'
            )
    steady_ns = int(seconds * 1e9) + 10**9
    steady_s = steady_ns / 1e9
    report = {
        "schema": 1,
        "engine": {"name": "llamacpp", "version": "1"},
        "model": {"name": "m", "parameters": 8, "weight_bytes": 1, "file_sha256": "0" * 64},
        "settings": {"threads": 1, "concurrency": 1},
        "requests": {"expected": requests, "answered": requests, "failed": 0},
        "tokens": {"input": 16 * requests, "output": tokens * requests, "messages": tokens * requests,
                   "output_expected": tokens * requests},
        "performance": {"steady_s": steady_s, "token_throughput_tok_s": tokens * requests / steady_s,
                        "request_throughput_req_s": requests / steady_s},
        "memory": {"peak_bytes": 2**20,
        "kv_cache": {"logged_bytes": 2**20, "computed_bytes": 2**20, "context_tokens": 64}},
        "clocks_ns": {"process_start": 0, "load_end": 1, "warmup_end": 2, "steady_start": 3, "first_token": 4,
                      "steady_end": 3 + steady_ns},
    }  # fmt: skip
    (output / "report.json").write_text(json.dumps(report))


MEASURED = """
import json, re, resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_parsing import engine, order, parsing
found = parsing.read(order({requests}), engine("llamacpp"), Path({output!r}))
# getrusage's is that of who forked us, where larger
here_kib = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
peak = [kib >> 10 for kib in (int(here_kib), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)]
print(json.dumps([peak, found.report.model_dump(mode="json")]))
"""


def test_requests_by_the_ten_thousand_are_read_line_by_line(tmp_path: Path) -> None:
    """Ten million are kept within the same memory (docs/threat-model.md says how that was measured)."""
    output = tmp_path / "output"
    served(output, 30_000)
    code = MEASURED.format(tests=str(Path(__file__).parent), requests=30_000, output=str(output))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    (here_mib, apart_mib), report = json.loads(done.stdout)
    assert report["failure"] is None
    assert here_mib < 250, "the actor's own process held what it should not"
    assert apart_mib < 260
    figures = {metric["name"]: metric["value"] for metric in report["metrics"]}
    assert figures["itl_p99_ms"] == GAP_MS and 5.0 < figures["latency_p50_ms"] < 15.0
    assert report["requests_answered"] == pq.ParquetFile(tmp_path / "requests.parquet").metadata.num_rows == 30_000


def test_more_requests_than_were_asked_for_are_not_even_read(tmp_path: Path) -> None:
    output = tmp_path / "output"
    served(output, 20)
    with (output / "requests.jsonl").open("a") as file:
        file.write("not even JSON\n" * 100_000)
    lines = (output / "requests.jsonl").read_text().splitlines(keepends=True)
    (output / "requests.jsonl").write_text("".join([*lines[:20], *lines[:20] * 10_000]))
    found = parsing.read(order(20), engine("llamacpp"), output)
    assert found.report.failure == "report_invalid: requests.jsonl lines: more than the 20 that were asked for"
    assert list(tmp_path.glob("*parquet*")) == []


def test_a_line_without_an_end_is_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "output"
    served(output, 2)
    (output / "requests.jsonl").write_bytes(b'{"request_index": 0, "answer": "' + b"a" * (18 * 2**20))
    found = parsing.read(order(2), engine("llamacpp"), output)
    assert found.report.failure == "report_invalid: requests.jsonl: a line of more than 16 MiB"


def test_a_report_that_needs_too_much_memory_ends_its_reader_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MEMORY_BYTES", 200 * 2**20)
    output = tmp_path / "output"
    output.mkdir()
    (output / "report.json").write_bytes(b"[" + b"[]," * 4_000_000 + b"[]]")
    with pytest.raises(parsing.Unreadable, match="takes more than"):
        parsing.read(order(2, engine_name="vllm"), engine("vllm"), output)


def test_a_reader_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "TIME_S", 0.2)
    output = tmp_path / "output"
    served(output, 12_000)
    with pytest.raises(parsing.Unreadable, match=r"did not end within 0\.2 s"):
        parsing.read(order(12_000), engine("llamacpp"), output)
