"""Everything that compiles at start keeps the result below the folder that both arms get the same copy of."""

from __future__ import annotations

import pytest

from actors.engines import CACHE
from actors.engines.registry import engines

CACHES = {name: engine.cache_variables for name, engine in engines().items() if engine.cache_variables}


def test_engines_with_compile_caches_are_engines() -> None:
    assert set(CACHES) == {"trtllm", "vllm", "openai"}


@pytest.mark.parametrize("engine", sorted(CACHES))
def test_every_place_is_below_the_cache(engine: str) -> None:
    for name, value in CACHES[engine].items():
        assert value.startswith(f"{CACHE}/") or value.isdigit(), name


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("vllm", ("VLLM_CACHE_ROOT TRITON_CACHE_DIR TORCHINDUCTOR_CACHE_DIR FLASHINFER_WORKSPACE_BASE CUDA_CACHE_PATH "
            "DG_JIT_CACHE_DIR HF_MODULES_CACHE XDG_CACHE_HOME")),
        ("trtllm", ("TLLM_AUTOTUNER_CACHE_PATH TRTLLM_DG_CACHE_DIR TRITON_CACHE_DIR TORCHINDUCTOR_CACHE_DIR "
            "FLASHINFER_WORKSPACE_BASE CUDA_CACHE_PATH HF_MODULES_CACHE XDG_CACHE_HOME")),
    ],
)  # fmt: skip
def test_the_variables_that_programs_honour_are_set(engine: str, names: str) -> None:
    assert set(names.split()) <= CACHES[engine].keys()
