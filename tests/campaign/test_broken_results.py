"""Whatever happened to a results folder, every command says what is wrong, and none damages it further."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_campaign import PROJECT, Finished, campaign
from typer.testing import CliRunner

from campaign.audit.verification import verify
from campaign.cli import app
from campaign.errors import EXIT_REFUSED
from campaign.record.journal import Journal, fold, read
from campaign.record.layout import journalled
from campaign.record.store import Store
from campaign.run import adoption
from tests.campaign.broken_folders import FOLDERS, STARTS, Broken, unfinish


def said(*words: object) -> str:
    """What the user sees, in this process; a traceback would be an exception here."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return " ".join(done.output.split())


@pytest.fixture
def copy(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMPAIGN_HOME", str(finished.home))
    shutil.copytree(finished.folder, tmp_path / "results" / "small")
    return tmp_path / "results" / "small"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in {".driver.lock", "status.json"}
    }


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
def test_every_command_says_what_is_wrong(case: Broken, copy: Path, finished: Finished):
    case.damage(copy)
    before = contents(copy)
    assert case.verify in said("verify", copy)
    assert case.sql in said("sql", copy, "select count(*) from runs", "-f", "csv")
    assert case.status in said("status", copy)
    assert contents(copy) == before, "looking changed something"
    if case.name not in STARTS:
        assert case.run in said("run", finished.config, "--results", copy.parent, "--no-report")
        after = contents(copy)
        assert {name: after.get(name) for name in before if name != "MANIFEST.sha256"} == {
            name: data for name, data in before.items() if name != "MANIFEST.sha256"
        }


@pytest.mark.parametrize("name", ["campaign.json: torn", "attempts: all missing"])
def test_a_report_is_written_or_refused_in_words(name: str, copy: Path):
    next(case for case in FOLDERS if case.name == name).damage(copy)
    text = said("report", copy)
    assert "index.html" in text or "damaged" in text


def test_a_torn_last_line_is_cut_off_and_remembered(copy: Path, finished: Finished):
    unfinish(copy)
    with (copy / "journal.jsonl").open("a") as file:
        file.write('{"seq":9,"t_utc')
    done = campaign("run", finished.config, "--results", copy.parent, "--no-report", home=finished.home)
    assert done.returncode == 0, done.stdout
    assert [event["event"] for event in read(copy / "journal.jsonl")[0]][-3:] == ["recovered", "opened", "completed"]
    assert verify(Store(copy)) == []


def test_a_lost_manifest_is_made_again_and_is_not_taken_for_the_one_that_was_lost(copy: Path, finished: Finished):
    shutil.rmtree(copy / "report")
    (copy / "MANIFEST.sha256").unlink()
    said("run", finished.config, "--results", copy.parent)
    (problem,) = verify(Store(copy))
    assert str(problem).startswith("MANIFEST.sha256: status.json knows it with")


def put_other_runs_attempt(copy: Path) -> str:
    """The attempt of an arm under the name of another's run that is under way."""
    mine, other = (
        copy / "attempts" / open_run(copy),
        next(it for it in (copy / "attempts").iterdir() if it.name != open_run(copy)),
    )
    shutil.copytree(other / "1", mine / "2")
    return "its metadata.json speaks of run_id"


def put_torn_metadata(copy: Path) -> str:
    place = copy / "attempts" / open_run(copy) / "2"
    place.mkdir()
    (place / "metadata.json").write_text('{"run_id": "x", "att')
    return "its metadata.json cannot be read"


def put_changed_file(copy: Path) -> str:
    """The very attempt that was under way, with another log than it had."""
    run = copy / "attempts" / open_run(copy)
    shutil.copytree(run / "1", run / "2")
    facts = json.loads((run / "2" / "metadata.json").read_text())
    (run / "2" / "metadata.json").write_text(json.dumps(facts | {"attempt": 2}))
    (run / "2" / "command.json").write_text("{}")
    return "command.json is not as its metadata.json has it"


def put_copy(copy: Path) -> str:
    run = copy / "attempts" / open_run(copy)
    shutil.copytree(run / "1", run / "1 (copy)")
    return "not the folder of an attempt"


def put_unplanned(copy: Path) -> str:
    run = copy / "attempts" / open_run(copy)
    shutil.copytree(run, copy / "attempts" / "unplanned__native__tiny__r01")
    return "the journal knows of no such attempt under way"


def put_link(copy: Path) -> str:
    (copy / "attempts" / "elsewhere").symlink_to("/etc")
    return "not the folder of an attempt"


