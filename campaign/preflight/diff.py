"""What `campaign diff` finds out by asking both arms, where the campaign's image is here: what their entry point exports."""

from __future__ import annotations

from actors import host
from actors.environments import EnvironmentError_, alike
from actors.environments.docker import daemon
from actors.environments.registry import arm
from actors.environments.resolve import Row
from actors.types import Environment
from campaign.config.load import Campaign


def seen(campaign: Campaign, a: Environment, b: Environment) -> tuple[list[Row], str]:
    """Rows (aspect, in a, in b) of what differs inside, and a line that says whether and how the arms were asked."""
    from campaign.preflight.doctor.containers import image_here

    if "native-host" in (a.kind, b.kind):
        return [], "Variables as set; a native-host arm has no image whose entry point could set more."
    home = host.home()
    try:
        image = image_here(home, campaign)
    except daemon.EngineMissing:
        return [], "Variables as set; no Docker engine answers that could show what the image's entry point exports."
    missing = "not here yet" if image is None else "not exported yet" if image.rootfs is None else ""
    if image is None or (missing and "native-chroot" in (a.kind, b.kind)):
        return (
            [],
            f"Variables as set; the image is {missing}: `campaign prepare`, then this shows what its entry point exports.",
        )
    try:
        rows = alike.difference(arm(a, home), arm(b, home), image)
    except EnvironmentError_ as error:
        return [], f"Variables as set; the arms could not be asked for what their entry point exports: {error}"
    what = f"{len(rows)} of what an engine sees inside differ" if rows else "what an engine sees inside does not differ"
    return rows, f"Both arms were asked, through the entry point of {image.reference}: {what}."
