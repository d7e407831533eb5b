"""What `campaign diff` finds out by asking both arms, where their images are here: what their entry point exports."""

from __future__ import annotations

from actors import host
from actors.environments import EngineMissing, EnvironmentError_, alike
from actors.environments.registry import arm, kind
from actors.environments.resolve import Row
from actors.types import Environment
from campaign.config.schema import Campaign


def seen(campaign: Campaign, a: Environment, b: Environment) -> tuple[list[Row], str]:
    """Rows (aspect, in a, in b) of what differs inside, and a line that says whether and how the arms were asked."""
    from campaign.preflight.doctor.containers import image_of

    if bare := next((each for each in (a, b) if not kind(each.kind).needs_image), None):
        return [], f"Variables as set; a {bare.kind} arm has no image whose entry point could set more."
    home = host.home()
    try:
        images = [image_of(home, campaign, each) for each in (a, b)]
    except EngineMissing:
        return [], "Variables as set; no container engine answers that could show what the image's entry point exports."
    for each, image in zip((a, b), images, strict=True):
        lacks_export = image is not None and image.rootfs is None and kind(each.kind).needs_rootfs
        if image is None or lacks_export:
            which = "the image" if images[0] == images[1] else f"the image of {each.name}"
            return (
                [],
                f"Variables as set; {which} is not {'exported' if lacks_export else 'here'} yet: `campaign prepare`, "
                "then this shows what its entry point exports.",
            )
    first, second = images
    try:
        rows = alike.difference(arm(a, home), arm(b, home), first, second)
    except EnvironmentError_ as error:
        return [], f"Variables as set; the arms could not be asked for what their entry point exports: {error}"
    what = f"{len(rows)} of what an engine sees inside differ" if rows else "what an engine sees inside does not differ"
    names = dict.fromkeys(image.reference for image in images if image is not None)
    return rows, f"Both arms were asked, through the entry point of {' and of '.join(names)}: {what}."
