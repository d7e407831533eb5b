"""What was measured and what was simulated never meet: neither goes on in the other's folder,
and neither is taken in as the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_study import rehearsed, study
from typer.testing import CliRunner

from campaign import config
from campaign.cli import app
from campaign.exchange.imports import ImportRefused, understand
from campaign.plan.power import PowerRefused, describe_power
from campaign.reading import Asked
from campaign.record.durable import StoreError
from campaign.record.journal import Journal, read
from campaign.record.store import Store
from campaign.rehearsal.rehearse import Rehearsed


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    return rehearsed(tmp_path_factory.mktemp("kinds"), repetitions="1", models="[qwen2-1.5b]")


def digest(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_campaign_does_not_go_on_in_a_rehearsals_folder(done: Rehearsed) -> None:
    root = done.store.root
    before = digest(root)
    result = CliRunner().invoke(
        app, ["run", str(root.parent.parent / "small-study.yaml"), "--results", str(root.parent)]
    )
    assert result.exit_code == 3
    assert "holds the simulated results of a rehearsal" in result.output
    assert digest(root) == before


def test_a_driver_on_real_units_refuses_it_too(done: Rehearsed) -> None:
    from campaign.run.driver import Driver

    campaign = config.load(done.store.root.parent.parent / "small-study.yaml")
    with pytest.raises(StoreError, match="simulated results of a rehearsal"):
        Driver(campaign, Store(done.store.root)).run()


def test_a_rehearsal_does_not_write_into_a_measured_folder(done: Rehearsed, tmp_path: Path) -> None:
    """Here a copy of the rehearsal that claims to have been measured."""
    root = tmp_path / "results" / "small-study"
    shutil.copytree(done.store.root, root)
    facts = json.loads((root / "campaign.json").read_bytes())
    (root / "campaign.json").write_text(json.dumps(facts | {"simulated": False}))
    before = digest(root)
    result = CliRunner().invoke(app, ["rehearse", str(study(tmp_path)), "--results", str(root.parent)])
    assert result.exit_code == 3
    assert "holds measured results, and a rehearsal's are simulated" in result.output
    assert digest(root) == before


def test_a_rehearsal_takes_no_folder_that_is_not_one(tmp_path: Path) -> None:
    kept = tmp_path / "rehearsals" / "small-study" / "thesis.tex"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    result = CliRunner().invoke(app, ["rehearse", str(study(tmp_path)), "--results", str(tmp_path / "rehearsals")])
    assert result.exit_code == 3
    assert "not empty and no rehearsal" in result.output
    assert kept.read_text() == "years of work"


@pytest.mark.parametrize(
    "pattern", ["plan.parquet", "attempts/*/1/output/report.json", "attempts/*/1/requests.parquet"]
)
def test_nothing_simulated_is_imported(done: Rehearsed, tmp_path: Path, pattern: str) -> None:
    """Neither from where it lies, nor from a copy elsewhere."""
    inside = next(done.store.root.glob(pattern))
    with pytest.raises(ImportRefused, match="the folder of a rehearsal"):
        understand([inside], Asked())
    outside = Path(shutil.copy(inside, tmp_path))
    with pytest.raises(ImportRefused, match="simulated, and nothing in it was measured"):
        understand([outside], Asked())


def test_a_table_with_one_simulated_row_is_not_imported(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = ["model,environment,token_throughput_tok_s,simulated"]
    rows += [f"m,{arm},{100 + i},false" for i in range(3) for arm in ("native", "docker")]
    table.write_text("\n".join(rows) + "\n")
    understand([table], Asked())
    table.write_text("\n".join([*rows, "m,docker,101,True"]) + "\n")
    with pytest.raises(ImportRefused, match="row 7"):
        understand([table], Asked())


def test_a_rehearsal_is_nobodys_pilot(done: Rehearsed) -> None:
    with pytest.raises(PowerRefused, match="a rehearsal, whose spread was asked for"):
        describe_power(done.store.root)


def test_what_is_journalled_later_says_it_too(done: Rehearsed, tmp_path: Path) -> None:
    copy = Path(shutil.copy(done.store.journal_path, tmp_path))
    writer = Journal(copy)
    writer.append("reopened", run_id="r", reason="by hand")
    writer.close()
    assert read(copy)[0][-1]["simulated"] is True
