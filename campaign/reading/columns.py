"""What a column is called, and what that says: a factor of the run, a setting, a metric of this project,
or nothing certain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from campaign.reading.units import UNITS, Unit, parse_unit, unit_at_end

FACTORS: dict[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "model_label", "llm", "model_id", "huggingface_id", "hf_model", "model_path"),
    "environment": ("environment", "env", "arm", "treatment"),
    "repetition": ("repetition", "rep", "repeat", "iteration", "iter", "trial", "replicate", "block"),
    "attempt": ("attempt", "attempt_number", "attempt_no"),
    "workload": ("workload", "scenario"),
    "phase": ("phase",),
    "unit": ("unit", "host", "hostname", "node", "machine"),
    "engine": ("engine", "framework", "inference_engine"),
    "run_id": ("run_id",),
    "model_identity": ("model_identity", "model_id", "huggingface_id"),
    "started": ("started_utc_ns", "started_utc", "started", "started_at", "start_time", "start_timestamp", "timestamp",
    "datetime", "date_time", "date", "time_utc", "created_at"),
    "sequence_index": ("sequence_index", "run_order", "sequence", "execution_order", "run_index"),
    "order_in_block": ("order_in_block", "position", "position_in_block"),
    "campaign_index": ("campaign_index",),
    "start_temperature_c": ("start_temperature_c", "start_temp_c", "start_temp_celsius", "start_temperature"),
    "throttled": ("throttled", "thermal_throttled"),
    "status": ("status", "outcome", "run_status", "result", "success", "succeeded", "passed", "ok"),
    "exit_code": ("exit_code", "exit_status", "returncode", "return_code", "exitcode"),
    "failure": ("failure", "error", "error_message", "failure_reason"),
    "parameters": ("parameters",),
}  # fmt: skip
"""Factor to the names (in snake case) that are taken for it, the one that wins first."""
HELD = ("image_digest", "driver", "kernel", "clock_mode", "dataset_hash")
"""Must not differ inside one comparison."""
WEIGHTS = ("weights_sha256", "weights_hash", "model_sha256", "weights_bytes")
SETTINGS = frozenset(
    [
        "concurrency",
        "max_concurrency",
        "num_concurrent",
        "concurrent_requests",
        "clients",
        "num_clients",
        "users",
        "streams",
        "batch",
        "batch_size",
        "bs",
        "max_batch_size",
        "n_batch",
        "n_ubatch",
        "ubatch_size",
        "num_prompts",
        "n_prompts",
        "num_requests",
        "n_requests",
        "request_rate",
        "rate",
        "qps_target",
        "burstiness",
        "input_len",
        "output_len",
        "prompt_len",
        "prompt_length",
        "input_length",
        "output_length",
        "context",
        "context_len",
        "context_length",
        "ctx",
        "ctx_size",
        "n_ctx",
        "context_size",
        "isl",
        "osl",
        "input_size",
        "output_size",
        "prompt_size",
        "response_size",
        "n_prompt",
        "n_gen",
        "n_depth",
        "depth",
        "max_tokens",
        "max_new_tokens",
        "max_model_len",
        "max_seq_len",
        "max_num_seqs",
        "max_num_tokens",
        "max_num_batched_tokens",
        "random_input_len",
        "random_output_len",
        "tp",
        "pp",
        "ep",
        "tp_size",
        "pp_size",
        "tensor_parallel",
        "tensor_parallel_size",
        "pipeline_parallel",
        "gpus",
        "num_gpus",
        "gpu_count",
        "n_gpus",
        "n_gpu_layers",
        "ngl",
        "threads",
        "n_threads",
        "num_threads",
        "seed",
        "random_seed",
        "port",
        "precision",
        "dtype",
        "quantization",
        "quant",
        "kv_cache_dtype",
        "type_k",
        "type_v",
        "flash_attn",
        "beam_width",
        "num_beams",
        "top_p",
        "top_k",
        "sampling_temperature",
        "gpu_memory_utilization",
        "free_gpu_memory_fraction",
        "kv_cache_free_gpu_mem_fraction",
        "backend",
        "dataset",
        "dataset_name",
        "prompt_set",
        "version",
        "engine_version",
        "driver_version",
        "cuda_version",
        "image",
        "commit",
        "build_commit",
        "git_commit",
        "gpu",
        "gpu_name",
        "num_warmup",
        "warmup_runs",
        "num_iterations",
        "num_runs",
        "target_rate",
    ]
)
"""Columns that say under what a run was made. They are never compared."""
PER_RUN = frozenset({"seed", "random_seed", "port", "input_tokens", "output_tokens", "prompt_tokens"})
"""Settings that may differ from run to run without making another condition of it."""
DESCRIPTIONS = frozenset(
    [
        "id",
        "index",
        "idx",
        "row",
        "row_number",
        "no",
        "pid",
        "gpu_index",
        "notes",
        "note",
        "comment",
        "comments",
        "description",
        "file",
        "filename",
        "path",
        "log",
        "log_file",
        "command",
        "end_time",
        "ended",
        "ended_at",
        "finished_at",
        "end_timestamp",
        "end_temp_c",
        "end_temp_celsius",
        "end_temperature_c",
        "completed",
        "failed",
        "num_failed",
        "num_completed",
        "errors",
        "error_count",
        "request_index",
        "accepted",
        "simulated",
        "analysis_set",
        "lane",
        "block_index",
        "weight_bytes",
        "active_parameters",
        "model_size",
    ]
)
"""Columns that describe a row and are neither condition nor figure."""
IDENTITY = frozenset({*FACTORS, *(name for names in FACTORS.values() for name in names), *SETTINGS, *DESCRIPTIONS})
"""Names of everything that is no metric."""


DISAGREES = "its name says"
"""Begins what is said of a name that contradicts its unit."""


@dataclass(frozen=True)
class Metric:
    """What a name says about a figure: this project's metric (None: not certain which), the unit in the name,
    and what is to be asked."""

    meaning: str | None
    unit: Unit | None
    said: str = ""
    """What was understood beyond the letter, or what is not certain."""


Kind = Literal["time", "memory", "power", "energy", "token rate", "request rate"]
_NOUNS: tuple[tuple[str, str, Kind], ...] = (
    ("ttft|time_to_first_token|first_token_latency", "ttft", "time"),
    ("itl|inter_token_latency|intertoken_latency", "itl", "time"),
    ("latency|request_latency|e2e_latency|e2el|end_to_end_latency|e2e_request_latency", "latency", "time"),
    (("output_throughput|output_token_throughput|output_tokens?|output_tok|output|generation_throughput"
        "|generation_tokens?|generated_tokens?|system_output"
        "|system_output_throughput|token_throughput|output_token_rate"), "token_throughput", "token rate"),
    ("total_token_throughput|total_tokens?|total_tok|total", "total_token_throughput", "token rate"),
    ("request_throughput|requests|request|request_rate_achieved", "request_throughput", "request rate"),
    (("(?:peak|max|maximum)_(?:gpu_|device_)?(?:memory|mem|vram)(?:_used|_usage)?"
        "|(?:gpu_)?(?:memory|mem|vram)_(?:peak|max|maximum)"), "peak_memory", "memory"),
    ("kv_cache|kv_cache_size|kv_cache_memory", "kv_cache", "memory"),
    ("power|power_draw|gpu_power|gpu_power_draw", "power", "power"),
    ("energy|gpu_energy|energy_used", "energy", "energy"),
)  # fmt: skip
_COUNTS = frozenset(
    [
        "output",
        "output_tok",
        "output_token",
        "output_tokens",
        "generation_token",
        "generation_tokens",
        "generated_token",
        "generated_tokens",
        "system_output",
        "total",
        "total_tok",
        "total_token",
        "total_tokens",
        "request",
        "requests",
    ]
)
"""Nouns of rates that are counts, or anything, without the rate's unit."""
_STATISTICS = {
    "mean": "mean", "avg": "mean", "average": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p95": "p95",
    "p99": "p99", "p999": "p999",
    "min": "min", "minimum": "min", "std": "std", "stddev": "std", "sd": "std", "stdev": "std", "var": "var",
    "variance": "var",
}  # fmt: skip
_OURS = {"mean", "p50", "p95", "p99"}
_UNIT_OF: dict[Kind, str] = {
    "time": "ms", "memory": "gib", "power": "w", "energy": "j", "token rate": "tok_s", "request rate": "req_s",
}  # fmt: skip
_ASK: dict[Kind, str] = {
    "time": "is it seconds or milliseconds?",
    "memory": "is it GiB, MiB, GB or bytes?",
    "power": "is it W or mW?",
    "energy": "is it J, kJ or Wh?",
}
_CERTAIN: dict[Kind, str] = {"token rate": "tok/s", "request rate": "req/s"}
"""Rates that the name alone gives a unit, because this project knows no other."""


