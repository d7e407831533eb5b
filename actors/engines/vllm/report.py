"""What vLLM's benchmarks write, and what the log adds: ``vllm bench throughput --output-json``, ``vllm bench serve
--save-result``, ``vllm bench latency --output-json``.

Source: ``vllm/benchmarks/{throughput,serve,latency}.py`` of 0.11 to 0.33, and the ``benchmark_serving.py`` of 2024 from
which they come. A report parses completely or fails with the name of the missing key; keys that a version adds are kept
as unknown. Times in ms unless named otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.engines.common.failures import Failure, find_failure
from actors.engines.common.foreign_reports import program_of, refusal
from actors.engines.common.requests import answer_digest
from actors.engines.common.timestamped_log import Line, read_lines
from actors.engines.trtllm.report import ReportError, load_json, read_text

KV_CACHE = re.compile(r"Available KV cache memory: (?P<gib>-?\d+(?:\.\d+)?) GiB")
KV_TOKENS = re.compile(r"GPU KV cache size: (?P<tokens>\d[\d,]*) tokens")
LOADED = re.compile(r"Model loading took (?P<gib>\d+(?:\.\d+)?) GiB(?: memory)? and (?P<s>\d+(?:\.\d+)?) seconds")
COMPILED = re.compile(r"torch\.compile (?:took|takes) (?P<s>\d+(?:\.\d+)?) s in total")
CAPTURED = re.compile(r"Graph capturing finished in (?P<s>\d+(?:\.\d+)?) secs?\b")
INITIALISED = re.compile(r"init engine \([^)]*\) took (?P<s>\d+(?:\.\d+)?) s(?:econds)?\b")
READY = re.compile(rf"{INITIALISED.pattern}|Starting vLLM (?:API )?server\b|Application startup complete")
"""From the last such line on it takes requests: the engine's own where nothing serves, else the server's."""

MEASURED = re.compile(r"Starting main benchmark run")
RESULT = re.compile(r"= Serving Benchmark Result =|^Throughput: ")
VERSION = re.compile(r"LLM engine \(v(?P<version>[^)\s]+)\)|vLLM API server version (?P<server>\S+)")
MODEL = re.compile(r"with config: model='(?P<model>[^']+)'")
PROMPT_TOKENS = re.compile(r"Total num prompt tokens:\s+(?P<n>\d+)")
OUTPUT_TOKENS = re.compile(r"Total num output tokens:\s+(?P<n>\d+)")
PREFIX_HITS = re.compile(r"(?<!External )[Pp]refix cache hit rate: (?:GPU: )?(?P<pct>\d+(?:\.\d+)?)%")
DRAFTED = re.compile(r"SpecDecoding metrics:.*?Accepted: (?P<accepted>\d+) tokens, Drafted: (?P<drafted>\d+) tokens")
SPECULATIVE = re.compile(r"\bspeculative_config=(?!None\b)\w")
NO_PREFIX_CACHE = re.compile(r"\benable_prefix_caching=False\b")
OTHER_RANK = re.compile(r"^\((?:\w*(?:TP|PP|DP|EP|EngineCore_)[1-9]\d*[ _)]|[^)]*\brank=[1-9])")
"""A line of another process than the first of several on different GPUs."""

TIME = re.compile(r"(?P<statistic>mean|median|std|p\d+(?:\.\d+)?)_(?P<kind>ttft|tpot|itl|e2el|latency)_ms")

Count = Annotated[int, Field(ge=0, le=2**53)]
Length = Annotated[int, Field(ge=0, le=2**31 - 1)]

SEVERAL_PER_MESSAGE = 1.5
"""From this ratio of the mean gap between messages to the mean time per token on, messages carry several tokens."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())


class ThroughputReport(Section):
    """Seconds and tokens. ``tokens_per_second`` counts prompt and output tokens together."""

    elapsed_time: float
    num_requests: Count
    total_num_tokens: Count
    requests_per_second: float
    tokens_per_second: float
    model_id: str | None = None
    """From 0.33 on."""


class LatencyReport(Section):
    """Seconds. Each is the time of one whole batch, from ``vllm bench latency``."""

    avg_latency: float
    latencies: list[float]
    percentiles: dict[str, float]
    model_id: str | None = None


