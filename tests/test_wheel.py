"""The built wheel, installed where nothing else of the project is: it plans,
analyses and answers queries with what it ships."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from actors import host
from tests import synthetic

PROJECT = Path(__file__).parent.parent
CONFIG = """\
name: own
engine: llamacpp
models: [random-llama-8m]
environments: [native-chroot, docker-baseline]
without: [gpu]
workloads: [{name: tiny, requests: 2, input_tokens: 4, output_tokens: 4, concurrency: 1, timeout_s: 60}]
repetitions: 2
"""
TABLE = "model,environment,repetition,output_tok_s\n" + "".join(
    f"m,{arm},{number},{base + number / 10}\n"
    for number in range(1, 7)
    for arm, base in (("native", 100.0), ("docker", 98.0))
)
pytestmark = pytest.mark.slow
Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def campaign(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The installed command, in an empty folder. Its dependencies are those of this environment,
    the project itself is not."""
    here = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(here / "venv")], check=True, capture_output=True)
    python = here / "venv/bin/python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
    )
    (site,) = (here / "venv/lib").glob("python3.*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    variables = {"HOME": str(here), "PATH": os.environ["PATH"], "COLUMNS": "200"}

    def run(*words: object) -> str:
        command = [str(here / "venv/bin/campaign"), *map(str, words)]
        done = subprocess.run(command, cwd=here, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (here / "own.yaml").write_text(CONFIG)
    (here / "runs.csv").write_text(TABLE)
    return run


def test_it_holds_every_query_config_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        *PROJECT.glob("sql/*.sql"),
        *PROJECT.glob("configs/**/*.yaml"),
        PROJECT / "LICENSE",
        PROJECT / "LICENSE-DATA",
    ]
    assert len(wanted) > 15
    assert {f"campaign/{path.relative_to(PROJECT)}" for path in wanted} <= names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/", "sql/", "configs/"))}


def test_it_plans_with_the_library_that_it_ships(campaign: Run) -> None:
    assert "docker-baseline" in campaign("plan", "own.yaml")


def test_without_a_name_it_plans_a_campaign_that_it_ships(campaign: Run) -> None:
    assert "campaign/configs/campaigns/" in campaign("plan").splitlines()[0]


def test_it_analyses_a_table(campaign: Run) -> None:
    assert "12 rows in, 12 runs out" in campaign("analyze", "runs.csv", "--json", "answer.json")


def test_it_answers_queries_with_the_views_that_it_ships(campaign: Run, tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "results")
    answer = campaign("sql", folder, "SELECT count(*) AS runs FROM runs WHERE accepted", "--format", "csv")
    assert int(answer.split()[-1]) > 0


def test_it_is_the_same_code_as_the_checkout(campaign: Run, wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    assert host.code_digest(tmp_path) == host.code_digest(PROJECT)