def snake(name: str) -> tuple[str, Unit | None, str]:
    """A header in snake case without the unit in its brackets, that unit,
    and the bracket's text where it is no unit."""
    text = name.strip().replace("\u00a0", " ")
    bracket = re.fullmatch(r"(.*?)\s*[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]\s*", text)
    unit, remark = None, ""
    if bracket and bracket[1]:
        unit = parse_unit(bracket[2])
        text, remark = bracket[1], "" if unit else bracket[2]
    elif text.count(",") == 1 and (found := parse_unit(text.rpartition(",")[2])):
        unit, text = found, text.rpartition(",")[0]
    elif re.search(r"\s\S*/\S*$|/s(ec)?$", text):
        before, _, last = text.rpartition(" ")
        found = parse_unit(last if before else text)
        unit, text = (found, before) if found else (None, text)
    if "%" in text and unit is None:
        unit, text = UNITS["%"], text.replace("%", " ")
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", text) if not text.isupper() else text
    text = re.sub(r"[^\w]+", "_", text.lower().replace("µ", "u")).strip("_")
    return re.sub(r"_+", "_", text), unit, remark


def factor_of(name: str) -> str | None:
    """The factor that a header names, by the first of :data:`FACTORS` that has it."""
    text = snake(name)[0]
    return next((factor for factor, names in FACTORS.items() if text in names), None)


