"""A checkpoint without weights: true shape, and a tokenizer that has a text for every id and every id for its text."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from actors.engines import EngineError
from actors.engines.vllm import dummy_checkpoint
from actors.engines.vllm.engine import Vllm
from actors.types import Model, Prepared, RandomWeights, Workload

QWEN = RandomWeights(
    architecture="qwen2", layers=28, hidden_size=1536, feed_forward_size=8960, heads=12, kv_heads=2, vocabulary=151936,
    precision="bf16", tied_embeddings=True,
)  # fmt: skip
LLAMA = RandomWeights(
    layers=32, hidden_size=4096, feed_forward_size=14336, heads=32, kv_heads=8, vocabulary=128256, precision="bf16"
)
SMALL = RandomWeights(
    layers=2, hidden_size=64, feed_forward_size=96, heads=4, kv_heads=2, vocabulary=9000, precision="bf16"
)
WORKLOAD = Workload(name="w", requests=4, input_tokens=8, output_tokens=8)


def model(shape: RandomWeights = SMALL, **entry: object) -> Model:
    return Model.model_validate({"name": "tiny", "engines": ("vllm",), "random_weights": shape, **entry})


def test_shapes_weigh_what_the_published_models_weigh() -> None:
    assert dummy_checkpoint.parameters(QWEN) == 1_543_714_304
    assert dummy_checkpoint.weight_bytes(QWEN) == 3_087_428_608
    assert dummy_checkpoint.kv_bytes_per_token(QWEN) == 28_672
    assert dummy_checkpoint.parameters(LLAMA) == 8_030_261_248
    assert dummy_checkpoint.kv_bytes_per_token(LLAMA) == 131_072


LISTED = [
    Model.model_validate_json(json.dumps(entry))
    for entry in yaml.safe_load((Path(__file__).parents[4] / "configs" / "models.yaml").read_text())["models"]
    if "random_weights" in entry and "vllm" in entry["engines"]
]


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: str(listed.name))
def test_models_yaml_tells_the_truth_about_each_random_model_of_vllm(listed: Model, tmp_path: Path) -> None:
    prepared = Vllm().prepare(listed, WORKLOAD, tmp_path)  # refuses where the entry says otherwise
    assert prepared.facts["weight_bytes"] == listed.weight_bytes
    assert listed.random_weights is not None
    assert listed.precision == listed.random_weights.precision


def test_there_are_shapes_of_two_architectures_at_true_size() -> None:
    assert {model.random_weights.architecture for model in LISTED if model.random_weights} == {"qwen2", "llama"}


def test_the_configuration_is_the_shape(tmp_path: Path) -> None:
    folder, _ = dummy_checkpoint.checkpoint("tiny", SMALL, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["torch_dtype"] == "bfloat16"
    assert (config["num_hidden_layers"], config["num_key_value_heads"], config["vocab_size"]) == (2, 2, 9000)
    assert config["tie_word_embeddings"] is False
    other, _ = dummy_checkpoint.checkpoint("tiny", SMALL.model_copy(update={"architecture": "qwen2"}), tmp_path)
    assert json.loads((other / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]


@pytest.mark.parametrize("vocabulary", [257, 300, 9000, 151936])
def test_every_id_has_a_text_of_its_own(vocabulary: int) -> None:
    entries, merges = dummy_checkpoint.tokens(vocabulary)
    assert len(entries) == len(set(entries)) == vocabulary
    assert len(merges) == vocabulary - 257
    assert all(first + second == entry for (first, second), entry in zip(merges, entries[256:-1], strict=True))
    known = set(entries)
    assert all(first in known and second in known for first, second in merges)


def test_a_row_of_tokens_comes_back_as_the_same_tokens(tmp_path: Path) -> None:
    """Held against the tokenizer's own rule: of all pairs that merge, the earliest merge first, until none is left."""
    entries, merges = dummy_checkpoint.tokens(9000)
    rank = {pair: index for index, pair in enumerate(merges)}
    ids = [256 + (index * 7919) % (9000 - 257) for index in range(60)]
    pieces = list("".join(entries[index] for index in ids))
    while pairs := [pair for pair in pairwise(pieces) if pair in rank]:
        best = min(pairs, key=lambda pair: rank[pair])
        joined, index = [], 0
        while index < len(pieces):
            if tuple(pieces[index : index + 2]) == best:
                joined.append(pieces[index] + pieces[index + 1])
                index += 2
            else:
                joined.append(pieces[index])
                index += 1
        pieces = joined
    # A pair followed by a token that goes on where it ends would join; capitals begin every token, so none does.
    assert [entries.index(piece) for piece in pieces] == ids


