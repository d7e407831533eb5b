"""Requests and repetitions from what a pilot measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from synthetic import SMALL, Shape, write

from campaign.config.loading import load
from campaign.plan import pilot
from campaign.plan.preview import plain

PROJECT = Path(__file__).parents[3]


def spread(**changed: float) -> pilot.Spread:
    told = {"request_pct": 10.0, "start_pct": 0.5, "block_pct": 0.3, "request_s": 1.0, "start_s": 400.0} | changed
    return pilot.Spread("random-llama-8m", "chat-short", 12, 40, **told)


def test_the_optimum_is_that_of_kalibera_and_jones() -> None:
    assert spread().best_requests == pytest.approx(math.sqrt(400 / 1) * 10 / 0.5)


def test_no_other_number_of_requests_is_cheaper_for_the_same_precision() -> None:
    its = spread()

    def cost(requests: float) -> float:
        return its.run_pct(requests) ** 2 * (its.start_s + requests * its.request_s)

    best = its.best_requests
    assert all(cost(best) <= cost(best * factor) + 1e-9 for factor in (0.5, 0.8, 1.25, 2.0))


def test_a_start_without_variance_of_its_own_does_not_ask_for_endless_runs() -> None:
    assert spread(start_pct=0.0).best_requests < 100 * spread().best_requests


def test_the_advice_is_as_precise_as_what_is_configured() -> None:
    campaign = load(PROJECT / "configs" / "campaigns" / "local.yaml")
    (its,) = pilot.advice(campaign, [spread()])
    now, then = (
        its.spread.run_pct(requests) ** 2 / repetitions
        for requests, repetitions in ((its.requests, its.repetitions), (its.best_requests, its.best_repetitions))
    )
    assert then <= now
    asked = campaign.asked("random-llama-8m", "chat-short")
    assert its.best_requests % (asked.concurrency or 1) == 0
    text = plain(pilot.describe([its]))
    assert f"{its.best_requests} × {its.best_repetitions}" in text
    assert (
        f"random-llama-8m: {{requests: {its.best_requests}, repetitions: {its.best_repetitions}}}"
        in pilot.overrides([its])
    )


def test_a_pilot_tells_the_variance_of_requests_starts_and_blocks(tmp_path: Path) -> None:
    shape = Shape(run_s=120.0, rest_s=1.0, requests=SMALL.requests)
    folder = write(tmp_path / "pilot", models=("tiny",), repetitions=8, telemetry_hz=0, shape=shape)
    (its,) = pilot.spreads(folder)
    assert (its.model, its.blocks, its.requests) == ("tiny", 8, 24)
    assert its.request_pct > 0
    assert its.start_s > 0


def test_a_pilot_that_is_too_short_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = write(tmp_path / "pilot", models=("tiny",), repetitions=2, telemetry_hz=0)
    with pytest.raises(pilot.PilotRefused, match="Run a longer pilot"):
        pilot.spreads(folder)
