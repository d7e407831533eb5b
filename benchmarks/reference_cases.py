"""Expected, obtained, difference: the shipped analysis against reference values from independent implementations.

    python benchmarks/reference_cases.py [FOLDER] [--all] [--strict]

FOLDER holds cases, each with ``runs.csv`` and ``expected.json`` (default: tests/fixtures/stats). Every number, word and
list in ``expected.json`` is looked up under the same path in the analysis and compared within the tolerance stored in
the case. ``--all`` prints every quantity, ``--shown`` the table of docs/statistics.md, ``--strict`` holds everything
closed-form to 1e-9. Exit status 1 on any failure.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import sequential_cases
from campaign.analysis.statistics import analyze_file
from campaign.analysis.statistics.screen_table import analyze_screen_file
from campaign.analysis.statistics.two_level import precision

DEFAULT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "stats"
ABSENT = object()
NOT_OUTPUT = {"case", "settings", "computed_with", "tolerance", "r_wilcox", "tol_low", "tol_high"}
IN_TOLERANCES = {"resampled", "dunnett", "max-t"}
"""Kinds whose reference is itself drawn at random: the difference is told in tolerances."""
CLUSTER = ("_cluster", "diff_cluster", "two_level", "block_bootstrap")
PRINTED = (1e-9, 1e-11)
"""The reference values are printed with twelve digits."""


SHOWN = {
    "s04_sequential": {
        "vectors.boundaries[0].c[0]": "boundary at look 1 of 3, normal, 0.05/9",
        "vectors.boundaries[0].c[2]": "at look 3",
        "vectors.exact_t[0].nominal_exact_t[0]": "nominal level at look 1, exact t, 0.05/9",
        "vectors.exact_t[0].nominal_exact_t[2]": "at look 3",
        "main.alpha-7b.token_throughput_tps.looks[0].p_tost": "p of equivalence at look 1",
        "main.alpha-7b.token_throughput_tps.looks[0].p_seq_equiv": "sequential p of it",
        "main.alpha-7b.token_throughput_tps.looks[0].p_adj_equiv": "after Holm over the family",
        "main.alpha-7b.token_throughput_tps.looks[0].rci.ci95.low_pct": "repeated 95 % interval, from (%)",
        "main.alpha-7b.token_throughput_tps.looks[0].rci.ci95.high_pct": "to (%)",
        "main.eta-4b.token_throughput_tps.estimate.pct": "median-unbiased estimate after a stop at look 2 (%)",
        "vectors.confidence_sequence[0].radius_se": "interval at any time, 10 blocks, in standard errors",
        "plan[1].expected_blocks": "expected blocks, margin 1 %, spread 0.71 %, no difference",
        "main.blocks_used.alpha-7b": "blocks used by a model decided at look 1",
    },
    "s05_factorial": {
        "screens.pb12.pooled.effects.cpu_performance.pct": "pb12, three models: effect of cpu_performance (%)",
        "screens.pb12.pooled.effects.cpu_performance.se": "its standard error (log)",
        "screens.pb12.pooled.effects.net_host.pct": "effect of net_host (%)",
        "screens.pb12.pooled.effects.net_host.p_maxt": "its p over all factors (max-t)",
        "screens.pb12.pooled.lack_of_fit.F": "lack of fit, F",
        "screens.pb12.shrinkage.effects.cpu_performance.shrunken": "cpu_performance, shrunken (%)",
        "screens.pb12.contrasts.alpha-7b.lenth.pse": "Lenth's pseudo standard error, one model (%)",
        "screens.pb12.selection.selected": "chosen",
        "design_table[res4_16 x 2, 1].critical_maxt": "res4_16, two blocks: critical t over six factors",
        "design_table[res4_16 x 2, 1].mde80_over_sigma": "smallest effect found with 80 %, in σ",
    },
}
"""What docs/statistics.md prints of the newer cases: path to what it is."""


@dataclass(frozen=True)
class Check:
    """One quantity: ``difference`` is relative, or in tolerances where the reference was drawn at random;
    None for words."""

    path: str
    expected: Any
    obtained: Any
    difference: float | None
    kind: str
    passed: bool


def check_case(folder: Path, strict: bool = False) -> list[Check]:
    """Analyse the case's table and compare everything that the case expects."""
    expected = json.loads((folder / "expected.json").read_text())
    if "screens" in expected:
        return [*check_screens(folder, expected, strict)]
    if "campaigns" in expected:
        return [
            check
            for path, want, got in sequential_cases.pairs(folder, expected)
            for check in walk(path, want, got, expected["tolerance"], strict)
        ]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.json"
        requests = folder / "requests.csv"
        runs = folder / "runs.csv"
        analyze_file(
            runs if runs.exists() else None,
            out,
            expected.get("settings", {}).get("reference"),
            requests if requests.exists() else None,
        )
        obtained = json.loads(out.read_text())
    tolerance = expected.get("tolerance", {})
    found: list[Check] = []
    for section, want in expected.items():
        if section in NOT_OUTPUT:
            continue
        if isinstance(want, list) and want and isinstance(want[0], dict) and "model" in want[0]:
            for entry in want:
                name = "/".join(str(entry[key]) for key in ("model", "metric", "analysis_set") if key in entry)
                found += walk(
                    f"{section}[{name}]", entry, _matching(obtained.get(section, []), entry), tolerance, strict
                )
        else:
            found += walk(section, want, obtained.get(section, ABSENT), tolerance, strict)
    return found


