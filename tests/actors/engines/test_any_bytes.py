"""Whatever lies where a report should lie: `parse` of an engine answers with a failure,
and `parse_file` refuses in words.

A parser that raised would stop a campaign, and again at every resume.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.engines import Engine, EngineError
from actors.engines.llamacpp.engine import LlamaCpp
from actors.engines.parse import parse_file
from actors.engines.trtllm.engine import TrtLlm
from actors.engines.vllm.engine import Vllm
from actors.types import Model, Prepared, Report, Workload

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = Model(name="m", engines=("vllm",), huggingface_id="a/b", weight_bytes=10**9, kv_bytes_per_token=57_344)
ENGINES: list[Engine] = [TrtLlm(), Vllm(), LlamaCpp()]
PREPARED = Prepared(
    files={"weights": "/w", "dataset": "/d"},
    digests={"weights": "0" * 64},
    facts={"model_identity": "a/b", "general_name": "m", "parameters": 1},
)
KINDS = ("throughput", "latency")

LLAMACPP = {
    "schema": 1,
    "engine": {"name": "llamacpp", "version": "1"},
    "model": {"name": "m", "parameters": 1, "weight_bytes": 1, "file_sha256": "0" * 64},
    "settings": {"threads": 1, "concurrency": 1},
    "requests": {"expected": 1, "answered": 1, "failed": 0},
    "tokens": {"input": 1, "output": 2, "messages": 2, "output_expected": 2},
    "performance": {"steady_s": 1.0, "token_throughput_tok_s": 2.0, "request_throughput_req_s": 1.0},
    "memory": {"peak_bytes": 1, "kv_cache": {"logged_bytes": 1, "computed_bytes": 1, "context_tokens": 1}},
    "clocks_ns": {"process_start": 0, "load_end": 1, "warmup_end": 1, "steady_start": 0, "first_token": 1,
    "steady_end": 10**9},
}  # fmt: skip
LINE = {
    "request_index": 0, "submitted_ms": 0.0, "ttft_ms": 1.0, "latency_ms": 2.0, "input_tokens": 1, "output_tokens": 2,
    "ok": True,
    "error": None, "itl_ms": [1.0],
}  # fmt: skip
DETAILED = json.loads((FIXTURES / "vllm" / "h100_0.22.1" / "bench_serve.json").read_text()) | {
    **{f"{p}_{kind}_ms": 3.0 for p in ("mean", "p50", "p95", "p99") for kind in ("ttft", "tpot", "itl", "e2el")},
    "input_lens": [1], "output_lens": [2], "ttfts": [0.1], "itls": [[0.1]], "start_times": [1.0], "errors": [""],
    "generated_texts": ["x"],
}  # fmt: skip
REPORTS: list[Any] = [
    LLAMACPP,
    DETAILED,
    json.loads((FIXTURES / "vllm" / "h100_0.22.1" / "throughput.json").read_text()),
    {"avg_latency": 1.0, "latencies": [1.0], "percentiles": {"50": 1.0, "99": 1.0}},
    *(json.loads((FIXTURES / "trtllm" / f"{name}.json").read_text())
    for name in ("latency_v1.2.0", "throughput_v1.1.0rc3", "latency_spec_decode_v1.2.0")),
]  # fmt: skip
RECORDS: Any = json.loads((FIXTURES / "trtllm" / "latency_v1.2.0.requests.json").read_text())[:3]

ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**18, 10**30, 0.0, -0.5, 1e308, -1e308, float("nan"), float("inf"),
        float("-inf"),
    "", "x", "NaN", "\ud800", [], {}, [[]], [None], ["x"], [1e308] * 3, [[1e308] * 2] * 2, {"a": 1}, "a" * 5000,
]  # fmt: skip
HUGE = "1" + "0" * 400
DEEP = "[" * 100_000

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*path, key), *places(part, (*path, key))]]


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> str:
    """A report with up to three values replaced, dropped, blown up or cut."""
    for _ in range(draw(st.integers(1, 3))):
        there = places(whole)
        if not there:
            break
        whole = changed(whole, draw(st.sampled_from(there)), draw(st.sampled_from(ODD) | anything))
    text = json.dumps(whole)
    if draw(st.booleans()):
        text = text.replace("1", HUGE, draw(st.integers(0, 2)))
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


files = st.one_of(
    st.sampled_from(REPORTS).flatmap(damaged).map(lambda text: text.encode("utf-8", "surrogatepass")),
    anything.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=300),
    st.sampled_from(
        [
            DEEP.encode(),
            b'{"a":' * 50_000,
            HUGE.encode(),
            f'{{"elapsed_time": {HUGE}}}'.encode(),
            b"\xff\xfe{\x00}\x00",
            b"\x00" * 64,
        ]
    ),
)
beside = st.one_of(
    st.none(),
    damaged(RECORDS).map(str.encode),
    damaged([LINE]).map(lambda text: text[1:-1].encode()),
    st.binary(max_size=100),
)
logs = st.one_of(
    st.just(b""),
    st.binary(max_size=300),
    st.sampled_from([path.read_bytes() for path in sorted(FIXTURES.glob("*/fail_*.log"))]),
    st.sampled_from([
        f"GPU KV cache size: {HUGE} tokens\nAvailable KV cache memory: {HUGE} GiB\n"
        f"Total num output tokens:  {HUGE}\n".encode(),
        f"[MemUsageChange] Allocated {HUGE}.5 GiB for max tokens in paged KV cache ({HUGE})\n".encode(),
        f"SpecDecoding metrics: Accepted: {HUGE} tokens, Drafted: {HUGE} tokens, x\n"
        f"Prefix cache hit rate: {HUGE}%\n".encode(),
        f"Number of blocks in KV cache primary pool: {HUGE}\nNumber of tokens per block: {HUGE}\n".encode(),
        b"Available KV cache memory: 1.2.3 GiB\nModel loading took ... GiB and ... seconds\n",
    ]),
)  # fmt: skip

often = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: str(engine.name))
@often
@given(report=files, records=beside, log=logs, kind=st.sampled_from(KINDS))
def test_parse_answers_whatever_lies_there(
    engine: Engine, report: bytes, records: bytes | None, log: bytes, kind: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        output.mkdir()
        (output / "report.json").write_bytes(report)
        Path(folder, "stdout.log").write_bytes(log)
        if records is not None:
            for name in ("requests.json", "requests.jsonl"):
                (output / name).write_bytes(records)
        found = engine.parse(
            output, MODEL, Workload(name="w", kind=kind, requests=1, input_tokens=1, output_tokens=2), PREPARED
        )
    assert isinstance(found, Report)
    found.model_dump_json()
    for metric in found.metrics:
        assert metric.value is not None or metric.reason, metric.name


@pytest.mark.parametrize("engine", ["trtllm", "vllm", "llamacpp"])
@often
@given(report=files, log=st.none() | logs, records=beside)
def test_parse_file_answers_or_refuses_in_words(
    engine: str, report: bytes, log: bytes | None, records: bytes | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        path.write_bytes(report)
        written = {"log": log, "requests": records}
        given_: dict[str, Path | None] = {}
        for name, content in written.items():
            given_[name] = None if content is None else Path(folder, name)
            if content is not None:
                Path(folder, name).write_bytes(content)
        try:
            found = parse_file(engine, path, given_["log"], given_["requests"])
        except EngineError as error:
            assert str(error)
        else:
            json.dumps(found, allow_nan=False)


def nothing(path: Path) -> None: ...


def folder_there(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [nothing, folder_there], ids=["nothing", "a folder"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: str(engine.name))
def test_no_file_or_a_folder_is_answered_too(engine: Engine, make: Callable[[Path], None], tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    make(output / "report.json")
    found = engine.parse(output, MODEL, Workload(name="w", requests=1, input_tokens=1, output_tokens=1), PREPARED)
    assert found.failure
    with pytest.raises(EngineError):
        parse_file(engine.name, output / "report.json")
