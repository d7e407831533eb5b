"""Carrying a study out: phase after phase, each decided on by the record of those before. What carries a phase out is
given from outside, so that a rehearsal conducts the same study.

Everything is durable before the next step and nothing is decided twice: after a kill at any point the same command goes
on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from campaign.errors import EXIT_INCOMPLETE, EXIT_PAUSED, EXIT_REFUSED, CampaignError, Drift
from campaign.record import journal
from campaign.record.store import Store
from campaign.study import decision as decisions
from campaign.study import record
from campaign.study.asked import Choice, PhaseAsked
from campaign.study.config import Study

ONE_COMMAND = "The same command goes on."
RULE = "the rule"


class StudyError(CampaignError):
    """The study cannot go on."""

    exit_code = EXIT_REFUSED


class CarryOut(Protocol):
    """Carries a campaign out in its results folder as far as it goes; returns an exit code."""

    def __call__(self, campaign: Any, store: Store, *, only_shakedown: bool) -> int: ...


@dataclass
class Conductor:
    """One invocation of ``campaign run`` on a study."""

    study: Study
    folder: Path
    carry_out: CarryOut
    on_decision: Literal["pause", "go"]
    tell: Callable[[str], None] = lambda line: None
    accept_drift: bool = False
    simulated: bool = False

    def run(self, only: str | None = None) -> int:
        """The whole study, or one phase of it; the exit code: 5 where it stopped for a decision."""
        lock = Store(self.folder)
        lock.lock()
        self.journal = None
        try:
            self.journal = record.begin(self.folder, self.study, self.simulated)
            self.state = record.fold(self.journal.events)
            self._check()
            worst = 0
            for phase in self.study.phases if only is None else [self.study.phase(only)]:
                code, go_on = self._phase(phase, alone=only is not None)
                worst = worst or code
                if not go_on:
                    return code
            if only is None and not self.state.completed:
                self._record("completed")
            return worst
        finally:
            if self.journal is not None:
                self.journal.close()
            lock.unlock()

    def _record(self, event: str, **fields: Any) -> None:
        assert self.journal is not None
        record.apply(self.state, self.journal.append(event, **fields))

    def _check(self) -> None:
        """Refuses a file that says something else than the study began with."""
        if self.state.hash == self.study.hash:
            return
        what = (
            "config: the study's file, or a library that it names, "
            f"changed ({self.state.hash[:12]} is now {self.study.hash[:12]})"
        )
        if not self.accept_drift:
            raise Drift([what])
        self._record("accepted", difference=[what], study_hash=self.study.hash)
        self.tell(f"accepted: {what}")

    # --- one phase ------------------------------------------------------------------------------------------

    def _phase(self, phase: PhaseAsked, alone: bool) -> tuple[int, bool]:
        """Exit code, and whether the study goes on."""
        state = self.state.phase(phase.name)
        store = record.phase_store(self.folder, phase.name)
        if state.ended is not None and completed(store):
            return int(state.ended["exit_code"]), True
        if state.choice is None and (paused := self._decide(phase, alone)):
            return paused, False
        if state.paused:
            self._record("went_on", phase=phase.name, by="the command given again")
        assert state.choice is not None
        if phase.phase == "combination" and state.choice.options == ():
            if state.skipped is None:
                reason = "no option was shown to help in the screen: there is nothing to combine"
                self._record("skipped", phase=phase.name, reason=reason)
                self.tell(f"{phase.name} is skipped: {reason}")
            return 0, True
        if phase.phase == "screening":
            self._try_options(phase, store)
        campaign = self.study.campaign(phase.name, state.choice)
        if not state.began or not store.exists():
            self._record("began", phase=phase.name, config_hash=campaign.config_hash)
        self.tell(f"phase {phase.name} ({phase.phase}): {campaign.runs} runs in {store.root}")
        code = self.carry_out(campaign, store, only_shakedown=False)
        if not completed(store):
            return code or EXIT_INCOMPLETE, False
        info = store.info()
        self._record(
            "ended",
            phase=phase.name,
            exit_code=code,
            campaign_id=info["campaign_id"],
            config_hash=info["config_hash"],
            journal=store.head("journal"),
        )
        return code, True

    def _decide(self, phase: PhaseAsked, alone: bool) -> int:
        """Decide a phase by the rule, and journal it; a non-zero exit code where the
        study stops for it to be looked at."""
        choice, evidence = decisions.decide(self.study, phase, self.folder, self.state)
        if choice.options is None and phase.phase in ("combination", "validation"):
            before = self.study.phases[self.study.phases.index(phase) - 1].name
            raise StudyError(
                f"{phase.name}: nothing to choose from, since {before} has not been carried out in {self.folder}. "
                "Run it first, or say what is to be tested: "
                f"campaign decide {self.folder} {phase.name} --option NAME --reason WHY"
            )
        self._record(
            "decided", phase=phase.name, choice=choice.to_json(), by=RULE, evidence=evidence, heads=self._heads()
        )
        if not evidence:
            return 0
        from campaign.study.wording import decision_lines

        for line in decision_lines(phase.name, self.state.phase(phase.name)):
            self.tell(line)
        if self.on_decision == "go" or alone:
            return 0
        self._record("paused", phase=phase.name)
        self.tell(
            f"stopped before {phase.name} for this to be looked at. {ONE_COMMAND} To decide otherwise: campaign "
            f"decide {self.folder} {phase.name} --option NAME … --reason WHY"
        )
        return EXIT_PAUSED

    def _heads(self) -> dict[str, str]:
        """Heads of the journals that a decision rests on."""
        stores = {phase.name: record.phase_store(self.folder, phase.name) for phase in self.study.phases}
        return {name: store.head("journal") for name, store in stores.items() if store.exists()}

    # --- options that this host refuses --------------------------------------------------------------------

    def _try_options(self, phase: PhaseAsked, store: Store) -> None:
        """A dry start of every arm of a screen; an option that this host refuses leaves the design,
        which is made again, before any run."""
        state = self.state.phase(phase.name)
        while True:
            assert state.choice is not None
            campaign = self.study.campaign(phase.name, state.choice)
            if not campaign.shakedown or campaign.screen is None or (store.exists() and store.began()):
                return
            self.carry_out(campaign, store, only_shakedown=True)
            if not store.exists():
                return
            failed = refused(campaign, store)
            if not failed:
                return
            removed = (*state.choice.removed, *failed)
            before = (state.decision or {}).get("evidence", {})
            evidence = before | {"refused": before.get("refused", {}) | failed}
            choice = Choice(state.choice.models, state.choice.options, removed)
            self._record(
                "decided",
                phase=phase.name,
                choice=choice.to_json(),
                by="a dry start of every arm",
                evidence=evidence,
                heads=self._heads(),
            )
            for name, why in failed.items():
                self.tell(f"{name} leaves the screen, this host refuses it: {why}")


def completed(store: Store) -> bool:
    """Whether a phase's results folder says that it is finished."""
    return store.exists() and journal.fold(journal.read(store.journal_path)[0]).completed


