"""Report and log of vLLM's benchmarks under the project's names."""

from __future__ import annotations

from actors.engines.common.figures import figure
from actors.engines.vllm.report import LatencyReport, Log, ServeReport, ThroughputReport, VllmReport
from actors.types import Metric


def metrics(report: VllmReport | None, log: Log, reason: str = "no report") -> tuple[Metric, ...]:
    """Every figure under the project's name; missing ones say why."""
    found: dict[str, tuple[float | None, str, str]] = {}
    if isinstance(report, ServeReport):
        found["token_throughput_tok_s"] = (report.output_throughput, "report.json: output_throughput", "")
        total = (
            "total_token_throughput"
            if report.total_token_throughput is not None
            else "input_throughput + output_throughput"
        )
        found["total_token_throughput_tok_s"] = (report.total_tokens_per_second, f"report.json: {total}", "")
        found["request_throughput_req_s"] = (report.request_throughput, "report.json: request_throughput", "")
        found["steady_s"] = (report.duration, "report.json: duration", "")
    elif isinstance(report, ThroughputReport):
        out = log.output_tokens / report.elapsed_time if log.output_tokens is not None and report.elapsed_time else None
        silent = "the report counts prompt and output tokens together, and the log has no 'Total num output tokens'"
        found["token_throughput_tok_s"] = (out, "log: Total num output tokens, by report.json: elapsed_time", silent)
        found["total_token_throughput_tok_s"] = (report.tokens_per_second, "report.json: tokens_per_second", "")
        found["request_throughput_req_s"] = (report.requests_per_second, "report.json: requests_per_second", "")
        found["steady_s"] = (report.elapsed_time, "report.json: elapsed_time", "")
    for name in ("token_throughput_tok_s", "total_token_throughput_tok_s", "request_throughput_req_s", "steady_s"):
        batch = "vllm bench latency times whole batches and counts no tokens"
        found.setdefault(name, (None, "report.json", batch if isinstance(report, LatencyReport) else reason))
    for ours, theirs in (("latency", "e2el"), ("ttft", "ttft"), ("itl", "itl"), ("tpot", "tpot")):
        for statistic in ("mean", "p50", "p95", "p99"):
            found[f"{ours}_{statistic}_ms"] = _time(report, log, statistic, theirs, reason)
    silent = "the log has no such line"
    no_peak = "vLLM prints no peak; see peak_unified_memory_gib and attempt_memory_peak_gib"
    found["peak_memory_gib"] = (None, "log", no_peak)
    found["kv_cache_gib"] = (log.kv_cache_gib, "log: Available KV cache memory", silent)
    found["kv_cache_tokens"] = (log.kv_cache_tokens, "log: GPU KV cache size", silent)
    found["weights_gib"] = (log.weights_gib, "log: Model loading took", silent)
    found |= _startup(log, silent)
    off = (
        "prefix caching is off"
        if log.prefix_cache_off
        else "the log has no such line; `vllm bench throughput` logs none"
    )
    found["prefix_cache_hit_pct"] = (log.prefix_cache_hit_pct, "log: last Prefix cache hit rate", off)
    rate = report.spec_decode_acceptance_rate if isinstance(report, ServeReport) else None
    source = (
        "report.json: spec_decode_acceptance_rate"
        if rate is not None
        else "log: SpecDecoding metrics, accepted of drafted"
    )
    no_draft = "nothing was drafted: no speculative decoding"
    found["draft_acceptance_pct"] = (rate if rate is not None else log.draft_acceptance_pct, source, no_draft)
    units = {"tok_s": "tok/s", "req_s": "req/s", "ms": "ms", "s": "s", "gib": "GiB", "tokens": "tokens", "pct": "%"}
    return tuple(
        figure(name, value, next(unit for end, unit in units.items() if name.endswith(f"_{end}")), source, why)
        for name, (value, source, why) in found.items()
    )


def _startup(log: Log, silent: str) -> dict[str, tuple[float | None, str, str]]:
    """What a start consists of. An attempt knows more of the load: see ``Report.ready_utc_ns``."""
    parts = (log.load_weights_s, log.engine_init_s)
    both = sum(part for part in parts if part is not None) if None not in parts else None
    untold = "neither server nor client says when the measured part begins"
    return {
        "load_weights_s": (log.load_weights_s, "log: Model loading took", silent),
        "compile_s": (log.compile_s, "log: torch.compile took", f"{silent}: nothing was compiled, or another version"),
        "graph_capture_s": (log.graph_capture_s, "log: Graph capturing finished (whole seconds)", silent),
        "engine_init_s": (log.engine_init_s, "log: init engine took", silent),
        "load_s": (both, "log: Model loading and init engine together, without what goes before", silent),
        "warmup_s": (log.warmup_s, "log: until Starting main benchmark run", untold),
        "first_token_s": (None, "log", "vLLM does not time the first token of a start; see ttft_mean_ms"),
    }


def _time(report: VllmReport | None, log: Log, statistic: str, kind: str, reason: str) -> tuple[float | None, str, str]:
    """Value, source and reason of one time. What the user did not ask the client for
    is missing with the option that gives it."""
    source = f"report.json: {statistic}_{kind}_ms"
    if isinstance(report, ThroughputReport):
        return None, source, "vllm bench throughput times no single request"
    if isinstance(report, LatencyReport):
        if kind != "e2el":
            return None, source, "vllm bench latency times whole batches"
        key = {"mean": "avg_latency", "p50": "50", "p99": "99"}.get(statistic)
        seconds = report.avg_latency if key == "avg_latency" else report.percentiles.get(key or "")
        value = seconds * 1e3 if seconds is not None else None
        return value, f"report.json: {key} (of a whole batch)", "vllm bench latency writes no such percentile"
    if report is None:
        return None, source, reason
    if not report.completed:
        return None, source, "no request was answered"
    if kind == "itl" and (why := report.several_tokens_per_message):
        return None, source, why
    if kind == "itl" and log.speculative:
        return None, source, "with speculative decoding a message brings several tokens; see tpot_*"
    value = report.time_ms(statistic, kind)
    extra = report.model_extra or {}
    written = extra.get(f"mean_{kind}_ms", extra.get("mean_latency_ms") if kind == "e2el" else None)
    if written is None:
        return None, source, "the client was not asked for it: --percentile-metrics ttft,tpot,itl,e2el gives it"
    if not written:
        return None, source, "no request gave a sample (one output token has no gap after it)"
    return value, source, "the client was not asked for it: --metric-percentiles 50,95,99 gives it"
