"""What counts as a change of conditions: other files do, another import of the same files does not."""

from __future__ import annotations

from actors.types import ImageIdentity, UnitFacts
from campaign.record.drift import changes as differences
from campaign.record.drift import lasting

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
