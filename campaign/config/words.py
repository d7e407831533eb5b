"""What the schema refuses, in words: where it stands, what is wrong, and what to write instead."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from actors.types import Environment, Gate
from campaign.config.library import LIBRARY
from campaign.config.schema import Campaign
from campaign.config.yaml_nodes import Node, Problem, either, instead, said

Schema = TypeVar("Schema", bound=BaseModel)
Location = tuple[str | int, ...]


def validated(
    tree: Node, cls: type[Schema], problems: list[Problem], unresolved: Collection[str] = ()
) -> Schema | None:
    before = len(problems)
    try:
        found = cls.model_validate(tree.plain())
        # Once through JSON, so that a campaign read from YAML equals the same one read back from campaign.json.
        return cls.model_validate_json(found.model_dump_json()) if len(problems) == before else found
    except ValidationError as error:
        details = error.errors()
        for detail in details:
            loc = detail["loc"]
            absent = detail["type"] in ("missing", "too_short")
            own = len(loc) == 1 and loc[0] in LIBRARY and tree.child(loc[0]) is None
            if absent and loc and loc[0] in unresolved and not own:
                continue
            # pydantic counts only the valid items of a list.
            if detail["type"] == "too_short" and any(
                other["loc"][: len(loc)] == loc != other["loc"] for other in details
            ):
                continue
            problems.append(_in_words(detail, tree, cls))
        return None


def _in_words(detail: ErrorDetails, tree: Node, cls: type[BaseModel]) -> Problem:
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    node, depth = locate(tree, loc)
    key = node.key
    for part in loc[depth:]:
        key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}".lstrip(".")
    what, remedy = _message(detail, node, loc, cls)
    return Problem(node.file, node.line, key, what, remedy)


def locate(tree: Node, loc: Location) -> tuple[Node, int]:
    """The deepest node on the way to ``loc``, and how many parts of ``loc`` lead to it."""
    node, depth = tree, 0
    for part in loc:
        child = node.child(part)
        if child is None:
            break
        node, depth = child, depth + 1
    return node, depth


def _keys_at(cls: type[BaseModel], loc: Location) -> list[str]:
    """The keys that the schema allows beside the last part of ``loc``."""
    current: Any = cls
    by_name = False
    for part in loc[:-1]:
        if isinstance(part, int) or by_name:
            by_name = False
            continue
        fields = getattr(current, "model_fields", {})
        current = _schema_in(fields[part].annotation) if part in fields else None
        by_name = part in fields and typing.get_origin(fields[part].annotation) is dict
    keys = [key for key in getattr(current, "model_fields", {}) if (current, key) != (Campaign, "rest")]
    extra = {Campaign: ["library"], Environment: ["extends"], Gate: ["calibration"]}.get(current, [])
    return keys + extra


def _schema_in(annotation: Any) -> Any:
    """The pydantic class inside ``tuple[X, ...]``, ``X | None`` and the like."""
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _schema_in(part))), None)


EXAMPLES = {
    "name": "name: my-campaign",
    "engine": "engine: llamacpp",
    "models": "models: [random-llama-8m]",
    "environments": "environments: [native-chroot, docker-baseline]",
    "workloads": "workloads: [chat-short]",
    "repetitions": "repetitions: 30",
    "kind": "kind: docker",
    "engines": "engines: [llamacpp]",
}


BOUNDS = {
    "greater_than_equal": ("ge", "at least", "{limit} or more{unit}"),
    "greater_than": ("gt", "above", "more than {limit}{unit}"),
    "less_than_equal": ("le", "at most", "{limit}{unit} or less"),
    "less_than": ("lt", "below", "less than {limit}{unit}"),
}
"""pydantic's name of a bound to its limit's name, what a value must be, and what to use."""


def _message(detail: ErrorDetails, node: Node, loc: Location, cls: type[BaseModel]) -> tuple[str, str]:
    """What is wrong and what to do about it."""
    got, context, last = detail["input"], detail.get("ctx", {}), str(loc[-1]) if loc else ""
    kind = detail["type"]
    if kind in BOUNDS:
        return _out_of_bounds(kind, context, last, got)
    if kind in TYPES:
        what, remedy = TYPES[kind]
        return f"must be {what}, got {said(got)}", remedy(got, cls, loc)
    match kind:
        case "extra_forbidden":
            keys = _keys_at(cls, loc)
            return "unknown key", instead(last, keys, f"Keys here are {', '.join(keys)}.")
        case "missing":
            return "is missing", f"Add `{EXAMPLES.get(last, f'{last}: …')}`."
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            what = f"must be {either(allowed)}, got {said(got)}"
            return what, instead(str(got), allowed, f"Write {either(allowed)}.")
        case "too_short":
            return "must not be empty", "Name at least one."
        case "string_pattern_mismatch":
            characters = "lower-case letters, digits, dots and hyphens, a letter or digit first"
            return f"'{got}' is not a name", f"Use {characters}."
        case "string_too_long":
            return f"is {len(str(got))} characters long", f"Use at most {context['max_length']}."
        case _:
            what = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {said(got)}"
            return what, "See the schema in actors/types.py."


def _out_of_bounds(kind: str, context: Mapping[str, Any], last: str, got: object) -> tuple[str, str]:
    name, must_be, use = BOUNDS[kind]
    unit = " seconds" if last.endswith("_s") else " percent" if last.endswith("_pct") else ""
    limit = f"{context[name]:g}"
    return f"must be {must_be} {limit}, got {said(got)}", f"Use {use.format(limit=limit, unit=unit)}."


def _number_remedy(got: object, kind: str) -> str:
    if isinstance(got, str):
        try:
            float(got)
        except ValueError:
            return f"Write {kind}."
        return f"Write {got} without quotes."
    return f"Write {kind}." if got is not None else f"Write {kind}, or leave the key out."


def _text_remedy(got: object) -> str:
    if isinstance(got, bool | int | float):
        return f'Put it in quotes: "{str(got).lower()}".'
    return "Write text, or leave the key out." if got is None else "Write text."


def _mapping_remedy(cls: type[BaseModel], loc: Location) -> str:
    keys = _keys_at(cls, (*loc, ""))
    return f"Indent its keys below it: {', '.join(keys)}." if keys else "Write `{key: value}`."


def _list_remedy(got: object) -> str:
    return f"Write `[{got}]`." if isinstance(got, str | int | float) else "Write `[…]`."


TYPES: dict[str, tuple[str, Callable[[object, type[BaseModel], Location], str]]] = {
    **dict.fromkeys(
        ("int_type", "int_from_float"), ("a whole number", lambda got, *_: _number_remedy(got, "a whole number"))
    ),
    "float_type": ("a number", lambda got, *_: _number_remedy(got, "a number")),
    "bool_type": ("true or false", lambda *_: "Write true or false, without quotes."),
    "string_type": ("text", lambda got, *_: _text_remedy(got)),
    "tuple_type": ("a list", lambda got, *_: _list_remedy(got)),
    **dict.fromkeys(
        ("model_type", "dict_type", "mapping_type"), ("a mapping", lambda _, cls, loc: _mapping_remedy(cls, loc))
    ),
}
"""pydantic's name of a wrong type to what the value must be, and its remedy."""
