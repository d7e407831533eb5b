"""The least rest after which a unit is back, for every arm alike: from the cooling curves of a pilot.

A run heats the unit, and what is left of that when the next one starts is part of its start state. The pilot rested as
long as its config asks; of each of its rests this tells when temperature, power and clock were where its end left them.
The longest of these times, over all models and arms, is a rest after which nothing is otherwise than after the pilot's
own; and at it the arms' mean temperatures must lie no farther apart than the sensor tells. Nothing is extrapolated: a
rest longer than the pilot's cannot come out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.types import Gate
from campaign.config.rest import Back, Cooling, Rest
from campaign.errors import CampaignError

if TYPE_CHECKING:
    from rich.console import RenderableType

Floats = NDArray[np.float64]

TOLERANCE_C = 1.0
"""Sensors tell whole degrees."""
TOLERANCE_W = 1.0
"""Above the most that the end of the rest itself shows."""
TOLERANCE_CLOCK = 0.05
"""Share of the clock that the end of the rest shows."""
END_SHARE = 0.1
"""Of a rest: the part that says where it ended."""
STEPS = 60
"""Parts of a rest; what is seen in each is its median, so that a single reading holds nothing up."""
LEAST_SAMPLES = 12
"""In a rest, for its curve to be told."""
LEAST_RESTS = 3
"""After a model's runs in an arm."""

QUERY = """
SELECT model, environment, unit, next_run_id, next_attempt, rest_s, opened_c, t_s, temperature_c, power_w, sm_clock_mhz
FROM cooling ORDER BY unit, next_run_id, next_attempt, t_s
"""


class NotCalibrated(CampaignError):
    """A pilot that does not tell how long a rest must be. The message is for the person."""

    exit_code = 2


@dataclass(frozen=True)
class Curve:
    """One rest in equal parts: seconds since it began, and what was seen then (NaN where nothing was)."""

    model: str
    environment: str
    rest_s: float
    t_s: Floats
    temperature_c: Floats
    power_w: Floats
    sm_clock_mhz: Floats
    end_c: float
    """Where it ended."""

    def back_s(self) -> float:
        """From when on everything that is told is where the end of the rest has it."""
        end = self.t_s >= (1 - END_SHARE) * self.rest_s
        above = self.temperature_c > self.end_c + TOLERANCE_C
        for seen, most in (
            (self.power_w, np.nanmax(self.power_w[end], initial=-math.inf) + TOLERANCE_W),
            (self.sm_clock_mhz, np.nanmax(self.sm_clock_mhz[end], initial=-math.inf) * (1 + TOLERANCE_CLOCK)),
        ):
            above |= seen > most
        last = np.flatnonzero(above)
        if not len(last):
            return 0.0
        return float(self.t_s[last[-1] + 1]) if last[-1] + 1 < len(self.t_s) else self.rest_s

    def below_s(self, ceiling_c: float | None, dwell_s: float) -> float:
        """When a gate that asks for a temperature below the ceiling would open."""
        if ceiling_c is None:
            return 0.0
        warm = np.flatnonzero(self.temperature_c >= ceiling_c)
        return (float(self.t_s[warm[-1]]) if len(warm) else 0.0) + dwell_s


