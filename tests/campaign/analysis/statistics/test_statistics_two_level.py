"""Two-level designs are the published ones, contain the baseline, and see what they say."""

from __future__ import annotations

import numpy as np
import pytest

from campaign.analysis.statistics import two_level
from campaign.analysis.statistics.two_level import aliases, coded, design, folded, precision

SIX = ["ipc", "shm", "net", "cpu", "seccomp", "slice"]


@pytest.mark.parametrize(("name", "rows"), [("pb12", 12), ("res3_8", 8), ("res4_16", 16)])
def test_every_design_is_orthogonal_balanced_and_holds_the_baseline(name: two_level.DesignName, rows: int) -> None:
    made = design(name, SIX)
    assert made.matrix.shape == (rows, rows - 1)
    assert np.array_equal(made.matrix.T @ made.matrix, rows * np.eye(rows - 1))
    assert (made.matrix.sum(axis=0) == 0).all()
    assert [made.row(i) for i in range(rows)].count(()) == 1
    assert made.columns[:6] == tuple(SIX)


def test_effects_are_mixed_with_pairs_as_the_resolution_says() -> None:
    main, rest = aliases(design("pb12", SIX))
    assert {len(pairs) for pairs in main.values()} == {10}
    assert {round(abs(a), 9) for pairs in main.values() for a in pairs.values()} == {round(1 / 3, 9)}
    assert list(rest) == ["c7", "c8", "c9", "c10", "c11"]
    main, _ = aliases(design("res3_8", SIX))
    assert {tuple(pairs.values()) for pairs in main.values()} == {(-1.0, -1.0)}
    main, rest = aliases(design("res4_16", SIX))
    assert not any(main.values())
    assert rest["AB"] == {"ipc:shm": 1.0, "net:seccomp": 1.0, "cpu:slice": 1.0}


def test_folding_over_clears_main_effects_of_pairs() -> None:
    made = design("pb12", SIX)
    both = np.vstack([made.matrix, folded(made).matrix])[:, :6]
    for j in range(6):
        for k in range(6):
            for other in range(k):
                if j not in (k, other):
                    assert (both[:, j] * both[:, k] * both[:, other]).sum() == 0
    with pytest.raises(ValueError, match="not folded over"):
        folded(design("res4_16", SIX))


def test_a_nested_factor_counts_only_where_its_parent_is_high() -> None:
    made = design("res4_16", SIX, [("shm", "ipc")])
    assert all("ipc" in made.row(i) for i in range(16) if "shm" in made.row(i))
    x = coded(made)
    assert set(x[made.matrix[:, 0] < 0, 1]) == {0.0}
    assert np.linalg.inv(x.T @ x)[1, 1] == pytest.approx(2 / 16)


def test_too_few_or_too_many_factors_are_refused() -> None:
    for name, factors in (("res4_16", [*SIX, "more"]), ("pb12", ["one"]), ("pb12", ["one", "one"])):
        with pytest.raises(ValueError, match="different factors"):
            design(name, factors)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both must be factors"):
        design("pb12", ["shm", "net"], [("shm", "ipc")])


@pytest.mark.parametrize(
    ("name", "blocks", "models", "fold", "df", "mde"),
    [
        ("one_at_a_time", 10, 3, False, 162, 0.888475),
        ("pb12", 2, 1, False, 11, 1.664927),
        ("pb12", 2, 3, True, 66, 0.593752),
        ("res4_16", 2, 3, False, 45, 0.736051),
    ],
)
def test_a_design_sees_what_was_worked_out_elsewhere(
    name: str, blocks: int, models: int, fold: bool, df: int, mde: float
) -> None:
    found = precision(name, 6, blocks, models, fold)
    assert found.df == df
    assert found.mde80 == pytest.approx(mde, rel=5e-4)


def test_one_block_has_no_error_to_judge_by() -> None:
    assert np.isnan(precision("pb12", 6, 1).mde80)
