"""What a campaign on a DGX Spark will take, held against what has been measured and worked out for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign import budget
from campaign.config import load
from campaign.forecast import forecast, parts_s
from campaign.outlook import describe, plain
from campaign.plan import plan

CAMPAIGNS = Path(__file__).parents[2] / "configs" / "campaigns"
SPARK = load(CAMPAIGNS / "spark.yaml")
RUNS = plan(SPARK)

MINUTES = {
    "qwen2-1.5b": 2.5,
    "gemma-2b": 3.6,
    "phi-3-mini": 9,
    "mistral-7b-v0.3": 18,
    "deepseek-r1-7b": 18,
    "llama-3-8b": 20,
    "llama-3.3-70b-nvfp4": 4.2 * 60,
}
"""One run of 1000 requests of 128 tokens at the methodology's batch sizes, from published efficiencies."""


@pytest.mark.parametrize("model", MINUTES)
def test_decoding_takes_what_bandwidth_and_published_efficiency_say(model: str) -> None:
    _, answering_s = parts_s(SPARK, next(run for run in RUNS if run.model == model))
    assert answering_s / 60 == pytest.approx(MINUTES[model], rel=0.15)


@pytest.mark.parametrize("file", ["spark", "spark-vllm"])
def test_every_estimate_lies_where_its_model_says_throughput_must(file: str) -> None:
    asked = load(CAMPAIGNS / f"{file}.yaml")
    runs = plan(asked)
    for model in asked.models:
        run = next(run for run in runs if run.model == model.name)
        workload = asked.asked(model.name, run.workload)
        rate = (workload.requests + workload.warmup_requests) * workload.output_tokens / parts_s(asked, run)[1]
        assert model.expected_tok_s is not None
        assert model.expected_tok_s[0] <= rate <= model.expected_tok_s[1], model.name


def test_the_70b_class_alone_takes_weeks() -> None:
    asked = load(CAMPAIGNS / "spark-vllm.yaml")
    third_arm = asked.environments[1].model_copy(update={"name": "docker-optimised"})
    asked = asked.model_copy(update={"environments": (*asked.environments, third_arm)})
    ahead = forecast(asked, plan(asked))
    assert ahead.runs == 2 * 90
    assert ahead.total_s > 6 * 7 * 86400


def test_the_shares_of_the_models_are_the_whole() -> None:
    ahead = forecast(SPARK, RUNS)
    found = budget.shares(SPARK, RUNS, ahead.cell_s)
    assert sum(share.total_s for share in found) == pytest.approx(ahead.total_s)
    assert {share.runs for share in found} == {60}


def test_each_way_to_spend_less_spends_less_and_says_what_it_does_to_precision() -> None:
    ahead = forecast(SPARK, RUNS)
    ways = budget.ways(SPARK, RUNS)
    assert len(ways) == 5
    assert all(way.total_s < ahead.total_s and way.precision for way in ways)
    by_change = {way.change: way for way in ways}
    assert by_change["2 units"].total_s == pytest.approx(ahead.total_s / 2, rel=0.02)
    assert "0.54 to 1.03 %" in by_change["10 repetitions"].precision
    assert min(ways, key=lambda way: way.total_s).change == "requests, batch and 2 units"


def test_a_way_that_was_gone_is_not_offered_again() -> None:
    amended = load(CAMPAIGNS / "spark-amended.yaml")
    changes = [way.change for way in budget.ways(amended, plan(amended))]
    assert changes == ["10 repetitions", "2 units"]


def test_fewer_requests_by_override_are_what_the_forecast_counts() -> None:
    amended = load(CAMPAIGNS / "spark-amended.yaml")
    run = next(run for run in plan(amended) if run.model == "mixtral-8x7b")
    as_written = next(run for run in RUNS if run.model == "mixtral-8x7b")
    assert parts_s(amended, run)[1] == pytest.approx(parts_s(SPARK, as_written)[1] / 5, rel=0.05)


def test_the_plan_of_the_spark_says_budget_ways_out_and_what_cannot_run() -> None:
    text = plain(describe(SPARK, RUNS))
    for part in (
        "Budget by model",
        "llama-3.3-70b-nvfp4 alone takes 10 d",
        "With the optimised container of phase 2D",
        "Ways to spend less",
        "qwen2.5-72b is left out: 145 GB in BF16 cannot load",
        "GPU power below 6 W",
    ):
        assert part in text


def test_the_plan_of_the_page_cache_study_tells_each_arms_cache() -> None:
    asked = load(CAMPAIGNS / "page-cache.yaml")
    text = plain(describe(asked, plan(asked)), width=200)
    assert "for native-warm, docker-warm: the engine's files read into the page cache" in text
    assert "for the others" not in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(90, "1.5 min"), (5000, "83.3 min"), (15000, "4.2 h"), (900_000, "10.4 d")]
)
def test_brief_durations_have_one_unit(seconds: float, words: str) -> None:
    assert budget.brief(seconds) == words
