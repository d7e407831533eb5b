"""``trtllm-bench --report_json`` and ``--request_json``: what each version must contain, and nothing invented.

A report parses completely or fails with the dotted name of the key that is missing or wrong. Keys that a version
introduced carry :class:`Since`: they may be absent before it and must be there from it on (a release candidate of that
version may go either way, because the key arrived somewhere between the candidates). Keys nobody has read about yet are
tolerated and listed by :func:`unknown_keys`, so that a newer engine is noticed rather than refused.

Source: ``tensorrt_llm/bench/dataclasses/{reporting,statistics,general}.py`` of the 0.x to 1.3 lines. All times are
client side. Percentiles are nearest rank, ``sorted(x)[int(n * q)]``, never interpolated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from actors.engines import EngineError
from actors.engines.common.foreign_reports import program_of, refusal

Length = Annotated[int, Field(ge=0, le=2**31 - 1)]

LONGEST_NUMBER = 19
"""Digits of the longest integer that these programs write, a clock in nanoseconds."""

Version = tuple[int, int, int, int]
"""Major, minor, patch, and 1 for a release or 0 for anything before it (rc, dev, alpha)."""

NEWEST = (1, 3)
"""The youngest line whose reports were read; a younger one is parsed by the same rules and noted."""


class ReportError(EngineError):
    """A report that cannot be used. ``key`` is the dotted path of the offending key,
    or None for the file as a whole."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Since:
    """Marks a key as required from this version of the engine on."""

    major: int
    minor: int
    nullable: bool = False

    @property
    def version(self) -> Version:
        return (self.major, self.minor, 0, 1)


@dataclass(frozen=True)
class Known:
    """Marks a key that every version read has and that no figure comes from: a version after them may drop it."""

    nullable: bool = False


Unused = Annotated[str | None, Known()]


