"""A comparison in one analysis set, as the values that it is put together from: its names, what the arms show, or why
nothing may be said of them. What is judged of it, and the record of both, are added as further values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from campaign.analysis.result import INLINE, LEFT_OUT, UNTOLD, Result, get
from campaign.analysis.statistics import two_arms
from campaign.analysis.statistics.block_contrasts import Dunnett
from campaign.analysis.statistics.bootstrap import Resampled
from campaign.analysis.statistics.compare import Compared
from campaign.analysis.statistics.contrasts import Contrast
from campaign.analysis.statistics.deciding import Layer
from campaign.analysis.statistics.interblock import Interblock
from campaign.analysis.statistics.order import OrderBalance
from campaign.analysis.statistics.paired import Blocks
from campaign.analysis.statistics.randomisation import Randomisation
from campaign.analysis.statistics.sets import ALL_VALID, Accounting, WorstCase
from campaign.analysis.statistics.table import Cell

PUBLISHED = {ALL_VALID: "all_valid"}
"""Name under which a comparison states its analysis set, where it is not the set's own."""


@dataclass(frozen=True)
class Names(Result):
    """What is compared. ``settings_differ`` holds what the arms do not share: setting to arm to the values seen."""

    model: str
    metric: str
    reference: str
    treatment: str
    contrast: str
    unit: str | None
    phase: str | None
    kind: str
    settings_differ: dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Rearranged(Result):
    """What else is asked of the runs of a published set: other schedules, and incomplete blocks."""

    randomisation: Randomisation | None
    interblock: Interblock | None


@dataclass(frozen=True)
class OfScreen(Result):
    """The same option among all others of its screen; None where those cannot be compared."""

    dunnett: Dunnett | None


@dataclass(frozen=True)
class SetSummary(Result):
    """What one analysis set makes of a comparison; numbers, means and deviations by arm."""

    n: dict[str, int]
    mean: dict[str, float | None]
    sd: dict[str, float | None]
    diff: float | None
    pct_change: float | None
    welch: Result | None
    paired: Blocks
    status: str


@dataclass(frozen=True)
class OfSets(Result):
    """What the headline says of the other sets, and of the runs that it leaves out."""

    analysis_sets: dict[str, SetSummary]
    exclusions: dict[str, list[str]]
    accounting: Accounting
    worst_case: WorstCase | None


@dataclass(frozen=True, kw_only=True)
class Measured(Result):
    """A comparison whose data may be looked at. ``layers`` are what may decide it, by the name of their test."""

    compared: Annotated[Compared, INLINE]
    names: Annotated[Names, INLINE]
    analysis_set: str
    flags: list[str]
    interleaved: bool | None
    layers: Annotated[Mapping[str, Layer], UNTOLD]
    rearranged: Annotated[Rearranged | None, INLINE] = None
    of_screen: Annotated[OfScreen | None, INLINE] = None
    of_sets: Annotated[OfSets | None, INLINE] = None
    excluded_run_ids: Annotated[list[str] | None, LEFT_OUT] = None

    @property
    def status(self) -> str:
        """What the data permit."""
        return self.compared.status


@dataclass(frozen=True)
class NoBlocks(Result):
    """The blocks of a comparison that was refused."""

    status: None = None
    n_pairs: None = None


@dataclass(frozen=True)
class Nothing(Result):
    """Every part that a refused comparison does not have."""

    normality: None = None
    effect: None = None
    ratio: None = None
    tost_ratio: None = None
    tost_abs: None = None
    power: None = None
    decision: None = None
    tests: Annotated[Mapping[str, None], INLINE] = field(default_factory=lambda: dict.fromkeys(two_arms.tests()))
    desc: None = None
    diff: None = None
    pct_change: None = None
    overhead_pct: None = None
    outliers: None = None
    paired: NoBlocks = field(default_factory=NoBlocks)
    bootstrap: Resampled = field(default_factory=Resampled)
    randomisation: None = None
    interblock: None = None
    interleaved: None = None
    reasons: dict[str, str] = field(default_factory=dict)
    time_matters: None = None
    order: OrderBalance = field(default_factory=OrderBalance)
    worst_case: None = None
    analysis_sets: None = None
    exclusions: None = None
    accounting: None = None
    excluded_run_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Refused(Result):
    """A comparison of which nothing may be said; ``status`` is the error, ``evidence`` what shows it."""

    names: Annotated[Names, INLINE]
    analysis_set: str
    status: str
    flags: list[str]
    cautions: list[str] = field(default_factory=list)
    nothing: Annotated[Nothing, INLINE] = field(default_factory=Nothing)
    evidence: Annotated[Mapping[str, Any], INLINE] = field(default_factory=dict)


Comparison = Measured | Refused
InSets = dict[str, Comparison]
"""Analysis set to the comparison in it."""


def names_of(cell: Cell, contrast: Contrast, metric: str) -> Names:
    """What a contrast of a cell compares."""
    pair = (contrast.treatment, contrast.reference)
    differ = {
        name: {arm: list(seen[arm]) for arm in pair}
        for name, seen in cell.settings.items()
        if all(seen.get(arm) for arm in pair) and not set(seen[pair[0]]) & set(seen[pair[1]])
    }
    return Names(
        cell.model,
        metric,
        contrast.reference,
        contrast.treatment,
        f"{contrast.treatment}_vs_{contrast.reference}",
        cell.unit,
        cell.phase,
        contrast.kind,
        differ,
    )


def summary_of(found: Measured) -> SetSummary:
    """What the analysis set of this comparison makes of it."""
    arms = {getattr(found.names, arm): found.compared.desc[arm] for arm in ("treatment", "reference")}
    return SetSummary(
        n={arm: desc.n for arm, desc in arms.items()},
        mean={arm: get(desc, "mean") for arm, desc in arms.items()},
        sd={arm: get(desc, "sd") for arm, desc in arms.items()},
        diff=found.compared.difference.diff,
        pct_change=found.compared.difference.pct_change,
        welch=found.compared.inference.tests["welch"],
        paired=found.compared.paired,
        status=found.status,
    )
