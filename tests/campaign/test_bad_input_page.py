"""docs/bad-input.md says what the tables of the tests say.
`python tests/campaign/test_bad_input_page.py` writes it again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bad_configs import CASES, messages
from broken_folders import FOLDERS, STARTS

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
TOP = """\
# Bad input, and what the user sees

Written by `python tests/campaign/test_bad_input_page.py` from the tables that the tests run through. No case shows a
traceback.

## Wrong configs

Exit code 2; nothing is written. Each message is one line, and all mistakes of a file are reported together.

| what is wrong | what `campaign run` and `campaign plan` say |
| --- | --- |
"""
BETWEEN = """
## Broken results folders

What is quoted is the telling part of each message (tests/campaign/test_broken_results.py). An empty cell: the command
answers without a remark from what is there; it is `campaign verify` that looks at everything. It ends with code 1 when
it found something; `run`, `status` and `sql` end with code 3 when they refuse. Only `run` ever changes a folder, and it
changes no evidence.

| what happened | `campaign run` | `campaign verify` | `campaign sql` | `campaign status` |
| --- | --- | --- | --- | --- |
"""
BOTTOM = """
| what happens while a campaign runs, or would | what the user sees |
| --- | --- |
| the disk becomes full | `the disk is full (…). Nothing that finished is lost: make space, and give the same command.` Code 3; the same command goes on |
| another driver holds the folder | `another driver (PID …) is carrying out this campaign. Watch it with campaign status, or stop it with Ctrl-C there.` Code 3 |
| the results folder is read-only | `run`: `Read-only file system: …`, code 3; `verify`, `sql` and `status` work |
| Ctrl-C once | the attempt ends, is journalled, and the same command goes on. Code 130 |
| config, code, image or machine changed | each difference in a line, code 3; `--accept-drift` goes on and journals them |
"""  # noqa: E501 - a row of a table is one line


def page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        configs = [f"| {_cell(case.name)} | {_quoted(message)} |" for case, message in messages(Path(folder))]
    return "\n".join([TOP.rstrip("\n"), *configs, BETWEEN.rstrip("\n"), *_folders(), BOTTOM])


def _folders() -> Iterator[str]:
    for case in FOLDERS:
        run = "goes on" if case.name in STARTS else _quoted(case.run)
        cells = [_cell(case.name), run, *map(_quoted, (case.verify, case.sql, case.status))]
        yield f"| {' | '.join(cells)} |"


def _quoted(text: str) -> str:
    return f"`` {_cell(text)} ``" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def test_the_page_is_what_the_tables_say():
    assert PAGE.read_text() == page()


def test_it_has_more_than_the_thirty_cases_that_were_asked_for():
    assert len(CASES) + len(FOLDERS) >= 60


if __name__ == "__main__":
    PAGE.write_text(page())
