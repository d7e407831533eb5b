"""The Ray driver: one invocation of ``campaign run``, from the units that are there to the last status.

It alone writes the results folder (:mod:`campaign.run.ledger`). Blocks are handed out by :mod:`campaign.run.dispatch`
and carried out by lanes (:mod:`campaign.run.lane`), one for each unit. Before the first measured run every cell is
tried once (:mod:`campaign.run.shakedown`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING

from campaign.cluster import Unit
from campaign.config import redaction
from campaign.config.schema import Campaign
from campaign.errors import Drift, DriverError
from campaign.record import journal
from campaign.record.snapshot import Snapshot
from campaign.record.store import Store
from campaign.run.breaker import Breaker
from campaign.run.course import Course
from campaign.run.dispatch import Dispatch, deal
from campaign.run.drift import ITSELF, DriftCheck, differences, fingerprint
from campaign.run.fleet import TICK_S, Fleet, RayFleet
from campaign.run.lane import Lane
from campaign.run.ledger import Ledger, open_ledger
from campaign.run.looks import Looking, open_looks
from campaign.run.progress import Progress
from campaign.run.settlement import Choice, Settlement
from campaign.run.shakedown import LeftOut

if TYPE_CHECKING:
    from rich.console import RenderableType


class Driver:
    """One invocation of ``campaign run``."""

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        *,
        chosen_because: str = "",
        fleet: Fleet | None = None,
        accept_drift: bool = False,
        tell: Callable[[str], None] = lambda line: None,
        show: Callable[[Snapshot], None] = lambda snapshot: None,
        present: Callable[[RenderableType], None] = lambda table: None,
        choose: Callable[[LeftOut], tuple[Choice, str]] = lambda failing: ("without", "unattended"),
        only_shakedown: bool = False,
    ) -> None:
        """``fleet`` are the units, this machine unless given. ``choose`` says what is done about cells that cannot run,
        and who decided; ``only_shakedown`` tries every cell, those too that failed before, and measures nothing."""
        self.campaign = campaign
        self.store = store
        self.chosen_because = chosen_because
        self.fleet: Fleet = RayFleet() if fleet is None else fleet
        self.accept_drift = accept_drift
        self.tell = tell
        self.present = present
        self.choose = choose
        self.only_shakedown = only_shakedown
        self.stopping = Event()
        self.connecting = False
        self.news = Event()
        self.pause_reason: str | None = None
        self.lanes: dict[str, Lane] = {}
        self._turned_away: set[str] = set()
        self.breaker = Breaker(campaign.breaker)
        self._secrets = redaction.secrets(campaign.model_dump(mode="json")) | redaction.of_surroundings()
        snapshot = Snapshot(campaign=campaign.name, results=str(store.root), pid=os.getpid())
        self.progress = Progress(store, snapshot, show, self._secrets)
        self._ticked_s = 0.0
        self._looking: Looking

    @property
    def snapshot(self) -> Snapshot:
        return self.progress.snapshot

    # --- the whole ---------------------------------------------------------------------------------------

    def run(self) -> Snapshot:
        """Carry the campaign out as far as it goes. Everything is durable when this returns or raises."""
        self._require_the_same_or_clear()
        self.progress.say("connecting")
        self._connect()
        try:
            units = self._units()
            ledger = open_ledger(
                self.campaign,
                self.store,
                [unit.name for unit in units],
                clock=self.fleet.clock,
                simulated=self.fleet.simulated,
                about=self.fleet.about,
                chosen_because=self.chosen_because,
                secrets=self._secrets,
            )
            self.snapshot.total = len(ledger.plan)
            drift = DriftCheck(ledger, self.accept_drift, self.tell)
            drift.check(ITSELF, differences(self.campaign, ledger.info), now=fingerprint(self.campaign))
            names = [unit.name for unit in units]
            ledger.record("opened", pid=os.getpid(), units=names, accept_drift=self.accept_drift)
            ledger.register(self.tell)
            ledger.adopt(self.tell)
            self._looking = open_looks(self.campaign, ledger, names, self.tell)
            self._carry_out(ledger, drift, units)
            if not self.only_shakedown and self._reopen_outliers(ledger):
                self._carry_out(ledger, drift, self._units())
            self._conclude(ledger)
        finally:
            for lane in self.lanes.values():
                lane.release(self.snapshot.stage == "completed")
            self.fleet.stop()
            self.progress.end()
        return self.snapshot

    def _connect(self) -> None:
        """Make the units reachable. Raises KeyboardInterrupt where :meth:`interrupt` says so meanwhile."""
        self.connecting = True
        try:
            self.fleet.start(self.campaign, self.tell)
        except KeyboardInterrupt:
            self.fleet.stop()
            raise
        finally:
            self.connecting = False

    def interrupt(self) -> None:
        """End the current attempts, journal them, stop. The same command goes on later. From a signal handler only:
        while units are being reached, which may take minutes on a busy machine, it raises KeyboardInterrupt,
        as there is nothing to end."""
        self.stopping.set()
        if self.connecting:
            raise KeyboardInterrupt
        for lane in list(self.lanes.values()):
            lane.abort()

    def _require_the_same_or_clear(self) -> None:
        """Raises Drift where the folder holds a campaign under another config or code that nobody accepted; empties the
        folder of one that measured nothing."""
        store = self.store
        store.require_kind(self.fleet.simulated)
        if (rest := self.campaign.rest) is not None and rest.simulated and not self.fleet.simulated:
            raise DriverError(
                f"the rest of {rest.cooldown_s:g} s was calibrated by {rest.pilot}, a rehearsal, and nothing in it "
                "was measured. Calibrate it by a pilot on this machine (`campaign pilot`), "
                "or write gate.cooldown_s in seconds."
            )
        if not store.exists():
            return
        found = differences(self.campaign, store.info())
        events, _, _ = journal.read(store.journal_path)
        if not store.began() and (found or not any(event["event"] == "shakedown" for event in events)):
            store.clear()
        elif (
            found and not self.accept_drift and journal.fold(events).accepted.get(ITSELF) != fingerprint(self.campaign)
        ):
            raise Drift(found)

    def _units(self) -> list[Unit]:
        """The alive units that the campaign may use. Raises DriverError where there are none."""
        units = self._alive()
        if missing := set(self.campaign.units) - {unit.name for unit in units}:
            self.tell(f"without {', '.join(sorted(missing))}: no alive Ray node has that name")
        if not units:
            raise DriverError("no unit: no alive Ray node has a GPU slot. Start nodes with `ray start --num-gpus=1`.")
        return units

    def _alive(self) -> list[Unit]:
        wanted = self.campaign.units
        return [unit for unit in self.fleet.units() if not wanted or unit.name in wanted]

    def _reopen_outliers(self, ledger: Ledger) -> bool:
        """Once everything is done, open outliers again where the campaign says so; each run at most once."""
        sigma = self.campaign.acceptance.outlier_sigma
        return self.campaign.outliers == "rerun" and ledger.reopen_outliers(sigma, self.tell)

    # --- lanes -------------------------------------------------------------------------------------------

    def _carry_out(self, ledger: Ledger, drift: DriftCheck, units: list[Unit]) -> None:
        """One round: whatever is not done, until it is, or until no lane goes on."""
        self._looking.take()
        owners = {*ledger.info.get("lanes", []), *ledger.state.moved.values()}
        units = [unit for unit in units if unit.name in owners] or units  # another one joins, below
        course = self._course(ledger, drift, units)
        if self.stopping.is_set() or not (course.dispatch.left() or self.only_shakedown):
            return
        settlement = Settlement(self.campaign, ledger, self.present, self.choose, self.tell, self.only_shakedown)
        self.progress.say("preparing")
        self._start_lanes(course, units)
        while any(lane.is_alive() and (course.dispatch.left() or not lane.joins) for lane in self.lanes.values()):
            if time.monotonic() - self._ticked_s >= TICK_S:
                self._tick(ledger)
            self._first_error(ledger)
            self._settle(settlement)
            self._admit(course)
            if self.fleet.wait(self.news, self.stopping.is_set()):
                self.news.clear()
                if course.dispatch.left() and not self.stopping.is_set():
                    self._welcome(course)
        for lane in [lane for lane in self.lanes.values() if lane.joins]:
            self._turn_away(lane, "nothing is left for it")
        self._tick(ledger)
        self._first_error(ledger)

    def _course(self, ledger: Ledger, drift: DriftCheck, units: list[Unit]) -> Course:
        """The unfinished blocks dealt to the units that are here."""
        unfinished = [rows for rows in ledger.blocks().values() if not ledger.done(rows)]
        queues, moves = deal(
            unfinished, ledger.info.get("lanes", []), [unit.name for unit in units], ledger.state.moved
        )
        for block, old, new in moves:
            ledger.move(block, old, new)
        return Course(
            campaign=self.campaign,
            fleet=self.fleet,
            ledger=ledger,
            dispatch=Dispatch(queues, done=self._looking.done),
            drift=drift,
            breaker=self.breaker,
            progress=self.progress,
            stopping=self.stopping,
            news=self.news,
            tell=self.tell,
            pause=self._pause,
            only_shakedown=self.only_shakedown,
        )

    def _start_lanes(self, course: Course, units: list[Unit], joins: bool = False) -> None:
        for unit in units:
            if (ended := self.lanes.get(unit.name)) is not None:
                ended.release(completed=False)
            lane = Lane(course, unit, joins)
            self.lanes[unit.name] = lane
            self.fleet.begin(lane)

    def _welcome(self, course: Course) -> None:
        """Start a lane again whose unit was lost and is back, and one for a unit that has joined the others."""
        lost = {name: lane for name, lane in self.lanes.items() if not lane.is_alive() and lane.lost}
        known = {*self.lanes, *self._turned_away} - lost.keys()
        for unit in self._alive() if lost or self.fleet.grows else []:
            if unit.name in lost:
                self.tell(f"{unit.name} is back")
                self._start_lanes(course, [unit], joins=lost[unit.name].joins)
            elif (
                unit.name not in known and not self.only_shakedown and course.dispatch.on_offer(course.ledger.untouched)
            ):
                self.tell(f"{unit.name} has joined")
                self._start_lanes(course, [unit], joins=True)

    def _admit(self, course: Course) -> None:
        """Give units that have joined and tried their cells a share of the blocks; or do without them."""
        if not any(lane.go.is_set() for lane in self.lanes.values()):
            return
        for lane in [lane for lane in self.lanes.values() if lane.joins and lane.is_alive() and lane.shaken.is_set()]:
            name, ledger = lane.unit.name, course.ledger
            failing = [
                f"{cell}: {event['cause']}"
                for (unit, cell), event in ledger.state.shakedowns.items()
                if unit == name and not event["passed"] and cell not in ledger.state.left_out
            ]
            if failing:  # the others' cells are settled, and a unit without one of them would unbalance the arms
                self._turn_away(lane, f"what is measured cannot run there: {'; '.join(failing)}")
                continue
            ledger.record("joined", unit=name)
            for taken in course.dispatch.join(name, ledger.untouched):
                ledger.move(taken.block, taken.owner, name)
            lane.joins = False
            self.progress.say("running")
            lane.go.set()

    def _turn_away(self, lane: Lane, why: str) -> None:
        self.tell(f"without {lane.unit.name}, which had joined: {why}")
        self._turned_away.add(lane.unit.name)
        lane.turned_away.set()
        lane.release(completed=False)
        del self.lanes[lane.unit.name]
        self.snapshot.lanes.pop(lane.unit.name, None)

    def _settle(self, settlement: Settlement) -> None:
        """Once every unit has tried its cells, settle what happens to those that cannot run, and let the lanes go."""
        alive = [lane for lane in self.lanes.values() if lane.is_alive() and not lane.joins]
        waiting = [lane for lane in alive if not lane.go.is_set()]
        if not waiting or not all(lane.shaken.is_set() for lane in alive) or self.stopping.is_set():
            return
        show = any(lane.shakedown.tried for lane in waiting) or self.only_shakedown
        try:
            stop = settlement.settle([name for name, lane in self.lanes.items() if not lane.joins], show=show)
        except BaseException:
            self._dismiss(waiting)
            raise
        if stop is not None:
            self.pause_reason = stop or None
            self.stopping.set()
        for lane in waiting:
            lane.go.set()
        if not self.stopping.is_set():
            self.progress.say("running")

    def _dismiss(self, waiting: list[Lane]) -> None:
        """Let lanes end that wait for what will not be settled."""
        self.stopping.set()
        for lane in waiting:
            lane.go.set()
        while any(lane.is_alive() for lane in waiting):
            self.fleet.wait(self.news, stopping=True)

    def _pause(self, reason: str) -> None:
        self.pause_reason = reason
        self.tell(f"paused: {reason}")
        self.interrupt()

    def _first_error(self, ledger: Ledger) -> None:
        """Once a lane has failed, stop the others, and raise its error when they have ended."""
        for lane in [lane for lane in self.lanes.values() if lane.joins and lane.error is not None]:
            self._turn_away(lane, str(lane.error))
        error = next((lane.error for lane in self.lanes.values() if lane.error is not None), None)
        if error is None:
            return
        self.stopping.set()
        if not any(lane.is_alive() for lane in self.lanes.values()):
            ledger.record("stopped", reason=str(error))
            raise error

    # --- the end -----------------------------------------------------------------------------------------

    def _tick(self, ledger: Ledger) -> None:
        self._ticked_s = time.monotonic()
        self.store.require_lock()
        self.fleet.require()
        self.progress.tick(ledger, self.lanes)

    def _conclude(self, ledger: Ledger) -> None:
        self._looking.take()
        self._tick(ledger)
        left = ledger.left()
        if not left:
            if not ledger.state.completed:
                names = ("accepted", "exhausted", "left_out", *(("spared",) if self.snapshot.spared else ()))
                counts = {name: getattr(self.snapshot, name) for name in names}
                ledger.record("completed", **counts)
            self.progress.say("completed")
            return
        reason = self._why_stopped(ledger)
        ledger.record("stopped", reason=reason, left=len(left))
        self.snapshot.message = reason
        self.progress.say("stopped")

    def _why_stopped(self, ledger: Ledger) -> str:
        if self.pause_reason:
            return self.pause_reason
        if self.only_shakedown:
            return "shakedown"
        if self.stopping.is_set():
            return "interrupt"
        if ledger.state.breakers:
            return "breaker: " + ", ".join(sorted(ledger.state.breakers))
        return "no unit left"
