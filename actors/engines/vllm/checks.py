"""Whether what ran is what was asked for, and what a reader of the figures should know."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actors.engines.trtllm.report import ReportError
from actors.engines.vllm.options import identity, inside
from actors.engines.vllm.report import LatencyReport, Log, ServeReport, VllmReport
from actors.types import Model, Prepared, Workload

GIB = 2**30


def none_answered(report: VllmReport | None, log: Log) -> str:
    """Why there are no times at all: a client writes 0.0 for each of them then. Empty where a request was answered."""
    if not isinstance(report, ServeReport) or report.completed:
        return ""
    first = next((error for error in report.errors if error), None)
    last_line = first.strip().splitlines()[-1] if first and first.strip() else ""
    cause = f"{log.failure}" if log.failure is not None else last_line
    return f"requests_failed: none of {report.num_prompts} requests was answered" + (f"; {cause}" if cause else "")


def check_times(report: ServeReport, workload: Workload) -> None:
    """Every figure that the client was asked for is there, or has its reason to be nothing. Raises ReportError."""
    extra = report.model_extra or {}
    for kind in ("ttft", "tpot", "itl", "e2el"):
        for statistic in ("mean", "p50", "p95", "p99"):
            if f"{statistic}_{kind}_ms" not in extra:
                raise ReportError(f"report.json: key '{statistic}_{kind}_ms' is missing", f"{statistic}_{kind}_ms")


def mismatches(
    report: VllmReport, log: Log, model: Model, workload: Workload, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Named differences between what was asked and what ran."""
    ran = model_that_ran(report, log)
    if ran is None:
        yield "model_identity", "neither report nor log says which model ran"
    elif ran not in (identity(model), inside(model), prepared.files.get("weights")):  # the last on the bare host
        yield "model_identity", f"asked for {identity(model)}, the engine ran {ran}"
    known = prepared.facts.get("weight_bytes") if model.random_weights is not None else model.weight_bytes
    if log.weights_gib and isinstance(known, int):
        ratio = log.weights_gib / (known / GIB)
        if not 0.67 <= ratio <= 1.5:
            yield "model_identity", f"{log.weights_gib:g} GiB of weights, the model has {known / GIB:.2f}"
    prompt = report.total_input_tokens if isinstance(report, ServeReport) else log.prompt_tokens
    answered = report.completed if isinstance(report, ServeReport) else workload.requests
    wanted = answered * workload.input_tokens
    # A random prompt is decoded to text and encoded again, which moves its length a little.
    if prompt is not None and not math.isclose(prompt, wanted, rel_tol=0.02):
        yield "workload_mismatch", f"{prompt} input tokens, not {wanted}"


def notes(report: VllmReport | None) -> Iterator[str]:
    """What a reader of the figures should know and no failure says."""
    if isinstance(report, LatencyReport):
        yield (
            "vllm bench latency: latency is of a whole batch from first prompt to last token, "
            "and no throughput is written"
        )
    if isinstance(report, ServeReport):
        if report.completed and report.unanswered:
            yield (
                f"{report.unanswered} of {report.num_prompts} requests failed; "
                "the times are of those that were answered"
            )
        if report.several_tokens_per_message:
            yield report.several_tokens_per_message
        if report.total_token_throughput is None:
            yield "a report of before 0.11: total throughput is input_throughput and output_throughput together"
    # A served run always carries more keys (configuration, spread) than the figures need: those are known.
    elif unknown := ", ".join(report.model_extra or ()) if report is not None else "":
        yield f"keys that no version read has, ignored: {unknown}"


def model_that_ran(report: VllmReport | None, log: Log) -> str | None:
    return (report.model_id if report is not None else None) or log.model
