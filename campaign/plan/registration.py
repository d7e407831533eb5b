"""Pre-registration: what is asked, how it will be decided and what will not count, in one file with one hash,
before the first run.

The file is canonical JSON without a time in it: the same config, code and number of units give the same bytes, so that
anybody can make it again. When it was written can only be shown by others: the person has its hash signed or stamped.
The campaign takes the file in before its first measured run and journals the hash; the report states it with every
deviation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from actors.heat import CEILING_C
from campaign.analysis import looks
from campaign.analysis.margin import margin_of
from campaign.errors import CampaignError
from campaign.record import journal, untrusted
from campaign.record.drift import changes

if TYPE_CHECKING:
    from campaign.config.schema import Campaign

NAME = "registration.json"
FORMAT = "campaign-registration/1"
LIMIT_BYTES = 16 * 2**20
PARTS = {
    "format": str,
    "campaign": str,
    "config": dict,
    "config_hash": str,
    "plan_hash": str,
    "units": int,
    "code": dict,
    "families": dict,
    "deciding_rule": dict,
}
"""What a registration must hold to be read."""


class NotRegistered(CampaignError):
    """There is no registration to take in. The message is for the person."""


def document(campaign: Campaign, units: int = 1) -> dict[str, Any]:
    """The registration of a campaign that ``units`` units share."""
    from campaign.analysis.statistics.contrasts import Roles, plan_contrasts
    from campaign.analysis.statistics.metrics import known
    from campaign.plan.design import plan, plan_hash
    from campaign.record import provenance

    runs = plan(campaign, lanes=units)
    arms = [arm.name for arm in campaign.environments]
    arms = [campaign.reference, *(arm for arm in arms if arm != campaign.reference)]
    roles = {name: fact for name, fact in known().items() if fact.label is not None}
    confirmatory = sorted(name for name, fact in roles.items() if fact.role == "confirmatory")
    derived = sorted(name for name, fact in roles.items() if fact.role == "derived")
    margin = margin_of(campaign.margin_pct)
    cells = len(campaign.models) * len(campaign.workloads)
    pairs = cells * (len(arms) - 1)
    return {
        "format": FORMAT,
        "campaign": campaign.name,
        "phase": campaign.phase,
        "seed": campaign.seed,
        "units": units,
        "runs": len(runs),
        "config_hash": campaign.config_hash,
        "plan_hash": plan_hash(runs),
        "code": {"digest": host.code_digest(), "git_commit": provenance.git()["git_commit"]},
        "questions": [
            {
                "treatment": contrast.treatment,
                "reference": contrast.reference,
                "kind": contrast.kind,
                "models": [model.name for model in campaign.models],
                "workloads": [workload.name for workload in campaign.workloads],
            }
            for contrast in plan_contrasts(
                campaign.phase, arms, Roles(campaign.reference, campaign.baseline, campaign.options)
            )
        ],
        "directions": {name: roles[name].better for name in (*confirmatory, *derived)},
        "margins_pct": dict.fromkeys((*confirmatory, *derived), margin.pct),
        "margin_declared": margin.declared,
        "families": {
            "F_doc": {"metrics": confirmatory, "m": len(confirmatory) * pairs, "adjustment": "holm"},
            "F_primary5": {
                "metrics": [*confirmatory, *derived],
                "m": (len(confirmatory) + len(derived)) * pairs,
                "adjustment": "holm",
            },
            "secondary": {"metrics": "all others", "m": None, "adjustment": "benjamini-hochberg"},
        },
        "exclusion": {
            "acceptance": campaign.acceptance.model_dump(mode="json"),
            "attempts_max": campaign.attempts_max,
            "outliers": campaign.outliers,
            "analysis_set": "protocol: of each run the accepted attempt with the lowest number that was not "
            "throttled and, where both arms' start temperatures were read, began below the ceiling; "
            "criteria never look at the metric",
        },
        **(
            {}
            if (planned := looks.planned(campaign.model_dump(mode="json"))) is None
            else {"sequential": planned.design.settings()}
        ),
        "deciding_rule": deciding_rule(),
        "config": campaign.published(),
    }


def deciding_rule() -> dict[str, Any]:
    """The rule of this installation (``docs/statistics.md``), as figures and words."""
    from campaign.analysis.statistics import claims, compare, deciding, order, units

    return {
        "alpha": 0.05,
        "test": (
            "paired t over complete blocks of interleaved arms, else Welch's t; each side must pass also with "
            "the t corrected for skewness"
        ),
        "blocks_for_paired": compare.BLOCKS_FOR_HEADLINE,
        "unseen_runs_difference": deciding.UNSEEN_DIFFERENCE,
        "unseen_runs_equivalence": deciding.UNSEEN_EQUIVALENCE,
        "most_resemblance_of_neighbours": deciding.MOST_RESEMBLANCE,
        "runs_per_arm_min": claims.MINIMUM_N,
        "runs_per_stretch_max": order.RUNS_PER_STRETCH,
        "arm_time_correlation_max": order.IMBALANCED_FROM,
        "start_ceiling_c": CEILING_C,
        "units_for_others_min": units.FEWEST_UNITS,
        "equivalence": "two one-sided tests at 1/(1 + margin) and 1 + margin",
    }


def canonical(registered: dict[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys, without spaces, and a newline at the end."""
    return json.dumps(registered, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def place_beside(folder: Path) -> Path:
    """Where the registration of a campaign lies until its results folder takes it in."""
    return folder.with_name(f"{folder.name}.{NAME}")


def read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """A registration. Raises :class:`NotRegistered` where the file is none."""
    again = "Write it again with `campaign register`, or take the file away."
    try:
        data = untrusted.read_bytes(path, LIMIT_BYTES)
        registered = json.loads(data)
    except (OSError, untrusted.Unreadable, ValueError, RecursionError) as problem:
        raise NotRegistered(f"{path}: no registration ({problem}). {again}") from None
    if not isinstance(registered, dict) or registered.get("format") != FORMAT:
        raise NotRegistered(f"{path}: no registration (its `format` is not {FORMAT}). {again}")
    if wrong := [name for name, kind in PARTS.items() if not isinstance(registered.get(name), kind)]:
        raise NotRegistered(f"{path}: no registration (`{wrong[0]}` is missing or of another kind). {again}")
    return data, registered


@dataclass(frozen=True)
class Stated:
    """What a report says of a registration. ``problem`` is why it cannot be relied upon; None where it can."""

    sha256: str
    deviations: list[str]
    problem: str | None = None

    def sentences(self) -> list[str]:
        if self.problem is not None:
            return [f"A registration with SHA-256 {self.sha256} lies in the folder and shows nothing: {self.problem}."]
        first = (
            f"Registered before the first measured run (SHA-256 {self.sha256}, in the journal's chain; its date is "
            "that of the signature or stamp that others gave this hash)."
        )
        count = len(self.deviations)
        if not count:
            return [first, "No deviation from the registration."]
        return [
            first,
            f"{count} deviation{'s' if count > 1 else ''} from the registration: {'; '.join(self.deviations)}.",
        ]


def state(results: Path) -> Stated | None:
    """The registration in a results folder and every deviation from it; None where there is none."""
    path = results / NAME
    if not path.exists():
        return None
    try:
        data, registered = read(path)
        info = json.loads(untrusted.read_bytes(results / "campaign.json"))
        events, _, _ = journal.read(results / "journal.jsonl")
    except NotRegistered as problem:
        return Stated("unknown", [], str(problem).rstrip("."))
    except (OSError, ValueError, untrusted.Unreadable, journal.JournalError) as problem:
        return Stated("unknown", [], f"the campaign's files cannot be read ({problem})")
    digest = sha256(data)
    taken = [event for event in events if event["event"] == "registered"]
    if not taken or taken[0].get("sha256") != digest:
        why = "the journal does not know it" if not taken else "the journal knows one with another hash"
        return Stated(digest, [], why)
    if any(event["event"] == "dispatched" and event["seq"] < taken[0]["seq"] for event in events):
        return Stated(digest, [], "it was taken in after the first measured run had begun")
    try:
        found = [untrusted.plain(line) for line in deviations(registered, info, events)]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as problem:
        return Stated(digest, [], f"it cannot be held against the campaign's files ({problem!r})")
    return Stated(digest, found)


def deviations(registered: dict[str, Any], info: dict[str, Any], events: list[dict[str, Any]]) -> list[str]:
    """How the campaign of ``campaign.json`` and its journal differ from what was registered, a line each."""
    found = [f"config: {line}" for line in changes(registered["config"], info.get("config"))]
    lanes = len(info.get("lanes") or ())
    if registered["units"] != lanes:
        found.append(f"units: registered for {registered['units']}, carried out on {lanes}")
    elif registered["plan_hash"] != info.get("plan_hash") and not found:
        found.append("plan: another one follows from the same config")
    digests = registered["code"].get("digest"), (info.get("code") or {}).get("digest")
    if digests[0] != digests[1]:
        found.append(f"code: registered with {_short(digests[0])}, begun with {_short(digests[1])}")
    for event in events:
        if event["event"] == "override":
            found += [f"accepted during the campaign: {line}" for line in event["difference"]]
        elif event["event"] == "joined":
            found.append(f"units: {event['unit']} joined after the beginning")
        elif event["event"] == "requeued":
            found.append(f"block {event['block']} moved from {event['from']} to {event['to']}")
        elif event["event"] == "reopened" and "campaign retry" in str(event.get("reason")):
            found.append(f"more attempts than registered: {event['run_id']}, {event['reason']}")
    folded = journal.fold(events)
    found += [f"left out: {cell} ({why})" for cell, why in folded.left_out.items()]
    given_up = sorted(run_id for run_id, run in folded.runs.items() if run.exhausted and run.accepted is None)
    found += [f"given up: {run_id}" for run_id in given_up]
    found += [f"deciding rule: {line}" for line in changes(registered["deciding_rule"], deciding_rule())]
    if digests[0] != (now := host.code_digest()):
        found.append(f"analysis: by code {_short(now)}, registered with {_short(digests[0])}")
    return found


def _short(digest: Any) -> str:
    return str(digest)[:12]
