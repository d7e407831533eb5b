"""How far the campaign is, for the display and for ``status.json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from threading import Lock
from typing import Protocol

from actors.files.publish import publish
from actors.types import Status
from campaign.config import redaction
from campaign.record.durable import to_json
from campaign.record.snapshot import Snapshot, digest_of
from campaign.record.store import Store
from campaign.run.ledger import Ledger


class Working(Protocol):
    """A lane, as far as progress is asked of it."""

    lost: bool

    def is_alive(self) -> bool: ...

    def status(self) -> Status | None: ...


class Progress:
    """The snapshot, and what it is made of that no journal keeps."""

    def __init__(
        self, store: Store, snapshot: Snapshot, show: Callable[[Snapshot], None], secrets: Set[str] = frozenset()
    ) -> None:
        self.snapshot = snapshot
        self._store = store
        self._show = show
        self._secrets = secrets
        self._durations: dict[str, list[float]] = {}
        self._began = time.monotonic()
        self._lock = Lock()

    def ended(self, model: str, seconds: float) -> None:
        """An attempt of ``model`` has taken so long, gate included."""
        with self._lock:
            self._durations.setdefault(model, []).append(seconds)

    def say(self, stage: str) -> None:
        self.snapshot.stage = stage
        self.snapshot.elapsed_s = time.monotonic() - self._began
        self._show(self.snapshot)

    def tick(self, ledger: Ledger, lanes: Mapping[str, Working]) -> None:
        """Bring the snapshot up to date, write it and show it."""
        snapshot, state = self.snapshot, ledger.state
        for name, count in state.count(row.run_id for row in ledger.plan).items():
            setattr(snapshot, name, count)
        snapshot.elapsed_s = time.monotonic() - self._began
        snapshot.eta_s = self.eta_s(ledger, sum(lane.is_alive() for lane in lanes.values()))
        for name, lane in lanes.items():
            if (status := lane.status()) is not None:
                snapshot.lanes[name] = status
            elif lane.lost:
                snapshot.lanes.pop(name, None)
        snapshot.updated_utc_ns = time.time_ns()
        self._write()
        self._show(snapshot)

    def eta_s(self, ledger: Ledger, lanes: int) -> float | None:
        """Mean duration of this session's attempts by model, over what is left; None before the first has ended."""
        with self._lock:
            known = {model: sum(values) / len(values) for model, values in self._durations.items()}
            everything = [seconds for values in self._durations.values() for seconds in values]
        if not everything:
            return None
        overall = sum(everything) / len(everything)
        return sum(known.get(row.model, overall) for row in ledger.left()) / max(1, lanes)

    def end(self) -> None:
        """The last status, with the heads of journal and manifest, so that an end that is removed later is missed."""
        snapshot = self.snapshot
        snapshot.journal, snapshot.manifest = self._store.head("journal"), self._store.head("manifest")
        snapshot.updated_utc_ns = time.time_ns()
        snapshot.digest = digest_of(snapshot)
        self._write()

    def _write(self) -> None:
        """``status.json``, whole or as it was."""
        with publish(self._store.root / "status.json") as partial:
            partial.write_bytes(to_json(redaction.published(self.snapshot.to_json(), self._secrets)))