class Section(BaseModel):
    """Strict in types, tolerant of keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())


class Percentiles(Section):
    p50: float
    p90: Annotated[float | None, Since(0, 18)] = None
    p95: float
    p99: float
    minimum: float
    maximum: float
    average: float


class Engine(Section):
    model: str
    model_path: str
    engine_dir: Unused = None
    """Gone with the TensorRT backend."""
    revision: Annotated[str | None, Since(1, 2, nullable=True)] = None
    version: str
    backend: Literal["Pytorch", "TRT"]
    dtype: Unused = None
    kv_cache_dtype: Annotated[str | None, Known(nullable=True)] = None
    quantization: Annotated[str | None, Known(nullable=True)] = None
    max_input_length: int | None = None
    max_sequence_length: int | None = None


class Machine(Section):
    """The first visible GPU. The keys really contain a dot."""

    name: str
    memory_total_gib: float | None = Field(alias="memory.total")
    memory_clock_ghz: float | None = Field(alias="clocks.mem")


class World(Section):
    """``issue_rate`` is multiplied by 1e9 once too often upstream, and never used."""

    tp_size: int
    pp_size: int
    ep_size: Annotated[int | None, Known(nullable=True)] = None
    world_size: int
    max_batch_size: int
    max_num_tokens: int
    scheduling_policy: Unused = None
    kv_cache_percentage: float | None
    issue_rate: Annotated[float | None, Known()] = None

    @property
    def kv_cache_fraction(self) -> float | None:
        """A fraction from 1.0 on, percent before."""
        share = self.kv_cache_percentage
        return share / 100 if share is not None and share > 1 else share


class Requests(Section):
    num_requests: int
    avg_num_concurrent_requests: float
    avg_input_length: float
    avg_output_length: float


class Performance(Section):
    total_latency_ms: float
    avg_request_latency_ms: float
    request_throughput_req_s: float
    system_output_throughput_tok_s: float
    system_total_throughput_tok_s: float
    output_throughput_per_user_tok_s: Annotated[float | None, Known()] = None
    output_throughput_per_gpu_tok_s: Annotated[float | None, Known()] = None
    request_latency_percentiles_ms: Percentiles


class Energy(Section):
    total_energy_j: float | None
    output_tps_per_w: float | None
    average_gpu_power: float | None


class Streaming(Section):
    """Only for ``throughput --streaming`` and ``latency``. TPOT is one figure per request, (end − first token) /
    (tokens − 1); its percentiles run over requests, not over tokens."""

    token_output_speed_tok_s: Annotated[float | None, Known()] = None
    avg_ttft_ms: float
    avg_tpot_ms: float
    tpot_percentiles: Percentiles
    ttft_percentiles: Percentiles
    gen_tps_percentiles: Annotated[Percentiles | None, Since(1, 0)] = None


class Decoding(Section):
    """Speculative decoding."""

    mode: str
    acceptance_percentiles: Percentiles | None = None
    """Before 1.0."""
    num_draft_tokens_percentiles: Annotated[Percentiles | None, Since(1, 0, nullable=True)] = None
    num_accepted_draft_tokens_percentiles: Annotated[Percentiles | None, Since(1, 0, nullable=True)] = None
    draft_acceptance_rate_percentiles: Annotated[Percentiles | None, Since(1, 0, nullable=True)] = None
    acceptance_length_percentiles: Annotated[Percentiles | None, Since(1, 0, nullable=True)] = None


class Dataset(Section):
    isl_stats: Annotated[Percentiles | None, Known()] = None
    osl_stats: Percentiles
    seq_len_stats: Annotated[Percentiles | None, Known()] = None
    num_requests: Annotated[int | None, Known()] = None
    dataset_path: Annotated[str | None, Known(nullable=True)] = None
    max_isl: Annotated[int | None, Known()] = None
    max_osl: Annotated[int | None, Known()] = None
    max_sequence_length: Annotated[int | None, Known()] = None
    avg_isl: Annotated[int | None, Known()] = None
    avg_osl: Annotated[int | None, Known()] = None
    avg_sequence_length: Annotated[int | None, Known()] = None


class BenchReport(Section):
    """One ``report.json``."""

    engine: Engine
    machine: Annotated[Machine | None, Since(1, 2, nullable=True)] = None
    """Null where the device could not be queried; the key alone says that this version asks."""
    world_info: World
    request_info: Requests
    performance: Performance
    energy: Energy | None = None
    streaming_metrics: Streaming | None = None
    decoding_stats: Decoding | None = None
    dataset: Dataset

    def has(self, section: str) -> bool:
        return section in self.model_fields_set


class RequestRecord(Section):
    """One entry of ``--request_json``: nanoseconds on a monotonic clock of arbitrary origin."""

    id: int
    num_input_tokens: Length
    error_tokens: Length
    start_timestamp: int
    first_token_timestamp: int
    end_timestamp: int
    num_total_output_tokens: Length
    output: Any = None
    """The answer's text, where the program decoded it."""

    @property
    def latency_ms(self) -> float:
        return (self.end_timestamp - self.start_timestamp) / 1e6

    @property
    def ttft_ms(self) -> float | None:
        """None without streaming: the program then writes a first-token time of −1, a TTFT of 0 and a senseless ITL."""
        if self.first_token_timestamp < 0:
            return None
        return (self.first_token_timestamp - self.start_timestamp) / 1e6


RECORDS = TypeAdapter(list[RequestRecord])


def parse_version(text: str) -> Version | None:
    """``1.1.0rc3`` -> (1, 1, 0, 0); ``1.2.1`` -> (1, 2, 1, 1); None where there is no number to go by."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(.*)$", text.strip())
    if match is None:
        return None
    major, minor, patch, rest = match.groups()
    before_release = re.match(r"\.?(rc|dev|a\d|b\d|alpha|beta)", rest) is not None
    return (int(major[:6]), int(minor[:6]), int((patch or "0")[:6]), 0 if before_release else 1)


def parse_report(text: str, origin: str = "report") -> BenchReport:
    """A whole report, or :class:`ReportError` naming the key."""
    program = program_of(text)
    if program is not None and program != "trtllm":
        raise ReportError(refusal(origin, program, "trtllm"))
    data = load_json(text, origin)
    if not isinstance(data, dict):
        raise ReportError(f"{origin}: a report is a JSON object; this is a {type(data).__name__}")
    report: BenchReport = _validated(BenchReport, data, origin)
    version = parse_version(report.engine.version)
    if version is None:
        raise ReportError(
            f"{origin}: engine.version is '{report.engine.version}', which is no version number; without one nobody "
            "can tell which keys must be there",
            "engine.version",
        )
    for key in _absent(report, version):
        raise ReportError(
            f"{origin}: key '{key}' is missing or null; a report of TensorRT-LLM {report.engine.version} has it", key
        )
    if report.engine.backend == "TRT":
        for name in ("max_input_length", "max_sequence_length"):
            if getattr(report.engine, name) is None:
                raise ReportError(
                    f"{origin}: key 'engine.{name}' is missing; the TensorRT backend reports it", f"engine.{name}"
                )
    return report


def read_report(path: Path) -> BenchReport:
    """The report at ``path``; :class:`ReportError` where it is unreadable, cut short or incomplete."""
    return parse_report(read_text(path), path.name)


def read_requests(path: Path) -> tuple[RequestRecord, ...]:
    """The records of ``--request_json``, in order of submission (the file is in order of completion)."""
    data = load_json(read_text(path), path.name)
    if not isinstance(data, list):
        raise ReportError(f"{path.name}: request records are a JSON list; this is a {type(data).__name__}")
    try:
        records = RECORDS.validate_python(data)
    except ValidationError:  # the first that is wrong says so
        records = [_validated(RequestRecord, entry, f"{path.name}, record {n}") for n, entry in enumerate(data)]
    return tuple(sorted(records, key=lambda record: (record.start_timestamp, record.id)))


def nearest_rank(values: Sequence[float], q: float) -> float:
    """The engine's own percentile: ``sorted(values)[int(n * q)]``; with few values the high ones are the maximum."""
    return sorted(values)[int(len(values) * q)]


