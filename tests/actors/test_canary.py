"""The canary: a fixed probe of the machine's speed, and its PTX kernel as the real assembler takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from actors import canary, gemv


def test_the_canary_sings_on_a_cpu() -> None:
    metric = canary.sing("after", None)
    assert metric.name == "canary_after_gb_s"
    assert metric.value is not None
    assert metric.value > 0


def test_a_gpu_that_cannot_be_asked_leaves_the_figure_missing_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "libcuda.so.1"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    metric = canary.sing("before", "NVIDIA GB10")
    assert (metric.name, metric.value) == ("canary_before_gb_s", None)
    assert "libcuda.so.1" in str(metric.reason)


def test_a_gpu_that_is_stuck_does_not_hold_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "TIMEOUT_S", 0.001)
    assert canary.sing("before", "NVIDIA GB10").reason == "the probe did not end within 0.001 s"


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="no ptxas (CUDA's assembler) on this machine")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_121"])
def test_the_kernel_assembles_for_turing_hopper_and_gb10(architecture: str, tmp_path: Path) -> None:
    kernel = tmp_path / "gemv.ptx"
    kernel.write_bytes(gemv.PTX)
    subprocess.run(["ptxas", f"-arch={architecture}", str(kernel), "-o", str(tmp_path / "gemv.cubin")], check=True)
