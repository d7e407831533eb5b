"""What is finally said of every comparison of the published sets, put together from what was found and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from campaign.analysis.result import INLINE, LEFT_OUT, Result
from campaign.analysis.statistics.claims import Said
from campaign.analysis.statistics.comparison import Comparison, InSets
from campaign.analysis.statistics.families import EquivalenceFamily, Family
from campaign.analysis.statistics.judgement import Judgement, PlainVerdict, judge, plain_families
from campaign.analysis.statistics.sets import ALL_VALID, ANALYSIS_SETS, PROTOCOL
from campaign.analysis.statistics.settings import Settings


@dataclass(frozen=True)
class Concluded(Result):
    """A comparison with its verdict and its claim, as it is published. ``verdict_by_set`` is of the headline set only:
    analysis set to the verdict in it."""

    comparison: Annotated[Comparison, INLINE]
    judgement: Annotated[Judgement, INLINE]
    plain: Annotated[PlainVerdict | None, INLINE]
    verdict_by_set: Annotated[dict[str, str] | None, LEFT_OUT]
    said: Annotated[Said, INLINE]


@dataclass(frozen=True)
class Families(Result):
    """The families of the headline set: that of a single two-arm study, whose parts stand among the names of the
    others."""

    plain: Annotated[Family | None, INLINE]
    by_name: Annotated[dict[str, Family | EquivalenceFamily], INLINE]


def conclude(found: Sequence[InSets], settings: Settings) -> tuple[list[Concluded], Families]:
    """Every comparison of the headline set, then those of all valid runs; and the families of the headline set."""
    by_set = {name: [one[name] for one in found] for name in ANALYSIS_SETS}
    judged = {
        name: judge(
            comparisons,
            settings.margin_pct,
            settings.planned,
            settings.facts,
            claims=name in (PROTOCOL, ALL_VALID),
            undeclared=settings.undeclared,
        )
        for name, comparisons in by_set.items()
    }
    plain = {name: plain_families(by_set[name], settings.planned, settings.facts) for name in (PROTOCOL, ALL_VALID)}
    concluded = []
    for name in (PROTOCOL, ALL_VALID):
        for at, comparison in enumerate(by_set[name]):
            verdicts = None
            if name == PROTOCOL:
                verdicts = {other: judgements[at].verdict for other, (judgements, _) in judged.items()}
            concluded.append(_concluded(comparison, judged[name][0][at], plain[name][0].get(at), verdicts))
    return concluded, Families(plain[PROTOCOL][1], judged[PROTOCOL][1])


def _concluded(
    comparison: Comparison, judgement: Judgement, plain: PlainVerdict | None, verdicts: dict[str, str] | None
) -> Concluded:
    """Flags also verdicts that depend on which runs are kept."""
    depends = verdicts is not None and len(set(verdicts.values())) > 1
    flags = [*comparison.flags, *judgement.flags, *(["sensitive_to_exclusions"] if depends else [])]
    claim = judgement.claim
    assert claim is not None
    return Concluded(replace(comparison, flags=flags), judgement, plain, verdicts, claim.said)
