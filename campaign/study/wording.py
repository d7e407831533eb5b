"""Decisions of a study in sentences: at the terminal, in ``campaign status`` and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from campaign.study.outlook import GIVES_AWAY, why_never
from campaign.study.record import PhaseState

Candidate = Mapping[str, Any]


def decision_lines(phase: str, state: PhaseState) -> Iterator[str]:
    """What was decided for a phase, with the evidence."""
    evidence = (state.decision or {}).get("evidence", {})
    if "models" in evidence:
        about = evidence["models"]
        yield (
            f"{phase}: representative models are {', '.join(about['chosen'])}: {about['rule']}; ran: "
            f"{len(about['ran'])} ({about['of']})"
        )
    if missing := evidence.get("models_that_did_not_run"):
        yield f"{phase}: without {', '.join(missing)}, which did not run in every arm before"
    for name, why in evidence.get("refused", {}).items():
        yield f"{phase}: without {name}, which this host refuses: {why}"
    if "candidates" in evidence:
        yield from _options(phase, evidence)
    for event in state.overrides:
        yield f"{phase}: a person decided {chosen_words(event['choice'])} instead: {event['reason']}"


def chosen_words(choice: Mapping[str, Any]) -> str:
    """A choice in words."""
    parts = []
    if choice.get("models") is not None:
        parts.append(f"models {', '.join(choice['models'])}")
    if choice.get("options") is not None:
        parts.append(", ".join(choice["options"]) or "no option")
    return "; ".join(parts) or "as the file says"


def _options(phase: str, evidence: Mapping[str, Any]) -> Iterator[str]:
    chosen = evidence["chosen"]
    source = evidence["from"]
    if not chosen and "was skipped" in evidence.get("note", ""):
        yield f"{phase}: the baseline once more (A/A), since {evidence['note']}."
    elif not chosen:
        yield f"{phase}: no option was shown to help by {source}. {most_words(evidence)}"
    else:
        yield f"{phase}: {', '.join(chosen)}, by what {source} showed ({evidence.get('judged_by', '')})."
    if why := evidence.get("incompatible"):
        yield f"{phase}: not together: {why}"
    for candidate in evidence["candidates"]:
        yield f"  {candidate_line(candidate)}"
    for flag in evidence.get("flags", []):
        yield f"  note: {flag_words(flag)}"


def most_words(evidence: Mapping[str, Any]) -> str:
    """What an option could still win back where none was shown to:
    an absence that was not looked at closely is no result."""
    open_ = [it for it in evidence.get("candidates", ()) if not it["never"]]
    highs = [it["high_pct"] for it in open_ if it["high_pct"] is not None]
    if not highs or len(highs) < len(open_):
        return "Too little ran to say what they could still win back."
    most, margin = max(highs), evidence["margin_pct"]
    if most <= margin:
        return (
            f"None can win back more than {signed(max(most, 0.0))} (all together 95 %), which is within the "
            f"margin of {margin:g} %: that is a result."
        )
    return (
        f"Up to {signed(most)} is compatible with what ran (all together 95 %), so that nothing is ruled out "
        f"within the margin of {margin:g} %."
    )


def candidate_line(candidate: Candidate) -> str:
    """One candidate: raw and shrunken change, and why it is not carried on."""
    size = "not estimated"
    if candidate["raw_pct"] is not None:
        size = f"{signed(candidate['raw_pct'])}"
        if candidate["low_pct"] is not None:
            size += f" [{signed(candidate['low_pct'])}, {signed(candidate['high_pct'])}]"
        if candidate["shrunken_pct"] is not None:
            size += f", shrunken {signed(candidate['shrunken_pct'])}"
    why = "; ".join(reason_words(reason) for reason in candidate["reasons"]) or "candidate"
    security = f"; {security_words(candidate)}" if candidate["privilege"] else ""
    return f"{candidate['name']}: {size}: {why}{security}"


def signed(percent: float) -> str:
    return f"{percent:+.2f} %".replace("-", "−")


def security_words(candidate: Candidate) -> str:
    """What an option gives away, and whether there is anything for it."""
    gives = GIVES_AWAY.get(candidate["privilege"], "more than one option alone" if candidate["privilege"] > 1 else "")
    only = ", for nothing that was found: it matters for security only" if candidate["security_only"] else ""
    return f"gives away {gives}{only}"


REASONS = {
    "not_significant": "no effect found",
    "harmful_direction": "points the wrong way",
    "not_estimable": "cannot be estimated from what ran",
    "not_judged": "too few runs to judge",
}
FLAGS = {"interactions_unresolved": "options may act upon each other, and the fold-over that would tell was not run"}


def reason_words(reason: str) -> str:
    if reason.startswith("harm_possible:"):
        return f"harm beyond the margin is possible on {reason.partition(':')[2]}"
    return REASONS.get(reason) or f"never chosen ({why_never(reason)})"


def flag_words(flag: str) -> str:
    return FLAGS.get(flag, flag.replace("_", " "))
