"""`campaign diff` asks both arms where their image is here, and says so where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.types import Environment, ImageIdentity
from campaign.config.loading import load
from campaign.preflight import diff
from campaign.preflight.doctor import containers

LOCAL = load(Path(__file__).parents[3] / "configs" / "campaigns" / "local.yaml")
DOCKER = Environment(name="d", kind="docker", network="none")


def test_what_an_entry_point_exports_is_shown_where_it_differs(
    local_image: ImageIdentity, session_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_HOME", str(session_home))
    monkeypatch.setattr(containers, "image_here", lambda *_: local_image)
    other = DOCKER.model_copy(update={"name": "e", "variables": {"OF_THE_ARM": "1"}})
    rows, said = diff.seen(LOCAL, DOCKER, other)
    assert rows == [("variable OF_THE_ARM", "not set", "'1'")]
    assert f"through the entry point of {local_image.reference}: 1 of what" in said
    rows, said = diff.seen(LOCAL, DOCKER, DOCKER.model_copy(update={"name": "e"}))
    assert rows == [] and "does not differ" in said


def test_without_the_image_it_says_what_would_show_more(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    chroot = Environment(name="n", kind="native-chroot")
    monkeypatch.setattr(containers, "image_here", lambda *_: None)
    assert "campaign prepare" in diff.seen(LOCAL, DOCKER, chroot)[1]
    monkeypatch.setattr(containers, "image_here", lambda *_: ImageIdentity(reference="i", digest="sha256:1"))
    assert "not exported yet" in diff.seen(LOCAL, DOCKER, chroot)[1]
    assert "no image" in diff.seen(LOCAL, DOCKER, Environment(name="h", kind="native-host"))[1]


def test_without_an_engine_it_says_so(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    rows, said = diff.seen(LOCAL, DOCKER, DOCKER)
    assert rows == [] and "no container engine answers" in said