def check_screens(folder: Path, expected: dict[str, Any], strict: bool) -> Iterator[Check]:
    """Two-level screens, each from its run table and design; and what designs can see."""
    tolerance = expected["tolerance"]
    for name, want in expected["screens"].items():
        given = want["settings"]
        nested = [tuple(given["nested"])] if "nested" in given else None
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "out.json"
            analyze_screen_file(folder / given["runs"], folder / given["design"], out, nested=nested)
            (obtained,) = json.loads(out.read_text())["screens"].values()
        # Only where the estimates are correlated is the multivariate t integrated with random points.
        drawn = not want.get("pooled", {}).get("orthogonal", True)
        yield from walk(f"screens.{name}", want, obtained, tolerance | {"drawn": drawn}, strict)
    for row in expected.get("design_table", []):
        name, fold = row["design"].removesuffix("_foldover"), row["design"].endswith("_foldover")
        found = precision(name, row["factors"], row["blocks"], row["models"], fold)
        path = f"design_table[{row['design']} x {row['blocks']}, {row['models']}]"
        obtained = {
            "runs_per_model_without_native": found.runs,
            "effect_variance_over_sigma2": found.variance,
            "error_df": found.df,
            "critical_maxt": found.critical,
            "mde80_over_sigma": found.mde80,
        }
        asked = {key: row[key] for key in obtained}
        yield from walk(path, asked, obtained, tolerance | {"drawn": name == "one_at_a_time"}, strict)


def _matching(entries: list[dict[str, Any]], wanted: dict[str, Any]) -> Any:
    """The first entry with the same model, metric and analysis set, as far as they are stated."""
    keys = [key for key in ("model", "metric", "analysis_set", "unit") if key in wanted]
    return next((e for e in entries if all(e.get(key) == wanted[key] for key in keys)), ABSENT)


def _same_row(rows: list[dict[str, Any]], wanted: dict[str, Any]) -> Any:
    """The row of a power table with the same n or d, alpha and power."""
    keys = [key for key in ("n", "d", "alpha", "power") if key in wanted]
    return next((r for r in rows if all(math.isclose(r[key], wanted[key], rel_tol=1e-9) for key in keys)), ABSENT)


