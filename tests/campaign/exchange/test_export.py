"""The archive: the audit trail as the methodology names it, described so that strangers can read it,
byte for byte the same."""

import csv
import hashlib
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from frictionless import Package
from rocrate.rocrate import ROCrate
from small_campaign import Finished

from campaign.exchange.export import export
from campaign.exchange.imports import import_runs
from campaign.record.durable import StoreError
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("results") / "synthetic", repetitions=2)


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory) -> Path:
    return export(results, tmp_path_factory.mktemp("export") / "trail")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_attempt_has_log_metadata_and_both_monitoring_tables(results, folder):
    attempts = sorted(
        path.parent.relative_to(results / "attempts") for path in results.glob("attempts/*/*/metadata.json")
    )
    assert len(attempts) == 9  # eight runs and one rejected attempt
    for attempt in attempts:
        place = folder / "runs" / attempt
        names = {path.name for path in place.iterdir()}
        assert {"run.log", "metadata.json", "gpu_monitoring.csv", "memory_monitoring.csv"} <= names
        assert "journal finished" in (place / "run.log").read_text()


def test_the_monitoring_tables_hold_every_sample_of_the_attempt(folder):
    place = folder / "runs" / "tiny__native-chroot__short__r01" / "1"
    gpu, memory = rows(place / "gpu_monitoring.csv"), rows(place / "memory_monitoring.csv")
    assert len(gpu) == len(memory) == 70  # seven seconds at 10 Hz
    assert {row["stage"] for row in gpu} == {"gate", "run", "cooldown"}
    assert gpu[0]["at_utc"].endswith("Z") and gpu[0]["at_utc"] < gpu[-1]["at_utc"]
    assert float(gpu[30]["gpu_power_w"]) > 30
    assert gpu[0]["gpu_memory_bandwidth_gb_s"] == ""  # unmeasured is empty, never 0
    assert float(memory[0]["mem_total_gib"]) == 119.7


def test_the_data_package_describes_every_file_truly(folder):
    package = json.loads((folder / "datapackage.json").read_text())
    assert [it["name"] for it in package["licenses"]] == ["CC-BY-4.0", "MIT"]
    assert package["simulated"] is True and "SIMULATED" in package["description"]
    listed = {it["path"] for it in package["resources"]}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert listed == there - {"datapackage.json", "ro-crate-metadata.json"}
    names = [it["name"] for it in package["resources"]]
    assert len(set(names)) == len(names)
    for resource in package["resources"]:
        data = (folder / resource["path"]).read_bytes()
        assert resource["hash"] == "sha256:" + hashlib.sha256(data).hexdigest() and resource["bytes"] == len(data)
        if "schema" in resource:
            header = data.decode().splitlines()[0].split(",")
            assert header == [field["name"] for field in resource["schema"]["fields"]]


def test_values_of_a_table_are_of_the_declared_types(folder):
    package = json.loads((folder / "datapackage.json").read_text())
    parse: dict[str, Any] = {
        "integer": int,
        "number": float,
        "boolean": lambda text: {"true": 1, "false": 0}[text],
        "array": json.loads,
    }
    for resource in package["resources"]:
        if "schema" in resource:
            for row in rows(folder / resource["path"])[:5]:
                for field in resource["schema"]["fields"]:
                    if row[field["name"]] and field["type"] in parse:
                        parse[field["type"]](row[field["name"]])


def test_the_crate_names_every_file_and_both_licences(folder):
    graph = {it["@id"]: it for it in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert all(part["@id"] in graph for part in graph["./"]["hasPart"])
    assert graph[graph["./"]["license"]["@id"]]["identifier"] == "CC-BY-4.0"
    assert any(it.get("identifier") == "MIT" for it in graph.values())


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("imported")
    (place / "runs.csv").write_text(
        "model,environment,repetition,token_throughput_tok_s\n"
        + "".join(f"my model #1,{arm},{i},{100 + i}.5\n" for i in (1, 2, 3) for arm in ("native", "docker"))
    )
    return import_runs([place / "runs.csv"], place / "results")


@pytest.fixture(scope="module", params=["carried out here", "imported"])
def trails(request, finished: Finished, imported, tmp_path_factory) -> tuple[Path, Path]:
    """The package of a real campaign, and of runs of others: as a folder, and as a zip."""
    place = tmp_path_factory.mktemp("trails")
    source = imported if request.param == "imported" else finished.folder
    return export(source, place / "trail"), export(source, place / "trail.zip")


def test_frictionless_finds_every_file_valid(trails):
    folder, packed = trails
    for package in (Package(str(folder / "datapackage.json")), Package(str(packed))):
        found = package.validate()
        assert found.valid, [(task.place, task.errors[:2]) for task in found.tasks if not task.valid] or found.errors
        assert {task.type for task in found.tasks} == {"file", "table"}


def test_rocrate_reads_the_whole_crate(trails):
    folder, _ = trails
    for place in trails:
        crate = ROCrate(str(place))
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert {part["name"] for part in crate.data_entities} == files - {"datapackage.json", "ro-crate-metadata.json"}
        assert all(Path(part.source).is_file() for part in crate.data_entities), "every @id leads to its file"
        assert crate.name and crate.license and crate.datePublished


@pytest.mark.parametrize("name", ["trail.rar", "trail.tar", "trail.7z", "trail.json"])
def test_what_is_not_written_is_refused_by_its_ending(results, tmp_path, name):
    with pytest.raises(StoreError, match=r"Name one that ends in \.zip, \.tar\.gz, \.tgz"):
        export(results, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_the_same_results_give_the_same_bytes(results, tmp_path, ending):
    first, second = (export(results, tmp_path / str(i) / f"trail{ending}") for i in (1, 2))
    assert first.read_bytes() == second.read_bytes()


def test_an_archive_holds_what_the_folder_holds(results, folder, tmp_path):
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(export(results, tmp_path / "trail.zip")) as archive:
        assert archive.testzip() is None and set(archive.namelist()) == there
    with tarfile.open(export(results, tmp_path / "trail.tar.gz")) as archive:
        assert set(archive.getnames()) == {f"trail/{name}" for name in there}


def test_nothing_is_overwritten_and_results_stay_as_they_are(results, tmp_path):
    with pytest.raises(StoreError, match="already there"):
        export(results, tmp_path)
    with pytest.raises(StoreError, match="inside the results"):
        export(results, results / "trail.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_campaign_that_has_not_begun_has_a_trail_too(tmp_path):
    trail = export(synthetic.write(tmp_path / "none", done=0), tmp_path / "trail")
    assert json.loads((trail / "datapackage.json").read_text())["resources"]
