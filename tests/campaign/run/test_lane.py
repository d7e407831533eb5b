"""What a lane holds its unit against before it measures anything there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import host
from actors.types import UnitFacts
from campaign.cluster import Unit
from campaign.config.load import load
from campaign.errors import Drift
from campaign.record.journal import Journal, State
from campaign.record.store import Store
from campaign.run.driver import Driver
from campaign.run.lane import Lane

CONFIGS = Path(__file__).parents[3] / "configs" / "campaigns"


def lane_on(tmp_path: Path, code: str) -> Lane:
    """A lane whose unit's actor answers that it runs ``code``."""
    facts = UnitFacts(unit="b", machine="x86_64", gpu="none", cpus=2, mem_total_gib=8.0, code_digest=code)
    driver = Driver(load(CONFIGS / "local.yaml"), Store(tmp_path))
    driver.journal, driver.state, driver.info = Journal(tmp_path / "journal.jsonl"), State(), {"campaign_id": "c"}
    lane = Lane(driver, Unit("b", "node", "127.0.0.1"))
    answering: Any = SimpleNamespace(get=lambda reference, timeout=None: reference)
    lane.fleet = answering
    lane.gpu = SimpleNamespace(prepare=SimpleNamespace(remote=lambda *_: facts))
    return lane


def test_a_unit_that_runs_other_code_is_refused(tmp_path: Path) -> None:
    """Its parser doubled every throughput once, and nobody said a word."""
    with pytest.raises(Drift, match="b runs other code than the driver"):
        lane_on(tmp_path, "another digest")._prepare()


def test_a_unit_that_runs_the_same_code_is_taken(tmp_path: Path) -> None:
    lane = lane_on(tmp_path, host.code_digest())
    lane._prepare()
    assert lane.facts is not None and (tmp_path / "units" / "b.json").exists()
