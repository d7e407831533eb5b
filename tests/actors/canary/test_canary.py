"""The canary: a fixed probe of the machine's speed, and its PTX kernel as the real assembler takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from actors.canary import gemv
from actors.canary import probe as canary


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


def test_the_probe_runs_on_the_gpu_that_was_chosen_and_says_it_as_cuda_does() -> None:
    uuid = "GPU-5c6f0d7a-1b2c-3d4e-5f60-718293a4b5c6"
    assert canary.command(uuid=uuid)[-2:] == ["0", uuid]
    assert "GPU-" + gemv.uuid_text(bytes.fromhex("5c6f0d7a1b2c3d4e5f60718293a4b5c6")) == uuid


def test_no_other_gpu_than_the_chosen_one_is_shown_to_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's variable names the GPU of the actor, which need not be the unit's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    shown: list[str] = []

    def library(_: str) -> None:
        shown.append(os.environ["CUDA_VISIBLE_DEVICES"])
        raise OSError("no driver here")

    monkeypatch.setattr(gemv.ctypes, "CDLL", library)
    with pytest.raises(OSError, match="no driver"):
        gemv.bandwidth_gb_s("GPU-b")
    assert shown == ["GPU-b"]


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="no ptxas (CUDA's assembler) on this machine")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_121"])
def test_the_kernel_assembles_for_turing_hopper_and_gb10(architecture: str, tmp_path: Path) -> None:
    kernel = tmp_path / "gemv.ptx"
    kernel.write_bytes(gemv.PTX)
    subprocess.run(["ptxas", f"-arch={architecture}", str(kernel), "-o", str(tmp_path / "gemv.cubin")], check=True)
