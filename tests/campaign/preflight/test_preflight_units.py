"""Prepare and doctor ask every unit of a cluster, each of which answers for itself;
a run asks them before it starts."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_campaign import PROJECT, campaign, write_config

from actors.files import private
from campaign import cluster

UNIT = PROJECT / "tests" / "campaign" / "run" / "ray_unit.py"


@pytest.fixture(scope="module")
def two_units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Path]]]:
    """The address of a cluster of two nodes on this machine, and the home of each."""
    place = Path(tempfile.mkdtemp(prefix="u"))  # a socket's path is short
    homes = {name: tmp_path_factory.mktemp(f"home-{name}") for name in "ab"}
    private.write(place / "token", secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(place / "token"))
        patch.setenv("PYTHONPATH", str(PROJECT))
        nodes: list[subprocess.Popen[str]] = []
        address = ""
        for name, home in homes.items():
            words = [sys.executable, str(UNIT), name, str(place / name), *([address] if address else [])]
            nodes.append(
                subprocess.Popen(
                    words, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
                    env=os.environ | {"CAMPAIGN_HOME": str(home)}, start_new_session=True,
                )
            )  # fmt: skip
            said = nodes[-1].stdout
            assert said is not None
            address = said.readline().strip()
        yield address, homes
    for node in nodes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
    for name in homes:
        cluster.end_processes(place / name)
    shutil.rmtree(place, ignore_errors=True)


def test_every_unit_puts_in_place_what_it_needs_and_tells(
    two_units: tuple[str, dict[str, Path]], tmp_path: Path
) -> None:
    address, homes = two_units
    config = write_config(tmp_path, environments="[native-host]", without="[]")
    done = campaign("prepare", config, "--no-fetch", "--address", address, home=tmp_path / "drivers")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("everything is in place") == 2
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("───")] == ["a", "b"]
    for home in homes.values():
        assert list((home / "prepared").glob("small-*.json"))
    assert not (tmp_path / "drivers" / "prepared").exists()


ASKED = """
import sys
from pathlib import Path
from campaign.preflight import doctor, units
for unit in units.joined(sys.argv[1]):
    for check in units.answers(unit, doctor.checks, Path("none"), None, Path("results"), ("python", "cores")):
        print(unit.name, check.name, check.status)
"""


def test_a_doctor_asks_every_unit(two_units: tuple[str, dict[str, Path]]) -> None:
    """As `campaign doctor --address` does, with two of its checks: all of them take a while."""
    done = subprocess.run([sys.executable, "-c", ASKED, two_units[0]], capture_output=True, text=True, check=True)
    told = [line.split()[:2] for line in done.stdout.splitlines()]
    assert told == [["a", "python"], ["a", "cores"], ["b", "python"], ["b", "cores"]]


FAILS = """
import sys
from campaign.preflight import units

def work():
    from campaign.config.loading import ConfigError
    from campaign.config.yaml_nodes import Problem
    raise ConfigError([Problem("my.yaml", 3, "gate", "is wrong", "Mend it.")])

try:
    for unit in units.joined(sys.argv[1]):
        list(units.answers(unit, work))
except units.UnitFailed as problem:
    print(problem.exit_code, problem)
"""


def test_what_is_wrong_on_a_unit_has_its_words_its_name_and_its_exit_code(
    two_units: tuple[str, dict[str, Path]],
) -> None:
    """Of an error that is made from a list: it cannot be made anew from its words."""
    done = subprocess.run([sys.executable, "-c", FAILS, two_units[0]], capture_output=True, text=True, check=True)
    assert done.stdout == "2 a: my.yaml:3: gate: is wrong. Mend it.\n"


def test_a_run_names_the_units_that_are_not_prepared(two_units: tuple[str, dict[str, Path]], tmp_path: Path) -> None:
    address, homes = two_units
    config = write_config(tmp_path, environments="[native-host]", without="[]", engine="vllm", models="[qwen2-1.5b]")
    done = campaign("run", config, "--address", address, "--results", tmp_path / "results", home=tmp_path / "drivers")
    assert done.returncode == 3, done.stdout
    for name, home in homes.items():
        assert f"{name}: weights of qwen2-1.5b in {home}" in done.stdout.replace("\n", "")
    assert f"campaign prepare CONFIG --address {address}" in " ".join(done.stdout.split())
