"""Whether a journal could have been written by a driver: each event against what was true before it.

The hash chain shows that no line was changed afterwards by somebody who did not write the rest anew; it says nothing of
a line that was appended in due form. A driver writes only what follows from its rules, and those can be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from campaign.record.journal import State, apply

Event = dict[str, Any]


@dataclass
class Record:
    """What is known before an event."""

    plan: dict[str, Event]
    """Planned runs by id."""
    config: dict[str, Any]
    """As in ``campaign.json``."""
    state: State = field(default_factory=State)
    session: Event | None = None
    """The ``opened`` event of the driver that lives; None between drivers."""
    drift: list[Event] = field(default_factory=list)
    """``override`` events that no session has answered for yet."""
    overridden: bool = False
    """This session, or what precedes it, has an override."""
    registered: bool = False
    moved: set[str] = field(default_factory=set)
    """Blocks that this session moved to another unit."""
    looks: dict[str, int] = field(default_factory=dict)
    """``model__workload`` to its last look."""


def illegal(events: list[Event], plan: list[Event], config: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Line number (1-based) and what is wrong with it, for every event that no driver writes at that point."""
    record = Record({row["run_id"]: row for row in plan}, config)
    for line, event in enumerate(events, 1):
        kind = event.get("event")
        try:
            yield from ((line, what) for what in _objections(record, event, first=line == 1))
            apply(record.state, event)
        except (KeyError, TypeError, AttributeError) as problem:
            yield line, f"`{kind}` lacks what such a line holds ({problem})"
        if kind in ("stopped", "completed"):
            record.session, record.overridden, record.moved = None, False, set()
    if record.drift:
        yield len(events), "an override that no driver with --accept-drift answers for"


def _objections(record: Record, event: Event, first: bool) -> Iterator[str]:
    kind = event.get("event")
    if kind not in RULES:
        yield f"no driver writes an event `{kind}`"
        return
    if first != (kind == "created"):
        yield "a journal begins with `created`, once" if kind == "created" else "a journal begins with `created`"
    elif kind not in BETWEEN and record.session is None:
        yield f"`{kind}` although no driver was at work: the line before ended one, or none had begun"
    yield from RULES[kind](record, event)


BETWEEN = frozenset({"created", "opened", "recovered", "override", "reopened"})
"""What may stand between two drivers: the last two where a driver finds something changed before it opens."""


def _opened(record: Record, event: Event) -> Iterator[str]:
    if record.drift and event.get("accept_drift") is not True:
        yield "an override before it, although this driver was not given --accept-drift"
    record.drift = []
    if record.session is not None:  # the driver before was killed
        record.moved = set()
    record.session = {**event, "units": list(event["units"])}


def _joined(record: Record, event: Event) -> Iterator[str]:
    if not event["unit"]:
        yield "a unit without a name joins"
    if record.session is not None:
        record.session["units"].append(event["unit"])


def _registered(record: Record, event: Event) -> Iterator[str]:
    """A registration counts only where nothing was measured before it, and there is one."""
    if record.registered:
        yield "registered twice"
    if any(run.attempts for run in record.state.runs.values()):
        yield "registered after the first measured run had begun"
    if not isinstance(event["sha256"], str):
        yield "a registration without its hash"
    record.registered = True


def _override(record: Record, event: Event) -> Iterator[str]:
    if not event.get("what") or not event.get("difference"):
        yield "an override that names no difference"
    record.overridden = True
    if record.session is None:
        record.drift.append(event)
    elif record.session.get("accept_drift") is not True:
        record.drift.append(event)  # of the next driver, where this one was killed


def _dispatched(record: Record, event: Event) -> Iterator[str]:
    run_id, unit = event["run_id"], event["unit"]
    yield from _planned(record, run_id)
    run = record.state.run(run_id)
    if run.done:
        yield f"{run_id} is dispatched although it was done"
    if record.state.spared(run_id):
        yield f"{run_id} is dispatched although a look had decided its model"
    if event["attempt"] != run.attempts + 1:
        yield f"{run_id}: attempt {event['attempt']} follows attempt {run.attempts}"
    if record.session is not None and unit not in record.session["units"]:
        yield f"{unit} is no unit of this driver"
    others = [
        name for name, other in record.state.runs.items() if other.open and other.open[1] == unit and name != run_id
    ]
    if others:
        yield f"{run_id} is dispatched to {unit} while {others[0]} is under way there"