def metric_of(name: str, given: Unit | None = None) -> Metric:
    """What a header says about a figure. ``given`` is a unit told elsewhere (``--unit``, or the cells)."""
    whole, unit, _ = snake(name)
    base = whole
    if unit is None:
        base, unit = unit_at_end(whole)
    unit = unit or given
    parts = [part for part in base.split("_") if part]
    statistic = next((_STATISTICS[part] for part in parts if part in _STATISTICS), None)
    noun_text = "_".join(part for part in parts if part not in _STATISTICS)
    for pattern, noun, kind in _NOUNS:
        text = base if noun == "peak_memory" else noun_text
        if re.fullmatch(pattern, text):
            if text in _COUNTS and (unit is None or unit.dimension != kind):
                break
            return _known(noun, kind, statistic, unit, explicit=statistic is not None)
    rate = unit.dimension if unit else None
    if rate == "request rate" and noun_text in ("", "throughput"):
        return Metric("request_throughput_req_s", unit)
    if noun_text in ("throughput", "total_throughput", "", "tokens", "speed", "decode_throughput", "rate") and (
        rate == "token rate" or (unit is None and "throughput" in noun_text)
    ):
        if rate == "token rate":
            return Metric(
                None,
                unit,
                "which tokens, the output alone or prompts too? --column NAME=token_throughput_tok_s or "
                "NAME=total_token_throughput_tok_s",
            )
        return Metric(
            None, None,
            "which throughput, and in tok/s or req/s? --column NAME=token_throughput_tok_s (output tokens), "
            "NAME=total_token_throughput_tok_s or NAME=request_throughput_req_s",
        )  # fmt: skip
    return Metric(None, unit)


def _known(noun: str, kind: Kind, statistic: str | None, unit: Unit | None, *, explicit: bool) -> Metric:
    if unit is None and kind in _CERTAIN:
        unit = UNITS[_CERTAIN[kind]]
    if unit is not None and unit.dimension != kind:
        return Metric(
            None,
            unit,
            f"{DISAGREES} {kind}, its unit {unit.name} says {unit.dimension}: say which with --column NAME=…, "
            "or correct the unit",
        )
    ending = _UNIT_OF[kind]
    if kind == "time" or noun == "power":
        if statistic not in (None, *_OURS) or (noun == "power" and statistic not in (None, "mean")):
            return Metric(None, unit)
        meaning = f"{noun}_{statistic or 'mean'}_{ending}"
        said = (
            ""
            if explicit
            else f"taken as the mean: the name says no other; another is --column NAME={noun}_p50_{ending}"
        )
    else:
        if statistic not in (None, "mean"):
            return Metric(None, unit)
        meaning, said = f"{noun}_{ending}", ""
    if unit is None:
        return Metric(
            meaning,
            None,
            f"{_ASK[kind]} Say --unit "
            f"NAME={'ms' if kind == 'time' else 'MiB' if kind == 'memory' else 'W' if kind == 'power' else 'J'}, "
            "or whichever it is",
        )
    return Metric(meaning, unit, said)
