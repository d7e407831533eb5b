"""The results folder: complete files or none, and every damage found by name."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from campaign.audit.verification import verify
from campaign.record.durable import StoreError, write_durably
from campaign.record.folders import folder_for
from campaign.record.journal import Journal
from campaign.record.layout import stored_name
from campaign.record.store import Store


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
    assert any("left by a crash" in str(it) for it in verify(store))
    done = store.repair()
    assert done == ["removed the unfinished attempts/a/.2.partial", "cut a torn last line off MANIFEST.sha256"]
    assert not partial.exists() and store.manifest.read_bytes().endswith(b"\n")
    assert not any("left by a crash" in str(it) for it in verify(store))


def on_a_small_filesystem(place, options, script):
    """What a script of Python says that ends well with a tmpfs at ``place``, which ends with it."""
    mount = f'mount -t tmpfs -o {options} tmpfs {place} && exec {sys.executable} -c "$0"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", mount, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """On a real small filesystem: one megabyte of tmpfs."""
    place = tmp_path / "small"
    place.mkdir()
    script = (
        "import sys; from pathlib import Path; from campaign.record.store import write_durably\n"
        f"path = Path({str(place)!r}) / 'file'\n"
        "write_durably(path, b'old')\n"
        "try: write_durably(path, b'x' * 2**21)\n"
        "except OSError as problem: assert path.read_bytes() == b'old', 'lost'; assert "
        "len(list(path.parent.iterdir())) == 1; print(problem)\n"
        "else: sys.exit('it fitted')\n"
    )
    assert "No space left" in on_a_small_filesystem(place, "size=1m", script)


def test_a_disk_that_holds_no_more_files_is_told_from_a_full_one(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    script = (
        "import errno; from pathlib import Path; from campaign.cli.words import _of_others\n"
        "from campaign.record.store import write_durably\n"
        f"place = Path({str(place)!r})\n"
        "try:\n  for number in range(100): write_durably(place / str(number), b'x')\n"
        "except OSError as problem: print(_of_others(problem))\n"
        "assert not list(place.glob('.*'))\n"
        "print(len(list(place.iterdir())))\n"
    )
    said = on_a_small_filesystem(place, "size=1m,nr_inodes=20", script)
    assert "the disk holds as many files as it can" in said and "`df -i` tells" in said
    assert said.split()[-1] == "19"


def test_two_drivers_do_not_share_a_campaign(store):
    store.lock()
    with pytest.raises(StoreError, match="another driver"):
        Store(store.root).lock()
    store.unlock()
    other = Store(store.root)
    other.lock()
    other.unlock()


def test_a_filesystem_without_locks_is_told_from_another_driver(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match=r"offers no locks \(No locks available\).*on a local disk"):
        Store(tmp_path / "results").lock()


def test_a_filesystem_without_durable_names_is_refused_with_the_remedy(tmp_path, monkeypatch):
    real = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StoreError, match=r"cannot make a new file's name durable.*on a local disk"):
        write_durably(tmp_path / "file", b"data")


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"\xff\xfe.log"), "a/\x1b[2J/b", "n" * 300])
def test_a_name_that_no_list_could_hold_is_kept_under_another(store, name):
    kept = stored_name(name)
    metadata = json.dumps({"files": {kept: hashlib.sha256(b"x").hexdigest()}}).encode()
    store.commit_attempt("c", 1, {kept: b"x", "metadata.json": metadata})
    listed = [line.split("  ", 1)[1] for line in store.manifest.read_text().splitlines()]
    assert f"attempts/c/1/{kept}" in listed
    assert all(store.is_finished_file(it) and (store.root / it).exists() for it in listed)
    assert stored_name("output/report.json") == "output/report.json"
    assert stored_name(kept) == kept


def test_what_is_set_aside_is_whole_and_no_longer_listed(store):
    store.commit_attempt("c", 1, {"stdout.log": b"x", "metadata.json": b"{}"})
    before = store.manifest.read_text()
    where = store.set_aside(store.root / "attempts" / "c" / "1")
    assert (where / "stdout.log").read_bytes() == b"x"
    assert store.manifest.read_text() == "".join(it for it in before.splitlines(True) if "attempts/c/1/" not in it)


def test_new_campaigns_get_folders_of_their_own(store, tmp_path):
    root = tmp_path / "results"
    assert folder_for(root, "demo", new=False).root.name == "demo"
    assert folder_for(root, "demo", new=True).root.name == "demo-2"
    (root / "demo-2").mkdir()
    write_durably(root / "demo-2" / "campaign.json", b"{}")
    assert folder_for(root, "demo", new=False).root.name == "demo-2"


def test_what_is_too_large_for_memory_is_received_in_pieces_and_part_of_the_attempt(store):
    place = store.attempt_path("a", 2)
    store.receive(place, "output/trace.log", [b"one", b"two"])
    assert store.received_digests(place) == {"output/trace.log": hashlib.sha256(b"onetwo").hexdigest()}
    store.commit_folder(place, {"stdout.log": b"x", "metadata.json": b"{}"})
    assert (place / "output" / "trace.log").read_bytes() == b"onetwo"
    assert f"{hashlib.sha256(b'onetwo').hexdigest()}  attempts/a/2/output/trace.log" in store.manifest.read_text()
    assert sorted(path.name for path in place.parent.iterdir()) == ["1", "2"], "nothing stays beside it"


def test_what_was_received_for_an_attempt_that_never_ended_is_removed_at_the_next_start(store):
    place = store.attempt_path("a", 2)
    store.receive(place, "output/trace.log", [b"half"])
    assert store.repair() == ["removed the unfinished attempts/a/.2.large.partial"]
    assert sorted(path.name for path in place.parent.iterdir()) == ["1"]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda place: place.unlink(),
        lambda place: (place.unlink(), place.write_text("")),
        lambda place: place.parent.rename(place.parent.with_name("elsewhere")),
    ],
    ids=["deleted", "replaced", "the folder renamed"],
)
def test_a_driver_that_loses_its_lock_stops(store, meddle):
    """A second driver came in where the lock's file was deleted, and both measured."""
    store.lock()
    store.require_lock()
    meddle(store.root / ".driver.lock")
    with pytest.raises(StoreError, match="taken away while the campaign ran"):
        store.require_lock()
    store.unlock()
