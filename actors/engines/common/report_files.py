"""What reading a report apart from any campaign takes, whatever the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines import Engine, EngineError, Keys
from actors.engines.common.failures import LEVEL
from actors.types import Metric


def report_or_log(report: Path, log: Path | None) -> tuple[Path, Path | None]:
    """Report and log; a log given as the report is a log without a report."""
    if log is None and _looks_like_a_log(report):
        return report.with_name(report.name + " (a log, no report)"), report
    return report, log


def refuse_reference(engine: Engine, keys: Keys) -> None:
    """Raises EngineError where the published names of another engine are asked for."""
    if keys == "reference":
        raise EngineError(f"--keys reference exists for trtllm alone, not for '{engine.name}'")


def by_name(metrics: tuple[Metric, ...]) -> dict[str, Any]:
    """Metrics as name to value, with units, sources and reasons beside them."""
    return {
        "metrics": {metric.name: metric.value for metric in metrics},
        "units": {metric.name: metric.unit_of_measure for metric in metrics},
        "sources": {metric.name: metric.source for metric in metrics if metric.value is not None},
        "missing": {metric.name: metric.reason for metric in metrics if metric.value is None},
    }


def _looks_like_a_log(path: Path) -> bool:
    if not path.is_file():
        return False
    head = text_of(path)[:20000]
    if head.lstrip("\ufeff \n\r\t").startswith(("{", "[{", "[\n")):
        return False
    return any(LEVEL.search(line) or line.startswith("Traceback (most") for line in head.splitlines())


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")  # as written: see log_text
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from None
