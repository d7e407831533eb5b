"""The results folder: layout, durable writing, manifest.

The folder is the truth and any tool may read it at any moment. A file is complete or absent: everything is
written beside its place, fsynced and renamed. The journal line that accepts an attempt is written after its files are
durable, so a crash can lose the line but never what the line speaks of.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import account
from actors.files.removal import remove
from campaign.record import journal, untrusted
from campaign.record.attempt import AttemptRecord
from campaign.record.durable import LOCAL_DISK, StoreError, flush_to_disk, sync_folder, write_durably
from campaign.record.layout import FINISHED, PARTIALS, journalled


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

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        """Not ``durable`` is for a rehearsal, which is no evidence: the disk is not waited for."""
        self.root = root
        self.durable = durable
        self.manifest = root / "MANIFEST.sha256"
        self._lock: int | None = None
        self._unbound: dict[str, str] = {}

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

    def require_kind(self, simulated: bool) -> None:
        """Raises StoreError where the folder holds what was measured and a rehearsal is to write into it,
        or the reverse."""
        if not self.exists() or (self.info().get("simulated") is True) == simulated:
            return
        if simulated:
            raise StoreError(
                f"{self.root}: holds measured results, and a rehearsal's are simulated. "
                "Give the rehearsal another --results folder."
            )
        raise StoreError(
            f"{self.root}: holds the simulated results of a rehearsal, and a campaign goes on with none of them. "
            "Choose another --results folder, or start another campaign with NEW=1."
        )

    def lock(self) -> None:
        """Keep other drivers out. The lock goes with the process, however that ends."""
        account.folder(self.root)
        account.hand_over(self.root)  # what a driver that was killed had just made
        handle = os.open(self.root / ".driver.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        account.give(self.root / ".driver.lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                os.close(handle)
                raise StoreError(
                    f"{self.root}: its filesystem offers no locks ({problem.strerror}), so nothing would keep a "
                    f"second driver out. {LOCAL_DISK}"
                ) from None
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StoreError(
                f"{self.root}: another driver (PID {holder}) is carrying out this campaign. "
                "Watch it with `campaign status`, or stop it with Ctrl-C there."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._lock = handle

    def require_lock(self) -> None:
        """Raises StoreError where the lock's file is no longer ours: another driver could come in beside this one."""
        place = self.root / ".driver.lock"
        try:
            held = self._lock is not None and os.path.samestat(place.stat(), os.fstat(self._lock))
        except OSError:
            held = False
        if not held:
            raise StoreError(
                f"{place}: taken away while the campaign ran, so that another driver could write here. Stopped; "
                "the same command goes on."
            )

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
            if path.name != ".driver.lock":
                remove(path)

    def info(self, imported: bool = False) -> dict[str, Any]:
        """``campaign.json``. Raises StoreError where it is not that of a campaign, or (but for ``imported``)
        of one that ran here."""
        try:
            value = json.loads(untrusted.read_bytes(self.campaign_path))
        except FileNotFoundError:
            raise StoreError(
                f"{self.root}: no campaign here (no campaign.json). Start one with `campaign run`, or name its folder."
            ) from None
        except (ValueError, RecursionError, untrusted.Unreadable) as problem:
            raise StoreError(
                f"{self.campaign_path}: damaged ({problem}). Restore it from a backup, or start another with NEW=1."
            ) from None
        if isinstance(value, dict) and "imported" in value:
            if imported:
                return value
            raise StoreError(
                f"{self.root} holds imported runs: no plan, journal or log. `campaign report`, `sql` and `export` "
                "read them; a campaign needs another folder."
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

        if self.plan_path.exists() and (reason := untrusted.why_not(self.plan_path)):
            raise StoreError(f"{self.plan_path}: unreadable ({reason}).")
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
        value: dict[str, Any] = json.loads(untrusted.read_bytes(self.attempt_path(run_id, attempt) / "metadata.json"))
        return value

    def record_of(self, run_id: str, attempt: int) -> AttemptRecord:
        return AttemptRecord.read(untrusted.read_bytes(self.attempt_path(run_id, attempt) / "metadata.json"))

    def write(self, name: str, data: bytes) -> None:
        """A finished file of the campaign, durable and in the manifest;
        the next event of the journal carries its digest."""
        write_durably(self.root / name, data, self.durable)
        written = {name: hashlib.sha256(data).hexdigest()}
        self.record(written)
        self._unbound |= written

    def take_unbound(self) -> dict[str, dict[str, str]]:
        """``files=`` for the next event of the journal: digests of what was written since the last."""
        taken, self._unbound = self._unbound, {}
        return {"files": taken} if taken else {}

    def record(self, digests: dict[str, str]) -> None:
        """Append to the manifest. A torn last line is harmless: :meth:`repair` completes it from the files."""
        if not digests:
            return
        text = "".join(f"{value}  {name}\n" for name, value in digests.items())
        with self.manifest.open("a") as file:
            file.write(text)
            file.flush()
            if self.durable:
                os.fdatasync(file.fileno())
        account.give(self.manifest)

    def commit_attempt(self, run_id: str, attempt: int, files: dict[str, bytes]) -> str:
        return self.commit_folder(self.attempt_path(run_id, attempt), files)

    def commit_folder(self, place: Path, files: dict[str, bytes]) -> str:
        """Write an attempt's folder as a whole to ``place``; returns the digest that the journal carries.

        The folder appears by one rename. Its digest is the sha256 over ``metadata.json``, which holds the digests of
        the rest.
        """
        if place.exists():
            raise StoreError(f"{place}: already there. An attempt is never overwritten.")
        partial = place.with_name(f".{place.name}.partial")
        remove(partial)
        account.folder(partial)
        digests = {}
        large = self._large(place)
        try:
            folders = {partial}
            for name, data in files.items():
                path = partial / name
                if path.parent not in folders:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    folders.add(path.parent)
                path.write_bytes(data)
                digests[f"{place.relative_to(self.root)}/{name}"] = hashlib.sha256(data).hexdigest()
            for name in self.received(place):
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                (large / name).rename(path)
                digests[f"{place.relative_to(self.root)}/{name}"] = untrusted.sha256(path)
            remove(large)
            account.hand_over(partial)
            if self.durable:
                flush_to_disk(partial)
            partial.rename(place)
        except OSError:
            remove(partial)
            raise
        if self.durable:
            sync_folder(place.parent)
        self.record(digests)
        return hashlib.sha256(files["metadata.json"]).hexdigest()

    @staticmethod
    def _large(place: Path) -> Path:
        return place.with_name(f".{place.name}.large.partial")

    def receive(self, place: Path, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file that is too large for memory; :meth:`commit_folder` of ``place`` takes it in. Raises OSError."""
        path = self._large(place) / name
        account.folder(self._large(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(pieces)

    def forget_received(self, place: Path) -> None:
        remove(self._large(place))

    def received(self, place: Path) -> list[str]:
        """Names of what :meth:`receive` wrote for ``place``."""
        large = self._large(place)
        return sorted(str(path.relative_to(large)) for path in large.rglob("*") if path.is_file())

    def received_digests(self, place: Path) -> dict[str, str]:
        return {name: untrusted.sha256(self._large(place) / name) for name in self.received(place)}

    def commit_telemetry(self, unit: str, name: str, data: bytes) -> None:
        path = f"telemetry/unit={unit}/{name}"
        if (self.root / path).exists():  # sent twice: the acknowledgement was lost
            return
        self.write(path, data)

    def repair(self) -> list[str]:
        """After a crash: drop what was being written, complete the manifest. Returns what was done.
        What is finished is not touched."""
        done = []
        for name in self._partials():
            remove(self.root / name)
            done.append(f"removed the unfinished {name}")
        if self.manifest.exists():
            text = self.manifest.read_bytes()
            if text and not text.endswith(b"\n"):
                with self.manifest.open("rb+") as file:
                    file.truncate(text.rfind(b"\n") + 1)
                done.append("cut a torn last line off MANIFEST.sha256")
        try:
            events = journal.read(self.journal_path)[0]
        except journal.JournalError:  # told by whoever needs it; meanwhile no attempt counts as known
            events = []
        known = {f"{folder}/" for folder in journalled(events)}
        enlisted = self.enlist(
            name
            for name in self.finished_files()
            if not name.startswith(("attempts/", "shakedown/")) or "/".join(name.split("/")[:3]) + "/" in known
        )
        if enlisted:
            done.append(f"added {len(enlisted)} files to MANIFEST.sha256, the first is {enlisted[0]}")
        return done

    def enlist(self, names: Iterable[str]) -> list[str]:
        """Add finished files to the manifest that are not in it; returns their names."""
        listed = set(self._manifest())
        missing = {name: untrusted.sha256(self.root / name) for name in names if name not in listed}
        self.record(missing)
        return list(missing)

    def _partials(self) -> list[str]:
        """Files and folders that were being written: never anything inside a finished attempt."""
        found = []
        for pattern in ("*", "units/*", "telemetry/*/*", "attempts/*/*", "shakedown/*/*", "report/*", "analysis/*"):
            folder, _, _ = pattern.rpartition("/")
            for place in self.root.glob(folder) if folder else [self.root]:
                if place.is_dir() and not place.is_symlink():
                    names = (str((place / entry.name).relative_to(self.root)) for entry in place.iterdir())
                    found += [name for name in names if any(it.fullmatch(name) for it in PARTIALS)]
        return sorted(found)

    def finished_files(self) -> Iterator[str]:
        """Names of all regular files that never change again."""
        for name, why in untrusted.walk(self.root):
            if why is None and self.is_finished_file(name):
                yield name

    @staticmethod
    def is_finished_file(name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in FINISHED)

    def set_aside(self, place: Path) -> Path:
        """Move something that is not this campaign's out of the way, and off the manifest;
        returns where it lies now."""
        aside = self.root / "set-aside"
        account.folder(aside)
        name = untrusted.file_name("--".join(place.relative_to(self.root).parts))
        number = 1
        while os.path.lexists(target := aside / f"{name}--{number}"):
            number += 1
        place.rename(target)
        inside = f"  {place.relative_to(self.root)}/"
        lines = self.manifest.read_text(errors="replace").splitlines(keepends=True) if self.manifest.exists() else []
        if len(kept := [line for line in lines if not line[64:].startswith(inside)]) < len(lines):
            write_durably(self.manifest, "".join(kept).encode())
        return target

    def _manifest(self) -> dict[str, str]:
        """Name to digest; the last entry of a name counts, a torn last line does not."""
        if not self.manifest.exists():
            return {}
        entries = {}
        for line in self.manifest.read_text(errors="replace").rpartition("\n")[0].split("\n"):
            value, _, name = line.partition("  ")
            if len(value) == 64 and name:
                entries[name] = value
        return entries

    def head(self, kind: str, lines: int | None = None) -> str:
        """``LINES:SHA256`` of the journal (kind ``journal``: the digest of its last line, which chains all) or of the
        manifest (of all its text), as it is or as it was with so many ``lines``; empty where there are not so many."""
        path = self.journal_path if kind == "journal" else self.manifest
        try:
            whole = untrusted.read_bytes(path).splitlines(keepends=True)
        except (OSError, untrusted.Unreadable):
            return ""
        known = [line for line in whole if line.endswith(b"\n")]
        number = len(known) if lines is None else lines
        if not 0 < number <= len(known):
            return ""
        value = (
            journal.digest(known[number - 1])
            if kind == "journal"
            else hashlib.sha256(b"".join(known[:number])).hexdigest()
        )
        return f"{number}:{value}"
