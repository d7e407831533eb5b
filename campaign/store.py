"""The results folder: layout, durable writing, manifest, verification.

The folder is the truth and any tool may read it at any moment. A file is complete or absent: everything is
written beside its place, fsynced and renamed. The journal line that accepts an attempt is written after its files are
durable, so a crash can lose the line but never what the line speaks of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import account
from campaign import journal


class StoreError(Exception):
    """The results folder cannot be used. The message is for the person."""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one."""
    account.folder(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        account.give(partial)
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def to_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=False, default=str).encode() + b"\n"


@dataclass(frozen=True)
class Problem:
    """Something ``campaign verify`` found: which file, what is wrong, what to do."""

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.remedy}"


class Store:
    """One results folder. Readers need no lock; a driver takes :meth:`lock` for as long as it lives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "MANIFEST.sha256"
        self._lock: int | None = None

    @property
    def journal_path(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def plan_path(self) -> Path:
        return self.root / "plan.parquet"

    @property
    def campaign_path(self) -> Path:
        return self.root / "campaign.json"

    def attempt_path(self, run_id: str, attempt: int) -> Path:
        return self.root / "attempts" / run_id / str(attempt)

    def exists(self) -> bool:
        return self.campaign_path.exists()

    def lock(self) -> None:
        """Keep other drivers out. The lock goes with the process, however that ends."""
        account.folder(self.root)
        account.hand_over(self.root)  # what a driver that was killed had just made
        handle = os.open(self.root / ".driver.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        account.give(self.root / ".driver.lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StoreError(
                f"{self.root}: another driver (PID {holder}) is carrying out this campaign. "
                "Watch it with `campaign status`, or stop it with Ctrl-C there."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def began(self) -> bool:
        """Whether any attempt was ever dispatched. Raises where attempts are there and the journal knows of none."""
        if any(event["event"] == "dispatched" for event in journal.read(self.journal_path)[0]):
            return True
        if any(self.root.glob("attempts/*/[0-9]*")):
            raise StoreError(
                f"{self.journal_path}: missing or emptied, although attempts/ holds evidence. "
                "Restore it from a backup, or start another campaign with NEW=1. Nothing was touched."
            )
        return False

    def clear(self) -> None:
        """Empty the folder of a campaign that measured nothing (it was refused while preparing, say)."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".driver.lock":
                path.unlink()

    def info(self, imported: bool = False) -> dict[str, Any]:
        """``campaign.json``. Raises StoreError where it is not that of a campaign, or (but for ``imported``) of one that ran here."""
        try:
            value = json.loads(self.campaign_path.read_bytes())
        except FileNotFoundError:
            raise StoreError(
                f"{self.root}: no campaign here (no campaign.json). Start one with `campaign run`, or name its folder."
            ) from None
        except ValueError as problem:
            raise StoreError(
                f"{self.campaign_path}: damaged ({problem}). Restore it from a backup, or start another with NEW=1."
            ) from None
        if isinstance(value, dict) and "imported" in value:
            if imported:
                return value
            raise StoreError(
                f"{self.root} holds imported runs: no plan, journal or log. `campaign report`, `sql` and `export` read them; "
                "a campaign needs another folder."
            )
        if not isinstance(value, dict) or not {"campaign", "plan_hash"} <= set(value):
            raise StoreError(
                f"{self.campaign_path}: damaged (not what a campaign writes). "
                "Restore it from a backup, or start another with NEW=1."
            )
        return value

    def plan(self) -> list[dict[str, Any]]:
        """The planned runs in order, one dict a row of ``plan.parquet``."""
        from pyarrow import parquet

        try:
            rows: list[dict[str, Any]] = (
                parquet.ParquetFile(self.plan_path).read().to_pylist()
            )  # read_table loads pandas
        except (OSError, ValueError) as problem:
            raise StoreError(
                f"{self.plan_path}: unreadable ({problem}). Restore it from a backup, or start another with NEW=1."
            ) from None
        return rows

    def metadata(self, run_id: str, attempt: int) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.attempt_path(run_id, attempt) / "metadata.json").read_bytes())
        return value

    def write(self, name: str, data: bytes) -> None:
        """A finished file of the campaign, durable and in the manifest."""
        write_durably(self.root / name, data)
        self.record({name: hashlib.sha256(data).hexdigest()})

    def record(self, digests: dict[str, str]) -> None:
        """Append to the manifest. A torn last line is harmless: :meth:`repair` completes it from the files."""
        if not digests:
            return
        text = "".join(f"{value}  {name}\n" for name, value in digests.items())
        with self.manifest.open("a") as file:
            file.write(text)
            file.flush()
            os.fdatasync(file.fileno())
        account.give(self.manifest)

    def shakedown_path(self, cell: str, attempt: int) -> Path:
        return self.root / "shakedown" / cell / str(attempt)

    def commit_attempt(self, run_id: str, attempt: int, files: dict[str, bytes]) -> str:
        return self.commit_folder(self.attempt_path(run_id, attempt), files)

    def commit_folder(self, place: Path, files: dict[str, bytes]) -> str:
        """Write an attempt's folder as a whole to ``place``; returns the digest that the journal carries.

        The folder appears by one rename. Its digest is the sha256 over ``metadata.json``, which holds the digests of the rest.
        """
        if place.exists():
            raise StoreError(f"{place}: already there. An attempt is never overwritten.")
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        account.folder(partial)
        digests = {}
        try:
            folders = {partial}
            for name, data in files.items():
                path = partial / name
                if path.parent not in folders:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    folders.add(path.parent)
                path.write_bytes(data)
                digests[f"{place.relative_to(self.root)}/{name}"] = hashlib.sha256(data).hexdigest()
            account.hand_over(partial)
            flush_to_disk(partial)
            partial.rename(place)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(place.parent)
        self.record(digests)
        return hashlib.sha256(files["metadata.json"]).hexdigest()

    def commit_telemetry(self, unit: str, name: str, data: bytes) -> None:
        path = f"telemetry/unit={unit}/{name}"
        if (self.root / path).exists():  # sent twice: the acknowledgement was lost
            return
        self.write(path, data)

    def repair(self) -> list[str]:
        """After a crash: drop partial files, complete the manifest. Returns what was done."""
        done = []
        for partial in self.root.rglob(".*.partial"):
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
            done.append(f"removed the unfinished {partial.relative_to(self.root)}")
        if self.manifest.exists():
            text = self.manifest.read_bytes()
            if text and not text.endswith(b"\n"):
                with self.manifest.open("rb+") as file:
                    file.truncate(text.rfind(b"\n") + 1)
                done.append("cut a torn last line off MANIFEST.sha256")
        listed = set(self._manifest())
        missing = {name: sha256(self.root / name) for name in self.finished_files() if name not in listed}
        self.record(missing)
        if missing:
            done.append(f"added {len(missing)} files to MANIFEST.sha256, the first is {next(iter(missing))}")
        return done

    def finished_files(self) -> Iterator[str]:
        """Names of all files that never change again."""
        for name in ("campaign.json", "plan.parquet"):
            if (self.root / name).exists():
                yield name
        for pattern in ("units/*.json", "attempts/*/[0-9]*/**/*", "shakedown/*/[0-9]*/**/*", "telemetry/*/*.parquet"):
            for path in sorted(self.root.glob(pattern)):
                if path.is_file():
                    yield str(path.relative_to(self.root))

    def _manifest(self) -> dict[str, str]:
        """Name to digest; the last entry of a name counts, a torn last line does not."""
        if not self.manifest.exists():
            return {}
        entries = {}
        for line in self.manifest.read_text(errors="replace").rpartition("\n")[0].splitlines():
            value, _, name = line.partition("  ")
            if len(value) == 64 and name:
                entries[name] = value
        return entries

    def verify(self) -> list[Problem]:
        """Digests, journal against files, exactly one accepted attempt for each finished run. Empty is clean."""
        return list(verify(self))


