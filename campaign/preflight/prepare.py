"""Everything a campaign needs, put in place before it runs: image, root filesystem, weights, built engines, prompts,
each with its digest. What cannot be had says exactly how to get it.

``campaign run`` measures and does nothing else: it refuses a campaign of which something that takes a network or an
hour is missing (:func:`require`). What a run makes by itself within seconds, such as random weights, it still makes.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from actors import account, host
from actors.engines import OUTPUT, EngineError
from actors.engines.common import weights
from actors.engines.registry import engine as engine_of
from actors.environments import EngineMissing, EnvironmentError_, software
from actors.environments.docker import image, rootfs
from actors.environments.registry import arm, kind
from actors.files.publish import publish
from actors.gpu import placing
from actors.types import Environment, ImageIdentity, Launch, Model, Mount, Prepared, Workload
from campaign.config.schema import Campaign
from campaign.preflight import rights

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]
BUILD_S = 4 * 3600.0


class NotPrepared(EngineError):
    """The campaign cannot run before `campaign prepare`."""

    def __init__(self, missing: list[str], address: str | None = None) -> None:
        self.missing = missing
        lines = "\n".join(f"  {line}" for line in missing)
        sudo = "sudo .venv/bin/" if account.person() else ""
        where = "" if address is None else f" --address {address}"
        super().__init__(
            f"not prepared:\n{lines}\n`{sudo}campaign prepare CONFIG{where}` puts it in place, or says how."
        )


@dataclass(frozen=True)
class Step:
    """One thing that was to be put in place."""

    what: str
    status: Literal["ready", "missing"]
    found: str
    remedy: str = ""
    digest: str = ""


def here(campaign: Campaign, fetch: bool = True, say: Say = lambda _: None) -> Iterator[Step]:
    """:func:`prepare` on the machine that this runs on. Without ``fetch`` nothing is downloaded: no weights, no image,
    no packages for a Docker engine."""
    if fetch:
        for engine in campaign.container_engines().values():
            engine.ensure(host.home(), say)
    yield from prepare(campaign, host.home(), fetch, say, fetch)


def here_and_said(campaign: Campaign, fetch: bool = True) -> Iterator[Step | str]:
    """:func:`here`, with what is said between the steps as lines, each when it is said:
    for who asks from another machine."""
    told: queue.SimpleQueue[Step | str | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for step in here(campaign, fetch, told.put):
                told.put(step)
            told.put(None)
        except BaseException as problem:
            told.put(problem)

    threading.Thread(target=work, daemon=True).start()
    while (one := told.get()) is not None:
        if isinstance(one, BaseException):
            raise one
        yield one


def prepare(
    campaign: Campaign, home: Path, fetch: bool = True, say: Say = lambda _: None, pull: bool = True
) -> Iterator[Step]:
    """Put everything in place, each step as soon as it is done, and keep the record. Without ``fetch`` weights that are
    missing are only said, without ``pull`` an image. Raises NoToken where gated weights are to be fetched and there is
    nothing to show for them: before anything else is fetched."""
    if fetch:
        rights.require_token([model for model in campaign.models if _reads_checkpoint(campaign, model)], home)
    steps: list[Step] = []

    def told(step: Step) -> Step:
        steps.append(step)
        return step

    here: dict[str, ImageIdentity] = {}
    for placed in placing.place_images(campaign.arms, home, say, pull):
        yield told(_image_step(campaign, placed, home))
        if placed.identity is not None:
            here[placed.key] = placed.identity
    for model in campaign.models:
        workloads = [campaign.asked(model.name, workload.name) for workload in campaign.workloads]
        for step in _model(campaign, model, workloads, here, home, fetch, say):
            yield told(step)
    _record(campaign, home, steps)


def _image_step(campaign: Campaign, placed: placing.PlacedImage, home: Path) -> Step:
    wanted = campaign.arms.images()
    named = "" if len(wanted) == 1 else software.name_of(wanted[placed.key])
    of = " of " if placed.what == "root filesystem" else " "
    what = f"{placed.what}{of}{named}" if named else placed.what
    identity = placed.identity
    if identity is None:
        assert placed.error is not None
        return Step(what, "missing", *_split(placed.error))
    if placed.what == "root filesystem":
        return Step(what, "ready", str(identity.rootfs), digest=_manifest_digest(identity, home))
    name = identity.repo_digest or identity.content_digest or identity.digest
    return Step(what, "ready", f"{identity.reference} is {name}", digest=identity.digest)


def _model(
    campaign: Campaign,
    model: Model,
    workloads: list[Workload],
    here: dict[str, ImageIdentity],
    home: Path,
    fetch: bool,
    say: Say,
) -> Iterator[Step]:
    program, own = engine_of(campaign.engine), f"weights of {model.name}"
    if _reads_checkpoint(campaign, model):
        try:
            folder = _weights(model, home, fetch, say)
        except weights.NoWeights as error:
            yield Step(own, "missing", f"no checkpoint in {error.folder}", error.remedy)
            return
        except EngineError as error:
            yield Step(own, "missing", *_split(error))
            return
        said = f"{folder}, {weights.inspect(folder).architecture}"
        yield Step(own, "ready", said, digest=weights.digest(folder, home))
    if (built := program.built(model, home)) is not None:
        try:
            if not built.is_dir():
                _build(campaign, model, workloads, here, home, say)
            yield Step(f"engine of {model.name}", "ready", str(built), digest=weights.digest(built, home))
        except (EngineError, EnvironmentError_) as error:
            yield Step(f"engine of {model.name}", "missing", *_split(error))
            return
    for placed in placing.place_inputs(campaign.arms, [(model, workload) for workload in workloads], home):
        what = f"{model.name} for {placed.workload.name}" + (f" in {placed.arm.name}" if placed.variant else "")
        if placed.prepared is None:
            assert placed.error is not None
            yield Step(what, "missing", *_split(placed.error))
            continue
        roles = ", ".join(sorted(placed.prepared.files)) or "nothing to keep"
        yield Step(what, "ready", roles, digest=placed.prepared.digests.get("dataset", ""))


def _reads_checkpoint(campaign: Campaign, model: Model) -> bool:
    """Whether its weights are published ones, not drawn from a seed here or in the engine."""
    return engine_of(campaign.engine).reads_checkpoint(model)


def _weights(model: Model, home: Path, fetch: bool, say: Say) -> Path:
    """The checkpoint, held against its entry. Raises EngineError."""
    try:
        folder = weights.locate(model, home)
    except weights.NoWeights:
        client = shutil.which("hf", path=account.search_path())
        if not fetch or client is None or model.path:
            raise
        target = weights.place(model, home)
        command = [client, *weights.download_command(model, target)[1:]]
        say(f"Fetching {model.huggingface_id} to {target}")
        target.mkdir(parents=True, exist_ok=True)
        if who := account.person():  # fetched as the person, with their token: nothing of root's is needed for it
            os.chown(target, who.uid, who.gid)
        try:
            ended = account.run_as_person(command)
        except OSError as problem:
            raise EngineError(
                f"model '{model.name}': {client} cannot be started: {problem.strerror}\nBy hand: {shlex.join(command)}"
            ) from None
        if ended.returncode != 0:
            why = ended.stderr.strip().splitlines()[-1:] or [f"it ended with {ended.returncode}"]
            raise EngineError(
                f"model '{model.name}': the download did not end well: {why[0][-300:]}\nThe same command goes on "
                f"where it stopped: {shlex.join(command)}"
            ) from None
        folder = weights.locate(model, home)
    weights.agree(model, weights.inspect(folder))
    return folder


def _build(
    campaign: Campaign,
    model: Model,
    workloads: list[Workload],
    here: dict[str, ImageIdentity],
    home: Path,
    say: Say,
) -> None:
    """Build what the engine wants built, inside the first arm that can, for the longest of the workloads."""
    program = engine_of(campaign.engine)
    built = program.built(model, home)
    assert built is not None
    spec = next(arm for arm in campaign.environments if kind(arm.kind).needs_image)
    identity = here.get(campaign.image_key(spec.name))
    if identity is None:
        raise EngineError("it is built inside the image, which is missing\nPut the image in place first.")
    longest = max(workloads, key=lambda workload: workload.input_tokens + workload.output_tokens)
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=built.parent) as folder:
        output = Path(folder, "output")
        output.mkdir()
        output.chmod(0o777)
        launch = program.build(model, longest, Prepared(files={"weights": str(weights.locate(model, home))}))
        mounts = (*launch.mounts, Mount(source=str(output), target=OUTPUT, read_only=False))
        say(f"Building the engine of {model.name} in {spec.name}")
        _carry_out(spec, launch.model_copy(update={"mounts": mounts}), Path(folder), identity, home, model.name)
        found = program.find_built(output)
        if found is None:
            raise EngineError(f"the build of {model.name} ended well and left nothing that could be used")
        found.rename(built)


def _carry_out(spec: Environment, launch: Launch, folder: Path, identity: ImageIdentity, home: Path, name: str) -> None:
    labels = {"campaign": "prepare", "run": name, "attempt": "0"}
    process = arm(spec, home).create(launch, labels, folder, identity)
    try:
        process.start()
        ended = process.wait(BUILD_S)
        if ended is None:
            process.stop()
    finally:
        process.close()
    if ended is None or ended.code != 0:
        code = f"does not end within {BUILD_S / 3600:g} h" if ended is None else f"ends with {ended.code}"
        said = (folder / "stderr.log").read_text(errors="replace").strip()[-500:]
        raise EngineError(f"`{shlex.join(launch.argv)}` {code}: {said}")


def _manifest_digest(identity: ImageIdentity, home: Path) -> str:
    return weights.file_digest(rootfs.manifest_file(rootfs.rootfs_folder(identity.digest, home)))


def _split(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do, which an error's message says on the lines after the first."""
    first, _, rest = str(error).partition("\n")
    return first, rest


