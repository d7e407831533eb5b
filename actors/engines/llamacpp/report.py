"""What ``bench.py`` leaves behind: its report and its requests, read strictly, checked against each other.

A report parses completely or names the key that is missing or wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from actors.engines.common.spilled import Sample
from actors.types import Metric, Report, Workload

GIB = 2**30

UNITS = {
    "token_throughput_tok_s": "tok/s",
    "total_token_throughput_tok_s": "tok/s",
    "request_throughput_req_s": "req/s",
    "output_tokens_per_cpu_s": "tok/CPU-s",
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


WHY_NONE = {"output_tokens_per_cpu_s": "the report tells no CPU time"}
"""Why a figure can be missing from a valid report, where it is not for want of an answered request."""

MOST = 2**62
"""Of anything that is counted; 10 to the 400th is JSON as well, and no float."""
Clock = Annotated[int, Field(ge=0, le=MOST)]


class _Part(BaseModel):
    """A missing key or a wrong type is an error; keys that a later version adds are not."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class EnginePart(_Part):
    name: str
    version: str


class ModelPart(_Part):
    name: str
    parameters: int = Field(ge=1, le=MOST)
    weight_bytes: int = Field(ge=1, le=MOST)
    file_sha256: str = Field(min_length=64, max_length=64)


class SettingsPart(_Part):
    threads: int = Field(ge=1, le=MOST)
    concurrency: int = Field(ge=1, le=MOST)


class RequestsPart(_Part):
    expected: int = Field(ge=1, le=MOST)
    answered: int = Field(ge=0, le=MOST)
    failed: int = Field(ge=0, le=MOST)


class TokensPart(_Part):
    input: int = Field(ge=0, le=MOST)
    output: int = Field(ge=0, le=MOST)
    messages: int = Field(ge=0, le=MOST)
    """Streamed messages that brought them. Fewer than tokens where a token is a part of a UTF-8 character."""
    output_expected: int = Field(ge=0, le=MOST)


class PerformancePart(_Part):
    steady_s: float = Field(gt=0)
    token_throughput_tok_s: float = Field(ge=0)
    request_throughput_req_s: float = Field(ge=0)
    cpu_s: float | None = Field(default=None, ge=0)
    """CPU time of the process in the steady state, all threads; earlier reports do not tell it."""


class KvCachePart(_Part):
    logged_bytes: int = Field(ge=1, le=MOST)
    computed_bytes: int = Field(ge=1, le=MOST)
    context_tokens: int = Field(ge=1, le=MOST)


class MemoryPart(_Part):
    peak_bytes: int = Field(ge=1, le=MOST)
    kv_cache: KvCachePart


class ClocksPart(_Part):
    """CLOCK_MONOTONIC, nanoseconds."""

    process_start: Clock
    load_end: Clock
    warmup_end: Clock
    steady_start: Clock
    first_token: Clock
    steady_end: Clock


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

    request_index: int = Field(ge=0, le=MOST)
    submitted_ms: float
    ttft_ms: float | None
    latency_ms: float = Field(ge=0)
    input_tokens: int = Field(ge=0, le=MOST)
    output_tokens: int = Field(ge=0, le=MOST)
    ok: bool
    error: str | None
    itl_ms: list[float]
    answer: str | None = None
    """The text; None in files of before it was kept."""


class Unusable(Exception):
    """Why a report cannot be used; its text is the named failure."""


REPORT_BYTES = 2**20
"""Of ``report.json`` at most: it has a fixed number of keys."""
LINE_BYTES = 16 * 2**20
"""Of one line of ``requests.jsonl`` at most: half a million times per token."""
AT_ONCE_BYTES = 2**20
"""Lines that are validated together."""

_LINES = TypeAdapter(list[RequestLine])


def read_report(output: Path) -> EngineReport:
    """``report.json``. Raises Unusable with the named failure."""
    path = output / "report.json"
    try:
        if (size := path.stat().st_size) > REPORT_BYTES:
            raise Unusable(f"report_invalid: {size} bytes, more than any report has")
        return EngineReport.model_validate_json(path.read_bytes())
    except OSError:
        raise Unusable("report_missing") from None
    except (ValidationError, RecursionError) as error:
        raise Unusable(f"report_invalid: {_first_error(error)}") from None


def read_lines(output: Path) -> Iterator[RequestLine]:
    """The requests one by one: there may be ten million. Raises Unusable at the first that cannot be read."""
    number = 0
    try:
        with (output / "requests.jsonl").open("rb") as file:
            while lines := _some_lines(file):
                yield from _validated(lines, number)
                number += len(lines)
    except OSError:
        raise Unusable("report_invalid: requests.jsonl is missing") from None


def _some_lines(file: BinaryIO) -> list[bytes]:
    lines, size = [], 0
    while size < AT_ONCE_BYTES and (line := file.readline(LINE_BYTES + 1)):
        if len(line) > LINE_BYTES:
            raise Unusable(f"report_invalid: requests.jsonl: a line of more than {LINE_BYTES >> 20} MiB")
        size += len(line)
        if line.strip():
            lines.append(line)
    return lines


def _validated(lines: list[bytes], before: int) -> list[RequestLine]:
    try:
        return _LINES.validate_json(b"[" + b",".join(lines) + b"]")
    except (ValidationError, RecursionError) as error:
        raise Unusable(f"report_invalid: requests.jsonl: {_first_error(error, before)}") from None


def _first_error(error: ValidationError | RecursionError, before: int = 0) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply to be a report"
    first = error.errors(include_url=False)[0]
    key = ".".join(
        str(part + before if isinstance(part, int) and not at else part) for at, part in enumerate(first["loc"])
    )
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {first['msg']}" if key else str(first["msg"])


