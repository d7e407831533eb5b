"""A device's recorded NVML answers, in the shape of ``pynvml``, for hardware that is not here.

The table is JSON: call name to its answer, or to ``{"error": "NotSupported"}``. An answer that is an object becomes an object
with those attributes; a list of objects a list of such; ``{"by_argument": …}`` tells the answers by the name of the constant
that is the last argument. ``nvmlDeviceGetFieldValues`` answers by field name; what the table
does not name does not exist, as with an older driver.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml


class RecordedNvml:
    """Stands for the module ``pynvml``: its constants and errors are the real ones, its answers the table's."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            return getattr(pynvml, name)  # constants, structures, errors
        if name == "nvmlDeviceGetFieldValues":
            return self._field_values
        if name == "nvmlGpmMetricsGet":
            return self._gpm_metrics
        if name == "nvmlGpmSampleAlloc":
            return pynvml.c_nvmlGpmSample_t
        if name not in self.answers:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.asked.append(name)
            told = self.answers[name]
            if isinstance(told, dict) and "by_argument" in told:
                told = {getattr(pynvml, one): answer for one, answer in told["by_argument"].items()}[arguments[-1]]
            return _answer(told)

        return call

    def _field_values(self, _: Any, ids: list[int]) -> list[Any]:
        self.asked.append("nvmlDeviceGetFieldValues")
        told = self.answers.get("nvmlDeviceGetFieldValues", {})
        by_id = {getattr(pynvml, name): value for name, value in told.items()}
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
