"""Programs that do nothing, started through an image's entry point to see whether an arm works,
and how they ended in words."""

from __future__ import annotations

import shlex

from actors.environments import refusals
from actors.types import ImageIdentity

HANDED_OVER = 42
"""No exit code that a program gives by chance: an entry point that does not run its command, such as ``echo``,
is told by it."""
NOT_FOUND = (126, 127)
"""What a shell answers for a program that it cannot run."""


def nothings(image: ImageIdentity | None) -> tuple[int, list[tuple[str, ...]]]:
    """The exit code to be seen, and programs that do nothing but end with it, of which an image has at least one if it
    has any. They are run through the image's entry point."""
    code = HANDED_OVER if image is not None and image.entrypoint else 0
    return code, [("sh", "-c", f"exit {code}"), ("python3", "-I", "-S", "-c", f"raise SystemExit({code})")]


def ended(image: ImageIdentity | None, nothing: tuple[str, ...], code: int | None, said: str) -> str:
    words = said.strip()[-300:]
    through = shlex.join([*(image.entrypoint if image else ()), *nothing])
    ends = "does not end" if code is None else f"ends with {code}"
    text = f"`{through}` {ends}" + (f": {words}" if words else "")
    reference = image.reference if image else "IMAGE"
    if image is None or not image.entrypoint or refusals.of(words, reference):
        return refusals.told(text, reference)
    return (
        f"the image's entry point does not hand over to the command it is given: {text}. "
        "If it is a program of its own and not a "
        'script that ends with `exec "$@"`, make an image without it and name that one in the campaign: '
        f"printf 'FROM {image.reference}\\nENTRYPOINT []\\n' | docker build -t plain -"
    )
