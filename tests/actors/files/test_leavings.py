"""Whatever an engine leaves, it is read and kept, or named and taken away; nothing of it is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.files import leavings
from actors.files.leavings import tidy


def test_what_is_no_regular_file_goes_unopened_and_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "report.json").symlink_to("/dev/zero")
    (folder / "passwd").symlink_to(secret)
    os.mkfifo(folder / "progress.json")
    (folder / "kept.json").write_text("{}")
    assert sorted(tidy(folder)) == [
        "passwd: no regular file (a link)",
        "progress.json: no regular file (a pipe)",
        "report.json: no regular file (a link)",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["kept.json", leavings.LIST]
    assert secret.read_text() == "mine"


def test_a_folder_thousands_deep_ends(tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (said,) = tidy(folder)
    assert said.endswith(f"deeper than {leavings.DEEPEST} folders")
    assert max(len(path.relative_to(folder).parts) for path in folder.rglob("*")) <= leavings.DEEPEST


def test_a_log_that_is_too_long_keeps_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavings, "KEEP_BYTES", 100)
    monkeypatch.setattr(leavings, "CUT_BYTES", 10)
    (tmp_path / "stderr.log").write_bytes(b"first line" + b"x" * 500 + b" last line")
    (tmp_path / "weights.bin").write_bytes(b"x" * 101)
    said = tidy(tmp_path)
    assert [line.partition(":")[0] for line in said] == ["stderr.log", "weights.bin"]
    kept = (tmp_path / "stderr.log").read_text()
    assert kept.startswith("first line\n[500 bytes are left out here: the file had 520]") and kept.endswith(
        " last line"
    )
    assert not (tmp_path / "weights.bin").exists()


def test_too_many_files_and_too_much_in_all_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavings, "MOST_FILES", 3)
    for number in range(5):
        (tmp_path / f"{number}.json").write_text("x")
    assert tidy(tmp_path) == ["3.json: more than 3 files", "4.json: more than 3 files"]


names = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.sets(names, min_size=1, max_size=8))
def test_every_name_that_stays_can_be_listed(raw: set[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for name in raw:
            Path(place, os.fsdecode(name)).write_bytes(name)
        tidy(Path(place))
        left = {path.name: path.read_bytes() for path in Path(place).iterdir() if path.name != leavings.LIST}
        assert sorted(left.values()) == sorted(raw), "no content is lost for its name"
        for kept in left:
            assert kept.isprintable() and kept.encode() and not (kept.startswith(".") and kept.endswith(".partial"))


def test_a_running_engines_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("7")
    assert leavings.small(tmp_path / "pipe") is None
    assert leavings.small(tmp_path / "link") is None
    assert leavings.small(tmp_path / "file") == b"7"
    assert leavings.small(tmp_path / "file", most=0) is None


def test_of_more_names_than_fit_into_a_list_the_first_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavings, "MOST_NAMES", 10)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(50):
        (many / f"{number:02d}").write_text("x")
    assert tidy(tmp_path) == ["many: 40 names more than 10"]
    assert sorted(path.name for path in many.iterdir()) == [f"{number:02d}" for number in range(10)]


def test_a_second_name_of_a_file_elsewhere_goes_and_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "output"
    folder.mkdir()
    os.link(tmp_path / "secret", folder / "kept.log")
    assert tidy(folder) == ["kept.log: it has a second name, and may be anybody's file"]
    assert (tmp_path / "secret").read_text() == "mine"
