"""What the page of a study shows of each phase."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from campaign.analysis import metrics, words
from campaign.analysis.margin import margin_of
from campaign.analysis.phase_rows import screen_contrasts
from campaign.analysis.statistics.reduction import Reduction, against_prediction, paired_reduction
from campaign.report import wording
from campaign.study import figures, hypotheses, record
from campaign.study.config import AGAIN
from campaign.study.decision import samples, screened
from campaign.study.hypotheses import Part
from campaign.study.wording import (
    flag_words,
    most_words,
    reason_words,
    security_words,
    signed,
)

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Figure:
    """A figure of the page as SVG and as Vega-Lite specification, or why there is none."""

    name: str
    title: str
    caption: str
    svg: Any = None
    specification: Mapping[str, Any] | None = None
    absent: str = ""


def of_baseline(part: Part | None, rows: list[wording.Row], simulated: bool) -> dict[str, Any] | None:
    if part is None:
        return None
    mine = [row for row in rows if row["metric"] == metrics.headline() and row["reference"] == part.campaign.reference]
    return {
        "name": part.name,
        "sentences": wording.between_twins(rows) + wording.sentences(rows),
        "figure": figure(
            "overhead-of-baseline",
            figures.overheads(_against_native(mine), simulated),
            "Overhead of the baseline, model by model",
            "Intervals as each verdict was decided.",
            "no comparison has a size yet",
        ),
        "table": _comparisons(mine),
    }


def _against_native(rows: Iterable[wording.Row]) -> list[dict[str, Any]]:
    return [
        {
            "model": row["model"],
            "arm": row["treatment"],
            "pct": _number(row["pct"]),
            "low": _number(row["pct_low"]),
            "high": _number(row["pct_high"]),
        }
        for row in rows
    ]


def _comparisons(rows: Iterable[wording.Row]) -> list[dict[str, str]]:
    return [
        {
            "model": row["model"],
            "arm": row["treatment"],
            "against": row["reference"],
            "n": f"{row['n_treatment']}, {row['n_reference']}",
            "change": wording.change(row),
            "interval": f"{wording.interval(row)} ({wording.level(row)} %)",
            "verdict": words.verdict_word(row),
        }
        for row in rows
    ]


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _candidates(evidence: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "name": it["name"],
            "option": it["option"],
            "raw": "–" if it["raw_pct"] is None else signed(it["raw_pct"]),
            "interval": "–" if it["low_pct"] is None else f"{signed(it['low_pct'])} to {signed(it['high_pct'])}",
            "shrunken": "–" if it["shrunken_pct"] is None else signed(it["shrunken_pct"]),
            "p": "–" if it["p"] is None else f"{it['p']:.3g}",
            "security": security_words(it) if it["privilege"] else "",
            "decision": "; ".join(reason_words(reason) for reason in it["reasons"])
            or ("carried on" if it["option"] in evidence["chosen"] else "candidate, not among the best"),
        }
        for it in evidence.get("candidates", ())
    ]


def of_screening(part: Part | None, evidence: Mapping[str, Any], simulated: bool) -> dict[str, Any] | None:
    if part is None:
        return None
    screen = part.campaign.screen
    aliases: list[str] = []
    if screen is not None and screen.design != "one_at_a_time":
        from campaign.study.outlook import alias_lines

        aliases = list(alias_lines(screen))
    found = figures.effects(
        evidence.get("candidates", ()), evidence.get("chosen", ()), margin_of(part.campaign.margin_pct).pct, simulated
    )
    one_at_a_time = screen is not None and screen.design == "one_at_a_time"
    contrasts = pd.DataFrame() if one_at_a_time else _contrasts(part)
    return {
        "name": part.name,
        "design": "one option at a time" if one_at_a_time else f"two-level design {screen.design if screen else ''}",
        "judged_by": evidence.get("judged_by", ""),
        "candidates": _candidates(evidence),
        "aliases": aliases,
        "flags": [flag_words(flag) for flag in evidence.get("flags", ())],
        "refused": evidence.get("refused_on_this_unit", {}),
        "incompatible": evidence.get("incompatible"),
        "effects": figure(
            "screen",
            found,
            "What the screen saw",
            "Circle: raw estimate with its simultaneous 95 % interval; diamond: what is left of it against the "
            f"winner's curse; grey: the margin of ±{margin_of(part.campaign.margin_pct).pct:g} %. Chosen on these "
            "data, confirmed by none of them.",
            "the screen is not finished",
        ),
        "half_normal": figure(
            "half-normal",
            figures.half_normal(contrasts, simulated),
            "Half-normal plot",
            "Contrasts of every column; what lies off the line of the small ones is more than noise. Lenth's margin "
            "for one contrast (dashed) and for all (solid).",
            "no two-level screen with complete blocks",
        ),
    }


def _contrasts(part: Part) -> pd.DataFrame:
    """Columns of the design by model, as the half-normal plot takes them; empty where blocks are incomplete."""
    told = {"factorial": {metrics.headline(): screened(part.campaign, part.folder)}}
    return pd.DataFrame(list(screen_contrasts(told)))


def of_combination(
    part: Part | None,
    evidence: Mapping[str, Any],
    before: Mapping[str, Any],
    state: record.StudyState,
    kinds: Mapping[str, str],
    simulated: bool,
) -> dict[str, Any] | None:
    name = kinds.get("combination")
    if name is None:
        return None
    if part is None:
        why = state.phase(name).skipped
        return (
            {
                "name": name,
                "skipped": why,
                "most": most_words(before) if before else "",
                "candidates": [],
                "effects": None,
            }
            if why
            else None
        )
    found = figures.effects(
        evidence.get("candidates", ()), [_arm_of(evidence)], margin_of(part.campaign.margin_pct).pct, simulated
    )
    return {
        "name": name,
        "skipped": None,
        "most": "",
        "candidates": _candidates({**evidence, "chosen": [_arm_of(evidence)]}),
        "effects": figure(
            "together",
            found,
            "The best together, and each alone",
            "Against the baseline in the same blocks: Dunnett's intervals, pooled over the models.",
            "this phase is not finished",
        ),
    }


def _arm_of(evidence: Mapping[str, Any]) -> str:
    """The arm of the combination phase that was chosen."""
    chosen = evidence.get("chosen", [])
    return next((name for name, parts in evidence.get("arms", {}).items() if parts == chosen), "")


def of_validation(part: Part | None, rows: list[wording.Row], simulated: bool) -> dict[str, Any] | None:
    if part is None:
        return None
    reference, baseline, third = hypotheses.trio(part)
    mine = [row for row in rows if row["metric"] == metrics.headline()]
    groups = samples(part.folder)
    blocks = hypotheses.complete(groups, (reference, baseline, third))
    won = [_share(model, paired_reduction(*values), len(values[0])) for model, values in blocks.items()]
    if len(blocks) > 1 and (over := hypotheses.won_back(part)) is not None:
        won.append(_share("all models", over, sum(len(values[0]) for values in blocks.values())))
    again = third == AGAIN
    return {
        "name": part.name,
        "again": again,
        "third": third,
        "options": next(arm.description for arm in part.campaign.environments if arm.name == third),
        "sentences": wording.between_twins(rows) + wording.sentences(rows),
        "overheads": figure(
            "overheads",
            figures.overheads(_against_native(row for row in mine if row["reference"] == reference), simulated),
            "Overhead of baseline and " + ("baseline again" if again else "optimised") + " beside native",
            "The same blocks, the same days.",
            "no comparison has a size yet",
        ),
        "table": _comparisons(mine),
        "won": won,
        "won_figure": figure(
            "won-back",
            figures.won_back([row for row in won if row["low"] is not None], simulated),
            "Share of the overhead won back",
            "Fieller's interval from complete blocks; grey: the predicted 60 to 80 %.",
            "no overhead can be told from zero, so no share of one has an interval",
        ),
    }


def _share(model: str, found: Reduction, blocks: int) -> dict[str, Any]:
    if found.point is None or found.low is None or found.high is None:
        point = low = high = None
        text, interval = "–", "none: the baseline's overhead cannot be told from zero"
    else:
        point, low, high = 100 * found.point, 100 * found.low, 100 * found.high
        text, interval = f"{point:.0f} %", f"{low:.0f} to {high:.0f} %"
    return {
        "model": model,
        "blocks": blocks,
        "point": point,
        "low": low,
        "high": high,
        "text": text,
        "interval": interval,
        "prediction": against_prediction(found.low, found.high),
    }


def figure(name: str, chart: alt.TopLevelMixin | None, title: str, caption: str, absent: str) -> Figure:
    from markupsafe import Markup

    from campaign.report.figures import svg, themed

    if chart is None:
        return Figure(name, title, caption, absent=absent)
    specification = themed(chart)
    # Named by its heading and caption; a mark by itself says nothing.
    return Figure(
        name, title, caption, Markup(svg(specification).replace("<svg ", '<svg aria-hidden="true" ', 1)), specification
    )