def _finished(record: Record, event: Event) -> Iterator[str]:
    run_id, attempt = event["run_id"], event["attempt"]
    yield from _planned(record, run_id)
    run = record.state.run(run_id)
    if run.open != (attempt, event["unit"]):
        yield f"{run_id} attempt {attempt} on {event['unit']} finished, but was not under way there"
    if run.accepted is not None:
        yield f"{run_id}: attempt {attempt} finished after attempt {run.accepted} was accepted"
    if event["accepted"] == bool(event["rejected_by"]):
        yield f"{run_id} attempt {attempt}: accepted and rejected at once, or neither"
    if event["accepted"] and event["outcome"] != "completed":
        yield f"{run_id} attempt {attempt}: accepted with outcome {event['outcome']}"


def _exhausted(record: Record, event: Event) -> Iterator[str]:
    run_id = event["run_id"]
    yield from _planned(record, run_id)
    run = record.state.run(run_id)
    skips = record.config.get("gate", {}).get("on_timeout") == "skip" and str(event.get("reason", "")).startswith(
        "gate"
    )
    most = record.config.get("attempts_max")
    if run.accepted is not None:
        yield f"{run_id} is given up although attempt {run.accepted} was accepted"
    if not skips and (most is None or run.rejected < most):
        yield f"{run_id} is given up after {run.rejected} rejected attempts; the campaign allows {most}"


def _reopened(record: Record, event: Event) -> Iterator[str]:
    run_id = event["run_id"]
    yield from _planned(record, run_id)
    run = record.state.run(run_id)
    if not event.get("reason"):
        yield f"{run_id} is opened again without a reason"
    block = record.plan.get(run_id, {}).get("block")
    grounds = record.overridden or block in record.moved or record.config.get("outliers") == "rerun"
    if run.accepted is not None and not grounds:
        yield (
            f"{run_id} is opened again, which drops its accepted attempt {run.accepted}, although its block did not "
            "move, nothing was overridden and the campaign does not run outliers again"
        )
    given_up = run.exhausted and run.accepted is None  # `campaign retry`, which drops nothing
    if record.session is None and not record.overridden and not given_up:
        yield f"{run_id} is opened again although no driver was at work"


def _look(record: Record, event: Event) -> Iterator[str]:
    """A look is taken when all its blocks are done, in turn, of a model that has not stopped;
    what it decides is judged by `verify`."""
    design = record.config.get("sequential") or {}
    cell = f"{event['model']}__{event['workload']}"
    number, looks = event["look"], list(design.get("looks") or ())
    if number != record.looks.get(cell, 0) + 1 or number > len(looks) or event["blocks"] != looks[number - 1]:
        yield f"look {number} of {cell} after {event['blocks']} blocks is not the next that the config has"
    if cell in record.state.closed:
        yield f"look {number} of {cell}, which had stopped"
    mine = [
        row for row in record.plan.values() if (row["model"], row["workload"]) == (event["model"], event["workload"])
    ]
    if not mine:
        yield f"{cell} is not in the plan"
    if early := [row for row in mine if row["repetition"] <= event["blocks"] and not record.state.done(row["run_id"])]:
        yield f"look {number} of {cell} before {early[0]['run_id']} was done"
    record.looks[cell] = number


def _requeued(record: Record, event: Event) -> Iterator[str]:
    if event["block"] not in {row["block"] for row in record.plan.values()}:
        yield f"block {event['block']} is not in the plan"
    if event["from"] == event["to"]:
        yield f"block {event['block']} moves from {event['from']} to itself"
    record.moved.add(event["block"])


def _breaker(record: Record, event: Event) -> Iterator[str]:
    least = record.config.get("breaker")
    if least is not None and event.get("failures", 0) < least:
        yield f"a breaker opens after {event.get('failures')} failures; the campaign says {least}"


def _completed(record: Record, event: Event) -> Iterator[str]:
    left = [run_id for run_id in record.plan if not record.state.done(run_id)]
    if left:
        yield f"completed, although {left[0]} is not done"
    if record.state.completed:
        yield "completed twice"


def _planned(record: Record, run_id: str) -> Iterator[str]:
    if run_id not in record.plan:
        yield f"{run_id} is not in the plan"


def _any(record: Record, event: Event) -> Iterator[str]:
    yield from ()


RULES: dict[str, Callable[[Record, Event], Iterator[str]]] = {
    "created": _any,
    "recovered": _any,
    "opened": _opened,
    "joined": _joined,
    "registered": _registered,
    "override": _override,
    "conditions": _any,
    "shakedown": _any,
    "left_out": _any,
    "caches": _any,
    "reference": _any,
    "look": _look,
    "requeued": _requeued,
    "reopened": _reopened,
    "dispatched": _dispatched,
    "finished": _finished,
    "exhausted": _exhausted,
    "breaker": _breaker,
    "stopped": _any,
    "completed": _completed,
}
"""Every event that a driver writes, and what must hold when it does.
An event that is not here is an objection by itself."""
