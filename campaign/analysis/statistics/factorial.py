"""A two-level screen of Docker options: effects with intervals, what they may hide, and which options are carried on.

ln y ~ block + factors by least squares; the error is that of repeated rows, which no interaction enters. Every number
of a screen chooses and none confirms: what is chosen here is tested on fresh runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from campaign.analysis.margin import DEFAULT_PCT
from campaign.analysis.statistics.distributions import FloatArray, IntArray, f_upper, t_quantile, t_two_sided
from campaign.analysis.statistics.dunnett import largest_p, modulus_p
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.half_normal import half_normal, lenth
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.shrinkage import shrink
from campaign.analysis.statistics.two_level import Design, aliases, coded

ALPHA = 0.05
FEWEST_DF = 3
"""Degrees of freedom of the error below which nothing is inferred."""
MOST_CHOSEN = 3
NOTE = "screening: chosen on these data, confirmed by none of them"
Groups = Mapping[str, Mapping[str, Sample]]
"""Model to arm to its runs."""


@dataclass(frozen=True)
class Trait:
    """What is known of a factor before the data: what it gives away, and why it may not be chosen (None: it may)."""

    privilege: int = 0
    never: str | None = None


@dataclass(frozen=True)
class Rows:
    """Which arm is which row. ``second`` are the rows of a full fold-over, in the same order."""

    design: Design
    arms: tuple[str, ...]
    second: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Data:
    """Runs of one model or of all. ``cell`` numbers model and row, ``half`` is 1 in the fold-over."""

    y: FloatArray
    x: FloatArray
    block: IntArray
    cell: IntArray
    model: IntArray


def screen(
    groups: Groups, rows: Rows, better: int, margin_pct: float = DEFAULT_PCT, traits: Mapping[str, Trait] | None = None
) -> dict[str, Any]:
    """The analysis of a screen. ``better`` is 1 where more of the metric is better, -1 where less is."""
    fold = bool(rows.second)
    main, rest = aliases(rows.design, fold)
    runs = rows.design.rows * (2 if fold else 1)
    names = [*rows.arms, *rows.second]
    data = {model: _data(rows, {model: arms}) for model, arms in groups.items()}
    data = {model: found for model, found in data.items() if len(found.y)}
    out: dict[str, Any] = {
        "note": NOTE,
        "confirmatory": False,
        "selected_on_these_data": True,
        "design": {
            "name": rows.design.name,
            "runs": runs,
            "factors": list(rows.design.factors),
            "alias_main": main,
            "alias_unassigned": rest,
            "effect_variance_over_sigma2_one_block": 4 / runs,
        },
        "missing_rows": [arm for arm in names if not any(len(arms.get(arm, ())) for arms in groups.values())],
        "nonpositive_rows": sorted(
            {arm for arms in groups.values() for arm in names if arm in arms and (arms[arm].value <= 0).any()}
        ),
        "models": {model: _fit(found, rows.design.factors) for model, found in data.items()},
        "contrasts": {model: _contrasts(rows, groups[model]) for model in data},
    }
    if not data:
        return out | {"status": "no_data"}
    everything = _data(rows, {model: groups[model] for model in data})
    pooled = _fit(everything, rows.design.factors)
    out["pooled"] = pooled
    if "inference" in pooled or pooled["error"]["ms"] is None:
        return out
    out["heterogeneity"] = _heterogeneity(everything, rows.design.factors, pooled["error"])
    if not fold:
        out["unassigned"] = _unassigned(out["contrasts"], rows.design, pooled)
        out["foldover"] = _foldover(pooled, out["unassigned"], rows.design)
    estimates = {
        factor: (100 * found["effect"], 100 * found["se"])
        for factor, found in pooled["effects"].items()
        if found.get("se") is not None
    }
    out["shrinkage"] = shrink(estimates, pooled["error"]["df"])
    out["selection"] = _selection(out, better, margin_pct, traits or {})
    return out


# --- data and fits ------------------------------------------------------------------------------------------------


def _data(rows: Rows, groups: Groups) -> _Data:
    y: list[float] = []
    x: list[FloatArray] = []
    labels: list[tuple[int, int]] = []
    cells: list[tuple[int, int]] = []
    halves = [(rows.arms, rows.design.matrix), (rows.second, -rows.design.matrix)]
    for m, arms in enumerate(groups.values()):
        number = 0
        for names, matrix in halves:
            levels = coded(rows.design, matrix[:, : len(rows.design.factors)])
            for arm, level in zip(names, levels, strict=False):
                number += 1
                sample = arms.get(arm)
                for value, repetition in zip(sample.value, sample.repetition, strict=True) if sample else ():
                    if value > 0:
                        y.append(math.log(value))
                        x.append(level)
                        labels.append((m, int(repetition)))
                        cells.append((m, number))
    model = np.array([m for m, _ in labels], dtype=np.int64)
    return _Data(np.array(y), np.array(x).reshape(len(y), -1), _numbered(labels), _numbered(cells), model)


def _numbered(labels: Sequence[tuple[int, int]]) -> IntArray:
    known = {label: i for i, label in enumerate(sorted(set(labels)))}
    return np.array([known[label] for label in labels], dtype=np.int64)


def _dummies(of: IntArray) -> FloatArray:
    return np.asarray(of[:, None] == np.arange(int(of.max()) + 1)[None, :], dtype=float)


def _residual(x: FloatArray, y: FloatArray) -> tuple[float, int]:
    """Residual sum of squares and degrees of freedom of y on x, whatever its rank."""
    about = y - y.mean()  # every design here spans the constant
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    u = u[:, s > s.max() * 1e-10]
    rest = about - u @ (u.T @ about)
    return float(rest @ rest), len(y) - u.shape[1]


def _fit(data: _Data, factors: Sequence[str]) -> dict[str, Any]:
    """Effects of one model, or of all pooled, with the error of repeated rows (of one block:
    of what the fit leaves)."""
    blocks = _dummies(data.block)
    rss_fit, df_fit = _residual(np.column_stack([blocks, data.x]), data.y)
    rss_row, df_row = _residual(np.column_stack([blocks, _dummies(data.cell)]), data.y)
    replicated = df_row > 0
    rss, df = (rss_row, df_row) if replicated else (rss_fit, df_fit)
    ms = rss / df if df > 0 else None
    out: dict[str, Any] = {
        "n": len(data.y),
        "blocks": int(data.block.max()) + 1,
        "error": {"source": "replication" if replicated else "unassigned_columns", "df": df, "ms": ms},
    }
    if not replicated:
        out["flags"] = ["assumes_no_interactions"]
    estimable, beta, inverse = _estimate(blocks, data.x, data.y)
    effects: dict[str, dict[str, Any]] = {}
    for j, factor in enumerate(factors):
        effect = 2 * float(beta[j])
        effects[factor] = (
            {"effect": effect, "pct": 100 * math.expm1(effect)}
            if estimable[j]
            else {"effect": None, "pct": None, "status": "not_estimable"}
        )
    out["effects"] = effects
    if ms is None or df < FEWEST_DF:
        return out | {"inference": "insufficient_error_df"}
    if ms <= 1e-24 * max(1.0, float(data.y.mean()) ** 2):
        return out | {"inference": "deterministic", "status": "deterministic"}
    if replicated and df_fit > df_row:
        f = (rss_fit - rss_row) / (df_fit - df_row) / ms
        out["lack_of_fit"] = {"df1": df_fit - df_row, "df2": df, "F": f, "p": f_upper(f, df_fit - df_row, df)}
    use = [j for j in range(len(factors)) if estimable[j]]
    se = 2 * np.sqrt(ms * np.diag(inverse)[use])
    root = np.sqrt(np.diag(inverse)[use])
    correlation = inverse[np.ix_(use, use)] / np.outer(root, root)
    size = 2 * beta[use]
    t = size / se
    p_largest, reach, orthogonal = largest_p(t, correlation, df)
    p = [t_two_sided(float(x), df) for x in t]
    alone = t_quantile(0.975, df)
    adjusted = holm(p, len(factors))
    for i, j in enumerate(use):
        e, s = float(size[i]), float(se[i])
        effects[factors[j]] |= {
            "se": s,
            "df": df,
            "t": float(t[i]),
            "p": p[i],
            "p_holm": adjusted[i],
            "p_maxt": float(p_largest[i]),
            "ci_low_pct": 100 * math.expm1(e - alone * s),
            "ci_high_pct": 100 * math.expm1(e + alone * s),
            "sim_low_pct": 100 * math.expm1(e - reach * s),
            "sim_high_pct": 100 * math.expm1(e + reach * s),
        }
    return out | {"orthogonal": orthogonal, "c_sim": reach}


def _estimate(blocks: FloatArray, x: FloatArray, y: FloatArray) -> tuple[list[bool], FloatArray, FloatArray]:
    """Which coefficients of x can be estimated beside the blocks, all of them, and the inverse of X'X for them."""
    sums, counts = blocks.T @ np.column_stack([x, y]), blocks.sum(axis=0)[:, None]
    swept = np.column_stack([x, y]) - blocks @ (sums / counts)
    inner, about = swept[:, :-1], swept[:, -1]
    k = inner.shape[1]
    whole = np.linalg.matrix_rank(inner) if len(inner) else 0
    estimable = [
        bool(np.linalg.matrix_rank(np.delete(inner, j, axis=1)) < whole) if k > 1 else whole == 1 for j in range(k)
    ]
    gram = inner.T @ inner
    inverse = np.linalg.inv(gram) if whole == k else np.linalg.pinv(gram)
    return estimable, inverse @ (inner.T @ about), inverse


