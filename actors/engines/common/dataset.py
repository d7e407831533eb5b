"""Prompts as token ids, drawn from a seed, one JSON object per line: what trtllm-bench reads, and every engine here.

Line format (TensorRT-LLM ``tensorrt_llm/bench/utils/data.py``): ``{"task_id": 0, "input_ids": [...], "output_tokens":
128}``. Both arms read the one file, so its digest is the identity of what was asked.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from actors.engines import EngineError
from actors.files.publish import publish
from actors.types import Workload

FORMAT = "1"
"""Part of a file's name: raise it when the bytes written for the same arguments change."""


def dataset_file(folder: Path, workload: Workload, token_ids: range) -> Path:
    """Where :func:`write_dataset` puts the prompts of ``workload``."""
    asked = (workload.requests, workload.input_tokens, workload.output_tokens, workload.seed)
    name = hashlib.sha256(f"{FORMAT} {asked} {token_ids}".encode()).hexdigest()[:16]
    return folder / f"{name}.jsonl"


def write_dataset(folder: Path, workload: Workload, token_ids: range) -> tuple[Path, str]:
    """Write the prompts of ``workload`` below ``folder``, unless they are there; returns the file and its sha256.

    ``token_ids`` are the ids to draw from, uniformly: plain text tokens, neither special ones nor lone bytes. The
    same arguments give the same bytes on every machine. Raises EngineError where there is nothing to draw from.
    """
    if token_ids.step != 1 or len(token_ids) < 1:
        raise EngineError(f"workload {workload.name}: no token ids to draw prompts from in {token_ids}")
    path = dataset_file(folder, workload, token_ids)
    lines = _lines(workload, token_ids)
    digest = hashlib.sha256(lines).hexdigest()
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        folder.mkdir(parents=True, exist_ok=True)
        with publish(path) as partial:
            partial.write_bytes(lines)
    return path, digest


def _lines(workload: Workload, token_ids: range) -> bytes:
    # Raw PCG64 output is the part of numpy's generators that never changes (NEP 19). The modulo's bias is below
    # one part in 2**44 for any vocabulary.
    source = np.random.PCG64(workload.seed)
    lines = []
    for task in range(workload.requests):
        drawn = source.random_raw(workload.input_tokens) % np.uint64(len(token_ids)) + np.uint64(token_ids.start)
        entry = {"task_id": task, "input_ids": drawn.tolist(), "output_tokens": workload.output_tokens}
        lines.append(json.dumps(entry, separators=(",", ":")) + "\n")
    return "".join(lines).encode()
