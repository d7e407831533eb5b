"""An effect injected into an option is in every arm that has it, in every phase, and in no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.rehearsal.injected import NotInjected
from campaign.study.asked import Choice
from campaign.study.loading import load
from campaign.study.rehearsing import of_arms, rehearse_study

STUDY = Path(__file__).parents[3] / "configs" / "campaigns" / "spark-study.yaml"
LOSS, GAIN = "docker-baseline:token_throughput_tok_s:-3", "docker-cpuset-performance:token_throughput_tok_s:2"


def test_an_effect_of_an_option_reaches_every_arm_that_has_it() -> None:
    made = load(STUDY)
    campaign = made.campaign("2B")
    found = of_arms(made, campaign, [LOSS, GAIN])
    containers = {arm.name for arm in campaign.environments if arm.kind == "docker"}
    pinned = {arm.name for arm in campaign.environments if arm.cpuset == "performance"}
    assert {text.partition(":")[0] for text in found if text.endswith(":-3")} == containers
    assert {text.partition(":")[0] for text in found if text.endswith(":2")} == pinned
    assert len(pinned) == 8
    last = made.campaign("2D", Choice(options=("docker-cpuset-performance",)))
    assert "docker-optimized:token_throughput_tok_s:2" in of_arms(made, last, [GAIN])
    assert "docker-baseline:token_throughput_tok_s:2" not in of_arms(made, last, [GAIN])


def test_an_effect_that_names_nothing_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotInjected, match="write ARM:METRIC:PERCENT"):
        rehearse_study(load(STUDY), tmp_path / "x", ["docker-baseline:-3"], lambda campaign, effects: None)
    assert not (tmp_path / "x").exists()
