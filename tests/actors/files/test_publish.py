"""A file that is being written is nobody's to see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.files.publish import publish


def test_what_was_written_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("old")
    with publish(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("old")
    with pytest.raises(ValueError, match="half"), publish(path) as partial:
        partial.write_text("half")
        raise ValueError("half")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_link_that_stands_where_it_would_write_is_not_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "page.html", tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / f".page.html.{os.getpid()}.partial").symlink_to(elsewhere)
    with publish(path) as partial:
        partial.write_text("ours")
    assert elsewhere.read_text() == "theirs" and path.read_text() == "ours" and not path.is_symlink()


def test_durable_means_file_and_name_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "file", []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))
    )
    with publish(path, durable=True) as partial:
        partial.write_text("x")
    assert synced == [(str(partial), False), (str(tmp_path), True)]
