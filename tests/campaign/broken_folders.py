"""Results folders that something happened to. One table: tested here, and shown in the documentation."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign.record.journal import Journal


@dataclass(frozen=True)
class Broken:
    """Damage to the folder of a finished campaign, and fragments of what each command says of it."""

    name: str
    damage: Callable[[Path], object]
    run: str
    verify: str
    sql: str
    status: str = "completed"


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def halve(folder: Path, pattern: str) -> None:
    path = first(folder, pattern)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tear_journal(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def unfinish(folder: Path) -> None:
    """As if the driver had been killed just before it wrote that everything is done."""
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))
    (folder / "status.json").unlink()
    shutil.rmtree(folder / "report", ignore_errors=True)


def change_journal(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.write_text(path.read_text().replace('"accepted":true', '"accepted":false', 1))


def accept_twice(folder: Path) -> None:
    """As if somebody had measured again what was accepted, and had written it down in due form."""
    old = first(folder, "attempts/*/1")
    shutil.copytree(old, old.with_name("2"))
    evidence = hashlib.sha256((old / "metadata.json").read_bytes()).hexdigest()
    journal = Journal(folder / "journal.jsonl")
    run = {"run_id": old.parent.name, "attempt": 2, "unit": "u"}
    journal.append("dispatched", **run, block="b")
    journal.append("finished", **run, outcome="completed", accepted=True, rejected_by=[], evidence=evidence)
    journal.close()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def holiday(folder: Path) -> None:
    empty(folder)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")


FINISHED = "is finished"
NO_CAMPAIGN = "no campaign here"
STOPPED = "stopped; the same command goes on"

FOLDERS = (
    Broken("journal: last line torn", tear_journal, "small is finished", "journal.jsonl: the last line is torn",
        "torn by a crash, ignored", STOPPED),
    Broken("journal: a line changed", change_journal, "the hash chain is broken", "the hash chain is broken", "",
        "hash chain is broken"),
    Broken("journal: not text", lambda it: (it / "journal.jsonl").write_bytes(b"\xff\xfe\n" * 3),
        "journal.jsonl:1: unreadable line", "line 1: unreadable line", "journal.jsonl", "unreadable line"),
    Broken("journal: emptied", lambda it: (it / "journal.jsonl").write_bytes(b""),
        "missing or emptied, although attempts/ holds evidence", "does not begin with the creation", "", STOPPED),
    Broken("journal: missing", lambda it: (it / "journal.jsonl").unlink(),
        "missing or emptied, although attempts/ holds evidence", "journal.jsonl: missing", "", STOPPED),
    Broken("campaign.json: torn", lambda it: halve(it, "campaign.json"), "campaign.json: damaged",
        "campaign.json: damaged", "campaign.json: not valid JSON", "campaign.json: damaged"),
    Broken("campaign.json: emptied", lambda it: (it / "campaign.json").write_text("{}"), "campaign.json: damaged",
        "campaign.json: damaged", "", "campaign.json: damaged"),
    Broken("campaign.json: missing", lambda it: (it / "campaign.json").unlink(),
        "missing, although attempts/ holds evidence", NO_CAMPAIGN, NO_CAMPAIGN, NO_CAMPAIGN),
    Broken("plan.parquet: truncated", lambda it: halve(it, "plan.parquet"), FINISHED, "plan.parquet: unreadable",
        "plan.parquet: not valid Parquet", "plan.parquet: unreadable"),
    Broken("plan.parquet: missing", lambda it: (it / "plan.parquet").unlink(), FINISHED, "plan.parquet: unreadable", "",
        "plan.parquet: unreadable"),
    Broken("telemetry: truncated", lambda it: halve(it, "telemetry/*/*.parquet"), FINISHED,
        "digest differs from MANIFEST.sha256", "its end is missing, truncated"),
    Broken("requests: truncated", lambda it: halve(it, "attempts/*/1/requests.parquet"), FINISHED,
        "requests.parquet: its digest differs from metadata.json", "requests.parquet: not valid Parquet"),
    Broken("requests: emptied", lambda it: first(it, "attempts/*/1/requests.parquet").write_bytes(b""), FINISHED,
        "requests.parquet: its digest differs", "0 bytes, truncated"),
    Broken("attempt: folder missing", lambda it: shutil.rmtree(first(it, "attempts/*/1")), FINISHED,
        "the journal says it finished, but its files are missing", ""),
    Broken("attempts: all missing", lambda it: shutil.rmtree(it / "attempts"), FINISHED,
        "the journal says it finished, but its files are missing", ""),
    Broken("attempt: metadata.json missing", lambda it: first(it, "attempts/*/1/metadata.json").unlink(), FINISHED,
        "the journal says it finished, but its files are missing", ""),
    Broken("attempt: metadata.json torn", lambda it: halve(it, "attempts/*/1/metadata.json"), FINISHED,
        "metadata.json: its digest differs from the journal's", "metadata.json: not valid JSON"),
    Broken("attempt: log changed", lambda it: first(it, "attempts/*/1/stdout.log").write_text("all went well\n"),
        FINISHED, "stdout.log: its digest differs from metadata.json", ""),
    Broken("attempt: a second accepted", accept_twice, FINISHED, "has 2 accepted attempts", ""),
    Broken("attempt: a folder of another's", lambda it: (first(it, "attempts/*") / "1 (copy)").mkdir(), FINISHED,
        "1 (copy): not an attempt's folder", ""),
    Broken("manifest: cut in half", lambda it: halve(it, "MANIFEST.sha256"), "files to MANIFEST.sha256",
        "not in MANIFEST.sha256", ""),
    Broken("manifest: missing", lambda it: (it / "MANIFEST.sha256").unlink(), "files to MANIFEST.sha256",
        "not in MANIFEST.sha256", ""),
    Broken("facts of the unit: torn", lambda it: halve(it, "units/*.json"), FINISHED,
        "its digest differs from MANIFEST.sha256", "not valid JSON"),
    Broken("status.json: torn", lambda it: halve(it, "status.json"), FINISHED, "status.json: missing or unreadable",
        ""),
    Broken("folder: empty", empty, "", NO_CAMPAIGN, NO_CAMPAIGN, NO_CAMPAIGN),
    Broken("folder: something else", holiday, "not empty and not a campaign", NO_CAMPAIGN, NO_CAMPAIGN, NO_CAMPAIGN),
)  # fmt: skip

STARTS = frozenset({"journal: last line torn", "folder: empty"})
"""Here `campaign run` measures, or at least starts its actors."""
