"""Iteration logs: Python literals, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.trtllm.iterations import figures, read_iterations
from actors.engines.trtllm.report import ReportError

LOG = Path(__file__).parents[3] / "fixtures" / "trtllm" / "iteration_log_v1.1.txt"
TEXT = LOG.read_text()


def test_the_capacity_of_the_cache_is_counted_in_blocks() -> None:
    found = figures(read_iterations(LOG))
    assert found["iterations"] == len(TEXT.strip().split("\n"))
    assert found["kv_cache_tokens"] == 56170 * 32
    assert found["requests_active_max"] == 8


@given(st.integers(0, len(TEXT)))
def test_a_log_cut_anywhere_loses_its_last_line_at_most(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "iterations.txt"
    path.write_text(TEXT[:cut])
    whole = TEXT[:cut].count("\n")
    if whole == 0:
        if TEXT[:cut] != TEXT.split("\n")[0]:
            with pytest.raises(ReportError, match=r"empty|not a Python literal"):
                read_iterations(path)
    else:
        assert whole <= len(read_iterations(path)) <= whole + 1


def test_a_missing_key_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "iterations.txt"
    lines = TEXT.strip().split("\n")
    lines[2] = lines[2].replace("'tokensPerBlock'", "'other'")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ReportError, match=r"line 3: key 'kvCacheStats\.tokensPerBlock' is missing"):
        read_iterations(path)


def test_code_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "iterations.txt"
    path.write_text("__import__('os').mkdir('made')\n")
    with pytest.raises(ReportError, match="not a Python literal"):
        read_iterations(path)
