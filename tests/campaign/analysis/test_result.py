"""A result says of each field what becomes of it in the JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from campaign.analysis.result import INLINE, LEFT_OUT, UNTOLD, Result, as_json, get
from campaign.analysis.statistics.output import json_ready


@dataclass(frozen=True)
class Part(Result):
    a: int
    b: Annotated[int | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Whole(Result):
    first: int
    part: Annotated[Part | None, INLINE]
    by_name: Annotated[dict[str, Part], INLINE]
    kept: Part
    secret: Annotated[int, UNTOLD] = 9


def test_parts_that_are_inline_stand_where_the_field_would() -> None:
    found = Whole(1, Part(2), {"x": Part(3), "y": Part(4, 5)}, Part(6))
    assert json_ready(found) == {"first": 1, "a": 2, "x": {"a": 3}, "y": {"a": 4, "b": 5}, "kept": {"a": 6}}
    assert list(as_json(found)) == ["first", "a", "x", "y", "kept"]


def test_no_part_leaves_no_trace_and_what_is_untold_stays_within() -> None:
    found = Whole(1, None, {}, Part(6))
    assert as_json(found) == {"first": 1, "kept": Part(6)}
    assert get(found, "secret") == 9
    assert get(found, "part", "a") is None
