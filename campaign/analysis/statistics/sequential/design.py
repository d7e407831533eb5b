"""What a group-sequential design fixes before the first run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.sequential.boundaries import Levels, Looks
from campaign.analysis.statistics.sequential.multiplicity import Graph
from campaign.analysis.statistics.sequential.spending import Spending

Scale = Literal["log_ratio", "ratio", "guarded"]
"""What is tested at a look: t of log ratios; t of the ratio of means;
or the ratio of means by the rule that decides (``deciding``)."""
Rule = Literal["holm", "bonferroni", "graph"]
FEWEST_PAIRS = 5


@dataclass(frozen=True)
class Design:
    """Looks, in blocks, and how each is judged. ``m`` is the number of comparisons
    that are planned in each family, ``alpha`` its error."""

    looks: tuple[int, ...]
    m: int
    margin_pct: float
    alpha: float = 0.05
    spending: Spending = field(default_factory=Spending)
    scale: Scale = "log_ratio"
    t_levels: Levels = "normal"
    multiplicity: Rule = "holm"
    graph: Graph | None = None
    min_pairs: int = FEWEST_PAIRS
    cs_precision: float = 1.0
    futility: float | None = None
    """Conditional power below which an undecided comparison counts as hopeless; None never stops for that."""

    def __post_init__(self) -> None:
        if wrong := list(_wrong(self)):
            raise ValueError("; ".join(wrong))

    @property
    def n_max(self) -> int:
        return self.looks[-1]

    @property
    def margins(self) -> tuple[float, float]:
        """Bounds of equivalence: of the log ratio, or of the ratio."""
        share = self.margin_pct / 100
        if self.scale == "log_ratio":
            return math.log1p(-share), math.log1p(share)
        return (1 - share, 1 + share) if self.scale == "ratio" else deciding.margins(self.margin_pct)

    @property
    def unseen(self) -> tuple[float, float]:
        """Runs taken as unseen in a question of difference and of equivalence."""
        if self.scale == "guarded":
            return deciding.UNSEEN_DIFFERENCE, deciding.UNSEEN_EQUIVALENCE
        return 0.0, 0.0

    def of(self, n: tuple[int, ...], final: bool) -> Looks:
        """The boundaries of looks at these numbers of pairs."""
        return Looks(n, self.n_max, final, self.spending, self.t_levels)

    def due(self, done: int, taken: int) -> int | None:
        """The look (1, 2, …) that is due when so many first blocks are complete or given up and so many looks were
        taken; None where none is."""
        return taken + 1 if taken < len(self.looks) and done >= self.looks[taken] else None

    def settings(self) -> dict[str, Any]:
        """As JSON, with every default said."""
        graph = None if self.graph is None else {"weights": self.graph.weights, "transitions": self.graph.transitions}
        return {
            "scale": self.scale,
            "margin_pct": self.margin_pct,
            "alpha": self.alpha,
            "m_planned": self.m,
            "looks_blocks": list(self.looks),
            "spending": {"type": self.spending.type, "gamma": self.spending.gamma},
            "multiplicity": self.multiplicity,
            "graph": graph,
            "min_pairs": self.min_pairs,
            "cs_precision": self.cs_precision,
            "futility": self.futility,
            "t_levels": self.t_levels,
        }


def _wrong(design: Design) -> Any:
    looks = design.looks
    if not looks or any(b <= a for a, b in itertools.pairwise(looks)):
        yield f"looks must be a list of block numbers that increase, not {list(looks)}"
    elif looks[0] < FEWEST_PAIRS:
        yield f"the first look must be at {FEWEST_PAIRS} blocks or more, not {looks[0]}"
    if design.m < 1 or not 0 < design.alpha <= 0.5 or design.margin_pct <= 0 or design.cs_precision <= 0:
        yield "m must be at least 1, alpha within 0 to 0.5, margin and cs_precision above 0"
    if design.min_pairs < 2:
        yield f"min_pairs must be at least 2, not {design.min_pairs}"
    if (design.multiplicity == "graph") != (design.graph is not None):
        yield "multiplicity graph needs weights and transitions, and no other has them"


def design_of(settings: Mapping[str, Any]) -> Design:
    """A design from its JSON; what is left out has the default. Raises ValueError in words."""
    known = {*Design(looks=(10,), m=1, margin_pct=1.0).settings(), "metrics", "input"}
    if unknown := sorted(set(settings) - known):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    missing = [name for name in ("looks_blocks", "m_planned", "margin_pct") if settings.get(name) is None]
    if missing:
        raise ValueError(f"{missing[0]!r} is missing")
    spending = settings.get("spending") or {}
    if isinstance(spending, str):
        spending = {"type": spending}
    graph = settings.get("graph")
    optional = ("alpha", "scale", "t_levels", "multiplicity", "min_pairs", "cs_precision", "futility")
    return Design(
        looks=tuple(int(b) for b in settings["looks_blocks"]),
        m=int(settings["m_planned"]),
        margin_pct=float(settings["margin_pct"]),
        spending=Spending(spending.get("type") or "pocock", spending.get("gamma")),
        graph=None if not graph else Graph(tuple(graph["weights"]), tuple(map(tuple, graph["transitions"]))),
        **{name: settings[name] for name in optional if settings.get(name) is not None},
    )
