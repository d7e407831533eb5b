"""The twelve rules of Hoefler and Belli (SC'15) and ours, each answered from the data: pass, fail or n/a,
and by what evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from campaign.analysis.rows import NOT_FIXED

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Item:
    """One rule: ``status`` is pass, fail or n/a; ``evidence`` says why and where to look
    (as ``page.links.prose`` reads it)."""

    id: str
    rule: str
    status: str
    evidence: str


def checklist(con: duckdb.DuckDBPyConnection) -> list[Item]:
    """Every rule in order. A rule without data to test it on is n/a, never passed."""
    compared = _one(
        con,
        """SELECT count(*) AS n,
            count(*) FILTER (pct IS NOT NULL AND (mean_reference IS NULL OR mean_treatment IS NULL
            OR unit_of_measure IS NULL)) AS bare,
            count(*) FILTER (status = 'ok' AND verdict NOT IN ('unfinished', 'continuing', 'not_tested')) AS tested,
            count(*) FILTER (status = 'ok' AND headline_test = 'sequential') AS looked,
            count(*) FILTER (
                status = 'ok' AND verdict NOT IN ('unfinished', 'continuing', 'not_tested')
                AND (p_adjusted IS NULL OR (welch_low IS NULL AND headline_test <> 'sequential'))
            ) AS untested,
            count(*) FILTER (status = 'deterministic') AS constant,
            count(*) FILTER (status = 'ok' AND headline_test <> 'sequential' AND verdict NOT IN ('unfinished',
            'continuing', 'not_tested') AND shapiro_p_reference IS NULL AND sd_reference > 0
                AND n_reference >= 3) AS unchecked,
            count(*) FILTER (status = 'ok' AND better = 'higher' AND mean_reference > 0
            AND hmean_reference IS NULL) AS no_harmonic,
            count(*) FILTER (list_contains(flags, 'sensitive_to_exclusions')) AS sensitive,
            count(*) FILTER (interleaved = false OR list_contains(flags, 'order_imbalanced')) AS separated,
            count(*) FILTER (interleaved) AS mixed,
            count(*) FILTER (verdict IN ('equivalent', 'different_but_negligible')) AS alike,
            count(*) FILTER (verdict IN ('equivalent', 'different_but_negligible')
            AND NOT tost_p_adjusted < 0.05) AS alike_untested,
            count(DISTINCT family) AS families, max(m_planned) AS m, count(DISTINCT unit) AS units
        FROM comparisons WHERE analysis_set = 'protocol'""",
    )
    flow = _one(
        con,
        "SELECT coalesce(sum(planned), 0) AS planned, coalesce(sum(analysed), 0) AS analysed, "
        "coalesce(sum(attempts), 0) AS attempts, coalesce(sum(rejected_attempts), 0) AS rejected FROM flow",
    )
    facts = _one(
        con,
        """SELECT any_value(reference) AS reference, any_value(seed) AS seed, any_value(config_hash) AS config_hash,
            any_value(plan_hash) AS plan_hash,
            any_value(code_digest) AS code, any_value(created_utc) AS created,
                bool_or(imported IS NOT NULL) AS imported,
            any_value(config->>'left_out') AS left_out, (SELECT min(started_utc) FROM attempts) AS first_run,
            (SELECT count(*) FROM units) AS described, (SELECT count(DISTINCT userland_digest) FROM attempts) AS images
            FROM campaign""",
    )
    roof = _one(con, "SELECT count(bound_tok_s) AS bounded, max(measured_tok_s / bound_tok_s) AS worst FROM rooflines")
    identity = _one(
        con,
        """SELECT count(*) FILTER (check_name = 'model_identity') AS checked,
            count(*) FILTER (check_name = 'model_identity' AND passed = false) AS wrong,
            (SELECT count(*) FROM plausibility WHERE check_name = 'models_told_apart' AND NOT passed) AS alike
            FROM verdicts""",
    )
    latency = _one(
        con,
        "SELECT count(*) AS n, count(low) AS bounded FROM request_percentiles WHERE reason IS DISTINCT FROM $$"
        + NOT_FIXED
        + "$$",
    )
    return [*_rules(compared, flow, facts, roof, latency), *_ours(compared, flow, facts, identity)]


def _rules(
    c: dict[str, Any], flow: dict[str, Any], facts: dict[str, Any], roof: dict[str, Any], latency: dict[str, Any]
) -> list[Item]:
    missing = flow["planned"] - flow["analysed"]
    return [
        _item("HB1", "ratios come with their base case and absolute figures", c["n"], not c["bare"],
            f"base case {facts['reference']}; both means and the unit stand in each of {c['n']} comparisons"),
        _item("HB2", "what was left out is said and justified", flow["planned"] and not facts["imported"],
            missing == 0 or facts["left_out"] not in (None, "{}"),
            f"{flow['analysed']} of {flow['planned']} planned runs analysed; [losses by "
            f"reason](#where-runs-were-lost); left out by the config: {facts['left_out'] or 'nothing'}"),
        _item("HB3", "arithmetic means for costs, harmonic for rates", c["tested"], not c["no_harmonic"],
            "hmean beside the mean of every rate in `comparisons` and `descriptives`; no mean of rates over models"),
        _item("HB4", "no means of ratios over models", c["n"], True,
            "by construction: the report forms no mean over models"),
        _item("HB5", "deterministic or with intervals", c["n"], not c["untested"],
            f"{c['constant']} comparisons are deterministic, {c['tested']} carry intervals"),
        _item("HB6", "normality is tested, not assumed", c["tested"] - c["looked"], not c["unchecked"],
            "Shapiro-Wilk for each arm in `comparisons`; Mann-Whitney and bootstrap beside every t test"),
        _item("HB7", "comparisons rest on tests", c["tested"], not c["untested"],
            f"{c['tested']} comparisons with test, adjusted p and interval of the effect"),
        _item("HB8", "percentiles where the mean misleads", latency["n"], latency["bounded"] > 0,
            f"{latency['n']} latency percentiles, {latency['bounded']} with "
            "intervals over runs (`request_percentiles`)"),
        _item("HB9", "factors, levels and setup are documented", facts["reference"],
            facts["described"] > 0 and facts["config_hash"],
            f"{facts['described']} units described, {facts['images']} image digests, config "
            f"{str(facts['config_hash'])[:12]}"),
        _item("HB10", "how it was measured is documented", facts["reference"], not facts["imported"],
            "imported: how the figures were taken is not in the file"
            if facts["imported"] else "client-side clock, warm-up apart, quantiles type 7, run as unit: "
                "see [Method](#method)"),
        _item("HB11", "upper bounds are shown", roof["bounded"], (roof["worst"] or 0) <= 1,
            f"highest measured over roofline: {roof['worst'] or 0:.2f}",
            "no bandwidth, batch or size to compute a bound from"),
        _item("HB12", "plots show the runs; lines only for trends", flow["analysed"], True,
            "by construction: every figure shows single runs; lines join only points in time"),
    ]  # fmt: skip


def _ours(c: dict[str, Any], flow: dict[str, Any], facts: dict[str, Any], identity: dict[str, Any]) -> list[Item]:
    before = facts["created"] is not None and facts["first_run"] is not None and facts["created"] <= facts["first_run"]
    identified = identity["checked"] > 0 and not identity["wrong"] and not identity["alike"]
    return [
        _item("PREREG", "the design was fixed before the first run", facts["first_run"],
            before and facts["config_hash"],
            f"config {str(facts['config_hash'])[:12]} and plan {str(facts['plan_hash'])[:12]}, "
            f"recorded {facts['created']}" if before else "nothing shows a plan from before the first run"),
        _item("CONCUR", "arms ran interleaved in time", c["mixed"] + c["separated"], not c["separated"],
            f"{c['separated']} of {c['mixed'] + c['separated']} comparisons have one arm wholly before the other, or "
            "arms that alternate too seldom"),
        _item("IDENT", "the model that was named is the one that ran", flow["analysed"], identified,
            f"{identity['checked']} attempts with an identity check, {identity['wrong']} wrong; {identity['alike']} "
            "pairs of models cannot be told apart"),
        _item("EXCL", "exclusions are listed and their weight is shown", flow["attempts"], True,
            f"{flow['rejected']} of {flow['attempts']} attempts do not count, each with its reason; "
            f"{c['sensitive']} verdicts depend on them"),
        _item("MULT", "families and their sizes are printed", c["n"], c["families"] > 0,
            f"{c['families']} families; the largest counts {c['m'] or 0} planned comparisons"),
        _item("EQUIV", "nothing is called alike without an equivalence test", c["n"], not c["alike_untested"],
            f"{c['alike']} verdicts of equivalence, each with its adjusted TOST p"),
        _item("UNITS", "the number of units and the scope are stated", c["n"], True,
            f"{c['units']} unit{'s' if c['units'] != 1 else ''}; no claim beyond the tested units"),
        _item("SEEDS", "seeds are kept", facts["reference"], facts["seed"] is not None and not facts["imported"],
            "imported: seeds of the runs are not in the file"
            if facts["imported"] else f"campaign seed {facts['seed']}; every other seed derives from it"),
    ]  # fmt: skip


def _item(id_: str, rule: str, testable: Any, passed: Any, evidence: str, without: str = "nothing to test yet") -> Item:
    if not testable:
        return Item(id_, rule, "n/a", without)
    return Item(id_, rule, "pass" if passed else "fail", evidence)


def _one(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    result = con.execute(query)
    names = [str(column[0]) for column in result.description or ()]
    row = result.fetchone()
    return dict(zip(names, row or [None] * len(names), strict=True))
