"""A unit that joins late takes its share, cell for cell alike, and never a block that was begun."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from campaign.plan.design import Planned
from campaign.run.joining import share


def block(model: str, repetition: int, index: int) -> list[Planned]:
    name = f"{model}__w__r{repetition:02d}"
    return [
        Planned(2 * index + place, f"{name}-{arm}", "baseline", model, arm, "w", "llamacpp", repetition, name, index,
            place + 1, 0, False)
        for place, arm in enumerate(("native", "docker"))
    ]  # fmt: skip


def queues(models: int, repetitions: int, units: int) -> dict[str, deque[list[Planned]]]:
    """Repetitions outside, dealt in turn, as a plan of one workload does it."""
    dealt: dict[str, deque[list[Planned]]] = {f"u{number}": deque() for number in range(units)}
    for number in range(models * repetitions):
        repetition, model = divmod(number, models)
        dealt[f"u{(repetition + model) % units}"].append(block(f"m{model}", repetition + 1, number))
    return dealt


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 4))
def test_the_share_is_equal_and_balanced(models: int, repetitions: int, units: int) -> None:
    dealt = queues(models, repetitions, units)
    before = {unit: list(blocks) for unit, blocks in dealt.items()}
    given_ = share(dealt)
    assert {unit: list(blocks) for unit, blocks in dealt.items()} == before, "nothing is taken by looking"
    assert len(given_) == models * repetitions // (units + 1)
    assert all(taken in dealt[unit] for unit, taken in given_)
    assert len({taken[0].block for _, taken in given_}) == len(given_)
    if given_:
        cells = Counter(taken[0].model for _, taken in given_)
        assert max(cells.values()) - min(cells[f"m{model}"] for model in range(models)) <= 1
    order = [taken[0].index for _, taken in given_]
    assert order == sorted(order)


def test_what_was_begun_stays_where_it_is() -> None:
    dealt = queues(1, 6, 1)
    begun = dealt["u0"][-1][0].block
    given_ = share(dealt, lambda taken: taken[0].block != begun)
    assert [taken[0].repetition for _, taken in given_] == [4, 5]
    assert share(queues(1, 1, 1)) == [], "one block is not shared"
