"""An engine's report read apart from any campaign: what ``campaign parse ENGINE REPORT`` prints.
Each engine reads its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines import Keys
from actors.engines.registry import engine as engine_of


def parse_file(
    engine: str, report: Path, log: Path | None = None, requests: Path | None = None, keys: Keys = "project"
) -> dict[str, Any]:
    """The figures of one report, ready for JSON (no NaN: missing is null).

    Without a report the log is searched for the reason, and ``failure`` names it; a log given as the report does the
    same. Raises EngineError, naming the missing key, for a report that cannot be used, and for an unknown engine.
    """
    return engine_of(engine).parse_file(report, log, requests, keys)
