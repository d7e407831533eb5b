"""Multiplicity is paid for what was planned."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_tables import drawn
from scipy import stats

from campaign.analysis.statistics import analyze_runs
from campaign.analysis.statistics.families import adjust, benjamini_hochberg, benjamini_yekutieli, holm

pvalues = st.lists(st.floats(1e-12, 1), min_size=1, max_size=20)


@given(pvalues)
def test_false_discovery_rates_agree_with_scipy(p: list[float]) -> None:
    assert benjamini_hochberg(p, len(p)) == pytest.approx(list(stats.false_discovery_control(p, method="bh")))
    assert benjamini_yekutieli(p, len(p)) == pytest.approx(list(stats.false_discovery_control(p, method="by")))


@given(pvalues, st.integers(0, 20))
def test_adjusting_keeps_the_order_and_only_raises(p: list[float], unplanned: int) -> None:
    m = len(p) + unplanned
    found = adjust(p, m)
    for adjusted in (found.bonferroni, found.holm, found.bh, found.by):
        assert all(q >= x - 1e-15 for x, q in zip(p, adjusted, strict=True))
        ranked = [q for _, q in sorted(zip(p, adjusted, strict=True))]
        assert ranked == sorted(ranked)
    assert all(h <= b + 1e-15 for h, b in zip(found.holm, found.bonferroni, strict=True))


def test_what_could_not_be_tested_still_counts() -> None:
    assert holm([0.01, None, 0.02], 3) == [pytest.approx(0.03), None, pytest.approx(0.04)]
    table = pd.concat([drawn(12, 1.2, model="a"), drawn(2, model="b")])
    family = analyze_runs(table)["families"]["F_doc"]
    assert (family["m_planned"], family["m_tested"]) == (2, 1)
    assert family["bonferroni"][0] == pytest.approx(2 * family["p"][0])
    assert family["p"][1] is None


def test_the_planned_size_comes_from_the_preregistration() -> None:
    family = analyze_runs(drawn(12, 1.2), planned={"F_doc": 30})["families"]["F_doc"]
    assert family["m_planned"] == 30
    assert family["holm"][0] == pytest.approx(min(1, 30 * family["p"][0]))


def test_a_family_smaller_than_its_tests_is_refused() -> None:
    with pytest.raises(ValueError, match="planned"):
        adjust([0.1, 0.2], 1)


def test_secondary_metrics_have_a_family_of_their_own() -> None:
    table = drawn(12).assign(ttft_mean_ms=drawn(12, seed=4)["token_throughput_tok_s"])
    families = analyze_runs(table)["families"]
    assert families["F_secondary"]["labels"] == ["m|ttft_mean_ms"]
    assert families["F_doc"]["labels"] == ["m|token_throughput_tok_s"]
