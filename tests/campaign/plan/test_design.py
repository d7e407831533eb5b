"""The plan: every run as often as asked, blocks whole, order balanced, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.types import Environment, Model, Workload
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.plan.design import Planned, plan, plan_hash, to_table, williams
from campaign.plan.forecast import duration, estimate_s, forecast, measured_s, size
from campaign.plan.preview import describe, plain

CONFIGS = Path(__file__).parents[3] / "configs"


def campaign(
    arms: int = 2,
    repetitions: tuple[int, ...] = (4,),
    workloads: int = 1,
    order: str = "williams",
    nesting: str = "model",
    seed: int = 1,
) -> Campaign:
    models = [Model(name=f"m{i}", engines=("llamacpp",), path="/weights") for i in range(len(repetitions))]
    return Campaign(
        name="example",
        engine="llamacpp",
        seed=seed,
        models=tuple(models),
        environments=tuple(Environment(name=f"e{i}", kind="docker") for i in range(arms)),
        workloads=tuple(Workload(name=f"w{i}", requests=1, input_tokens=1, output_tokens=1) for i in range(workloads)),
        repetitions={model.name: count for model, count in zip(models, repetitions, strict=True)},
        reference="e0",
        order=order,  # type: ignore[arg-type]
        nesting=nesting,  # type: ignore[arg-type]
    )


campaigns = st.builds(
    campaign,
    arms=st.integers(1, 7),
    repetitions=st.lists(st.integers(1, 13), min_size=1, max_size=3).map(tuple),
    workloads=st.integers(1, 2),
    order=st.sampled_from(["alternate", "williams", "random"]),
    nesting=st.sampled_from(["model", "repetition"]),
    seed=st.integers(0, 2**32 - 1),
)


def blocks(runs: tuple[Planned, ...]) -> list[list[Planned]]:
    return [list(block) for _, block in groupby(runs, key=lambda run: run.block_index)]


@given(campaigns, st.integers(1, 4))
def test_every_cell_runs_exactly_as_often_as_asked(asked: Campaign, lanes: int) -> None:
    runs = plan(asked, lanes)
    cells = Counter((run.model, run.environment, run.workload) for run in runs)
    assert cells == {
        (model.name, arm.name, workload.name): asked.repetitions[model.name]
        for model in asked.models
        for arm in asked.environments
        for workload in asked.workloads
    }
    assert len({run.run_id for run in runs}) == len(runs) == asked.runs
    assert [run.index for run in runs] == list(range(len(runs)))


@given(campaigns, st.integers(1, 4))
def test_a_block_holds_every_environment_once_back_to_back_on_one_lane(asked: Campaign, lanes: int) -> None:
    for block in blocks(plan(asked, lanes)):
        assert len({(run.block, run.lane, run.model, run.workload, run.repetition) for run in block}) == 1
        assert [run.position for run in block] == list(range(1, len(asked.environments) + 1))
        assert {run.environment for run in block} == {arm.name for arm in asked.environments}


@given(campaigns, st.integers(1, 4))
def test_the_same_seed_gives_the_same_plan(asked: Campaign, lanes: int) -> None:
    again = Campaign.model_validate_json(asked.model_dump_json())
    assert plan(asked, lanes) == plan(again, lanes)
    assert plan_hash(plan(asked, lanes)) == plan_hash(plan(again, lanes))


@given(campaigns, st.integers(2, 4))
def test_every_cell_is_spread_evenly_over_the_lanes(asked: Campaign, lanes: int) -> None:
    counts = Counter((run.model, run.environment, run.workload, run.lane) for run in plan(asked, lanes))
    for model, count in asked.repetitions.items():
        for arm in asked.environments:
            for workload in asked.workloads:
                share = [counts[model, arm.name, workload.name, lane] for lane in range(lanes)]
                assert sum(share) == count
                assert max(share) - min(share) <= 1


@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 3))
def test_alternating_orders_are_spread_evenly_over_the_lanes(arms: int, cycles: int, lanes: int) -> None:
    """With as many repetitions as fill every lane with both orders, each lane has both equally often."""
    runs = plan(campaign(arms, (2 * cycles * lanes,), order="alternate"), lanes)
    first = Counter((run.lane, run.environment == "e0") for run in runs if run.position == 1)
    assert all(first[lane, True] == first[lane, False] == cycles for lane in range(lanes))


@given(st.integers(1, 20))
def test_native_stands_first_on_odd_repetitions_and_last_on_even_ones(repetitions: int) -> None:
    for block in blocks(plan(campaign(2, (repetitions,), order="alternate"))):
        assert block[0].environment == ("e0" if block[0].repetition % 2 else "e1")


def test_the_reference_stands_first_wherever_the_config_lists_it() -> None:
    asked = campaign(3, order="alternate").model_copy(update={"reference": "e2"})
    assert [run.environment for run in plan(asked)[:3]] == ["e2", "e0", "e1"]


@given(st.integers(1, 40))
def test_a_williams_design_balances_position_and_carry_over(n: int) -> None:
    rows = [row for square in williams(n) for row in square]
    for square in williams(n):
        assert all(sorted(column) == list(range(n)) for column in zip(*square, strict=True))
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(set(follows.values())) <= 1
    assert len(follows) == n * (n - 1)


@given(st.integers(2, 8), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_positions_differ_by_at_most_one_whatever_the_number_of_repetitions(
    arms: int, repetitions: int, seed: int
) -> None:
    runs = plan(campaign(arms, (repetitions,), seed=seed))
    counts = Counter((run.environment, run.position) for run in runs)
    every = [counts[f"e{arm}", position] for arm in range(arms) for position in range(1, arms + 1)]
    # A run of fewer than n repetitions may straddle two squares; whole cycles may not.
    assert max(every) - min(every) <= 1


@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_carry_over_is_balanced_over_whole_designs(arms: int, designs: int, seed: int) -> None:
    length = arms if arms % 2 == 0 else 2 * arms
    runs = plan(campaign(arms, (designs * length,), seed=seed))
    follows = Counter((a.environment, b.environment) for block in blocks(runs) for a, b in pairwise(block))
    assert len(set(follows.values())) == 1


def test_another_seed_gives_another_random_order() -> None:
    orders = {tuple(run.environment for run in plan(campaign(4, (6,), order="random", seed=s))) for s in range(20)}
    assert len(orders) == 20


def test_random_orders_put_every_environment_everywhere() -> None:
    runs = plan(campaign(3, (600,), order="random"))
    counts = Counter((run.environment, run.position) for run in runs)
    # 200 expected; six standard deviations of a binomial with p = 1/3 are 70.
    assert all(130 < counts[f"e{arm}", position] < 270 for arm in range(3) for position in (1, 2, 3))


def test_nesting_says_which_loop_is_outside() -> None:
    by_model = [run.model for run in plan(campaign(1, (2, 2), nesting="model"))]
    by_repetition = [run.model for run in plan(campaign(1, (2, 2), nesting="repetition"))]
    assert by_model == ["m0", "m0", "m1", "m1"]
    assert by_repetition == ["m0", "m1", "m0", "m1"]


def test_a_model_with_fewer_repetitions_drops_out_early() -> None:
    runs = plan(campaign(1, (1, 3), nesting="repetition"))
    assert [(run.model, run.repetition) for run in runs] == [("m0", 1), ("m1", 1), ("m1", 2), ("m1", 3)]


def test_identities_name_every_factor() -> None:
    run = plan(load(CONFIGS / "campaigns" / "local.yaml"), simulated=True)[0]
    assert run.run_id == "random-llama-8m__native-chroot__chat-short__r01"
    assert run.block == "random-llama-8m__chat-short__r01"
    assert run.simulated


def test_the_hash_sees_every_column() -> None:
    runs = plan(campaign(2))
    assert plan_hash(runs) != plan_hash(plan(campaign(2), simulated=True))
    assert plan_hash(runs) != plan_hash(plan(campaign(2), lanes=2))


@settings(max_examples=20)
@given(campaigns, st.integers(1, 2))
def test_a_plan_survives_its_table(asked: Campaign, lanes: int) -> None:
    runs = plan(asked, lanes)
    assert tuple(Planned(**row) for row in to_table(runs).to_pylist()) == runs


def test_a_campaign_without_units_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        plan(campaign(), lanes=0)


# --- the forecast ----------------------------------------------------------------------------------------------


def test_the_forecast_of_a_plan_is_the_sum_of_its_runs_by_lane() -> None:
    asked = load(CONFIGS / "campaigns" / "local.yaml")
    runs = plan(asked, lanes=2)
    ahead = forecast(asked, runs)
    for lane in (0, 1):
        assert ahead.lane_s[lane] == pytest.approx(sum(estimate_s(asked, run) for run in runs if run.lane == lane))
    assert (ahead.runs, ahead.blocks, ahead.measured_cells) == (asked.runs, asked.runs // 2, 0)


def test_runs_that_were_measured_are_forecast_as_measured(tmp_path: Path) -> None:
    asked = load(CONFIGS / "campaigns" / "local.yaml")
    for i, ended in enumerate((100, 103, 107, 110)):
        folder = tmp_path / "attempts" / f"r{i}" / "1"
        folder.mkdir(parents=True)
        model, arm = "random-llama-8m", ("native-chroot", "docker-baseline")[i % 2]
        (folder / "metadata.json").write_text(
            f'{{"model":"{model}","environment":"{arm}","workload":"chat-short","unit":"u",'
            f'"ended_utc_ns":{ended}000000000}}'
        )
    (tmp_path / "attempts" / "torn" / "1").mkdir(parents=True)
    (tmp_path / "attempts" / "torn" / "1" / "metadata.json").write_text('{"model":')
    measured = measured_s(tmp_path)
    assert measured == {
        ("random-llama-8m", "docker-baseline", "chat-short"): 3.0,
        ("random-llama-8m", "native-chroot", "chat-short"): 4.0,
    }
    ahead = forecast(asked, plan(asked), tmp_path)
    assert ahead.measured_cells == 2
    assert ahead.cell_s["random-llama-8m", "native-chroot", "chat-short"] == 4.0


def test_the_description_says_order_counts_time_disk_gate_and_notes() -> None:
    asked = campaign(3, (5,), order="alternate")
    text = plain(describe(asked, plan(asked)))
    for part in ("15 in 5 blocks", "e0 → e1 → e2", "e2 → e1 → e0", "estimated", "disk", "300 s of rest"):
        assert part in text
    assert "e1 has the same options as e0" in text
    assert "williams balances" in text


def test_a_long_plan_is_folded() -> None:
    text = plain(describe(campaign(2, (40,)), plan(campaign(2, (40,)))))
    assert "…" in text
    assert text.count("→") == 9


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (96, "1 min 36 s"), (3600, "1 h"), (446_400, "5 d 4 h"), (86_400, "1 d"), (86_700, "1 d")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_are_binary() -> None:
    assert [size(n) for n in (12, 2048, 3 * 2**30)] == ["12 B", "2.0 KiB", "3.0 GiB"]
