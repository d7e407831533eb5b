"""``trtllm-bench``: reads its command line as the version in the image does, loads, warms up, serves, reports."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import click
import yaml

from . import failing, machine, trtllm_report
from .serving import Served, serve
from .trtllm_log import Log
from .trtllm_options import line, program


def main() -> None:
    machine.load_libraries()
    version = machine.version()
    bodies = {"throughput": throughput, "latency": latency, "build": build}
    program(version, bodies, settings)(prog_name="trtllm-bench")


@click.pass_context
def settings(context: click.Context, /, **given: Any) -> None:
    context.obj = given
    Path(given["workspace"]).mkdir(parents=True, exist_ok=True)


@click.pass_obj
def throughput(whole: dict[str, Any], /, **given: Any) -> None:
    if given.get("duration") is not None and given["concurrency"] <= 0:
        raise click.UsageError("--duration needs --concurrency")
    _benchmark("throughput", whole, given)


@click.pass_obj
def latency(whole: dict[str, Any], /, **given: Any) -> None:
    _benchmark("latency", whole, given)


@click.pass_obj
def build(whole: dict[str, Any], /, **given: Any) -> None:
    """An engine is a folder with a configuration and one file a rank."""
    groups = (("dataset",), ("max_batch_size", "max_num_tokens"), ("target_input_len", "target_output_len"))
    chosen = [group for group in groups if all(given[name] is not None for name in group)]
    if len(chosen) != 1 or any(given[name] is not None for group in groups if group not in chosen for name in group):
        raise click.UsageError("give exactly one of --dataset, the pair --max_*, the pair --target_*")
    log = Log(machine.version())
    checkpoint = _checkpoint(whole)
    log.weights(checkpoint)
    folder = Path(whole["workspace"]) / whole["model"] / f"tp_{given['tp_size']}_pp_{given['pp_size']}"
    folder.mkdir(parents=True, exist_ok=True)
    limits = {
        "max_batch_size": given["max_batch_size"] or 8,
        "max_num_tokens": given["max_num_tokens"] or 4096,
        "max_seq_len": given["max_seq_len"] or 2048,
    }
    (folder / "rank0.engine").write_bytes(b"engine")
    (folder / "config.json").write_text(json.dumps({"version": machine.version(), "build_config": limits}))
    print(f"ENGINE SAVED: {folder}", flush=True)


def _checkpoint(whole: dict[str, Any]) -> machine.Checkpoint:
    if Path(whole["model"]).exists():
        raise ValueError("Model is a file or directory, please provide a model name.")
    if whole["model_path"] is None:
        raise OSError(f"{whole['model']} is not a local folder, and nothing can be downloaded here")
    return machine.open_checkpoint(Path(whole["model_path"]))


def _requests(path: Path, most: int) -> list[Served]:
    """The dataset's lines, each held against its form."""
    lines = [json.loads(text) for text in path.read_text().splitlines() if text.strip()]
    found = []
    for entry in lines[: most or None]:
        ids = entry["input_ids"]
        if not all(isinstance(token, int) for token in ids) or not isinstance(entry["output_tokens"], int):
            raise ValueError(f"{path}: task {entry['task_id']} is no request")
        found.append(Served(entry["task_id"], len(ids), entry["output_tokens"]))
    return found


def _settings_file(given: dict[str, Any]) -> dict[str, Any]:
    path = given.get("config") or given.get("extra_llm_api_options")
    return dict(yaml.safe_load(Path(path).read_text())) if path else {}


def _kv_cache(version: str, given: dict[str, Any]) -> tuple[float, int | None]:
    """Share of the free memory, and most tokens. A ``kv_cache_config`` in the file replaces that of the command line as
    a whole; from 1.3 on what the command line states wins."""
    config = _settings_file(given).get("kv_cache_config")
    stated: float = given["kv_cache_free_gpu_mem_fraction"]
    if config is None:
        return stated, None
    fraction = stated if line(version) >= (1, 3) else config.get("free_gpu_memory_fraction", 0.9)
    return float(fraction), config.get("max_tokens")


