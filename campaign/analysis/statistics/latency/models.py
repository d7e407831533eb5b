"""The latencies of every model: each arm described, and each against the base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from campaign.analysis.parallel import Work
from campaign.analysis.result import INLINE, LEFT_OUT, Result
from campaign.analysis.statistics.contrasts import by_name
from campaign.analysis.statistics.latency.against import Against, compare_arms
from campaign.analysis.statistics.latency.arm import Arm, Described, Runs, describe_arm

Latencies = dict[str, dict[str, dict[str, Runs]]]
"""Model, latency and environment to runs."""


@dataclass(frozen=True)
class OfMetric(Result):
    """One latency of a model, by arm. ``against`` is the first contrast, or that of the baseline; ``contrasts`` are all
    of them by name, where there are several."""

    arms: Annotated[dict[str, Described], INLINE]
    against: Annotated[Against, INLINE]
    contrasts: Annotated[dict[str, Against] | None, LEFT_OUT]


@dataclass(frozen=True)
class OfModel(Result):
    """The latencies of a model, the first of them also by itself."""

    model: str
    metric: str
    first: Annotated[OfMetric, INLINE]
    by_metric: dict[str, OfMetric]


def compare_latencies(latencies: Latencies, base: str, seed: int, *, two_level: bool = True) -> Work:
    """One entry (:class:`OfModel`) per model; arms against ``base``.

    ``two_level``: also the bootstrap of runs and of requests within them, by far the dearest figure here.
    """
    return Work([partial(_model, model, arms, base, seed, two_level) for model, arms in latencies.items()], list)


def _model(model: str, arms: dict[str, dict[str, Runs]], base: str, seed: int, two_level: bool) -> OfModel:
    """The entry of a model; ``arms`` holds its runs by latency column and environment."""
    by_metric = {metric: _latency(runs, model, metric, base, seed, two_level) for metric, runs in arms.items()}
    first = next(iter(by_metric))
    return OfModel(model, first, by_metric[first], by_metric)


def _latency(runs: dict[str, Runs], model: str, metric: str, base: str, seed: int, two_level: bool) -> OfMetric:
    arms = {name: Arm(found) for name, found in runs.items()}
    described = {name: describe_arm(arm) for name, arm in arms.items()}
    contrasts = {
        f"{name}_vs_{base}": compare_arms(arm, arms[base], (name, base), (model, metric, seed), two_level=two_level)
        for name, arm in arms.items()
        if name != base and arm.runs and runs.get(base)
    }
    if not contrasts:
        return OfMetric(described, Against(reason="missing_arm"), None)
    baseline = by_name(list(arms), base).baseline  # the figures beside all contrasts are of this one
    against = contrasts.get(f"{baseline}_vs_{base}") or next(iter(contrasts.values()))
    return OfMetric(described, against, contrasts if len(contrasts) > 1 else None)
