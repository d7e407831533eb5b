"""The doctor finds by trying what a campaign would stumble over, and says what to do about it."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import docker
import pytest
from packaging.markers import default_environment
from rich.console import Console

from actors.types import Environment, GpuAccess, ImageIdentity, Model, Workload
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.preflight import doctor
from campaign.preflight.doctor import Check, project

LOCAL = Path(__file__).parents[4] / "configs" / "campaigns" / "local.yaml"


def campaign(*arms: Environment, weight_bytes: int = 1000) -> Campaign:
    return Campaign(
        name="example",
        engine="llamacpp",
        models=(Model(name="m", engines=("llamacpp",), path="/weights", weight_bytes=weight_bytes),),
        environments=arms or (Environment(name="native-host", kind="native-host"),),
        workloads=(Workload(name="w", requests=1, input_tokens=1, output_tokens=1),),
        repetitions={"m": 1},
        reference="native-host",
        order="alternate",
    )


def one(name: str, home: Path, asked: Campaign | None = None, results: Path = Path("results")) -> Check:
    (found,) = doctor.checks(home, asked, results, only=(name,))
    return found


def test_every_check_says_what_it_found_and_every_complaint_has_a_remedy(
    docker_engine: docker.DockerClient, home: Path, tmp_path: Path
) -> None:
    found = list(doctor.checks(home, None, tmp_path / "results"))
    names = [check.name for check in found]
    assert len(set(names)) == len(names) > 15
    for check in found:
        assert check.found, check
        assert check.status == "ok" or check.remedy, check
    # What this test suite itself relies on works, by the doctor's word too.
    works = {check.name for check in found if check.status == "ok"}
    assert {"python", "docker", "results folder", "shared memory", "ray"} <= works
    assert not (tmp_path / "results").exists(), "a check leaves nothing behind"


def test_without_a_docker_engine_it_says_how_to_get_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nobody.sock")
    found = one("docker", home)
    assert found.status == "fail"
    assert "nobody.sock" in found.remedy


def test_a_campaign_without_containers_needs_no_docker_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nobody.sock")
    assert one("docker", home, campaign()).status == "ok"


def test_an_option_that_the_engine_refuses_is_named_with_the_way_out(
    local_image: ImageIdentity, session_home: Path
) -> None:
    """No kernel lets a process have 2**40 open files (fs.nr_open)."""
    arm = Environment(name="greedy", kind="docker", network="none", ulimits={"nofile": 2**40})
    found = one("greedy", session_home, campaign(arm))
    assert found.status == "fail"
    assert "ulimits.nofile" in found.found
    assert "without: [ulimits.nofile]" in found.remedy


def test_an_option_that_the_host_refuses_a_native_arm_is_named_too(session_home: Path) -> None:
    arm = Environment(name="greedy", kind="native-host", ulimits={"nofile": 2**40})
    found = one("greedy", session_home, campaign(arm))
    assert found.status == "fail"
    assert "without: [ulimits.nofile]" in found.remedy


def test_an_arm_that_works_is_shown_to_work(local_image: ImageIdentity, session_home: Path) -> None:
    arms = [
        Environment(name="contained", kind="docker", network="none", init=True),
        Environment(name="plain", kind="native-host"),
    ]
    for arm in arms:
        assert one(arm.name, session_home, campaign(arm)).status == "ok"


def test_a_model_that_does_not_fit_fails_before_it_is_loaded(home: Path) -> None:
    found = one("memory", home, campaign(weight_bytes=2**50))
    assert found.status == "fail"
    assert "smaller" in found.remedy


def test_results_that_cannot_be_written_are_found(home: Path) -> None:
    found = one("results folder", home, results=Path("/proc/campaign/results"))
    assert found.status == "fail"
    assert "--results" in found.remedy


def test_a_gpu_that_the_arms_ask_for_and_nobody_has_is_missed(home: Path) -> None:
    arm = Environment(name="a", kind="docker", gpu=GpuAccess(by="toolkit"))
    with_gpu, without = one("gpu", home, campaign(arm)), one("gpu", home, campaign())
    assert without.status == "ok"
    assert with_gpu.status == "ok" or "without: [gpu]" in with_gpu.remedy


def test_the_local_campaign_is_checked_arm_by_arm(home: Path) -> None:
    names = [check.name for check in doctor.checks(home, load(LOCAL), only=("native-chroot", "docker-baseline"))]
    assert names == ["docker-baseline", "native-chroot"]


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(home: Path) -> None:
    """A campaign that no file can say: it repeats no model."""
    impossible = campaign().model_copy(update={"repetitions": {}})
    found = list(doctor.checks(home, impossible, only=("disk", "load")))
    assert [check.name for check in found] == ["disk", "load"]
    assert found[0].status == "fail"
    assert "KeyError" in found[0].found


def test_the_list_reads_without_colour_and_counts_what_failed() -> None:
    out = Console(file=io.StringIO(), width=80, force_terminal=False)
    found = [Check("a", "ok", "fine"), Check("b", "warn", "[odd]", "look"), Check("c", "fail", "gone", "get\nanother")]
    assert doctor.show(out, found) == 1
    file = out.file
    assert isinstance(file, io.StringIO)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines[0].split() == ["ok", "a", "fine"]
    assert "[odd]" in lines[1]
    assert lines[-1] == "3 checks: 1 ok, 1 to think about, 1 failed"
    assert [line.strip() for line in lines if "->" in line] == ["-> look", "-> get", "-> another"]


@pytest.mark.parametrize("full", ["3.11.4", "3.11.9", "3.12.1", "3.13.0"])
def test_a_package_is_held_against_the_version_that_the_lock_has_for_this_python(
    monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    surroundings = {**default_environment(), "python_full_version": full, "python_version": full.rpartition(".")[0]}
    monkeypatch.setattr("packaging.markers.default_environment", lambda: surroundings)
    lock = tomllib.loads((LOCAL.parents[2] / "uv.lock").read_text())
    several = [package for package in lock["package"] if package["name"] == "scipy"]
    assert len(several) > 1  # else this test says nothing
    wanted = "1.17" if full.startswith("3.11") else "1.18"
    assert project._locked()["scipy"].startswith(wanted)


def test_what_make_setup_installs_is_what_the_doctor_asks_for(home: Path) -> None:
    assert one("packages", home, None).status == "ok"
