"""What counts as a change of conditions: other files do, another import of the same files does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.types import ImageIdentity, UnitFacts
from campaign.config.loading import load
from campaign.errors import Drift
from campaign.record.drift import changes as differences
from campaign.record.drift import lasting
from campaign.record.journal import Journal, State
from campaign.record.store import Store
from campaign.run.driver import Driver

CONFIGS = Path(__file__).parents[3] / "configs" / "campaigns"

FIRST = ImageIdentity(
    reference="campaign-local:1", digest="sha256:aa", rootfs="/home/rootfs/aa", content_digest="sha256:cc"
)


def unit(image: ImageIdentity) -> UnitFacts:
    return UnitFacts(
        unit="u",
        hostname="h",
        machine="x86_64",
        gpu="none",
        cpus=2,
        mem_total_gib=8.0,
        code_digest="d",
        images={"image": image},
    )


def changes(now: ImageIdentity, then: ImageIdentity = FIRST) -> list[str]:
    return differences(lasting(unit(then)), lasting(unit(now)))


def test_the_same_files_imported_again_are_no_change() -> None:
    again = FIRST.model_copy(update={"digest": "sha256:bb", "rootfs": "/home/rootfs/bb"})
    assert changes(again) == []


def test_other_files_are_a_change_that_is_named() -> None:
    other = FIRST.model_copy(update={"digest": "sha256:bb", "content_digest": "sha256:dd"})
    assert changes(other) == ['images.image.userland was "sha256:cc", is "sha256:dd"']


def test_without_a_digest_of_the_content_the_id_decides() -> None:
    plain = FIRST.model_copy(update={"content_digest": None})
    assert changes(plain.model_copy(update={"digest": "sha256:bb"}), plain) == [
        'images.image.userland was "sha256:aa", is "sha256:bb"'
    ]


def test_what_was_accepted_once_stays_accepted_and_the_way_back_is_a_change(tmp_path: Path) -> None:
    """A service that goes on after a reboot cannot be asked again and again."""
    driver = Driver(load(CONFIGS / "local.yaml"), Store(tmp_path), accept_drift=True)
    driver.journal, driver.state = Journal(tmp_path / "journal.jsonl"), State()
    driver.store.plan = list  # type: ignore[method-assign]
    driver.check("unit", ["driver was 580, is 590"], now="590")
    driver.check("unit", ["driver was 580, is 590"], now="590")
    assert driver.state.session == 2 and driver.state.accepted == {"unit": "590"}
    driver.accept_drift = False
    driver.check("unit", ["driver was 580, is 590"], now="590")
    driver.check("another unit", [], now="580")
    with pytest.raises(Drift, match="driver was 580, is 595"):
        driver.check("unit", ["driver was 580, is 595"], now="595")
    with pytest.raises(Drift, match="back to what the campaign began with"):
        driver.check("unit", [], now="580")
    assert driver.state.session == 2


def test_a_change_of_conditions_needs_no_memory_but_the_last(tmp_path: Path) -> None:
    driver = Driver(load(CONFIGS / "local.yaml"), Store(tmp_path), accept_drift=True)
    driver.journal, driver.state = Journal(tmp_path / "journal.jsonl"), State()
    driver.store.plan = list  # type: ignore[method-assign]
    for number in (1, 2):
        driver.check("conditions of unit", ["kernel was 6.11, is 6.12"])
        assert driver.state.session == 1 + number
