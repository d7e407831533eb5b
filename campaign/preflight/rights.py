"""What a campaign asks of the user who runs it, said before anything is fetched or started.

An ordinary user may run a container, being in the ``docker`` group, and little else that a comparison needs. What the
user cannot do is refused here, with the way that works, and not after 37 GB of image or in the middle of a block.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
from collections.abc import Iterator
from pathlib import Path

from actors import account
from actors.engines import EngineError
from actors.engines.common import weights
from actors.environments import EnvironmentError_
from actors.environments.registry import kind
from actors.types import Model
from campaign.config.schema import Campaign


class NotPermitted(EnvironmentError_):
    """This user cannot run this campaign. The message says what takes root, and the command that works."""


class NoToken(EngineError):
    """Weights that are given to registered users only, and nothing to register with."""


def require(campaign: Campaign, command: str) -> None:
    """Raises NotPermitted where the campaign takes root and the user is not. ``command`` is what to give with sudo."""
    if os.geteuid() == 0 or not (needed := list(takes_root(campaign))):
        return
    lines = "\n".join(f"  {line}" for line in needed)
    docker = (
        "\nBeing in the docker group does not change that: it gives access to Docker, and these need root themselves."
        if _in_docker_group()
        else ""
    )
    raise NotPermitted(
        f"'{campaign.name}' takes root, and this is {_who()}. Nothing was fetched or started.\n{lines}{docker}\n"
        f"Give it with sudo; results and everything else in the checkout stay yours:\n  {command}"
    )


def takes_root(campaign: Campaign) -> Iterator[str]:
    """What of it does, a line each, whoever asks."""
    by_reason: dict[str, list[str]] = {}
    for arm in campaign.environments:
        for line in kind(arm.kind).takes_root(arm):
            by_reason.setdefault(line.removeprefix(f"{arm.name}: "), []).append(arm.name)
    yield from (f"{', '.join(arms)}: {reason}" for reason, arms in by_reason.items())
    dropping = [arm.name for arm in campaign.environments if campaign.gate_of(arm.name).cache == "drop"]
    if dropping:
        before = (
            "every attempt" if len(dropping) == len(campaign.environments) else f"attempts of {', '.join(dropping)}"
        )
        yield f"cache: drop: emptying the page cache before {before}; `cache: keep` leaves it as it is"


def _who() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user number {os.geteuid()}"


def _in_docker_group() -> bool:
    try:
        return grp.getgrnam("docker").gr_gid in (*os.getgroups(), os.getegid())
    except KeyError:
        return False


def with_sudo(verb: str, config: Path | None) -> str:
    """The command for a person at this checkout."""
    named = shlex.quote(str(config)) if config else ""
    if verb == "run":
        return f"sudo make campaign{f' CONFIG={named}' if named else ''}"
    return f"sudo .venv/bin/campaign {verb}{f' {named}' if named else ''}"


# --- gated weights -----------------------------------------------------------------------------------------------


def require_token(models: list[Model], home: Path) -> None:
    """Raises NoToken for gated models that are still to be fetched while no token is to be found."""
    lacking = [model for model in models if model.gated and not _there(model, home)]
    if not lacking or account.token() is not None:
        return
    lines = "\n".join(
        f"  {model.name}: accept its licence ({model.licence or 'see there'}) at "
        f"https://huggingface.co/{model.huggingface_id}"
        for model in lacking
    )
    places = ", ".join(map(str, account.token_files()))
    raise NoToken(
        "weights that are given to registered users only, and no token of Hugging Face:\n"
        f"{lines}\n"
        "Then make a token that reads (https://huggingface.co/settings/tokens) and keep it, as yourself, "
        "without sudo:\n"
        "  .venv/bin/hf auth login\n"
        "or hand it on for once: sudo --preserve-env=HF_TOKEN …\n"
        f"Looked for: HF_TOKEN, {places}. Nothing was fetched."
    )


def _there(model: Model, home: Path) -> bool:
    try:
        weights.locate(model, home)
    except EngineError:
        return False
    return True
