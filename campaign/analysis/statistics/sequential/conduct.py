"""A sequential campaign as it goes: looks come in, claims are made, models stop.
What it knows are the statistics of the looks, frozen.

At every event (a look of one model, all its comparisons together): sequential p, both families over all planned
comparisons, claims, futility of that model, and then the stops of all models, because a level that one claim passes on
may decide another model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from scipy import special

from campaign.analysis.result import UNTOLD, Result
from campaign.analysis.statistics.sequential import multiplicity
from campaign.analysis.statistics.sequential.boundaries import repeated_p
from campaign.analysis.statistics.sequential.design import Design
from campaign.analysis.statistics.sequential.look import NOT_TESTABLE, Shown

CLAIMS = ("different", "equivalent")


@dataclass(frozen=True, order=True)
class Key:
    """One comparison. ``contrast`` is empty where a model has one pair of arms."""

    model: str
    metric: str
    contrast: str = ""

    @property
    def label(self) -> str:
        return "|".join(part for part in (self.model, self.metric, self.contrast) if part)


@dataclass
class Taken:
    """One look of one comparison, with what was made of it at its event."""

    look: int
    event: int
    blocks: int
    shown: Shown
    status: str
    rep_p: tuple[float, float] | None = None
    """Repeated p of difference (two-sided) and of equivalence."""
    p_seq: tuple[float | None, float | None] = (None, None)
    p_adjusted: tuple[float | None, float | None] = (None, None)
    conditional_power: tuple[float, float] | None = None
    """Of equivalence and of difference, at the last planned look."""


@dataclass(frozen=True)
class Made(Result):
    """When a claim was made: the model's look, and the event, which may be another model's."""

    look: int
    event: int


@dataclass(frozen=True)
class Stop(Result):
    look: int
    event: int
    reason: str
    levels: Annotated[Mapping[Key, tuple[float, float]], UNTOLD]
    """Local levels of the model's comparisons at the stop, of difference (two-sided) and of equivalence."""


@dataclass
class Course:
    """A comparison from look to look."""

    key: Key
    looks: list[Taken] = field(default_factory=list)
    claims: dict[str, Made] = field(default_factory=dict)
    futile: bool = False

    @property
    def counted(self) -> list[Taken]:
        """The looks that could be tested."""
        return [taken for taken in self.looks if taken.status == "ok"]

    @property
    def p_seq(self) -> tuple[float | None, float | None]:
        return self.looks[-1].p_seq if self.looks else (None, None)

    @property
    def status(self) -> str:
        if not self.looks:
            return "not_due"
        last = self.looks[-1].status
        if last.startswith("skipped"):
            return "ok" if self.counted else "insufficient_n"
        return last

    @property
    def testable(self) -> bool:
        return self.status not in NOT_TESTABLE

    @property
    def decided(self) -> bool:
        return bool(self.claims) or self.status == "deterministic" or (bool(self.looks) and not self.testable)

    @property
    def verdict(self) -> str:
        """In the words of a fixed design, from the claims that were made."""
        if self.status != "ok" and not self.claims:
            return self.status
        if "different" in self.claims:
            return "different_but_negligible" if "equivalent" in self.claims else "different"
        return "equivalent" if "equivalent" in self.claims else "inconclusive"


@dataclass(frozen=True)
class Event(Result):
    event: int
    model: str
    look: int
    new_claims: tuple[str, ...]
    stopped: tuple[str, ...]


