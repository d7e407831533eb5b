"""A study's report: one self-contained page over its four phases, for any state of the study from its first minute on.

What is claimed of a phase comes from the same rows as that phase's own report, decisions from the study's journal,
hypotheses from ``hypotheses``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from actors.files.publish import publish
from campaign.analysis import cache, metrics, views, words
from campaign.analysis.margin import margin_of
from campaign.analysis.rows import screen_contrasts
from campaign.analysis.statistics.reduction import Reduction, against_prediction, paired_reduction
from campaign.record import journal
from campaign.report import noise, wording
from campaign.report.page import frame
from campaign.report.page.frame import Head, Shown
from campaign.study import figures, hypotheses, record
from campaign.study.config import AGAIN, OPTIMIZED
from campaign.study.decision import samples, screened
from campaign.study.hypotheses import Part
from campaign.study.wording import (
    chosen_words,
    flag_words,
    most_words,
    reason_words,
    security_words,
    signed,
)

if TYPE_CHECKING:
    import altair as alt

TEMPLATES = Path(__file__).parent / "templates"
FOOTER = "Every figure on this page comes from the phases' own folders: <code>campaign sql {}</code> opens their views."
ASKED = {
    "baseline": "does Docker cost anything?",
    "screening": "which options could win something back?",
    "combination": "do the best of them help together?",
    "validation": "is it so for every model, on fresh runs?",
}
QUESTIONS = {kind: question[0].upper() + question[1:] for kind, question in ASKED.items()}


@dataclass(frozen=True)
class Figure:
    """A figure of the page as SVG and as Vega-Lite specification, or why there is none."""

    name: str
    title: str
    caption: str
    svg: Any = None
    specification: Mapping[str, Any] | None = None
    absent: str = ""


def write(folder: Path) -> Path:
    """Write ``report/index.html`` of a study's folder; returns its path."""
    page = render(context(folder))
    path = views.output_folder(folder, "report") / "index.html"
    with publish(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render(shown: Mapping[str, Any]) -> str:
    """The page of a :func:`context`."""
    from markupsafe import Markup

    templates = frame.templates(TEMPLATES, frame.TEMPLATES)
    made = cast("Any", templates.get_template("study.html.j2").module)
    study, names = shown["study"], shown["names"]
    sections = [
        Shown("verdict", "What was found", made.verdict(study, shown["headline"])),
        Shown("phases", "From phase to phase", made.phases("From phase to phase", shown["flow"])),
        Shown("hypotheses", "The hypotheses", made.hypotheses("The hypotheses", shown["answers"])),
    ]
    specifications: dict[str, Any] = {}
    for kind, question in ASKED.items():
        if (its := shown[kind]) is None:
            continue
        title = f"{names[kind]}: {question}"
        drawn = [it for it in its.values() if isinstance(it, Figure) and it.specification is not None]
        sections.append(Shown(kind, title, getattr(made, kind)(title, its), [(it.name, it.title) for it in drawn]))
        specifications |= {it.name: it.specification for it in drawn}
    about = (shown[name] for name in ("folder", "head", "hash", "config", "journal"))
    sections.append(Shown("record", "The record", made.record("The record", *about)))
    head = Head(
        name=study["name"],
        title=f"{study['name']}: the study",
        subtitle=f"a study of {len(shown['flow'])} phases",
        state=study["state"],
        simulated=study["simulated"],
        footer=Markup(FOOTER).format(shown["folder"]),
    )
    return frame.framed(head, sections, specifications, frame.javascript())


def context(folder: Path) -> dict[str, Any]:
    """Everything that the page shows."""
    about = record.facts(folder)
    state = record.fold(record.read(folder))
    names = [phase["name"] for phase in about["phases"]]
    known = hypotheses.parts(folder, names)
    rows = {
        kind: cache.rows(cache.connect(part.folder))
        for kind, part in known.items()
        if kind in ("baseline", "validation")
    }
    kinds = {phase["phase"]: phase["name"] for phase in about["phases"]}
    decisions = {kind: _evidence(state, name) for kind, name in kinds.items()}
    simulated = bool(about.get("simulated"))
    answers = hypotheses.answers(known, decisions)
    return {
        "study": {
            "name": about["study"],
            "description": about["description"],
            "simulated": simulated,
            "state": _state(state, names),
        },
        "headline": _headline(rows, known, decisions, state, kinds),
        "answers": answers,
        "flow": [_box(phase, folder, state, known) for phase in about["phases"]],
        "baseline": _baseline(known.get("baseline"), rows.get("baseline", []), simulated),
        "screening": _screening(known.get("screening"), decisions.get("combination", {}), simulated),
        "combination": _combination(
            known.get("combination"),
            decisions.get("validation", {}),
            decisions.get("combination", {}),
            state,
            kinds,
            simulated,
        ),
        "validation": _validation(known.get("validation"), rows.get("validation", []), simulated),
        "names": kinds,
        "journal": _journal(folder),
        "folder": folder.name,
        "config": Path(about["config"]).name,
        "hash": about["study_hash"],
        "head": _head(folder),
    }


def _evidence(state: record.StudyState, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (state.phase(name).decision or {}).get("evidence", {})
    return found


def _head(folder: Path) -> str:
    events = record.read(folder)
    return (
        f"{len(events)} lines, the last of "
        f"{datetime.fromtimestamp(events[-1]['t_utc_ns'] / 1e9, UTC):%Y-%m-%d %H:%M} UTC"
        if events
        else "empty"
    )


def _state(state: record.StudyState, names: Sequence[str]) -> str:
    if state.completed:
        return "finished"
    done = sum(state.phase(name).ended is not None or state.phase(name).skipped is not None for name in names)
    return f"{done} of {len(names)} phases finished"


# --- the sentences above ----------------------------------------------------------------------------------------------


def _headline(
    rows: Mapping[str, list[wording.Row]],
    known: Mapping[str, Part],
    decisions: Mapping[str, Any],
    state: record.StudyState,
    kinds: Mapping[str, str],
) -> list[str]:
    """What the study found, a sentence for each question; the latest fresh runs speak for a question."""
    said = []
    for kind in ("validation", "baseline"):
        if rows.get(kind):
            part = known[kind]
            arms = {arm.name for arm in part.campaign.environments if arm.name != OPTIMIZED}
            mine = [
                row for row in rows[kind] if row["reference"] == part.campaign.reference and row["treatment"] in arms
            ]
            loud = noise.told(cache.connect(part.folder), mine)
            said += [f"{part.name}: {sentence}" for sentence in (*loud, wording.headline(mine))]
            break
    screened = decisions.get("combination", {})
    if "candidates" in screened:
        chosen = ", ".join(screened["chosen"])
        name = kinds.get("screening", "the screen")
        said.append(
            f"{name}: {chosen} went on to fresh runs."
            if chosen
            else f"{name}: none of {len(screened['candidates'])} options was shown to win anything back. "
            f"{most_words(screened)}"
        )
    if (last := known.get("validation")) is not None:
        third = hypotheses.trio(last)[2]
        mine = [row for row in rows["validation"] if row["treatment"] == third]
        said += [f"{last.name}: {sentence}" for sentence in wording.sentences(mine)]
    return said or ["Nothing can be claimed yet: no phase has an accepted run in two arms."]


# --- the flow ---------------------------------------------------------------------------------------------------------


def _box(phase: Mapping[str, Any], folder: Path, state: record.StudyState, known: Mapping[str, Part]) -> dict[str, Any]:
    name = phase["name"]
    its = state.phase(name)
    box: dict[str, Any] = {
        "name": name,
        "kind": phase["phase"],
        "question": QUESTIONS[phase["phase"]],
        "counts": "",
        "link": None,
    }
    part = known.get(phase["phase"])
    if part is not None:
        store = record.phase_store(folder, name)
        plan = store.plan()
        folded = journal.fold(journal.read(store.journal_path)[0])
        accepted = sum(folded.run(row["run_id"]).accepted is not None for row in plan)
        models, arms = len(part.campaign.models), len(part.campaign.environments)
        box["counts"] = (
            f"{models} model{'s' if models > 1 else ''} × {arms} arms: {accepted} of {len(plan)} runs accepted"
        )
        box["link"] = f"../{name}/report/index.html" if (folder / name / "report" / "index.html").exists() else None
    box["state"] = (
        "finished"
        if its.ended
        else "skipped"
        if its.skipped
        else "running or stopped"
        if its.began
        else "waits for the decision"
        if its.paused
        else "not begun"
    )
    box["why"] = its.skipped or ""
    box["takes"] = (
        []
        if its.choice is None
        else [chosen_words(its.choice.to_json())]
        if (its.choice.models or its.choice.options is not None)
        else []
    )
    box["overridden"] = [f"decided by a person: {event['reason']}" for event in its.overrides]
    return box


# --- the phases -------------------------------------------------------------------------------------------------------


def _baseline(part: Part | None, rows: list[wording.Row], simulated: bool) -> dict[str, Any] | None:
    if part is None:
        return None
    mine = [row for row in rows if row["metric"] == metrics.headline() and row["reference"] == part.campaign.reference]
    return {
        "name": part.name,
        "sentences": wording.between_twins(rows) + wording.sentences(rows),
        "figure": _figure(
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


def _screening(part: Part | None, evidence: Mapping[str, Any], simulated: bool) -> dict[str, Any] | None:
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
        "effects": _figure(
            "screen",
            found,
            "What the screen saw",
            "Circle: raw estimate with its simultaneous 95 % interval; diamond: what is left of it against the "
            f"winner's curse; grey: the margin of ±{margin_of(part.campaign.margin_pct).pct:g} %. Chosen on these "
            "data, confirmed by none of them.",
            "the screen is not finished",
        ),
        "half_normal": _figure(
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


def _combination(
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
        "effects": _figure(
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


def _validation(part: Part | None, rows: list[wording.Row], simulated: bool) -> dict[str, Any] | None:
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
        "overheads": _figure(
            "overheads",
            figures.overheads(_against_native(row for row in mine if row["reference"] == reference), simulated),
            "Overhead of baseline and " + ("baseline again" if again else "optimised") + " beside native",
            "The same blocks, the same days.",
            "no comparison has a size yet",
        ),
        "table": _comparisons(mine),
        "won": won,
        "won_figure": _figure(
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


# --- figures and journal ----------------------------------------------------------------------------------------------


def _figure(name: str, chart: alt.TopLevelMixin | None, title: str, caption: str, absent: str) -> Figure:
    from markupsafe import Markup

    from campaign.report.figures import svg, themed

    if chart is None:
        return Figure(name, title, caption, absent=absent)
    specification = themed(chart)
    # Named by its heading and caption; a mark by itself says nothing.
    return Figure(
        name, title, caption, Markup(svg(specification).replace("<svg ", '<svg aria-hidden="true" ', 1)), specification
    )


def _journal(folder: Path) -> list[dict[str, str]]:
    rows = []
    for event in record.read(folder):
        kind = event["event"]
        told = {
            "decided": f"{chosen_words(event.get('choice', {}))}, by {event.get('by')}",
            "overridden": f"{chosen_words(event.get('choice', {}))}, by a person: {event.get('reason')}",
            "skipped": event.get("reason", ""),
            "accepted": "; ".join(event.get("difference", ())),
            "went_on": f"by {event.get('by')}",
        }.get(kind, "")
        rows.append(
            {
                "at": f"{datetime.fromtimestamp(event['t_utc_ns'] / 1e9, UTC):%Y-%m-%d %H:%M}",
                "phase": event.get("phase", ""),
                "event": kind.replace("_", " "),
                "told": str(told),
            }
        )
    return rows
