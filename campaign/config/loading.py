"""A campaign file, with the models, environments and workloads that it names, read into one resolved ``Campaign``.

Names are looked up (:mod:`campaign.config.library`), what environments extend is merged
(:mod:`campaign.config.extends`), short forms are written out (:mod:`campaign.config.short_forms`), and what comes out
is held to the schema and to the rules of :mod:`campaign.config.rules`.

Everything wrong is reported at once (:class:`campaign.config.yaml_nodes.ConfigError`), each with file, line, key and
remedy.
"""

from __future__ import annotations

from pathlib import Path

from actors.types import Environment
from campaign.config import rest, rules, short_forms
from campaign.config.library import LIBRARY, definitions, folders
from campaign.config.schema import Campaign
from campaign.config.words import validated
from campaign.config.yaml_nodes import ConfigError, Node, Problem, read, said


def load(path: Path) -> Campaign:
    """The campaign in ``path``, resolved. Raises ConfigError with everything that is wrong. Of a study's file:
    :func:`campaign.study.loading.campaign_in`."""
    root = read(path)
    if not isinstance(root.value, dict):
        keys = "Write `name: …`, `engine: …` and so on."
        raise ConfigError([Problem(root.file, root.line, "", f"must be a mapping, got {said(root.value)}", keys)])
    if (phases := root.child("phases")) is not None:
        raise ConfigError([phases.problem("makes this a study of several campaigns", "Name a file of one campaign.")])
    return resolve(root, path)


def resolve(root: Node, path: Path) -> Campaign:
    """The campaign that a tree of ``path`` stands for. Raises ConfigError with everything that is wrong."""
    problems: list[Problem] = []
    tree, unresolved = _resolved(root, path, problems)
    campaign = validated(tree, Campaign, problems, unresolved)
    if campaign is None or problems:
        raise ConfigError(problems)
    for rule in (rules.unknown, rules.contradictions):
        problems.extend(rule(campaign, tree, root))
        if problems:
            raise ConfigError(problems)
    return campaign


FOLLOWS = {"models": (), "environments": ("reference", "order", "without"), "workloads": ()}
"""Keys whose default comes from another key."""


def _resolved(root: Node, path: Path, problems: list[Problem]) -> tuple[Node, set[str]]:
    """The campaign's tree with definitions in place of names, and defaults that depend on other keys. Also the keys
    that could not be made out: what is wrong there has been said, and what follows from it need not be."""
    assert isinstance(root.value, dict)
    keys = dict(root.value)
    library: Path | None = None
    if (given := keys.pop("library", None)) is not None:
        if not isinstance(given.value, str):
            raise ConfigError([given.problem(f"must be a folder, got {said(given.value)}", "Give a path as text.")])
        library = path.absolute().parent / given.value
        if not library.is_dir():
            raise ConfigError([given.problem(f"no folder {library}", "Give a folder, relative to this file.")])
    unresolved: set[str] = set()
    for kind in LIBRARY:
        before = len(problems)
        if kind in keys:
            keys[kind] = definitions(kind, keys[kind], folders(path, library), problems)
        if kind not in keys or len(problems) > before:
            unresolved |= {kind, *FOLLOWS[kind]}
    short_forms.without(keys, problems)
    rest.resolved(keys, path, problems)
    short_forms.repetitions(keys)
    short_forms.overrides(keys, problems)
    short_forms.defaults(keys)
    return root.with_value(keys), unresolved


def arm(name: str, near: Node, path: Path) -> Environment:
    """An environment of the library that ``path`` uses, alone. ConfigError where there is none;
    ``near`` is where it is asked for."""
    problems: list[Problem] = []
    library = near.child("library")
    folder = path.absolute().parent / str(library.value) if library is not None else None
    mention = Node(name, near.file, near.line, "environments")
    defined = [item for item in _inline(near) if (own := item.child("name")) is not None and own.value == name]
    listed = near.with_value(defined or [mention])
    found = definitions("environments", listed, folders(path, folder), problems)
    environment = (
        validated(found.value[0], Environment, problems) if isinstance(found.value, list) and found.value else None
    )
    if environment is None or problems:
        raise ConfigError(problems)
    return environment


def _inline(root: Node) -> list[Node]:
    """Environments that a file writes out itself."""
    listed = root.child("environments")
    items = listed.value if listed is not None and isinstance(listed.value, list) else []
    return [item for item in items if isinstance(item.value, dict)]