def walk(path: str, want: Any, got: Any, tolerance: dict[str, Any], strict: bool) -> Iterator[Check]:
    """Compare leaf by leaf. A null that is expected may be absent."""
    if isinstance(want, dict):
        yield from _mapping(path, want, got, tolerance, strict)
    elif isinstance(want, list):
        yield from _list(path, want, got, tolerance, strict)
    else:
        yield leaf(path, want, got, tolerance, strict)


def _mapping(path: str, want: dict[str, Any], got: Any, tolerance: dict[str, Any], strict: bool) -> Iterator[Check]:
    for key, value in want.items():
        if key in NOT_OUTPUT:
            continue
        name = "flags" if key == "expected_flags" else key
        inner = got.get(name, ABSENT) if isinstance(got, dict) else ABSENT
        limit = want.get(f"tol_{key}")
        if limit is None and key in ("low", "high") and any(word in path for word in CLUSTER):
            limit = 0.1 * (want["high"] - want["low"])
        if limit is not None and isinstance(value, int | float):
            yield resampled(f"{path}.{key}", value, inner, limit)
        else:
            yield from walk(f"{path}.{name}", value, inner, tolerance, strict)


def _list(path: str, want: list[Any], got: Any, tolerance: dict[str, Any], strict: bool) -> Iterator[Check]:
    if not isinstance(got, list) or len(got) < len(want):
        yield Check(path, want, None if got is ABSENT else got, None, "list", False)
    elif want and all(isinstance(x, dict) and "alpha" in x for x in want):
        for row in want:
            place = f"{path}[{row.get('n', row.get('d'))}, {row['alpha']:.2g}]"
            yield from walk(place, row, _same_row(got, row), tolerance, strict)
    elif all(isinstance(x, str) for x in want):
        ordered = path.rsplit(".", 1)[-1] in ("ranking", "selected", "active_me", "active_sme")
        yield Check(path, want, got, None, "list", want == got if ordered else sorted(want) == sorted(got))
    else:
        for i, (a, b) in enumerate(zip(want, got, strict=False)):
            yield from walk(f"{path}[{i}]", a, b, tolerance, strict)


def leaf(path: str, want: Any, got: Any, tolerance: dict[str, Any], strict: bool) -> Check:
    """One value."""
    if want is None:
        return Check(path, None, None if got is ABSENT else got, None, "null", got is ABSENT or got is None)
    if isinstance(want, bool | str) or not isinstance(got, int | float) or isinstance(got, bool):
        return Check(path, want, "absent" if got is ABSENT else got, None, "word", want == got)
    rtol, atol, kind = limits(path, tolerance, strict)
    gap = abs(got - want)
    allowed = atol + rtol * abs(want)
    if kind in IN_TOLERANCES:
        return Check(path, want, got, gap / allowed, kind, gap <= allowed)
    relative = gap / abs(want) if want else (0.0 if gap <= atol else math.inf)
    return Check(path, want, got, relative, kind, gap <= allowed)


def resampled(path: str, want: float, got: Any, limit: float) -> Check:
    """A bootstrap limit: the difference in units of its Monte-Carlo tolerance."""
    if not isinstance(got, int | float):
        return Check(path, want, "absent" if got is ABSENT else got, None, "resampled", False)
    gap = abs(got - want) / limit
    return Check(path, want, got, gap, "resampled", gap <= 1)