class Conduct:
    """All comparisons of a campaign: ``keys`` are the planned ones, in the order of the configuration."""

    def __init__(self, design: Design, keys: Sequence[Key]) -> None:
        self.design = design
        self.courses = {key: Course(key) for key in keys}
        self.models = list(dict.fromkeys(key.model for key in keys))
        self.events: list[Event] = []
        self.stops: dict[str, Stop] = {}

    def of(self, model: str) -> list[Course]:
        return [course for key, course in self.courses.items() if key.model == model]

    def taken(self, model: str) -> int:
        """Looks that the model has had."""
        return max((len(course.looks) for course in self.of(model)), default=0)

    def due(self, model: str, done: int) -> int | None:
        """The look of the model that is due once ``done`` first blocks are complete or given up."""
        return None if model in self.stops else self.design.due(done, self.taken(model))

    def take(self, model: str, found: Mapping[Key, Shown]) -> Event:
        """The next look of a model, with the statistics of all its comparisons."""
        number, look = len(self.events) + 1, self.taken(model) + 1
        if model in self.stops or look > len(self.design.looks):
            raise ValueError(f"{model} has had its last look")
        for course in self.of(model):
            course.looks.append(self._counted(course, found[course.key], look, number))
        new = self._claim(number)
        if self.design.futility is not None and look < len(self.design.looks):
            self._look_ahead(model)
        event = Event(number, model, look, tuple(sorted(new)), tuple(self._stop(number)))
        self.events.append(event)
        return event

    def manual_stop(self, model: str) -> None:
        """Ended by a person: verdicts come from the looks already taken."""
        if model not in self.stops and self.taken(model):
            self.stops[model] = Stop(self.taken(model), len(self.events), "manual", self._levels(model))

    # --- p values ------------------------------------------------------------------------------------------

    def _counted(self, course: Course, shown: Shown, look: int, event: int) -> Taken:
        final = look == len(self.design.looks)
        before = course.counted
        status = shown.status
        if status == "ok" and before and shown.n <= before[-1].shown.n:
            status = "skipped_no_new_blocks"
        taken = Taken(look, event, self.design.looks[look - 1], shown, status, p_seq=course.p_seq)
        if status != "ok":
            return taken
        assert shown.p_diff is not None
        looks = self.design.of((*(one.shown.n for one in before), shown.n), final)
        different = min(1.0, 2 * repeated_p(looks, shown.p_diff / 2))
        taken.rep_p = different, 1.0 if shown.p_tost is None else repeated_p(looks, shown.p_tost)
        taken.p_seq = (
            min(x for x in (course.p_seq[0], taken.rep_p[0]) if x is not None),
            min(x for x in (course.p_seq[1], taken.rep_p[1]) if x is not None),
        )
        return taken

    def p_seq(self, claim: str) -> list[float | None]:
        """Of every planned comparison."""
        return [course.p_seq[CLAIMS.index(claim)] for course in self.courses.values()]

    def adjusted(self, claim: str) -> list[float | None]:
        return multiplicity.adjusted(self.p_seq(claim), self.design.m, self.design.multiplicity, self.design.graph)

    def levels(self, claim: str) -> dict[Key, float]:
        """The level at which each comparison is judged alone, as things stand."""
        found = multiplicity.local_levels(
            self.p_seq(claim), self.design.m, self.design.multiplicity, self.design.alpha, self.design.graph
        )
        return dict(zip(self.courses, found, strict=True))

    def _levels(self, model: str) -> dict[Key, tuple[float, float]]:
        different, equivalent = (self.levels(claim) for claim in CLAIMS)
        return {key: (different[key], equivalent[key]) for key in self.courses if key.model == model}

    def _claim(self, event: int) -> list[str]:
        new = []
        both = [self.adjusted(claim) for claim in CLAIMS]
        for i, course in enumerate(self.courses.values()):
            now = both[0][i], both[1][i]
            if course.looks and course.looks[-1].event == event:
                course.looks[-1].p_adjusted = now
            for claim, p in zip(CLAIMS, now, strict=True):
                if p is not None and p < self.design.alpha and claim not in course.claims:
                    course.claims[claim] = Made(course.looks[-1].look, event)
                    new.append(f"{course.key.label}|{claim}")
        return new

    # --- stops ---------------------------------------------------------------------------------------------

    def _stop(self, event: int) -> list[str]:
        stopped = []
        for model in self.models:
            if model in self.stops or (reason := self._reason(model)) is None:
                continue
            self.stops[model] = Stop(self.taken(model), event, reason, self._levels(model))
            stopped.append(model)
        return stopped

    def _reason(self, model: str) -> str | None:
        courses = self.of(model)
        if not self.taken(model):
            return None
        if not any(course.testable for course in courses):
            return "not_testable"
        if all(course.decided for course in courses):
            return "all_decided"
        if all(course.decided or course.futile for course in courses):
            return "futility"
        return "max_blocks" if self.taken(model) == len(self.design.looks) else None

    def _look_ahead(self, model: str) -> None:
        assert self.design.futility is not None
        different, equivalent = (self.levels(claim) for claim in CLAIMS)
        for course in self.of(model):
            taken = course.looks[-1]
            course.futile = False
            if taken.status == "ok" and not course.decided:
                taken.conditional_power = conditional_power(
                    [one.shown for one in course.counted], taken.blocks, self.design, different[course.key] / 2,
                     equivalent[course.key]
                )  # fmt: skip
                course.futile = max(taken.conditional_power) < self.design.futility


def conditional_power(
    shown: Sequence[Shown], blocks: int, design: Design, level_different: float, level_equivalent: float
) -> tuple[float, float]:
    """Chance of the claim ``equivalent``, and of ``different``, at the last planned look,
    were what is seen the truth. Levels are one-sided."""
    now = shown[-1]
    assert now.mean is not None
    assert now.sd is not None
    n, last = now.n, now.n + design.n_max - blocks
    looks = design.of((*(one.n for one in shown), last), True)
    sigma = now.sd * math.sqrt(last - n) / last
    c_d = now.reach(looks.nominal(level_different)[-1], design.unseen[0], last)
    c_e = now.reach(looks.nominal(level_equivalent)[-1], design.unseen[1], last)
    low, high = design.margins if design.scale == "log_ratio" else tuple(math.log(x) for x in design.margins)
    inside = 0.0
    if high - c_e > low + c_e:
        inside = float(special.ndtr((high - c_e - now.mean) / sigma) - special.ndtr((low + c_e - now.mean) / sigma))
    outside = float(special.ndtr((-c_d - now.mean) / sigma) + special.ndtr(-(c_d - now.mean) / sigma))
    return inside, outside
