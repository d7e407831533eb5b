"""The GPUs of this host as NVML numbers them, and which of them an arm may use.

A unit is one GPU, known by its UUID. A container gets that one; a chroot and a process of the host see every device
node, so there a variable says which. CUDA takes a UUID in ``CUDA_VISIBLE_DEVICES``, but vLLM reads it as a number and
dies (vllm-project/vllm#13815, #32569), hence the index, with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, which makes CUDA count
as NVML does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from actors.environments import OptionRefused
from actors.sensors import gpus as sensors
from actors.types import Environment

CDI_KIND = "nvidia.com/gpu"


@dataclass(frozen=True)
class Gpu:
    uuid: str
    index: int
    """NVML's, in the order of PCI addresses."""
    minor: int | None
    """N of ``/dev/nvidiaN``; None where the driver does not tell."""

    def __str__(self) -> str:
        node = f", /dev/nvidia{self.minor}" if self.minor is not None else ""
        return f"{self.uuid} (index {self.index}{node})"


def known() -> tuple[Gpu, ...]:
    """Empty where NVML does not answer."""
    return tuple(Gpu(one.uuid, one.index, one.minor) for one in sensors.gpus() if one.mig_of is None)


def every_one(spec: Environment) -> bool:
    """Whether the arm itself asks for all GPUs."""
    return bool({"all", f"{CDI_KIND}=all"} & set(spec.gpu.devices))


def selected(spec: Environment, uuid: str | None, *, in_container: bool) -> dict[str, str]:
    """Variables that make an arm use the unit's GPU alone; none where there is no other, or the arm asks for all."""
    if uuid is None or every_one(spec):
        return {}
    # What Docker itself sets for `--gpus device=...`; read by the toolkit, not by engines.
    found = {"NVIDIA_VISIBLE_DEVICES": uuid} if spec.gpu.by in ("toolkit", "cdi") else {}
    if in_container:
        return found
    here = known()
    index = next((str(gpu.index) for gpu in here if gpu.uuid == uuid), None)
    if index is None:
        return found | {"CUDA_VISIBLE_DEVICES": uuid}
    return found if len(here) == 1 else found | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index}


def check(spec: Environment, uuid: str | None) -> None:
    """Raises OptionRefused where the arm names another GPU than the unit's."""
    if uuid is None or every_one(spec):
        return
    here = known()
    for name in spec.gpu.devices:
        other = _named(name, here)
        if other is not None and other.uuid != uuid:
            own = next((str(gpu) for gpu in here if gpu.uuid == uuid), uuid)
            raise OptionRefused(
                "gpu",
                f"{spec.name} names {name}, which is GPU {other}; this unit is GPU {own}. "
                "Name that one under gpu.devices"
                + ("." if spec.gpu.by == "devices" else ", leave devices out, or ask for every GPU: devices: [all]."),
            )


def _named(name: str, here: tuple[Gpu, ...]) -> Gpu | None:
    """The GPU that a device node, an index, a UUID or a CDI name stands for; None where it is none, or not known."""
    if node := re.fullmatch(r"/dev/nvidia(\d+)", name):
        return next((gpu for gpu in here if gpu.minor == int(node[1])), None)
    name = name.removeprefix(f"{CDI_KIND}=")
    return next((gpu for gpu in here if name == str(gpu.index) or name == gpu.uuid), None)


def cdi_name(uuid: str, specification: dict[str, Any] | None) -> str:
    """The unit's GPU as the host's CDI specification calls it: by UUID,
    or by the name of the device with its node alone."""
    names = {str(device.get("name")): device for device in (specification or {}).get("devices") or ()}
    if uuid in names or not names:
        return f"{CDI_KIND}={uuid}"
    own = next((gpu for gpu in known() if gpu.uuid == uuid), None)
    for name, device in names.items():
        nodes = (node.get("path") for node in (device.get("containerEdits") or {}).get("deviceNodes") or ())
        gpus = [node for node in nodes if re.fullmatch(r"/dev/nvidia\d+", str(node))]
        if own is not None and own.minor is not None and gpus == [f"/dev/nvidia{own.minor}"]:
            return f"{CDI_KIND}={name}"
    raise OptionRefused(
        "gpu",
        f"the host's CDI specification names {', '.join(names)} and no GPU {uuid}; write it anew: sudo nvidia-ctk "
        "cdi generate --device-name-strategy=uuid --device-name-strategy=index --output=/etc/cdi/nvidia.yaml",
    )
