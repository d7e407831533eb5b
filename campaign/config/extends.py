"""``extends`` of an environment, carried out.

Every ancestor's own keys are applied once, bases first; mappings merge by key, ``null`` takes a key away. Two ancestors
that disagree are an error unless the environment itself decides.
"""

from __future__ import annotations

from campaign.config.yaml_nodes import Node, Problem, instead, said


def flattened(entry: Node, entries: dict[str, Node], problems: list[Problem]) -> Node:
    """``entry`` with what it extends merged in."""
    if entry.child("extends") is None:
        return entry
    assert isinstance(entry.value, dict)
    lineage: list[Node] = []
    if not _ancestors(entry, entries, (), lineage, problems):
        return entry.with_value({key: node for key, node in entry.value.items() if key != "extends"})
    merged, disputes = _merged(lineage, entries)
    for part, (one, other) in disputes.items():
        names = f"{_name(one)} and {_name(other)}"
        problems.append(entry.problem(f"{names} disagree on {part}", f"Set {part} here to decide."))
    kept = {key: _without_nulls(node) for key, node in merged.items() if node.value is not None}
    own: dict[str, Node] = {key: entry.value[key] for key in ("name", "description") if key in entry.value}
    return entry.with_value({**own, **kept})


Disputes = dict[str, tuple[Node, Node]]
"""Dotted key to the two ancestors that disagree on it."""


def _merged(lineage: list[Node], entries: dict[str, Node]) -> tuple[dict[str, Node], Disputes]:
    """The keys of a lineage, bases first, and what it leaves undecided."""
    merged: dict[str, Node] = {}
    origin: dict[str, Node] = {}
    disputes: Disputes = {}
    for node in lineage:
        assert isinstance(node.value, dict)
        above = _above(node, entries)
        for key, value in node.value.items():
            if key in ("extends", "name", "description"):
                continue
            before = merged.get(key)
            for part in _parts(key, value):
                earlier = origin.get(part)
                disputes.pop(part, None)
                if earlier is not None and id(earlier) not in above and _differ(value, before, key, part):
                    disputes[part] = (earlier, node)
                origin[part] = node
            if before is not None and isinstance(before.value, dict) and isinstance(value.value, dict):
                value = value.with_value({**before.value, **value.value})
            merged[key] = value
    return merged, disputes


def _differ(value: Node, before: Node | None, key: str, part: str) -> bool:
    mine, theirs = _at(value, key, part), None if before is None else _at(before, key, part)
    return mine is not None and theirs is not None and mine.plain() != theirs.plain()


def _name(node: Node) -> str:
    name = node.child("name")
    return str(name.value) if name else node.key


def _parts(key: str, value: Node) -> list[str]:
    return [f"{key}.{inner}" for inner in value.value] if isinstance(value.value, dict) else [key]


def _at(value: Node, key: str, part: str) -> Node | None:
    return value if part == key else value.child(part[len(key) + 1 :])


def _without_nulls(node: Node) -> Node:
    if not isinstance(node.value, dict):
        return node
    return node.with_value({key: inner for key, inner in node.value.items() if inner.value is not None})


def _bases(entry: Node) -> list[Node]:
    extends = entry.child("extends")
    if extends is None:
        return []
    return extends.value if isinstance(extends.value, list) else [extends]


def _above(entry: Node, entries: dict[str, Node]) -> set[int]:
    """Identities of everything that ``entry`` extends, at any distance."""
    known: set[int] = set()
    for base in _bases(entry):
        parent = entries.get(base.value) if isinstance(base.value, str) else None
        if parent is not None:
            known |= {id(parent)} | _above(parent, entries)
    return known


def _ancestors(
    entry: Node, entries: dict[str, Node], path: tuple[str, ...], lineage: list[Node], problems: list[Problem]
) -> bool:
    """Appends to ``lineage`` everything that ``entry`` extends, bases first, each once, then ``entry``."""
    path = (*path, _name(entry))
    for base in _bases(entry):
        if not isinstance(base.value, str):
            problems.append(base.problem(f"must be a name or a list of names, got {said(base.value)}", "Name it."))
            return False
        if base.value in path:
            circle = " -> ".join((*path, base.value))
            problems.append(base.problem(f"goes in a circle: {circle}", "Take one of them out."))
            return False
        parent = entries.get(base.value)
        if parent is None:
            what = f"no environment is called '{base.value}'"
            problems.append(base.problem(what, instead(base.value, entries, "Define it in environments.yaml.")))
            return False
        if not any(parent is node for node in lineage) and not _ancestors(parent, entries, path, lineage, problems):
            return False
    lineage.append(entry)
    return True
