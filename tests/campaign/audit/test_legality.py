"""Which journals a driver could have written."""

import pytest

from campaign.audit.legality import illegal

PLAN = [{"run_id": f"m__{arm}__w__r01", "block": "m__w__r01"} for arm in ("native", "docker")]
NATIVE, DOCKER = (row["run_id"] for row in PLAN)
CONFIG = {"attempts_max": 2, "breaker": 3, "outliers": "keep", "gate": {"on_timeout": "pause"}}


def created():
    return {"event": "created"}


def opened(**more):
    return {"event": "opened", "units": ["u", "v"], "accept_drift": False, **more}


def dispatched(run_id, attempt=1, unit="u"):
    return {"event": "dispatched", "run_id": run_id, "attempt": attempt, "unit": unit, "block": "m__w__r01"}


def finished(run_id, attempt=1, unit="u", accepted=True, outcome="completed"):
    rejected_by = [] if accepted else ["throttling"]
    return {"event": "finished", "run_id": run_id, "attempt": attempt, "unit": unit, "accepted": accepted,
        "outcome": outcome,
            "rejected_by": rejected_by}  # fmt: skip


def measured(run_id, attempt=1, **more):
    return [dispatched(run_id, attempt), finished(run_id, attempt, **more)]


COMPLETED, STOPPED = {"event": "completed"}, {"event": "stopped"}
OVERRIDE = {"event": "override", "what": "the driver", "difference": ["code: other"]}
MOVED = {"event": "requeued", "block": "m__w__r01", "from": "u", "to": "v"}


def reopened(run_id=NATIVE, reason="why"):
    return {"event": "reopened", "run_id": run_id, "reason": reason}


BEGUN = [created(), opened()]
LEGAL = {
    "straight on": [*BEGUN, *measured(NATIVE), *measured(DOCKER), COMPLETED],
    "a driver that was killed": [
        *BEGUN,
        dispatched(NATIVE),
        {"event": "recovered"},
        opened(),
        finished(NATIVE),
        *measured(DOCKER),
        COMPLETED,
    ],
    "rejected and repeated": [*BEGUN, *measured(NATIVE, accepted=False), *measured(NATIVE, 2)],
    "given up": [
        *BEGUN,
        *measured(NATIVE, accepted=False),
        *measured(NATIVE, 2, accepted=False),
        {"event": "exhausted", "run_id": NATIVE},
    ],
    "a block moved": [*BEGUN, *measured(NATIVE), MOVED, reopened(), dispatched(NATIVE, 2, "v")],
    "went on after a change": [
        *BEGUN,
        *measured(NATIVE),
        STOPPED,
        OVERRIDE,
        reopened(),
        opened(accept_drift=True),
        *measured(NATIVE, 2),
    ],
    "a change on a unit": [
        created(),
        opened(accept_drift=True),
        *measured(NATIVE),
        OVERRIDE,
        reopened(),
        *measured(NATIVE, 2),
    ],
    "a unit that joined": [
        created(),
        opened(units=["u"]),
        *measured(NATIVE),
        {"event": "joined", "unit": "v"},
        dispatched(DOCKER, 1, "v"),
    ],
    "two units": [
        *BEGUN,
        dispatched(NATIVE),
        dispatched(DOCKER, unit="v"),
        finished(DOCKER, unit="v"),
        finished(NATIVE),
    ],
}
ILLEGAL = {
    "begun twice": ([*BEGUN, created()], "once"),
    "not begun": ([opened()], "begins with `created`"),
    "no driver": ([created(), dispatched(NATIVE)], "no driver was at work"),
    "after the end": ([*BEGUN, *measured(NATIVE), STOPPED, *measured(DOCKER)], "no driver was at work"),
    "an override without the option": ([*BEGUN, STOPPED, OVERRIDE, opened()], "not given --accept-drift"),
    "an override that nobody answers for": ([*BEGUN, OVERRIDE], "no driver with --accept-drift answers for"),
    "an override of nothing": ([created(), opened(accept_drift=True), {**OVERRIDE, "difference": []}],
    "names no difference"),
    "opened again without ground": ([*BEGUN, *measured(NATIVE), reopened()], "drops its accepted attempt 1"),
    "opened again without reason": ([*BEGUN, *measured(NATIVE), MOVED, reopened(reason="")], "without a reason"),
    "given up at once": ([*BEGUN, *measured(NATIVE, accepted=False), {"event": "exhausted", "run_id": NATIVE}],
    "after 1 rejected"),
    "given up when accepted": ([*BEGUN, *measured(NATIVE), {"event": "exhausted", "run_id": NATIVE}], "was accepted"),
    "never under way": ([*BEGUN, finished(NATIVE)], "was not under way"),
    "elsewhere under way": ([*BEGUN, dispatched(NATIVE), finished(NATIVE, unit="v")], "was not under way"),
    "a number left out": ([*BEGUN, dispatched(NATIVE, 2)], "attempt 2 follows attempt 0"),
    "measured again": ([*BEGUN, *measured(NATIVE), dispatched(NATIVE, 2)], "although it was done"),
    "two at once": ([*BEGUN, dispatched(NATIVE), dispatched(DOCKER)], "is under way there"),
    "an unknown unit": ([*BEGUN, dispatched(NATIVE, unit="w")], "no unit of this driver"),
    "an unplanned run": ([*BEGUN, dispatched("x__y__z__r01")], "not in the plan"),
    "accepted and rejected": ([*BEGUN, dispatched(NATIVE), {**finished(NATIVE), "rejected_by": ["x"]}], "at once"),
    "accepted though it failed": ([*BEGUN, *measured(NATIVE, outcome="timeout")], "accepted with outcome timeout"),
    "done before it is": ([*BEGUN, *measured(NATIVE), COMPLETED], "is not done"),
    "an early breaker": ([*BEGUN, {"event": "breaker", "failures": 1, "reason": "x", "environment": "docker"}],
    "after 1 failures"),
    "an unknown event": ([*BEGUN, {"event": "blessed"}], "no driver writes an event `blessed`"),
    "half an event": ([*BEGUN, {"event": "dispatched", "run_id": NATIVE}], "lacks what such a line holds"),
}  # fmt: skip


@pytest.mark.parametrize("events", LEGAL.values(), ids=LEGAL)
def test_a_driver_writes_such_a_journal(events):
    assert list(illegal(events, PLAN, CONFIG)) == []


@pytest.mark.parametrize(("events", "says"), ILLEGAL.values(), ids=ILLEGAL)
def test_no_driver_writes_such_a_journal(events, says):
    found = [what for _, what in illegal(events, PLAN, CONFIG)]
    assert any(says in what for what in found), found
