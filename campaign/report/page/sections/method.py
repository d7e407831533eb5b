"""How the figures came about: the rules, the provenance, the checklist, and the views behind everything."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from campaign.analysis import inputs
from campaign.analysis import views as sql
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import number
from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.claims import MINIMUM_N
from campaign.analysis.statistics.contrasts import roles_of
from campaign.plan import rest
from campaign.record import interim_views
from campaign.report import checklist, guard, methods
from campaign.report.page.section import Built, Material, Section

if TYPE_CHECKING:
    import duckdb


def build(of: Material) -> Built:
    units = _units(of.con)
    return {
        "lines": [*(of.registered.sentences() if of.registered else []), *_rules(of)],
        "provenance": _provenance(of.campaign, of.heads),
        "units": units,
        "config": _pretty(of.campaign.get("config")),
        "checklist": checklist.checklist(of.con),
        "views": sql.tables(),
        "places": [("provenance", "Provenance"), ("checklist", "Checklist"), ("views", "All views")],
    }


def _rules(of: Material) -> list[str]:
    con, reference = of.con, of.reference
    chosen = inputs.settings(con)
    declared = ", declared in the config" if chosen["margin_declared"] else ""
    planned = chosen["planned"]
    held = guard.guard_of(con)
    lines = [
        (
            f"The reference arm is {reference}; change = 100 × (treatment / reference − 1), "
            "so a negative throughput change is a cost."
        ),
        "A block holds the runs of one model, workload and repetition in every arm, one after the other on one unit.",
        *([held.why, guard.INTERVAL] if held.why is not None else []),
        *([methods.looks_in_words(con)] if held.sequential else []),
        "From 10 complete blocks of interleaved arms on (or fewer, where runs drift in time), the headline test is "
        "the paired t test and its interval Fieller's with covariance; below that Welch's test and Fieller's "
        "interval for independent arms. Both are guarded, by a rule chosen by simulation (`docs/statistics.md`): "
        "each side must also pass with the t corrected for skewness; the standard error is larger by √(1 + k/n), k "
        f"= {deciding.UNSEEN_DIFFERENCE:g} for difference and {deciding.UNSEEN_EQUIVALENCE:g} for equivalence, for "
        "what n runs did not show; and blocks that resemble their neighbours count as the fewer independent ones "
        "that they are worth. The interval of a claim is the set of effects that its test does not reject at the "
        f"level at which its family was decided (Holm: 0.05 by the comparisons not rejected). Below {MINIMUM_N} runs "
        "in an arm nothing is inferred.",
        (
            "Whether a metric is better higher or lower is taken from `metric_facts`, or declared; "
            "without either no side is called better."
        ),
        "A randomisation test (arms swapped within blocks, else labels permuted; exact up to 2^20 rearrangements, "
        "else 9 999 seeded draws; its interval by inversion) stands beside every verdict; where it does not show a "
        "difference that is claimed, the comparison is flagged `randomisation_disagrees`.",
        f"Two arms are called equivalent only where two one-sided tests put their ratio within "
        f"{in_words(chosen['margin_pct'], chosen['margin_declared'])}{declared}, the lower bound being the inverse of "
        "the upper, so that it does not matter which arm is the reference. An interval that covers zero shows nothing.",
        f"p values are adjusted after Holm over the {planned['F_doc']} planned comparisons of throughput, mean "
        f"latency and peak memory (the confirmatory family; {planned['F_primary5']} with request throughput and KV "
        "cache, the primary family); secondary metrics by Benjamini-Hochberg. Bonferroni, Benjamini-Hochberg and the "
        "rule as first written down (Student, Welch or Mann-Whitney, by tests of normality and variance) stand "
        "beside them in [Every comparison](#every-comparison).",
        (
            "Bootstrap intervals are BCa with 10 000 resamples of runs; seeds derive from the campaign's seed "
            f"{chosen['seed']} by SHA-256."
        ),
        "Quantiles are type 7 (linear); standard deviations have n − 1. Throughput counts output tokens only.",
    ]
    lines += _roles(of)
    if views := interim_views.read(of.results):
        first, last = (datetime.fromtimestamp(it["t_utc_ns"] / 1e9, UTC) for it in (views[0], views[-1]))
        lines.append(
            f"The report was opened {len(views)} time{'' if len(views) == 1 else 's'} before the end, first on "
            f"{first:%Y-%m-%d %H:%M} and last on {last:%Y-%m-%d %H:%M} UTC (`interim_views.jsonl`); it then had "
            "intervals that hold at every moment, and no verdict."
        )
    if (calibrated := methods.rest_of(con)) is not None:
        lines.append(
            f"The rest was calibrated by the pilot {calibrated.pilot} ({calibrated.campaign_id}, head of its journal "
            f"{calibrated.journal}): {rest.sentence(calibrated)}"
        )
    for (note,) in con.execute("SELECT unnest(from_json(imported->'notes', '[\"VARCHAR\"]')) FROM campaign").fetchall():
        lines.append(f"On import: {note}.")
    found = con.execute("SELECT DISTINCT unnest(unavailable) AS it FROM gates ORDER BY it").fetchall()
    if found:
        lines.append(f"The gate could not check on this host: {', '.join(str(name) for (name,) in found)}.")
    return lines


def _roles(of: Material) -> list[str]:
    """What options are judged against, and by what that is known;
    nothing where every arm is set against the reference."""
    kinds = {kind for (kind,) in of.con.execute("SELECT DISTINCT kind FROM comparisons").fetchall()}
    if not kinds - {"main"}:
        return []
    (config,) = of.con.execute("SELECT any_value(config) FROM campaign").fetchall()[0]
    roles = roles_of(json.loads(config) if config else None)
    if roles is not None:
        return [f"Options are judged against {roles.baseline}, as the config declares."]
    return [
        (
            "Which arm options are judged against is taken from the arms' names: this campaign was planned before a "
            "config declared it (`baseline`)."
        )
    ]


def _provenance(campaign: dict[str, Any], heads: dict[str, str]) -> list[tuple[str, str]]:
    facts = json.loads(campaign["facts"]) if campaign.get("facts") else {}
    lines = [
        ("campaign", campaign.get("campaign_id")),
        ("created", f"{campaign['created_utc']:%Y-%m-%d %H:%M} UTC" if campaign.get("created_utc") else None),
        ("chosen because", campaign.get("chosen_because")),
        ("seed", campaign.get("seed")),
        ("git commit", _commit(campaign)),
        ("code digest", campaign.get("code_digest")),
        ("config hash", campaign.get("config_hash")),
        ("plan hash", campaign.get("plan_hash")),
        ("journal, lines and head", heads["journal"]),
        ("manifest, lines and digest", heads["manifest"]),
        *((key.replace("_", " "), _pretty(value)) for key, value in facts.items() if "digest" in key or "image" in key),
    ]
    return [(key, str(value)) for key, value in lines if value not in (None, "")]


def _commit(campaign: dict[str, Any]) -> str | None:
    commit = campaign.get("git_commit")
    return f"{commit}, with uncommitted changes" if commit and campaign.get("git_dirty") else commit


def _units(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    units = []
    for unit in sql.records(con, "FROM units ORDER BY unit"):
        warnings = "; ".join(json.loads(unit["warnings"] or "[]"))
        refused = "; ".join(f"{name}: {why}" for name, why in json.loads(unit["refused_options"] or "{}").items())
        memory = number(unit["mem_total_gib"])
        facts = [
            ("host", unit["hostname"]),
            ("machine", f"{unit['machine']}, {unit['cpus']} CPUs, {memory} GiB"),
            ("GPU", unit["gpu"]),
            ("image", _images(unit["images"])),
            ("refused here", refused),
            ("warnings", warnings),
        ]
        units.append(
            {
                "name": unit["unit"],
                "facts": [(key, value) for key, value in facts if value],
                "details": _pretty(
                    {key: json.loads(unit[key]) for key in ("details", "images", "prepared") if unit[key]}
                ),
            }
        )
    return units


def _images(text: str | None) -> str:
    """Every userland of the unit with its digest."""
    images = json.loads(text or "{}").values()
    return "; ".join(dict.fromkeys(f"{image['reference']} @ {image['digest']}" for image in images))


def _pretty(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


SECTION = Section("method", "Method and provenance", build, "method.html.j2")
