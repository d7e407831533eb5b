"""Why an engine failed, from its log: named, and searched for only where errors stand.

The patterns are messages of PyTorch, CUDA, Transformers, TensorRT-LLM and vLLM as their sources print them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LEVEL = re.compile(
    r"\[TRT-LLM\] (?:\[[^\]]*\] )*\[(?P<trtllm>[IWEVDT])\]"
    r"|\[TensorRT-LLM\]\[(?P<cpp>[A-Z]+)\]"
    r"|\b(?P<vllm>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d"
)
"""How TensorRT-LLM (Python and C++) and vLLM mark a line."""

ERRORS = {"E", "ERROR", "FATAL", "CRITICAL"}
TRACEBACK = "Traceback (most recent call last)"
RAISED = re.compile(r"(?:^|[\]:|] ?)(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::|\s*$)")
DIED = re.compile(r"\*\*\* Process received signal|\bSignal: [A-Z]|MPI_ABORT was invoked|Segmentation fault|Bus error")
USAGE = re.compile(
    r"(?:^|\s)(?:Error: (?:No such|Missing|Invalid)|Usage: )|: (?:command )?not found$|executable file not found"
)

FAILURES: tuple[tuple[str, str, str], ...] = (
    # name in this project, name in the reference, pattern with the detail in group ``d``
    ("unsupported_architecture", "unsupported_model", r"Unknown architecture for AutoModelForCausalLM: (?P<d>\S+)"),
    (
        "unsupported_architecture",
        "unsupported_model",
        r"model type [`'\"]?(?P<d>[\w.-]+)[`'\"]? but Transformers does not recognize"
        r"|Model architectures \[?(?P<vllm>[^\n\]]+)\]? are not supported",
    ),
    ("unsupported_quantization", "unsupported_model", r"(?P<d>[Uu]nsupported quant\w*[^\n]{0,60})"),
    (
        "missing_weights",
        "missing_weights",
        r"(?P<d>GatedRepoError|RepositoryNotFoundError|RevisionNotFoundError|LocalEntryNotFoundError|HFValidationError)",
    ),
    (
        "missing_weights",
        "missing_weights",
        r"(?P<d>(?:No weight files found|[Cc]an ?not find (?:any )?(?:model|weight|checkpoint|safetensors)|"
        r"is not a local folder and is not a valid model identifier|does not appear to have a file named|"
        r"No such file or directory:? '?[^'\n]*(?:\.safetensors|\.bin|config\.json|/models?/))[^\n]{0,80})",
    ),
    (
        "out_of_memory",
        "oom",
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory\. Tried to allocate (?P<d>[\d.]+ [KMG]iB)"
        r"|CUDA error: out of memory|CUDA runtime error in [^\n]*: out of memory"
        r"|Executor creation failed due to insufficient GPU memory",
    ),
    ("out_of_memory", "oom", r"(?P<d>Free memory on device [^\n]* is less than desired GPU memory utilization)"),
    ("kv_cache_too_small", "config", r"(?P<d>default_max_tokens \(-?\d+\) must be greater than 0)"),
    (
        "kv_cache_too_small",
        "config",
        r"(?P<d>No available memory for the cache blocks|larger than the available KV cache memory)",
    ),
    (
        "prompt_too_long",
        "config",
        r"(?P<d>The (?:sum of )?prompt length [^\n]*should not exceed max_num_tokens[^\n]{0,40})",
    ),
    ("sequence_too_long", "config", r"(?P<d>Engine supports a max sequence of [^\n]{0,80})"),
    ("nccl", "environment", r"Executor creation failed with NCCL error"),
    ("toolchain_too_old", "environment", r"(?P<d>sm_121a? is not defined|\.tile::scatter4 not supported)"),
    (
        "kernel_unavailable",
        "environment",
        r"(?P<d>does not support SM120 and above|Failed to run cutlass FP4 gemm on sm120|no kernel image is available)",
    ),
    (
        "gpu_unavailable",
        "environment",
        r"(?P<d>Found no NVIDIA driver|no CUDA-capable device|driver version is insufficient)",
    ),
    ("nvml_not_supported", "environment", r"NVMLError_NotSupported"),
    ("disk_full", "environment", r"No space left on device"),
    ("shared_memory", "environment", r"(?P<d>insufficient shared memory|Bus error)"),
    ("unknown_option", "config", r"(?P<d>No such (?:option|command)[^\n]{0,60}|Missing option[^\n]{0,40})"),
    ("engine_missing", "environment", r"(?P<d>(?:trtllm-bench|vllm)[^\n]{0,20}not found[^\n]{0,20})"),
    (
        "out_of_memory",
        "oom",
        r"Executor creation failed with an error which might indicate insufficient GPU memory",
    ),
    ("requests_failed", "requests", r"Requests failed: (?P<d>[^\n]{0,120})"),
    ("crashed", "crash", r"(?P<d>Signal: [A-Za-z ]+|MPI_ABORT was invoked|Segmentation fault|Process received signal)"),
    ("executor_failed", "executor", r"Executor worker returned error|Executor creation failed[^\n]{0,80}"),
)
"""Most telling first: a wrapper such as "Executor worker returned error" only counts when nothing above it explains it."""


@dataclass(frozen=True)
class Failure:
    """Why there is no report. ``stage`` is ``executor_creation``, ``requests`` or ``startup``."""

    name: str
    reference: str
    stage: str
    detail: str = ""
    failed_requests: int | None = None

    def __str__(self) -> str:
        parts = [self.detail] if self.detail else []
        parts.append("while serving requests" if self.stage == "requests" else "before the first request")
        if self.failed_requests is not None:
            parts.append(f"{self.failed_requests} requests failed")
        return f"{self.name}: {', '.join(parts)}"


def find_failure(lines: Iterable[str]) -> Failure | None:
    """The most telling cause among error lines and tracebacks, or None where the log shows none."""
    lines = list(lines)
    text = "\n".join(error_lines(lines))
    if not text:
        return None
    for name, reference, pattern in FAILURES:
        match = re.search(pattern, text)
        if match is None:
            continue
        failed = re.search(r"Requests failed: [^\n]*\((\d+) requests\)", text)
        serving = failed is not None or any("Starting benchmark..." in line for line in lines)
        creating = re.search(r"Executor creation failed|Failed to initialize executor", text)
        stage = "executor_creation" if creating else "requests" if serving else "startup"
        detail = next((text for text in match.groupdict().values() if text), "")
        return Failure(name, reference, stage, detail.strip(), int(failed[1]) if failed else None)
    last = next((line for line in reversed(text.split("\n")) if RAISED.search(line)), text.split("\n")[-1])
    serving = any("Starting benchmark..." in line for line in lines)
    return Failure("failed", "unknown", "requests" if serving else "startup", last.strip()[:160])


def error_lines(lines: Iterable[str]) -> list[str]:
    """Lines of level E with their continuation, tracebacks up to the exception they end with, signals, usage errors.

    Everything else may speak of memory running out without having failed: the autotuner tries tactics that do.
    """
    kept = []
    continued = in_traceback = False
    for line in lines:
        level = LEVEL.search(line)
        if level is not None:
            continued = (level["trtllm"] or level["cpp"] or level["vllm"]) in ERRORS
        if TRACEBACK in line:
            in_traceback = True
        if level is not None and in_traceback and not continued and TRACEBACK not in line:
            continue  # another process's line in between
        if continued or in_traceback or DIED.search(line) or USAGE.search(line):
            kept.append(line)
        if in_traceback and TRACEBACK not in line and level is None and RAISED.search(line):
            in_traceback = False
            continued = True  # the message may go on, and further exceptions may follow
    return kept
