"""Spools of campaigns that nobody resumes are found, with their size and age, and removed only when asked."""

from __future__ import annotations

import os
import time
from pathlib import Path

from actors.telemetry.leftover import clear, spools


def spool(home: Path, name: str, size: int, age_s: float) -> Path:
    folder = home / "spool" / name / "local"
    folder.mkdir(parents=True)
    (folder / "samples.arrow").write_bytes(b"x" * size)
    for path in (folder / "samples.arrow", folder, folder.parent):
        os.utime(path, (time.time() - age_s,) * 2)
    return folder.parent


def test_they_are_listed_by_size_with_their_age(tmp_path: Path) -> None:
    spool(tmp_path, "small", 10, 7200)
    spool(tmp_path, "large", 100_000, 86400)
    large, small = spools(tmp_path)
    assert (large.campaign_id, small.campaign_id) == ("large", "small")
    assert large.size_bytes > 100_000 and 86300 < large.age_s < 86500


def test_one_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    old, new = spool(tmp_path, "old", 10, 7200), spool(tmp_path, "new", 10, 5)
    assert [found.campaign_id for found in clear(spools(tmp_path))] == ["old"]
    assert not old.exists() and new.exists()


def test_a_home_without_any_has_none(tmp_path: Path) -> None:
    assert spools(tmp_path) == []
