"""What ``bench.py`` leaves behind: its report and its requests, read strictly, checked against each other.

A report parses completely or names the key that is missing or wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from actors.types import Metric, Report, Workload

GIB = 2**30

UNITS = {
    "token_throughput_tok_s": "tok/s",
    "total_token_throughput_tok_s": "tok/s",
    "request_throughput_req_s": "req/s",
    "latency_mean_ms": "ms",
    "latency_p50_ms": "ms",
    "latency_p95_ms": "ms",
    "latency_p99_ms": "ms",
    "ttft_mean_ms": "ms",
    "ttft_p50_ms": "ms",
    "ttft_p95_ms": "ms",
    "ttft_p99_ms": "ms",
    "itl_mean_ms": "ms",
    "itl_p50_ms": "ms",
    "itl_p95_ms": "ms",
    "itl_p99_ms": "ms",
    "peak_memory_gib": "GiB",
    "kv_cache_gib": "GiB",
    "load_s": "s",
    "warmup_s": "s",
    "first_token_s": "s",
    "steady_s": "s",
}
"""Every metric of this engine, in the order reported."""


class _Part(BaseModel):
    """A missing key or a wrong type is an error; keys that a later version adds are not."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class EnginePart(_Part):
    name: str
    version: str


class ModelPart(_Part):
    name: str
    parameters: int = Field(ge=1)
    weight_bytes: int = Field(ge=1)
    file_sha256: str = Field(min_length=64, max_length=64)


class SettingsPart(_Part):
    threads: int = Field(ge=1)
    concurrency: int = Field(ge=1)


class RequestsPart(_Part):
    expected: int = Field(ge=1)
    answered: int = Field(ge=0)
    failed: int = Field(ge=0)


class TokensPart(_Part):
    input: int = Field(ge=0)
    output: int = Field(ge=0)
    messages: int = Field(ge=0)
    """Streamed messages that brought them. Fewer than tokens where a token is a part of a UTF-8 character."""
    output_expected: int = Field(ge=0)


class PerformancePart(_Part):
    steady_s: float = Field(gt=0)
    token_throughput_tok_s: float = Field(ge=0)
    request_throughput_req_s: float = Field(ge=0)


class KvCachePart(_Part):
    logged_bytes: int = Field(ge=1)
    computed_bytes: int = Field(ge=1)
    context_tokens: int = Field(ge=1)


class MemoryPart(_Part):
    peak_bytes: int = Field(ge=1)
    kv_cache: KvCachePart


class ClocksPart(_Part):
    """CLOCK_MONOTONIC, nanoseconds."""

    process_start: int
    load_end: int
    warmup_end: int
    steady_start: int
    first_token: int
    steady_end: int


class EngineReport(_Part):
    """``report.json``."""

    schema_version: int = Field(alias="schema", ge=1, le=1)
    engine: EnginePart
    model: ModelPart
    settings: SettingsPart
    requests: RequestsPart
    tokens: TokensPart
    performance: PerformancePart
    memory: MemoryPart
    clocks_ns: ClocksPart


class RequestLine(_Part):
    """A line of ``requests.jsonl``."""

    request_index: int = Field(ge=0)
    submitted_ms: float
    ttft_ms: float | None
    latency_ms: float = Field(ge=0)
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    ok: bool
    error: str | None
    itl_ms: list[float]
    answer: str | None = None
    """The text; None in files of before it was kept."""


class Unusable(Exception):
    """Why a report cannot be used; its text is the named failure."""


def read(output: Path) -> tuple[EngineReport, list[RequestLine]]:
    """Report and requests. Raises Unusable with the named failure."""
    report_path, lines_path = output / "report.json", output / "requests.jsonl"
    try:
        report = EngineReport.model_validate_json(report_path.read_bytes())
    except OSError:
        raise Unusable("report_missing") from None
    except (ValidationError, RecursionError) as error:
        raise Unusable(f"report_invalid: {_first_error(error)}") from None
    try:
        rows = b",".join(line for line in lines_path.read_bytes().splitlines() if line.strip())
        lines = TypeAdapter(list[RequestLine]).validate_json(b"[" + rows + b"]")
    except OSError:
        raise Unusable("report_invalid: requests.jsonl is missing") from None
    except (ValidationError, RecursionError) as error:
        raise Unusable(f"report_invalid: requests.jsonl: {_first_error(error)}") from None
    return report, lines


