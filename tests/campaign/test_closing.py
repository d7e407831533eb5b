"""The report is made in a process of its own, whose crash is said, tried once more, and harms nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from campaign.cli import carry_out


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch):
    """Such ends of the report's process, in order; what was started is kept."""

    def as_told(*codes: int) -> list[list[str]]:
        started: list[list[str]] = []
        left = list(codes)
        real = subprocess.Popen

        def instead(words: list[str], **options: object) -> subprocess.Popen[bytes]:
            started.append(words)
            code = left.pop(0)
            dying = f"import os, signal; os.kill(os.getpid(), {-code})" if code < 0 else f"raise SystemExit({code})"
            return real([sys.executable, "-c", dying])

        monkeypatch.setattr(subprocess, "Popen", instead)
        return started

    return as_told


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ((0,), []),
        ((-11, 0), ["died by signal 11; once more"]),
        (
            (-11, -6),
            ["died by signal 11; once more", "could not be made (code -6); the results are whole: campaign report"],
        ),
        ((3,), ["could not be made (code 3); the results are whole: campaign report"]),
    ],
)
def test_a_crash_is_said_and_tried_once_more(ends, capfd, tmp_path: Path, codes, says) -> None:
    started = ends(*codes)
    carry_out._report_apart(SimpleNamespace(root=tmp_path), no_report=True)
    assert len(started) == len(codes)
    assert all(words[1:] == ["-m", "campaign.closing", str(tmp_path), "--no-page"] for words in started)
    out = " ".join("".join(capfd.readouterr()).split())
    assert all(" ".join(words.split()) in out for words in says), out