class ServeReport(Section):
    """What a client measured. Which times it has, and which percentiles of them, the user chose (``times_ms``)."""

    model_id: str
    duration: float
    """Seconds."""
    completed: Count
    failed: Count | None = None
    """Absent in 0.11 and before."""
    num_prompts: Count
    total_input_tokens: Count
    total_output_tokens: Count
    request_throughput: float
    output_throughput: float
    total_token_throughput: float | None = None
    input_throughput: float | None = None
    """Instead of the total, in 2024."""
    spec_decode_acceptance_length: float | None = None
    spec_decode_acceptance_rate: float | None = None
    """Percent."""
    spec_decode_draft_tokens: Count | None = None
    spec_decode_accepted_tokens: Count | None = None
    # --save-detailed, seconds
    input_lens: list[Length] = []
    output_lens: list[Length] = []
    ttfts: list[float] = []
    itls: list[list[float]] = []
    start_times: list[float] = []
    errors: list[str | None] = []
    generated_texts: list[str | None] = []

    def time_ms(self, statistic: str, kind: str) -> float | None:
        """One figure, or None where the report has none. ``p50`` is the median, which is always written; the end-to-end
        time of 2024 is called latency. A time of exactly nothing is what vLLM writes where no request gave one."""
        names = {"p50": ("p50", "median")}.get(statistic, (statistic,))
        kinds = {"e2el": ("e2el", "latency")}.get(kind, (kind,))
        extra = self.model_extra or {}
        found = [extra[key] for k in kinds for name in names if (key := f"{name}_{k}_ms") in extra]
        return next((float(value) for value in found if value is not None and value != 0), None)

    @property
    def unanswered(self) -> int:
        return self.failed if self.failed is not None else max(0, self.num_prompts - self.completed)

    @property
    def total_tokens_per_second(self) -> float | None:
        if self.total_token_throughput is not None or self.input_throughput is None:
            return self.total_token_throughput
        return self.input_throughput + self.output_throughput

    @property
    def several_tokens_per_message(self) -> str | None:
        """Why a gap between messages is no time per token, or None where it is one."""
        length = self.spec_decode_acceptance_length
        if length is not None or self.spec_decode_draft_tokens:
            many = f"{length:g} tokens on average" if length else "several tokens"
            return f"with speculative decoding a message brings {many}, so vLLM's ITL is per message; see tpot_*"
        served = [(len(gaps), tokens) for gaps, tokens in zip(self.itls, self.output_lens, strict=False) if gaps]
        messages, tokens = sum(gaps for gaps, _ in served), sum(max(0, tokens - 1) for _, tokens in served)
        gap, token = self.time_ms("mean", "itl"), self.time_ms("mean", "tpot")
        apart = messages and tokens > SEVERAL_PER_MESSAGE * messages
        if apart or (gap and token and gap > SEVERAL_PER_MESSAGE * token):
            return (
                "a message brings several tokens (speculative decoding or a stream interval), "
                "so vLLM's ITL is per message; see tpot_*"
            )
        return None


VllmReport = ThroughputReport | ServeReport | LatencyReport


