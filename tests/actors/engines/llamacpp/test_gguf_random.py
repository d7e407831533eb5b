"""Random weights are an honest GGUF model: true to its shape, the same from the same seed, and llama.cpp runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import yaml

from actors.engines import EngineError
from actors.engines.llamacpp import gguf_file, gguf_random
from actors.types import RandomWeights
from tests.actors.engines.llamacpp import given_llamacpp as given_

ROOT = Path(__file__).resolve().parents[4]
LISTED = [
    entry
    for entry in yaml.safe_load((ROOT / "configs/models.yaml").read_text())["models"]
    if "random_weights" in entry and "llamacpp" in entry["engines"]
]


def shape(**changes: Any) -> RandomWeights:
    return given_.SHAPE.model_copy(update=changes)


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: str(entry["name"]))
def test_models_yaml_tells_the_truth_about_each_random_model(entry: dict[str, Any], tmp_path: Path) -> None:
    weights = RandomWeights.model_validate(entry["random_weights"])
    gguf_random.write_gguf(tmp_path / "m.gguf", entry["name"], weights)
    facts = gguf_file.read(tmp_path / "m.gguf")
    assert facts["general_name"] == entry["name"]
    for key in ("parameters", "weight_bytes", "kv_bytes_per_token", "layers"):
        assert facts[key] == entry[key], key
    assert entry["precision"] == weights.precision
    assert facts["kv_bytes_per_token"] == gguf_random.kv_bytes_per_token(weights)
    assert (facts["first_text_token"], facts["end_text_token"]) == (gguf_random.FIRST_TEXT_TOKEN, weights.vocabulary)


@pytest.mark.parametrize(
    ("precision", "digest"), [("f32", "d944671dd4861205"), ("f16", "8eaf12673cd69268"), ("q8_0", "37e07a3c731543fd")]
)
def test_the_weights_for_a_seed_never_change(precision: str, digest: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    gguf_random.write_gguf(path, "tiny", shape(precision=precision))
    total = hashlib.sha256()
    for tensor in gguf.GGUFReader(path).tensors:
        total.update(np.ascontiguousarray(tensor.data).tobytes())
    assert total.hexdigest()[:16] == digest, "raise FORMAT if this is intended"


def test_another_seed_is_another_model(tmp_path: Path) -> None:
    for seed in (1, 2):
        gguf_random.write_gguf(tmp_path / f"{seed}.gguf", "tiny", shape(seed=seed))
    assert (tmp_path / "1.gguf").read_bytes() != (tmp_path / "2.gguf").read_bytes()
    assert gguf_random.fingerprint("tiny", shape(seed=1)) != gguf_random.fingerprint("tiny", shape(seed=2))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("precision", ["f32", "f16", "q8_0"])
def test_llamacpp_serves_it_token_by_token(architecture: str, precision: str, tmp_path: Path) -> None:
    model = given_.MODEL.model_copy(update={"random_weights": shape(architecture=architecture, precision=precision)})
    output, ready, ended = given_.serve(tmp_path / "cache", tmp_path / "attempt", model)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((output / "report.json").read_text())
    assert report["model"]["parameters"] == ready.facts["parameters"]
    assert report["requests"] == {"expected": 7, "answered": 7, "failed": 0}
    # Every token came as a message of its own: none was a fragment of a character, none ended the text.
    assert report["tokens"]["messages"] == report["tokens"]["output"] == 7 * 9


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hidden_size": 66}, "not a multiple of heads 4"),
        ({"kv_heads": 3}, "not a multiple of kv_heads 3"),
        ({"hidden_size": 36}, "= 9 is odd"),
        ({"vocabulary": 259}, "leaves no text tokens"),
        ({"precision": "q8_0", "feed_forward_size": 100}, "multiples of 32"),
    ],
)
def test_an_impossible_shape_is_refused_and_leaves_nothing(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=complaint) as refused:
        gguf_random.write_gguf(tmp_path / "m.gguf", "odd-model", shape(**change))
    assert "model odd-model" in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_changed_is_written_anew(tmp_path: Path) -> None:
    path, known = gguf_file.weights(given_.MODEL, tmp_path)
    inode = path.stat().st_ino
    assert gguf_file.weights(given_.MODEL, tmp_path) == (path, known)
    assert path.stat().st_ino == inode
    with path.open("ab") as file:
        file.write(b"more")
    _, again = gguf_file.weights(given_.MODEL, tmp_path)
    assert again["sha256"] == known["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_gguf_file_of_the_users_is_used_where_it_lies(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    gguf_random.write_gguf(own, "somebody's", given_.SHAPE)
    model = given_.MODEL.model_copy(update={"random_weights": None, "path": str(own)})
    output, ready, ended = given_.serve(tmp_path / "cache", tmp_path / "attempt", model)
    assert ready.files["weights"] == str(own)
    report = given_.ENGINE.parse(output, model, given_.WORKLOAD, ready)
    assert (report.failure, report.model_identity) == (None, "tiny"), ended.stderr


def test_a_file_that_is_no_model_or_another_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF, or so it says" * 10)
    for update, complaint in (
        ({"random_weights": None, "path": str(other)}, "is not a GGUF file"),
        ({"random_weights": None, "path": str(tmp_path / "none.gguf")}, "is not a file"),
        ({"random_weights": None}, "needs random_weights"),
        ({"parameters": 7}, "says parameters 7"),
    ):
        with pytest.raises(EngineError, match=complaint):
            gguf_file.weights(given_.MODEL.model_copy(update=update), tmp_path / "cache")
