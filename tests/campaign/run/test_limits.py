"""The hang limit follows what is known of a cell, the better the later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.types import Watchdog, Workload
from campaign.run.limits import limit_s

WORK = Workload(name="w", requests=98, warmup_requests=2, input_tokens=10, output_tokens=10, timeout_s=43200)
RULES = Watchdog(factor=3.0, slack_s=300.0)


def test_what_is_expected_sets_it_and_then_the_cells_own_longest_run() -> None:
    assert limit_s(RULES, WORK, expected_s=1000.0) == 3300.0
    assert limit_s(RULES, WORK, expected_s=1000.0, accepted_s=[140.0, 150.0]) == 750.0


def test_where_the_workloads_own_limit_comes_first_there_is_no_other() -> None:
    assert limit_s(RULES, WORK.model_copy(update={"timeout_s": 100.0}), expected_s=1.0) is None


@given(st.lists(st.floats(0.1, 1e5), min_size=1), st.floats(0.1, 1e5))
def test_no_run_like_the_accepted_ones_is_ever_cut_off(accepted: list[float], expected: float) -> None:
    limit = limit_s(RULES, WORK, expected_s=expected, accepted_s=accepted)
    assert limit is None or limit > max(accepted)
