"""Weights on disk: where they are, that they are the model's, and a digest that does not read 145 GB twice."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines import EngineError
from actors.files.publish import publish
from actors.types import Model

SECOND_COPIES = "*/*"
"""Subfolders (``original/``, ``metal/``) hold the weights once more in other formats. One pattern, because versions of
the client differ in how they take several."""


class NoWeights(EngineError):
    """A model whose weights are not on this machine. ``remedy`` is how to get them."""

    def __init__(self, model: Model, folder: Path) -> None:
        lines = [shlex.join(download_command(model, folder)), "or give its folder as `path:` in models.yaml"]
        if model.gated:
            lines.append(f"its licence must be accepted on huggingface.co first, and HF_TOKEN set: {model.licence}")
        super().__init__(
            f"model '{model.name}': no weights in {folder} (config.json and *.safetensors). `campaign prepare` "
            "fetches them; by hand:",
            "\n".join(lines),
        )
        self.folder = folder


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face checkpoint folder and what its ``config.json`` says of the model's shape."""

    folder: Path
    architecture: str
    weight_bytes: int
    """Sum of the ``*.safetensors`` files."""
    layers: int | None
    kv_bytes_per_token: int | None
    """layers × 2 × KV heads × head size × 2 bytes: a 16-bit cache. None where the config does not tell."""
    vocabulary: int | None
    quantization: str | None


def place(model: Model, cache: Path) -> Path:
    """Where the model's weights are looked for."""
    return Path(model.path) if model.path else cache / "models" / model.name


def locate(model: Model, cache: Path) -> Path:
    """The folder of the model's weights: ``path`` of the entry, or ``<cache>/models/<name>``."""
    folder = place(model, cache)
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")) and not _absent(folder):
        return folder.resolve()
    if model.huggingface_id is None:
        raise EngineError(
            f"model '{model.name}': {folder} holds no checkpoint (config.json and *.safetensors), and the entry "
            "names no huggingface_id to fetch it from"
        )
    raise NoWeights(model, folder)


def _absent(folder: Path) -> list[str]:
    """Shards that the checkpoint's index names and that are not there: a download that was cut off."""
    try:
        shards = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values()
    except (OSError, ValueError, KeyError):
        return []
    return sorted({name for name in shards if not (folder / name).is_file()})


def download_command(model: Model, folder: Path) -> list[str]:
    """The Hugging Face client's command that fetches the model, and goes on where it stopped."""
    revision = ["--revision", model.revision] if model.revision else []
    return [
        "hf",
        "download",
        str(model.huggingface_id),
        *revision,
        "--local-dir",
        str(folder),
        "--exclude",
        SECOND_COPIES,
    ]


def inspect(folder: Path) -> Checkpoint:
    """Read the checkpoint's own description of itself."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{folder / 'config.json'}: not a readable model configuration ({error})") from None
    if not isinstance(config, dict):
        raise EngineError(f"{folder / 'config.json'}: not a model configuration")
    text = config.get("text_config")
    shape = text if isinstance(text, dict) else config
    layers, heads = _count(shape, "num_hidden_layers"), _count(shape, "num_attention_heads")
    kv_heads, hidden = _count(shape, "num_key_value_heads") or heads, _count(shape, "hidden_size")
    head = _count(shape, "head_dim") or (hidden // heads if hidden and heads else None)
    quantization = config.get("quantization_config")
    return Checkpoint(
        folder=folder,
        architecture=str((config.get("architectures") or ["unknown"])[0]),
        weight_bytes=sum(path.stat().st_size for path in _shards(folder)),
        layers=layers,
        kv_bytes_per_token=layers * 2 * kv_heads * head * 2 if layers and kv_heads and head else None,
        vocabulary=_count(shape, "vocab_size"),
        quantization=str(quantization.get("quant_method") or quantization.get("quant_algo"))
        if isinstance(quantization, dict)
        else _modelopt(folder),
    )


def _shards(folder: Path) -> list[Path]:
    """Without ``consolidated.safetensors``, a second copy in Mistral's own format, where there is a first."""
    every = list(folder.glob("*.safetensors"))
    return [path for path in every if not path.name.startswith("consolidated")] or every


def agree(model: Model, checkpoint: Checkpoint) -> None:
    """Refuse weights whose shape is not the one that the model's entry describes:
    one model must not pass for another."""
    wrong = []
    if model.layers and checkpoint.layers and model.layers != checkpoint.layers:
        wrong.append(f"{checkpoint.layers} layers, not {model.layers}")
    if (
        model.kv_bytes_per_token
        and checkpoint.kv_bytes_per_token
        and model.kv_bytes_per_token not in (checkpoint.kv_bytes_per_token, checkpoint.kv_bytes_per_token // 2)
    ):
        wrong.append(f"{checkpoint.kv_bytes_per_token} bytes of KV cache per token, not {model.kv_bytes_per_token}")
    if model.weight_bytes and not 0.8 <= checkpoint.weight_bytes / model.weight_bytes <= 1.25:
        wrong.append(f"{checkpoint.weight_bytes / 1e9:.1f} GB of weights, not {model.weight_bytes / 1e9:.1f}")
    if wrong:
        raise EngineError(
            f"model '{model.name}': {checkpoint.folder} is another model ({checkpoint.architecture}): "
            f"{'; '.join(wrong)}"
        )


def digest(folder: Path, cache: Path) -> str:
    """sha256 over the names and contents of the folder's files. Contents already hashed are known again by size and
    time of change, remembered in ``<cache>/digests.json``."""
    memory = cache / "digests.json"
    known: dict[str, str] = {}
    if memory.is_file():
        try:
            known = json.loads(memory.read_text())
        except ValueError:
            known = {}
    total = hashlib.sha256()
    seen = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        stat = path.stat()
        key = f"{path} {stat.st_size} {stat.st_mtime_ns}"
        seen[key] = known.get(key) or file_digest(path)
        total.update(f"{seen[key]}  {relative}\n".encode())
    if seen.items() - known.items():
        cache.mkdir(parents=True, exist_ok=True)
        with publish(memory) as partial:
            partial.write_text(json.dumps(known | seen, indent=1))
    return total.hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _count(table: dict[str, Any], key: str) -> int | None:
    value = table.get(key)
    return value if isinstance(value, int) and value > 0 else None


def _modelopt(folder: Path) -> str | None:
    """Quantisation of a ModelOpt export, which stands in a file of its own."""
    try:
        return str(json.loads((folder / "hf_quant_config.json").read_text())["quantization"]["quant_algo"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
