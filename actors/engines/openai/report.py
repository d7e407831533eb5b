"""What ``bench.py`` leaves behind, read strictly, and the figures of it. Every time is the client's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.types import Metric


class Unusable(Exception):
    """There is no report, or not one that may be used. The message is for the person."""


class _Part(BaseModel):
    """A missing key or a wrong type is an error; keys that a later version adds are not."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class ModelPart(_Part):
    asked: str
    served: list[str]
    answered: list[str]


class ClocksPart(_Part):
    """CLOCK_MONOTONIC, nanoseconds."""

    load_start: int
    load_end: int
    warmup_end: int
    steady_start: int
    first_token: int
    steady_end: int


class ServedReport(_Part):
    """``report.json``."""

    schema_version: int = Field(alias="schema", ge=1, le=1)
    model: ModelPart
    clocks_ns: ClocksPart


class Line(_Part):
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
    answer: str | None


def read(output: Path) -> tuple[ServedReport, list[Line]]:
    """Report and requests of an output folder. Raises Unusable."""
    try:
        report = ServedReport.model_validate_json((output / "report.json").read_bytes())
        lines = [Line.model_validate_json(line) for line in (output / "requests.jsonl").read_bytes().splitlines()]
    except OSError as problem:
        raise Unusable(f"{Path(str(problem.filename)).name} cannot be read: {problem.strerror}") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        raise Unusable(f"{problem.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    clocks = report.clocks_ns
    if not clocks.load_start <= clocks.load_end <= clocks.warmup_end <= clocks.steady_start < clocks.steady_end:
        raise Unusable("the clocks of report.json go backwards")
    return report, lines


def metrics(report: ServedReport | None, lines: Sequence[Line]) -> tuple[Metric, ...]:
    """Every figure under the project's name; missing ones say why."""
    return tuple(
        Metric(
            name=name,
            value=value,
            unit_of_measure="tok/s"
            if name.endswith("tok_s")
            else "req/s"
            if name.endswith("req_s")
            else name.rpartition("_")[2].replace("gib", "GiB"),
            source=source,
            reason=(why if report is not None else "no report") if value is None else None,
        )
        for name, value, source, why in _figures(report, lines)
    )


def _figures(report: ServedReport | None, lines: Sequence[Line]) -> Iterator[tuple[str, float | None, str, str]]:
    good = [line for line in lines if line.ok]
    clocks = report.clocks_ns if report is not None else None
    steady_s = (clocks.steady_end - clocks.steady_start) / 1e9 if clocks else None
    produced, read_in = sum(line.output_tokens for line in good), sum(line.input_tokens for line in good)
    none = "no request was answered"
    for name, count in (
        ("token_throughput_tok_s", produced),
        ("total_token_throughput_tok_s", produced + read_in),
        ("request_throughput_req_s", len(good)),
    ):
        yield name, count / steady_s if steady_s and good else None, "client: counted over the steady state", none
    samples = {
        "latency": [line.latency_ms for line in good],
        "ttft": [line.ttft_ms for line in good if line.ttft_ms is not None],
        "itl": [gap for line in good for gap in line.itl_ms],
    }
    for name, values in samples.items():
        found = np.array(values)
        yield f"{name}_mean_ms", float(found.mean()) if len(found) else None, "client: requests", none
        for percent in (50, 95, 99):
            value = float(np.percentile(found, percent)) if len(found) else None
            yield f"{name}_p{percent}_ms", value, "client: requests", none
    yield (
        "load_s",
        (clocks.load_end - clocks.load_start) / 1e9 if clocks else None,
        "client: start until /v1/models answers",
        none,
    )
    yield "warmup_s", (clocks.warmup_end - clocks.load_end) / 1e9 if clocks else None, "client", none
    yield "first_token_s", (clocks.first_token - clocks.steady_start) / 1e9 if clocks else None, "client", none
    yield "steady_s", steady_s, "client", none
    untold = "an endpoint tells nothing of its memory; see attempt_memory_peak_gib and peak_unified_memory_gib"
    yield "peak_memory_gib", None, "endpoint", untold
    yield "kv_cache_gib", None, "endpoint", untold
