"""A machine's recorded NVML answers, in the shape of ``pynvml``, for hardware that is not here.

The table is JSON: call name to its answer, or to ``{"error": "NOT_SUPPORTED"}``. An answer that is an object becomes an
object with those attributes; a list of objects a list of such; ``{"by_argument": …}`` tells the answers by the name of
the constant that is the last argument. ``nvmlDeviceGetFieldValues`` answers by field name; what the table does not name
does not exist, as with an older driver.

Several GPUs: ``"gpus"`` is a list of such tables, each of which goes before the common one; ``"mig"`` in one of them a
list of tables of its instances, which answer what stands there and nothing else, as real ones do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml


@dataclass(frozen=True)
class Handle:
    """What ``nvmlDeviceGetHandleBy…`` gives."""

    gpu: int
    instance: int | None = None


class RecordedNvml:
    """Stands for the module ``pynvml``: its constants and errors are the real ones, its answers the table's."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.asked_of: list[tuple[str, Handle]] = []
        self._own: dict[str, Callable[..., Any]] = {
            "nvmlInit": self._init,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": self._count,
            "nvmlDeviceGetHandleByIndex": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceIsMigDeviceHandle": lambda handle: int(handle.instance is not None),
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda handle: Handle(handle.gpu),
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 7,
            "nvmlDeviceGetMigDeviceHandleByIndex": self._instance,
            "nvmlDeviceGetFieldValues": self._field_values,
            "nvmlGpmMetricsGet": self._gpm_metrics,
            "nvmlGpmSampleAlloc": pynvml.c_nvmlGpmSample_t,
        }

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            return getattr(pynvml, name)  # constants, structures, errors
        if name in self._own:
            return self._own[name]
        if name not in self.answers and not any(name in gpu or self._of_instances(gpu, name) for gpu in self._gpus):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.asked.append(name)
            told = self._told(name, arguments[0] if arguments else None)
            if isinstance(told, dict) and "by_argument" in told:
                told = {getattr(pynvml, one): answer for one, answer in told["by_argument"].items()}[arguments[-1]]
            return _answer(told)

        return call

    @property
    def _gpus(self) -> list[dict[str, Any]]:
        count = self.answers.get("nvmlDeviceGetCount", 1)
        found: list[dict[str, Any]] = self.answers.get("gpus", [{}] * (count if isinstance(count, int) else 1))
        return found

    def _count(self) -> int:
        _answer(self.answers.get("nvmlDeviceGetCount"))
        return len(self._gpus)

    @staticmethod
    def _of_instances(gpu: dict[str, Any], name: str) -> bool:
        return any(name in instance for instance in gpu.get("mig", ()))

    def _told(self, name: str, handle: Any) -> Any:
        if not isinstance(handle, Handle):
            return self.answers[name]
        self.asked_of.append((name, handle))
        gpu = self._gpus[handle.gpu]
        if handle.instance is not None:
            return gpu["mig"][handle.instance].get(name, {"error": "NOT_SUPPORTED"})
        return gpu.get(name, self.answers.get(name, {"error": "NOT_SUPPORTED"}))

    def _init(self) -> None:
        _answer(self.answers.get("nvmlInit"))

    def _by_index(self, index: int) -> Handle:
        if not 0 <= index < len(self._gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        _answer(self._gpus[index].get("nvmlDeviceGetHandleByIndex", self.answers.get("nvmlDeviceGetHandleByIndex")))
        return Handle(index)

    def _by_uuid(self, uuid: str) -> Handle:
        handles = [Handle(gpu) for gpu in range(len(self._gpus))]
        handles += [
            Handle(gpu, place) for gpu, table in enumerate(self._gpus) for place in range(len(table.get("mig", ())))
        ]
        for handle in handles:
            if self._told("nvmlDeviceGetUUID", handle) == uuid:
                return handle
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def _instance(self, handle: Handle, place: int) -> Handle:
        if place >= len(self._gpus[handle.gpu].get("mig", ())):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return Handle(handle.gpu, place)

    def _field_values(self, handle: Any, ids: list[int]) -> list[Any]:
        self.asked.append("nvmlDeviceGetFieldValues")
        told = self._told("nvmlDeviceGetFieldValues", handle)
        by_id = {} if "error" in told else {getattr(pynvml, name): value for name, value in told.items()}
        return [
            SimpleNamespace(
                fieldId=one,
                nvmlReturn=pynvml.NVML_SUCCESS if one in by_id else pynvml.NVML_ERROR_NOT_SUPPORTED,
                value=SimpleNamespace(ullVal=by_id.get(one, 0)),
            )
            for one in ids
        ]

    def _gpm_metrics(self, request: Any) -> None:
        self.asked.append("nvmlGpmMetricsGet")
        request.metrics[0].nvmlReturn = pynvml.NVML_SUCCESS
        request.metrics[0].value = _answer(self.answers["nvmlGpmMetricsGet"])


def recorded(path: Path) -> RecordedNvml:
    """Read a table. Raises OSError, ValueError."""
    return RecordedNvml(json.loads(path.read_text()))


def _answer(told: Any) -> Any:
    if isinstance(told, dict) and "error" in told:
        raise pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{told['error']}"))
    if isinstance(told, dict):
        return SimpleNamespace(**told)
    if isinstance(told, list):
        return [_answer(one) for one in told]
    return told
