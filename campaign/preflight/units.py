"""Preflight where the units are: what runs here for this machine, run as a Ray task on every unit of a cluster.

Each unit answers with its own code, its own home and its own rights, an answer as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from campaign import cluster
from campaign.errors import CampaignError

T = TypeVar("T")


def joined(address: str) -> Iterator[cluster.Unit]:
    """The units of the cluster at ``address``, which is left when the last was seen.
    Raises ClusterError where there is none."""
    cluster.start(address)
    try:
        units = cluster.units()
        if not units:
            raise cluster.ClusterError(
                f"no unit answers in the cluster at {address}: start one with `ray start --num-gpus=1`"
            )
        yield from units
    finally:
        cluster.stop()


def answers(unit: cluster.Unit, work: Callable[..., Iterable[T]], *arguments: Any) -> Iterator[T]:
    """What ``work(*arguments)`` gives on the unit, one after the other. Raises UnitFailed, with the unit's name and the
    exit code of what was raised there."""
    import ray

    task = ray.remote(_each).options(
        num_cpus=0, num_returns="streaming", max_retries=0, scheduling_strategy=cluster.on(unit)
    )
    try:
        for reference in task.remote(work, *arguments):
            yield ray.get(reference)
    except ray.exceptions.RayTaskError as problem:
        cause = problem.cause
        if not isinstance(cause, CampaignError):
            raise UnitFailed(f"{unit.name}: {type(cause).__name__}: {cause}") from problem
        failed = UnitFailed(f"{unit.name}: {cause}")
        failed.exit_code = cause.exit_code
        raise failed from None
    except ray.exceptions.RayError as problem:
        raise UnitFailed(f"{unit.name} is gone: {str(problem).splitlines()[0]}") from None


def _each(work: Callable[..., Iterable[T]], *arguments: Any) -> Iterator[T]:
    for one in work(*arguments):  # noqa: UP028 - Ray calls `send`, which the iterator of a list has not
        yield one


class UnitFailed(CampaignError):
    """A unit could not answer. The message is for the person."""
