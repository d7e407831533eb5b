"""A checkpoint folder without weights: a true shape and a made-up tokenizer, for ``--load-format dummy``,
which draws the weights.

Inference costs what the shape costs, whatever the weights say. The tokenizer matters all the same: vLLM's random
prompts are drawn as ids, decoded to text and encoded again, so every id must have a text, and texts in a row must come
back as the same ids. Here a token is one capital, one small letter, a digit and a mark (``Ab``, ``Ab3``, ``Ab3;``): as
no kind follows itself, pieces never join across the border of two tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits, punctuation
from typing import Any

from actors.engines import EngineError
from actors.types import RandomWeights

FORMAT = "1"
"""Part of a folder's name: raise it when the files written for the same shape change."""

END = "<|endoftext|>"
"""The last id. Runs ignore it, and random prompts leave special tokens out."""

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
DTYPES = {"bf16": ("bfloat16", 2), "f16": ("float16", 2), "f32": ("float32", 4)}
"""Precision to vLLM's name of it and bytes."""

SMALLEST = 256 + 1
LARGEST = 256 + 26 * 26 * (1 + 10 * (1 + len(punctuation))) + 1


def checkpoint(name: str, shape: RandomWeights, cache: Path) -> tuple[Path, str]:
    """Folder with ``config.json`` and tokenizer, written unless it is there, and the sha256 over its files."""
    check_shape(name, shape)
    files = {file: json.dumps(table, ensure_ascii=False, indent=None) + "\n" for file, table in _files(shape).items()}
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{hashlib.sha256(files[file].encode()).hexdigest()}  {file}\n".encode())
    folder = place(name, shape, cache)
    if not all(_holds(folder / file, text) for file, text in files.items()):
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file, text in files.items():
            (partial / file).write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    return folder, total.hexdigest()


def place(name: str, shape: RandomWeights, cache: Path) -> Path:
    """Where :func:`checkpoint` puts the folder."""
    key = hashlib.sha256(f"{FORMAT} {shape.model_dump_json(exclude={'seed'})}".encode()).hexdigest()[:12]
    return cache / "vllm-random" / f"{name}-{key}"


def check_shape(name: str, shape: RandomWeights) -> None:
    """Refuse what vLLM cannot load or no tokenizer of this kind can name."""
    if shape.precision not in DTYPES:
        raise EngineError(
            f"model '{name}': vllm draws random weights as {', '.join(DTYPES)}, not {shape.precision}",
            "Set random_weights: precision: bf16, or run it with llamacpp.",
        )
    if not SMALLEST <= shape.vocabulary <= LARGEST:
        raise EngineError(
            f"model '{name}': a random vocabulary for vllm has {SMALLEST} to {LARGEST} entries, not {shape.vocabulary}",
            "Correct random_weights: vocabulary.",
        )
    if shape.hidden_size % shape.heads or shape.heads % shape.kv_heads:
        raise EngineError(
            f"model '{name}': {shape.heads} heads do not divide {shape.hidden_size}, "
            f"or {shape.kv_heads} KV heads do not divide them",
            "Correct random_weights: heads and kv_heads.",
        )


def parameters(shape: RandomWeights) -> int:
    """Weights of the shape: embedding, head unless tied, and in each layer attention, feed-forward and two norms."""
    hidden, kv = shape.hidden_size, shape.kv_heads * (shape.hidden_size // shape.heads)
    attention = 2 * hidden * hidden + 2 * hidden * kv
    biases = hidden + 2 * kv if shape.architecture == "qwen2" else 0
    layer = attention + biases + 3 * hidden * shape.feed_forward_size + 2 * hidden
    embeddings = shape.vocabulary * hidden * (1 if shape.tied_embeddings else 2)
    return embeddings + shape.layers * layer + hidden


def weight_bytes(shape: RandomWeights) -> int:
    return parameters(shape) * DTYPES[shape.precision][1]


def kv_bytes_per_token(shape: RandomWeights) -> int:
    """Of a cache in 16 bits."""
    return shape.layers * 2 * shape.kv_heads * (shape.hidden_size // shape.heads) * 2


def tokens(vocabulary: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Entries by id, of which the first 256 are the bytes and the last is :data:`END`,
    and the merges that make them."""
    entries, merges = list(_bytes()), []
    for first, second in islice(_pieces(), vocabulary - SMALLEST):
        entries.append(first + second)
        merges.append((first, second))
    return [*entries, END], merges


def _pieces() -> Any:
    pairs = list(product(ascii_uppercase, ascii_lowercase))
    yield from pairs
    triples = [(first + second, digit) for first, second in pairs for digit in digits]
    yield from triples
    for stem, digit in triples:
        for mark in punctuation:
            yield stem + digit, mark


def _bytes() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it prints,
    else one from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (chr(256 + n) for n in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


def _files(shape: RandomWeights) -> dict[str, dict[str, Any]]:
    entries, merges = tokens(shape.vocabulary)
    end = shape.vocabulary - 1
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": end, "content": END, **special}],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {entry: number for number, entry in enumerate(entries)},
            "merges": [f"{first} {second}" for first, second in merges],
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "model_max_length": shape.context_length,
        "clean_up_tokenization_spaces": False,
    }
    return {"config.json": _config(shape, end), "tokenizer.json": tokenizer, "tokenizer_config.json": settings}


def _config(shape: RandomWeights, end: int) -> dict[str, Any]:
    dtype = DTYPES[shape.precision][0]
    common = {
        "architectures": [ARCHITECTURES[shape.architecture]],
        "model_type": shape.architecture,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.feed_forward_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context_length,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "attention_dropout": 0.0,
        "tie_word_embeddings": shape.tied_embeddings,
        "use_cache": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": dtype,
    }
    if shape.architecture == "qwen2":
        return common | {"use_sliding_window": False, "sliding_window": None}
    return common | {"attention_bias": False, "mlp_bias": False, "head_dim": shape.hidden_size // shape.heads}


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
