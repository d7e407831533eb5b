"""What an attempt left, as evidence: its figures under standard names, the kernel's words, its files."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines import OUTPUT
from actors.files import leavings, removal
from actors.files.beneath import Folder
from actors.gpu.kernel_log import KernelLog
from actors.types import Attempt, Evidence, GateRecord, KernelEvent, Metric, Report, StageTimes, TelemetrySummary


def working_folder(spool: Path, run_id: str, attempt: int) -> Path:
    return spool / "attempts" / run_id / str(attempt)


def loaded(report: Report, exec_utc_ns: int | None) -> Report:
    """The report with ``load_s`` from the engine's exec, where its log says when it was ready:
    interpreter and imports count."""
    if report.ready_utc_ns is None or exec_utc_ns is None or report.ready_utc_ns < exec_utc_ns:
        return report
    load_s = Metric(
        name="load_s",
        value=(report.ready_utc_ns - exec_utc_ns) / 1e9,
        unit_of_measure="s",
        source="unit: exec until the log says ready",
    )
    return report.model_copy(update={"metrics": (*(m for m in report.metrics if m.name != load_s.name), load_s)})


def all_metrics(
    report: Report,
    opened: GateRecord | None,
    summary: TelemetrySummary | None,
    stages: StageTimes,
    unknown: Mapping[str, str] = {},
) -> tuple[Metric, ...]:
    """Every figure of an attempt under its standard name, each once; what is unknown says why,
    by stage in ``unknown``."""
    found = {metric.name: metric for metric in report.metrics}

    def add(name: str, value: float | None, unit: str, source: str, reason: str) -> None:
        if name not in found:
            found[name] = Metric(
                name=name, value=value, unit_of_measure=unit, source=source, reason=reason if value is None else None
            )

    for name, value in stages.model_dump().items():
        if name == "gate_s":
            add("gate_wait_s", value, "s", "unit", "the gate was not reached")
        else:
            reason = unknown.get(name) or "the attempt did not get that far"
            add(name, value, "ms" if name.endswith("_ms") else "s", "unit", reason)
    start = opened.model_dump() if opened else {}
    for name, key, unit in (
        ("start_temperature_c", "temperature_c", "°C"),
        ("start_mem_available_gib", "mem_available_gib", "GiB"),
        ("start_mem_free_gib", "mem_free_gib", "GiB"),
        ("start_mem_cached_gib", "mem_cached_gib", "GiB"),
        ("start_swap_used_gib", "swap_used_gib", "GiB"),
        ("start_power_w", "power_w", "W"),
        ("rest_s", "rest_s", "s"),
    ):
        add(name, start.get(key), unit, "gate", "this unit cannot tell" if opened else "the gate was not reached")
    if summary is not None:
        for metric in summary.metrics:
            found.setdefault(metric.name, metric)
    lost = "the sampler was lost during the attempt"
    add("telemetry_coverage_pct", summary.coverage_pct if summary else None, "%", "telemetry", lost)
    add("telemetry_jitter_p99_ms", summary.jitter_p99_ms if summary else None, "ms", "telemetry", lost)
    add("telemetry_cpu_pct", summary.sampler_cpu_pct if summary else None, "%", "telemetry", lost)
    return tuple(found.values())


def kernel(log: KernelLog | None, started: bool) -> dict[str, Any]:
    """What the kernel said since the engine started, as fields of the evidence."""
    if log is None or log.unavailable is not None or not started:
        return {"kernel_unavailable": log.unavailable if log else "nobody listens on this unit"}
    told = tuple(
        KernelEvent(kind=one.kind, text=one.text, what=one.what, process=one.process, pid=one.pid)
        for one in log.since_mark()
    )
    return {"kernel": told, "kernel_unavailable": log.missed}


LARGE_BYTES = 2**20
"""A file of more, and every further one once so many times as much is together,
is fetched by the driver piece by piece."""
TOGETHER = 8
PIECE_BYTES = 4 * 2**20
"""Of a file that is fetched, at once."""


def files_of(folder: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """The attempt's files by name, and the sizes of those that do not travel with the evidence. ``requests.jsonl``
    stays behind once it became ``requests.parquet``, and is cut like a log where it did not."""
    files: dict[str, bytes] = {}
    large: dict[str, int] = {}
    together = 0
    parsed = (folder / "requests.parquet").exists()
    if not parsed:
        leavings.cut_streamed(folder)
    with Folder(folder) as place:
        for name, size in place.files():
            if parsed and name in (leavings.STREAMED, "output/progress.json"):
                continue
            if size > LARGE_BYTES or together + size > TOGETHER * LARGE_BYTES:
                large[name] = size
            else:
                files[name] = place.read(name, LARGE_BYTES)
                together += size
    return files, large


def piece(spool: Path, run_id: str, attempt: int, name: str, offset: int) -> bytes:
    """The next :data:`PIECE_BYTES` of one of an attempt's ``large`` files. Raises OSError."""
    with Folder(working_folder(spool, run_id, attempt)) as place:
        handle = place.file(name)
        try:
            return os.pread(handle, PIECE_BYTES, offset)
        finally:
            os.close(handle)


def salvage(order: Attempt, spool: Path) -> Evidence:
    """Evidence of an attempt that a crash interrupted: whatever it left."""
    folder = working_folder(spool, order.run_id, order.attempt)
    now = time.time_ns()
    files: dict[str, bytes] = {}
    large: dict[str, int] = {}
    if folder.exists():
        leavings.tidy(folder)
        files, large = files_of(folder)
    return Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome="interrupted",
        failure="the campaign was interrupted while this attempt ran",
        started_utc_ns=int(folder.stat().st_ctime_ns) if folder.exists() else now,
        ended_utc_ns=now,
        simulated=order.simulated,
        files=files,
        large=large,
    )


def discard(spool: Path, run_id: str, attempt: int) -> None:
    """Forget an attempt's working folder once the driver has it."""
    with contextlib.suppress(OSError):
        removal.remove(working_folder(spool, run_id, attempt))
    with contextlib.suppress(OSError):  # another attempt of the run may still be there
        (spool / "attempts" / run_id).rmdir()


def json_file(value: object) -> bytes:
    return json.dumps(value, indent=1, default=str).encode() + b"\n"


def script(command: dict[str, Any], order: Attempt, compiled: Path | None) -> bytes:
    """The command as it may be pasted; what the attempt worked on and took away again is made first."""
    lines = ["#!/bin/sh", "# The attempt's command, to be pasted."]
    if compiled is not None and order.caches is not None and not order.fills_caches:
        lines.append(f"mkdir -p {shlex.quote(str(compiled.parent))} && rm -rf {shlex.quote(str(compiled))}")
        lines.append(f"cp -a --reflink=auto {shlex.quote(order.caches)} {shlex.quote(str(compiled))}")
    if (
        output := next((mount["source"] for mount in command.get("mounts", ()) if mount["target"] == OUTPUT), None)
    ) is not None:
        lines.append(f"mkdir -p {shlex.quote(output)} && chmod 777 {shlex.quote(output)}")
    return "\n".join([*lines, str(command.get("shell", "")), ""]).encode()
