"""A driver with looks: a model that is decided gets no further blocks, the others go on,
and a second start knows it all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.types import Attempt, Evidence
from campaign.audit.verification import verify
from campaign.cli import app
from campaign.errors import DriverError
from campaign.record import interim_views
from campaign.record.store import Store
from tests.campaign.run.given_units import Site, Units, good, site

CLEAR, NOISY = "random-llama-8m", "random-llama-15m-q8"
LOOKS = "{looks: [5, 8], spending: pocock}"


def two_models(folder: Path) -> Site:
    return site(
        folder, models=f"[{CLEAR}, {NOISY}]", repetitions=8, nesting="repetition", sequential=LOOKS, margin_pct=1
    )


def noise(run_id: str) -> float:
    """Between -1 and 1, of the run alone."""
    return int(hashlib.sha256(run_id.encode()).hexdigest()[:8], 16) / 2**31 - 1


def measured(unit: str, order: Attempt) -> Evidence:
    """Docker is 10 % slower on one model, and anything on the other."""
    clear, docker = order.model.name == CLEAR, "docker" in order.run_id
    spread = 0.2 if clear else 30.0
    return good(order, throughput=100.0 - (10 if clear and docker else 0) + spread * noise(order.run_id))


def test_a_decided_model_gets_no_further_blocks_and_the_others_have_the_time(tmp_path: Path) -> None:
    here, units = two_models(tmp_path), Units("a", script=measured)
    snapshot = here.run(units)
    assert snapshot.stage == "completed"
    assert (snapshot.accepted, snapshot.spared, snapshot.total) == (2 * 5 + 2 * 8, 2 * 3, 32)
    assert {run_id for _, run_id, _ in units.ordered if run_id.startswith(f"{CLEAR}__")} == {
        f"{CLEAR}__{arm}__tiny__r{number:02d}" for arm in ("native-host", "docker-baseline") for number in range(1, 6)
    }
    assert [(e["model"], e["look"], e["stopped"]) for e in here.of_kind("look")] == [
        (CLEAR, 1, {f"{CLEAR}__tiny": "all_decided"}),
        (NOISY, 1, {}),
        (NOISY, 2, {f"{NOISY}__tiny": "max_blocks"}),
    ]
    assert any(f"no further blocks of {CLEAR}" in line for line in here.said)
    assert verify(Store(here.root)) == []


def test_a_start_after_a_look_goes_on_from_it(tmp_path: Path) -> None:
    here = two_models(tmp_path)
    first = Units("a")
    driver = here.driver(first)

    def until_the_look(unit: str, order: Attempt) -> Evidence:
        if order.run_id.startswith(NOISY) and order.run_id.endswith("r06"):
            driver.interrupt()
        return measured(unit, order)

    first.script = until_the_look
    assert driver.run().stage == "stopped"
    driver.store.unlock()
    assert here.state.closed == {f"{CLEAR}__tiny": "all_decided"}
    _stands_between_looks(here.root)
    again = Units("a", script=measured)
    assert here.run(again).stage == "completed"
    assert not [run_id for _, run_id, _ in again.ordered if run_id.startswith(f"{CLEAR}__")]
    assert [(e["model"], e["look"]) for e in here.of_kind("look")] == [(CLEAR, 1), (NOISY, 1), (NOISY, 2)]
    assert verify(Store(here.root)) == []


def _stands_between_looks(root: Path) -> None:
    """What is told of a campaign whose one model is decided and whose other waits for its second look;
    and that a reader is noted."""
    told = json.loads(CliRunner().invoke(app, ["status", str(root), "--json"]).output)
    clear, noisy = told["looks"]
    assert (clear["model"], clear["blocks"], clear["next_blocks"], clear["stopped"]) == (CLEAR, 5, None, "all_decided")
    assert clear["decided"] == clear["comparisons"]  # the others have no values at all
    assert "docker-baseline token_throughput_tok_s: different" in clear["claims"]
    assert (noisy["model"], noisy["blocks"], noisy["next_blocks"], noisy["worst_blocks"]) == (NOISY, 5, 8, 3)
    assert 0 < noisy["expected_blocks"] <= 3 and noisy["expected_s"] <= noisy["worst_s"]
    assert told["interim_views"] == 0
    seen = CliRunner().invoke(app, ["report", str(root)])
    assert "opened before the end, 1 time by now" in seen.output, seen.output
    assert "The report was opened 1 time before the end" in (root / "report" / "index.html").read_text()
    shown = CliRunner().invoke(app, ["status", str(root)], env={"COLUMNS": "100"}).output
    assert "after 8" in shown and "who opens it is noted" in shown and "opened 1 time before the end" in shown
    (view,) = interim_views.read(root)
    assert view["blocks"] == {f"{CLEAR}__tiny": 5, f"{NOISY}__tiny": 5}


def test_looks_over_several_units_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    here, units = two_models(tmp_path), Units("a", "b", script=measured)
    with pytest.raises(DriverError, match="name one of them in `units`"):
        here.run(units)
    assert not units.ordered
