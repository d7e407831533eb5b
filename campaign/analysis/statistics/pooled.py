"""The runs of several units as one sample of each arm."""

from __future__ import annotations

import numpy as np

from campaign.analysis.statistics.sets import PROTOCOL, Sample, select
from campaign.analysis.statistics.table import Cell


def pooled_units(cells: list[Cell], metric: str) -> dict[str, dict[str, Sample]]:
    """Model to environment to protocol sample; blocks of different units are told apart by numbering on."""
    out: dict[str, dict[str, Sample]] = {}
    offset: dict[str, int] = {}
    for cell in cells:
        arms = out.setdefault(cell.model, {})
        start = offset.get(cell.model, 0)
        last = start
        for name, attempts in cell.arms.items():
            sample = select(attempts, metric, PROTOCOL)
            if len(sample) == 0:
                continue
            last = max(last, start + int(sample.repetition.max()))
            moved = Sample(sample.run_ids, sample.repetition + start, sample.value, sample.order, sample.temperature)
            arms[name] = _joined(arms[name], moved) if name in arms else moved
        offset[cell.model] = last
    return out


def _joined(a: Sample, b: Sample) -> Sample:
    return Sample(
        a.run_ids + b.run_ids,
        np.concatenate([a.repetition, b.repetition]),
        np.concatenate([a.value, b.value]),
        np.concatenate([a.order, b.order]),
        np.concatenate([a.temperature, b.temperature]),
    )
