"""The entries of configs/models.yaml hold together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from actors.types import Model

ENTRIES = yaml.safe_load((Path(__file__).parents[3] / "configs" / "models.yaml").read_text())["models"]
MODELS = {entry["name"]: Model.model_validate_json(json.dumps(entry)) for entry in ENTRIES}
STUDY = [
    "qwen2-1.5b",
    "gemma-2b",
    "phi-3-mini",
    "mistral-7b-v0.3",
    "deepseek-r1-7b",
    "llama-3-8b",
    "mixtral-8x7b",
    "llama-3-70b",
    "qwen2.5-72b",
    "gpt-oss-120b",
]
PUBLISHED = sorted(name for name, model in MODELS.items() if model.huggingface_id and not name.startswith("random-"))
BANDWIDTH = 273e9
"""Bytes per second of a GB10."""


def test_the_ten_models_of_the_study_are_there_once() -> None:
    assert set(STUDY) <= MODELS.keys()
    assert len(ENTRIES) == len(MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_says_all_that_a_plan_needs(name: str) -> None:
    model = MODELS[name]
    for key in ("licence", "parameters", "weight_bytes", "kv_bytes_per_token", "layers", "precision", "expected_tok_s"):
        assert getattr(model, key), key
    assert model.revision is None or re.fullmatch(r"[0-9a-f]{40}", model.revision)


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_fit_beside_a_cache(name: str) -> None:
    model = MODELS[name]
    assert model.weight_bytes is not None
    assert model.weight_bytes < 90e9


@pytest.mark.parametrize("name", [name for name in PUBLISHED if MODELS[name].precision == "bf16"])
def test_sixteen_bits_are_two_bytes(name: str) -> None:
    model = MODELS[name]
    assert model.parameters is not None
    assert model.weight_bytes == 2 * model.parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_is_expected_beyond_the_roofline(name: str) -> None:
    model = MODELS[name]
    assert model.expected_tok_s is not None
    assert model.weight_bytes is not None
    assert model.parameters is not None
    low, high = model.expected_tok_s
    active = model.weight_bytes * (model.active_parameters or model.parameters) / model.parameters
    assert 0 < low < high < BANDWIDTH * model.batch_size / active


def test_what_only_one_engine_can_load_names_only_that_one() -> None:
    for model in MODELS.values():
        if model.precision == "awq-int4":
            assert model.engines == ("vllm",)
    assert MODELS["gemma-2b"].backend == "tensorrt"
    assert {name for name in STUDY if "trtllm" not in MODELS[name].engines} == {"llama-3-70b", "qwen2.5-72b"}