def test_no_rule_splits_a_text_before_its_tokens_are_found(tmp_path: Path) -> None:
    """The usual rule parts letters, digits and marks, of which each token here has one."""
    folder, _ = dummy_checkpoint.checkpoint("tiny", SMALL, tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["pre_tokenizer"]["use_regex"] is False
    assert tokenizer["pre_tokenizer"]["add_prefix_space"] is False
    assert tokenizer["added_tokens"][0]["id"] == 8999


def test_preparing_twice_writes_once_and_repairs_what_is_damaged(tmp_path: Path) -> None:
    first = Vllm().prepare(model(), WORKLOAD, tmp_path)
    folder = Path(first.files["weights"])
    assert folder.parent == tmp_path / "vllm-random"
    written = (folder / "tokenizer.json").stat().st_mtime_ns
    assert Vllm().prepare(model(), WORKLOAD, tmp_path) == first
    assert (folder / "tokenizer.json").stat().st_mtime_ns == written
    (folder / "tokenizer.json").write_text("cut sh")
    assert Vllm().prepare(model(), WORKLOAD, tmp_path) == first
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing half-written is left"
    assert Vllm().expect(model(), WORKLOAD, tmp_path).files == first.files


def test_facts_and_command(tmp_path: Path) -> None:
    prepared = Vllm().prepare(model(), WORKLOAD, tmp_path)
    assert prepared.facts == {
        "model_identity": "local/tiny",
        "architecture": "LlamaForCausalLM",
        "weight_bytes": dummy_checkpoint.weight_bytes(SMALL),
        "parameters": dummy_checkpoint.parameters(SMALL),
        "kv_bytes_per_token": 256,
        "random_weights": 1,
    }
    argv = Vllm().command(model(), WORKLOAD, prepared).argv
    assert argv[argv.index("--load-format") + 1] == "dummy"
    assert argv.count("--seed") == 1
    assert "/campaign/input/local/tiny" in argv


def test_random_weights_of_a_published_shape_are_not_called_the_published_model(tmp_path: Path) -> None:
    named = model(huggingface_id="Qwen/Qwen2-1.5B")
    assert Vllm().prepare(named, WORKLOAD, tmp_path).facts["model_identity"] == "local/tiny"


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (SMALL.model_copy(update={"precision": "q8_0"}), "not q8_0"),
        (SMALL.model_copy(update={"vocabulary": 300_000}), "not 300000"),
        (SMALL.model_copy(update={"heads": 5}), "do not divide"),
    ],
)
def test_what_cannot_be_loaded_is_refused(shape: RandomWeights, why: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=why):
        Vllm().prepare(model(shape), WORKLOAD, tmp_path)


def test_an_entry_that_describes_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"models\.yaml says layers 28, its random_weights make 2"):
        Vllm().prepare(model(layers=28), WORKLOAD, tmp_path)


def test_a_fixed_kv_cache_needs_no_figure_that_the_shape_has() -> None:
    argv = Vllm().command(model(kv_cache_tokens=1000), WORKLOAD, Prepared(files={"weights": "/x"})).argv
    assert argv[argv.index("--kv-cache-memory-bytes") + 1] == "256000"