def _benchmark(kind: str, whole: dict[str, Any], given: dict[str, Any]) -> None:
    version, streamed = machine.version(), kind == "latency" or given["streaming"]
    log = Log(version)
    log.say(f"Preparing to run {kind} benchmark...")
    if kind == "latency":
        no_device_memory()  # this subcommand always asks for it, to size itself
    requests = _requests(given["dataset"], given["num_requests"])
    log.dataset(str(given["dataset"]), requests)
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    limits = _limits(kind, given, longest, log)
    log.say(f"Setting up {kind} benchmark.")

    checkpoint = _checkpoint(whole)
    fails = failing.asked(checkpoint.folder)
    _load(log, checkpoint, fails)
    fraction, most_tokens = _kv_cache(version, given)
    limits = {**limits, "max_seq_len": given["max_seq_len"] or longest, "max_num_requests": limits["max_batch_size"]}
    if given["backend"] == "tensorrt":
        _engine_memory(log, checkpoint, fraction)
    else:
        log.kv_cache(checkpoint, fraction, most_tokens, limits)

    served = _served(log, requests, limits["max_batch_size"], given, fails)
    engine = _engine_section(version, whole, given, limits)
    policy = given.get("scheduler_policy", "guaranteed_no_evict").upper()
    world = {**limits, "scheduling_policy": policy, "kv_cache_percentage": fraction}
    report = trtllm_report.report(engine, world, served, str(given["dataset"]), streamed)
    if given["report_json"] is not None and fails != "no_report":
        log.written(str(given["report_json"]), latency=kind == "latency")
        text = json.dumps(report, indent=4)
        given["report_json"].write_text(text[: len(text) // 2] if fails == "cut_report" else text)
    if given.get("request_json") is not None:
        given["request_json"].write_text(json.dumps(trtllm_report.records(served, streamed), indent=4))
    log.summary(report)


def _limits(kind: str, given: dict[str, Any], longest: int, log: Log) -> dict[str, int]:
    """Batch and tokens of an iteration; of a built engine what it was built for besides."""
    limits = {"max_batch_size": 1, "max_num_tokens": longest}
    if kind == "throughput":
        limits = {name: given[name] for name in limits}
        if None in limits.values():
            no_device_memory()  # nor can the heuristics do without
        log.say("Use user-provided max batch size and max num tokens.")
    if given["backend"] == "tensorrt":
        limits |= _engine_limits(given, longest)
    else:
        log.say(f"Setting PyTorch max sequence length to {given['max_seq_len'] or longest}")
    return limits


def _served(log: Log, requests: list[Served], batch: int, given: dict[str, Any], fails: str | None) -> list[Served]:
    """The requests answered, after a warm-up with the first of them."""
    concurrency = given["concurrency"]
    log.say("Setting up for warmup...")
    if given["warmup"]:
        log.say("Running warmup.")
        again = [Served(r.id, r.input_tokens, r.output_tokens) for r in (requests * given["warmup"])[: given["warmup"]]]
        log.started(len(again))
        serve(again, batch=batch, concurrency=concurrency)
        log.stopped()
        log.say("Warmup done.")
    log.started(len(requests))
    if fails == "hang_in_decode":
        failing.hang()
    if fails == "out_of_memory_serving":
        time.sleep(0.5)  # the two streams are read apart; the error is the later
        log.cpp("CUDA runtime error in ::cudaMalloc(ptr, n): out of memory", level="ERROR")
        raise ValueError(
            "Requests failed: CUDA out of memory. Tried to allocate 48.00 MiB. GPU 0 has a total capacity of "
            f"{machine.DEVICE_TOTAL_GIB:.2f} GiB of which 42.69 MiB is free. ({len(requests)} requests)"
        )
    served = serve(requests, batch=batch, concurrency=concurrency)
    log.stopped()
    log.say("Benchmark done. Reporting results...")
    return served


def _engine_section(
    version: str, whole: dict[str, Any], given: dict[str, Any], limits: dict[str, Any]
) -> dict[str, Any]:
    tensorrt = given["backend"] == "tensorrt"
    engine = {
        "model": whole["model"],
        "model_path": str(whole["model_path"]),
        "engine_dir": str(given["engine_dir"]),
        **({"revision": whole["revision"]} if line(version) >= (1, 2) else {}),
        "version": version,
        "backend": "TRT" if tensorrt else "Pytorch",
        "dtype": "bfloat16",
        "kv_cache_dtype": None,
        "quantization": None,
    }
    if tensorrt:
        engine |= {"max_input_length": limits["max_seq_len"] - 1, "max_sequence_length": limits["max_seq_len"]}
    return engine


def no_device_memory() -> None:
    """What a GB10 answers: NVML gives no memory there."""

    class NVMLError_NotSupported(Exception):
        pass

    NVMLError_NotSupported.__module__, NVMLError_NotSupported.__qualname__ = "pynvml", "NVMLError_NotSupported"
    raise NVMLError_NotSupported("Not Supported")


def _engine_limits(given: dict[str, Any], longest: int) -> dict[str, int]:
    """Limits of a built engine, which runs no sequence longer than it was built for."""
    if given["engine_dir"] is None:
        raise click.UsageError("--backend tensorrt needs --engine_dir")
    if given["max_seq_len"] is not None:
        raise AssertionError("max_seq_len is not a runtime parameter for C++ backend")
    built = json.loads((given["engine_dir"] / "config.json").read_text())["build_config"]
    if longest > built["max_seq_len"]:
        raise RuntimeError(
            f"Engine supports a max sequence of {built['max_seq_len']}. "
            f"Provided dataset contains a maximum sequence of {longest}."
        )
    return {name: built[name] for name in ("max_batch_size", "max_num_tokens")}


def _engine_memory(log: Log, checkpoint: machine.Checkpoint, fraction: float) -> None:
    """The TensorRT backend profiles no peak: the cache gets a share of what is free."""
    available = machine.DEVICE_TOTAL_GIB - checkpoint.weights_gib - 8.0
    total = machine.DEVICE_TOTAL_GIB
    log.cpp(f"Loaded engine size: {math.ceil(checkpoint.weight_bytes / 2**20)} MiB")
    log.cpp(
        f"Memory usage when calculating max tokens in paged kv cache: total: {total:.2f} GiB, available: "
        f"{available:.2f} GiB"
    )
    tokens = int(available * fraction * 2**30 / checkpoint.kv_bytes_per_token)
    log.cpp(f"[MemUsageChange] Allocated {available * fraction:.2f} GiB for max tokens in paged KV cache ({tokens}).")


def _load(log: Log, checkpoint: machine.Checkpoint, fails: str | None) -> None:
    if fails == "missing_library":
        raise ImportError("libcublasLt.so.13: cannot open shared object file: No such file or directory")
    if fails == "hang_at_load":
        log.bar("Loading safetensors weights in parallel", 2)
        failing.hang()
    log.weights(checkpoint)
    if fails == "killed":
        failing.be_killed()
    if fails == "ptxas":
        log.say(
            "Failed to initialize executor on rank 0: PTXAS error: Internal Triton PTX codegen error", "E", worker=True
        )
        print(
            "Traceback (most recent call last):\n"
            '  File "/usr/local/lib/python3.12/dist-packages/triton/backends/nvidia/compiler.py", line 442, '
            "in make_cubin\n"
            "triton.runtime.errors.PTXASError: PTXAS error: Internal Triton PTX codegen error\n"
            "`ptxas` stderr:\n"
            "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'\n\n"
            "Repro command: /opt/triton/bin/ptxas -lineinfo -v --gpu-name=sm_121a /tmp/x.ptx -o /tmp/x.ptx.o\n",
            file=sys.stderr,
            flush=True,
        )
        raise RuntimeError("Executor worker returned error")
    if fails == "out_of_memory":
        print(
            "Traceback (most recent call last):\n"
            '  File "…/tensorrt_llm/_torch/pyexecutor/py_executor_creator.py", line 0, in allocation_scope\n'
            "    yield\n"
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 5.29 GiB. GPU 0 has a total capacity of "
            f"{machine.DEVICE_TOTAL_GIB:.2f} GiB of which 3.11 GiB is free.",
            file=sys.stderr,
            flush=True,
        )
        log.say(
            "Failed to initialize executor on rank 0: Executor creation failed due to insufficient GPU memory.\n\n"
            "The following component could not be created: Initial KV cache (temporary for KV cache size estimation)\n"
            f"Total GPU memory (GiB): {machine.DEVICE_TOTAL_GIB:.2f}\n"
            "Free GPU memory before component creation attempt (GiB): 3.11",
            "E",
        )
        raise RuntimeError("Executor worker returned error")
