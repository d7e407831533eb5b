"""The table at the end: every digit at any width, and what speaks against the figures before any of them."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from campaign.analysis import metrics
from campaign.exchange.imports import import_runs
from campaign.report import terminal, wording


def shown(con, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal.summary(con))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_figure_is_cut_at_any_width(con, width):
    text = shown(con, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    rows = [row for row in map(wording.readable, terminal.evidence.rows(con)) if row["metric"] == metrics.headline()]
    for row in rows:
        for arm in ("reference", "treatment"):
            assert wording.mean_sd(row[f"mean_{arm}"], row[f"sd_{arm}"]) in text
        assert wording.brackets(row) in text


def test_grave_findings_stand_before_the_first_figure(tmp_path):
    table = tmp_path / "runs.csv"
    rows = [(arm, i, 100 + i / 10 + 20 * (arm == "docker")) for arm in ("native", "docker") for i in range(1, 7)]
    table.write_text(
        "model,environment,repetition,started_utc,token_throughput_tok_s\n"
        + "".join(f"m-70b,{arm},{i},2026-01-0{1 + (arm == 'docker')}T0{i}:00:00Z,{value}\n" for arm, i, value in rows)
    )
    folder = import_runs(table, tmp_path / "results", gpu="NVIDIA GB10", batch_size=1)
    text = re.sub(r"\s+", " ", shown(terminal.evidence.connect(folder), 80))
    assert "plausibility checks put these figures in doubt" in text
    assert "arms interleaved" in text and "below roofline" in text
    assert text.index("in doubt") < text.index("throughput tok/s")
