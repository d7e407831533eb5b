"""``sequential:`` of a campaign file: looks at which a model whose primary comparisons
are all decided gets no further blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from actors.types import Frozen
from campaign.config.yaml_nodes import Node, Problem

FIRST_LOOK = 5
"""Blocks that the first look needs."""


class Sequential(Frozen):
    """A group-sequential design (``docs/statistics.md``). The last look is after the last block of every model."""

    looks: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(min_length=1)
    """After so many blocks of a model."""
    spending: Literal["pocock", "obrien_fleming", "hsd"] = "pocock"
    """How the error level is spent over the looks."""
    gamma: Annotated[float, Field(ge=-20, le=20)] | None = None
    """Of ``hsd`` alone."""
    t_levels: Literal["exact_t", "normal"] = "exact_t"
    scale: Literal["guarded", "log_ratio", "ratio"] = "guarded"
    """What is tested: the ratio of means by the rule that decides, or by plain t tests."""
    multiplicity: Literal["holm", "bonferroni"] = "holm"
    futility: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Conditional power below which an undecided comparison does not keep its model going; never decides anything."""


def contradictions(
    design: Sequential | None,
    at: Callable[..., Node],
    *,
    repetitions: Mapping[str, int],
    outliers: str,
    phase: str,
    arms: int,
    units: int,
    margin_pct: float | None,
) -> Iterator[Problem]:
    """What is wrong with the looks beside the rest of the campaign; ``at`` gives where a key stands."""
    if design is None:
        return
    looks, where = design.looks, at("sequential", "looks")
    if any(b <= a for a, b in itertools.pairwise(looks)):
        yield where.problem(f"must increase, got {list(looks)}", "Write block numbers such as [10, 20, 30].")
    elif looks[0] < FIRST_LOOK:
        yield where.problem(f"the first look is after {looks[0]} blocks", f"Use {FIRST_LOOK} or more (10 is better).")
    for model, count in repetitions.items():
        if looks[-1] != count:
            what = f"the last look is after {looks[-1]} blocks, but {model} has {count} repetitions"
            yield where.problem(what, f"End it with {count}, or give every model {looks[-1]} repetitions.")
            break
    if (design.spending == "hsd") != (design.gamma is not None):
        what = "hsd needs a gamma" if design.gamma is None else "gamma is of spending: hsd alone"
        yield at("sequential").problem(what, "Write `spending: hsd` and `gamma: -4` together, or neither.")
    if margin_pct is None:
        what = "a look decides whether arms are equivalent, and no margin is declared"
        yield at("sequential").problem(what, "Add `margin_pct: 1`, or what counts as equal here, in percent.")
    if outliers == "rerun":
        what = "runs outliers again because of their values, which looks do not allow for"
        yield at("outliers").problem(what, "Set outliers: flag, or leave `sequential` out.")
    yield from _out_of_place(at, phase, arms, units)


def _out_of_place(at: Callable[..., Node], phase: str, arms: int, units: int) -> Iterator[Problem]:
    """Campaigns in which no look can decide anything."""
    if phase in ("screening", "combination"):
        what = f"the phase {phase} claims nothing, so that nothing can be decided at a look"
        yield at("sequential").problem(what, "Leave it out of this phase.")
    if arms < 2:
        yield at("sequential").problem("one environment: there is nothing to decide", "Name a second, or leave it out.")
    if units > 1:
        what = "looks are taken over the blocks of one unit, and units names several"
        yield at("units").problem(what, "Name one unit, or leave `sequential` out.")
