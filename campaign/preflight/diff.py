"""What `campaign diff` finds out by asking both arms, where their images are here: what their entry point exports."""

from __future__ import annotations

from actors import host, software
from actors.environments import EnvironmentError_, alike
from actors.environments.docker import daemon
from actors.environments.registry import arm
from actors.environments.resolve import Row
from actors.types import Environment
from campaign.config.loading import Campaign


def seen(campaign: Campaign, a: Environment, b: Environment) -> tuple[list[Row], str]:
    """Rows (aspect, in a, in b) of what differs inside, and a line that says whether and how the arms were asked."""
    from campaign.preflight.doctor.containers import image_here

    if "native-host" in (a.kind, b.kind):
        return [], "Variables as set; a native-host arm has no image whose entry point could set more."
    home = host.home()
    try:
        images = [image_here(home, software.image_of(each, campaign.image)) for each in (a, b)]
    except daemon.EngineMissing:
        return [], "Variables as set; no Docker engine answers that could show what the image's entry point exports."
    for each, image in zip((a, b), images, strict=True):
        lacks_export = image is not None and image.rootfs is None and each.kind == "native-chroot"
        if image is None or lacks_export:
            which = "the image" if images[0] == images[1] else f"the image of {each.name}"
            return (
                [],
                f"Variables as set; {which} is not {'exported' if lacks_export else 'here'} yet: `campaign prepare`, then this shows what "
                "its entry point exports.",
            )
    first, second = images
    try:
        rows = alike.difference(arm(a, home), arm(b, home), first, second)
    except EnvironmentError_ as error:
        return [], f"Variables as set; the arms could not be asked for what their entry point exports: {error}"
    what = f"{len(rows)} of what an engine sees inside differ" if rows else "what an engine sees inside does not differ"
    names = dict.fromkeys(image.reference for image in images if image is not None)
    return rows, f"Both arms were asked, through the entry point of {' and of '.join(names)}: {what}."
