"""The verdict, first of all: what may be claimed, of how much, and what stands against it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from campaign.analysis import metrics
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import present
from campaign.report import guard, noise, wording
from campaign.report.page.section import Built, Material, Section
from campaign.report.page.sections.evidence import figures

if TYPE_CHECKING:
    from markupsafe import Markup

SQL = """SELECT model, treatment, reference, decided_on, decided_n_reference, decided_mean_reference,
    decided_sd_reference,
    decided_n_treatment, decided_mean_treatment, decided_sd_treatment, pct, pct_low, pct_high, pct_level,
    decided_worth, method, p_adjusted, tost_p_adjusted, margin_pct, margin_declared, verdict, needs_n, claim
FROM comparisons
WHERE metric = 'token_throughput_tok_s' AND analysis_set = 'protocol' AND pct IS NOT NULL
ORDER BY place, treatment, unit"""


def build(of: Material) -> Built:
    rows = [row for row in of.rows if row["metric"] == metrics.headline() and present(row["pct"])]
    low, high = _span(rows)
    sentences = wording.sentences(of.rows)
    noisy = noise.told(of.con, of.rows)
    margins = list(
        dict.fromkeys(in_words(row["margin_pct"], row["margin_declared"]) for row in rows if present(row["margin_pct"]))
    )
    return {
        "noise": noisy,
        "headline": wording.headline(of.rows),
        "sentences": sentences if len(sentences) > 1 else [],
        "lead": _lead(of),
        "warnings": _warnings(of),
        "forest": [figures(row) | {"whisker": _whisker(row, low, high)} for row in rows],
        "margins": margins,
        "workloads": list(dict.fromkeys(row["workload"] for row in rows)),
        "references": list(dict.fromkeys(row["reference"] for row in rows)),
        "sql": SQL,
    }


def _lead(of: Material) -> str:
    found = of.con.execute("SELECT DISTINCT gpu FROM units WHERE gpu IS NOT NULL ORDER BY gpu").fetchall()
    gpus = ["no GPU" if gpu == "none" else gpu for (gpu,) in found]
    units = of.counts["units"]
    where = f"{max(units, 1)} unit{'s' if units > 1 else ''}" + (f" ({', '.join(gpus)})" if gpus else "")
    return (
        f"Every arm is compared with {of.reference}. {of.counts['valid']} of {of.counts['planned']} runs are "
        f"accepted, on {where}. The run is the experimental unit; what is said holds for the tested units, these "
        "models and this software, and for nothing wider."
    )


def _warnings(of: Material) -> list[str]:
    """What must be known before the figures are read; each leads to where it is told."""
    return [*_about_the_campaign(of), *_about_the_runs(of), *_about_the_data(of)]


def _about_the_campaign(of: Material) -> list[str]:
    found, counts = [], of.counts
    if of.campaign.get("simulated"):
        found.append("The data are simulated: no figure on this page was measured.")
    if not of.campaign:
        found.append("campaign.json is missing or cannot be read; names and provenance are left out.")
    if not of.finished and counts["started"]:
        left = counts["planned"] - counts["valid"] - counts["exhausted"] - counts["left_out"] - counts["spared"]
        found.append(f"The campaign is not finished: {left} runs are outstanding, and every figure may still change.")
    if of.rows and (why := guard.guard_of(of.con).why) is not None:
        found.append(why)
    return found


def _about_the_runs(of: Material) -> list[str]:
    """Those that are missing, and those whose arms differ in more than their environment."""
    found, counts = [], of.counts
    if counts["exhausted"]:
        found.append(
            f"{counts['exhausted']} runs were given up after their [attempts](#rejected-attempts) were used; their "
            "cells are short of repetitions."
        )
    if counts["left_out"]:
        cells = _count(of, "SELECT count(*) FROM cells_left_out")
        found.append(
            f"{counts['left_out']} runs of {cells} cells were left out after the shakedown: they cannot run here, or "
            "nothing was left to compare them with. They are named with the cause under [Left out](#left-out)."
        )
    software = "SELECT environment, differs FROM arm_software WHERE len(differs) > 0"
    for arm, differs in of.con.execute(software).fetchall():
        found.append(
            f"{arm} does not run the reference's {' and '.join(differs)}: what is found between them is of that "
            "together with the environment (see [What the arms run](#what-the-arms-run))."
        )
    return found


def _about_the_data(of: Material) -> list[str]:
    found = []
    if broken := _count(of, "SELECT count(*) FROM broken_files WHERE file <> 'journal.jsonl'"):
        found.append(
            f"{broken} files cannot be read and are left out; "
            "they are named under [Unreadable files](#unreadable-files)."
        )
    if of.campaign.get("imported"):
        imported = json.loads(of.campaign["imported"])
        whose = f", by {imported['source']}" if imported.get("source") else ""
        found.append(
            f"Imported from {imported['file']} ({imported['rows']} attempts{whose}): there is no plan, journal, log, "
            "gate record or telemetry behind these figures, and planned means present in the file. "
            "[How it was read](#reading)."
        )
    if failed := _count(of, "SELECT count(DISTINCT check_name) FROM plausibility WHERE NOT passed AND grave"):
        one = failed == 1
        found.append(
            f"{failed} plausibility check{'' if one else 's'} that put{'s' if one else ''} these figures in doubt "
            f"fail{'s' if one else ''}: read [what is wrong with these data](#problems) before any figure."
        )
    if any(row["separated"] for row in of.rows):
        found.append(
            "In some cells the arms were not interleaved in time; nothing is claimed from them. "
            "See [Balance of order](#balance-of-order)."
        )
    return found


def _count(of: Material, query: str) -> int:
    return int(of.con.execute(query).fetchall()[0][0])


def _span(rows: Sequence[wording.Row]) -> tuple[float, float]:
    """Common axis of the intervals, in percent, with zero inside."""
    margins = [row["margin_pct"] for row in rows if present(row["margin_pct"])]
    drawn = [float(row[key]) for row in rows for key in ("pct", "pct_low", "pct_high") if present(row[key])]
    values = [0.0, *margins, *(-margin for margin in margins), *drawn]
    low, high = min(values), max(values)
    beside = 0.08 * (high - low) or 1.0
    return low - beside, high + beside


def _whisker(row: wording.Row, low: float, high: float) -> Markup:
    """The interval of a row as a small drawing, beside the margin within which arms count as equivalent."""
    from markupsafe import Markup

    def x(value: float) -> float:
        return 100 * (value - low) / (high - low)

    bar, band = Markup(""), Markup("")
    if present(row["margin_pct"]):
        left, right = x(-row["margin_pct"]), x(row["margin_pct"])
        band = Markup(f'<rect class="margin" x="{left:.2f}%" width="{right - left:.2f}%" y="2" height="31"/>')
    limits = row["pct_low"], row["pct_high"]
    if any(map(present, limits)):  # an open side goes to the edge
        left, right = (x(at) if present(at) else edge for at, edge in zip(limits, (0, 100), strict=True))
        bar = Markup(f'<line class="limits" x1="{left:.2f}%" x2="{right:.2f}%" y1="17" y2="17"/>')
    said = f"change {wording.change(row)}, interval {wording.interval(row)}"
    return Markup(
        '<svg class="forest" role="img" aria-label="{said}">{band}<line class="axis" x1="0" x2="100%" y1="33" y2="33"/>'
        '<line class="zero" x1="{zero}%" x2="{zero}%" y1="2" y2="33"/><text class="zero" x="{zero}%" dx="4" '
        'y="10">0</text>{bar}<circle class="effect" cx="{at}%" cy="17" r="5"/></svg>'
    ).format(said=said, band=band, bar=bar, zero=f"{x(0):.2f}", at=f"{x(row['pct']):.2f}")


SECTION = Section("verdict", "Verdict", build, "verdict.html.j2")
