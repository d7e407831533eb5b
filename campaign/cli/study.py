"""What the verbs do where a study is meant."""

from __future__ import annotations

from pathlib import Path

from campaign.cli.app import out


def planned(config: Path | None, units: int, results: Path) -> bool:
    """Print the plan of a whole study. False where the file is one campaign's."""
    from campaign.study import config as studies

    if config is None or not studies.is_study(config):
        return False
    from campaign.study import outlook

    out.print(outlook.describe(studies.load(config), units))
    return True
