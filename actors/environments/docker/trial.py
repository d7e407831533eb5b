"""Which options of a container this host refuses, found out by starting one that does nothing with them."""

from __future__ import annotations

from pathlib import Path

import docker

from actors.environments import ContainerEngine, EngineMissing, nothing, refusals
from actors.environments.docker.once import no_such_program, run_once
from actors.environments.docker.options import Options, merge, options
from actors.types import Environment, ImageIdentity


def refused(
    engine: ContainerEngine, spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None
) -> dict[str, str]:
    """See :class:`actors.environments.Kind`."""
    if image is None:
        return {"environment": f"an arm in containers of {engine.title} needs an image"}
    try:
        client = engine.connect(home)
    except EngineMissing as error:
        return {"environment": str(error)}
    every = options(spec, gpu_uuid)
    whole = _try(client, image, every, home)
    if whole is None:
        return {}
    # A plain container first, without a network, which is an option too: if that fails, no option is to blame.
    plain: Options = {"network": {"network_mode": "none"}}
    if (why := _try(client, image, plain, home)) is not None:
        return {"environment": why}
    # Without the key the container gets Docker's default network, which can be broken as well.
    alone = {key: plain | {key: every[key]} for key in every}
    alone["network"] = {"network": every.get("network", {})}
    answers = {key: _try(client, image, chosen, home) for key, chosen in alone.items()}
    return {key: why for key, why in answers.items() if why is not None} or {"combination": whole}


def _try(client: docker.DockerClient, image: ImageIdentity, chosen: Options, home: Path) -> str | None:
    """None if a container with these options runs what its entry point is given, else why not. An image without any
    program to run still shows that the options are granted: the Docker engine looks for the program last."""
    why: str | None = None
    expected, programs = nothing.nothings(image)
    for program in programs:
        ended = run_once(client, image.digest, home, command=list(program), **merge(chosen))
        if isinstance(ended, str):
            if not no_such_program(ended) or image.entrypoint:
                return refusals.told(ended, image.reference)
            continue
        if ended.code == expected:
            return None
        why = nothing.ended(image, program, ended.code, ended.stderr or ended.stdout)
        if ended.code not in nothing.NOT_FOUND:
            return why
    return why
