"""The log of ``trtllm-bench``: the lines that stand there, in their order, with the figures of this run."""

from __future__ import annotations

import struct
import sys
import time
from typing import Any

from .machine import DEVICE_TOTAL_GIB, Checkpoint
from .serving import Served
from .trtllm_options import line
from .trtllm_report import percentiles

RULE = "=" * 59
BLOCK_TOKENS = 32
OUTSIDE_GIB, DYNAMIC_GIB, OUTSIDE_TORCH_GIB = 6.91, 1.37, 7.44
"""What a real start used besides the weights."""


class Log:
    """Python's lines go to standard output, those of C++ and the progress bars to standard error."""

    def __init__(self, version: str) -> None:
        self.line = line(version)
        print(f"[TensorRT-LLM] TensorRT-LLM version: {version}", flush=True)

    def say(self, text: str, level: str = "I", worker: bool = False) -> None:
        rank = "[RANK 0] " if worker and self.line >= (1, 2) else ""
        print(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [TRT-LLM] {rank}[{level}] {text}", flush=True)

    def cpp(self, text: str, level: str = "INFO") -> None:
        print(f"[TensorRT-LLM][{level}] {text}", file=sys.stderr, flush=True)

    def bar(self, text: str, count: int) -> None:
        for done in (0, count):
            share = 100 * done // count
            print(
                f"\r{text}: {share:3d}%|{'█' * (share // 10):<10}| {done}/{count}", end="", file=sys.stderr, flush=True
            )
        print(file=sys.stderr, flush=True)

    # --- parts in the order of a run ---------------------------------------------------------------------------

    def dataset(self, path: str, requests: list[Served]) -> None:
        columns = (
            [r.input_tokens for r in requests],
            [r.output_tokens for r in requests],
            [r.input_tokens + r.output_tokens for r in requests],
        )
        found = [percentiles(column) for column in columns]
        rows = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
        table = [f"{key[:3].upper()}: " + "".join(f"{column[key]:>18.4f}" for column in found) for key in rows]
        head = [
            RULE,
            "= DATASET DETAILS",
            RULE,
            f"Dataset Path:         {path}",
            f"Number of Sequences:  {len(requests)}",
        ]
        self.say("\n" + "\n".join([*head, "", *table, RULE, ""]))

    def weights(self, checkpoint: Checkpoint) -> None:
        print("rank 0 using MpiPoolSession to spawn MPI processes", flush=True)
        self.say(f"Prefetching {checkpoint.weights_gib:.2f}GB checkpoint files.", worker=True)
        self.bar("Loading safetensors weights in parallel", 2)
        self.bar("Loading weights", 100)
        self.say(f"Use {checkpoint.weights_gib:.2f} GB for model weights.", worker=True)
        self.say("Model init total -- 0.05s", worker=True)

    def kv_cache(
        self, checkpoint: Checkpoint, fraction: float, most_tokens: int | None, limits: dict[str, int]
    ) -> None:
        """The trial cache, the profiling, and the cache that serves:
        peak + KV / fraction − trial is the device's total."""
        shown = struct.unpack("f", struct.pack("f", fraction))[0]
        per_token = checkpoint.kv_bytes_per_token
        trial_tokens = -(-(limits["max_num_tokens"] + 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        trial_gib = trial_tokens * per_token / 2**30
        line_of_limits = ", ".join(
            f"{name}={limits[name]}" for name in ("max_seq_len", "max_num_requests", "max_num_tokens", "max_batch_size")
        )
        self.say(
            f"Both free_gpu_memory_fraction and max_tokens are set (to {shown} and {trial_tokens}, respectively). "
            "The smaller value will be used.",
            level="W",
            worker=True,
        )
        self._allocated(trial_gib, trial_tokens)
        self.say(line_of_limits, worker=True)
        profiling = "in memory usage profiling"
        weights = checkpoint.weights_gib
        self.say(f"Memory used after loading model weights (inside torch) {profiling}: {weights:.2f} GiB", worker=True)
        self.say(f"Memory used after loading model weights (outside torch) {profiling}: {OUTSIDE_GIB} GiB", worker=True)
        self.say("[Autotuner] Autotuning process starts ...", worker=True)
        self.say("[Autotuner] Autotuning process ends", worker=True)
        self.say(
            f"Memory dynamically allocated during inference (inside torch) {profiling}: {DYNAMIC_GIB} GiB", worker=True
        )
        self.say(
            f"Memory used outside torch (e.g., NCCL and CUDA graphs) {profiling}: {OUTSIDE_TORCH_GIB} GiB", worker=True
        )
        peak_gib = weights + DYNAMIC_GIB + OUTSIDE_TORCH_GIB
        available_gib = (DEVICE_TOTAL_GIB - peak_gib + trial_gib) * fraction
        tokens = int(available_gib * 2**30 / per_token)
        tokens = min(tokens, most_tokens or tokens) // BLOCK_TOKENS * BLOCK_TOKENS
        size, total = ("kv size", f", , tmp kv_mem {trial_gib:.2f} GiB")
        if self.line >= (1, 3):
            size, total = ("kv size per token", f", temporary kv cache memory during profiling {trial_gib:.2f} GiB")
        self.say(
            f"Peak memory during memory usage profiling (torch + non-torch): {peak_gib:.2f} GiB, available KV cache "
            f"memory when calculating max tokens: {available_gib:.2f} GiB, fraction is set {shown}, {size} is "
            f"{per_token}. device total memory {DEVICE_TOTAL_GIB:.2f} GiB{total}",
            worker=True,
        )
        gib = tokens * per_token / 2**30
        self.say(f"Estimated max memory in KV cache : {gib:.2f} GiB", worker=True)
        blocks = -(-limits["max_seq_len"] // BLOCK_TOKENS)
        self.cpp(
            f"Max KV cache blocks per sequence: {blocks} [window size={limits['max_seq_len']}], tokens per "
            f"block={BLOCK_TOKENS}, primary blocks={tokens // BLOCK_TOKENS}, max sequence "
            f"length={limits['max_seq_len']}"
        )
        self.cpp(f"Number of blocks in KV cache primary pool: {tokens // BLOCK_TOKENS}")
        self._allocated(gib, tokens)
        self.say(line_of_limits, worker=True)

    def _allocated(self, gib: float, tokens: int) -> None:
        self.cpp(f"Number of tokens per block: {BLOCK_TOKENS}.")
        self.cpp(f"[MemUsageChange] Allocated {gib:.2f} GiB for max tokens in paged KV cache ({tokens}).")

    def started(self, count: int) -> None:
        self.say("Starting benchmarking async task.")
        self.say("Starting benchmark...")
        self.say(f"Request submission complete. [count={count}, time=0.0010s, rate={count / 0.001:.2f} req/s]")

    def stopped(self) -> None:
        for text in ("Benchmark complete.", "Stopping LLM backend.", "LLM Backend stopped."):
            self.say(text)

    def written(self, path: str, latency: bool) -> None:
        if latency and self.line == (1, 1):
            self.say(f"Writing report to '{path}'.")
        else:
            self.say(f"Writing report information to {path}...")
            self.say(f"Report information written to {path}.")

    def summary(self, report: dict[str, Any]) -> None:
        """The table at the end, from the report."""
        engine, info, world, performance = (
            report[section] for section in ("engine", "request_info", "world_info", "performance")
        )
        rows = [
            RULE,
            "= PYTORCH BACKEND" if engine["backend"] == "Pytorch" else "= ENGINE DETAILS",
            RULE,
            f"Model:\t\t\t{engine['model']}",
            f"Model Path:\t\t{engine['model_path']}",
            *(["Revision:\t\tN/A"] if self.line >= (1, 2) else []),
            f"TensorRT LLM Version:\t{engine['version']}",
            f"Dtype:\t\t\t{engine['dtype']}",
            f"KV Cache Dtype:\t\t{engine['kv_cache_dtype']}",
            f"Quantization:\t\t{engine['quantization']}",
            "",
            RULE,
            "= REQUEST DETAILS ",
            RULE,
            f"Number of requests:             {info['num_requests']}",
            f"Number of concurrent requests:  {info['avg_num_concurrent_requests']:.4f}",
            f"Average Input Length (tokens):  {info['avg_input_length']:.4f}",
            f"Average Output Length (tokens): {info['avg_output_length']:.4f}",
            RULE,
            "= WORLD + RUNTIME INFORMATION ",
            RULE,
            f"Max Runtime Batch Size: {world['max_batch_size']}",
            f"Max Runtime Tokens:     {world['max_num_tokens']}",
            f"Scheduling Policy:      {world['scheduling_policy']}",
            f"KV Memory Percentage:   {100 * world['kv_cache_percentage']:.2f}%",
            "",
            RULE,
            "= PERFORMANCE OVERVIEW ",
            RULE,
            f"Request Throughput (req/sec):                     {performance['request_throughput_req_s']:.4f}",
            f"Total Output Throughput (tokens/sec):             {performance['system_output_throughput_tok_s']:.4f}",
            f"Total Token Throughput (tokens/sec):              {performance['system_total_throughput_tok_s']:.4f}",
            f"Total Latency (ms):                               {performance['total_latency_ms']:.4f}",
            f"Average request latency (ms):                     {performance['avg_request_latency_ms']:.4f}",
            f"Per User Output Throughput [w/ ctx] (tps/user):   {performance['output_throughput_per_user_tok_s']:.4f}",
            f"Per GPU Output Throughput (tps/gpu):              {performance['output_throughput_per_gpu_tok_s']:.4f}",
        ]
        if streaming := report.get("streaming_metrics"):
            rows += [
                f"Average time-to-first-token [TTFT] (ms):          {streaming['avg_ttft_ms']:.4f}",
                f"Average time-per-output-token [TPOT] (ms):        {streaming['avg_tpot_ms']:.4f}",
                f"Per User Output Speed (tps/user):                 {streaming['token_output_speed_tok_s']:.4f}",
            ]
            for title, name, key in (
                ("-- Per-Request Time-per-Output-Token [TPOT] Breakdown (ms)", "TPOT", "tpot_percentiles"),
                ("-- Per-Request Time-to-First-Token [TTFT] Breakdown (ms) ", "TTFT", "ttft_percentiles"),
            ):
                rows += ["", title, "", *_breakdown(name, streaming[key])]
        latencies = performance["request_latency_percentiles_ms"]
        rows += [
            "",
            "-- Request Latency Breakdown (ms) -----------------------",
            "",
            *_breakdown("Latency", latencies),
            "",
        ]
        self.say("\n\n" + "\n".join(rows))


def _breakdown(name: str, found: dict[str, float]) -> list[str]:
    return [f"[{name}] {key.upper():<7}: {value:.4f}" for key, value in found.items()]
