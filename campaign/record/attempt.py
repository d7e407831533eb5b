"""The record of one attempt: what ``metadata.json`` holds, and the structure in which SQL reads it.

The class is the one declaration. The driver writes it, ``campaign verify`` judges by it again, and the ``from_json`` of
the view ``metadata`` (``sql/10_sources.sql``) is written from it by ``python docs/reference.py``; a test fails where
the two differ.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from actors.types import (
    Coherence,
    Evidence,
    Exit,
    GateRecord,
    KernelEvent,
    Metric,
    Outcome,
    Report,
    StageTimes,
    TelemetrySummary,
)

TOLD_ONCE = {"report": {"metrics"}, "telemetry": {"metrics"}}
"""Parts of a record that its ``metrics`` hold already."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of a verdict. ``passed`` is None, with the reason, where the unit cannot tell."""

    check: str
    passed: bool | None
    figure: str
    limit: str
    reason: str | None = None


class AttemptRecord(BaseModel):
    """Everything that is kept of an attempt but its files. A key that another version wrote is left unread."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    run_id: str
    attempt: int
    unit: str
    campaign_id: str
    phase: str
    model: str
    environment: str
    workload: str
    engine: str
    repetition: int
    block: str
    position: int
    simulated: bool = False
    outcome: Outcome
    failure: str | None = None
    accepted: bool
    verdict: tuple[Check, ...] = ()
    exit: Exit | None = None
    gate: GateRecord | None = None
    stages: StageTimes = StageTimes()
    metrics: tuple[Metric, ...] = ()
    """All figures: the engine's, the telemetry's and the stages'."""
    kernel: tuple[KernelEvent, ...] = ()
    kernel_unavailable: str | None = None
    paused_s: float | None = None
    coherence: Coherence | None = None
    started_utc_ns: int = 0
    ended_utc_ns: int = 0
    telemetry: TelemetrySummary | None = None
    report: Report = Report()
    identity: str | None = None
    """Digest of what makes the run: model, environment, workload, resolved configuration, image
    (``run.orders.identity``)."""
    model_identity: str | None = None
    """What the engine was prepared to run and had to report."""
    gpu_uuid: str | None = None
    session: int | None = None
    """Stretch of the campaign under the same conditions."""
    caches_digest: str | None = None
    image_digest: str | None = None
    userland_digest: str | None = None
    files: dict[str, str] = {}
    """The attempt's other files to their sha256."""

    @classmethod
    def read(cls, data: bytes | str) -> AttemptRecord:
        """Of ``metadata.json``. Raises ``pydantic.ValidationError`` (a ValueError) where it is no attempt's record."""
        return cls.model_validate_json(data)

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.model_dump(mode="json", exclude=TOLD_ONCE)

    @property
    def rejected_by(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.check for check in self.verdict if check.passed is False]

    def evidence(self) -> Evidence:
        """The evidence that the verdict rests on, as far as it is kept."""
        kept = {name: getattr(self, name) for name in Evidence.model_fields if name in AttemptRecord.model_fields}
        report = self.report.model_copy(update={"metrics": self.metrics})
        return Evidence(**{**kept, "report": report, "files": {}})

    def value(self, metric: str) -> float | None:
        """Of a metric; None where it was not measured."""
        return next((found.value for found in self.metrics if found.name == metric), None)


def kept_of(evidence: Evidence) -> dict[str, Any]:
    """What of the evidence goes into a record as it is."""
    return {
        name: getattr(evidence, name)
        for name in Evidence.model_fields
        if name in AttemptRecord.model_fields and name != "files"
    }


# --- the structure in SQL ---------------------------------------------------------------------------------------


def structure() -> dict[str, Any]:
    """What DuckDB's ``from_json`` is told of a record: field to type, nested as the record is."""
    return _structure(AttemptRecord, TOLD_ONCE)


def structure_text(indent: int = 8, width: int = 120) -> str:
    """:func:`structure` as it stands in ``sql/10_sources.sql``: plain fields side by side, each of a part's own
    structure in lines of its own."""
    margin = " " * indent
    lines = [""]
    for name, kind in structure().items():
        nested = not isinstance(kind, str)
        field = f'"{name}": {json.dumps(kind)}'
        if lines[-1] and (nested or len(lines[-1]) + len(field) + indent + 3 > width or lines[-1].endswith(("}", "]"))):
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{field}"
    text = ",\n".join(
        textwrap.fill(
            line.replace(": ", ":\xa0"),
            width - 1,
            initial_indent=margin,
            subsequent_indent=f"{margin}    ",
            break_on_hyphens=False,
        ).replace("\xa0", " ")
        for line in lines
    )
    return f"{{\n{text}\n{margin[:-4]}}}"


def _structure(cls: Any, left_out: Mapping[str, Any]) -> dict[str, Any]:
    """``left_out`` has, by field, names of the field's own that are not there."""
    hints = typing.get_type_hints(cls)
    names = list(cls.model_fields) if issubclass(cls, BaseModel) else [field.name for field in dataclasses.fields(cls)]
    return {name: _type(hints[name], left_out.get(name, ())) for name in names}


PLAIN = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}


def _type(hint: Any, left_out: Collection[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (one for one in arguments if one is not type(None))
        return _type(inner, left_out)
    if origin is typing.Annotated:
        return _type(arguments[0], left_out)
    if origin is typing.Literal:
        return "VARCHAR"
    if origin is tuple:
        return [_type(arguments[0], left_out)]
    if origin is dict:
        return "JSON"
    if hint in PLAIN:
        return PLAIN[hint]
    return {name: kind for name, kind in _structure(hint, {}).items() if name not in left_out}
