"""What was accepted once stays accepted; the way back is a change as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.errors import Drift
from campaign.run.drift import DriftCheck
from campaign.run.ledger import Ledger
from tests.campaign.run.given_units import Units, gate_closed, site


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of a campaign that was paused at its first gate."""
    from campaign.record.journal import Journal
    from campaign.record.store import Store

    here = site(tmp_path)
    here.run(Units("a", script=lambda unit, order: gate_closed(order)))
    store = Store(here.root, durable=False)
    return Ledger(store, Journal(store.journal_path))


def test_what_was_accepted_once_stays_accepted_and_the_way_back_is_a_change(ledger: Ledger) -> None:
    """A service that goes on after a reboot cannot be asked again and again."""
    lenient, strict = (DriftCheck(ledger, accept, lambda line: None) for accept in (True, False))
    lenient.check("unit", ["driver was 580, is 590"], now="590")
    lenient.check("unit", ["driver was 580, is 590"], now="590")
    assert ledger.state.session == 2 and ledger.state.accepted["unit"] == "590"
    strict.check("unit", ["driver was 580, is 590"], now="590")
    strict.check("another unit", [], now="580")
    with pytest.raises(Drift, match="driver was 580, is 595"):
        strict.check("unit", ["driver was 580, is 595"], now="595")
    with pytest.raises(Drift, match="back to what the campaign began with"):
        strict.check("unit", [], now="580")
    assert ledger.state.session == 2


def test_a_change_of_conditions_needs_no_memory_but_the_last(ledger: Ledger) -> None:
    said: list[str] = []
    lenient = DriftCheck(ledger, True, said.append)
    for number in (1, 2):
        lenient.check("conditions of unit", ["kernel was 6.11, is 6.12"])
        assert ledger.state.session == 1 + number
    assert said == ["accepted: kernel was 6.11, is 6.12"] * 2
