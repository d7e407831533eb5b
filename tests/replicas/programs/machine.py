"""What a program finds when it starts: its libraries, its version, a checkpoint."""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "REPLICA_VERSION"
"""Set in the image: the version of the program that it has."""

LIBRARIES = ("libnvinfer.so.10", "libmpi.so.40")
"""The first lies in a folder that only the entry point puts on LD_LIBRARY_PATH, the second in one that only the image's
own linker cache knows."""

DEVICE_TOTAL_GIB = 119.70
"""A GB10, as CUDA sees it."""


def load_libraries() -> None:
    """As ``import tensorrt`` does. Raises ImportError in the words of the dynamic linker."""
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError as error:
            raise ImportError(str(error)) from None


def version() -> str:
    return os.environ[VERSION]


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights as an engine sees it once it has loaded them."""

    folder: Path
    architecture: str
    weight_bytes: int
    kv_bytes_per_token: int
    """16-bit cache."""

    @property
    def weights_gib(self) -> float:
        return self.weight_bytes / 2**30


def open_checkpoint(folder: Path) -> Checkpoint:
    """Raises OSError where there is none."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    shards = list(folder.glob("*.safetensors"))
    if not shards:
        raise OSError(f"Can not find model weights in {folder}")
    head = config["hidden_size"] // config["num_attention_heads"]
    per_token = config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * head * 2
    weight_bytes = sum(shard.stat().st_size for shard in shards)
    return Checkpoint(folder, config["architectures"][0], weight_bytes, per_token)
