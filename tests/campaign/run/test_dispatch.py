"""Who gets which block."""

from __future__ import annotations

from campaign.plan.design import Planned
from campaign.run.dispatch import Dispatch, Taken, deal


def block(number: int, lane: int = 0) -> list[Planned]:
    """Two runs."""
    return [
        Planned(
            index=2 * number + position, run_id=f"m__{arm}__w__r{number:02d}", phase="p", model="m", environment=arm,
                workload="w",
            engine="e", repetition=number, block=f"block-{number}", block_index=number, position=position + 1,
                lane=lane,
            simulated=False,
        )
        for position, arm in enumerate(("native", "docker"))
    ]  # fmt: skip


ONE, TWO, THREE = block(1), block(2), block(3)


def test_a_unit_takes_its_own_blocks_in_their_order() -> None:
    dispatch = Dispatch({"a": [ONE, TWO]})
    assert [dispatch.take("a"), dispatch.take("a"), dispatch.take("a")] == [Taken(ONE, "a"), Taken(TWO, "a"), None]


def test_a_unit_without_blocks_waits_while_another_works_and_ends_with_it() -> None:
    dispatch = Dispatch({"a": [ONE], "b": []})
    assert dispatch.take("a") == Taken(ONE, "a")
    assert dispatch.take("b") == "later"
    assert dispatch.take("a") is None
    assert dispatch.take("b") is None


def test_blocks_of_a_lost_unit_go_whole_to_whoever_is_free_the_unfinished_one_first() -> None:
    dispatch = Dispatch({"a": [ONE], "b": [TWO, THREE]})
    assert dispatch.take("b") == Taken(TWO, "b")
    dispatch.give_back("b", TWO)
    assert dispatch.left()
    assert [dispatch.take("a") for _ in range(4)] == [Taken(ONE, "a"), Taken(TWO, "b"), Taken(THREE, "b"), None]
    assert not dispatch.left()


def test_nobody_is_sent_home_while_blocks_wait_for_a_unit_that_has_yet_to_take_them() -> None:
    dispatch = Dispatch({"a": [], "b": [ONE]})
    assert dispatch.take("a") == "later"


def test_a_block_that_is_done_when_its_turn_comes_is_passed_over() -> None:
    done = {"block-1", "block-3"}
    dispatch = Dispatch({"a": [ONE, TWO], "b": [THREE]}, done=lambda rows: rows[0].block in done)
    assert dispatch.take("a") == Taken(TWO, "a")
    dispatch.give_back("b", None)
    assert dispatch.take("a") is None


def test_blocks_are_dealt_to_the_lanes_of_the_plan() -> None:
    first, second = block(1, lane=0), block(2, lane=1)
    assert deal([first, second], ["a", "b"], ["b", "a"]) == ({"b": [second], "a": [first]}, [])


def test_blocks_of_a_unit_that_is_away_go_to_the_others_by_turns_and_the_moves_are_told() -> None:
    away = [block(number, lane=2) for number in (1, 2, 3)]
    queues, moves = deal(away, ["a", "b", "c"], ["a", "b"])
    assert queues == {"a": [away[0], away[2]], "b": [away[1]]}
    assert moves == [(away[0], "c", "a"), (away[1], "c", "b"), (away[2], "c", "a")]