def _heterogeneity(data: _Data, factors: Sequence[str], error: Mapping[str, Any]) -> dict[str, Any]:
    """F of each factor by model, given model-specific slopes of the others. Empty for one model."""
    models = int(data.model.max()) + 1
    if models < 2:
        return {}
    blocks, own = _dummies(data.block), _dummies(data.model)
    slopes = [data.x[:, [j]] * own for j in range(len(factors))]
    rss_full, df_full = _residual(np.column_stack([blocks, *slopes]), data.y)
    out = {}
    for j, factor in enumerate(factors):
        columns = [data.x[:, [j]] if i == j else slope for i, slope in enumerate(slopes)]
        rss, df = _residual(np.column_stack([blocks, *columns]), data.y)
        if df > df_full:
            f = (rss - rss_full) / (df - df_full) / error["ms"]
            out[factor] = {"F": f, "df1": df - df_full, "df2": error["df"], "p": f_upper(f, df - df_full, error["df"])}
    return out


# --- contrasts ----------------------------------------------------------------------------------------------------


def _contrasts(rows: Rows, arms: Mapping[str, Sample]) -> dict[str, Any]:
    """Every column's contrast in percent of log over complete blocks, for the half-normal plot."""
    first = _cell_means(rows.arms, arms)
    if first is None:
        return {"status": "incomplete_blocks"}
    columns = rows.design.columns
    original = _of_columns(rows.design.matrix, first, columns)
    if rows.second:
        other = _cell_means(rows.second, arms)
        if other is None:
            return {"status": "incomplete_blocks"}
        folded = _of_columns(-rows.design.matrix, other, columns)
        return {
            "status": "ok",
            "original": original,
            "foldover": folded,
            "main": {label: (original[label] + folded[label]) / 2 for label in columns},
            "even": {label: (original[label] - folded[label]) / 2 for label in columns},
        }
    judged = lenth(original)
    size = {label: abs(value) for label, value in original.items()}
    largest_first = sorted(columns, key=lambda label: -size[label])
    return {
        "status": "ok",
        "contrasts": original,
        "lenth": judged,
        "half_normal": half_normal(original),
        "active_me": [label for label in largest_first if size[label] > judged["me"]],
        "active_sme": [label for label in largest_first if size[label] > judged["sme"]],
    }