def calibrated(results: Path) -> Rest:
    """The calibrated rest of the campaign in ``results``. Raises :class:`NotCalibrated`."""
    from campaign.analysis import views
    from campaign.record.store import Store

    store = Store(results)
    info = store.info()
    gate = Gate.model_validate(info["config"].get("gate", {}))
    con = views.connect(results)
    every = curves(con.execute(QUERY).fetchnumpy())
    _enough(results, con.execute("SELECT DISTINCT model, environment FROM plan ORDER BY ALL").fetchall(), every)
    unknown = [
        name
        for name, seen in (("power", [c.power_w for c in every]), ("clocks", [c.sm_clock_mhz for c in every]))
        if all(np.isnan(part).all() for part in seen)
    ]
    was_s = gate.cooldown_s
    shortest_s = min(curve.rest_s for curve in every)
    asked_s = min(was_s, shortest_s)
    step_s = 5.0 if asked_s >= 60 else 0.5
    rest_s = min(was_s, math.ceil(max(curve.back_s() for curve in every) / step_s) * step_s)
    apart_c = apart(every, rest_s)
    while apart_c > TOLERANCE_C and rest_s < asked_s:
        rest_s = min(asked_s, rest_s + step_s)
        apart_c = apart(every, rest_s)
    if apart_c > TOLERANCE_C:
        raise NotCalibrated(
            f"{results}: even at the end of the rest the arms of a model begin {apart_c:.1f} °C apart, more than "
            f"{TOLERANCE_C:g} °C: no shorter rest is one for every arm alike. Rest longer, "
            "or let the gate's temperature decide"
        )
    saved = [c.rest_s - max(rest_s, c.below_s(gate.ceiling_c, gate.dwell_s)) for c in every]
    gpu = con.execute("SELECT any_value(gpu) FROM units").fetchall()[0][0]
    return Rest(
        cooldown_s=rest_s,
        was_s=was_s,
        saved_s=round(max(0.0, float(np.mean(saved))), 1),
        tolerance_c=TOLERANCE_C,
        apart_c=round(apart_c, 2),
        pilot=info["campaign"],
        campaign_id=info["campaign_id"],
        journal=store.head("journal"),
        gpu=None if gpu in (None, "none") else str(gpu),
        simulated=info.get("simulated") is True,
        unknown=tuple(unknown),
        after=tuple(_after(every)),
        curve=tuple(_mean(every)),
    )


