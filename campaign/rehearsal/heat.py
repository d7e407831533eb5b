"""A unit's temperature: closed forms between moments at which the power changes, so that days cost nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from campaign.rehearsal.machine import Heat

Floats = NDArray[np.float64]

DAY_S = 86_400.0


@dataclass(frozen=True)
class Room:
    """The ambient temperature over time: a day's swing and two slow ones, each with a phase of its unit's own."""

    heat: Heat
    phases: tuple[float, float, float]

    @classmethod
    def drawn(cls, heat: Heat, rng: np.random.Generator) -> Room:
        a, b, c = rng.uniform(0, 2 * math.pi, 3)
        return cls(heat, (float(a), float(b), float(c)))

    def ambient_c(self, t_s: Floats | float) -> Floats:
        a, b, c = self.phases
        t = np.asarray(t_s, dtype=np.float64)
        daily = np.sin(2 * np.pi * t / DAY_S + a)
        drift = 0.6 * np.sin(2 * np.pi * t / (5.3 * DAY_S) + b) + 0.4 * np.sin(2 * np.pi * t / (1.7 * DAY_S) + c)
        return np.asarray(self.heat.ambient_c + self.heat.daily_c * daily + self.heat.drift_c * drift)


@dataclass
class Body:
    """What is warm, and since when it draws what. Times are seconds of the unit's clock."""

    room: Room
    t_s: float
    power_w: float
    fast_c: float
    slow_c: float
    past: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Moments at which the power changed: time, power from then on, fast and slow as they were then.
    The last is now's."""

    @classmethod
    def at_rest(cls, room: Room, t_s: float, power_w: float) -> Body:
        heat = room.heat
        body = cls(room, t_s, power_w, heat.fast_c_per_w * power_w, heat.slow_c_per_w * power_w)
        body.past.append((t_s, power_w, body.fast_c, body.slow_c))
        return body

    def copy(self) -> Body:
        return Body(self.room, self.t_s, self.power_w, self.fast_c, self.slow_c, list(self.past))

    def draw(self, t_s: float, power_w: float) -> None:
        """From ``t_s`` on it draws ``power_w``."""
        fast, slow = self._lags(t_s - self.t_s, self.power_w, self.fast_c, self.slow_c)
        self.t_s, self.power_w, self.fast_c, self.slow_c = t_s, power_w, float(fast), float(slow)
        self.past.append((t_s, power_w, self.fast_c, self.slow_c))

    def forget(self) -> None:
        """All but now."""
        del self.past[:-1]

    def _lags(
        self, passed_s: Floats | float, power_w: Floats | float, fast: Floats | float, slow: Floats | float
    ) -> tuple[Floats, Floats]:
        heat = self.room.heat
        kept_fast, kept_slow = np.exp(-np.asarray(passed_s) / heat.fast_s), np.exp(-np.asarray(passed_s) / heat.slow_s)
        return (
            np.asarray(fast * kept_fast + heat.fast_c_per_w * power_w * (1 - kept_fast)),
            np.asarray(slow * kept_slow + heat.slow_c_per_w * power_w * (1 - kept_slow)),
        )

    def history(self, t_s: Floats) -> tuple[Floats, Floats]:
        """Temperature and power at these times, none of them before what is remembered."""
        began, power, fast, slow = (np.array(column) for column in zip(*self.past, strict=True))
        at = np.searchsorted(began, t_s, side="right") - 1
        warm_fast, warm_slow = self._lags(t_s - began[at], power[at], fast[at], slow[at])
        return self.room.ambient_c(t_s) + self.room.heat.above_ambient_c + warm_fast + warm_slow, power[at]

    def temperature_c(self, t_s: float) -> float:
        """At a moment not before the last change."""
        heat, passed = self.room.heat, t_s - self.t_s
        kept_fast, kept_slow = math.exp(-passed / heat.fast_s), math.exp(-passed / heat.slow_s)
        fast = self.fast_c * kept_fast + heat.fast_c_per_w * self.power_w * (1 - kept_fast)
        slow = self.slow_c * kept_slow + heat.slow_c_per_w * self.power_w * (1 - kept_slow)
        return float(self.room.ambient_c(t_s)) + heat.above_ambient_c + fast + slow

    def cold_at(self, t_s: float, ceiling_c: float, until_s: float, step_s: float) -> float | None:
        """The first moment of the grid ``t_s + k step_s`` up to ``until_s`` at which the sensor, which tells whole
        degrees, is below the ceiling; None where there is none."""
        grid = np.arange(t_s, until_s + step_s, step_s)
        found = np.flatnonzero(np.floor(self.history(grid)[0]) < ceiling_c)
        return float(grid[found[0]]) if len(found) else None