def unknown_keys(section: BaseModel, prefix: str = "") -> tuple[str, ...]:
    """Dotted names of the keys that no version read has, in file order within a section."""
    found = [f"{prefix}{name}" for name in section.model_extra or {}]
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += unknown_keys(value, f"{prefix}{field.alias or name}.")
    return tuple(found)


def is_newer_than_read(version: str) -> bool:
    """Whether the engine is younger than any whose reports were read."""
    parsed = parse_version(version)
    return parsed is not None and parsed[:2] > NEWEST


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file; without a report an attempt has failed") from None
    except UnicodeDecodeError as error:
        raise ReportError(f"{path.name}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None


def load_json(text: str, origin: str) -> Any:
    """JSON with NaN and Infinity allowed, as the program writes them; a key given twice is an error."""
    if not text.strip():
        raise ReportError(f"{origin}: the file is empty")
    # Runs of digits are taken whole: a search for one more digit would begin again at each digit of every timestamp.
    runs = re.findall(rf"\d{{{LONGEST_NUMBER},}}", text)
    long = any(len(run) > LONGEST_NUMBER for run in runs)  # then each integer is looked at
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _once(pairs, origin),
            parse_int=(lambda digits: _integer(digits, origin)) if long else None,
        )
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg:
            raise ReportError(f"{origin}: cut short after {len(text)} characters (line {error.lineno})") from None
        raise ReportError(f"{origin}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise ReportError(f"{origin}: nested too deeply to be a report") from None


def _integer(digits: str, origin: str) -> int:
    if len(digits.lstrip("-")) > LONGEST_NUMBER:
        raise ReportError(
            f"{origin}: holds {digits[:12]}…, a number of {len(digits)} digits, which no benchmark counts to"
        )
    return int(digits)


def _once(pairs: list[tuple[str, Any]], origin: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ReportError(f"{origin}: key '{twice}' is given twice", twice)
    return table


def _validated(schema: type[Any], data: Any, origin: str) -> Any:
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        # A missing key explains a broken report better than a wrong type elsewhere.
        first = min(error.errors(), key=lambda problem: problem["type"] != "missing")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ReportError(f"{origin}: key '{key}' is missing", key) from None
        shown = json.dumps(first["input"], default=str)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        raise ReportError(f"{origin}: key '{key}' is {shown}: {first['msg'].lower()}", key) from None


def _absent(section: BaseModel, version: Version, prefix: str = "") -> Iterator[str]:
    """Keys that this version must have and the report has not."""
    for name, field in type(section).model_fields.items():
        key = f"{prefix}{field.alias or name}"
        value = getattr(section, name)
        for mark in field.metadata:
            required = isinstance(mark, Since) and version >= mark.version
            if required or (isinstance(mark, Known) and version[:2] <= NEWEST):
                given = name in section.model_fields_set if mark.nullable else value is not None
                if not given:
                    yield key
        if isinstance(value, BaseModel):
            yield from _absent(value, version, f"{key}.")