def curves(rows: dict[str, Any]) -> list[Curve]:
    """Every rest of the view ``cooling`` that tells a temperature."""
    columns = {
        name: _plain(rows[name]) for name in ("rest_s", "opened_c", "t_s", "temperature_c", "power_w", "sm_clock_mhz")
    }
    keys = list(zip(rows["unit"], rows["next_run_id"], rows["next_attempt"], strict=True))
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    found = []
    for first, last in itertools.pairwise([*starts, len(keys)]):
        part = {name: column[first:last] for name, column in columns.items()}
        told = ~np.isnan(part["temperature_c"])
        if told.sum() < LEAST_SAMPLES:
            continue
        rest_s = float(part["rest_s"][0])
        steps = min(STEPS, int(told.sum()) // 2)
        at = np.minimum((part["t_s"] / rest_s * steps).astype(int), steps - 1)
        here = np.unique(at[told])
        seen = {
            name: np.array([_median(part[name][at == step]) for step in here])
            for name in ("temperature_c", "power_w", "sm_clock_mhz")
        }
        t_s = here * (rest_s / steps)
        ended = part["temperature_c"][told & (part["t_s"] >= (1 - END_SHARE) * part["t_s"].max())]
        opened_c = float(part["opened_c"][0])
        end_c = float(np.mean(ended)) if math.isnan(opened_c) else min(opened_c, float(np.mean(ended)))
        found.append(
            Curve(str(rows["model"][first]), str(rows["environment"][first]), rest_s, t_s, end_c=end_c, **seen)
        )
    return found


def _plain(column: Any) -> Floats:
    """NULL as NaN."""
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _median(values: Floats) -> float:
    told = values[~np.isnan(values)]
    return float(np.median(told)) if len(told) else math.nan


def _enough(results: Path, cells: Sequence[tuple[str, str]], every: Sequence[Curve]) -> None:
    if not every:
        raise NotCalibrated(
            f"{results}: nothing tells a temperature between the runs (neither a GPU nor a thermal zone of the host, "
            f"or rests too short for {LEAST_SAMPLES} samples), so that no rest can be shown to be enough. "
            "Keep gate.cooldown_s in seconds"
        )
    counts: dict[tuple[str, str], int] = {}
    for curve in every:
        counts[curve.model, curve.environment] = counts.get((curve.model, curve.environment), 0) + 1
    few = [
        f"{model} in {arm} ({counts.get((model, arm), 0)})"
        for model, arm in cells
        if counts.get((model, arm), 0) < LEAST_RESTS
    ]
    if few:
        raise NotCalibrated(
            f"{results}: fewer than {LEAST_RESTS} rests with a temperature after "
            f"{', '.join(few[:4])}{' and others' if len(few) > 4 else ''}. Run a longer pilot"
        )


def apart(every: Sequence[Curve], t_s: float) -> float:
    """How far apart the arms' mean temperatures lie so long after their runs, in the model where they do most."""
    by_arm: dict[str, dict[str, list[float]]] = {}
    for curve in every:
        here = float(np.interp(t_s, curve.t_s, curve.temperature_c))
        by_arm.setdefault(curve.model, {}).setdefault(curve.environment, []).append(here)
    means = [[float(np.mean(values)) for values in arms.values()] for arms in by_arm.values()]
    return max(max(its) - min(its) for its in means)


def _after(every: Sequence[Curve]) -> list[Back]:
    cells = dict.fromkeys((curve.model, curve.environment) for curve in every)
    found = []
    for model, arm in cells:
        mine = [curve.back_s() for curve in every if (curve.model, curve.environment) == (model, arm)]
        found.append(Back(model=model, environment=arm, rests=len(mine), back_s=round(max(mine), 1)))
    return found


def _mean(every: Sequence[Curve]) -> list[Cooling]:
    """The mean curve of each arm, over all its rests."""
    length_s = min(curve.rest_s for curve in every)
    grid = np.linspace(0.0, length_s, STEPS // 2 + 1)
    found = []
    for arm in dict.fromkeys(curve.environment for curve in every):
        mine = [curve for curve in every if curve.environment == arm]
        told = {
            name: np.mean([np.interp(grid, curve.t_s, getattr(curve, name)) for curve in mine], axis=0)
            for name in ("temperature_c", "power_w", "sm_clock_mhz")
        }
        for i, t_s in enumerate(grid):
            values = {
                name: None if math.isnan(series[i]) else round(float(series[i]), 2) for name, series in told.items()
            }
            found.append(Cooling.model_validate({"environment": arm, "t_s": round(float(t_s), 2), **values}))
    return found


def sentence(rest: Rest) -> str:
    """What was found, for terminal and report."""
    of = (
        ""
        if not rest.unknown
        else f" Not told by this unit, and so not known to be back: {' and '.join(rest.unknown)}."
    )
    if rest.cooldown_s >= rest.was_s:
        return (
            f"{rest.was_s:g} s of rest are needed: after some run the unit was back no earlier than at their end "
            f"(within {rest.tolerance_c:g} °C).{of}"
        )
    return (
        f"{rest.cooldown_s:g} s of rest instead of {rest.was_s:g} s: after every run of the pilot {rest.pilot} the "
        f"unit was back by then where its rest ended (within {rest.tolerance_c:g} °C), and the arms of a model lay "
        f"{rest.apart_c:g} °C apart at most. The gate's temperature allowed for, "
        f"that saves {rest.saved_s:g} s a run.{of}"
    )


def describe(rest: Rest, runs: int) -> RenderableType:
    """When each cell was back, and what a campaign of so many runs saves."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from campaign.plan.forecast import duration

    table = Table(
        title="Rest, from the pilot's cooling curves",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("after model", overflow="fold")
    table.add_column("in arm", overflow="fold")
    for heading in ("rests", "back after s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for its in rest.after:
        table.add_row(its.model, its.environment, str(its.rests), f"{its.back_s:g}")
    whole = f" Over {runs} runs: {duration(runs * rest.saved_s)}." if rest.saved_s else ""
    return Group(table, Text(sentence(rest) + whole, style="dim"))
