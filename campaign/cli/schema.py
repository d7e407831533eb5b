"""The campaign file's shape, for editors."""

from __future__ import annotations

from campaign.cli.app import app
from campaign.cli.before import PANEL


@app.command(rich_help_panel=PANEL, epilog="Example:\n\n  campaign schema > campaign.schema.json")
def schema() -> None:
    """Print the JSON Schema of a campaign file, with which an editor completes keys and marks wrong ones."""
    from campaign.study import schema as made

    print(made.text(), end="")
