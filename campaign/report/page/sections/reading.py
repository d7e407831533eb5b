"""Of imported runs: how the files were read."""

from __future__ import annotations

from campaign.report.page.section import Built, Material, Section, tabled
from campaign.report.page.table import Table

TABLES = (
    Table(
        "What each column was taken for",
        "Of the files that were taken in: each column with what it is here, its unit in the file, and what was "
        "converted or assumed. What was not certain was left out, with the reason.",
        "The files' columns are not recorded.",
        "SELECT c->>'column' AS \"column\", c->>'role' AS role, c->>'name' AS \"taken as\", c->>'unit' AS unit, "
        "c->>'said' AS note\n"
        "FROM (SELECT unnest(from_json(imported->'columns', '[\"JSON\"]')) AS c FROM campaign)",
    ),
    Table(
        "Rows that are no runs",
        "Rows of the files that were not taken for runs. Runs that failed are among the [rejected "
        "attempts](#rejected-attempts).",
        "Every row is a run.",
        "SELECT r->>'row' AS \"row\", r->>'why' AS reason\n"
        "FROM (SELECT unnest(from_json(imported->'rows_left_out', '[\"JSON\"]')) AS r FROM campaign)",
    ),
)


def build(of: Material) -> Built | None:
    return tabled(of, TABLES) if of.campaign.get("imported") else None


SECTION = Section("reading", "How the files were read", build)
