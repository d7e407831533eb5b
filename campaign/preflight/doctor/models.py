"""Models behind a licence, against the token that would fetch them. Nothing is asked of a network."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from actors.types import Model
from campaign.preflight.doctor.finding import Asked, Finding

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def access(asked: Asked) -> Finding:
    campaign = asked.campaign
    if campaign is None:
        return "ok", "no campaign named, so no models to look at", ""
    missing = [model for model in campaign.models if model.gated and not _here(model, asked.home)]
    if not missing:
        return (
            "ok",
            "every gated model is here already" if any(m.gated for m in campaign.models) else "no model is gated",
            "",
        )
    names = ", ".join(model.name for model in missing)
    where, token = _token(os.environ)
    if token is None:
        pages = "\n".join(f"https://huggingface.co/{model.huggingface_id} ({model.licence})" for model in missing)
        remedy = (
            "Accept each licence with your account, make a token that may read (huggingface.co/settings/tokens), then "
            "`export HF_TOKEN=…` or `hf auth login`; sudo drops the variable unless told to keep it (`sudo "
            "--preserve-env=HF_TOKEN`).\n"
        )
        return "fail", f"{names}: gated, and no Hugging Face token is here ({where})", remedy + pages
    if (
        not token.startswith("hf_")
        or len(token) < 20
        or not token.isascii()
        or any(letter.isspace() for letter in token)
    ):
        return (
            "warn",
            f"{names}: gated, and {where} holds no token as Hugging Face makes them (hf_…)",
            "Set the whole token, without quotes.",
        )
    return (
        "ok",
        f"{names}: gated, token from {where}; whether its account accepted the licences only the download shows",
        "",
    )


def _here(model: Model, home: Path) -> bool:
    from actors.engines import EngineError
    from actors.engines.common import weights

    try:
        weights.locate(model, home)
    except EngineError:
        return False
    return True


def _token(variables: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the token is, and the token; or where it was looked for, and None.
    Under sudo the person's own file counts too."""
    for name in VARIABLES:
        if name in variables:
            return name, variables[name].strip()
    looked = _files(variables)
    for file in looked:
        try:
            if told := file.read_text(errors="replace").strip():
                return str(file), told
        except OSError:
            continue
    return f"looked in {', '.join([*VARIABLES, *map(str, looked)])}", None


def _files(variables: Mapping[str, str]) -> list[Path]:
    if told := variables.get("HF_TOKEN_PATH"):
        return [Path(told)]
    if told := variables.get("HF_HOME"):
        return [Path(told) / "token"]
    homes = [Path(variables.get("XDG_CACHE_HOME") or Path.home() / ".cache")]
    if person := variables.get("SUDO_USER"):
        with contextlib.suppress(KeyError):
            homes.append(Path(pwd.getpwnam(person).pw_dir) / ".cache")
    return [folder / "huggingface/token" for folder in homes]
