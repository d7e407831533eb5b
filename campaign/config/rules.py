"""What no single key of a campaign is wrong about: keys that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from actors.engines.registry import engines
from actors.environments import registry
from campaign.config import entries, rest, sequential
from campaign.config.entries import MAX_SECONDS
from campaign.config.library import LIBRARY
from campaign.config.schema import Campaign
from campaign.config.words import locate
from campaign.config.yaml_nodes import Node, Problem, either, instead, said

MAX_RUNS = 100_000


def unknown(campaign: Campaign, tree: Node, root: Node) -> Iterator[Problem]:
    """Engines and kinds of environment that nobody registered."""
    if campaign.engine not in engines():
        known = list(engines())
        what = f"must be {either(known)}, got {said(campaign.engine)}"
        yield locate(tree, ("engine",))[0].problem(what, instead(campaign.engine, known, f"Write {either(known)}."))
    kinds = list(registry.kinds())
    for i, environment in enumerate(campaign.environments):
        if environment.kind not in kinds:
            what = f"must be {either(kinds)}, got {said(environment.kind)}"
            yield locate(tree, ("environments", i, "kind"))[0].problem(
                what, instead(environment.kind, kinds, f"Write {either(kinds)}.")
            )


def contradictions(campaign: Campaign, tree: Node, root: Node) -> Iterator[Problem]:
    """``tree`` is what was resolved, ``root`` the campaign's own file."""

    def at(*loc: str | int) -> Node:
        return locate(tree, loc)[0]

    for kind in LIBRARY:
        yield from _twice(kind, [item.name for item in getattr(campaign, kind)], root, tree)
    names = [environment.name for environment in campaign.environments]
    if campaign.reference not in names:
        what = f"'{campaign.reference}' is not among the environments"
        yield at("reference").problem(what, instead(campaign.reference, names, f"Name one of {', '.join(names)}."))
    yield from _roles(campaign, at, names)
    yield from _counts(campaign, at)
    for i, model in enumerate(campaign.models):
        yield from entries.model(campaign, model, at("models", i), _mention(root, "models", i))
    for i, environment in enumerate(campaign.environments):
        yield from entries.environment(campaign, environment, at("environments", i), _mention(root, "environments", i))
    for i, workload in enumerate(campaign.workloads):
        yield from entries.workload(workload, at("workloads", i))
    yield from _gate(campaign, at)
    cells = [(model.name, arm.name) for model in campaign.models for arm in campaign.environments]
    yield from rest.contradictions(campaign.rest, at, cells)
    yield from sequential.contradictions(
        campaign.sequential, at, repetitions=campaign.repetitions, outliers=campaign.outliers, phase=campaign.phase,
        arms=len(campaign.environments), units=len(campaign.units), margin_pct=campaign.margin_pct,
    )  # fmt: skip
    yield from entries.image(campaign.image, at("image"))
    if len(set(campaign.units)) != len(campaign.units):
        yield at("units").problem("names a unit twice", "Name each once.")
    if campaign.screen is not None:
        yield at("screen").problem("is a key of a phase", "Write a study with `phases:` (docs/study.md).")


def _mention(root: Node, kind: str, index: int) -> Node:
    """Where the campaign file itself names it."""
    return locate(root, (kind, index))[0]


def _twice(kind: str, names: list[str], root: Node, tree: Node) -> Iterator[Problem]:
    for i, name in enumerate(names):
        if name in names[:i]:
            first = _mention(root, kind, names.index(name))
            what = f"'{name}' stands twice, first in line {first.line}: two cells would have one name"
            yield _mention(root, kind, i).problem(what, "Take one out, or define a copy under another name.")


def _roles(campaign: Campaign, at: Callable[..., Node], names: list[str]) -> Iterator[Problem]:
    """What arms are there for is declared, and nothing is read from what they are called."""
    baseline = campaign.baseline
    if baseline is None:
        if campaign.options:
            yield at("options").problem("of no baseline", f"Add `baseline: {_other(names, campaign)}`.")
        elif campaign.phase != "baseline":
            what = f"{campaign.phase} judges options against a baseline, and none is declared"
            yield at("phase").problem(what, f"Add `baseline: {_other(names, campaign)}`, or the arm as it is shipped.")
        return
    for key, named in (("baseline", (baseline,)), ("options", campaign.options)):
        for name in named:
            if name not in names:
                what = f"'{name}' is not among the environments"
                yield at(key).problem(what, instead(name, names, f"Name one of {', '.join(names)}."))
    if baseline == campaign.reference:
        what = f"'{baseline}' is the reference already, with which the baseline is compared"
        yield at("baseline").problem(what, "Name another environment for one of the two.")
    if twice := sorted({baseline, campaign.reference} & set(campaign.options)):
        what = f"'{twice[0]}' is the {'baseline' if twice[0] == baseline else 'reference'}, and no option of it"
        yield at("options").problem(what, "Take it out.")


def _other(names: list[str], campaign: Campaign) -> str:
    return next((name for name in names if name not in (campaign.reference, *campaign.options)), names[0])


def _counts(campaign: Campaign, at: Callable[..., Node]) -> Iterator[Problem]:
    models = [model.name for model in campaign.models]
    for name in campaign.repetitions:
        if name not in models:
            what = f"'{name}' is not among the models"
            yield at("repetitions", name).problem(what, instead(name, models, f"Models are {', '.join(models)}."))
    for name in campaign.left_out:
        if name in models:
            yield at("left_out", name).problem(f"'{name}' is among the models", "Take it out of one of the two.")
    if missing := [name for name in models if name not in campaign.repetitions]:
        what = f"says nothing of {', '.join(missing)}"
        yield at("repetitions").problem(what, f"Add `{missing[0]}: 30`, or write one number for all.")
    if campaign.runs > MAX_RUNS:
        what = f"makes {campaign.runs} runs, more than {MAX_RUNS}"
        yield at("repetitions").problem(what, "Use fewer repetitions, models, environments or workloads.")


def _gate(campaign: Campaign, at: Callable[..., Node]) -> Iterator[Problem]:
    gate = campaign.gate
    for name in ("cooldown_s", "dwell_s", "poll_s", "timeout_s"):
        if getattr(gate, name) > MAX_SECONDS:
            yield at("gate", name).problem("is more than 30 days", "Use fewer seconds.")
    if gate.floor_c is not None and gate.ceiling_c is not None and gate.floor_c >= gate.ceiling_c:
        what = f"must lie below ceiling_c, got {gate.floor_c:g} and {gate.ceiling_c:g}"
        yield at("gate", "floor_c").problem(what, "Lower the floor, or raise the ceiling.")
    for name in ("dwell_s", "poll_s"):
        if getattr(gate, name) >= gate.timeout_s:
            what = f"{name} of {getattr(gate, name):g} s is not below timeout_s of {gate.timeout_s:g} s"
            yield at("gate", name).problem(what, "The gate could never open: lower it, or raise timeout_s.")
