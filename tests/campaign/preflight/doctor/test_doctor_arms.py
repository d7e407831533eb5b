"""An arm that does not work: doctor tells the cause, and a remedy that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.environments import preflight as trial
from actors.environments import refusals
from actors.types import Environment, GpuAccess, ImageIdentity
from campaign.config.loading import load
from campaign.preflight.doctor import containers
from campaign.preflight.doctor.finding import Asked

SPARK = load(Path(__file__).parents[4] / "configs" / "campaigns" / "spark.yaml")
BASELINE = SPARK.environment("docker-baseline")
NO_TOOLKIT = 'could not select device driver "" with capabilities: [[gpu]]'
MEMLOCK = "error setting rlimit type 8: operation not permitted"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What doctor says of docker-baseline when its keys are refused with these messages."""
    image = ImageIdentity(reference="nvcr.io/x:1", digest="sha256:1")
    monkeypatch.setattr(containers, "image_here", lambda *_: image)

    def ask(messages: dict[str, str], arm: Environment = BASELINE, asked=SPARK):
        told = {key: refusals.told(message, image.reference) for key, message in messages.items()}
        monkeypatch.setattr(trial, "refused", lambda *_: told)
        return containers.trial(arm, Asked(home=tmp_path, campaign=asked))

    return ask


def test_taking_the_gpu_out_is_no_remedy(refused):
    status, found, remedy = refused({"gpu": NO_TOOLKIT})
    assert status == "fail" and "Docker knows no NVIDIA Container Toolkit" in found and NO_TOOLKIT in found
    assert "nvidia-ctk runtime configure" in remedy and "without" not in remedy


def test_a_limit_may_be_taken_out_and_the_remedies_of_both_are_told(refused):
    _, found, remedy = refused({"gpu": NO_TOOLKIT, "ulimits.memlock": MEMLOCK})
    assert "gpu:" in found and "ulimits.memlock:" in found
    assert "nvidia-ctk runtime configure" in remedy
    assert "Or take it out of every arm: `without: [ulimits.memlock]`." in remedy


def test_what_is_not_known_still_has_a_remedy(refused):
    assert "nvidia-smi` must work" in refused({"gpu": "an unheard-of fault"})[2]
    assert "Permit it on this host, or take it out" in refused({"ulimits.memlock": "an unheard-of fault"})[2]
    assert refused({"environment": "an unheard-of fault"})[2].startswith("Mend what the message names")


def test_without_a_campaign_it_is_a_warning(refused):
    plain = Environment(name="docker-options", kind="docker", ulimits={"memlock": -1}, gpu=GpuAccess())
    status, _, remedy = refused({"ulimits.memlock": MEMLOCK}, plain, None)
    assert status == "warn" and "without: [ulimits.memlock]" in remedy
