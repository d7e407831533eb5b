"""What a campaign on a DGX Spark will take, held against what has been measured and worked out for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.engines.llamacpp import gguf_random
from actors.types import Model, Workload
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.plan import budget
from campaign.plan.design import plan
from campaign.plan.forecast import BUILD_S, CellSpeed, answering_s, attained, forecast, parts_s, weight_bytes
from campaign.plan.forecast import SPARK as GB10
from campaign.plan.preview import describe, plain

CAMPAIGNS = Path(__file__).parents[3] / "configs" / "campaigns"
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


def dense(gb: float, precision: str, billions: float) -> Model:
    return Model(
        name="x", engines=("vllm",), weight_bytes=int(gb * 1e9), parameters=int(billions * 1e9), precision=precision
    )


ENTRIES = {model.name: model for file in ("spark", "spark-vllm") for model in load(CAMPAIGNS / f"{file}.yaml").models}
PUBLISHED = [
    (ENTRIES["llama-3.3-70b-nvfp4"], 1, 4.0, 4.2, 0.02),
    (ENTRIES["deepseek-r1-7b"], 8, 119, 120, 0.05),
    (dense(16.4, "bf16", 8.2), 1, 13.1, 13.1, 0.06),  # Qwen3-8B
    (ENTRIES["gpt-oss-120b"], 1, 33, 60, 0),
    (ENTRIES["gpt-oss-120b"], 8, 147, 147, 0.06),
    (dense(61, "bf16", 31), 1, 3.72, 3.72, 0.03),  # Gemma-4-31B
    (dense(7.9, "bf16", 4), 1, 25.6, 25.6, 0.03),  # Nemotron-3-Nano-4B
    (dense(1.5, "bf16", 0.8), 1, 110, 110, 0.08),  # Qwen3.5-0.8B
    (dense(5.7, "nvfp4", 8), 1, 38.65, 38.65, 0.05),  # Llama-3.1-8B
]
"""Decoding on a GB10 as published: model, batch, output tokens/s from and to,
and how far beyond the forecast may lie."""


@pytest.mark.parametrize(("model", "batch", "low", "high", "beyond"), PUBLISHED)
def test_decoding_is_forecast_as_it_was_published(
    model: Model, batch: int, low: float, high: float, beyond: float
) -> None:
    asked = Workload(
        name="w", requests=8 * batch, input_tokens=128, output_tokens=128, concurrency=batch, warmup_requests=0
    )
    rate = asked.requests * asked.output_tokens / answering_s(model, asked, GB10)
    assert low * (1 - beyond) <= rate <= high * (1 + beyond)


@pytest.mark.parametrize("name", ["mistral-7b-v0.3", "deepseek-r1-7b", "llama-3-8b", "gpt-oss-120b"])
def test_no_more_bandwidth_is_counted_on_than_was_measured(name: str) -> None:
    assert 216 <= 273 * attained(ENTRIES[name]) <= 236


@pytest.mark.parametrize("model", [model.name for model in SPARK.models])
def test_a_start_takes_one_to_three_minutes_and_no_run_builds_an_engine(model: str) -> None:
    run = next(run for run in RUNS if run.model == model)
    start_s = parts_s(SPARK, run)[0] - SPARK.gate.cooldown_s - SPARK.gate.dwell_s
    assert 60 <= start_s <= 180


def test_building_is_charged_once_to_the_model_that_builds() -> None:
    assert forecast(SPARK, RUNS).build_s == {"gemma-2b": BUILD_S}
    assert "gemma-2b: `campaign prepare` builds the engine, about 4 min" in plain(describe(SPARK, RUNS))
    other = load(CAMPAIGNS / "spark-vllm.yaml")
    assert forecast(other, plan(other)).build_s == {}


# --- what the shakedown measured -----------------------------------------------------------------------------------

CELL = ("llama-3.3-70b-nvfp4", "docker-baseline", "throughput-1000")
SHAKEN = {CELL: CellSpeed(start_s=200.0, tok_s=16.0)}


def test_what_the_shakedown_measured_takes_the_place_of_the_guess() -> None:
    asked = SPARK.asked(CELL[0], CELL[2])
    gate_s = SPARK.gate.cooldown_s + SPARK.gate.dwell_s
    answering = (asked.requests + asked.warmup_requests) * asked.output_tokens / 16.0
    ahead = forecast(SPARK, RUNS, known=SHAKEN)
    assert ahead.cell_s[CELL] == pytest.approx(gate_s + 200.0 + answering)
    guessed = forecast(SPARK, RUNS)
    assert {cell for cell in ahead.cell_s if ahead.cell_s[cell] != guessed.cell_s[cell]} == {CELL}
    assert [ahead.basis[CELL], guessed.basis[CELL]] == ["shakedown", "estimate"]


def test_the_plan_says_which_cells_were_measured_and_which_guessed() -> None:
    text = plain(describe(SPARK, RUNS, known=SHAKEN), width=300)
    assert "1 of 18 cells measured in the shakedown, 17 of 18 cells estimated for a DGX Spark" in text
    both = {(CELL[0], arm.name, CELL[2]): SHAKEN[CELL] for arm in SPARK.environments}
    text = plain(describe(SPARK, RUNS, known=both), width=300)
    assert "Measured: llama-3.3-70b-nvfp4. Estimated: qwen2-1.5b, gemma-2b" in text


def test_a_speed_that_was_measured_is_not_taken_for_another_batch() -> None:
    both = {(CELL[0], arm.name, CELL[2]): CellSpeed(200.0, 1.0) for arm in SPARK.environments}
    by_change = {way.change: way.total_s for way in budget.ways(SPARK, RUNS, both)}
    guessed = {way.change: way.total_s for way in budget.ways(SPARK, RUNS)}
    larger = next(change for change in by_change if change.startswith("batch of 8"))
    assert by_change[larger] == pytest.approx(guessed[larger])
    assert by_change["2 units"] > 2 * guessed["2 units"]


# --- an own file ---------------------------------------------------------------------------------------------------


def own_file(tmp_path: Path) -> tuple[Campaign, Campaign]:
    """A campaign of a model that is only a path, and the same with the entry that the file was made from."""
    local = load(CAMPAIGNS / "local.yaml")
    entry = local.models[0]
    assert entry.random_weights is not None
    path = tmp_path / "own.gguf"
    gguf_random.write_gguf(path, entry.name, entry.random_weights)
    own = Model(name=entry.name, engines=("llamacpp",), path=str(path), batch_size=entry.batch_size)
    return local.model_copy(update={"models": (own,)}), local.model_copy(update={"models": (entry,)})


def test_an_own_gguf_is_forecast_by_what_the_file_holds(tmp_path: Path) -> None:
    own, entry = own_file(tmp_path)
    run = plan(own)[0]
    assert sum(parts_s(own, run)) == pytest.approx(sum(parts_s(entry, run)), rel=0.02)


def test_a_file_that_cannot_be_read_counts_with_its_size(tmp_path: Path) -> None:
    own, _ = own_file(tmp_path)
    path = Path(str(own.models[0].path))
    path.write_bytes(b"x" * 16_000_000)
    before = parts_s(own, plan(own)[0])[1]
    path.write_bytes(b"x" * 32_000_000)
    assert parts_s(own, plan(own)[0])[1] == pytest.approx(2 * before, rel=0.5)
    path.unlink()
    assert weight_bytes(own.models[0]) == 2e9  # nothing is known of it: the run itself refuses


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
    assert changes == []  # nor a second unit: its looks are over the blocks of one


def test_fewer_requests_by_override_are_what_the_forecast_counts() -> None:
    amended = load(CAMPAIGNS / "spark-amended.yaml")
    run = next(run for run in plan(amended) if run.model == "mixtral-8x7b")
    as_written = next(run for run in RUNS if run.model == "mixtral-8x7b")
    assert parts_s(amended, run)[1] == pytest.approx(parts_s(SPARK, as_written)[1] / 5, rel=0.05)


def test_the_plan_of_the_spark_says_budget_ways_out_and_what_cannot_run() -> None:
    text = plain(describe(SPARK, RUNS))
    for part in (
        "Budget by model",
        "llama-3.3-70b-nvfp4 alone takes 11 d",
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
