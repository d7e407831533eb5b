"""What ``trtllm-bench`` is told of a model and a workload, by the options that an image's own help lists."""

from __future__ import annotations

import re
from typing import Any

from actors.engines import EngineError
from actors.types import Model, Prepared, Workload

INPUT = "/campaign/input"
"""Where every arm sees weights, dataset and settings, read-only."""

LAST_WITH_TENSORRT = "1.2.1"
"""The last release whose ``trtllm-bench`` runs built TensorRT engines."""

COMMON = {
    # What every release from 1.0 to 1.2 lists: assumed where nobody could ask the image.
    "help_throughput": "--backend --engine_dir --dataset --num_requests --warmup --concurrency --streaming "
    "--max_batch_size --max_num_tokens --kv_cache_free_gpu_mem_fraction --tp "
    "--extra_llm_api_options --report_json --request_json",
}


def identity(model: Model) -> str:
    """What the engine is told to call the model, and must report."""
    return model.huggingface_id or f"local/{model.name}"


def llm_options(model: Model) -> dict[str, Any]:
    """The engine's YAML, or nothing. It replaces ``kv_cache_config`` as a whole through 1.2, and with it the fraction
    of the command line and the benchmark's ``enable_block_reuse: false``, so all of it is written whenever any is."""
    options = model.engine_options.get("trtllm", {})
    if not options and model.kv_cache_tokens is None:
        return {}
    kv_cache = {"free_gpu_memory_fraction": model.kv_cache_fraction, "enable_block_reuse": False, "dtype": "auto"}
    if model.kv_cache_tokens is not None:
        kv_cache["max_tokens"] = model.kv_cache_tokens
    return {**options, "kv_cache_config": {**kv_cache, **options.get("kv_cache_config", {})}}


def needs_build(model: Model) -> bool:
    return backend_of(model) == "tensorrt"


def backend_of(model: Model) -> str:
    backend = model.backend or "pytorch"
    if backend not in ("pytorch", "tensorrt"):
        raise EngineError(f"model '{model.name}': backend '{backend}' is none of trtllm's; write pytorch or tensorrt")
    return backend


def _help(prepared: Prepared) -> str:
    return str(prepared.facts.get("help_throughput", COMMON["help_throughput"]))


def listed_options(prepared: Prepared) -> frozenset[str]:
    """Options that the image's own help lists."""
    return frozenset(re.findall(r"--[a-z][\w-]*", _help(prepared)))


def _choices(prepared: Prepared, option: str) -> tuple[str, ...]:
    """What the help says an option may be, as click writes it: ``[pytorch|_autodeploy]``;
    empty where it does not say."""
    match = re.search(rf"{option}\s+\[([^\]]+)\]", _help(prepared))
    return tuple(choice.strip() for choice in match[1].split("|")) if match else ()


def backend_options(model: Model, prepared: Prepared) -> list[str]:
    """``--backend``, and the built engine. Refused where this image's program does not have the backend.

    Late 1.3 still lists ``--engine_dir``, but no TensorRT backend that could run one. Before 1.0, recognised by the
    absence of ``--request_json``, TensorRT was what ran without a ``--backend``.
    """
    backend, listed, choices = backend_of(model), listed_options(prepared), _choices(prepared, "--backend")
    before_1_0 = "--request_json" not in listed and "--engine_dir" in listed
    if backend == "tensorrt":
        implied = before_1_0 and "tensorrt" not in choices
        if "--engine_dir" not in listed or (choices and "tensorrt" not in choices and not implied):
            offered = f"--backend takes {', '.join(choices)}" if choices else "there is no --engine_dir"
            raise EngineError(
                f"model '{model.name}' needs the TensorRT backend, "
                f"which this image's trtllm-bench has no more ({offered})",
                f"Take an image up to {LAST_WITH_TENSORRT}, the last release that has it "
                f"(nvcr.io/nvidia/tensorrt-llm/release:{LAST_WITH_TENSORRT}), a model of a newer architecture, "
                "or the vllm engine.",
            )
        if implied:
            return ["--engine_dir", f"{INPUT}/engine"]
        return ["--engine_dir", f"{INPUT}/engine", "--backend", "tensorrt"]
    if choices and backend not in choices:
        raise EngineError(
            f"model '{model.name}': this image's trtllm-bench has no backend "
            f"{backend} (--backend takes {', '.join(choices)})",
            "Take an image of 1.0 or later.",
        )
    return ["--backend", backend] if "--backend" in listed else []


def concurrency_of(model: Model, workload: Workload) -> int:
    """As stated; else the batch size, or one request at a time where latency is asked for."""
    return workload.concurrency or (model.batch_size if workload.kind == "throughput" else 1)


def batch_of(model: Model, workload: Workload) -> int:
    """Sequences decoded together: one where latency is measured one request at a time."""
    return 1 if workload.kind == "latency" and concurrency_of(model, workload) == 1 else model.batch_size


def max_num_tokens_of(model: Model, workload: Workload) -> int:
    """Both limits must be given, or the engine takes the pair from heuristics; a prompt must fit into a step."""
    return model.max_num_tokens or max(4096, workload.input_tokens + model.batch_size)


def fraction_asked(model: Model) -> float:
    options = llm_options(model).get("kv_cache_config", {})
    return float(options.get("free_gpu_memory_fraction", model.kv_cache_fraction))
