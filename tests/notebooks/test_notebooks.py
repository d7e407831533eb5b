"""The notebook runs from its first cell to its last against any campaign."""

import json
from pathlib import Path

import altair as alt
import pandas as pd

from tests import synthetic
from tests.notebooks.cells import code_cells, run_cells

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "campaign.ipynb"


def test_every_cell_runs_and_shows_sql_pandas_and_altair_over_the_same_runs(tmp_path, monkeypatch):
    results = synthetic.write(tmp_path / "synthetic")
    monkeypatch.setenv("CAMPAIGN_RESULTS", str(results))
    values = run_cells(code_cells(NOTEBOOK))
    frames = [value for value in values if isinstance(value, pd.DataFrame)]
    assert len(frames) >= 4 and all(len(frame) for frame in frames)
    assert sum(isinstance(value, alt.TopLevelMixin) for value in values) >= 2


def test_the_notebook_starts_from_the_results_and_stays_small():
    first = code_cells(NOTEBOOK)[0]
    assert "campaign.open(" in first
    assert NOTEBOOK.stat().st_size < 150_000
    content = json.loads(NOTEBOOK.read_text())
    assert content["nbformat"] == 4
    assert all(cell["outputs"] for cell in content["cells"] if cell["cell_type"] == "code")
