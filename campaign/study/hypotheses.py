"""The methodology's three hypotheses, answered by name from a study's own phases.

A screen answers nothing: where only the screen speaks to a hypothesis, the answer says so. ``supported`` needs the
whole interval inside the prediction, ``refuted`` an interval disjoint from it; else ``compatible``, or ``undecided``
where nothing can be told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided
from campaign.analysis.statistics.factorial import Groups
from campaign.analysis.statistics.reduction import Reduction, against_prediction, pooled_reduction
from campaign.analysis.statistics.screening import at_repetitions
from campaign.config.schema import Campaign
from campaign.record.store import Store
from campaign.study.config import AGAIN, OPTIMIZED
from campaign.study.decision import samples
from campaign.study.wording import signed

FEWEST = 3


@dataclass(frozen=True)
class Answer:
    """One hypothesis: the verdict's word, the sentence behind it, and the phase whose runs it rests on."""

    name: str
    text: str
    verdict: str
    why: str
    of: str


@dataclass(frozen=True)
class Part:
    """A phase that has runs."""

    name: str
    campaign: Campaign
    folder: Path


def parts(folder: Path, names: Sequence[str]) -> dict[str, Part]:
    """By kind of phase; only those with a results folder."""
    found: dict[str, Part] = {}
    for name in names:
        store = Store(folder / name)
        if store.exists():
            campaign = Campaign.model_validate_json(json.dumps(store.info()["config"]))
            found[campaign.phase] = Part(name, campaign, folder / name)
    return found


def answers(known: Mapping[str, Part], decisions: Mapping[str, Mapping[str, Any]]) -> list[Answer]:
    """All three. ``decisions`` are the evidence of each kind of phase."""
    return [_shared_memory(known, decisions), _pinning(known), _combination(known)]


# --- 1: shared memory -------------------------------------------------------------------------------------------------

ONE = "Hypothesis 1: --shm-size=32g significantly reduces overhead (predicted: by 30 to 50 %)"
INERT = "Under --ipc=host, which the baseline has, Docker never applies --shm-size: as written it can change nothing."


def _shared_memory(known: Mapping[str, Part], decisions: Mapping[str, Mapping[str, Any]]) -> Answer:
    part = known.get("screening")
    evidence = decisions.get("combination", {})
    own = [
        it
        for it in evidence.get("candidates", ())
        if part is not None and gives_shm(part.campaign, it["option"], it["name"])
    ]
    if part is None or not own:
        return Answer(
            "1",
            ONE,
            "not tested",
            f"{INERT} No option of this study gives a container a larger /dev/shm of its own.",
            part.name if part else "",
        )
    said = []
    for it in own:
        if it["raw_pct"] is None:
            said.append(f"{it['name']}: not estimated")
            continue
        limits = f" [{signed(it['low_pct'])}, {signed(it['high_pct'])}]" if it["low_pct"] is not None else ""
        said.append(f"{it['name']} with a private IPC namespace: {signed(it['raw_pct'])}{limits} of throughput")
    found = any(it["p"] is not None and it["p"] < 0.05 and it["raw_pct"] > 0 for it in own)
    verdict = "undecided" if found else "not supported"
    rest = (
        "A screen chooses and confirms nothing: this needs fresh runs."
        if found
        else "The screen found no effect; it is not confirmed either way by fresh runs."
    )
    return Answer("1", ONE, verdict, f"{INERT} {'; '.join(said)}. {rest}", part.name)


def gives_shm(campaign: Campaign, option: str, factor: str) -> bool:
    """Whether a factor or option gives its arm an shm_size that Docker applies."""
    screen = campaign.screen
    if screen is None:
        return False
    if screen.design == "one_at_a_time":
        arm = campaign.environment(option)
        return arm.shm_size is not None and arm.ipc != "host"
    place = next((i for i, it in enumerate(screen.factors) if it.name == factor), None)
    if place is None:
        return False
    own = screen.factors[place]
    parent = next((i for i, it in enumerate(screen.factors) if it.name == own.nested_in), None)
    high = {arm for arm, row in screen.rows.items() if row[place] > 0 and (parent is None or row[parent] > 0)}
    return high == {arm for arm in screen.rows if campaign.environment(arm).shm_size is not None}


# --- 2: pinning -------------------------------------------------------------------------------------------------------

TWO = "Hypothesis 2: CPU pinning improves consistency (predicted: lower standard deviation, no mean improvement)"


def _pinning(known: Mapping[str, Part]) -> Answer:
    for kind in ("combination", "screening"):
        part = known.get(kind)
        if part is None:
            continue
        pinned = {arm.name for arm in part.campaign.environments if arm.cpuset is not None}
        plain = {arm.name for arm in part.campaign.environments if arm.kind == "docker" and arm.cpuset is None}
        screen = part.campaign.screen
        if kind == "combination":  # one option against the baseline, nothing else between them
            pinned = {name for name in pinned if name != OPTIMIZED}
            plain &= {part.campaign.baseline}
        elif screen is not None and screen.design == "one_at_a_time":
            plain &= {screen.baseline}
        if pinned and plain:
            return _spread(part, pinned, plain)
    last = known.get("screening")
    return Answer("2", TWO, "not tested", "No arm of this study was pinned to CPUs.", last.name if last else "")


