"""What may be said of one comparison: one frozen object, made in one place, that everything printed is taken from.

A claim holds its set of runs, its test, the interval dual to that test, its family, its direction, its verdict and the
N that would settle it. Sentence, table, page, paper and JSON print this object and compute nothing of their own. The
words "identical", "no overhead", "same performance" are not here: that two arms are alike may be said only as
*equivalent within* a declared margin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from campaign.analysis.margin import in_words
from campaign.analysis.numbers import decimals, level_text, number, range_text
from campaign.analysis.result import INLINE, Result
from campaign.analysis.statistics.metrics import Better

DIFFERENT = ("different", "different_but_negligible")
MINIMUM_N = 3
"""Runs per arm below which nothing is inferred."""


@dataclass(frozen=True)
class Limits(Result):
    """An interval of the effect. ``level`` is its confidence in percent; a limit is None where there is none."""

    level: float
    low: float | None
    high: float | None

    @property
    def bounded(self) -> bool:
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Needs(Result):
    """What it would take to settle a comparison: always more than is there, or None with the reason."""

    n: int | None
    what: str
    """``blocks`` or ``runs per arm``."""
    question: str
    """What those would settle, under which truth."""


@dataclass(frozen=True)
class Claim(Result):
    """Treatment against reference. ``effect`` is of the treatment;
    percent of the reference on the ``ratio`` scale, else in units."""

    metric: str
    label: str | None
    unit_of_measure: str | None
    treatment: str
    reference: str
    verdict: str
    reason: str | None
    """Why there is no verdict on the data, in words."""
    analysis_set: str
    decided_on: Literal["complete blocks", "all runs"] | None
    test: str | None
    n_reference: int
    n_treatment: int
    mean_reference: float | None
    mean_treatment: float | None
    sd_reference: float | None
    sd_treatment: float | None
    scale: Literal["ratio", "difference"]
    effect: float | None
    interval: Limits | None
    """Dual to the verdict: of the difference, or of equivalence where that is the verdict,
    at the level of the family."""
    difference_interval: Limits | None
    equivalence_interval: Limits | None
    alone: Limits | None
    """The 95 % interval of this comparison by itself."""
    family: str | None
    m_planned: int | None
    adjustment: str | None
    margin_pct: float
    margin_declared: bool
    """Whether anybody declared the margin; else it is the default, and no claim rests on it without saying so."""
    better: Better | None
    better_source: str | None
    noninferior: bool | None
    """Whether the treatment is shown to be no worse than the margin; None without a direction."""
    needs: Needs | None
    screening: bool
    look: str | None = None
    """``look 2 of 3`` where a look decided, or was the last so far."""
    worth: float | None = None
    """As many independent blocks would say as much, where these resemble their neighbours in time; None where each
    counts as one."""

    @property
    def side(self) -> Literal["better", "worse"] | None:
        """Which the treatment is, where a difference is shown and the metric has a direction."""
        shown = self.verdict in DIFFERENT or self.verdict == "deterministic"
        if not shown or not self.effect or self.better is None:
            return None
        return "better" if (self.effect > 0) == (self.better == "higher") else "worse"

    @property
    def n(self) -> str:
        """``30 complete blocks``, also with what they are ``worth``, or ``n = 10 and 12`` (reference, treatment)."""
        if self.decided_on == "complete blocks":
            alike = f" that resemble their neighbours, worth {self.worth:.2g}" if self.worth else ""
            return f"{self.n_reference} complete blocks{alike}" + (f", {self.look}" if self.look else "")
        return f"n = {self.n_reference} and {self.n_treatment}"

    @property
    def sentence(self) -> str:
        """What may be claimed, as one sentence."""
        return _sentence(self)

    @property
    def said(self) -> Said:
        """As it is published."""
        return Said(self.sentence, ClaimDetail(self, self.side), self.reason)


@dataclass(frozen=True)
class ClaimDetail(Result):
    """A claim, and what follows from it."""

    its: Annotated[Claim, INLINE]
    side: Literal["better", "worse"] | None


@dataclass(frozen=True)
class Said(Result):
    """A claim as it is published: in a sentence, and in full."""

    claim: str
    claim_detail: ClaimDetail
    reason: str | None


NO_VERDICT = {
    "error_implausible": "the output rate is above what the memory's bandwidth permits",
    "error_duplicate_cell": "a run is recorded twice",
    "error_model_identity": "the weights that were loaded differ",
    "error_environment_changed": "image, driver or data changed between the arms",
}
"""Statuses that forbid statistics, in words."""


OPEN = {
    "unfinished": "the campaign is not finished, so nothing is claimed",
    "continuing": "not decided yet",
    "not_tested": "no verdict, because the campaign could stop early for other figures",
}
"""Verdicts that are none, with the reason: what is seen so far is shown with an interval that holds at every moment."""


def _open(c: Claim, what: str) -> str:
    why = OPEN[c.verdict]
    if c.effect is None:
        return f"{what}: {why}, and no block is complete in both arms."
    so_far = "so far " if c.verdict != "not_tested" else ""
    if c.interval is None:
        return (
            f"{what}: {why}; {so_far}{size(c, signed=True)} against {c.reference} ({c.n}, "
            f"{c.reason or 'without an interval'})."
        )
    unit = "%" if c.scale == "ratio" else c.unit_of_measure or ""
    limits = (
        f"{level_text(c.interval.level)} % interval {range_text(c.interval.low, c.interval.high, unit)}, "
        "which holds at any time"
    )
    return f"{what}: {why}; {so_far}{size(c, signed=True)} against {c.reference} ({limits}; {c.n})."


def _sentence(c: Claim) -> str:
    name = c.label or c.metric
    what = f"{name} under {c.treatment}"
    what = what[0].upper() + what[1:] if c.label else what
    if c.screening and c.verdict in (*DIFFERENT, "inconclusive"):
        return _screened(c, what)
    if c.verdict.startswith("error"):
        return f"{what}: nothing is claimed, {NO_VERDICT.get(c.verdict, c.verdict.replace('_', ' '))}."
    return SENTENCES.get(c.verdict, _missing)(c, what)


def _different(c: Claim, what: str) -> str:
    margin = in_words(c.margin_pct, c.margin_declared)
    near = f"the {margin} margin" if c.margin_declared else f"a margin of {margin}"
    inside = f", inside {near}" if c.verdict == "different_but_negligible" else ""
    side = f", which is {c.side}" if c.side else ""
    within = f"{within_limits(c.interval, c)}; " if c.interval else ""
    if c.scale == "ratio" and c.effect is not None:
        way = "higher" if c.effect > 0 else "lower"
        return f"{what} is {size(c)} {way} than under {c.reference}{side} ({within}{c.n}){inside}."
    return f"{what} differs from {c.reference} by {size(c)}{side} ({within}{c.n}){inside}."


def _equivalent(c: Claim, what: str) -> str:
    within = f"{within_limits(c.interval, c)}; " if c.interval else ""
    margin = in_words(c.margin_pct, c.margin_declared)
    return f"{what} is equivalent to {c.reference} within {margin} ({within}{c.n})."


def _undecided(c: Claim, what: str) -> str:
    seen = f"; {compatible(c.interval, c)}" if c.interval else ""
    margin = in_words(c.margin_pct, c.margin_declared).removeprefix("±")
    worse = f" It is no worse than {c.reference} by more than {margin}." if c.noninferior else ""
    return (
        f"{what}: undecided. A difference from {c.reference} cannot be told at this N{seen} ({c.n}){_needs(c)}.{worse}"
    )


def _deterministic(c: Claim, what: str) -> str:
    same = "the same value in every run" if not c.effect else f"{size(c, signed=True)} against {c.reference}"
    side = f", which is {c.side}" if c.side else ""
    return f"{what} did not vary within either arm: {same}{side} ({c.n})."


def _too_few(c: Claim, what: str) -> str:
    return f"{what}: nothing can be claimed from {c.n}; at least {MINIMUM_N} runs in each arm are needed."


def _not_interpretable(c: Claim, what: str) -> str:
    return f"{what}: {c.reason}, so a difference from {c.reference} may be due to that and nothing is claimed."


def _no_data(c: Claim, what: str) -> str:
    return f"{what}: not measured in any accepted run of either arm."


def _missing(c: Claim, what: str) -> str:
    return f"{what}: no accepted run of {c.treatment if not c.n_treatment else c.reference} yet."


SENTENCES: dict[str, Callable[[Claim, str], str]] = {
    **dict.fromkeys(OPEN, _open),
    **dict.fromkeys(DIFFERENT, _different),
    "equivalent": _equivalent,
    "inconclusive": _undecided,
    "deterministic": _deterministic,
    "insufficient_n": _too_few,
    "not_interpretable": _not_interpretable,
    "no_data": _no_data,
}
"""By verdict, what is claimed of a metric under an arm."""


def _screened(c: Claim, what: str) -> str:
    passed = "passes the screen" if c.verdict in DIFFERENT else "does not pass the screen"
    within = f" ({within_limits(c.interval, c)}; {c.n})" if c.interval else f" ({c.n})"
    return (
        f"{what} {passed} against {c.reference}: {size(c, signed=True)}{within}. "
        "Screening: biased upwards by the choice among options, never the result."
    )


def _needs(c: Claim) -> str:
    if c.needs is None:
        return ""
    if c.needs.n is None:
        return f"; {c.needs.question}"
    return f"; needs N = {c.needs.n} {c.needs.what} {c.needs.question}"


def within_limits(limits: Limits | None, c: Claim) -> str:
    """``99.8 % interval −2.1 to −0.9 %``; an open side in words."""
    if limits is None:
        return ""
    unit = "%" if c.scale == "ratio" else c.unit_of_measure or ""
    return f"{level_text(limits.level)} % interval {range_text(limits.low, limits.high, unit)}"


def compatible(limits: Limits, c: Claim) -> str:
    """``anything within −2.1 to +0.4 % (95 % interval) is compatible with the data``."""
    unit = "%" if c.scale == "ratio" else c.unit_of_measure or ""
    level = f"{level_text(limits.level)} % interval"
    if limits.low is None and limits.high is None:
        return f"the data set no limit to it ({level})"
    within = "within " if limits.bounded else ""
    return f"anything {within}{range_text(limits.low, limits.high, unit)} ({level}) is compatible with the data"


def size(c: Claim, signed: bool = False) -> str:
    """The effect to the precision of its interval (two digits without one), with its unit."""
    value = c.effect
    unit = "%" if c.scale == "ratio" else c.unit_of_measure or ""
    if value is None:
        return "–"
    limits = c.interval
    if limits is not None and limits.low is not None and limits.high is not None:
        places = decimals(limits.low, limits.high)
    elif c.scale == "ratio":
        places = 0 if abs(value) >= 100 else 2
    else:
        text = number(value if signed else abs(value))
        return f"{text} {unit}".strip()
    shown = f"{value:+.{places}f}" if signed else f"{abs(value):.{places}f}"
    return f"{shown} {unit}".strip().replace("-", "−")
