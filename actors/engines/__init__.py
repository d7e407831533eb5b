"""Engines: the benchmark programs. One protocol: prepare, command, parse. One folder each.

An engine knows nothing of environments: it says what argv, which mounts and which variables, and reads back
what its program wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from actors.errors import CampaignError
from actors.types import Launch, Model, Prepared, Report, Workload

Keys = Literal["project", "reference"]
"""Whose names the figures of a report get: this project's, or those under which reports are published."""

OUTPUT = "/campaign/output"
"""Where every arm sees the attempt's output folder."""

CACHE = "/campaign/cache"
"""Where every arm sees the engine's compile caches, read-write:
an attempt's own copy of what an unmeasured start made."""

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
"""What compiles at start in any engine on PyTorch, and where it keeps the result: Triton, inductor, C++ extensions,
FlashInfer with its autotuner, the driver's JIT, TensorRT-LLM's DeepGEMM (FlashInfer has it too) and DeepGEMM itself,
CUTLASS' DSL, models' own code."""


class EngineError(CampaignError):
    """A model, a workload or a report that the engine cannot handle. The message is for the person: what is wrong on
    the first line, and on those after it ``remedy``, what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.remedy = remedy


Ways = tuple[tuple[str, ...], ...]
"""Commands that tell one thing, the first useful answer counts."""


class Program(Protocol):
    """What an attempt asks of an engine."""

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch: ...

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report: ...

    def texts(self, output: Path) -> tuple[str, ...] | None: ...


class Engine(Protocol):
    """A benchmark program. An entry of :mod:`actors.engines.registry`; nobody outside asks which it is."""

    @property
    def name(self) -> str:
        """The config's ``engine:``."""
        ...

    @property
    def title(self) -> str:
        """In sentences: ``TensorRT-LLM``."""
        ...

    @property
    def needs_gpu(self) -> bool:
        """Runs on nothing else."""
        ...

    @property
    def probes(self) -> Mapping[str, Ways]:
        """What to ask an image's programs about themselves, once per image: fact of ``Prepared`` to the ways to ask."""
        ...

    @property
    def cache_variables(self) -> Mapping[str, str]:
        """Variables that move its compile caches below :data:`CACHE`; empty where it compiles nothing."""
        ...

    def reads_checkpoint(self, model: Model) -> bool:
        """Whether the model's weights are published ones, which `campaign prepare` fetches."""
        ...

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared | None:
        """Where :meth:`prepare` will have put things; None where only preparing settles that.
        Nothing is read or written."""
        ...

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Put weights and dataset in place below ``cache`` (idempotent, atomic), and say where they are. ``facts`` must
        hold ``model_identity``. Raises EngineError for what cannot run."""
        ...

    def built(self, model: Model, cache: Path) -> Path | None:
        """The folder that a build inside the image must have filled before a run; None where nothing is built."""
        ...

    def build(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """The process that builds, for the longest of the workloads, below ``OUTPUT``.
        Raises EngineError where nothing is built."""
        ...

    def find_built(self, output: Path) -> Path | None:
        """The folder below ``output`` that a build made and :meth:`built` is to be; None where it made none."""
        ...

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """The process to start. Paths are as seen inside; the output folder is mounted at ``OUTPUT``
        by the caller, read-write. Raises EngineError for what this version does not offer."""
        ...

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        """Read what the program wrote to the output folder (and ``stdout.log``/``stderr.log`` beside it, in
        ``output.parent``). Never raises for a bad report: names the failure in ``Report.failure``."""
        ...

    def texts(self, output: Path) -> tuple[str, ...] | None:
        """The answers of an attempt in order of submission, or None where its program kept none. Never raises."""
        ...

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        """One report read apart from any campaign (`campaign parse`), ready for JSON. Raises EngineError,
        naming the missing key."""
        ...


class BuildsNothing:
    """Of :class:`Engine`, what an engine says whose weights run as they are."""

    def built(self, model: Model, cache: Path) -> Path | None:
        return None

    def build(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        raise EngineError(f"model '{model.name}': nothing is built for it")

    def find_built(self, output: Path) -> Path | None:
        return None
