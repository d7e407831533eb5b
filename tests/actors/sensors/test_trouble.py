"""Every error of NVML keeps its words, and gets the remedy that fits it."""

from __future__ import annotations

from pathlib import Path

import pynvml
import pytest

from actors.sensors.trouble import names, trouble


def of(name: str, root: Path) -> tuple[str, str]:
    found = trouble(pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{name}")), root)
    assert found.name in (name, "NO_DEVICE")
    return found.words, found.remedy


@pytest.mark.parametrize(
    ("name", "words", "remedy"),
    [
        ("LIB_RM_VERSION_MISMATCH", "Driver/library version mismatch", "reboot"),
        ("DRIVER_NOT_LOADED", "Driver Not Loaded", "sudo modprobe nvidia"),
        ("NO_PERMISSION", "Insufficient Permissions", "usermod"),
        ("GPU_IS_LOST", "GPU is lost", "take the power off"),
        ("RESET_REQUIRED", "GPU requires restart", "--gpu-reset"),
        ("OPERATING_SYSTEM", "operating system has blocked", "daemon-reload"),
        ("UNKNOWN", "Unknown Error", "daemon-reload"),
        ("IRQ_ISSUE", "Interrupt Request Issue", "firmware"),
        ("INSUFFICIENT_POWER", "power cable", "power cables"),
        ("TIMEOUT", "Timeout", "reboot"),
        ("GPU_NOT_FOUND", "no GPUs were found", "lspci"),
        ("FUNCTION_NOT_FOUND", "Function Not Found", "update the NVIDIA driver"),
        ("IN_USE", "in use", "exclusive mode"),
    ],
)
def test_words_and_remedy_fit_the_error(tmp_path: Path, name: str, words: str, remedy: str) -> None:
    said, advice = of(name, tmp_path)
    assert words in said
    assert remedy in advice
    assert "Install the NVIDIA driver" not in advice, "a driver is there"


def test_no_error_of_the_binding_is_left_without_words_and_remedy(tmp_path: Path) -> None:
    for name in names().values():
        said, advice = of(name, tmp_path)
        assert "error with code" not in said.lower(), name
        assert advice or name == "LIBRARY_NOT_FOUND", name


def test_a_mismatch_says_which_module_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "proc/driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build  (dvs-builder@U22)\n"
    )
    assert "580.95.05" in of("LIB_RM_VERSION_MISMATCH", tmp_path)[0]


def test_a_missing_library_means_three_things(tmp_path: Path) -> None:
    assert of("LIBRARY_NOT_FOUND", tmp_path)[1] == "", "no GPU at all is nothing to mend"
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    assert "Install the NVIDIA driver" in of("LIBRARY_NOT_FOUND", tmp_path)[1]
    loaded = tmp_path / "proc/driver/nvidia/version"
    loaded.parent.mkdir(parents=True)
    loaded.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05\n")
    assert "libnvidia-compute" in of("LIBRARY_NOT_FOUND", tmp_path)[1]


def test_a_sound_chip_of_nvidias_is_no_gpu(tmp_path: Path) -> None:
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.1"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x040300\n")
    assert of("LIBRARY_NOT_FOUND", tmp_path)[1] == ""
