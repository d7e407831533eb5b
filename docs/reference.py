"""Writes what of the documentation follows from the code: the campaign file's keys, the SQL views,
and the notebook with what its cells gave.

python docs/reference.py        (writes docs/reference/*.md, configs/schema.json and the structures in
                                 sql/10_sources.sql that classes declare; a test fails where they are not as written)
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from actors.telemetry import schema as telemetry_schema  # noqa: E402  (the project may not be installed)
from campaign.record import attempt  # noqa: E402
from campaign.study import schema  # noqa: E402

WRITTEN = {
    "configs/schema.json": schema.text,
    "sql/10_sources.sql": lambda: sources((PROJECT / "sql/10_sources.sql").read_text(encoding="utf-8")),
    "docs/reference/configuration.md": lambda: configuration(schema.schema()),
    "docs/reference/sql.md": lambda: sql(sorted((PROJECT / "sql").glob("*.sql"))),
    "docs/notebook.md": lambda: notebook(PROJECT / "notebooks" / "campaign.ipynb"),
}
"""File to what belongs into it."""

STARTS = re.compile(r"^CREATE (?P<kind>VIEW|MACRO|TABLE) (?P<name>\w+)(?P<arguments>\([^)]*\))?", re.M)


def sources(text: str) -> str:
    """``sql/10_sources.sql`` with the structure of an attempt's record as its class declares it, and the columns of a
    sample as the sensors declare them."""
    record = re.compile(r"(    unnest\(from_json\(facts, ')\{.*?\n    \}('\)\))", re.S)
    made, count = record.subn(lambda found: f"{found[1]}{attempt.structure_text()}{found[2]}", text)
    telemetry = re.compile(r"(CREATE TABLE schema_telemetry \(\n).*?(\n\);)", re.S)
    made, also = telemetry.subn(lambda found: f"{found[1]}{telemetry_schema.sql_columns()}{found[2]}", made)
    assert (count, also) == (1, 1), "sql/10_sources.sql reads metadata.json or samples in another way than this knows"
    return made


def configuration(made: dict[str, Any]) -> str:
    """Every key of a campaign file, and of what stands below it."""
    parts = [
        "# Configuration reference",
        "",
        (
            "Every key of a campaign file, from the models that validate it; `campaign schema` prints the JSON Schema "
            "for editors, and the files in"
        ),
        (
            "`configs/` name it in their first line. `campaign plan FILE` says what contradicts itself, with file, "
            "line, key and remedy."
        ),
        "",
        "## The campaign",
        "",
        *_table(made["properties"], made["required"]),
    ]
    for name, one in made["$defs"].items():
        if "properties" in one:
            parts += ["", f"## {name}", "", _cell(one.get("description", "")).partition("  ")[0], ""]
            parts += _table(one["properties"], one.get("required", []))
    return "\n".join(parts) + "\n"


def _table(properties: dict[str, Any], required: list[str]) -> list[str]:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, one in properties.items():
        default = "required" if name in required else _cell(repr(one["default"])) if "default" in one else ""
        rows.append(f"| `{name}` | {_type(one)} | {default} | {_cell(one.get('description', ''))} |")
    return rows


def _type(one: dict[str, Any]) -> str:
    if "$ref" in one:
        name = one["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name.lower()})"
    if "anyOf" in one:
        return " or ".join(dict.fromkeys(_type(part) for part in one["anyOf"]))
    if "enum" in one:
        return ", ".join(f"`{word}`" for word in one["enum"])
    if "const" in one:
        return f"`{one['const']}`"
    kind = str(one.get("type", "mapping"))
    if kind == "array":
        return f"list of {_type(one.get('items') or (one.get('prefixItems') or [{}])[0])}"
    if kind == "object":
        return f"mapping to {_type(inner)}" if isinstance(inner := one.get("additionalProperties"), dict) else "mapping"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    limits = [f"{word} {one[key]}" for key, word in words.items() if key in one]
    return ", ".join([kind, *limits])


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def sql(files: list[Path]) -> str:
    """Every view and macro of ``sql/`` with the comment above it."""
    parts = [
        "# SQL reference",
        "",
        (
            "The views and macros that `campaign sql`, `campaign.open(…).sql(…)` and the report query, from the "
            "comments in `sql/`. Tables called `schema_…` hold"
        ),
        (
            "no rows and are left out here. `.tables` at the prompt lists the views of an open folder, "
            "`describe NAME` its columns."
        ),
    ]
    for file in files:
        text = file.read_text()
        lead = _comment(text, 0, downwards=True)
        parts += ["", f"## {file.name}", "", lead]
        rows = []
        for match in STARTS.finditer(text):
            if match["name"].startswith("schema_") or (match["kind"] == "TABLE" and "schema" in match["name"]):
                continue
            above = _comment(text, match.start(), downwards=False)
            what = f"`{match['name']}{match['arguments'] or ''}`" if match["kind"] == "MACRO" else f"`{match['name']}`"
            rows.append(f"| {what} | {match['kind'].lower()} | {_cell(above)} |")
        if rows:
            parts += ["", "| name | kind | what it holds |", "| --- | --- | --- |", *rows]
    return "\n".join(parts) + "\n"


def notebook(path: Path) -> str:
    """A notebook as a page: its texts, its code, and below each cell the table or the
    figure that it gave when the notebook was last run."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        parts += [text] if cell["cell_type"] == "markdown" else [f"```python\n{text}\n```"]
        for output in cell.get("outputs", []):
            data = {kind: "".join(given) for kind, given in output.get("data", {}).items()}
            if "image/png" in data:
                parts.append(f"![What the cell draws](data:image/png;base64,{data['image/png'].strip()})")
            elif table := re.search(r"<table.*</table>", data.get("text/html", ""), re.DOTALL):
                parts.append(re.sub(r' border="1" class="dataframe"| style="[^"]*"', "", table[0]))
    return "\n\n".join(parts) + "\n"


def _comment(text: str, place: int, downwards: bool) -> str:
    """The comment that begins at ``place``, or ends right above it."""
    lines = text[place:].splitlines() if downwards else text[:place].splitlines()[::-1]
    found = []
    for line in lines:
        if not line.startswith("--"):
            break
        found.append(line.removeprefix("--").strip())
    return " ".join(found if downwards else found[::-1]).strip()


def main() -> int:
    for name, made in WRITTEN.items():
        (PROJECT / name).parent.mkdir(parents=True, exist_ok=True)
        (PROJECT / name).write_text(made())
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