def record_file(campaign: Campaign, home: Path) -> Path:
    return home / "prepared" / f"{campaign.name}-{campaign.config_hash[:12]}.json"


def _record(campaign: Campaign, home: Path, steps: list[Step]) -> None:
    file = record_file(campaign, home)
    file.parent.mkdir(parents=True, exist_ok=True)
    what = {
        "campaign": campaign.name,
        "config_hash": campaign.config_hash,
        "t_utc_ns": time.time_ns(),
        "steps": [asdict(step) for step in steps],
    }
    with publish(file) as partial:
        partial.write_text(json.dumps(what, indent=1) + "\n")


# --- what a run asks ----------------------------------------------------------------------------------------------


def missing(campaign: Campaign, home: Path) -> list[str]:
    """What a run would need and does not make by itself: weights, built engines, an image from a registry and its
    exported root filesystem. Looks, and touches nothing."""
    found = []
    for model in campaign.models:
        if _reads_checkpoint(campaign, model):
            try:
                weights.locate(model, home)
            except EngineError:
                found.append(f"weights of {model.name} in {weights.place(model, home)}")
        built = engine_of(campaign.engine).built(model, home)
        if built is not None and not built.is_dir():
            found.append(f"engine of {model.name} in {built}")
    return found + _missing_images(campaign, home)


