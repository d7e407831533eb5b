"""A pilot rehearsed: what varies where, the plan that costs least, and the rest that is enough,
from the config to the figure in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_study import study
from typer.testing import CliRunner

from campaign.analysis import views
from campaign.cli import app
from campaign.config.loading import load
from campaign.errors import DriverError
from campaign.plan import rest
from campaign.record.store import Store
from campaign.report import figures, methods
from campaign.run.driver import Driver


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A rehearsed pilot of one model whose campaign rests for five minutes, and what was said."""
    place = tmp_path_factory.mktemp("pilot")
    config = study(
        place, models="[qwen2-1.5b]", shakedown="false", gate="{cooldown_s: 300, ceiling_c: 45, dwell_s: 10}"
    )
    told = CliRunner().invoke(app, ["rehearse", str(config), "--pilot", "5", "--results", str(place / "rehearsals")])
    assert told.exit_code == 0, told.output
    return place, told.output


def test_a_pilot_tells_of_every_cell_and_of_the_rest(pilot: tuple[Path, str]) -> None:
    place, said = pilot
    assert "Variation of mean latency, cell by cell" in said
    assert "Requests and repetitions, from the pilot" in said
    assert "instead of 300 s" in said
    assert (place / "rehearsals" / "small-study-pilot" / "campaign.json").exists()


def test_nothing_is_claimed_of_a_pilot(pilot: tuple[Path, str]) -> None:
    place, _ = pilot
    root = place / "rehearsals" / "small-study-pilot"
    said = CliRunner().invoke(app, ["report", str(root)])
    assert said.exit_code == 0, said.output
    assert "A pilot: its runs were made to plan" in " ".join(said.output.split())
    con = views.connect(root)
    verdicts = {verdict for (verdict,) in con.execute("SELECT DISTINCT verdict FROM comparisons").fetchall()}
    assert verdicts == {"unfinished"}
    assert "A pilot: its runs were made to plan" in (root / "report" / "index.html").read_text()
    assert not (root / "interim_views.jsonl").exists()


def test_from_the_pilot_to_a_shorter_rest_in_the_report(pilot: tuple[Path, str]) -> None:
    place, _ = pilot
    files = [place / "overrides.yaml", place / "rest.json"]
    asked = ["plan", str(place / "small-study.yaml"), "--pilot", str(place / "rehearsals" / "small-study-pilot")]
    written = CliRunner().invoke(app, [*asked, "--apply", str(files[0]), "--rest", str(files[1])])
    assert written.exit_code == 0, written.output
    assert files[0].read_text().startswith("# Simulated")
    assert load(with_rest(place, files[0].read_text())).overrides["qwen2-1.5b"].requests
    again = CliRunner().invoke(app, [*asked, "--rest", str(files[1])])
    assert again.exit_code == 2 and "nothing was written" in again.output

    config = with_rest(place)
    campaign = load(config)
    assert campaign.rest is not None
    assert 60 < campaign.gate.cooldown_s == campaign.rest.cooldown_s < 300
    ran = CliRunner().invoke(app, ["rehearse", str(config), "--results", str(place / "rehearsals"), "--no-report"])
    assert ran.exit_code == 0, ran.output
    con = views.connect(place / "rehearsals" / "shorter")
    waited_s, warmest_c = con.execute("SELECT max(rest_s), max(temperature_c) FROM gates").fetchall()[0]
    assert waited_s < 300 and warmest_c < 45

    drawn = figures.REST_FIGURE.draw(con)
    assert drawn is not None
    assert {"native-chroot", "docker-baseline"} <= set(json.dumps(drawn.to_dict()).split('"'))
    told = methods.methods(con)
    assert f"{campaign.gate.cooldown_s:g} s of rest instead of 300 s" in told


def test_a_simulated_calibration_enters_no_campaign_that_measures(pilot: tuple[Path, str]) -> None:
    place, _ = pilot
    file = place / "rest.json"
    if not file.exists():
        file.write_text(rest.calibrated(place / "rehearsals" / "small-study-pilot").model_dump_json())
    with pytest.raises(DriverError, match="a rehearsal, and nothing in it was measured"):
        Driver(load(with_rest(place)), Store(place / "results" / "shorter")).run()
    assert not (place / "results" / "shorter" / "journal.jsonl").exists()


def with_rest(place: Path, more: str = "") -> Path:
    """The campaign with the calibrated rest, once per cell, or twice."""
    text = (place / "small-study.yaml").read_text()
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in ("name", "gate", "repetitions")]
    gate = "gate: {cooldown_s: calibrated, calibration: rest.json, ceiling_c: 45, dwell_s: 10}"
    path = place / f"shorter{'-more' if more else ''}.yaml"
    path.write_text("\n".join([*lines, "name: shorter", "repetitions: 2", gate, more]) + "\n")
    return path


def test_a_pilot_of_too_few_runs_is_refused(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["pilot", str(study(tmp_path)), "-n", "3", "--results", str(tmp_path)])
    assert refused.exit_code == 2
    assert "give 5 or more" in refused.output
