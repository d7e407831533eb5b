"""What a reader says to the person whose table it cannot take."""

from __future__ import annotations

from campaign.errors import EXIT_CONFIG, CampaignError, listed, nearest

__all__ = ["TableError", "listed", "nearest", "shown"]


class TableError(CampaignError, ValueError):
    """The table cannot be read or analysed; the message says which cell or column is at fault and what to do."""

    exit_code = EXIT_CONFIG


def shown(value: object, most: int = 60) -> str:
    """A cell as it stands, without what a terminal would obey, and not longer than a line."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
