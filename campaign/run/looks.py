"""What the driver does with looks: takes those that are due, says what they decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from campaign.analysis import inputs, looks, views
from campaign.config.schema import Campaign
from campaign.errors import DriverError
from campaign.plan.design import Planned
from campaign.record.journal import State
from campaign.run.ledger import Ledger

Event = dict[str, Any]


class Looks:
    """The looks of the campaign in a results folder, as far as its journal has them."""

    def __init__(self, results: Path, plan: looks.Planned, rows: Iterable[Event], events: Sequence[Event]) -> None:
        self.results = results
        self.plan = plan
        self.schedule = looks.Schedule(plan, rows)
        for event in events:
            if event["event"] == "look" and event["design"] != plan.digest:
                raise DriverError(
                    "looks, margin, spending or comparisons are no longer those of the looks that were taken: a "
                    "design cannot change after its first look. Put `sequential` and `margin_pct` back, or start "
                    "another campaign with NEW=1."
                )
        self.conduct = looks.conducted(plan, events)

    def take(self, state: State) -> Iterator[Event]:
        """The looks that are due, one after the other: the fields of their events,
        to be journalled before the next is asked for."""
        while (name := self.schedule.due(self.conduct, state)) is not None:
            table, _ = inputs.run_table(views.connect(self.results))
            yield looks.take(table, self.plan, self.conduct, name)


class Looking:
    """The looks of the campaign that a driver carries out."""

    def __init__(self, ledger: Ledger, looks: Looks | None, tell: Callable[[str], None]) -> None:
        """``looks`` is None for a campaign without any."""
        self.ledger = ledger
        self.looks = looks
        self.tell = tell

    def take(self) -> None:
        """Journal the looks that are due: what they decide needs no further blocks."""
        for event in () if self.looks is None else self.looks.take(self.ledger.state):
            self.ledger.record("look", **event)
            for line in words(event):
                self.tell(line)

    def done(self, block: Iterable[Planned]) -> bool:
        """Whether a block is not to be carried out when its turn comes, after the looks that are due by then."""
        self.take()
        return self.ledger.done(block)


def open_looks(campaign: Campaign, ledger: Ledger, units: Sequence[str], tell: Callable[[str], None]) -> Looking:
    """The looks of ``campaign`` as far as its journal has them.
    Raises DriverError where they cannot be taken on these units."""
    planned = looks.planned(campaign.model_dump(mode="json"))
    if planned is None:
        return Looking(ledger, None, tell)
    if len(units) > 1:
        raise DriverError(
            f"looks are taken over the blocks of one unit, and here are {', '.join(units)}: name one of them in "
            "`units`, or leave `sequential` out"
        )
    rows = [asdict(row) for row in ledger.plan]
    return Looking(ledger, Looks(ledger.store.root, planned, rows, ledger.events), tell)


REASONS = {
    "all_decided": "everything about it is decided",
    "futility": "what is not decided has next to no chance to be",
    "max_blocks": "it has had all its blocks",
    "not_testable": "nothing about it can be compared",
}


def words(event: Event) -> Iterator[str]:
    """A look as the terminal tells it: without figures, which would be looked at before their time."""
    claims = [claim.rpartition("|") for claim in event["new_claims"]]
    made = "; ".join(f"{what.replace('|', ' ')} {claim}" for what, _, claim in claims)
    cell = f"{event['model']} · {event['workload']}"
    yield f"look {event['look']} of {cell}, {event['blocks']} blocks: {f'claimed: {made}' if made else 'no new claim'}"
    for stopped, reason in event["stopped"].items():
        yield f"no further blocks of {stopped.replace('__', ' · ')}: {REASONS[reason]}"