def _of_columns(matrix: FloatArray, means: FloatArray, columns: Sequence[str]) -> dict[str, float]:
    return {label: float(200 * (matrix[:, j] * means).mean()) for j, label in enumerate(columns)}


def _cell_means(names: Sequence[str], arms: Mapping[str, Sample]) -> FloatArray | None:
    """Mean of ln y less its block's mean, for each row; None where a block lacks one."""
    values = [arms.get(name) for name in names]
    if any(sample is None or (sample.value <= 0).any() for sample in values):
        return None
    blocks = [set(map(int, sample.repetition)) for sample in values if sample is not None]
    if any(block != blocks[0] for block in blocks) or not blocks[0]:
        return None
    table = np.array([_by_block(sample) for sample in values if sample is not None])
    return np.asarray((table - table.mean(axis=0)).mean(axis=1))


def _by_block(sample: Sample) -> FloatArray:
    return np.asarray(np.log(sample.value[np.argsort(sample.repetition, kind="stable")]))


def _unassigned(contrasts: Mapping[str, Any], design: Design, pooled: Mapping[str, Any]) -> dict[str, Any]:
    """Mean contrast of each column that no factor has: where they are not nothing, pairs are at work."""
    if any(found["status"] != "ok" for found in contrasts.values()):
        return {}
    error = pooled["error"]
    se = 200 * math.sqrt(error["ms"] / pooled["n"])
    out = {}
    for column in design.unassigned:
        mean = float(np.mean([found["contrasts"][column] for found in contrasts.values()]))
        p = modulus_p(mean / se, len(design.unassigned), error["df"])
        out[column] = {"contrast": mean, "se": se, "t": mean / se, "p_maxt": p}
    return out


