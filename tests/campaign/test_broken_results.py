"""Whatever happened to a results folder, every command says what is wrong, and none damages it further."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from broken_folders import FOLDERS, STARTS, Broken
from small_campaign import PROJECT, Finished, campaign
from typer.testing import CliRunner

from campaign.cli import EXIT_REFUSED, app
from campaign.journal import fold, read
from campaign.store import Store


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
    next(case for case in FOLDERS if case.name == "journal: last line torn").damage(copy)
    done = campaign("run", finished.config, "--results", copy.parent, "--no-report", home=finished.home)
    assert done.returncode == 0, done.stdout
    assert [event["event"] for event in read(copy / "journal.jsonl")[0]][-3:] == ["recovered", "opened", "completed"]
    assert Store(copy).verify() == []


def test_a_cut_manifest_is_completed_by_the_next_run(copy: Path, finished: Finished):
    (copy / "MANIFEST.sha256").unlink()
    said("run", finished.config, "--results", copy.parent)
    assert Store(copy).verify() == []


def test_a_second_driver_is_kept_out(copy: Path, finished: Finished):
    (copy / "journal.jsonl").write_bytes(b"".join((copy / "journal.jsonl").read_bytes().splitlines(True)[:-1]))
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
    (copy / "journal.jsonl").write_bytes(b"".join((copy / "journal.jsonl").read_bytes().splitlines(True)[:-1]))
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
    assert store.verify() == []
