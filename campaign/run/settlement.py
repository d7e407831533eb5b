"""What happens to cells that the shakedown found unable to run: shown, asked about once, journalled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from campaign.config.schema import Campaign
from campaign.errors import DriverError
from campaign.run import shakedown
from campaign.run.ledger import Ledger
from campaign.run.shakedown import Finding, LeftOut

if TYPE_CHECKING:
    from rich.console import RenderableType

Choice = Literal["without", "stop"]
"""What is done about cells that cannot run: go on without them, or stop."""


@dataclass(frozen=True)
class Settlement:
    """Decides for one campaign."""

    campaign: Campaign
    ledger: Ledger
    present: Callable[[RenderableType], None]
    """Shows the table of the shakedown."""
    choose: Callable[[LeftOut], tuple[Choice, str]]
    """Asks what is done about cells that cannot run; the answer, and who gave it."""
    tell: Callable[[str], None]
    only_shakedown: bool = False

    def settle(self, units: Iterable[str], *, show: bool) -> str | None:
        """Show what the ``units`` found, and settle what is left out. Why the campaign stops here, empty for the end of
        a shakedown; None where it goes on. Raises DriverError where no cell can run."""
        every = shakedown.cells(self.ledger.plan)
        findings = self._findings(list(units))
        failing = {found.cell: found.cause for found in findings if not found.passed}
        without = shakedown.left_out(every, failing, self.campaign.reference)
        if show:
            self._show(findings, without)
        cells = {str(cell): why for cell, why in without.reasons.items()}
        known = set(self.ledger.state.left_out)
        if set(cells) - known:
            if self.only_shakedown:
                return ""
            if len(cells) == len(every):
                causes = "\n".join(f"  {cell}: {why}" for cell, why in cells.items())
                raise DriverError(f"no cell of this campaign can run here:\n{causes}\nNothing was measured.")
            choice, by = self.choose(without)
            if choice == "stop":
                return f"shakedown: {len(cells)} cells cannot run; mend them, or go on --without them"
            self.tell(f"going on without {len(cells)} cells ({by})")
            self.ledger.record("left_out", cells=cells, by=by)
        elif set(cells) != known:
            self.ledger.record("left_out", cells=cells, by="the shakedown: what could not run before runs now")
        return "" if self.only_shakedown else None

    def _findings(self, units: list[str]) -> list[Finding]:
        """The last of each cell on each unit."""
        known = self.ledger.state.shakedowns
        keys = [(unit, str(cell)) for cell in shakedown.cells(self.ledger.plan) for unit in units]
        return [Finding.from_json(known[key]) for key in keys if key in known]

    def _show(self, findings: list[Finding], without: LeftOut) -> None:
        speeds = shakedown.speeds(self.ledger.state, {found.unit for found in findings})

        def total_s(gone: Iterable[shakedown.Cell]) -> float:
            return shakedown.total_s(self.campaign, self.ledger.plan, speeds, gone)

        self.present(
            shakedown.describe(
                self.campaign, findings, without, total_s=total_s(()), without_s=total_s(without.reasons)
            )
        )