def limits(path: str, tolerance: dict[str, Any], strict: bool) -> tuple[float, float, str]:
    """Relative and absolute tolerance of a path, and the kind of quantity it is."""
    name, drawn = path.rsplit(".", 1)[-1], bool(tolerance.get("drawn"))
    is_p = name in ("p", "p_low", "p_high", "document_p", "p_exact", "p_asymptotic", "gm_p") or name.endswith(
        ("_p", "]")
    )
    kinds: tuple[tuple[bool, str | tuple[float, float], str], ...] = (
        (drawn and name == "p_maxt", "p_maxt", "max-t"),
        (
            drawn and name in ("c_sim", "sim_low_pct", "sim_high_pct", "critical_maxt", "mde80_over_sigma"),
            "sim_limits",
            "max-t",
        ),
        ("exact_t" in path, "exact_t", "exact t"),
        (
            "median_unbiased" in path or ".estimate." in path or path.endswith("look_equivalent_exact"),
            (1e-6, 2e-7),
            "solved",
        ),
        (".bootstrap." in path and name == "z0", (0.0, 0.06), "resampled"),
        ("dunnett_p" in path or ("rcbd_dunnett" in path and name == "p"), "dunnett_p", "dunnett"),
        ("dunnett_ci" in path, "dunnett_ci", "dunnett"),
        ("lmm_" in path, "mixed_model", "mixed model"),
        ("normality" in path or name == "shapiro_diff_p", "shapiro.p", "shapiro"),
        (
            name.startswith(("d_ci", "g_ci", "dz_ci")),
            PRINTED if strict else "noncentral_t_limits",
            "noncentral t",
        ),
        (strict, PRINTED, "closed form"),
        (is_p, "p_values", "closed form"),
        (True, "default", "closed form"),
    )
    limit, kind = next((limit, kind) for applies, limit, kind in kinds if applies)
    if isinstance(limit, tuple):
        return *limit, kind
    stated = tolerance.get(limit, tolerance["default"] if limit == "p_values" else {})
    return float(stated.get("rtol", 0.0)), float(stated.get("atol", 0.0)), kind


def shown(cases: Iterable[Path]) -> Iterator[str]:
    """Reference values beside ours, as Markdown."""
    yield "| case | what | reference | ours | difference |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for case in cases:
        checks = {check.path: check for check in check_case(case)} if case.name in SHOWN else {}
        for path, what in SHOWN.get(case.name, {}).items():
            check = checks[path]
            told = "none" if check.difference in (None, 0.0) else f"{check.difference:.1g}"
            told += " of tolerance" if check.kind in IN_TOLERANCES else ""
            yield (
                f"| `{case.name[:3]}` | {what} | {_figure(check.expected)} | {_figure(check.obtained)} | "
                f"{told if check.passed else 'FAILED'} |"
            )


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> int:
    """Print the table; 0 when everything agrees."""
    if "--shown" in arguments:
        print("\n".join(shown(DEFAULT / name for name in SHOWN)))
        return 0
    strict, everything = "--strict" in arguments, "--all" in arguments
    folders = [Path(a) for a in arguments if not a.startswith("--")]
    cases = sorted(p.parent for p in (folders[0] if folders else DEFAULT).glob("*/expected.json"))
    print(f"{'case':<18}{'kind':<14}{'compared':>9}{'largest difference':>20}  {'where':<62}{'failures':>9}")
    failures: list[Check] = []
    for case in cases:
        checks = check_case(case, strict)
        for kind in dict.fromkeys(c.kind for c in checks):
            mine = [c for c in checks if c.kind == kind]
            numbers = [c for c in mine if c.difference is not None]
            worst = max(numbers, key=lambda c: c.difference or 0.0, default=None)
            size = "" if worst is None else f"{worst.difference:.2g}" + (" tol" if kind in IN_TOLERANCES else " rel")
            failed = [c for c in mine if not c.passed]
            where = "" if worst is None else worst.path[-60:]
            print(f"{case.name:<18}{kind:<14}{len(mine):>9}{size:>20}  {where:<62}{len(failed):>9}")
            failures += failed
            if everything:
                for c in mine:
                    print(f"    {c.path}: expected {c.expected}, obtained {c.obtained}, difference {c.difference}")
    for c in failures:
        print(f"FAILED {c.path}: expected {c.expected}, obtained {c.obtained}, difference {c.difference}")
    print(f"{len(failures)} failures" if failures else "all within tolerance")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
