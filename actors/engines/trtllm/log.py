"""What ``trtllm-bench`` says only in its log: KV cache, memory, start-up, and why it failed.

Standard output and standard error arrive mixed, with progress bars that return the carriage, so a line is found by
searching, never by its first column. Message texts: ``tensorrt_llm/_torch/pyexecutor/{_util,py_executor_creator,
resource_manager}.py`` and ``tensorrt_llm/bench`` of the 0.19 to 1.3 lines.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from actors.engines.common.failures import Failure, find_failure
from actors.engines.common.timestamped_log import Line, read_lines

GIB = {"KiB": 2**-20, "MiB": 2**-10, "GiB": 1.0, "KB": 1e3 / 2**30, "MB": 1e6 / 2**30, "GB": 1e9 / 2**30}

VERSION = re.compile(r"\[TensorRT-LLM\] TensorRT[- ]LLM version: (?P<version>\S+)")
ALLOCATED = re.compile(
    r"\[MemUsageChange\] Allocated (?P<size>\d+(?:\.\d+)?) (?P<unit>[KMG]i?B) "
    r"for max tokens in paged KV cache \((?P<tokens>\d{1,15})\)"
)
PEAK = re.compile(
    r"Peak memory during memory usage profiling \(torch \+ non-torch\): (?P<peak>\d+(?:\.\d+)?) GiB"
    r"(?:, available KV cache memory when calculating max tokens: (?P<available>-?\d+(?:\.\d+)?) GiB)?"
    r"(?:, fraction is set (?P<fraction>\d+(?:\.\d+)?))?"
    r"(?:, kv size(?: per token)? is (?P<kv_bytes>\d+(?:\.\d+)?))?"
    r"(?:\.? ?device total memory (?P<total>\d+(?:\.\d+)?) GiB)?"
    r"(?:,[ ,]*(?:tmp kv_mem|temporary kv cache memory during profiling) (?P<trial>\d+(?:\.\d+)?) GiB)?"
)
QUOTA = re.compile(r"KV cache manager v2 device quota set to (?P<gib>\d+(?:\.\d+)?) ?GiB")
BOTH_LIMITS = re.compile(
    r"Both free_gpu_memory_fraction and max_tokens are set \(to (?P<fraction>\d+(?:\.\d+)?) and "
    r"(?P<tokens>\d{1,15}), respectively\)"
)
POOL = re.compile(r"Number of blocks in KV cache primary pool: (?P<blocks>\d{1,15})")
TOKENS_PER_BLOCK = re.compile(r"Number of tokens per block: (?P<tokens>\d{1,15})")
WEIGHTS = re.compile(r"Use (?P<gb>\d+(?:\.\d+)?) GB for model weights")
MODEL_INIT = re.compile(r"Model init total -- (?P<s>\d+(?:\.\d+)?)s")
OUTSIDE_TORCH = re.compile(
    r"Memory used after loading model weights \(outside torch\) in memory usage profiling: (?P<gib>\d+(?:\.\d+)?) GiB"
)
LIMITS = re.compile(
    r"max_seq_len=(?P<seq>\d{1,15}), max_num_requests=(?P<req>\d{1,15}), max_num_tokens=(?P<tok>\d{1,15}), "
    r"max_batch_size=(?P<mbs>\d{1,15})"
)
TRT_MEMORY = re.compile(
    r"Memory usage when calculating max tokens in paged kv cache: total: (?P<total>\d+(?:\.\d+)?) GiB, "
    r"available: (?P<available>\d+(?:\.\d+)?) GiB"
)
HEURISTICS = re.compile(
    r"Max batch size and max num tokens not provided\. Using heuristics or pre-defined settings: "
    r"max_batch_size=(?P<mbs>\d{1,15}), max_num_tokens=(?P<mnt>\d{1,15})"
)
SHORTENED = re.compile(
    r"Adjusted max_seq_len to (?P<n>\d{1,15})|Attention window size \d+ exceeds upper bound (?P<x>\d{1,15})"
)
SUBMITTED = re.compile(r"Request submission complete\. \[count=(?P<n>\d{1,15}), time=(?P<s>\d+(?:\.\d+)?)s")
OTHER_RANK = re.compile(r"\[TRT-LLM\] \[RANK [1-9]\d*\]|^\[\d+,[1-9]\d*\]<std(?:out|err)>:?")
"""A line of another process than the first of several, each on a GPU of its own."""
PROFILED = re.compile(
    r"Peak memory during memory usage profiling|Estimated max memory in KV cache|memory usage profiling: "
)
"""The PyTorch backend tries a small cache first; the TensorRT backend builds one and says none of this."""
STAMP = re.compile(r"\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\] \[TRT-LLM\]")


@dataclass(frozen=True)
class Log:
    """Figures of one log; None where the log has no such line. Memory in GiB, times in seconds."""

    version: str | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: int | None = None
    kv_cache_source: str = "no log was read"
    kv_estimation_gib: float | None = None
    """The trial cache of the profiling pass, which is not the cache that serves."""
    peak_gib: float | None = None
    available_gib: float | None = None
    free_fraction: float | None = None
    kv_bytes_per_token: float | None = None
    device_total_gib: float | None = None
    trial_gib: float | None = None
    outside_torch_gib: float | None = None
    weights_gb: float | None = None
    model_init_s: float | None = None
    load_s: float | None = None
    """From the first line until requests are taken. Whole seconds where only the engine stamped its lines."""
    warmup_s: float | None = None
    submitted: tuple[int, ...] = ()
    """Requests of each submission: the warm-up first."""
    streamed: bool = False
    """The printed summary has times to first token."""
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    lines: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def memory_identity_gib(self) -> float | None:
        """What peak + KV / fraction − trial leaves over the device total: zero, by the way the engine sizes its cache.

        Where it is zero, a lower KV cache and a higher peak are one observation, not two.
        """
        terms = (self.peak_gib, self.kv_cache_gib, self.free_fraction, self.trial_gib, self.device_total_gib)
        if None in terms:
            return None
        peak, kv, fraction, trial, total = (float(term) for term in terms if term is not None)
        return peak + kv / fraction - trial - total if fraction > 0 else None


def read_log(*streams: str) -> Log:
    """Read one merged stream, or standard output and standard error apart (the order within each is kept)."""
    lines = read_lines(*streams)
    text = "\n".join(line.text for line in lines if not OTHER_RANK.search(line.text))
    kv_gib, kv_tokens, kv_source, estimation = _kv_cache(text)
    peak = _last(PEAK, text)
    trt = _last(TRT_MEMORY, text)
    weights, init, outside = _last(WEIGHTS, text), _last(MODEL_INIT, text), _last(OUTSIDE_TORCH, text)
    limits = _last(LIMITS, text)
    version = VERSION.search(text)
    total = _number(peak, "total")
    load_s, warmup_s = _durations(lines)
    return Log(
        version=version["version"] if version else None,
        kv_cache_gib=kv_gib,
        kv_cache_tokens=kv_tokens,
        kv_cache_source=kv_source,
        kv_estimation_gib=estimation,
        peak_gib=_number(peak, "peak"),
        available_gib=_number(peak, "available") if peak else _number(trt, "available"),
        free_fraction=_number(peak, "fraction"),
        kv_bytes_per_token=_number(peak, "kv_bytes"),
        device_total_gib=total if total is not None else _number(trt, "total"),
        trial_gib=_number(peak, "trial"),
        outside_torch_gib=_number(outside, "gib"),
        weights_gb=_number(weights, "gb"),
        model_init_s=_number(init, "s"),
        load_s=load_s,
        warmup_s=warmup_s,
        submitted=tuple(int(match["n"]) for match in SUBMITTED.finditer(text)),
        streamed="time-to-first-token [TTFT]" in text,
        notes=_notes(text),
        failure=find_failure(line.text for line in lines),
        lines=tuple(line.text for line in lines),
        limits={key: int(value) for key, value in limits.groupdict().items()} if limits else {},
    )


def _kv_cache(text: str) -> tuple[float | None, int | None, str, float | None]:
    """GiB, tokens and source of the cache that serves; GiB of the trial cache before it."""
    found = list(ALLOCATED.finditer(text))
    sizes = [float(match["size"]) * GIB[match["unit"]] for match in found]
    if found:
        first, last = found[0], found[-1]
        peak = _last(PEAK, text)
        both = BOTH_LIMITS.search(text)
        ready = "Setting up for warmup" in text or "Starting benchmark..." in text
        profiled_after = peak is not None and peak.start() > last.start()
        is_trial = both is not None and both["tokens"] == last["tokens"] and not ready
        several = len({match["tokens"] for match in found}) > 1  # of several ranks, each says the same
        if not several and (profiled_after or is_trial):
            return None, None, "the log ends before the cache that serves was built", sizes[0]
        between = peak is not None and first.end() <= peak.start()
        profiled = several and PROFILED.search(text) is not None
        trial = sizes[0] if len(found) > 1 and (between or profiled) else None
        return sizes[-1], int(last["tokens"]), "log: last KV cache allocation", trial
    quotas = list(QUOTA.finditer(text))
    if quotas:
        trial = float(quotas[0]["gib"]) if len(quotas) > 1 else None
        return float(quotas[-1]["gib"]), None, "log: KV cache manager v2 quota", trial
    pool, block, peak = _last(POOL, text), _last(TOKENS_PER_BLOCK, text), _last(PEAK, text)
    kv_bytes = _number(peak, "kv_bytes")
    if pool is not None and block is not None and kv_bytes is not None:
        tokens = int(pool["blocks"]) * int(block["tokens"])
        return tokens * kv_bytes / 2**30, tokens, "log: blocks × tokens per block × bytes per token", None
    return None, None, "the log has no KV cache allocation line", None


def _durations(lines: Iterable[Line]) -> tuple[float | None, float | None]:
    """Seconds of loading and of warming up; the measured part begins at the last "Starting benchmark..."."""
    first = ready = measured = None
    warmed = False
    for line in lines:
        now = line.seen_ns if line.seen_ns is not None else _stamp_ns(line.text)
        if now is None:
            continue
        first = now if first is None else first
        if "Setting up for warmup" in line.text and ready is None:
            ready = now
        if "Warmup done" in line.text:
            warmed = True
        if "Starting benchmark..." in line.text:
            ready = now if ready is None else ready
            measured = now
    return _seconds(first, ready), _seconds(ready, measured) if warmed else None


def _stamp_ns(line: str) -> int | None:
    """The engine's own stamp: local time, whole seconds."""
    match = STAMP.search(line)
    if match is None:
        return None
    try:
        return timegm(datetime.strptime(match[1], "%m/%d/%Y-%H:%M:%S").timetuple()) * 10**9
    except ValueError:
        return None


def _seconds(start: int | None, end: int | None) -> float | None:
    """None where an end is missing, or where a clock change made the difference negative."""
    seconds = (end - start) / 1e9 if start is not None and end is not None else None
    return seconds if seconds is not None and seconds >= 0 else None


def _notes(text: str) -> tuple[str, ...]:
    notes = []
    if heuristics := HEURISTICS.search(text):
        notes.append(
            f"batch size and token limit came from the engine's heuristics ({heuristics['mbs']}, {heuristics['mnt']})"
        )
    if shortened := SHORTENED.search(text):
        notes.append(f"the engine shortened sequences: {shortened[0]}")
    if "Chunked prefill is disabled, but max_num_tokens" in text:
        notes.append("chunked prefill is off and max_num_tokens is below the longest prompt")
    return tuple(notes)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007
        pass
    return match


def _number(match: re.Match[str] | None, group: str) -> float | None:
    value = match[group] if match else None
    return float(value) if value is not None else None
