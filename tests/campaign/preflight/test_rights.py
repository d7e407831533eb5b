"""What a user cannot do is said first: before an image is pulled, an engine started, a folder made."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
from small_campaign import write_config

from actors import account
from actors.environments import EnvironmentError_
from actors.environments.docker import daemon, image
from actors.types import Environment, Gate, Image, Model, Workload
from campaign.cli import carry_out
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.preflight import prepare, rights

CONFIGS = Path(__file__).parents[3] / "configs" / "campaigns"
GATED = Model(
    name="closed", engines=("trtllm",), huggingface_id="example/closed", gated=True, licence="Example Licence"
)


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with no right of root's, for whom starting an engine is already too late."""
    monkeypatch.setattr(os, "geteuid", lambda: 1234567)
    monkeypatch.setattr(daemon, "ensure", lambda *_, **__: pytest.fail("asked for an engine"))
    monkeypatch.setattr(image, "ensure", lambda *_, **__: pytest.fail("asked for an image"))


def campaign(*arms: Environment, cache: Any = "keep", model: Model = GATED) -> Campaign:
    return Campaign(
        name="example", engine="trtllm", models=(model,), environments=arms, reference=arms[0].name, order="alternate",
        workloads=(Workload(name="w", requests=3, input_tokens=4, output_tokens=5),), repetitions={model.name: 1},
        gate=Gate(cache=cache),
    )  # fmt: skip


HOST, DOCKER = Environment(name="host", kind="native-host"), Environment(name="box", kind="docker")


@pytest.mark.usefixtures("ordinary")
@pytest.mark.parametrize("file", ["spark", "spark-amended", "spark-vllm", "page-cache", "local"])
def test_every_comparison_with_a_chroot_names_sudo_to_an_ordinary_user(file: str) -> None:
    with pytest.raises(rights.NotPermitted) as refused:
        rights.require(load(CONFIGS / f"{file}.yaml"), rights.with_sudo("run", Path("a b.yaml")))
    said = str(refused.value)
    assert "unpacking the image's files with their owners" in said
    assert said.endswith("sudo make campaign CONFIG='a b.yaml'")


@pytest.mark.usefixtures("ordinary")
def test_what_takes_no_root_is_left_to_the_ordinary_user() -> None:
    rights.require(campaign(HOST, DOCKER), "")


@pytest.mark.usefixtures("ordinary")
def test_emptying_the_page_cache_takes_root_and_says_what_does_not() -> None:
    with pytest.raises(rights.NotPermitted, match="`cache: keep` leaves it as it is"):
        rights.require(campaign(HOST, DOCKER, cache="drop"), "")


@pytest.mark.usefixtures("ordinary")
def test_a_limit_above_the_users_own_takes_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2048))
    arm = HOST.model_copy(update={"ulimits": {"memlock": -1, "stack": 2048}})
    with pytest.raises(rights.NotPermitted, match=r"host: ulimits\.memlock above the limit"):
        rights.require(campaign(arm), "")


@pytest.mark.usefixtures("ordinary")
def test_membership_of_the_docker_group_is_not_taken_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    spark = load(CONFIGS / "spark.yaml")
    for member, said in ((True, True), (False, False)):
        monkeypatch.setattr(rights, "_in_docker_group", lambda member=member: member)
        with pytest.raises(rights.NotPermitted) as refused:
            rights.require(spark, "")
        assert ("docker group does not change that" in str(refused.value)) is said


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as root")
def test_root_is_refused_nothing() -> None:
    rights.require(load(CONFIGS / "spark.yaml"), "")


@pytest.mark.usefixtures("ordinary")
def test_a_run_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(rights.NotPermitted):
        carry_out.run_campaign(write_config(tmp_path), False, tmp_path / "results", None, False, False, "stop")
    assert not (tmp_path / "results").exists()


def test_gated_weights_without_a_token_are_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "ensure", lambda *_, **__: pytest.fail("asked for an image"))
    monkeypatch.setattr(account, "token", lambda: None)
    asked = campaign(DOCKER)
    with pytest.raises(rights.NoToken) as refused:
        list(prepare.prepare(asked, tmp_path))
    said = str(refused.value)
    assert "closed: accept its licence (Example Licence) at https://huggingface.co/example/closed" in said
    assert ".venv/bin/hf auth login" in said


def test_a_token_or_the_weights_themselves_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "token", lambda: None)
    rights.require_token([GATED.model_copy(update={"gated": False})], tmp_path)
    folder = tmp_path / "models" / "closed"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("")
    rights.require_token([GATED], tmp_path)
    monkeypatch.setattr(account, "token", lambda: "hf_x")
    rights.require_token([GATED], tmp_path / "elsewhere")


class NoImages:
    """An engine without images, whose registry must not be asked."""

    @property
    def images(self) -> NoImages:
        return self

    api = images

    def get(self, reference: str) -> None:
        raise image.ImageNotFound(reference)

    def pull(self, *_: object, **__: object) -> None:
        pytest.fail("pulled")


def test_without_fetching_no_image_is_pulled(tmp_path: Path) -> None:
    asked = Image(source="registry", reference="example.org/nothing:1")
    with pytest.raises(EnvironmentError_, match=r"not here\ndocker pull example\.org/nothing:1"):
        image.ensure(NoImages(), asked, tmp_path, fetch=False)


def test_preparing_without_fetching_goes_on_to_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "connect", lambda _: NoImages())
    monkeypatch.setattr(account, "token", lambda: None)
    asked = campaign(DOCKER).model_copy(update={"image": Image(source="registry", reference="example.org/nothing:1")})
    steps = {step.what: step for step in prepare.prepare(asked, tmp_path, fetch=False, pull=False)}
    assert {step.status for step in steps.values()} == {"missing"}
    assert steps["image"].remedy == "docker pull example.org/nothing:1"
