"""A screen finds what was put in, infers nothing from too little, and shrinks what looks too good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from campaign.analysis.statistics.factorial import Rows, Screened, Trait, by_gain, screen
from campaign.analysis.statistics.factorial.fit import Judged
from campaign.analysis.statistics.screen_table import analyze_screen_file, read_design
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.shrinkage import Shrunken, shrink
from campaign.analysis.statistics.table import TableError
from campaign.analysis.statistics.two_level import DesignName, design

FACTORS = ("net", "cpu", "seccomp", "slice")
FIXTURE = Path(__file__).parents[4] / "tests" / "fixtures" / "stats" / "s05_factorial"


def rows_of(name: DesignName = "pb12") -> Rows:
    made = design(name, FACTORS)
    return Rows(made, tuple(f"r{i + 1:02d}" for i in range(made.rows)))


def drawn(
    rows: Rows, effects: Mapping[str, float], blocks: int = 2, sd: float = 0.004, models: int = 2, seed: int = 3
) -> dict[str, dict[str, Sample]]:
    """Throughputs whose logarithms follow the effects, with noise of ``sd``."""
    rng = np.random.default_rng(seed)
    out: dict[str, dict[str, Sample]] = {}
    for m in range(models):
        blocked = rng.normal(0, 0.01, blocks)
        for arm, levels in zip(rows.arms, rows.design.matrix, strict=True):
            size = sum(effects.get(f, 0.0) / 2 * x for f, x in zip(rows.design.factors, levels, strict=False))
            y = np.exp(4 + m + size + blocked + rng.normal(0, sd, blocks))
            nothing = np.full(blocks, np.nan)
            ids = [f"{m}{arm}{b}" for b in range(blocks)]
            out.setdefault(f"m{m}", {})[arm] = Sample(ids, np.arange(1, blocks + 1), y, nothing, nothing)
    return out


def without(groups: dict[str, dict[str, Sample]], model: str, arm: str, keep: int) -> None:
    it = groups[model][arm]
    kept = slice(0, keep)
    groups[model][arm] = Sample(
        it.run_ids[kept], it.repetition[kept], it.value[kept], it.order[kept], it.temperature[kept]
    )


def chosen(found: Screened) -> list[str]:
    assert found.selection is not None
    return found.selection.selected


def test_what_was_put_in_is_found_and_chosen_with_the_reason_of_every_other() -> None:
    found = screen(drawn(rows_of(), {"cpu": 0.02, "net": -0.02}), rows_of(), 1, 2.0, {"slice": Trait(0, "ablation")})
    assert found.selection is not None and found.pooled is not None
    assert found.selection.selected == ["cpu"]
    assert found.selection.reasons["net"][0] == "harmful_direction"
    assert "ablation" in found.selection.reasons["slice"]
    assert "not_significant" in found.selection.reasons["seccomp"]
    assert found.confirmatory is False
    cpu = found.pooled.effects["cpu"]
    assert isinstance(cpu, Judged)
    assert cpu.sim_low_pct < 100 * np.expm1(0.02) < cpu.sim_high_pct


def test_less_is_better_turns_the_choice_round() -> None:
    found = screen(drawn(rows_of(), {"cpu": 0.02, "net": -0.02}), rows_of(), -1)
    assert chosen(found) == ["net"]


def test_a_lost_run_costs_one_models_contrasts_and_no_effect() -> None:
    groups = drawn(rows_of(), {"cpu": 0.02})
    without(groups, "m0", "r03", 1)
    found = screen(groups, rows_of(), 1)
    assert found.contrasts["m0"].status == "incomplete_blocks"
    assert found.contrasts["m1"].status == "ok"
    assert found.unassigned == {}
    assert chosen(found) == ["cpu"]


def test_one_block_of_few_columns_is_not_judged() -> None:
    rows = Rows(design("res3_8", [*FACTORS, "e", "f"]), tuple(f"r{i}" for i in range(8)))
    found = screen(drawn(rows, {"cpu": 0.02}, blocks=1, models=1), rows, 1)
    assert found.models["m0"].inference == "insufficient_error_df"
    assert found.selection is None
    assert found.models["m0"].effects["cpu"].effect == pytest.approx(0.02, abs=0.01)


def test_runs_without_any_noise_are_called_deterministic() -> None:
    groups = drawn(rows_of(), {"cpu": 0.02}, sd=0.0)
    pooled = screen(groups, rows_of(), 1).pooled
    assert pooled is not None and pooled.inference == "deterministic"


def test_a_row_that_never_ran_is_named_and_a_value_of_zero_counts_as_none() -> None:
    groups = drawn(rows_of(), {"cpu": 0.02})
    for arms in groups.values():
        del arms["r05"]
    groups["m0"]["r02"].value[0] = 0.0
    found = screen(groups, rows_of(), 1)
    assert found.missing_rows == ["r05"]
    assert found.nonpositive_rows == ["r02"]
    assert found.pooled is not None and found.pooled.n == 43
    assert chosen(found) == ["cpu"]


def test_a_model_of_which_no_run_is_usable_has_no_fit_and_stops_no_other() -> None:
    groups = drawn(rows_of(), {"cpu": 0.02})
    groups["m0"].clear()
    found = screen(groups, rows_of(), 1)
    assert list(found.models) == ["m1"]
    assert chosen(found) == ["cpu"]
    groups["m1"].clear()
    assert screen(groups, rows_of(), 1).status == "no_data"


def test_an_interaction_is_noticed_and_folding_over_recommended() -> None:
    rows = rows_of()
    groups = drawn(rows, {"cpu": 0.01, "net": 0.01})
    for arms in groups.values():
        for arm, x in zip(rows.arms, rows.design.matrix, strict=True):
            arms[arm].value[:] *= np.exp(0.02 / 2 * x[0] * x[1])
    found = screen(groups, rows, 1)
    assert found.foldover is not None and found.foldover.recommended
    assert found.selection is not None and "interactions_unresolved" in found.selection.flags
    other = Rows(design("res4_16", FACTORS), tuple(f"r{i}" for i in range(16)))
    clear = screen(drawn(other, {"cpu": 0.02, "net": 0.02}), other, 1).foldover
    assert clear is not None and not clear.recommended


def test_the_best_of_nothing_is_shrunk_most_of_the_way() -> None:
    raw, shrunken = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = shrink({f"f{i}": (float(rng.normal(0, 0.2)), 0.2) for i in range(6)}).effects
        best = max(found.values(), key=lambda it: it.raw)
        raw.append(best.raw)
        shrunken.append(best.shrunken)
    assert np.mean(raw) > 0.2
    assert np.mean(shrunken) < 0.3 * np.mean(raw)


def test_of_two_that_cannot_be_told_apart_the_one_that_gives_less_away_comes_first() -> None:
    gain = {name: Shrunken(value, 1.0, value, 0.1) for name, value in (("a", 1.0), ("b", 0.95), ("c", 0.2))}
    traits = {"a": Trait(2), "b": Trait(0), "c": Trait(0)}
    assert by_gain(["c", "a", "b"], gain, dict.fromkeys("abc", 0.1), 1, traits) == ["b", "a", "c"]
    assert by_gain(["c", "a", "b"], gain, dict.fromkeys("abc", 0.01), 1, traits) == ["a", "b", "c"]


def test_a_screen_in_tables_names_what_is_wrong_with_the_design(tmp_path: Path) -> None:
    table = pd.read_csv(FIXTURE / "design_firsthalf.csv")
    bad = tmp_path / "design.csv"
    table.assign(net_host=0).to_csv(bad, index=False)
    with pytest.raises(TableError, match="neither 1 nor -1"):
        read_design(bad)
    table.iloc[::-1].to_csv(bad, index=False)
    with pytest.raises(TableError, match="its rows are none of pb12"):
        read_design(bad)
    out = tmp_path / "out.json"
    with pytest.raises(TableError, match="no run has an arm of the design"):
        analyze_screen_file(FIXTURE / "runs_res3.csv", FIXTURE / "design_firsthalf.csv", out)
    analyze_screen_file(FIXTURE / "runs_firsthalf.csv", FIXTURE / "design_firsthalf.csv", out)
    assert json.loads(out.read_text())["screens"]["design_firsthalf"]["selection"]["selected"] == [
        "cpu_performance",
        "net_host",
    ]
