"""Before any run: what N does the design need?"""

import json
import re
from io import StringIO

import pyarrow as pa
import pytest
from pyarrow import parquet
from rich.console import Console

from campaign.plan.power import PowerRefused, describe_power
from tests import synthetic


def printed(*args, width=140, **kwargs) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(describe_power(*args, **kwargs))
    return re.sub(r"\s+", " ", console.export_text())


def test_it_states_plainly_what_thirty_runs_can_see():
    text = printed()
    assert "30 runs per arm have 48 % power for d = 0.5" in text
    assert "spread assumed, not measured" in text
    assert "correlate by 0.55 or more" in text


def test_a_wider_spread_needs_more_runs():
    def runs_for_equivalence(cv):
        return int(re.search(r"blocks .*?(\d+) / \d+ Two figures", printed(cv_pct=cv)).group(1))

    assert runs_for_equivalence(0.5) < runs_for_equivalence(2.0) < runs_for_equivalence(8.0)


def pilot(folder, repetitions):
    """A folder as a measured campaign leaves it, which the synthetic one says it is not."""
    written = synthetic.write(folder, repetitions=repetitions, telemetry_hz=0)
    info = json.loads((written / "campaign.json").read_text())
    (written / "campaign.json").write_text(json.dumps(info | {"simulated": False}))
    planned = parquet.read_table(written / "plan.parquet")
    place = planned.schema.get_field_index("simulated")
    parquet.write_table(
        planned.set_column(place, "simulated", pa.array([False] * len(planned))), written / "plan.parquet"
    )
    return written


def test_a_pilot_gives_the_spread_of_every_model(tmp_path):
    text = printed(pilot(tmp_path, repetitions=6))
    assert "spread measured in" in text
    assert re.search(r"\btiny 0\.\d+", text)
    assert re.search(r"\bsmall 0\.\d+", text)


@pytest.mark.parametrize("wrong", [{"cv_pct": 0.0}, {"cv_pct": -1.0}, {"rho": 1.0}, {"effect_pct": 0.0}, {"n": 1}])
def test_a_question_without_an_answer_is_refused(wrong):
    with pytest.raises(PowerRefused):
        describe_power(**wrong)


def test_a_pilot_without_three_runs_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(PowerRefused, match="run a longer pilot, or assume a spread with --cv-pct"):
        describe_power(pilot(tmp_path, repetitions=2))


def test_a_rehearsal_is_no_pilot(tmp_path):
    with pytest.raises(PowerRefused, match="a rehearsal, whose spread was asked for and not measured"):
        describe_power(synthetic.write(tmp_path, repetitions=6, telemetry_hz=0))


def test_it_fits_eighty_columns():
    text = printed(cv_pct=2.0, width=80)
    assert "…" not in text
    assert "any model" in text
