"""Decoder-only transformers with random weights, written as GGUF from a seed by the official ``gguf`` package.

Speed and memory of inference depend on a model's shape, not on what its weights say, so a random model of honest
size measures what a downloaded one would, without a download. The same seed gives the same bytes on every machine:
weights come from the raw output of PCG64, which numpy promises to keep (its distributions it does not, NEP 19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from actors.engines import EngineError
from actors.files.publish import publish
from actors.types import RandomWeights

CONTEXT_LENGTH = 8192
SPECIAL_TOKENS = 3
"""``<unk>``, ``<s>``, ``</s>``: ids 0, 1, 2."""
FIRST_TEXT_TOKEN = SPECIAL_TOKENS + 256
"""Ids below are special or single bytes; ids from here to the vocabulary's end are plain text."""
FORMAT = "2"
"""Part of a file's name: raise it when the bytes written for the same shape and seed change."""

_SPREAD = 0.02 * 3**0.5
"""Half width of the uniform distribution: standard deviation 0.02, the usual initialisation of a transformer."""
_PRECISIONS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def head_size(shape: RandomWeights) -> int:
    return shape.hidden_size // shape.heads


def tensor_shapes(shape: RandomWeights) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and numpy shape (rows, columns) of every tensor, in file order."""
    hidden, key_value = shape.hidden_size, shape.kv_heads * head_size(shape)
    yield "token_embd.weight", (shape.vocabulary, hidden)
    yield "output_norm.weight", (hidden,)
    yield "output.weight", (shape.vocabulary, hidden)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", (hidden,)
        yield prefix + "attn_q.weight", (hidden, hidden)
        yield prefix + "attn_k.weight", (key_value, hidden)
        yield prefix + "attn_v.weight", (key_value, hidden)
        if shape.architecture == "qwen2":
            yield prefix + "attn_q.bias", (hidden,)
            yield prefix + "attn_k.bias", (key_value,)
            yield prefix + "attn_v.bias", (key_value,)
        yield prefix + "attn_output.weight", (hidden, hidden)
        yield prefix + "ffn_norm.weight", (hidden,)
        yield prefix + "ffn_gate.weight", (shape.feed_forward_size, hidden)
        yield prefix + "ffn_down.weight", (hidden, shape.feed_forward_size)
        yield prefix + "ffn_up.weight", (shape.feed_forward_size, hidden)


def kv_bytes_per_token(shape: RandomWeights) -> int:
    """Key and value of every layer for one token, in 16-bit floats."""
    return shape.layers * 2 * shape.kv_heads * head_size(shape) * 2


def fingerprint(name: str, shape: RandomWeights) -> str:
    """Twelve hex digits that stand for the file's content."""
    written = shape.model_dump_json(exclude={"tied_embeddings", "context_length"})  # which no GGUF of ours depends on
    return hashlib.sha256(f"{FORMAT}\n{name}\n{written}".encode()).hexdigest()[:12]


def check_shape(name: str, shape: RandomWeights) -> None:
    """Raises EngineError for a shape that no transformer can have."""
    wrong = None
    if shape.precision not in _PRECISIONS:
        wrong = f"precision {shape.precision} is for vllm; llamacpp writes {', '.join(_PRECISIONS)}"
    elif shape.hidden_size % shape.heads:
        wrong = f"hidden_size {shape.hidden_size} is not a multiple of heads {shape.heads}"
    elif shape.heads % shape.kv_heads:
        wrong = f"heads {shape.heads} is not a multiple of kv_heads {shape.kv_heads}"
    elif head_size(shape) % 2:
        wrong = f"hidden_size / heads = {head_size(shape)} is odd, and rotary embedding turns pairs"
    elif shape.vocabulary <= FIRST_TEXT_TOKEN:
        wrong = f"vocabulary {shape.vocabulary} leaves no text tokens after {FIRST_TEXT_TOKEN} special and byte tokens"
    elif shape.precision == "q8_0" and (shape.hidden_size % 32 or shape.feed_forward_size % 32):
        wrong = "q8_0 needs hidden_size and feed_forward_size to be multiples of 32"
    if wrong:
        raise EngineError(f"model {name}: random_weights: {wrong}; change the shape in models.yaml")


def write_gguf(path: Path, name: str, shape: RandomWeights) -> None:
    """Write the model to ``path``: complete and synced, or not at all. Raises EngineError for an impossible shape."""
    check_shape(name, shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish(path, durable=True) as partial:
        _write(partial, name, shape)


def _write(path: Path, name: str, shape: RandomWeights) -> None:
    matrix_type, file_type = _PRECISIONS[shape.precision]
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(name)
    writer.add_description(f"random weights, seed {shape.seed}")
    writer.add_file_type(file_type)
    if shape.precision == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward_size)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(head_size(shape))
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    _add_tokenizer(writer, shape.vocabulary)
    tensors = list(tensor_shapes(shape))
    for tensor, dimensions in tensors:
        kind = matrix_type if len(dimensions) == 2 else gguf.GGMLQuantizationType.F32
        if kind is gguf.GGMLQuantizationType.Q8_0:
            quantised = gguf.quant_shape_to_byte_shape(dimensions, kind)
            writer.add_tensor_info(tensor, quantised, np.dtype(np.uint8), int(np.prod(quantised)), raw_dtype=kind)
        else:
            dtype = np.dtype(np.float16 if kind is gguf.GGMLQuantizationType.F16 else np.float32)
            writer.add_tensor_info(tensor, dimensions, dtype, int(np.prod(dimensions)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    source = np.random.PCG64(shape.seed)
    for tensor, dimensions in tensors:
        values = _values(source, tensor, dimensions)
        if len(dimensions) == 1 or matrix_type is gguf.GGMLQuantizationType.F32:
            writer.write_tensor_data(values)
        elif matrix_type is gguf.GGMLQuantizationType.F16:
            writer.write_tensor_data(values.astype(np.float16))
        else:
            writer.write_tensor_data(gguf.quantize(values, matrix_type))
    writer.close()


def _values(source: np.random.PCG64, tensor: str, dimensions: tuple[int, ...]) -> NDArray[np.float32]:
    if tensor.endswith("norm.weight"):
        return np.ones(dimensions, np.float32)
    if tensor.endswith(".bias"):
        return np.zeros(dimensions, np.float32)
    count = int(np.prod(dimensions))
    bits = source.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
    values = (bits.astype(np.float32) - np.float32(32767.5)) * np.float32(_SPREAD / 32767.5)
    values = values.reshape(dimensions)
    if tensor == "output.weight":
        # Logit 0 for special and byte tokens: among thousands of random logits the greatest is always above it, so
        # greedy decoding yields text only. A lone byte of a UTF-8 sequence would hold back the engine's stream.
        values[:FIRST_TEXT_TOKEN] = 0
    return values


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    words = vocabulary - FIRST_TEXT_TOKEN
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"\u2581w{number}" for number in range(words)]  # U+2581 is SentencePiece's space
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * words
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * FIRST_TEXT_TOKEN + [-float(number) for number in range(words)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
