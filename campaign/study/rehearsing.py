"""A whole study in virtual time: the same phases, decisions and report on simulated units. An effect is injected into
an option, and into every arm that has it: ``docker-baseline:token_throughput_tok_s:-3`` is what every container loses,
``docker-cpuset-performance:…:2`` what pinning brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.types import Environment
from campaign.config import Campaign
from campaign.record.store import Store
from campaign.rehearsal.injected import NotInjected
from campaign.rehearsal.rehearse import Asked, Rehearsed, rehearse
from campaign.study.conduct import Conductor
from campaign.study.config import Study


@dataclass(frozen=True)
class StudyRehearsed:
    """How it went: the exit code of the study, and each phase that ran."""

    code: int
    phases: dict[str, Rehearsed]

    @property
    def days(self) -> float:
        """Virtual days from the first run to the last."""
        return sum(one.ended_utc_ns - one.began_utc_ns for one in self.phases.values()) / 86_400e9


def rehearse_study(
    study: Study,
    folder: Path,
    effects: Sequence[str],
    asked: Callable[[Campaign, list[str]], Asked],
    *,
    tell: Callable[[str], None] = lambda line: None,
    show: Callable[[Any, int], None] = lambda snapshot, now_ns: None,
    at_work: Callable[[Any], None] = lambda driver: None,
) -> StudyRehearsed:
    """Conduct ``study`` in ``folder`` on simulated units. ``asked`` makes a phase's
    rehearsal of its campaign and the effects of its arms."""
    phases: dict[str, Rehearsed] = {}
    for text in effects:
        _parts(study, text)  # refused before anything is written

    def one(campaign: Campaign, store: Store, *, only_shakedown: bool) -> int:
        if only_shakedown:  # a simulated unit refuses no option
            return 0
        quick = Store(store.root, durable=False)
        quick.lock()
        try:
            last = next(reversed(phases.values()), None)
            done = rehearse(
                campaign,
                quick,
                asked(campaign, of_arms(study, campaign, effects)),
                tell=tell,
                show=show,
                at_work=at_work,
                began_utc_ns=None if last is None else last.ended_utc_ns,
            )
        finally:
            quick.unlock()
        phases[store.root.name] = done
        return 0 if done.completed else 1

    code = Conductor(study, folder, one, "go", tell=tell, simulated=True).run()
    return StudyRehearsed(code, phases)


def of_arms(study: Study, campaign: Campaign, effects: Sequence[str]) -> list[str]:
    """What is injected into the arms of a phase's campaign, by the options that each has."""
    baseline = study.arm(study.baseline())
    found = []
    for text in effects:
        name, rest = _parts(study, text)
        for arm in campaign.environments:
            option = study.arm(name)
            own = arm.name == name or (arm.kind == "docker" == option.kind and has(arm, option, baseline))
            if own:
                found.append(f"{arm.name}:{rest}")
    return found


def _parts(study: Study, text: str) -> tuple[str, str]:
    name, _, rest = text.partition(":")
    if rest.count(":") != 1:
        raise NotInjected(f"--effect {text}: write ARM:METRIC:PERCENT, as docker-baseline:token_throughput_tok_s:-3")
    study.arm(name)  # ConfigError where the library has no such arm
    return name, rest


def has(arm: Environment, option: Environment, baseline: Environment) -> bool:
    """Whether an arm has everything that an option adds to the baseline; the baseline's own are in every container."""
    added = [
        name
        for name in Environment.model_fields
        if name not in ("name", "description") and getattr(option, name) != getattr(baseline, name)
    ]
    return all(getattr(arm, name) == getattr(option, name) for name in added)
