"""What the command line does where a study is meant: called by the commands of the same name in ``campaign.cli``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from campaign.study import config as studies


def plan(config: Path, phase: str | None, units: int, out: Any) -> bool:
    """Print the plan of a whole study. False where the file is one campaign's, or one phase is asked for."""
    if phase is not None or not studies.is_study(config):
        return False
    from campaign.study import outlook

    out.print(outlook.describe(studies.load(config), units))
    return True
