"""The evidence, cell by cell: both arms, change and interval of the metrics that matter, the others folded away."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from campaign.analysis import metrics, words
from campaign.analysis.numbers import present
from campaign.analysis.views import quoted
from campaign.report import wording
from campaign.report.page.section import Built, Material, Section
from campaign.report.page.table import slug

KEYS = ("phase", "model", "workload", "reference", "treatment")
MANY = 12
"""Cells from which each is folded away under its sentence."""


def build(of: Material) -> Built | None:
    groups = [(key, list(group)) for key, group in groupby(of.rows, key=lambda row: tuple(row[k] for k in KEYS))]
    if not groups:
        return None
    several = len({row["treatment"] for row in of.rows}) > 1
    cells = [_cell(rows, several) for _, rows in groups]
    places = [(cell["id"], cell["title"]) for cell in cells] if len(cells) <= MANY else []
    return {"method": method_line(of), "cells": cells, "folded": len(cells) > MANY, "places": places}


def method_line(of: Material) -> str:
    methods = list(dict.fromkeys(row["method"] for row in of.rows if present(row["pct_low"])))
    intervals = (
        f" Intervals: {' / '.join(methods)}, each dual to its verdict at the level of its family (of equivalence "
        "where that is the verdict, else of the difference)."
        if methods
        else ""
    )
    alike = (
        " Blocks that resemble their neighbours in time count as the fewer independent ones that they are worth, as "
        "stands below n."
        if any(present(row["decided_worth"]) for row in of.rows)
        else ""
    )
    return (
        "Mean ± standard deviation over accepted runs; change and interval in percent of the reference."
        f"{intervals}{alike}"
    )


def _cell(rows: list[wording.Row], several: bool) -> dict[str, Any]:
    first, order = rows[0], list(metrics.summary())
    summary = sorted((row for row in rows if row["metric"] in order), key=lambda row: order.index(row["metric"]))
    others = [row for row in rows if row["metric"] not in order]
    claims = [wording.claim(row) for row in summary if row["metric"] == metrics.headline()]
    arm = f" · {first['treatment']}" if several else ""
    return {
        "id": place(first),
        "title": f"{first['model']} · {first['workload']} · {first['phase']}{arm}",
        "reference": first["reference"],
        "treatment": first["treatment"],
        "claim": claims[0] if claims else "",
        "parts": [
            {"rows": [figures(row) for row in part], "sql": query(part)} for part in (summary, others) if part
        ],
    }  # fmt: skip


def place(row: wording.Row) -> str:
    """Where the evidence of a row's cell stands on the page."""
    return slug("cell " + " ".join(str(row[key]) for key in KEYS))


def query(rows: list[wording.Row]) -> str:
    """The query that gives these rows of one cell, in this order."""
    first = rows[0]
    cell = "\n    AND ".join(f"{key} = {quoted(str(first[key]))}" for key in (*KEYS[:1], "unit", *KEYS[2:]))
    named = quoted(str(first["model"]).removesuffix(f" @ {first['unit']}"))
    metrics = ", ".join(quoted(row["metric"]) for row in rows)
    return f"""SELECT label, unit_of_measure AS unit, decided_mean_reference, decided_sd_reference,
        decided_mean_treatment, decided_sd_treatment,
    pct, pct_low, pct_high, pct_level, decided_n_reference, decided_n_treatment, decided_worth, verdict, side, metric
FROM comparisons
WHERE analysis_set = 'protocol' AND model = {named}
    AND {cell}
    AND metric IN ({metrics})
ORDER BY list_position([{metrics}], metric)"""


def figures(row: wording.Row) -> dict[str, Any]:
    """A row's figures in words, for the templates."""
    return {
        "model": row["model"],
        "workload": row["workload"],
        "treatment": row["treatment"],
        "reference": row["reference"],
        "place": place(row),
        "label": row["label"] if present(row["label"]) else row["metric"],
        "unit": row["unit_of_measure"],
        "reference_value": wording.mean_sd(row["mean_reference"], row["sd_reference"]),
        "treatment_value": wording.mean_sd(row["mean_treatment"], row["sd_treatment"]),
        "n_reference": row["n_reference"],
        "n_treatment": row["n_treatment"],
        "worth": f"{row['decided_worth']:.2g}" if present(row["decided_worth"]) else "",
        "change": wording.change(row),
        "interval": wording.interval(row),
        "level": wording.level(row),
        "verdict": words.verdict_word(row),
        "tone": {True: "worse", False: "better", None: "unclear"}[words.worse(row)],
    }


SECTION = Section("evidence", "Evidence, model by model", build, "evidence.html.j2")
