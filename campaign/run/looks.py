"""What the driver does with looks: takes those that are due, says what they decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from campaign.analysis import inputs, looks, views
from campaign.errors import DriverError
from campaign.record.journal import State

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
                    "looks, margin, spending or comparisons are no longer those of the looks that were taken: a design cannot change after its "
                    "first look. Put `sequential` and `margin_pct` back, or start another campaign with NEW=1."
                )
        self.conduct = looks.conducted(plan, events)

    def take(self, state: State) -> Iterator[Event]:
        """The looks that are due, one after the other: the fields of their events, to be journalled before the next is asked for."""
        while (name := self.schedule.due(self.conduct, state)) is not None:
            table, _ = inputs.run_table(views.connect(self.results))
            yield looks.take(table, self.plan, self.conduct, name)


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
