"""JSON Schema of a campaign's file, for editors: what the file may hold before names
are looked up and defaults are filled in.

It follows from the models that validate a resolved campaign (:class:`campaign.config.schema.Campaign`), with what a
file writes in another way: a name in place of a definition, ``extends``, one number for all repetitions. Descriptions
are the models' own docstrings. A schema knows shapes alone: what contradicts itself is said by ``campaign plan``.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from functools import cache
from typing import Any

from pydantic import BaseModel

from campaign.config.library import LIBRARY
from campaign.config.schema import Campaign
from campaign.study.asked import OWN_KEYS, PHASE_KEYS, PhaseAsked

DRAFT = "https://json-schema.org/draft/2020-12/schema"
RESOLVED = ("screen", "rest")
"""Keys of a resolved campaign that no file writes."""
FOLLOWING = ("order", "reference", "repetitions")
"""Keys that a file may leave out, because others say them."""


def schema() -> dict[str, Any]:
    """The schema of campaign and study files."""
    made: dict[str, Any] = Campaign.model_json_schema()
    definitions: dict[str, Any] = made["$defs"] | PhaseAsked.model_json_schema(ref_template="#/$defs/{model}").pop(
        "$defs", {}
    )
    keys: dict[str, Any] = {name: value for name, value in made["properties"].items() if name not in RESOLVED}
    keys["library"] = {"type": "string", "description": "Folder of models.yaml, environments.yaml and workloads.yaml."}
    for kind in LIBRARY:
        name = keys[kind]["items"]["$ref"].removeprefix("#/$defs/")
        partial = {key: value for key, value in definitions[name].items() if key != "required"}
        partial["properties"] = partial["properties"] | ({"extends": _one_or_many()} if kind == "environments" else {})
        keys[kind]["items"] = {"anyOf": [{"type": "string", "description": f"A name in {kind}.yaml."}, partial]}
    gate = definitions["Gate"]["properties"]
    gate["cooldown_s"] = {"anyOf": [gate["cooldown_s"], {"const": "calibrated"}]}
    gate["calibration"] = {
        "type": "string",
        "description": "File of a calibrated rest (`campaign plan --pilot --rest`).",
    }
    keys["models"] = {"anyOf": [keys["models"], {"type": "string", "description": "In a study's phase: a rule."}]}
    count = {"type": "integer", "minimum": 1}
    keys["repetitions"] = {"anyOf": [count, keys["repetitions"]]}
    phase = PhaseAsked.model_json_schema(ref_template="#/$defs/{model}")["properties"]
    own = {key: phase[key] for key in PHASE_KEYS if key in phase}
    own["screen"] = {"type": "object", "description": "The screen of a screening phase; docs/study.md has its keys."}
    everything = keys | {
        "phases": {
            "type": "array",
            "description": "Makes the file a study: each phase is a campaign that changes some keys.",
            "items": {"type": "object", "properties": keys | own, "additionalProperties": False},
        },
        "on_decision": {"enum": ["pause", "go"], "description": "What a study does between two phases."},
    }
    assert set(OWN_KEYS) <= everything.keys()
    described = {name: _described(name, value, Campaign) for name, value in everything.items()}
    return {
        "$schema": DRAFT,
        "title": "Campaign file",
        "type": "object",
        "required": [name for name in made["required"] if name not in FOLLOWING],
        "properties": described,
        "additionalProperties": False,
        "$defs": {name: _definition(value, name) for name, value in sorted(definitions.items())},
    }


def text() -> str:
    """As it is kept in ``configs/schema.json``."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _one_or_many() -> dict[str, Any]:
    return {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Environments whose options this one takes over.",
    }


def _models() -> dict[str, type[BaseModel]]:
    """Every model below Campaign, by name."""
    found: dict[str, type[BaseModel]] = {}
    waiting: list[Any] = [Campaign, PhaseAsked]
    while waiting:
        one = waiting.pop()
        if inspect.isclass(one) and issubclass(one, BaseModel):
            if one.__name__ not in found:
                found[one.__name__] = one
                waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += list(getattr(one, "__args__", ()))
    return found


def _definition(value: dict[str, Any], name: str) -> dict[str, Any]:
    cls = _models().get(name)
    if cls is None or "properties" not in value:
        return value
    return value | {"properties": {key: _described(key, one, cls) for key, one in value["properties"].items()}}


def _described(key: str, value: dict[str, Any], cls: type[BaseModel]) -> dict[str, Any]:
    said = docstrings(cls).get(key)
    value = {name: one for name, one in value.items() if name != "title"}
    return value | {"description": said} if said else value


@cache
def docstrings(cls: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field, of the class and of those it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one in (object, BaseModel) or not issubclass(one, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[field.target.id] = " ".join(inspect.cleandoc(after.value.value).split())
    return found