def put_folder_without_end(copy: Path) -> str:
    """What an engine left that nested folders until recursion ends."""
    place = os.open(copy / "attempts" / open_run(copy), os.O_RDONLY)
    for name in (".3.partial", *["d"] * 1500):
        os.mkdir(name, dir_fd=place)
        below = os.open(name, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    return "removed the unfinished attempts/"


def open_run(copy: Path) -> str:
    """The run whose second attempt the journal says was under way (see :func:`leave_one_open`)."""
    return str(read(copy / "journal.jsonl")[0][-1]["run_id"])


def leave_one_open(copy: Path) -> None:
    """As if an attempt had been under way, after its run was opened again, when the driver was killed."""
    unfinish(copy)
    events = read(copy / "journal.jsonl")[0]
    last = [event for event in events if event["event"] == "finished"][-1]
    journal = Journal(copy / "journal.jsonl")
    journal.append("requeued", block=next(it["block"]
        for it in events if it["event"] == "dispatched" and it["run_id"] == last["run_id"]),
                   **{"from": "another", "to": last["unit"]})  # fmt: skip
    journal.append("reopened", run_id=last["run_id"], reason="its block moved")
    block = next(it["block"] for it in events if it["event"] == "dispatched" and it["run_id"] == last["run_id"])
    journal.append("dispatched", run_id=last["run_id"], attempt=2, unit=last["unit"], block=block)
    journal.close()


STRANGE = (
    put_other_runs_attempt,
    put_torn_metadata,
    put_changed_file,
    put_copy,
    put_unplanned,
    put_link,
    put_folder_without_end,
)


def test_strange_content_of_an_unfinished_folder_is_set_aside_with_words_and_never_taken_in(
    copy: Path, finished: Finished
):
    """One after the other, each found by a new start of the same command; the last of them finishes the campaign."""
    leave_one_open(copy)
    untouched = {path: path.read_bytes() for path in copy.glob("attempts/*/1/**/*") if path.is_file()}
    put_together = {"put_copy", "put_unplanned", "put_link", "put_folder_without_end"}
    words = [put(copy) for put in STRANGE if put.__name__ in {"put_other_runs_attempt"} | put_together]
    done = campaign("run", finished.config, "--results", copy.parent, "--no-report", home=finished.home)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    assert not [word for word in words if word not in " ".join(done.stdout.split())], done.stdout
    assert {path: path.read_bytes() for path in untouched} == untouched
    assert len(list((copy / "set-aside").iterdir())) == 6, (
        "a copy, a link, another run's attempt, an unplanned run's three"
    )
    assert verify(Store(copy)) == []


@pytest.mark.parametrize("put", STRANGE[:6], ids=lambda put: put.__name__)
def test_only_the_attempt_that_was_under_way_is_taken_in(put, copy: Path):
    leave_one_open(copy)
    words = put(copy)
    store = Store(copy)
    events = read(store.journal_path)[0]
    known = journalled(events)
    (place,) = adoption.unknown(store, known)
    with pytest.raises(adoption.Strange, match=re.escape(words)):
        adoption.evidence(store, place, store.info(), fold(events))
    where = store.set_aside(place)
    assert os.path.lexists(where) and not os.path.lexists(place)
    assert list(adoption.unknown(store, known)) == []


def test_the_attempt_that_was_under_way_is_taken_in(copy: Path):
    leave_one_open(copy)
    run = copy / "attempts" / open_run(copy)
    shutil.copytree(run / "1", run / "2")
    facts = json.loads((run / "2" / "metadata.json").read_text())
    (run / "2" / "metadata.json").write_text(json.dumps(facts | {"attempt": 2}))
    store = Store(copy)
    metadata, digest = adoption.evidence(store, run / "2", store.info(), fold(read(store.journal_path)[0]))
    assert (metadata.run_id, metadata.attempt) == (run.name, 2)
    assert digest == hashlib.sha256((run / "2" / "metadata.json").read_bytes()).hexdigest()


def test_repair_touches_nothing_inside_a_finished_attempt(copy: Path, finished: Finished):
    """A file that an engine called `.x.partial` is evidence like any other."""
    attempt = sorted(copy.glob("attempts/*/1"))[0]
    (attempt / ".x.partial").write_text("mine")
    (copy / "units" / ".unit.json.partial").write_text("half")
    done = Store(copy).repair()
    assert (attempt / ".x.partial").read_text() == "mine"
    assert "removed the unfinished units/.unit.json.partial" in done


def test_a_second_driver_is_kept_out(copy: Path, finished: Finished):
    unfinish(copy)
    other = Store(copy)
    other.lock()
    done = campaign("run", finished.config, "--results", copy.parent, home=finished.home)
    other.unlock()
    assert done.returncode == EXIT_REFUSED
    assert f"another driver (PID {os.getpid()}) is carrying out this campaign" in done.stdout


def in_a_namespace(script: str, *arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """A shell script with mounts of its own, which end with it."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "CAMPAIGN_HOME": str(home), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_read_only_folder_is_read_and_refused_in_words(copy: Path, finished: Finished):
    unfinish(copy)
    script = """
        mount --bind "$3" "$3" && mount -o remount,ro,bind "$3" || exit 99
        for verb in verify status; do "$1" -m campaign $verb "$3/small" 2>&1 || exit 98; done
        "$1" -m campaign sql "$3/small" 'select 40 + 2 as answer' 2>&1 || exit 97
        "$1" -m campaign run "$2" --results "$3" 2>&1
    """
    done = in_a_namespace(script, finished.config, copy.parent, home=finished.home)
    assert done.returncode == EXIT_REFUSED, done.stdout
    assert "42" in done.stdout
    assert "Read-only file system" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_full_disk_stops_the_campaign_and_space_lets_it_go_on(finished: Finished, tmp_path: Path):
    """Results on a real filesystem of one megabyte, which something else fills while the campaign runs."""
    results = tmp_path / "results"
    results.mkdir()
    script = """
        mount -t tmpfs -o size=1m tmpfs "$3" || exit 99
        head -c 960k /dev/zero > "$3/other" || exit 98
        "$1" -m campaign run "$2" --results "$3" --no-report 2>&1
        echo "first: $?"
        rm "$3/other"
        "$1" -m campaign run "$2" --results "$3" --no-report 2>&1
        echo "second: $?"
        cp -r "$3/small" "$4"
    """
    done = in_a_namespace(script, finished.config, results, tmp_path / "saved", home=finished.home)
    assert "Traceback" not in done.stdout, done.stdout
    assert "disk is full" in done.stdout, done.stdout
    assert f"first: {EXIT_REFUSED}" in done.stdout, done.stdout
    assert "second: 0" in done.stdout, done.stdout
    store = Store(tmp_path / "saved")
    assert fold(read(store.journal_path)[0]).completed
    assert verify(store) == []
