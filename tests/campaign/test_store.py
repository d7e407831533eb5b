"""The results folder: complete files or none, and every damage found by name."""

import hashlib
import json
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from campaign.journal import Journal
from campaign.store import Store, StoreError, folder_for, write_durably


@pytest.fixture
def store(tmp_path):
    """A finished campaign of two runs, one attempt each."""
    store = Store(tmp_path / "results" / "demo")
    store.root.mkdir(parents=True)
    parquet.write_table(pa.table({"run_id": ["a", "b"]}), tmp_path / "plan")
    store.write("plan.parquet", (tmp_path / "plan").read_bytes())
    store.write("campaign.json", json.dumps({"campaign": "demo", "plan_hash": "p"}).encode())
    journal = Journal(store.journal_path)
    journal.append("created", plan_hash="p")
    for run_id in ("a", "b"):
        journal.append("dispatched", run_id=run_id, attempt=1, unit="u", block="k")
        finish(store, journal, run_id, 1, accepted=True)
    journal.append("completed", accepted=2, exhausted=0)
    journal.close()
    return store


def finish(store, journal, run_id, attempt, accepted):
    log = f"log of {run_id}".encode()
    metadata = {"accepted": accepted, "files": {"stdout.log": hashlib.sha256(log).hexdigest()}}
    digest = store.commit_attempt(run_id, attempt, {"stdout.log": log, "metadata.json": json.dumps(metadata).encode()})
    journal.append(
        "finished",
        run_id=run_id,
        attempt=attempt,
        unit="u",
        outcome="completed",
        accepted=accepted,
        rejected_by=[],
        evidence=digest,
    )


def said(store):
    return "\n".join(map(str, store.verify()))


def test_a_finished_campaign_is_clean(store):
    assert store.verify() == []


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("attempts/a/1/stdout.log", lambda path: path.write_text("changed"), "stdout.log: its digest differs"),
        ("attempts/a/1/stdout.log", lambda path: path.unlink(), "stdout.log: named in metadata.json but missing"),
        ("attempts/b/1/metadata.json", lambda path: path.unlink(), "attempts/b/1: the journal says it finished"),
        ("plan.parquet", lambda path: path.write_bytes(path.read_bytes()[:50]), "plan.parquet: unreadable"),
        ("campaign.json", lambda path: path.write_text("{"), "campaign.json: damaged"),
        ("journal.jsonl", lambda path: path.write_text(path.read_text().replace("true", "false", 1)), "hash chain"),
        ("journal.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-9]), "last line is torn"),
        ("MANIFEST.sha256", lambda path: path.write_text(""), "not in MANIFEST.sha256"),
    ],
)
def test_every_damage_is_found_and_named(store, name, damage, expected):
    damage(store.root / name)
    assert expected in said(store)


def test_a_second_accepted_attempt_is_found(store):
    journal = Journal(store.journal_path)
    finish(store, journal, "a", 2, accepted=True)
    journal.close()
    assert "a has 2 accepted attempts" in said(store)


def test_a_run_that_was_moved_may_be_accepted_again(store):
    journal = Journal(store.journal_path)
    journal.append("reopened", run_id="a", reason="its block moved")
    finish(store, journal, "a", 2, accepted=True)
    journal.append("completed", accepted=2, exhausted=0)
    journal.close()
    assert store.verify() == []


def test_an_attempt_is_never_overwritten(store):
    with pytest.raises(StoreError, match="never overwritten"):
        store.commit_attempt("a", 1, {"metadata.json": b"{}"})


def test_a_crash_while_writing_leaves_nothing_that_counts(store):
    partial = store.root / "attempts" / "a" / ".2.partial"
    partial.mkdir()
    (partial / "stdout.log").write_text("half")
    with store.manifest.open("a") as file:
        file.write("0123abc")
    assert "left by a crash" in said(store)
    store.repair()
    assert store.verify() == []


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """On a real small filesystem: one megabyte of tmpfs."""
    place = tmp_path / "small"
    place.mkdir()
    script = (
        "import sys; from pathlib import Path; from campaign.store import write_durably\n"
        f"path = Path({str(place)!r}) / 'file'\n"
        "write_durably(path, b'old')\n"
        "try: write_durably(path, b'x' * 2**21)\n"
        "except OSError as problem: assert path.read_bytes() == b'old', 'lost'; assert len(list(path.parent.iterdir())) == 1; print(problem)\n"
        "else: sys.exit('it fitted')\n"
    )
    mount = f'mount -t tmpfs -o size=1m tmpfs {place} && exec {sys.executable} -c "$0"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", mount, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No space left" in done.stdout


def test_two_drivers_do_not_share_a_campaign(store):
    store.lock()
    with pytest.raises(StoreError, match="another driver"):
        Store(store.root).lock()
    store.unlock()
    other = Store(store.root)
    other.lock()
    other.unlock()


def test_new_campaigns_get_folders_of_their_own(store, tmp_path):
    root = tmp_path / "results"
    assert folder_for(root, "demo", new=False).root.name == "demo"
    assert folder_for(root, "demo", new=True).root.name == "demo-2"
    (root / "demo-2").mkdir()
    write_durably(root / "demo-2" / "campaign.json", b"{}")
    assert folder_for(root, "demo", new=False).root.name == "demo-2"
