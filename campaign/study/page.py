"""A study's report: one self-contained page over its four phases, for any state of the study from its first minute on.

What is claimed of a phase comes from the same rows as that phase's own report, decisions from the study's journal,
hypotheses from ``hypotheses``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from actors.files.publish import publish
from campaign.analysis import cache, views
from campaign.record import journal
from campaign.report import noise, wording
from campaign.report.page import frame
from campaign.report.page.frame import Head, Shown
from campaign.study import hypotheses, record
from campaign.study.config import AGAIN, OPTIMIZED
from campaign.study.hypotheses import Part
from campaign.study.page_of_phases import Figure, of_baseline, of_combination, of_screening, of_validation
from campaign.study.wording import chosen_words, most_words

if TYPE_CHECKING:
    import duckdb

TEMPLATES = Path(__file__).parent / "templates"
FOOTER = "Every figure on this page comes from the phases' own folders: <code>campaign sql {}</code> opens their views."
ASKED = {
    "baseline": "does Docker cost anything?",
    "screening": "which options could win something back?",
    "combination": "do the best of them help together?",
    "validation": "is it so for every model, on fresh runs?",
}
QUESTIONS = {kind: question[0].upper() + question[1:] for kind, question in ASKED.items()}


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
    opened = {kind: cache.connect(part.folder) for kind, part in known.items() if kind in ("baseline", "validation")}
    rows = {kind: cache.rows(con) for kind, con in opened.items()}
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
        "headline": _headline(rows, opened, known, decisions, kinds),
        "answers": answers,
        "flow": [_box(phase, folder, state, known) for phase in about["phases"]],
        "baseline": of_baseline(known.get("baseline"), rows.get("baseline", []), simulated),
        "screening": of_screening(known.get("screening"), decisions.get("combination", {}), simulated),
        "combination": of_combination(
            known.get("combination"),
            decisions.get("validation", {}),
            decisions.get("combination", {}),
            state,
            kinds,
            simulated,
        ),
        "validation": of_validation(known.get("validation"), rows.get("validation", []), simulated),
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
    opened: Mapping[str, duckdb.DuckDBPyConnection],
    known: Mapping[str, Part],
    decisions: Mapping[str, Any],
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
            loud = noise.told(opened[kind], mine)
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
    if (last := known.get("validation")) is not None and (third := hypotheses.trio(last)[2]) != AGAIN:
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