def _first_error(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply to be a report"
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {first['msg']}" if key else str(first["msg"])


def agree(report: EngineReport, lines: list[RequestLine], workload: Workload) -> None:
    """The report against the workload, and its sums against the single requests. Raises Unusable."""
    answered = [line for line in lines if line.ok]
    clocks = report.clocks_ns
    steady_s = (clocks.steady_end - clocks.steady_start) / 1e9
    expectations = (
        ("requests.expected", report.requests.expected, workload.requests),
        ("requests.jsonl lines", len(lines), workload.requests),
        ("request indices", [line.request_index for line in lines], list(range(workload.requests))),
        ("requests.answered", report.requests.answered, len(answered)),
        ("requests.failed", report.requests.failed, len(lines) - len(answered)),
        ("tokens.output_expected", report.tokens.output_expected, workload.requests * workload.output_tokens),
        ("tokens.output", report.tokens.output, sum(line.output_tokens for line in answered)),
        ("tokens.input", report.tokens.input, sum(line.input_tokens for line in answered)),
        ("input tokens per request", {line.input_tokens for line in lines}, {workload.input_tokens}),
        ("output tokens per answered request", {line.output_tokens for line in answered} or {workload.output_tokens},
         {workload.output_tokens}),
        ("answered requests without first token", sum(line.ttft_ms is None for line in answered), 0),
        ("requests that end after the steady state", sum(
            line.submitted_ms + line.latency_ms > steady_s * 1e3 + 0.001 for line in lines), 0),
    )  # fmt: skip
    for what, got, wanted in expectations:
        if got != wanted:
            raise Unusable(f"report_invalid: {what}: {got} instead of {wanted}")
    performance = report.performance
    for what, value, reference, tolerance in (
        ("performance.steady_s", performance.steady_s, steady_s, 1e-6),
        ("performance.token_throughput_tok_s", performance.token_throughput_tok_s, report.tokens.output / steady_s, 1e-6),
        ("performance.request_throughput_req_s", performance.request_throughput_req_s, len(answered) / steady_s, 1e-6),
        # llama.cpp's log rounds to a hundredth of a MiB
        ("memory.kv_cache.logged_bytes", report.memory.kv_cache.logged_bytes, report.memory.kv_cache.computed_bytes,
         max(1e-3, 0.01 * 2**20 / report.memory.kv_cache.computed_bytes)),
    ):  # fmt: skip
        if abs(value - reference) > tolerance * abs(reference):
            raise Unusable(f"report_invalid: {what}: {value:g} does not agree with {reference:g}")


def metrics(report: EngineReport, lines: Iterable[RequestLine]) -> tuple[Metric, ...]:
    """All figures of a valid report. Percentiles interpolate linearly (type 7 of Hyndman and Fan 1996)."""
    answered = [line for line in lines if line.ok]
    clocks, steady_s = report.clocks_ns, report.performance.steady_s
    values: dict[str, tuple[float | None, str]] = {
        "token_throughput_tok_s": (report.performance.token_throughput_tok_s, "report.json"),
        "total_token_throughput_tok_s": ((report.tokens.input + report.tokens.output) / steady_s, "report.json"),
        "request_throughput_req_s": (report.performance.request_throughput_req_s, "report.json"),
        "peak_memory_gib": (report.memory.peak_bytes / GIB, "report.json: VmHWM at the end of the steady state"),
        "kv_cache_gib": (report.memory.kv_cache.logged_bytes / GIB, "llama.cpp log: llama_kv_cache size"),
        "load_s": ((clocks.load_end - clocks.process_start) / 1e9, "report.json"),
        "warmup_s": ((clocks.warmup_end - clocks.load_end) / 1e9, "report.json"),
        "first_token_s": ((clocks.first_token - clocks.steady_start) / 1e9, "report.json"),
        "steady_s": (steady_s, "report.json"),
    }
    samples = {
        "latency": [line.latency_ms for line in answered],
        "ttft": [line.ttft_ms for line in answered if line.ttft_ms is not None],
        "itl": [gap for line in answered for gap in line.itl_ms],
    }
    merged = report.tokens.output - report.tokens.messages
    times = (
        f"requests.jsonl ({merged} of {report.tokens.output} tokens came together with another)"
        if merged
        else "requests.jsonl"
    )
    for name, sample in samples.items():
        figures: list[float | None] = [None] * 4
        if sample:
            figures = [float(np.mean(sample)), *map(float, np.percentile(sample, (50, 95, 99), method="linear"))]
        for statistic, figure in zip(("mean", "p50", "p95", "p99"), figures, strict=True):
            values[f"{name}_{statistic}_ms"] = (figure, times)
    return tuple(
        Metric(
            name=name,
            value=values[name][0],
            unit_of_measure=unit,
            source=values[name][1],
            reason="no request gave a sample" if values[name][0] is None else None,
        )
        for name, unit in UNITS.items()
    )


def without_figures(engine: str, workload: Workload, failure: str) -> Report:
    """What can be said of an attempt whose report is unusable: every metric is None, and ``failure`` is why."""
    return Report(
        metrics=tuple(
            Metric(name=name, value=None, unit_of_measure=unit, source=engine, reason=failure)
            for name, unit in UNITS.items()
        ),
        requests_expected=workload.requests,
        tokens_expected=workload.requests * workload.output_tokens,
        failure=failure,
    )
