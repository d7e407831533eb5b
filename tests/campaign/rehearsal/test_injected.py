"""What may be injected, and what a person is told who asks for something else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from campaign.config import Campaign, load
from campaign.rehearsal.injected import USUAL, Faults, NotInjected, effects, episodes, faults, generator

LOCAL = Path(__file__).resolve().parents[3] / "configs" / "campaigns" / "local.yaml"


@pytest.fixture(scope="module")
def local() -> Campaign:
    return load(LOCAL)


def test_an_effect_is_a_factor_of_its_arm_alone(local: Campaign) -> None:
    found = effects(["docker-baseline:token_throughput_tok_s:-3"], local)
    assert found.factor("docker-baseline", "rate") == pytest.approx(0.97)
    assert found.factor("native-chroot", "rate") == 1.0
    assert found.factor("docker-baseline", "power") == 1.0


def test_latency_and_throughput_are_one_figure(local: Campaign) -> None:
    found = effects(["docker-baseline:latency_mean_ms:25"], local)
    assert found.factor("docker-baseline", "rate") == pytest.approx(0.8)


def test_effects_on_one_thing_multiply(local: Campaign) -> None:
    found = effects(["docker-baseline:load_s:10", "docker-baseline:load_s:10"], local)
    assert found.factor("docker-baseline", "load") == pytest.approx(1.21)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("docker-baseline", "write ARM:METRIC:PERCENT"),
        (
            "docker:token_throughput_tok_s:1",
            "no arm of this campaign is called 'docker'; there are native-chroot, docker",
        ),
        ("docker-baseline:speed:1", "'speed' cannot be turned; these can: token_throughput_tok_s"),
        ("docker-baseline:load_s:much", "'much' is no number of percent"),
        ("docker-baseline:load_s:-100", "-100 % is beyond -90 to 900 %"),
        ("docker-baseline:load_s:nan", "beyond -90 to 900 %"),
    ],
)
def test_what_cannot_be_injected_is_said(local: Campaign, asked: str, words: str) -> None:
    with pytest.raises(NotInjected, match="--effect") as refused:
        effects([asked], local)
    assert words in str(refused.value)


def test_faults_are_none_unless_asked_for() -> None:
    assert not faults("none") and not faults("")
    assert faults("all") == USUAL
    assert faults("crash=0.2, lost") == Faults(crash=0.2, lost=USUAL.lost)


@pytest.mark.parametrize(
    ("asked", "words"),
    [("fire", "there are crash, hang"), ("crash=often", "'often' is no number"), ("crash=2", "from 0 to 1")],
)
def test_faults_that_there_are_not_are_refused(asked: str, words: str) -> None:
    with pytest.raises(NotInjected, match="--faults") as refused:
        faults(asked)
    assert words in str(refused.value)


def test_a_stream_depends_on_its_keys_alone() -> None:
    assert generator(1, "spark", "run", 1).random() == generator(1, "spark", "run", 1).random()
    assert generator(1, "spark", "run", 1).random() != generator(1, "spark", "run", 2).random()


def test_episodes_come_as_often_as_asked_and_some_need_a_person() -> None:
    found = episodes(Faults(disk=0.5, slow=0.5), seed=3, unit="spark", days=1000)
    assert {episode.kind for episode in found} == {"disk", "slow"}
    assert 850 < len(found) < 1150
    assert [it.begins_s for it in found] == sorted(it.begins_s for it in found)
    assert 0.3 < sum(math.isinf(it.ends_s) for it in found) / len(found) < 0.7
