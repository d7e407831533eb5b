"""Opens runs again that were given up, for the next `campaign run`. Attempts and verdicts stay as they are."""

from __future__ import annotations

import time
from pathlib import Path

from campaign.errors import nearest
from campaign.record import journal
from campaign.record.durable import StoreError, to_json, write_durably
from campaign.record.snapshot import digest_of
from campaign.record.status import standing
from campaign.record.store import Store


def reopen(folder: Path, wanted: tuple[str, ...] = ()) -> list[str]:
    """Journal that ``wanted`` runs, else all that were given up, are open again;
    returns them in the order of the plan. Raises StoreError."""
    store = Store(folder)
    store.info()
    store.lock()
    try:
        writer = journal.Journal(store.journal_path)
        state = journal.fold(writer.events)
        given_up = [
            row["run_id"]
            for row in store.plan()
            if state.run(row["run_id"]).exhausted and state.run(row["run_id"]).accepted is None
        ]
        if unknown := [run_id for run_id in wanted if run_id not in given_up]:
            words = nearest(unknown[0], given_up, most=3) if given_up else "No run was given up."
            raise StoreError(f"{', '.join(unknown)}: not given up. {words}")
        chosen = [run_id for run_id in given_up if not wanted or run_id in wanted]
        for run_id in chosen:
            writer.append("reopened", run_id=run_id, reason="a person asked for it (campaign retry)")
        writer.close()
        if chosen:
            _count_again(store)
        return chosen
    finally:
        store.unlock()


def _count_again(store: Store) -> None:
    """status.json with the journal's new counts and head."""
    counted, _ = standing(store.root)
    counted = counted.model_copy(
        update={
            "stage": "stopped",
            "message": "runs opened again",
            "journal": store.head("journal"),
            "manifest": store.head("manifest"),
            "updated_utc_ns": time.time_ns(),
        }
    )
    counted.digest = digest_of(counted)
    write_durably(store.root / "status.json", to_json(counted.to_json()))