def refused(campaign: Any, store: Store) -> dict[str, str]:
    """Factors of a screen to why this host refuses them: every arm that has one failed
    its shakedown with a model that ran without it."""
    tried = journal.fold(journal.read(store.journal_path)[0]).shakedowns.values()
    screen = campaign.screen
    having: dict[str, set[str]] = {}
    for i, factor in enumerate(screen.factors):
        parents = {f.name: k for k, f in enumerate(screen.factors)}
        if screen.design == "one_at_a_time":
            having[factor.name] = {factor.option}
        else:
            parent = None if factor.nested_in is None else parents[factor.nested_in]
            having[factor.name] = {
                arm for arm, row in screen.rows.items() if row[i] > 0 and (parent is None or row[parent] > 0)
            }
    found: dict[str, str] = {}
    for model in dict.fromkeys(event["model"] for event in tried):
        mine = [event for event in tried if event["model"] == model]
        failing = {event["environment"]: event["cause"] for event in mine if not event["passed"]}
        passing = {event["environment"] for event in mine if event["passed"]}
        for name, arms in having.items():
            told = arms & {event["environment"] for event in mine}
            others = passing - arms
            if told and told <= set(failing) and others & {*screen.rows, screen.baseline}:
                found.setdefault(name, next(failing[arm] for arm in sorted(told)))
    return _least(found, having)


def _least(found: dict[str, str], having: dict[str, set[str]]) -> dict[str, str]:
    """Without those whose arms all have another of them too:
    in a small design a factor can fail in another's company only."""
    return {
        name: why
        for name, why in found.items()
        if not any(other != name and having[name] < having[other] for other in found)
    }


def decide_by_person(study: Study, folder: Path, phase: PhaseAsked, choice: Choice, reason: str) -> dict[str, Any]:
    """Journal what a person decides for a phase instead of the rule. Raises StudyError where the phase has begun, or
    the choice makes no campaign."""
    if not reason.strip():
        raise StudyError(f"{phase.name}: give the reason, which is journalled and stands in the report: --reason WHY")
    campaign = study.campaign(phase.name, choice)  # ConfigError where it makes none
    lock = Store(folder)
    lock.lock()
    try:
        writer = record.begin(folder, study)
        try:
            state = record.fold(writer.events)
            store = record.phase_store(folder, phase.name)
            if store.exists() and store.began():
                raise StudyError(
                    f"{phase.name}: its first run has begun, and a decision after that would choose by its results. "
                    "Start another study with --new."
                )
            known = state.phase(phase.name).choice
            event = writer.append(
                "overridden",
                phase=phase.name,
                choice=choice.to_json(),
                instead_of=None if known is None else known.to_json(),
                by="a person",
                reason=reason.strip(),
                config_hash=campaign.config_hash,
            )
        finally:
            writer.close()
        return event
    finally:
        lock.unlock()
