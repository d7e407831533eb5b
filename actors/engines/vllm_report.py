"""What ``vllm bench throughput --output-json`` and ``vllm bench serve --save-result`` write, and what the log adds.

Source: ``vllm/benchmarks/{throughput,serve}.py`` of 0.11 to 0.33. A report parses completely or fails with the name of
the missing key; keys that a version adds are kept as unknown. Times in ms unless named otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.engines.failures import Failure, find_failure
from actors.engines.stamped import read_lines
from actors.engines.trtllm_report import ReportError, load_json, read_text

KV_CACHE = re.compile(r"Available KV cache memory: (?P<gib>-?[\d.]+) GiB")
KV_TOKENS = re.compile(r"GPU KV cache size: (?P<tokens>[\d,]+) tokens")
LOADED = re.compile(r"Model loading took (?P<gib>[\d.]+) GiB(?: memory)? and (?P<s>[\d.]+) seconds")
VERSION = re.compile(r"LLM engine \(v(?P<version>[^)\s]+)\)|vLLM API server version (?P<server>\S+)")
MODEL = re.compile(r"with config: model='(?P<model>[^']+)'")
PROMPT_TOKENS = re.compile(r"Total num prompt tokens:\s+(?P<n>\d+)")
OUTPUT_TOKENS = re.compile(r"Total num output tokens:\s+(?P<n>\d+)")


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())


class ThroughputReport(Section):
    """Seconds and tokens. ``tokens_per_second`` counts prompt and output tokens together."""

    elapsed_time: float
    num_requests: int
    total_num_tokens: int
    requests_per_second: float
    tokens_per_second: float
    model_id: str | None = None
    """From 0.33 on."""


class ServeReport(Section):
    """``failed`` is absent in 0.11. ITL is truly per token here."""

    model_id: str
    duration: float
    """Seconds."""
    completed: int
    failed: int = 0
    num_prompts: int
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    output_throughput: float
    total_token_throughput: float
    mean_ttft_ms: float
    p50_ttft_ms: float
    p95_ttft_ms: float
    p99_ttft_ms: float
    mean_tpot_ms: float
    p50_tpot_ms: float
    p95_tpot_ms: float
    p99_tpot_ms: float
    mean_itl_ms: float
    p50_itl_ms: float
    p95_itl_ms: float
    p99_itl_ms: float
    mean_e2el_ms: float
    p50_e2el_ms: float
    p95_e2el_ms: float
    p99_e2el_ms: float
    # --save-detailed, seconds
    input_lens: list[int] = []
    output_lens: list[int] = []
    ttfts: list[float] = []
    itls: list[list[float]] = []
    start_times: list[float] = []
    errors: list[str] = []


@dataclass(frozen=True)
class Log:
    """Figures that stand only in the log; numbers there carry thousands commas."""

    version: str | None = None
    model: str | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: int | None = None
    weights_gib: float | None = None
    load_weights_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    failure: Failure | None = None


def parse_report(text: str, origin: str = "report") -> ThroughputReport | ServeReport:
    """Either kind, told apart by its keys."""
    data = load_json(text, origin)
    if not isinstance(data, dict):
        raise ReportError(f"{origin}: a report is a JSON object; this is a {type(data).__name__}")
    schema = ThroughputReport if "elapsed_time" in data or "requests_per_second" in data else ServeReport
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "missing")
        key = ".".join(str(part) for part in first["loc"])
        what = "is missing" if first["type"] == "missing" else f"is {first['input']!r:.60}: {first['msg'].lower()}"
        raise ReportError(f"{origin}: key '{key}' {what}", key) from None


def read_report(path: Path) -> ThroughputReport | ServeReport:
    return parse_report(read_text(path), path.name)


def read_log(*streams: str) -> Log:
    lines = [line.text for line in read_lines(*streams)]
    text = "\n".join(lines)
    version, kv_cache, kv_tokens = _last(VERSION, text), _last(KV_CACHE, text), _last(KV_TOKENS, text)
    loaded, model = _last(LOADED, text), _last(MODEL, text)
    prompt, output = _last(PROMPT_TOKENS, text), _last(OUTPUT_TOKENS, text)
    return Log(
        version=(version["version"] or version["server"]) if version else None,
        model=model["model"] if model else None,
        kv_cache_gib=float(kv_cache["gib"]) if kv_cache else None,
        kv_cache_tokens=int(kv_tokens["tokens"].replace(",", "")) if kv_tokens else None,
        weights_gib=float(loaded["gib"]) if loaded else None,
        load_weights_s=float(loaded["s"]) if loaded else None,
        prompt_tokens=int(prompt["n"]) if prompt else None,
        output_tokens=int(output["n"]) if output else None,
        failure=find_failure(lines),
    )


def request_rows(report: ServeReport) -> Iterator[dict[str, Any]]:
    """Rows of ``requests.parquet`` from ``--save-detailed``. A request's latency is its TTFT and all gaps after it."""
    begin = min(report.start_times, default=0.0)
    for index, ttft in enumerate(report.ttfts):
        error = report.errors[index] if index < len(report.errors) else ""
        gaps = report.itls[index] if index < len(report.itls) else []
        yield {
            "request_index": index,
            "submitted_ms": (report.start_times[index] - begin) * 1e3 if index < len(report.start_times) else None,
            "ttft_ms": None if error else ttft * 1e3,
            "latency_ms": None if error else (ttft + sum(gaps)) * 1e3,
            "input_tokens": report.input_lens[index] if index < len(report.input_lens) else None,
            "output_tokens": report.output_lens[index] if index < len(report.output_lens) else None,
            "ok": not error,
            "error": error or None,
            "itl_ms": [gap * 1e3 for gap in gaps],
        }


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007
        pass
    return match