# --- decisions ----------------------------------------------------------------------------------------------------


def _foldover(pooled: Mapping[str, Any], unassigned: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Whether a second half with all signs reversed is worth its runs."""
    active = [factor for factor, found in pooled["effects"].items() if found.get("p_maxt", 1.0) < ALPHA]
    grounds = {
        "two_or_more_active": len(active) >= 2,
        "lack_of_fit": (pooled.get("lack_of_fit") or {}).get("p", 1.0) < ALPHA,
        "unassigned_column_active": any(found["p_maxt"] < ALPHA for found in unassigned.values()),
    }
    reasons = [name for name, true in grounds.items() if true]
    clear = design.name == "res4_16"
    return {
        "active": active,
        "reasons": reasons,
        "recommended": bool(reasons) and not clear,
        "not_applicable_resolution_4": clear,
    }


def _selection(found: Mapping[str, Any], better: int, margin_pct: float, traits: Mapping[str, Trait]) -> dict[str, Any]:
    """Why each factor is not carried on (no reason: a candidate), the candidates by shrunken gain,
    and the first three."""
    effects, shrunken = found["pooled"]["effects"], found["shrinkage"]["effects"]
    reasons: dict[str, list[str]] = {}
    for factor, pooled in effects.items():
        never = traits.get(factor, Trait()).never
        why = [never] if never else []
        if pooled["effect"] is None:
            reasons[factor] = [*why, "not_estimable"]
            continue
        if not pooled["p_maxt"] < ALPHA:
            why.append("not_significant")
        if better * pooled["effect"] <= 0:
            why.append("harmful_direction")
        for model, fit in found["models"].items():
            own = fit["effects"][factor]
            if own.get("ci_low_pct") is None:
                continue
            beyond = own["ci_low_pct"] < -margin_pct if better > 0 else own["ci_high_pct"] > margin_pct
            if beyond:
                why.append(f"harm_possible:{model}")
        reasons[factor] = why
    candidates = [factor for factor, why in reasons.items() if not why and factor in shrunken]
    ranking = by_gain(
        candidates, shrunken, {f: 100 * e["se"] for f, e in effects.items() if e.get("se")}, better, traits
    )
    chosen = ranking[:MOST_CHOSEN]
    out: dict[str, Any] = {"reasons": reasons, "ranking": ranking, "selected": chosen}
    out["expected_gain_pct_log"] = sum(better * shrunken[factor]["shrunken"] for factor in chosen)
    out["flags"] = ["interactions_unresolved"] if (found.get("foldover") or {}).get("recommended") else []
    return out


def by_gain(
    candidates: Sequence[str],
    shrunken: Mapping[str, Mapping[str, float]],
    se_pct: Mapping[str, float],
    better: int,
    traits: Mapping[str, Trait],
) -> list[str]:
    """By shrunken gain, largest first; of two neighbours within a standard error of the better one,
    that with less privilege first."""
    gain = {factor: better * shrunken[factor]["shrunken"] for factor in candidates}
    ranking = sorted(candidates, key=lambda factor: -gain[factor])
    for _ in ranking:
        for i in range(len(ranking) - 1):
            first, second = ranking[i], ranking[i + 1]
            near = gain[first] - gain[second] < se_pct[first] and gain[first] >= gain[second]
            if near and traits.get(first, Trait()).privilege > traits.get(second, Trait()).privilege:
                ranking[i], ranking[i + 1] = second, first
    return ranking
