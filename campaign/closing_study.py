"""A study's page, made in a process of its own: ``python -m campaign.closing_study FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from campaign.cli.app import err, out
from campaign.cli.doing import doing
from campaign.cli.words import in_words


def main(folder: Path) -> None:
    """Writes ``report/index.html`` and says where it is."""
    with in_words(err):
        from campaign.study import page

        with doing("page of the study"):
            written = page.write(folder)
        out.print(f"report of the study {written}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except typer.Exit as end:
        sys.exit(end.exit_code)
