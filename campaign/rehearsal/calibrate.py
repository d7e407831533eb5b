"""The simulated unit's constants fitted to a campaign that measured, and how well it then predicts what was seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.clock import Clock
from actors.gpu import gate as gates
from actors.types import Gate
from campaign.analysis import views
from campaign.config.schema import Campaign
from campaign.errors import EXIT_CONFIG, CampaignError
from campaign.plan.forecast import Machine, machine, weight_bytes
from campaign.record.store import Store
from campaign.rehearsal.engine import nominal
from campaign.rehearsal.heat import Floats
from campaign.rehearsal.machine import Heat, Unit, unit_for

if TYPE_CHECKING:
    import duckdb

STEP_S = 0.5
"""Of the series that is fitted: a mean of the samples in it."""
LEAST_SAMPLES = 120
TOLD_LOW_C = 0.5
"""A sensor that tells whole degrees, cut off, is so much low on average."""


class NotCalibrated(CampaignError):
    """A campaign that says too little for it. The message is for the person."""

    exit_code = EXIT_CONFIG


@dataclass(frozen=True)
class Waited:
    """One gate: what was seen, and what the same gate does with the predicted temperature."""

    run_id: str
    attempt: int
    observed_s: float
    predicted_s: float
    observed_c: float | None
    predicted_c: float


@dataclass(frozen=True)
class Calibrated:
    unit: Unit
    t_s: Floats
    power_w: Floats
    observed_c: Floats
    predicted_c: Floats
    """What the sensor would tell on average, by constants fitted to all of it."""
    ahead_rmse_c: float | None
    """Of the second half, predicted by constants fitted to the first alone; None where the halves are too short."""
    gates: tuple[Waited, ...]
    notes: tuple[str, ...]

    @property
    def rmse_c(self) -> float:
        return float(np.sqrt(np.mean((self.predicted_c - self.observed_c) ** 2)))

    @property
    def worst_c(self) -> float:
        return float(np.max(np.abs(self.predicted_c - self.observed_c)))


def calibrate(results: Path) -> Calibrated:
    """Fit heat, rates and start-up to the campaign in ``results``. Raises NotCalibrated."""
    info = Store(results).info()
    if info.get("simulated") is True:
        raise NotCalibrated(f"{results}: a rehearsal; constants are fitted to what was measured")
    campaign = Campaign.model_validate_json(json.dumps(info["config"]))
    con = views.connect(results)
    t_s, power_w, observed_c, epoch_s = _series(results, con)
    base = unit_for(campaign)
    heat = _fit(t_s, power_w, observed_c, base.heat)
    predicted_c = temperatures(heat, t_s, power_w) - TOLD_LOW_C
    half = len(t_s) // 2
    ahead = None
    if half >= LEAST_SAMPLES:
        early = _fit(t_s[:half], power_w[:half], observed_c[:half], base.heat)
        errors = (temperatures(early, t_s, power_w) - TOLD_LOW_C - observed_c)[half:]
        ahead = float(np.sqrt(np.mean(errors**2)))
    rates, notes = _rates(campaign, con, machine(campaign))
    gpu = con.execute("SELECT any_value(gpu) FROM units").fetchall()[0][0]
    idle_w = float(np.quantile(power_w, 0.02))
    busy_w = float(np.quantile(power_w, 0.98))
    unit = replace(
        base,
        name=str(gpu),
        gpu=str(gpu) if gpu and gpu != "none" else None,
        rates=rates,
        heat=heat,
        power=replace(base.power, idle_w=idle_w, load_w=float(np.median(power_w)), single_w=busy_w, batched_w=busy_w),
        fitted_to=f"{info['campaign']} {info['campaign_id']}",
    )
    held = tuple(_gates(campaign, con, t_s + epoch_s, predicted_c))
    return Calibrated(unit, t_s, power_w, observed_c, predicted_c, ahead, held, tuple(notes))


def _series(results: Path, con: duckdb.DuckDBPyConnection) -> tuple[Floats, Floats, Floats, float]:
    """Seconds, watts and degrees on a grid, and the UTC second that is its 0. Of the unit that sampled most."""
    rows = con.execute(
        f"""WITH one AS (SELECT unit FROM telemetry GROUP BY unit ORDER BY count(*) DESC LIMIT 1)
        SELECT floor(t_utc_ns / 1e9 / {STEP_S}) * {STEP_S} AS t, avg(gpu_power_w), avg(gpu_temperature_c)
        FROM telemetry JOIN one USING (unit)
        WHERE gpu_power_w IS NOT NULL AND gpu_temperature_c IS NOT NULL GROUP BY t ORDER BY t"""
    ).fetchall()
    if len(rows) < LEAST_SAMPLES:
        raise NotCalibrated(
            f"{results}: {len(rows)} half seconds with power and temperature of a GPU; at least {LEAST_SAMPLES} are "
            "needed. Calibrate by a campaign on a unit with a GPU"
        )
    t, power, celsius = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return t - t[0], power, celsius, float(t[0])


def temperatures(heat: Heat, t_s: Floats, power_w: Floats) -> Floats:
    """What the two lags make of a power that is known from sample to sample;
    before the first it was what it is there."""
    fast, slow = heat.fast_c_per_w * power_w[0], heat.slow_c_per_w * power_w[0]
    found = np.empty(len(t_s))
    found[0] = fast + slow
    steps = np.diff(t_s)
    for i, step in enumerate(steps):
        kept_fast, kept_slow = math.exp(-step / heat.fast_s), math.exp(-step / heat.slow_s)
        fast = fast * kept_fast + heat.fast_c_per_w * power_w[i] * (1 - kept_fast)
        slow = slow * kept_slow + heat.slow_c_per_w * power_w[i] * (1 - kept_slow)
        found[i + 1] = fast + slow
    return np.asarray(heat.ambient_c + heat.above_ambient_c + found)


def _fit(t_s: Floats, power_w: Floats, observed_c: Floats, base: Heat) -> Heat:
    """By least squares."""
    from scipy import optimize

    def made(x: Floats) -> Heat:
        rest, fast_k, fast_s, slow_k, slow_s = x
        return replace(
            base,
            ambient_c=0.0,
            daily_c=0.0,
            drift_c=0.0,
            above_ambient_c=float(rest),
            fast_c_per_w=float(np.exp(fast_k)),
            fast_s=float(np.exp(fast_s)),
            slow_c_per_w=float(np.exp(slow_k)),
            slow_s=float(np.exp(slow_s)),
        )

    def errors(x: Floats) -> Floats:
        return temperatures(made(x), t_s, power_w) - TOLD_LOW_C - observed_c

    best = None
    for fast_s, slow_s in ((1.0, 20.0), (5.0, 60.0), (30.0, 300.0)):
        start = np.array(
            [float(observed_c.min()) - 3, math.log(0.03), math.log(fast_s), math.log(0.03), math.log(slow_s)]
        )
        low = np.array([-50.0, math.log(1e-4), math.log(0.2), math.log(1e-4), math.log(2.0)])
        high = np.array([100.0, math.log(5.0), math.log(120.0), math.log(5.0), math.log(3600.0)])
        found = optimize.least_squares(errors, start, bounds=(low, high), max_nfev=60)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return made(best.x)


def _rates(campaign: Campaign, con: duckdb.DuckDBPyConnection, base: Machine) -> tuple[Machine, list[str]]:
    """Bandwidth, so that the median cell decodes as it did; the fixed part of a start,
    and where models differ enough the rate of loading."""
    rows = con.execute(
        """SELECT a.model, a.workload, coalesce(a.load_s, t.duration_s - a.steady_s - coalesce(a.warmup_s, 0)),
            a.steady_s
        FROM attempts AS a
        LEFT JOIN telemetry_summary AS t ON t.run_id = a.run_id AND t.attempt = a.attempt AND t.stage = 'run'
        WHERE a.accepted AND a.steady_s IS NOT NULL"""
    ).fetchall()
    notes: list[str] = []
    known = {model.name: model for model in campaign.models}
    speeds, starts = [], []
    for name, workload, load_s, steady_s in rows:
        model, asked = known[name], campaign.asked(name, workload)
        _, prefill_s, decode_s = nominal(model, asked, base)
        speeds.append((prefill_s + decode_s) / steady_s)
        if load_s is not None:
            starts.append((weight_bytes(model), load_s))
    if not speeds:
        return base, ["no accepted attempt: rates and start-up stay as published"]
    faster = median(speeds)
    rates = replace(
        base, bytes_per_s=base.bytes_per_s * faster, flop_per_s=base.flop_per_s * faster, step_s=base.step_s / faster
    )
    if not starts:
        notes.append("no attempt told how long it loaded: start-up stays as published")
    else:
        sizes = {size for size, _ in starts}
        if len(sizes) > 1 and max(sizes) > 2 * min(sizes):
            sizes_of, loads = (np.array(column, dtype=np.float64) for column in zip(*starts, strict=True))
            slope, fixed = np.polyfit(sizes_of, loads, 1)
            if slope > 0:
                rates = replace(rates, load_bytes_per_s=float(1 / slope), start_s=max(0.0, float(fixed)))
        else:
            fixed = median(load_s - size / base.load_bytes_per_s for size, load_s in starts)
            rates = replace(rates, start_s=max(0.0, fixed))
            notes.append("models of one size: the rate of loading stays as published, the rest is the fixed part")
    notes.append(f"{len(speeds)} accepted attempts; decoding {faster:.3g} times as fast as the forecast's machine")
    return rates, notes


def _gates(campaign: Campaign, con: duckdb.DuckDBPyConnection, t_utc_s: Floats, predicted_c: Floats) -> list[Waited]:
    """Each gate again, with the predicted temperature in the place of the sensor."""
    rows = con.execute(
        """SELECT g.run_id, g.attempt, g.environment, g.waited_s, g.rest_s, g.temperature_c,
            m.started_utc_ns / 1e9 + coalesce(m.stages.create_s, 0)
        FROM gates AS g JOIN metadata AS m ON m.run_id = g.run_id AND m.attempt = g.attempt
        WHERE g.opened ORDER BY m.started_utc_ns"""
    ).fetchall()
    found = []
    for run_id, attempt, environment, waited_s, rest_s, celsius, began_s in rows:
        gate = campaign.gate_of(environment)
        wait_s, at_c = _replayed(gate, began_s, None if rest_s is None else rest_s - waited_s, t_utc_s, predicted_c)
        found.append(Waited(run_id, attempt, waited_s, wait_s, celsius, at_c))
    return found


def _replayed(
    gate: Gate, began_s: float, rested_s: float | None, t_utc_s: Floats, predicted_c: Floats
) -> tuple[float, float]:
    """Seconds that the gate waits, and degrees at which it opens; ``rested_s`` is the rest before it."""
    now = [began_s]

    def celsius() -> float:
        return math.floor(float(np.interp(now[0], t_utc_s, predicted_c)) + TOLD_LOW_C)

    def wait(stop: Event, seconds: float) -> bool:
        now[0] += seconds
        return False

    record = gates.wait(
        gate.model_copy(update={"on_timeout": "flag"}),
        lambda: gates.Reading(t_mono_ns=round(now[0] * 1e9), gpu_temperature_c=celsius()),
        rest_since_ns=None if rested_s is None else round((began_s - rested_s) * 1e9),
        reference_gib=None,
        files=(),
        stop=Event(),
        clock=Clock(lambda: round(now[0] * 1e9), wait),
        prepare_cache=lambda mode, files, stop: ("kept", None),
    )
    return record.waited_s, float(record.temperature_c or 0.0)


def figure(found: Calibrated, path: Path) -> None:
    """Power; temperature as observed and predicted; their difference; gate waits beside each other."""
    import altair as alt
    import pandas as pd

    table = pd.DataFrame(
        {
            "s": found.t_s,
            "power_w": found.power_w,
            "observed": found.observed_c,
            "predicted": found.predicted_c,
            "error": found.predicted_c - found.observed_c,
        }
    )
    x = alt.X("s:Q", title="seconds")
    base = alt.Chart(table).properties(width=640)
    power = base.mark_line(strokeWidth=1, color="#888888").encode(x, alt.Y("power_w:Q", title="power, W"))
    both = (
        base.transform_fold(["observed", "predicted"], as_=["which", "celsius"])
        .mark_line(strokeWidth=1.2)
        .encode(
            x,
            alt.Y("celsius:Q", title="temperature, °C", scale=alt.Scale(zero=False)),
            alt.Color("which:N", title=None, scale=alt.Scale(range=["#222222", "#d95f02"])),
        )
    )
    error = base.mark_line(strokeWidth=1, color="#d95f02").encode(x, alt.Y("error:Q", title="error, °C"))
    waits = pd.DataFrame([{"observed": one.observed_s, "predicted": one.predicted_s} for one in found.gates])
    parts: list[Any] = [power.properties(height=90), both.properties(height=200), error.properties(height=90)]
    if len(waits):
        most = float(waits.max().max()) * 1.05
        scale = alt.Scale(domain=[0, most])
        dots = (
            alt.Chart(waits)
            .mark_point(size=50, color="#d95f02")
            .encode(
                alt.X("observed:Q", title="gate wait observed, s", scale=scale),
                alt.Y("predicted:Q", title="predicted, s", scale=scale),
            )
        )
        line = alt.Chart(pd.DataFrame({"a": [0, most]})).mark_line(color="#bbbbbb").encode(x="a:Q", y="a:Q")
        parts.append((line + dots).properties(width=200, height=200))
    title = f"{found.unit.name}: predicted within {found.rmse_c:.2f} °C (root mean square)"
    whole = alt.vconcat(*parts).properties(title=title)
    if path.suffix == ".png":
        whole.save(str(path), scale_factor=2)
    else:
        whole.save(str(path))
