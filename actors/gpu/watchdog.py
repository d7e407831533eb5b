"""Whether an engine that still runs is at work: seen from its output, its answers and its device,
never from its promises.

A hang is the commonest report from a Spark: at load, or in decode with 96 % utilisation at a fraction of the power. An
attempt is given up when none of these signs moved for ``stall_s``, or when it takes longer than its cell ever did
(``limit_s``).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from actors.files import leavings
from actors.files.beneath import Folder
from actors.gpu.gate import Reading
from actors.types import Watchdog

BUSY_PCT = 5.0
"""A GPU below this utilisation is not computing."""
BUSY_SHARE = 0.5
"""Of the power that the cell's earlier runs drew: below it a busy GPU is spinning, not computing."""
BUSY_CPU = 0.05
"""Of one core, on average since the last look: where there is no GPU to ask, such an engine computes."""


@dataclass(frozen=True)
class Signs:
    """What was seen of an attempt at one moment. None is what cannot be told."""

    t_ns: int
    output_bytes: int | None = None
    """Written to its output streams so far."""
    files_ns: int | None = None
    """When a file of its output folder last changed."""
    answered: int | None = None
    """Requests, where the engine keeps a count in ``progress.json``."""
    cpu_s: float | None = None
    """Of its process tree."""
    gpu_utilization_pct: float | None = None
    power_w: float | None = None


class Progress:
    """The last time that anything moved."""

    def __init__(self, rules: Watchdog, first: Signs, *, limit_s: float | None, usual_power_w: float | None) -> None:
        self._rules = rules
        self._limit_s = limit_s
        self._usual_power_w = usual_power_w
        self._began_ns = self._moved_ns = first.t_ns
        self._last = first

    def hung(self, now: Signs) -> str | None:
        """Why the attempt counts as hung, with what was seen; None while it is at work."""
        if self._moves(now):
            self._moved_ns = now.t_ns
        self._last = now
        ran_s, still_s = (now.t_ns - self._began_ns) / 1e9, (now.t_ns - self._moved_ns) / 1e9
        if still_s >= self._rules.stall_s:
            return f"nothing moved for {still_s:.0f} s: {self._seen(now)}"
        if self._limit_s is not None and ran_s >= self._limit_s:
            return f"still running after {ran_s:.0f} s, the limit from what is known of its cell: {self._seen(now)}"
        return None

    def _moves(self, now: Signs) -> bool:
        before = self._last
        grown = any(
            _more(getattr(now, name), getattr(before, name)) for name in ("output_bytes", "files_ns", "answered")
        )
        return grown or self._computes(now)

    def _computes(self, now: Signs) -> bool:
        if now.gpu_utilization_pct is None:
            spent, passed = (now.cpu_s or 0.0) - (self._last.cpu_s or 0.0), (now.t_ns - self._last.t_ns) / 1e9
            return now.cpu_s is not None and passed > 0 and spent >= BUSY_CPU * passed
        if now.gpu_utilization_pct < BUSY_PCT:
            return False
        usual = self._usual_power_w
        return usual is None or now.power_w is None or now.power_w >= BUSY_SHARE * usual

    def _seen(self, now: Signs) -> str:
        said = ["no new output"]
        if now.answered is not None:
            said.append(f"{now.answered} requests answered")
        if now.gpu_utilization_pct is not None:
            power = f" at {now.power_w:.0f} W" if now.power_w is not None else ""
            usual = f", {self._usual_power_w:.0f} W is usual" if self._usual_power_w is not None else ""
            said.append(f"GPU {now.gpu_utilization_pct:.0f} %{power}{usual}")
        elif now.cpu_s is not None:
            said.append(f"{now.cpu_s:.0f} s of CPU time in all")
        return ", ".join(said)


def _more(now: int | None, before: int | None) -> bool:
    return now is not None and (before is None or now > before)


def signs(t_ns: int, seen: Reading, output: Path, output_bytes: int | None, pid: int | None) -> Signs:
    """The attempt now, from the unit's sensors, its output folder and its streams."""
    return Signs(
        t_ns=t_ns,
        output_bytes=output_bytes,
        files_ns=_newest_ns(output),
        answered=_answered(output),
        cpu_s=_cpu_s(pid) if seen.gpu_utilization_pct is None and pid is not None else None,
        gpu_utilization_pct=seen.gpu_utilization_pct,
        power_w=seen.power_w,
    )


LOOKED_AT = 5000
"""Names of the output folder that are looked at: a walk through all that an engine leaves could take long."""


def _newest_ns(folder: Path) -> int | None:
    """Of the files directly in the folder and in its own subfolders."""
    newest: int | None = None
    left = LOOKED_AT
    try:
        with Folder(folder) as top:
            waiting = [""]
            while waiting:
                at = waiting.pop()
                with contextlib.suppress(OSError), top.folder(at) as here:  # gone meanwhile
                    for name in itertools.islice(here.names(), left):
                        facts = here.stat(name)
                        newest, left = max(newest or 0, facts.st_mtime_ns), left - 1
                        if not at and stat.S_ISDIR(facts.st_mode):
                            waiting.append(name)
    except OSError:
        return None
    return newest


def _answered(output: Path) -> int | None:
    told = leavings.small(output / "progress.json")
    try:
        return int(json.loads(told)["answered"]) if told is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def _cpu_s(pid: int) -> float | None:
    """CPU time of the process and everything below it, children that ended included."""
    from actors.sensors.process import ProcessSensor

    sensor = ProcessSensor()
    sensor.watch(pid)
    try:
        value = sensor.read().get("attempt_cpu_s")
        return float(value) if isinstance(value, (int, float)) else None
    finally:
        sensor.close()
