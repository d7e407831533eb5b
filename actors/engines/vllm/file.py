"""A report of vLLM's benchmarks read apart from any campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines.common.failures import report_missing
from actors.engines.common.timestamped_log import log_text
from actors.engines.vllm.checks import model_that_ran, none_answered, notes
from actors.engines.vllm.figures import metrics
from actors.engines.vllm.report import Log, ServeReport, ThroughputReport, VllmReport, read_log, read_report


def parse_report_file(path: Path, log_path: Path | None) -> dict[str, Any]:
    """One report read apart from a campaign. Without one, the log is searched for the reason."""
    log = read_log(log_text(log_path)) if log_path is not None else Log()
    report: VllmReport | None = None
    if path.exists() or log_path is None:
        report = read_report(path)
        failure = none_answered(report, log) or None
    else:
        failure = str(log.failure or report_missing(log.lines, "--output-json or --save-result"))
    found = metrics(report, log, reason=failure.split(":")[0] if failure else "no report")
    answered = 0
    if isinstance(report, ServeReport):
        answered = report.completed
    elif isinstance(report, ThroughputReport):
        answered = report.num_requests
    return {
        "engine": "vllm",
        "engine_version": log.version,
        "model_identity": model_that_ran(report, log),
        "requests_answered": answered,
        "failure": failure,
        "metrics": {metric.name: metric.value for metric in found},
        "units": {metric.name: metric.unit_of_measure for metric in found},
        "sources": {metric.name: metric.source for metric in found if metric.value is not None},
        "missing": {metric.name: metric.reason for metric in found if metric.value is None},
        "notes": list(notes(report)),
    }
