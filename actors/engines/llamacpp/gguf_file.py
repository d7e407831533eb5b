"""A GGUF file on the unit: the model's random weights, written when they are not there, or a file that the user has.

What a file says of itself is read once and noted beside it (``.json``: sha256, size, time of change, shape); while size
and time of change stay, it is not read again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from actors.engines import EngineError
from actors.engines.llamacpp import gguf_random
from actors.files.publish import publish
from actors.types import Model, RandomWeights

Facts = dict[str, int | str]
"""``sha256``, ``size``, ``mtime_ns``, ``general_name``, ``parameters``, ``weight_bytes``, ``layers``,
``kv_bytes_per_token`` (16-bit cache), ``context_length``, and the ids of plain text tokens from ``first_text_token``
up to but not including ``end_text_token``."""


def weights(model: Model, cache: Path) -> tuple[Path, Facts]:
    """The GGUF file of ``model`` and what is known of it. Raises EngineError where
    there is none or it is another model."""
    if model.random_weights is not None:
        path, known = _random(model.name, model.random_weights, cache / "models")
    elif model.path is not None:
        path, known = _given(model.name, Path(model.path).absolute(), cache / "models")
    else:
        raise EngineError(
            f"model {model.name}: llamacpp needs random_weights, or the path of a GGUF file, in models.yaml"
        )
    for key in ("parameters", "layers", "kv_bytes_per_token"):
        said = getattr(model, key)
        if said is not None and said != known[key]:
            raise EngineError(f"model {model.name}: models.yaml says {key} {said}, {path} holds {known[key]}")
    return path, known


def _random(name: str, shape: RandomWeights, folder: Path) -> tuple[Path, Facts]:
    gguf_random.check_shape(name, shape)
    path = folder / f"{name}-{gguf_random.fingerprint(name, shape)}.gguf"
    sidecar = path.with_suffix(".json")
    known = _noted(path, sidecar)
    if known is None:
        gguf_random.write_gguf(path, name, shape)
        known = _note(path, sidecar)
    return path, known


def _given(name: str, path: Path, folder: Path) -> tuple[Path, Facts]:
    if not path.is_file():
        raise EngineError(f"model {name}: {path} is not a file; correct its path in models.yaml")
    sidecar = folder / f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.json"
    return path, _noted(path, sidecar) or _note(path, sidecar)


def _noted(path: Path, sidecar: Path) -> Facts | None:
    """What was noted of the file, if it is still the same file."""
    try:
        known: Facts = json.loads(sidecar.read_bytes())
        stat = path.stat()
        return known if (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(path: Path, sidecar: Path) -> Facts:
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known: Facts = {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, **read(path)}
    sidecar.parent.mkdir(parents=True, exist_ok=True)
    with publish(sidecar) as partial:
        partial.write_text(json.dumps(known, indent=1) + "\n")
    return known


def read(path: Path) -> Facts:
    """What a GGUF file says of itself. Raises EngineError for one that is no decoder-only transformer."""
    try:
        reader = gguf.GGUFReader(path)
        architecture = _content(reader, "general.architecture")

        def number(key: str) -> int:
            return int(_content(reader, f"{architecture}.{key}"))

        heads, hidden, layers = number("attention.head_count"), number("embedding_length"), number("block_count")
        kv_heads = number("attention.head_count_kv")
        kinds = np.asarray(_content(reader, "tokenizer.ggml.token_type"))
        first, end = _longest_run(kinds == gguf.TokenType.NORMAL)
        return {
            "general_name": str(_content(reader, "general.name")),
            "parameters": sum(int(tensor.n_elements) for tensor in reader.tensors),
            "weight_bytes": sum(int(tensor.n_bytes) for tensor in reader.tensors),
            "layers": layers,
            "kv_bytes_per_token": layers * kv_heads * (hidden // heads) * 2 * 2,
            "context_length": number("context_length"),
            "first_text_token": first,
            "end_text_token": end,
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise EngineError(f"{path} is not a GGUF file of a decoder-only transformer: {error}") from None


def _content(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise KeyError(f"it has no {key}")
    return field.contents()


def _longest_run(wanted: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of the longest run of True: in a vocabulary, the plain tokens between special ones."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])
