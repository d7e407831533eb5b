"""Engines: the benchmark programs. One protocol: prepare, command, parse.

An engine knows nothing of environments: it says what argv, which mounts and which variables, and reads back
what its program wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from actors.errors import CampaignError
from actors.types import Launch, Model, Prepared, Report, Workload

OUTPUT = "/campaign/output"
"""Where every arm sees the attempt's output folder."""

CACHE = "/campaign/cache"
"""Where every arm sees the engine's compile caches, read-write: an attempt's own copy of what an unmeasured start made."""

KERNEL_CACHES = {
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/torchinductor",
    "TORCH_EXTENSIONS_DIR": f"{CACHE}/torch_extensions",
    "FLASHINFER_WORKSPACE_BASE": f"{CACHE}/flashinfer",
    "CUDA_CACHE_PATH": f"{CACHE}/nv",
    "CUDA_CACHE_MAXSIZE": str(4 * 2**30),  # the driver's default forgets kernels beyond 256 MiB to 1 GiB
    "TRTLLM_DG_CACHE_DIR": f"{CACHE}/trtllm_deep_gemm",
    "DG_JIT_CACHE_DIR": f"{CACHE}/deep_gemm",
    "DG_CACHE_DIR": f"{CACHE}/deep_gemm",
    "CUTE_DSL_CACHE_DIR": f"{CACHE}/cute_dsl",
    "TVM_FFI_CACHE_DIR": f"{CACHE}/tvm_ffi",
    "HF_MODULES_CACHE": f"{CACHE}/huggingface_modules",
    "XDG_CACHE_HOME": f"{CACHE}/xdg",
}
"""What compiles at start in any engine on PyTorch, and where it keeps the result: Triton, inductor, C++ extensions, FlashInfer with
its autotuner, the driver's JIT, TensorRT-LLM's DeepGEMM (FlashInfer has it too) and DeepGEMM itself, CUTLASS' DSL, models' own code."""


class EngineError(CampaignError):
    """A model, a workload or a report that the engine cannot handle. The message is for the person: what is wrong on the
    first line, and on those after it ``remedy``, what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.remedy = remedy


class Engine(Protocol):
    name: str

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Put weights and dataset in place below ``cache`` (idempotent, atomic), and say where they are."""
        ...

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """The process to start. Paths are as seen inside; the output folder is mounted at ``OUTPUT``
        by the caller, read-write."""
        ...

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        """Read what the program wrote to the output folder (and ``stdout.log``/``stderr.log`` beside it, in
        ``output.parent``). Never raises for a bad report: names the failure in ``Report.failure``."""
        ...

    def texts(self, output: Path) -> tuple[str, ...] | None:
        """The answers of an attempt in order of submission, or None where its program kept none. Never raises."""
        ...