def flush_to_disk(folder: Path) -> None:
    """Make a folder's files and names durable."""
    for path in folder.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(folder)


RESTORE = "Restore it from a backup; what it proves is lost otherwise"


def verify(store: Store) -> Iterator[Problem]:
    root = store.root
    try:
        info = store.info()
        planned = [row["run_id"] for row in store.plan()]
    except StoreError as problem:
        yield Problem(str(root), str(problem).rstrip("."), "Nothing else was checked")
        return
    manifest = store._manifest()
    for name, expected in manifest.items():
        path = root / name
        if not path.exists():
            yield Problem(name, "listed in MANIFEST.sha256 but missing", RESTORE)
        elif sha256(path) != expected:
            yield Problem(name, "its digest differs from MANIFEST.sha256: it was changed after it was written", RESTORE)
    for name in store.finished_files():
        if name not in manifest:
            yield Problem(name, "not in MANIFEST.sha256", "`campaign run` completes the manifest at its next start")
    for partial in root.rglob(".*.partial"):
        yield Problem(str(partial.relative_to(root)), "left by a crash", "`campaign run` removes it at its next start")
    try:
        events, offset, _ = journal.read(store.journal_path)
    except journal.JournalError as problem:
        what = str(problem).removeprefix(f"{store.journal_path}:").rstrip(".")
        yield Problem("journal.jsonl", f"line {what}", "Nothing in it can be trusted behind that line")
        return
    if not store.journal_path.exists():
        yield Problem("journal.jsonl", "missing", RESTORE)
        return
    if store.journal_path.stat().st_size != offset:
        yield Problem("journal.jsonl", "the last line is torn", "`campaign run` cuts it off at its next start")
    if not events or events[0]["event"] != "created" or events[0].get("plan_hash") != info.get("plan_hash"):
        yield Problem("journal.jsonl", "does not begin with the creation of this campaign", RESTORE)
    yield from _verify_runs(store, events, planned)