class Tally:
    """What a report must agree with: the single requests, met one by one. Memory does not grow with their number."""

    def __init__(self, report: EngineReport, folder: Path) -> None:
        """``folder`` is where samples go that are too large for memory."""
        self.latency, self.ttft, self.itl = Sample(folder), Sample(folder), Sample(folder)
        """Milliseconds of the answered requests."""
        self.first_error: str | None = None
        self._report = report
        clocks = report.clocks_ns
        self._steady_s = (clocks.steady_end - clocks.steady_start) / 1e9
        self._lines = self._answered = self._late = self._without_first = 0
        self._tokens_in = self._tokens_out = 0
        self._misplaced: str | None = None
        self._lengths_in: set[int] = set()
        self._lengths_out: set[int] = set()

    def add(self, line: RequestLine) -> None:
        if line.request_index != self._lines and self._misplaced is None:
            self._misplaced = f"{line.request_index} in line {self._lines}"
        self._lines += 1
        self._late += line.submitted_ms + line.latency_ms > self._steady_s * 1e3 + 0.001
        _remember(self._lengths_in, line.input_tokens)
        if not line.ok:
            self.first_error = self.first_error or line.error
            return
        self._answered += 1
        self._tokens_in += line.input_tokens
        self._tokens_out += line.output_tokens
        _remember(self._lengths_out, line.output_tokens)
        self.latency.extend((line.latency_ms,))
        self.itl.extend(line.itl_ms)
        if line.ttft_ms is None:
            self._without_first += 1
        else:
            self.ttft.extend((line.ttft_ms,))

    def add_all(self, lines: Iterable[RequestLine], workload: Workload) -> Iterator[RequestLine]:
        """The same lines, each counted as it passes. Raises Unusable where they are more than were asked for, and at
        their end where report, lines and workload disagree."""
        for line in lines:
            self.add(line)
            if self._lines > workload.requests:
                raise Unusable(
                    f"report_invalid: requests.jsonl lines: more than the {workload.requests} that were asked for"
                )
            yield line
        self.agree(workload)

    def agree(self, workload: Workload) -> None:
        """The report against the workload, and its sums against the single requests. Raises Unusable."""
        report = self._report
        expectations: tuple[tuple[str, object, object], ...] = (
            ("requests.expected", report.requests.expected, workload.requests),
            ("requests.jsonl lines", self._lines, workload.requests),
            ("request indices", self._misplaced or "in order", "in order"),
            ("requests.answered", report.requests.answered, self._answered),
            ("requests.failed", report.requests.failed, self._lines - self._answered),
            ("tokens.output_expected", report.tokens.output_expected, workload.requests * workload.output_tokens),
            ("tokens.output", report.tokens.output, self._tokens_out),
            ("tokens.input", report.tokens.input, self._tokens_in),
            ("input tokens per request", self._lengths_in, {workload.input_tokens}),
            ("output tokens per answered request", self._lengths_out or {workload.output_tokens},
             {workload.output_tokens}),
            ("answered requests without first token", self._without_first, 0),
            ("requests that end after the steady state", self._late, 0),
        )  # fmt: skip
        for what, got, wanted in expectations:
            if got != wanted:
                raise Unusable(f"report_invalid: {what}: {got} instead of {wanted}")
        performance, steady_s = report.performance, self._steady_s
        for what, value, reference, tolerance in (
            ("performance.steady_s", performance.steady_s, steady_s, 1e-6),
            ("performance.token_throughput_tok_s", performance.token_throughput_tok_s,
             report.tokens.output / steady_s, 1e-6),
            ("performance.request_throughput_req_s", performance.request_throughput_req_s,
             self._answered / steady_s, 1e-6),
            # llama.cpp's log rounds to a hundredth of a MiB
            ("memory.kv_cache.logged_bytes", report.memory.kv_cache.logged_bytes, report.memory.kv_cache.computed_bytes,
             max(1e-3, 0.01 * 2**20 / report.memory.kv_cache.computed_bytes)),
        ):  # fmt: skip
            if abs(value - reference) > tolerance * abs(reference):
                raise Unusable(f"report_invalid: {what}: {value:g} does not agree with {reference:g}")


def _remember(lengths: set[int], length: int) -> None:
    if len(lengths) < 5:  # enough to say that they differ
        lengths.add(length)


def metrics(report: EngineReport, tally: Tally) -> tuple[Metric, ...]:
    """All figures of a valid report. Percentiles interpolate linearly (type 7 of Hyndman and Fan 1996)."""
    clocks, steady_s = report.clocks_ns, report.performance.steady_s
    cpu_s = report.performance.cpu_s
    values: dict[str, tuple[float | None, str]] = {
        "output_tokens_per_cpu_s": (
            report.tokens.output / cpu_s if cpu_s else None,
            "report.json: CPU time of the process over the steady state",
        ),
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
    merged = report.tokens.output - report.tokens.messages
    times = (
        f"requests.jsonl ({merged} of {report.tokens.output} tokens came together with another)"
        if merged
        else "requests.jsonl"
    )
    for name, sample in (("latency", tally.latency), ("ttft", tally.ttft), ("itl", tally.itl)):
        figures: list[float | None] = [None] * 4
        if len(sample):
            figures = [sample.mean(), *sample.percentiles((50, 95, 99))]
        for statistic, figure in zip(("mean", "p50", "p95", "p99"), figures, strict=True):
            values[f"{name}_{statistic}_ms"] = (figure, times)
    return tuple(
        Metric(
            name=name,
            value=values[name][0],
            unit_of_measure=unit,
            source=values[name][1],
            reason=WHY_NONE.get(name, "no request gave a sample") if values[name][0] is None else None,
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
