"""A run table put through a sequential design: what each look saw and decided,
in the order in which the looks became due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from campaign.analysis.statistics.contrasts import plan_contrasts
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.sequential.concluded import comparison, whole
from campaign.analysis.statistics.sequential.conduct import Conduct, Key
from campaign.analysis.statistics.sequential.design import Design, design_of
from campaign.analysis.statistics.sequential.look import Shown, show
from campaign.analysis.statistics.sets import PROTOCOL, Attempts, Sample, select
from campaign.analysis.statistics.table import Cell, TableError, check_runs, reference_arm


def sequential(table: pd.DataFrame, settings: Mapping[str, Any], reference: str | None = None) -> dict[str, Any]:
    """Carry a design through on a run table (columns: ``check_runs``, and ``campaign_index``, the place of every row in
    time; without it the rows are in order).

    ``settings`` are those of the design and ``metrics``, the primary ones (default: all of the table). A block is
    complete or given up once every arm has a row of it, or the model has a row of a later block. Raises ``TableError``.
    """
    try:
        design = design_of(settings)
    except ValueError as problem:
        raise TableError(f"the sequential design: {problem}") from None
    metrics: Iterable[str] | None = settings.get("metrics")
    frame = table.rename(columns=lambda name: str(name).strip())
    runs = check_runs(frame.drop(columns="campaign_index", errors="ignore"))
    chosen = list(metrics) if metrics is not None else runs.metrics
    if unknown := [name for name in chosen if name not in runs.metrics]:
        raise TableError(f"the table has no metric {unknown[0]!r}; its metrics are {', '.join(runs.metrics)}")
    cells = runs.cells
    if len({(cell.phase, cell.unit) for cell in cells}) > 1:
        raise TableError("a sequential design is carried out in one phase on one unit; the table holds several")
    ((phase, arms),) = runs.environments.items()
    contrasts = [c for c in plan_contrasts(phase, arms, reference_arm(arms, reference)) if c.kind != "screen"]
    keys = {
        Key(cell.model, x, f"{c.treatment}_vs_{c.reference}" if len(contrasts) > 1 else ""): c
        for cell in cells
        for c in contrasts
        for x in chosen
    }
    if len(keys) > design.m:
        raise TableError(
            f"m_planned is {design.m}, but the table holds {len(keys)} comparisons; state the planned number"
        )
    conduct = Conduct(design, list(keys))
    when = _order_of_looks(frame, cells, design)
    by_model = {cell.model: cell for cell in cells}
    for model, look in when:
        if model not in conduct.stops:
            cell, last = by_model[model], design.looks[look - 1]
            conduct.take(
                model,
                {
                    key: of_blocks(cell.arms.get(c.treatment), cell.arms.get(c.reference), key.metric, last, design)
                    for key, c in keys.items()
                    if key.model == model
                },
            )
    return whole(conduct) | {
        "comparisons": [
            {"model": key.model, "metric": key.metric, "reference": c.reference, "treatment": c.treatment,
             "sequential": comparison(conduct, conduct.courses[key])}
            for key, c in keys.items()
        ]
    }  # fmt: skip


def up_to_the_stop(table: pd.DataFrame, looked: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that the last looks of :func:`sequential` used."""
    used = pd.Series(_models(table)).map(looked["blocks_used"]).to_numpy()
    return table[table["repetition"].to_numpy() <= used].reset_index(drop=True)


def of_blocks(treatment: Attempts | None, reference: Attempts | None, metric: str, last: int, design: Design) -> Shown:
    """The statistics of blocks 1 to ``last`` in the headline set of attempts."""
    t, r = (_up_to(arm, metric, last) for arm in (treatment, reference))
    absent = None
    if not len(t[1]) or not len(r[1]):
        absent = "missing_arm" if len(t[1]) or len(r[1]) else "no_data"
    both, at_t, at_r = np.intersect1d(t[0], r[0], return_indices=True)
    times = np.minimum(t[2][at_t], r[2][at_r])
    in_time = None if np.isnan(times).any() else times
    return show(t[1][at_t], r[1][at_r], design, in_time if len(both) else None, absent)


def _up_to(arm: Attempts | None, metric: str, last: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Block numbers, values and places in time."""
    if arm is None:
        return np.empty(0), np.empty(0), np.empty(0)
    sample: Sample = select(arm, metric, PROTOCOL)
    kept = sample.repetition <= last
    return sample.repetition[kept].astype(float), sample.value[kept], sample.order[kept]


def _order_of_looks(frame: pd.DataFrame, cells: list[Cell], design: Design) -> list[tuple[str, int]]:
    """Model and look, as they became due: by the last row of the blocks up to a look, in the campaign's order."""
    block = "repetition" if "repetition" in frame else "block"
    if "campaign_index" in frame:
        place = pd.to_numeric(frame["campaign_index"], errors="coerce").to_numpy(dtype=float)
    else:
        place = np.arange(len(frame), dtype=float)
    if np.isnan(place).any():
        raise TableError("column 'campaign_index' must hold the place in time of every row")
    names = _models(frame)
    number = pd.to_numeric(frame[block]).to_numpy()
    found: list[tuple[float, int, str, int]] = []
    for i, cell in enumerate(cells):
        mine = names == cell.model
        done = done_blocks({arm: its.repetition for arm, its in cell.arms.items()})
        for look, last in enumerate(design.looks, 1):
            rows = mine & (number <= last)
            if done >= last and rows.any():
                found.append((float(place[rows].max()), i, cell.model, look))
    return [(model, look) for _, _, model, look in sorted(found)]


def _models(frame: pd.DataFrame) -> Any:
    """Names of the models as ``check_runs`` makes them: with the workload where there are several."""
    names = frame["model"].astype(str)
    if "workload" in frame and frame["workload"].nunique() > 1:
        names = names + "/" + frame["workload"].astype(str)
    return names.to_numpy()


def done_blocks(repetitions: Mapping[str, Any]) -> int:
    """How many first blocks are complete or given up, from the block numbers of every arm's rows."""
    latest = max((int(max(its)) for its in repetitions.values() if len(its)), default=0)
    whole = all(len(its) and int(max(its)) >= latest for its in repetitions.values())
    return latest if whole else latest - 1