def _missing_images(campaign: Campaign, home: Path) -> list[str]:
    arms = campaign.arms
    exported = arms.exported()
    found = []
    for key, one in arms.images().items():
        if one.source != "registry" or one.reference is None:
            continue
        try:
            present = image.present(arms.engine_of_image(key).connect(home), one.reference)
        except EngineMissing:
            return []  # the run itself says what to do about that
        if present is None:
            found.append(f"image {one.reference}")
            continue
        folder = rootfs.rootfs_folder(present.id, home)
        if key in exported and not (folder.is_dir() and rootfs.manifest_file(folder).is_file()):
            found.append(f"root filesystem of {one.reference} in {folder}")
    return found


def missing_here(campaign: Campaign) -> list[str]:
    """:func:`missing` on the machine that this runs on."""
    return missing(campaign, host.home())


def require(campaign: Campaign, home: Path) -> None:
    """Raises NotPrepared where :func:`missing` finds anything."""
    if found := missing(campaign, home):
        raise NotPrepared(found)


def show(out: Console, steps: Iterable[Step | str]) -> int:
    """Prints each step as it is done, and each line that is said; returns how many are missing."""
    from rich.table import Table
    from rich.text import Text

    lacking = 0
    for step in steps:
        if isinstance(step, str):
            out.print(step, markup=False)
            continue
        lacking += step.status == "missing"
        row = Table.grid(padding=(0, 2))
        row.add_column(width=7)
        row.add_column(width=28, overflow="fold")
        row.add_column(overflow="fold")
        row.add_row(Text(step.status, "green" if step.status == "ready" else "bold red"), step.what, Text(step.found))
        if step.digest:
            row.add_row("", "", Text(step.digest, "dim"))
        out.print(row)
        for line in step.remedy.splitlines():  # not folded: commands are there to be pasted
            out.print(Text(f"         -> {line}", "dim"), soft_wrap=True)
    out.print(f"\n{lacking} missing" if lacking else "\neverything is in place")
    return lacking
