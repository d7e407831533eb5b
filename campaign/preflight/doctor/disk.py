"""Disk: room for everything, counted where it will lie, and a results folder that keeps its promises."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from actors import host
from actors.engines.registry import engine as engine_of
from actors.types import Model
from campaign.config.schema import Campaign
from campaign.preflight.doctor.finding import Asked, Finding

IMAGE_BYTES = 40 * 10**9
"""An engine's image from a registry, unpacked, while it is not here: those of NVIDIA for GB10 have 25 to 37 GB."""
LOCAL_IMAGE_BYTES = 2**30
CACHE_BYTES = 4 * 2**30
"""Compiled kernels of one model (Triton, torch, FlashInfer), and the copy of them that an attempt gets."""
SPARE_BYTES = 2 * 2**30


def disk(asked: Asked) -> Finding:
    from campaign.plan.forecast import size

    places: dict[int, tuple[Path, dict[str, int]]] = {}
    for what, (folder, count) in _wanted(asked).items():
        places.setdefault(folder.stat().st_dev, (folder, {}))[1][what] = count
    short: list[str] = []
    roomy: list[str] = []
    for folder, parts in places.values():
        free, needed = shutil.disk_usage(folder).free, sum(parts.values())
        words = ", ".join(f"{what} {size(count)}" for what, count in parts.items() if count)
        said = f"{folder} has {size(free)} free, {size(needed)} wanted ({words})"
        (short if free < needed else roomy).append(said)
    if short:
        remedy = (
            "Free space (`docker system df` and `docker image prune` show and free what Docker holds), or move it: "
            "--results for results, CAMPAIGN_HOME for weights and exports, "
            "data-root in /etc/docker/daemon.json for images."
        )
        return "fail", "; ".join(short), remedy
    return "ok", "; ".join(roomy), ""


def _wanted(asked: Asked) -> dict[str, tuple[Path, int]]:
    """What will be written, where, in bytes; what is there already needs no room."""
    from campaign.plan.design import plan
    from campaign.plan.forecast import forecast

    home, results = host.existing(asked.home), host.existing(asked.results)
    campaign = asked.campaign
    if campaign is None:
        return {"results": (results, SPARE_BYTES), "home": (home, SPARE_BYTES)}
    docker, pulled, exported = _images(asked)
    compiled = (
        CACHE_BYTES * len(campaign.models) * len(campaign.arms.variants())
        if engine_of(campaign.engine).cache_variables
        else 0
    )
    return {
        "results": (results, forecast(campaign, plan(campaign)).disk_bytes + SPARE_BYTES // 2),
        "image": (docker or home, pulled),
        "export": (home, exported),
        "weights": (home, sum(_weights(model, campaign, asked.home) for model in campaign.models)),
        "compile caches": (home, compiled),
    }


def _images(asked: Asked) -> tuple[Path | None, int, int]:
    """The folder that Docker keeps images in, as near to it as this user sees; bytes of the images that are still to
    come there, and of those that are still to be exported."""
    from actors.environments import EngineMissing
    from campaign.preflight.doctor.containers import image_here

    campaign = asked.campaign
    assert campaign is not None
    place: Path | None = None
    pulled = exported = 0
    for key, image in campaign.arms.images().items():
        engine = campaign.arms.engine_of_image(key)
        here, whole = None, LOCAL_IMAGE_BYTES if image.source == "local" else IMAGE_BYTES
        try:
            client = engine.connect(asked.home)
            place = _visible(Path(str(client.info().get("DockerRootDir") or "/")))
            here = image_here(asked.home, image, engine)
            if here is not None:
                whole = int(client.images.get(here.digest).attrs.get("Size") or 0)
        except EngineMissing:
            pass  # nothing is here then
        pulled += whole if here is None else 0
        exported += whole if key in campaign.arms.exported() and (here is None or here.rootfs is None) else 0
    return place, pulled, exported


def _visible(folder: Path) -> Path:
    for one in (folder, *folder.parents):
        try:
            if one.is_dir():
                return one
        except PermissionError:
            continue
    return Path("/")


def _weights(model: Model, campaign: Campaign, home: Path) -> int:
    """What is still to be fetched or made; an engine that is built from a checkpoint takes its size once more."""
    from actors.engines.common import weights
    from campaign.plan.forecast import weight_bytes

    if model.path:
        return 0
    copies = 2 if engine_of(campaign.engine).built(model, home) is not None else 1
    folder = weights.place(model, home)
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return max(0, copies * int(weight_bytes(model)) - there)


def results(asked: Asked) -> Finding:
    """Written, synced, renamed and synced again, as the store does for each attempt."""
    folder = host.existing(asked.results)
    try:
        with tempfile.TemporaryDirectory(prefix=".campaign-doctor-", dir=folder) as trial:
            replaced = _write_as_the_store_does(Path(trial))
    except OSError as error:
        return "fail", f"{folder}: {error.strerror}", "Choose another folder with --results, or mend its rights."
    if not replaced:
        return "fail", f"{folder}: a rename does not replace", "Use a local file system for the results."
    return "ok", f"{folder} takes writes, syncs and renames", ""


def _write_as_the_store_does(folder: Path) -> bool:
    first, second = folder / "a", folder / "b"
    with first.open("wb") as file:
        file.write(b"evidence")
        file.flush()
        os.fsync(file.fileno())
    second.write_bytes(b"older")
    first.replace(second)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return second.read_bytes() == b"evidence"