@dataclass(frozen=True)
class Log:
    """Figures that stand only in the log; numbers there carry thousands commas."""

    version: str | None = None
    model: str | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: int | None = None
    weights_gib: float | None = None
    load_weights_s: float | None = None
    compile_s: float | None = None
    graph_capture_s: float | None = None
    """Whole seconds, as vLLM prints it."""
    engine_init_s: float | None = None
    """Profiling, KV cache, compilation and warm-up together, after the weights were loaded."""
    ready_utc_ns: int | None = None
    """When the harness saw that requests are taken; None in a log that it did not write."""
    warmup_s: float | None = None
    """From then until the client measures."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefix_cache_hit_pct: float | None = None
    prefix_cache_off: bool = False
    draft_acceptance_pct: float | None = None
    speculative: bool = False
    failure: Failure | None = None
    lines: tuple[str, ...] = ()


def parse_report(text: str, origin: str = "report") -> VllmReport:
    """Any kind, told apart by its keys. Raises ReportError naming the key, or the program whose file it is."""
    program = program_of(text)
    if program is not None and program != "vllm":
        raise ReportError(refusal(origin, program, "vllm"))
    if (reports := _several(text)) > 1:
        raise ReportError(
            f"{origin}: {reports} reports in one file, as --append-result writes them; one report is one run\nGive "
            "each run a file of its own (one line each), or import the whole as a table: `campaign import FILE`."
        )
    data = load_json(text, origin)
    if not isinstance(data, dict):
        raise ReportError(f"{origin}: a report is a JSON object; this is a {type(data).__name__}")
    schema: type[VllmReport] = ServeReport
    if "elapsed_time" in data or "requests_per_second" in data:
        schema = ThroughputReport
    elif "avg_latency" in data or ("latencies" in data and "percentiles" in data):
        schema = LatencyReport
    for key, value in data.items():
        if TIME.fullmatch(key) and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise ReportError(f"{origin}: key '{key}' is {value!r:.60}: input should be a valid number", key)
    try:
        report = schema.model_validate(data)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "missing")
        key = ".".join(str(part) for part in first["loc"])
        what = "is missing" if first["type"] == "missing" else f"is {first['input']!r:.60}: {first['msg'].lower()}"
        raise ReportError(f"{origin}: key '{key}' {what}", key) from None
    if isinstance(report, ServeReport) and report.total_tokens_per_second is None:
        raise ReportError(f"{origin}: key 'total_token_throughput' is missing", "total_token_throughput")
    return report


def read_report(path: Path) -> VllmReport:
    return parse_report(read_text(path), path.name)


def read_log(*streams: str) -> Log:
    seen = read_lines(*streams)
    lines = [line.text for line in seen]
    text = "\n".join(line for line in lines if not OTHER_RANK.match(line))
    version, kv_cache, kv_tokens = _last(VERSION, text), _last(KV_CACHE, text), _last(KV_TOKENS, text)
    loaded, model = _last(LOADED, text), _last(MODEL, text)
    prompt, output, hits = _last(PROMPT_TOKENS, text), _last(OUTPUT_TOKENS, text), _last(PREFIX_HITS, text)
    compiled, captured, initialised = _last(COMPILED, text), _last(CAPTURED, text), _last(INITIALISED, text)
    ready_ns, measured_ns = _ready_and_measured(seen)
    drafts = [(int(match["accepted"]), int(match["drafted"])) for match in DRAFTED.finditer(text)]
    drafted = sum(drafted for _, drafted in drafts)
    return Log(
        version=(version["version"] or version["server"]) if version else None,
        model=model["model"] if model else None,
        kv_cache_gib=float(kv_cache["gib"]) if kv_cache else None,
        kv_cache_tokens=_count(kv_tokens["tokens"]) if kv_tokens else None,
        weights_gib=float(loaded["gib"]) if loaded else None,
        load_weights_s=float(loaded["s"]) if loaded else None,
        compile_s=float(compiled["s"]) if compiled else None,
        graph_capture_s=float(captured["s"]) if captured else None,
        engine_init_s=float(initialised["s"]) if initialised else None,
        ready_utc_ns=ready_ns,
        warmup_s=(measured_ns - ready_ns) / 1e9 if ready_ns is not None and measured_ns is not None else None,
        prompt_tokens=_count(prompt["n"]) if prompt else None,
        output_tokens=_count(output["n"]) if output else None,
        prefix_cache_hit_pct=float(hits["pct"]) if hits else None,
        prefix_cache_off=NO_PREFIX_CACHE.search(text) is not None,
        draft_acceptance_pct=100 * sum(accepted for accepted, _ in drafts) / drafted if drafted else None,
        speculative=SPECULATIVE.search(text) is not None,
        failure=find_failure(lines),
        lines=tuple(lines),
    )


def _ready_and_measured(lines: list[Line]) -> tuple[int | None, int | None]:
    """UTC nanoseconds at which requests were taken and at which the client began to measure. A client whose output
    comes in one piece with its result does not tell when it began."""
    ready = measured = result = None
    for line in lines:
        if line.seen_ns is None:
            continue
        if measured is None and READY.search(line.text):
            ready = line.seen_ns
        if measured is None and MEASURED.search(line.text):
            measured = line.seen_ns
        if result is None and RESULT.search(line.text):
            result = line.seen_ns
    if measured is not None and (result is None or measured >= result):
        measured = None
    return ready, measured


def request_rows(report: ServeReport) -> Iterator[dict[str, Any]]:
    """Rows of ``requests.parquet`` from ``--save-detailed``. A request's latency is its TTFT and all gaps after it;
    gaps between messages that bring several tokens are no times per token and are left out."""
    begin = min(report.start_times, default=0.0)
    per_token = report.several_tokens_per_message is None
    for index, ttft in enumerate(report.ttfts):
        error = report.errors[index] if index < len(report.errors) else ""
        gaps = report.itls[index] if index < len(report.itls) else []
        text = report.generated_texts[index] if index < len(report.generated_texts) else None
        yield {
            "request_index": index,
            "submitted_ms": (report.start_times[index] - begin) * 1e3 if index < len(report.start_times) else None,
            "ttft_ms": None if error else ttft * 1e3,
            "latency_ms": None if error else (ttft + sum(gaps)) * 1e3,
            "input_tokens": report.input_lens[index] if index < len(report.input_lens) else None,
            "output_tokens": report.output_lens[index] if index < len(report.output_lens) else None,
            "ok": not error,
            "error": error or None,
            "itl_ms": [gap * 1e3 for gap in gaps] if per_token else None,
            "answer_sha256": answer_digest(text) if not error else None,
        }


def _several(text: str) -> int:
    """How many JSON objects follow each other in the file, or lie in a list."""
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            listed = json.loads(stripped)
        except (ValueError, RecursionError):
            return 0
        return len(listed) if all(isinstance(entry, dict) for entry in listed) else 0
    decoder, found, position = json.JSONDecoder(), 0, 0
    while position < len(stripped):
        try:
            data, position = decoder.raw_decode(stripped, position)
        except (ValueError, RecursionError):
            # A last report that was cut short is still one more than one.
            return found + 1 if found and stripped.startswith("{", position) else found
        if not isinstance(data, dict):
            return found
        found += 1
        while position < len(stripped) and stripped[position] in " \t\r\n,":
            position += 1
    return found


def _count(digits: str) -> int | None:
    number = digits.replace(",", "")
    return int(number) if len(number) < 16 else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007
        pass
    return match
