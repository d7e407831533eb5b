"""Why NVML does not answer, in its own words, and what to do about that: a driver that does not match its library takes
a reboot and no installation, and a GPU that fell off the bus takes neither."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NVIDIA = "0x10de"
"""PCI vendor."""


@dataclass(frozen=True)
class Trouble:
    """``name`` is NVML's for the error, without ``NVML_ERROR_``; NO_DEVICE and NOT_CHOSEN are ours."""

    name: str
    words: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.words}. {self.remedy}" if self.remedy else self.words


WORDS = {
    "LIB_RM_VERSION_MISMATCH": "Driver/library version mismatch",
    "INSUFFICIENT_POWER": "a GPU's external power cable is not attached",
    "GPU_IS_LOST": "GPU is lost: it has fallen off the bus or cannot be reached",
    "NO_DATA": "no data",
    "VGPU_ECC_NOT_SUPPORTED": "a virtual GPU cannot be used with ECC on",
    "IN_USE": "the GPU is in use by another process that excludes this one",
    "INSUFFICIENT_RESOURCES": "insufficient resources",
    "FREQ_NOT_SUPPORTED": "the device does not support this frequency",
    "ARGUMENT_VERSION_MISMATCH": "the library does not know this version of the call",
    "DEPRECATED": "the call is deprecated",
    "NOT_READY": "the system is not ready for the request",
    "GPU_NOT_FOUND": "no GPUs were found",
    "INVALID_STATE": "the device is in a state in which it cannot do this",
    "RESET_TYPE_NOT_SUPPORTED": "the device does not support this kind of reset",
}
"""Where the binding has a bare number, or less than the header says."""

LOG = "`sudo dmesg | grep -iE 'nvrm|xid'` says more"

REMEDIES = {
    "LIB_RM_VERSION_MISMATCH": "The driver was updated while its old kernel module stayed loaded: reboot, or end "
    "everything on the GPU and reload the module (`sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo "
    "modprobe nvidia`). Hold the driver's packages for the campaign's time (`sudo apt-mark hold`).",
    "DRIVER_NOT_LOADED": "The library is there and the kernel module is not loaded: `sudo modprobe nvidia`. Where "
    "that fails, the module is missing for this kernel (`dkms status`; reinstall the driver for `uname -r` or boot "
    "the kernel before) or Secure Boot refuses it (`mokutil --sb-state`). In a container: start it with the GPU. "
    f"{LOG}.",
    "NO_PERMISSION": "This user may not open the GPU's device nodes: `ls -l /dev/nvidia*`. Add the user to their group "
    "(`sudo usermod -aG video,render $USER`, then log in again), or, in a container, hand the devices over.",
    "OPERATING_SYSTEM": "The kernel or a cgroup refuses the GPU's device nodes: `ls -l /dev/nvidia*`. In a container "
    "that had the GPU before, `systemctl daemon-reload` on the host took it away: start the container anew.",
    "UNKNOWN": "In a container that had the GPU before, `systemctl daemon-reload` on the host took its devices away: "
    f"start the container anew. On a host, {LOG}; reboot where it names no cause.",
    "GPU_IS_LOST": f"{LOG} (Xid 79). Shut down, take the power off for a minute, start again; where it comes back, "
    "the hardware or its firmware is at fault.",
    "RESET_REQUIRED": f"End everything on the GPU, then `sudo nvidia-smi --gpu-reset`, or reboot. {LOG}.",
    "IRQ_ISSUE": (
        f"The kernel has a problem with the GPU's interrupts: {LOG}; reboot, and update the firmware where it stays."
    ),
    "INSUFFICIENT_POWER": "Shut down and attach the GPU's power cables, or the machine's own power supply.",
    "TIMEOUT": f"The driver did not answer in time, as one that hangs does: {LOG}; reboot.",
    "MEMORY": "The machine has no memory left for the driver: free some, then ask again.",
    "INSUFFICIENT_RESOURCES": f"The driver has no memory or memory map left: free some, or reboot. {LOG}.",
    "CORRUPTED_INFOROM": "The GPU's infoROM is damaged: `nvidia-smi -q` names it; the vendor repairs it.",
    "FUNCTION_NOT_FOUND": (
        "The driver's library is older than this program needs: update the NVIDIA driver (580 or later)."
    ),
    "ARGUMENT_VERSION_MISMATCH": (
        "The driver's library is older than this program needs: update the NVIDIA driver (580 or later)."
    ),
    "IN_USE": (
        "End the process that holds the GPU in exclusive mode (`nvidia-smi -q -d COMPUTE`, "
        "`sudo nvidia-smi -c DEFAULT`)."
    ),
    "GPU_NOT_FOUND": f"The driver is loaded and shows no GPU: `lspci -d 10de:` shows whether the bus does. {LOG}.",
    "NOT_READY": f"The driver is still starting, or resetting: ask again in a minute. {LOG}.",
    "INVALID_STATE": f"Reset or reboot. {LOG}.",
    "VGPU_ECC_NOT_SUPPORTED": "Turn ECC off for this virtual GPU in its host.",
    "NOT_SUPPORTED": (
        "This driver does not offer NVML here (a virtual GPU or a compatibility layer): use the vendor's own driver."
    ),
}

NO_DRIVER = (
    "Install the NVIDIA driver for it (on Ubuntu: `sudo ubuntu-drivers install --gpgpu`); a DGX Spark has its own."
)
NO_LIBRARY = (
    "The kernel module is loaded, and the library of the same version is not where the loader looks: reinstall the "
    "driver's compute package (libnvidia-compute on Ubuntu), or, in a container, "
    "start it with the `utility` capability."
)


def trouble(error: Any, root: Path = Path("/")) -> Trouble:
    """What an ``NVMLError`` means here. ``root`` stands for ``/``."""
    import pynvml

    code = int(getattr(error, "value", pynvml.NVML_ERROR_UNKNOWN))
    name = names().get(code, "UNKNOWN")
    own = str(error).rstrip(".")
    words = WORDS.get(name, own)
    if name in WORDS and not own.startswith("NVML Error with code"):
        words = f"{words} ({own})"
    remedy = REMEDIES.get(name, f"Reboot where it stays. {LOG}.")
    if name == "LIB_RM_VERSION_MISMATCH" and (loaded := module_version(root)):
        words += f": the kernel module is {loaded}"
    if name == "LIBRARY_NOT_FOUND":
        remedy = NO_LIBRARY if module_version(root) else NO_DRIVER if on_the_bus(root) else ""
        if not remedy:
            return Trouble(
                "NO_DEVICE", "no NVIDIA GPU and no NVIDIA driver are here (NVML Shared Library Not Found)", ""
            )
    return Trouble(name, f"NVML: {words}", remedy)


def names() -> dict[int, str]:
    """NVML's name of each error, by its number."""
    import pynvml

    return {
        value: name.removeprefix("NVML_ERROR_")
        for name, value in vars(pynvml).items()
        if name.startswith("NVML_ERROR_")
    }


def module_version(root: Path = Path("/")) -> str | None:
    """Version of the kernel module that is loaded."""
    try:
        said = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", said)
    return found[0] if found else None


def on_the_bus(root: Path = Path("/")) -> bool:
    """Whether a display or 3D controller of NVIDIA's is on the PCI bus, driver or not."""
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            is_ours = (device / "vendor").read_text().strip() == NVIDIA
            if is_ours and (device / "class").read_text().startswith("0x03"):
                return True
        except OSError:
            continue
    return False
