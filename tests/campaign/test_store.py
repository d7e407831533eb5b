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


def test_an_attempt_is_never_overwritten(store):
    with pytest.raises(StoreError, match="never overwritten"):
        store.commit_attempt("a", 1, {"metadata.json": b"{}"})


def test_a_crash_while_writing_leaves_nothing_that_counts(store):
    partial = store.root / "attempts" / "a" / ".2.partial"
    partial.mkdir()
    (partial / "stdout.log").write_text("half")
    with store.manifest.open("a") as file:
        file.write("0123abc")
    assert any("left by a crash" in str(it) for it in store.verify())
    done = store.repair()
    assert done == ["removed the unfinished attempts/a/.2.partial", "cut a torn last line off MANIFEST.sha256"]
    assert not partial.exists() and store.manifest.read_bytes().endswith(b"\n")
    assert not any("left by a crash" in str(it) for it in store.verify())


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
