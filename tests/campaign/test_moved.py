"""Scripts of others go on with the names that modules had before they got rooms."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from campaign import config, moved

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("old", moved.NEW)
def test_an_old_name_is_the_very_module_of_the_new_one(old: str) -> None:
    new = importlib.import_module(moved.NEW[old])
    assert importlib.import_module(old) is new
    assert new.__spec__ is not None and new.__spec__.name == moved.NEW[old]
    assert f"| `{old}` | `{moved.NEW[old]}` |" in (PROJECT / "CHANGELOG.md").read_text()


def test_a_config_is_loaded_by_its_package() -> None:
    assert config.load(PROJECT / "configs" / "campaigns" / "local.yaml").name == "local"
    with pytest.raises(AttributeError):
        config.lode  # noqa: B018


def test_a_name_that_never_was_is_missing_as_any_other() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"campaign\.nothing"):
        importlib.import_module("campaign.nothing")