def _verify_runs(store: Store, events: list[dict[str, Any]], planned: Iterable[str]) -> Iterator[Problem]:
    state = journal.fold(events)
    known = set(planned)
    accepted: dict[str, list[int]] = {}
    reopened = Counter(event["run_id"] for event in events if event["event"] == "reopened")
    for event in journal.finished(events):
        run_id, number = event["run_id"], event["attempt"]
        name = f"attempts/{run_id}/{number}"
        if run_id not in known:
            yield Problem("journal.jsonl", f"{run_id} is not in the plan", RESTORE)
        if event["accepted"]:
            accepted.setdefault(run_id, []).append(number)
        path = store.root / name / "metadata.json"
        if not path.exists():
            yield Problem(name, "the journal says it finished, but its files are missing", RESTORE)
        elif sha256(path) != event["evidence"]:
            yield Problem(f"{name}/metadata.json", "its digest differs from the journal's", RESTORE)
        else:
            yield from _verify_attempt(store, name, json.loads(path.read_bytes()), event)
    for run_id, numbers in accepted.items():
        if len(numbers) > 1 + reopened[run_id]:
            yield Problem("journal.jsonl", f"{run_id} has {len(numbers)} accepted attempts", RESTORE)
    for run_id, run in state.runs.items():
        if run.open and state.completed:
            yield Problem("journal.jsonl", f"{run_id}: attempt {run.open[0]} never ended", "Run the campaign again")
    if state.completed:
        for run_id in known:
            if not state.done(run_id):
                yield Problem("journal.jsonl", f"completed, but {run_id} is not finished", "Run the campaign again")
    for place in sorted(store.root.glob("attempts/*/[0-9]*")):
        if not place.name.isdigit():
            yield Problem(str(place.relative_to(store.root)), "not an attempt's folder", "Move it away")
        elif state.run(place.parent.name).attempts < int(place.name):
            yield Problem(
                str(place.relative_to(store.root)),
                "not in the journal",
                "`campaign run` takes it in at its next start",
            )


def _verify_attempt(store: Store, name: str, metadata: dict[str, Any], event: dict[str, Any]) -> Iterator[Problem]:
    if metadata.get("accepted") != event["accepted"]:
        yield Problem(f"{name}/metadata.json", "its verdict differs from the journal's", RESTORE)
    for file, expected in metadata.get("files", {}).items():
        path = store.root / name / file
        if not path.exists():
            yield Problem(f"{name}/{file}", "named in metadata.json but missing", RESTORE)
        elif sha256(path) != expected:
            yield Problem(f"{name}/{file}", "its digest differs from metadata.json", RESTORE)


def folder_for(root: Path, name: str, new: bool) -> Store:
    """The results folder of the latest campaign called ``name``, or of another one beside it."""
    number = 1
    while (root / _numbered(name, number + 1)).exists():
        number += 1
    store = Store(root / _numbered(name, number))
    if new and store.exists():
        store = Store(root / _numbered(name, number + 1))
    if not store.exists() and any(store.root.glob("attempts/*/[0-9]*")):
        raise StoreError(
            f"{store.campaign_path}: missing, although attempts/ holds evidence. "
            "Restore it from a backup, or move the folder away. Nothing was touched."
        )
    if (
        store.root.exists()
        and not store.exists()
        and any(store.root.glob("[!.]*"))
        and not (store.root / "plan.parquet").exists()
    ):
        raise StoreError(
            f"{store.root}: not empty and not a campaign. Move it away, or choose another --results folder."
        )
    return store


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
