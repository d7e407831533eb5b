"""Summary and page of a campaign, made in a process of their own: ``python -m campaign.closing FOLDER [--no-page]``."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from campaign.cli.app import err, out
from campaign.cli.doing import doing
from campaign.cli.words import in_words


def main(folder: Path, write_page: bool) -> None:
    """Prints the summary to the terminal that the driver has; writes ``report/index.html``."""
    with in_words(err):
        from campaign.analysis import cache as evidence
        from campaign.report import page, terminal

        with doing("statistics"):
            said = terminal.summary(evidence.connect(folder))
        out.print(said)
        if write_page:
            with doing("page") as reached:
                page.write(folder, reached)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), "--no-page" not in sys.argv)
    except typer.Exit as end:
        sys.exit(end.exit_code)
