"""Everything a campaign needs, checked by trying, each finding with a remedy.

A check fails when a campaign would fail, and warns when it would run but measure something that a reviewer can doubt.
Nothing is left behind, nothing is downloaded, nothing asks a network, and an image is used only if it is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from actors import host
from actors.environments.registry import kind
from campaign.preflight.doctor import containers, disk, gpu, machine, memory, models, project, tenants
from campaign.preflight.doctor.finding import Asked, Check, Finding, Status
from campaign.preflight.doctor.gpu import low_power, under_load
from campaign.preflight.doctor.showing import show

if TYPE_CHECKING:
    from campaign.config.schema import Campaign

__all__ = ["DRIVERS", "Check", "Finding", "Status", "checks", "here", "low_power", "show", "under_load"]


def here(
    campaign: Campaign | None = None,
    without: Collection[str] = (),
    tell: Callable[[str], None] = lambda name: None,
) -> Iterator[Check]:
    """Every check but those called in ``without``, of the machine that this runs on, with the GPU that a campaign would
    choose. ``tell`` hears of each before it is made."""
    uuid = None
    if campaign is not None and campaign.gpus:
        from actors.gpu.actor import choose_gpu  # with it comes Ray

        uuid = choose_gpu(campaign.gpus).uuid
    yield from checks(host.home(), campaign, gpu_uuid=uuid, without=without, tell=tell)


DRIVERS = ("results folder", "ray")
"""Checks of the machine that the driver runs on, which no other unit needs."""


def checks(
    home: Path,
    campaign: Campaign | None = None,
    results: Path = Path("results"),
    only: Collection[str] = (),
    root: Path = Path("/"),
    gpu_uuid: str | None = None,
    without: Collection[str] = (),
    tell: Callable[[str], None] = lambda name: None,
) -> Iterator[Check]:
    """Every check, or those called ``only``, none of ``without``, as soon as it is made. With ``campaign``, against
    what that campaign needs. ``root`` stands for the machine that the sensors read; ``gpu_uuid`` is the unit's GPU,
    else the only one, else the first that nobody uses."""
    asked = Asked(home, campaign, results, root, gpu_uuid)
    for name, check in _all(asked):
        if (only and name not in only) or name in without:
            continue
        tell(name)
        try:
            yield Check(name, *check(asked))
        except Exception as error:  # a broken check is a finding, not the end of the others
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
            yield Check(name, "fail", f"{type(error).__name__}: {first}", "Mend this first, or report it as a defect.")


def _all(asked: Asked) -> Iterator[tuple[str, Callable[[Asked], Finding]]]:
    yield "python", project.python
    yield "packages", project.packages
    yield "engine", project.engine
    yield "models' access", models.access
    yield "docker", containers.engine
    yield "docker storage", containers.storage
    yield "image's CUDA", containers.cuda
    for name, engine in asked.campaign.container_engines().items() if asked.campaign else ():
        if name != "docker":
            yield name, partial(containers.other_engine, engine)
    for arm in containers.container_arms(asked):
        yield arm.name, partial(containers.trial, arm)
    yield "chroot", containers.chroot
    for arm in asked.campaign.environments if asked.campaign else ():
        if not kind(arm.kind).is_container:
            yield arm.name, partial(containers.trial, arm)
    yield "page cache", machine.drop_caches
    yield "gpu", gpu.gpu
    yield "gpu processes", gpu.processes
    yield "other tenants", tenants.tenants
    yield "temperature", gpu.temperature
    yield "idle power", gpu.idle_power
    yield "gpu settings", gpu.settings
    yield "gpu under load", gpu.load
    yield "cores", machine.cores
    yield "pressure", machine.pressure
    yield "memory", memory.memory
    yield "memory killers", memory.killers
    yield "swap", memory.swap
    yield "shared memory", memory.shared
    yield "disk", disk.disk
    yield "results folder", disk.results
    yield "other campaigns", tenants.campaigns
    yield "cpu frequency", machine.frequency
    yield "load", machine.load
    yield "clock", machine.clock
    yield "updates", machine.updates
    yield "kernel log", machine.kernel_log
    yield "ray", project.ray
