"""Engines and kinds of environment from packages outside this tree, found by their entry points
(``docs/extending.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import TypeVar

from actors.errors import CampaignError

GROUPS = ("campaign.engines", "campaign.environments")
Thing = TypeVar("Thing")


class ExtensionBroken(CampaignError):
    """An installed package offers something that cannot be used. The message says which."""


def with_those_of(group: str, own: Mapping[str, Thing]) -> dict[str, Thing]:
    """``own`` and what installed packages offer in ``group``, each under the name of its entry point.
    Raises ExtensionBroken."""
    found = dict(own)
    for entry in metadata.entry_points(group=group):
        package = entry.dist.name if entry.dist else "an installed package"
        if entry.name in found:
            raise ExtensionBroken(
                f"{package} offers '{entry.name}' in {group}, a name that is taken: rename its entry point, "
                "or remove the package"
            )
        try:
            thing = entry.load()
        except Exception as problem:
            raise ExtensionBroken(
                f"{package}: {entry.value}, its '{entry.name}' in {group}, cannot be loaded: "
                f"{type(problem).__name__}: {problem}. Mend or remove the package."
            ) from problem
        if getattr(thing, "name", None) != entry.name:
            raise ExtensionBroken(
                f"{package}: {entry.value} calls itself {getattr(thing, 'name', None)!r}, its entry point in {group} "
                f"'{entry.name}': give both one name"
            )
        found[entry.name] = thing
    return found


def installed() -> dict[str, str]:
    """Package to version of everything that offers something; what it does decides what is measured."""
    entries = [entry for group in GROUPS for entry in metadata.entry_points(group=group)]
    return {entry.dist.name: entry.dist.version for entry in entries if entry.dist is not None}