def _spread(part: Part, pinned: set[str], plain: set[str]) -> Answer:
    groups = samples(part.folder)
    ratio, low, high, p = spread_ratio(groups, pinned, plain)
    of = part.name
    if ratio is None:
        return Answer("2", TWO, "undecided", "Too few runs to compare the spread of arms.", of)
    fresh = (
        ""
        if part.campaign.phase == "combination"
        else " The screen's runs confirm nothing; pinning did not go on to fresh runs."
    )
    why = (
        f"Standard deviation of throughput with pinning over without: {ratio:.2f} (95 % interval {low:.2f} to "
        f"{high:.2f}, p = {p:.2g}), over {len(groups)} models.{fresh}"
    )
    if high is not None and high < 1:
        return Answer("2", TWO, "supported" if not fresh else "compatible", why, of)
    if low is not None and low > 1:
        return Answer("2", TWO, "refuted" if not fresh else "undecided", why, of)
    return Answer("2", TWO, "undecided", why + " The interval holds 1.", of)


def spread_ratio(
    groups: Groups, treated: set[str], plain: set[str]
) -> tuple[float | None, float | None, float | None, float | None]:
    """Ratio of run-to-run standard deviations (log scale), 95 % limits and p: log absolute deviations from each arm's
    median compared by Welch's t (after Brown and Forsythe), models put on one scale."""
    high: list[float] = []
    base: list[float] = []
    for arms in groups.values():
        mine = {name: _deviations(arms, name) for name in (treated | plain) & set(arms)}
        up = [x for name in sorted(treated & set(mine)) for x in mine[name]]
        down = [x for name in sorted(plain & set(mine)) for x in mine[name]]
        if len(up) < FEWEST or len(down) < FEWEST:
            continue
        level = float(np.mean(down))
        high += [x - level for x in up]
        base += [x - level for x in down]
    if min(len(high), len(base)) < 2 * FEWEST:
        return None, None, None, None
    x, y = np.array(high), np.array(base)
    vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    se = math.sqrt(vx + vy)
    if se <= 0:
        return None, None, None, None
    df = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    diff = float(x.mean() - y.mean())
    reach = t_quantile(0.975, df) * se
    return math.exp(diff), math.exp(diff - reach), math.exp(diff + reach), t_two_sided(diff / se, df)


def _deviations(arms: Mapping[str, Any], name: str) -> list[float]:
    """ln |ln y - median| of an arm's runs; a run that is the median itself tells nothing."""
    y = np.log(arms[name].value)
    away = np.abs(y - np.median(y))
    return [math.log(d) for d in away if d > 0]


# --- 3: the combination -----------------------------------------------------------------------------------------------

THREE = (
    "Hypothesis 3: combined optimisations approach native performance (predicted: "
    "60 to 80 % less overhead than the baseline)"
)


def _combination(known: Mapping[str, Part]) -> Answer:
    part = known.get("validation")
    if part is None:
        return Answer("3", THREE, "not tested", "The validation has not run.", "")
    arms = [arm.name for arm in part.campaign.environments]
    if AGAIN in arms:
        why = (
            "No option that was tried was shown to win anything back, so nothing was combined: the third arm of "
            "the validation is the baseline again."
        )
        return Answer("3", THREE, "not supported", why, part.name)
    won = won_back(part)
    if won is None:
        return Answer("3", THREE, "undecided", "Too few complete blocks.", part.name)
    if won.point is None or won.low is None or won.high is None:
        return Answer(
            "3",
            THREE,
            "undecided",
            "The overhead of the baseline cannot be told from zero, so a share of it has no meaning; "
            "see the differences themselves.",
            part.name,
        )
    verdict = against_prediction(won.low, won.high)
    why = (
        f"{100 * won.point:.0f} % of the overhead is won back over all models (95 % interval "
        f"{100 * won.low:.0f} to {100 * won.high:.0f} %, Fieller)."
    )
    return Answer("3", THREE, verdict, why, part.name)


def trio(part: Part) -> tuple[str, str, str]:
    """Reference, baseline and third arm of the validation."""
    names = [arm.name for arm in part.campaign.environments]
    third = next(name for name in names if name in (OPTIMIZED, AGAIN))
    baseline = next(name for name in names if name not in (part.campaign.reference, third))
    return part.campaign.reference, baseline, third


def complete(groups: Groups, arms: Sequence[str]) -> dict[str, tuple[FloatArray, ...]]:
    """Model to the values of each arm in blocks that have all of them; models with three such blocks at least."""
    found = {}
    for model, samples_ in groups.items():
        if any(arm not in samples_ for arm in arms):
            continue
        shared = samples_[arms[0]].repetition
        for arm in arms[1:]:
            shared = np.intersect1d(shared, samples_[arm].repetition)
        if len(shared) >= FEWEST:
            found[model] = tuple(at_repetitions(samples_[arm], np.sort(shared)) for arm in arms)
    return found


def won_back(part: Part) -> Reduction | None:
    """Share of the baseline's overhead that the third arm wins back, over all models on the log scale;
    None without complete blocks."""
    blocks = complete(samples(part.folder), trio(part))
    if not blocks:
        return None
    return pooled_reduction([tuple(np.log(x) for x in values) for values in blocks.values()])
