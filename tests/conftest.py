"""What every test may ask for. Docker is a part of the project: without an engine its tests fail,
they are not skipped."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from engine import HOME
from hypothesis import HealthCheck, settings
from small_campaign import Finished, write_config
from small_campaign import campaign as command

from actors.environments import EngineMissing
from actors.environments.docker import daemon, image
from actors.types import Image, ImageIdentity

PROJECT = Path(__file__).parent.parent

# The same examples on every machine and day, however busy it is.
settings.register_profile("alike", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alike")


def pytest_configure() -> None:
    """Through sudo the tests are root's own all the same; those about sudo set what it sets."""
    atexit.register(_end_quietly)  # the first to be registered is the last to be called
    for name in ("SUDO_UID", "SUDO_GID", "SUDO_USER"):
        os.environ.pop(name, None)


def _end_quietly() -> None:
    """DuckDB's binding lists on standard error whatever still lives when the interpreter ends:
    pytest's own references to its fixtures."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


SLOW = (
    "test_benchmarks.py", "test_campaign.py", "test_cells_that_cannot_run.py", "test_infrastructure.py",
    "test_kills.py", "test_replicas.py",
    "test_setup.py", "test_sudo.py", "campaign/test_cluster.py", "campaign/run/test_units.py",
    "campaign/run/test_driver.py", "campaign/run/test_drift.py", "campaign/run/test_looks.py",
    "campaign/study/test_conduct.py", "campaign/preflight/test_preflight_units.py",
    "notebooks",
)  # fmt: skip
"""Files and folders below tests/ that start Ray or whole campaigns: no two of them at once on a machine."""
APART = (
    "test_replicas.py", "test_wheel.py", "campaign/run/test_driver.py", "campaign/run/test_drift.py",
    "campaign/run/test_looks.py", "campaign/study/test_conduct.py", "campaign/preflight/test_preflight_units.py",
    "notebooks",
)  # fmt: skip
"""Those that may run beside the others: a GPU and an image of their own, simulated units, or no measuring at all."""
LONG = (
    "campaign/analysis/test_cache.py", "campaign/analysis/test_looks_of_tables.py", "campaign/analysis/test_views.py",
    "campaign/analysis/statistics/test_statistics_claims.py",
    "campaign/analysis/statistics/test_statistics_invariants.py",
    "campaign/analysis/statistics/test_statistics_properties.py",
    "campaign/analysis/statistics/test_statistics_reference_cases.py",
    "campaign/config/test_config.py", "campaign/exchange", "campaign/plan/test_power.py",
    "campaign/plan/test_registration.py", "campaign/reading/test_reading_any_bytes.py", "campaign/rehearsal",
    "campaign/report", "campaign/study/test_study_page.py", "campaign/study/test_study_results.py",
    "campaign/test_bad_input_page.py", "campaign/test_cli.py", "campaign/test_results.py", "campaign/test_stranger.py",
    "campaign/test_wrong_arguments.py", "actors/engines/test_any_bytes.py", "actors/environments/docker",
    "actors/gpu/test_attempt.py", "actors/gpu/test_parsing.py", "actors/telemetry/test_telemetry_actor.py",
)  # fmt: skip
"""Those that take their time and nothing of the machine: whole pages and tables, commands, thousands of examples."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test takes, as markers: ``docker`` and ``root`` from what it asks for,
    ``slow``, ``apart`` and ``long`` from the lists above."""
    for item in items:
        place = item.path.relative_to(PROJECT / "tests").as_posix()
        if {"docker_engine", "finished", "local_image"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("docker")
        if any("root" in str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")):
            item.add_marker("root")
        for mark, places in (("slow", SLOW), ("apart", APART), ("long", LONG)):
            if any(place == one or place.startswith(f"{one}/") for one in places):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for what is expensive to make: the exported root filesystem, models."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A Docker engine that answers: the one there is, else a private one for as long as the tests run.

    ``DOCKER_HOST`` names it for the commands that tests start.
    """
    try:
        found = daemon.ensure(HOME)
    except EngineMissing as error:
        pytest.fail(f"the tests need a Docker engine\n{error}", pytrace=False)
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = found.host
    yield daemon.connect(HOME)
    if before is None:
        del os.environ["DOCKER_HOST"]
    if found.started:
        daemon.remove(HOME)


@pytest.fixture(scope="session")
def local_image(docker_engine: docker.DockerClient, session_home: Path) -> ImageIdentity:
    """This machine's userland, present in the engine; with its root filesystem where the tests run as root."""
    identity = image.ensure(docker_engine, Image(), session_home)
    return image.export_rootfs(docker_engine, identity, session_home) if os.geteuid() == 0 else identity


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of its own, also for the commands that the test starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("CAMPAIGN_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def finished(
    docker_engine: docker.DockerClient, session_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A real campaign, carried out once: two repetitions, native against Docker. Copy its folder before changing it."""
    place = tmp_path_factory.mktemp("finished")
    config = write_config(place)
    registered = command("register", config, "--results", place / "results", home=session_home)
    assert registered.returncode == 0, registered.stdout
    done = command("run", config, "--results", place / "results", home=session_home)
    return Finished(config, place / "results" / "small", done, session_home)
