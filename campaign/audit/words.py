"""What is to be done about a problem."""

from __future__ import annotations

from typing import Any

RESTORE = "Restore it from a backup; what it proves is lost otherwise"
STRANGE = "Move it out of the folder"

Event = dict[str, Any]
