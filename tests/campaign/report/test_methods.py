"""The methods follow the config and the journal, and say nothing that is not known."""

import json
from pathlib import Path

from campaign.analysis import views
from campaign.exchange.imports import import_runs
from campaign.report import methods
from tests import synthetic


def test_the_methods_tell_what_ran(con):
    text = methods.methods(con)
    assert "2 models (small and tiny)" in text and "the reference being native-chroot" in text
    assert "Of 48 planned runs 48 were accepted, 12 for each combination" in text
    assert "in 49 attempts, of which 1 was rejected and kept" in text
    assert r"45 \textdegree{}C" in text
    assert "The order of arms alternated" in text
    assert "Hz" not in text  # the config declares no rate, so none is stated


def test_the_methods_follow_the_config_and_not_the_other_way_round(tmp_path):
    results = synthetic.write(tmp_path / "other", repetitions=3, done=5)
    path = results / "campaign.json"
    facts = json.loads(path.read_text())
    facts["config"] |= {
        "order": "random",
        "gate": {"ceiling_c": 52.5, "dwell_s": 7},
        "telemetry": {"rate_hz": 25},
        "margin_pct": 3,
    }
    path.write_text(json.dumps(facts))
    text = methods.methods(views.connect(results))
    assert (
        "drawn at random" in text
        and r"52.5 \textdegree{}C for 7 s" in text
        and "25 Hz" in text
        and r"$\pm$3 \%" in text
    )
    assert "Of 12 planned runs 5 were accepted, 1 to 2 for each" in text


def test_the_methods_of_imported_runs_claim_no_design(tmp_path):
    source = Path(__file__).parents[3] / "examples" / "phase1" / "phase1_results.json"
    text = methods.methods(views.connect(import_runs(source, tmp_path, gpu="NVIDIA GB10", batch_size=8)))
    assert "taken in from phase1\\_results.json" in text and "They are of 3 models" in text
    assert "block" not in text and "unknown" not in text
