"""A report of ``bench.py`` read apart from any campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines import EngineError, Keys
from actors.engines.common.foreign_reports import program_of, refusal
from actors.engines.common.report_files import by_name, text_of
from actors.engines.llamacpp import report as llamacpp_report


def parse_file(path: Path, keys: Keys) -> dict[str, Any]:
    """The figures of a report, ready for JSON. Raises EngineError."""
    if keys == "reference":
        raise EngineError("--keys reference exists for trtllm alone, not for 'llamacpp'")
    program = program_of(text_of(path)) if path.is_file() else None
    if program is not None and program != "llamacpp":
        raise EngineError(refusal(str(path), program, "llamacpp"))
    if path.name != "report.json":
        raise EngineError(
            f"{path}: give the report.json of an attempt's output folder, with its requests.jsonl beside it"
        )
    try:
        report, lines = llamacpp_report.read(path.parent)
    except llamacpp_report.Unusable as error:
        raise EngineError(f"{path}: {error}") from None
    return {
        "engine": "llamacpp",
        "engine_version": report.engine.version,
        "model_identity": report.model.name,
        "requests_answered": report.requests.answered,
        "failure": None,
        **by_name(llamacpp_report.metrics(report, lines)),
        "notes": [],
    }
