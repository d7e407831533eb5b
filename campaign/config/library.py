"""Where a campaign's names are looked up: ``models.yaml``, ``environments.yaml`` and ``workloads.yaml``.

In the folder that the key ``library`` gives, else beside the campaign file, else in the folder above it, else in the
project's ``configs/``. Each file is a list of entries with a ``name``, or a mapping of names to entries. An entry can
also be written out in the campaign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from actors import host
from campaign.config.extends import flattened
from campaign.config.yaml_nodes import Node, Problem, instead, read, said

LIBRARY = ("models", "environments", "workloads")


def folders(path: Path, library: Path | None = None) -> tuple[Path, ...]:
    """Where models.yaml, environments.yaml and workloads.yaml are looked for, in order."""
    if library is not None:
        return (library,)
    here = path.absolute().parent
    return tuple(dict.fromkeys((here, here.parent, host.shipped("configs"))))


def definitions(kind: str, mentions: Node, where: tuple[Path, ...], problems: list[Problem]) -> Node:
    """The list ``mentions`` with every name replaced by what the library says, and ``extends`` carried out."""
    if not isinstance(mentions.value, list):
        if mentions.value is not None:
            what = f"must be a list, got {said(mentions.value)}"
            problems.append(mentions.problem(what, f"Write `{kind}: [NAME, …]`."))
        return mentions.with_value([])
    before = len(problems)
    entries: dict[str, Node] = {}
    if any(isinstance(item.value, str) or item.child("extends") for item in mentions.value):
        entries = _library(kind, where, problems)
    whole = len(problems) == before
    _add_inline(entries, mentions.value, problems)
    found: list[Node] = []
    for item in mentions.value:
        entry = _meant(kind, item, entries, problems, whole=whole)
        if entry is not None:
            found.append(flattened(entry, entries, problems) if kind == "environments" else entry)
    if not mentions.value:
        problems.append(mentions.problem("must not be empty", f"Name at least one of {kind}.yaml."))
    return mentions.with_value(found)


def _add_inline(entries: dict[str, Node], items: list[Node], problems: list[Problem]) -> None:
    """Add what the campaign's file itself defines; an entry without a name is the schema's to refuse."""
    for item in items:
        name = item.child("name") if isinstance(item.value, dict) else None
        if name is None or not isinstance(name.value, str):
            continue
        if name.value in entries:
            other = entries[name.value]
            what = f"'{name.value}' is already defined in {other.file}:{other.line}"
            problems.append(name.problem(what, "Give this one another name."))
        else:
            entries[name.value] = item


def _meant(kind: str, item: Node, entries: dict[str, Node], problems: list[Problem], *, whole: bool) -> Node | None:
    """The definition that ``item`` names or is. Where the library could be read ``whole``,
    what it lacks is a problem."""
    if isinstance(item.value, dict):
        return item
    if not isinstance(item.value, str):
        what = f"must be the name of one or a definition, got {said(item.value)}"
        problems.append(item.problem(what, f"Name an entry of {kind}.yaml."))
        return None
    if item.value not in entries and whole:
        what = f"no {kind[:-1]} is called '{item.value}'"
        problems.append(item.problem(what, instead(item.value, entries, f"Define it in {kind}.yaml.")))
    return entries.get(item.value)


def _library(kind: str, where: tuple[Path, ...], problems: list[Problem]) -> dict[str, Node]:
    """Entries of ``<kind>.yaml`` by name, each a mapping node that carries its name."""
    file = next((folder / f"{kind}.yaml" for folder in where if (folder / f"{kind}.yaml").exists()), None)
    if file is None:
        return {}
    root = _read(_shown(file), file.stat().st_mtime_ns)
    if isinstance(root.value, dict) and set(root.value) == {kind}:
        root = root.value[kind]
    entries: dict[str, Node] = {}
    for name, entry in _named(root, kind, problems):
        if name in entries:
            what = f"'{name}' is defined twice, first in line {entries[name].line}"
            problems.append(entry.problem(what, "Rename or remove one."))
        else:
            entries[name] = entry
    return entries


@lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int) -> Node:
    """A library file. A study resolves many campaigns from the same ones."""
    return read(path)


def _named(root: Node, kind: str, problems: list[Problem]) -> Iterator[tuple[str, Node]]:
    if isinstance(root.value, list):
        pairs: Iterable[tuple[Node | None, Node]] = ((item.child("name"), item) for item in root.value)
    elif isinstance(root.value, dict):
        pairs = ((Node(name, item.file, item.line, item.key), item) for name, item in root.value.items())
    else:
        problems.append(root.problem(f"must hold {kind}, got {said(root.value)}", "Write a list of entries."))
        return
    for name, item in pairs:
        if not isinstance(item.value, dict):
            problems.append(item.problem(f"must be a mapping, got {said(item.value)}", "Write its keys below it."))
        elif name is None or not isinstance(name.value, str):
            problems.append(item.problem("has no name", "Add `name: …`."))
        else:
            yield name.value, item.with_value({"name": name, **item.value})


def _shown(path: Path) -> Path:
    """Relative to the working directory where it lies below it: what a person would type."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
