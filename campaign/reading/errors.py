"""What a reader says to the person whose table it cannot take."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from campaign.errors import EXIT_CONFIG, CampaignError


class TableError(CampaignError, ValueError):
    """The table cannot be read or analysed; the message says which cell or column is at fault and what to do."""

    exit_code = EXIT_CONFIG


def nearest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` where something known is near, else what there is."""
    names = list(known)
    by_folded = {name.strip().casefold(): name for name in names}
    found = difflib.get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=0.6)
    if found:
        return f"Did you mean {by_folded[found[0]]!r}?"
    return f"There are: {listed(names)}."


def listed(names: Iterable[object], most: int = 30) -> str:
    """Names for a sentence; a long list ends with how many more there are."""
    words = [str(name) for name in names]
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown or "none"


def shown(value: object, most: int = 60) -> str:
    """A cell as it stands, without what a terminal would obey, and not longer than a line."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
