"""Campaigns on a replica: their files, small checkpoints, and what is read from their results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from small_campaign import PROJECT

from campaign.record import journal
from campaign.record.store import Store

WEIGHT_BYTES = 32 * 2**20
SHAPE = {
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_size": 512,
    "vocab_size": 32768,
}
KV_BYTES_PER_TOKEN = 4 * 2 * 4 * 64 * 2
THROUGHPUT = {
    "name": "batch",
    "requests": 6,
    "input_tokens": 24,
    "output_tokens": 32,
    "warmup_requests": 1,
    "timeout_s": 60,
}
LATENCY = {**THROUGHPUT, "name": "single", "kind": "latency", "requests": 3, "concurrency": 1}
GATE = {
    "cooldown_s": 0.2,
    "ceiling_c": None,
    "dwell_s": 0,
    "memory_tolerance_gib": None,
    "timeout_s": 30,
    "on_timeout": "flag",
    "cache": "keep",
}


def checkpoint(folder: Path, name: str, fails: dict[str, Any] | None = None) -> dict[str, Any]:
    """A small checkpoint below ``folder``, and the entry of its model. ``fails``: see ``programs/failing.py``."""
    place = folder / name
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **SHAPE}))
    with (place / "model-00001-of-00001.safetensors").open("wb") as shard:
        shard.truncate(WEIGHT_BYTES)
    index = {"weight_map": {"model.embed_tokens.weight": "model-00001-of-00001.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    if fails is not None:
        (place / "replica.json").write_text(json.dumps({"name": name, **fails}))
    return {
        "name": name,
        "huggingface_id": f"example/{name}",
        "engines": ["trtllm", "vllm"],
        "weight_bytes": WEIGHT_BYTES,
        "kv_bytes_per_token": KV_BYTES_PER_TOKEN,
        "layers": SHAPE["num_hidden_layers"],
        "batch_size": 2,
        "path": str(place),
    }


def write(folder: Path, name: str, **keys: Any) -> Path:
    """The campaign's file: native against Docker, as short as it can be."""
    whole = {
        "name": name,
        "description": "A replica of an engine's image.",
        "library": str(PROJECT / "configs"),
        "environments": ["native-chroot", "docker-baseline"],
        "without": ["gpu", "ulimits.memlock"],
        "workloads": [THROUGHPUT],
        "repetitions": 1,
        "shakedown": False,
        "gate": GATE,
        "acceptance": {"coverage_min_pct": 50},  # of an attempt of a second one late sample is a tenth
        **keys,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


@dataclass(frozen=True)
class Attempt:
    """One line of the journal with what lies in its folder."""

    run_id: str
    number: int
    accepted: bool
    metadata: dict[str, Any]
    folder: Path

    @property
    def failure(self) -> str:
        return str(self.metadata["failure"])

    @property
    def command(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "command.json").read_bytes()))

    @property
    def metrics(self) -> dict[str, float | None]:
        return {metric["name"]: metric["value"] for metric in self.metadata["metrics"]}


def attempts(folder: Path) -> list[Attempt]:
    """Of the measured part of the campaign in ``folder``, in order."""
    found = []
    for event in journal.finished(journal.read(Store(folder).journal_path)[0]):
        place = folder / "attempts" / event["run_id"] / str(event["attempt"])
        metadata = json.loads((place / "metadata.json").read_bytes())
        found.append(Attempt(event["run_id"], event["attempt"], event["accepted"], metadata, place))
    return found
