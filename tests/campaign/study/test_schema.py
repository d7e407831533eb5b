"""The schema that editors get holds for every campaign file of the project,
and refuses what the loader refuses by shape."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from campaign.config.schema import Campaign
from campaign.study import schema

CONFIGS = Path(schema.__file__).parents[2] / "configs"
FILES = sorted((CONFIGS / "campaigns").glob("*.yaml"))
CHECK = jsonschema.Draft202012Validator(schema.schema())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_campaign_file_fits_the_schema_and_names_it(file: Path) -> None:
    text = file.read_text()
    problems = [f"{list(one.absolute_path)}: {one.message}" for one in CHECK.iter_errors(yaml.safe_load(text))]
    assert problems == []
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == CONFIGS / "schema.json"


@pytest.mark.parametrize(
    "change",
    [
        {"models": 3},
        {"gate": {"cooldown": 5}},
        {"breaker": 0},
        {"modles": ["a"]},
        {"order": "sideways"},
        {"repetitions": "ten"},
    ],
    ids=str,
)
def test_a_wrong_key_or_type_is_marked(change: dict[str, object]) -> None:
    whole = yaml.safe_load((CONFIGS / "campaigns" / "local.yaml").read_text()) | change
    assert list(CHECK.iter_errors(whole))


def test_the_kept_schema_is_todays() -> None:
    assert (CONFIGS / "schema.json").read_text() == schema.text(), "run `python docs/reference.py`"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.text()))


def test_every_key_of_a_campaign_says_what_it_means() -> None:
    made = schema.schema()["properties"]
    assert [name for name, one in made.items() if not one.get("description")] == []
    assert set(Campaign.model_fields) - set(made) == set(schema.RESOLVED)
