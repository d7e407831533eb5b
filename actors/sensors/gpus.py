"""The GPUs of a machine, each known by its UUID. An index moves when a card is added, hidden or renumbered by a
variable; a UUID does not. The module that answers is handed around, so that recorded answers can stand for devices that
are not here (:mod:`actors.sensors.recorded`)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.sensors.trouble import Trouble, trouble


def load(root: Path = Path("/")) -> Any:
    """The real ``pynvml``, initialised; the recorded answers of the machine that ``root`` describes;
    or the Trouble with it."""
    nvml: Any
    if root == Path("/"):
        import pynvml

        nvml = pynvml
    else:
        from actors.sensors.recorded import recorded

        table = root / "nvml.json"
        if not table.exists():
            return Trouble("NO_DEVICE", "this machine's description has no NVIDIA GPU", "")
        nvml = recorded(table)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as problem:
        return trouble(problem, root)
    return nvml


@dataclass(frozen=True)
class Gpu:
    """A GPU, or an instance of one that MIG divides (its ``mig_of`` is then the card's UUID)."""

    uuid: str
    index: int
    """NVML's, which is the order on the PCI bus; CUDA's may differ."""
    name: str
    pci_bus_id: str | None
    pids: tuple[int, ...] | None
    """Of its compute processes; None where the device does not list them."""
    display: bool | None = None
    """Whether a display is attached and initialised; None where the device does not tell."""
    mig_of: str | None = None
    divided: bool = False
    """MIG is on: CUDA can use its instances, not the card."""
    minor: int | None = None
    """N of ``/dev/nvidiaN``; None where the driver does not tell."""

    @property
    def in_use(self) -> bool:
        return bool(self.pids)

    def __str__(self) -> str:
        used = f", in use by {', '.join(map(str, self.pids))}" if self.pids else ""
        return f"{self.name} {self.uuid} (number {self.index}{used})"


def gpus(nvml: Any = None) -> list[Gpu]:
    """Every GPU, each followed by its MIG instances; none where NVML does not answer (:func:`load` says why). ``nvml``
    is what :func:`load` gave; this machine's unless given. A card that is lost is left out: it cannot be used."""
    nvml = load() if nvml is None else nvml
    if isinstance(nvml, Trouble):
        return []
    found: list[Gpu] = []
    for index in range(_told(nvml.NVMLError, nvml.nvmlDeviceGetCount) or 0):
        with contextlib.suppress(nvml.NVMLError):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            divided = mig_is_on(nvml, handle)
            card = _gpu(nvml, handle, index, divided=divided)
            found.append(card)
            if divided:
                found.extend(_gpu(nvml, one, index, mig_of=card.uuid) for one in _instances(nvml, handle))
    return found


def pick(found: list[Gpu], wanted: str | None) -> Gpu:
    """The GPU called ``wanted``: a UUID or the beginning of one, a PCI address, or a number. Without one: the only one
    that CUDA can use. Raises LookupError with the words for the person."""
    usable = [gpu for gpu in found if not gpu.divided]
    here = "; ".join(map(str, found)) or "none"
    if wanted is None:
        if len(usable) == 1:
            return usable[0]
        if not usable and found:
            raise LookupError(
                f"MIG is on and {found[0].name} has no instance: make one, or turn MIG off (`nvidia-smi -mig 0`)"
            )
        raise LookupError(f"{len(usable) or 'no'} GPUs here and none is chosen (`gpus:` in the campaign): {here}")
    by_uuid = [gpu for gpu in found if gpu.uuid.lower().startswith(wanted.lower())]
    by_place = [gpu for gpu in found if gpu.mig_of is None and wanted.lower() in (str(gpu.index), *_addresses(gpu))]
    matching = [gpu for gpu in found if gpu.uuid == wanted] or by_uuid or by_place
    if len(matching) != 1:
        raise LookupError(f"{'no' if not matching else 'more than one'} GPU is '{wanted}': here are {here}")
    if matching[0].divided:
        raise LookupError(
            f"MIG is on for {matching[0]}: choose one of its instances, or turn MIG off (`nvidia-smi -mig 0`)"
        )
    return matching[0]


def _addresses(gpu: Gpu) -> tuple[str, ...]:
    """``0000000f:01:00.0`` and, as Linux writes it, ``000f:01:00.0``."""
    if gpu.pci_bus_id is None:
        return ()
    long = gpu.pci_bus_id.lower()
    domain, _, rest = long.partition(":")
    return long, f"{int(domain, 16):04x}:{rest}"


def handle_of(nvml: Any, uuid: str | None) -> Any:
    """NVML's handle of the GPU. Raises LookupError where there is no such one or
    more than one to choose from, NVMLError."""
    if uuid is None:
        count = nvml.nvmlDeviceGetCount()
        if count > 1:
            pick(gpus(nvml), None)
        if count < 1:
            raise LookupError("the NVIDIA driver shows no GPU")
        only = [gpu.uuid for gpu in gpus(nvml) if not gpu.divided]
        return nvml.nvmlDeviceGetHandleByUUID(only[0]) if len(only) == 1 else nvml.nvmlDeviceGetHandleByIndex(0)
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as problem:
        if problem.value not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
            raise
        here = "; ".join(map(str, gpus(nvml))) or "none"
        raise LookupError(f"no GPU has the UUID {uuid}: here are {here}") from problem


def mig_is_on(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except (nvml.NVMLError, AttributeError):
        return False


def is_instance(nvml: Any, handle: Any) -> bool:
    """Whether this is the handle of a MIG instance."""
    try:
        return bool(nvml.nvmlDeviceIsMigDeviceHandle(handle))
    except (nvml.NVMLError, AttributeError):
        return False


def text(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _instances(nvml: Any, handle: Any) -> list[Any]:
    found = []
    for place in range(_told(nvml.NVMLError, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        with contextlib.suppress(nvml.NVMLError):  # a place that is empty
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place))
    return found


def _gpu(nvml: Any, handle: Any, index: int, *, mig_of: str | None = None, divided: bool = False) -> Gpu:
    errors = nvml.NVMLError

    def ask(name: str, where: Any = handle) -> Any:
        try:
            return _told(errors, getattr(nvml, name), where)
        except AttributeError:
            return None

    pci, shown, minor, listed = (
        ask("nvmlDeviceGetPciInfo"),
        ask("nvmlDeviceGetDisplayActive"),
        ask("nvmlDeviceGetMinorNumber"),
        ask("nvmlDeviceGetComputeRunningProcesses"),
    )
    return Gpu(
        uuid=text(nvml.nvmlDeviceGetUUID(handle)),
        index=index,
        name=text(nvml.nvmlDeviceGetName(handle)),
        pci_bus_id=None if pci is None else text(pci.busId),
        pids=None if listed is None else tuple(sorted(int(one.pid) for one in listed)),
        display=None if shown is None else bool(shown),
        mig_of=mig_of,
        divided=divided,
        minor=None if minor is None else int(minor),
    )


def _told(errors: Any, call: Any, *arguments: Any) -> Any:
    """What the call says; None where the device does not tell."""
    try:
        return call(*arguments)
    except errors:
        return None
