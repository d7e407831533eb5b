"""What ``campaign plan --pilot`` says: where each cell varies, what plan would cost least,
how short the rest can be; and its two files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from actors.files.publish import publish
from campaign.plan import pilot, rest
from campaign.record.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign

SIMULATED = "Simulated: this pilot is a rehearsal, and nothing in it was measured."


def told(
    campaign: Campaign, results: Path, apply: Path | None = None, rest_file: Path | None = None
) -> Iterator[RenderableType]:
    """Tables and sentences one by one. Both files are named before either is written. Raises
    :class:`pilot.PilotRefused`, :class:`rest.NotCalibrated` where a file was asked for that cannot be written."""
    for file in (apply, rest_file):
        if file is not None and file.exists():
            raise pilot.PilotRefused(f"{file} exists; name a new file, nothing was written")
    simulated = Store(results).info().get("simulated") is True
    if simulated:
        yield SIMULATED
    plan = _or_why(lambda: pilot.advice(campaign, pilot.spreads(results)), needed=apply is not None)
    found = _or_why(lambda: rest.calibrated(results), needed=rest_file is not None)
    if spread := pilot.cells(results):
        yield pilot.describe_cells(spread)
        yield ""
    yield f"No optimum. {plan}" if isinstance(plan, str) else pilot.describe(plan)
    yield ""
    yield f"No calibrated rest. {found}" if isinstance(found, str) else rest.describe(found, campaign.runs)
    if apply is not None and not isinstance(plan, str):
        _write(apply, (f"# {SIMULATED}\n" if simulated else "") + pilot.overrides(plan))
        yield f"wrote {apply}: put its `overrides` into the campaign file, before the first run"
    if rest_file is not None and not isinstance(found, str):
        _write(rest_file, found.model_dump_json(indent=1) + "\n")
        yield (
            f"wrote {rest_file}: `gate: {{cooldown_s: calibrated, calibration: "
            f"{rest_file.name}}}` in a campaign file beside it"
        )


T = TypeVar("T")


def _or_why(asked: Callable[[], T], needed: bool) -> T | str:
    """What the pilot tells, or why it does not."""
    try:
        return asked()
    except (pilot.PilotRefused, rest.NotCalibrated) as why:
        if needed:
            raise
        return str(why)


def _write(path: Path, text: str) -> None:
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")
