"""What ``vllm bench throughput`` and ``vllm serve`` have in common: the log's form,
and starting an engine or failing to."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from pathlib import Path

from . import failing, machine

CORE = f"(EngineCore pid={os.getpid()}) "
SERVER = f"(APIServer pid={os.getpid()}) "
DEFAULT_UTILIZATION = 0.92
NON_KV_GIB = 1.8


def say(text: str, where: str = "core.py:112", level: str = "INFO", prefix: str = "") -> None:
    print(f"{prefix}{level} {time.strftime('%m-%d %H:%M:%S')} [{where}] {text}", flush=True)


def bar(text: str, done: int, count: int) -> None:
    share = 100 * done // count
    print(f"\r{text}: {share:3d}%|{'█' * (share // 10):<10}| {done}/{count}", end="", file=sys.stderr, flush=True)


def died(*lines: str) -> None:
    """The engine's core ends with a traceback, and the process with it."""
    say("EngineCore failed to start.", "core.py:842", "ERROR", CORE)
    say("Traceback (most recent call last):", "core.py:842", "ERROR", CORE)
    for text in lines:
        say(text, "core.py:842", "ERROR", CORE)
    raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")


def start(model: str, given: Namespace) -> str | None:
    """Load the model and make its cache. Returns the way in which serving is to fail, if any."""
    version = machine.version()
    checkpoint = machine.open_checkpoint(Path(model))
    fails = failing.asked(checkpoint.folder)
    say(f"Resolved architecture: {checkpoint.architecture}", "model.py:617")
    say(f"Using max model len {given.max_model_len}", "model.py:1752")
    name = given.served_model_name or model
    say(
        f"Initializing a V1 LLM engine (v{version}) with config: model='{model}', speculative_config=None, "
        f"tokenizer='{model}', max_seq_len={given.max_model_len}, seed={given.seed}, served_model_name={name}, "
        f"enable_prefix_caching={given.enable_prefix_caching is not False}",
        prefix=CORE,
    )
    if fails == "missing_library":
        raise ImportError("libcudart.so.13: cannot open shared object file: No such file or directory")
    say(f"Starting to load model {model}...", "gpu_model_runner.py:5037", prefix=CORE)
    if fails == "hang_at_load":
        failing.hang()
    utilization = float(given.gpu_memory_utilization or DEFAULT_UTILIZATION)
    wanted_gib = machine.DEVICE_TOTAL_GIB * utilization
    if fails == "out_of_memory":
        died(
            f"ValueError: Free memory on device cuda:0 (3.11/{machine.DEVICE_TOTAL_GIB:.2f} GiB) on startup is less "
            f"than desired GPU memory utilization ({utilization:g}, {wanted_gib:.2f} GiB)."
        )
    if fails == "killed":
        failing.be_killed()
    say(
        f"Model loading took {checkpoint.weights_gib:.2f} GiB memory and 0.020000 seconds",
        "gpu_model_runner.py:5132",
        prefix=CORE,
    )
    if fails == "ptxas":
        died(
            "triton.runtime.errors.PTXASError: PTXAS error: Internal Triton PTX codegen error",
            "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
        )
    _compiled()
    kv_bytes = given.kv_cache_memory_bytes or int((wanted_gib - checkpoint.weights_gib - NON_KV_GIB) * 2**30)
    tokens = kv_bytes // checkpoint.kv_bytes_per_token // 16 * 16
    say(f"Available KV cache memory: {kv_bytes / 2**30:.2f} GiB", "gpu_worker.py:466", prefix=CORE)
    say(f"GPU KV cache size: {tokens:,} tokens", "kv_cache_utils.py:1733", prefix=CORE)
    longest = given.max_model_len
    say(
        f"Maximum concurrency for {longest:,} tokens per request: {tokens / longest:.2f}x",
        "kv_cache_utils.py:1734",
        prefix=CORE,
    )
    say(
        "init engine (profile, create kv cache, warmup model) took 0.05 s (compilation: 0.00 s)",
        "core.py:302",
        prefix=CORE,
    )
    return fails


def _compiled() -> None:
    """The compile cache: made by the first start, found by those after it."""
    root = Path(os.environ.get("VLLM_CACHE_ROOT") or Path.home() / ".cache" / "vllm")
    graph = root / "torch_compile_cache" / "5d8681c46a" / "rank_0_0" / "backbone"
    if graph.is_dir():
        say(
            "Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took 0.010 s",
            "backends.py:292",
            prefix=CORE,
        )
    else:
        time.sleep(0.2)
        graph.mkdir(parents=True, exist_ok=True)
        (graph / "graph").write_bytes(b"compiled")
        say("Compiling a graph for compile range (1, 8192) takes 0.20 s", "backends.py:393", prefix=CORE)


def stop() -> None:
    say("Shutdown initiated (timeout=0)", "core.py:1266", prefix=CORE)
    say("Shutdown complete", "core.py:1289", prefix=CORE)
