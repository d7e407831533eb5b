"""What it takes to analyse and report a campaign of the study's size, beside a plain pandas and pingouin script.

    python -m benchmarks analysis [--folder DIR] [--rounds 1] [--without-peer]

The campaign never ran; it is written in the layout of the store and marked as simulated: ten models in three arms, 30
repetitions, 900 runs of nine minutes sampled at 10 Hz (5 million samples, one Parquet file for each run, as the driver
leaves them), 1000 requests a run without times per token, as TensorRT-LLM gives them, and every metric and sensor of a
GPU unit. ``--folder`` keeps it and takes it again.

Each part runs in a process of its own, its time taken from outside with start and imports:

analysis  connect, run table, every test with 10 000 BCa resamples for every comparison, latency percentiles with 10 000
          resamples of runs, tables as Parquet; nothing of it is there before. Then every sample summarised by attempt
          and stage.
report    the HTML page with its figures and tables, the analysis being there.
print     every figure at both widths as PDF, SVG and PNG; the tables as LaTeX, Markdown and CSV.
pandas    ``benchmarks/pandas_pingouin.py`` over the same files, in an environment of its own that uv makes. Its
          bootstrap of runs for the latency percentiles, a loop, does a hundredth of the resamples; what all of them
          would take is added and said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.campaigns import PROJECT, BenchmarkFailed, console, machine
from benchmarks.peers import PeerFailed, install

MODELS = tuple(f"model-{i:02d}" for i in range(1, 11))
ARMS = ("native-chroot", "docker-baseline", "docker-optimised")
EFFECTS_PCT = {"docker-baseline": -1.5, "docker-optimised": -0.5}
REPETITIONS = 30
PEER = "pingouin==0.7.0"
LATENCY_RESAMPLES, OF = 100, 10_000
SCRIPT = Path(__file__).with_name("pandas_pingouin.py")
AGREEMENT = {
    "mean_reference": "mean_reference",
    "mean_treatment": "mean_treatment",
    "shapiro_p_reference": "shapiro_p_reference",
    "brown_forsythe_p": "brown_forsythe_p",
    "student_p": "student_p",
    "welch_p": "welch_p",
    "mwu_p": "mwu_p",
    "paired_p": "paired_p",
    "wilcoxon_p": "wilcoxon_p",
    "cohens_d": "cohens_d",
    "hedges_g": "hedges_g",
    "tost_ratio_p": "tost_ratio_p",
}
"""Column of the peer to ours, where both are closed forms."""


# --- the campaign ------------------------------------------------------------------------------------------


def campaign(folder: Path, models: int = len(MODELS), repetitions: int = REPETITIONS) -> Path:
    """The campaign in ``folder``, made unless it is there."""
    from tests.synthetic import Shape, write

    if (folder / "campaign.json").exists():
        return folder
    shape = Shape(300, 240, 15, requests=1000, output_tokens=128, gaps=False, everything=True, attempts_per_file=1)
    return write(
        folder, models=MODELS[:models], environments=ARMS, repetitions=repetitions, effects_pct=EFFECTS_PCT, shape=shape
    )


# --- the parts, each in a process of its own -------------------------------------------------------------------


def analysis(results: Path) -> None:
    from campaign.analysis import cache as evidence

    con = evidence.connect(results)
    con.execute("CREATE TABLE summary AS FROM telemetry_summary")


def report(results: Path) -> None:
    from campaign.report import page

    page.write(results)


def paper(results: Path) -> None:
    from campaign.report import paper as figures
    from campaign.report.paper import article

    figures.write(results)
    article.write(results)


PARTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "analysis": (analysis, "analysis"),
    "report": (report, "report"),
    "print": (paper, "report/print"),
}
"""Part to what does it, and the folder that is removed before."""


def timed(name: str, results: Path) -> float:
    """Seconds of a part in a fresh process."""
    shutil.rmtree(results / PARTS[name][1], ignore_errors=True)
    return _seconds([sys.executable, "-m", "benchmarks.analysis", "--part", name, "--folder", str(results)])[0]


def peer(python: Path, results: Path, out: Path) -> tuple[float, float]:
    """Seconds of the pandas script: as measured, and with all resamples of the latency percentiles."""
    command = [str(python), str(SCRIPT), str(results), str(out), "--latency-resamples", str(LATENCY_RESAMPLES)]
    took, told = _seconds(command)
    parts = {line["part"]: float(line["seconds"]) for line in map(json.loads, told.splitlines())}
    return took, took + (OF / LATENCY_RESAMPLES - 1) * parts["latency resamples"]


def _seconds(command: list[str]) -> tuple[float, str]:
    # A user's Python keeps the bytecode of what it imports.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, env=variables)
    took = time.monotonic() - began
    if told.returncode != 0:
        raise BenchmarkFailed(f"{' '.join(command[-4:])} ended with code {told.returncode}:\n{told.stderr[-2000:]}")
    return took, told.stdout


# --- agreement -------------------------------------------------------------------------------------------------


def agreement(results: Path, theirs: Path) -> tuple[int, dict[str, float]]:
    """Comparisons that both have, and the greatest difference by figure.

    Relative for closed forms; for a limit of an interval in widths of the interval, since both resample by other
    streams.
    """
    import duckdb
    import pandas as pd

    key = ["model", "treatment", "reference", "metric"]
    con = duckdb.connect()
    ours = con.execute(
        f"""SELECT c.*, e.p AS tost_ratio_p, pct_change
        FROM '{results}/analysis/comparisons.parquet' AS c
        JOIN '{results}/analysis/equivalence.parquet' AS e USING (unit, {", ".join(key)})
        WHERE c.analysis_set = 'protocol' AND c.status = 'ok' AND e.layer = 'independent' AND e.margin_pct = 2"""
    ).df()
    both = ours.merge(pd.read_parquet(theirs), on=key, suffixes=("", "_theirs"))
    found = {name: _relative(both[name], both[f"{name}_theirs"]) for name in AGREEMENT}
    width = both["bca_diff_high"] - both["bca_diff_low"]
    for side in ("low", "high"):
        off = (both[f"bca_diff_{side}"] - both[f"bca_diff_{side}_theirs"]).abs() / width
        found[f"bca_diff_{side}, in widths"] = float(off.max())
    return len(both), found


def _relative(a: Any, b: Any) -> float:
    return float(((a - b).abs() / a.abs().clip(lower=1e-300)).max())


# --- all of it ---------------------------------------------------------------------------------------------------


def size(results: Path) -> str:
    """How much there is to analyse."""
    from campaign.analysis import views

    con = views.connect(results)
    runs, samples, requests, comparisons = con.execute(
        """SELECT (SELECT count(*) FROM runs WHERE accepted), (SELECT count(*) FROM telemetry), (SELECT count(*)
        FROM requests),
            (SELECT count(*) FROM comparisons WHERE analysis_set = 'protocol' AND bca_diff_low IS NOT NULL)"""
    ).fetchall()[0]
    return (
        f"{runs} runs, {samples:,} samples, {requests:,} requests, {comparisons} comparisons with BCa intervals "
        f"(of two statistics each, and of the blocks): {3 * comparisons * OF:,} resamples of an arm or two"
    )


@contextlib.contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="campaign-analysis-") as made:
        yield Path(made)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, help="where the campaign is, or is to be kept")
    parser.add_argument("--rounds", type=int, default=1, help="how often each part is timed")
    parser.add_argument("--without-peer", action="store_true", help="leave the pandas script out; it takes minutes")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part][0](options.folder)
        return 0
    before = machine()
    with place(options.folder) as folder, tempfile.TemporaryDirectory(prefix="campaign-peer-") as beside:
        results = campaign(folder)
        ours: dict[str, list[float]] = {name: [] for name in PARTS}
        theirs: list[tuple[float, float]] = []
        out, python, skipped = Path(beside) / "peer.parquet", None, "it was not asked for"
        if not options.without_peer:
            try:
                python = install(Path(beside) / "environment", PEER, "pyarrow") / "python"
            except PeerFailed as problem:
                skipped = str(problem)
        for _ in range(options.rounds):
            for name in PARTS:
                ours[name].append(timed(name, results))
            if python is not None:
                theirs.append(peer(python, results, out))
        show(before, ours, theirs)
        print(size(results))
        if theirs:
            count, apart = agreement(results, out)
            print(f"Greatest difference over the {count} comparisons that both made, relative unless said otherwise:")
            print("\n".join(f"  {name:<26}{value:.1e}" for name, value in apart.items()))
        else:
            print(f"pandas and pingouin are left out: {skipped}")
    return 0


def show(before: str, ours: dict[str, list[float]], theirs: list[tuple[float, float]]) -> None:
    table = Table(title=before)
    for heading in ("s", "n", "median", "min", "max", "aim"):
        table.add_column(heading, justify="left" if heading in {"s", "aim"} else "right", no_wrap=True)
    both = [a + b for a, b in zip(ours["report"], ours["print"], strict=True)]
    rows = [
        ("analysis, all of it", ours["analysis"], "< 10"),
        ("report: page with figures", ours["report"], ""),
        ("print: figures and tables", ours["print"], ""),
        ("report and print", both, "< 60"),
    ]
    if theirs:
        rows.append(("pandas + pingouin, latency resamples / 100", [measured for measured, _ in theirs], ""))
        rows.append(("pandas + pingouin, with all of them", [full for _, full in theirs], ""))
    for label, values, aim in rows:
        figures = (f"{figure:.1f}" for figure in (statistics.median(values), min(values), max(values)))
        table.add_row(label, str(len(values)), *figures, aim)
    console().print(table)
    if theirs:
        median = statistics.median(ours["analysis"])
        measured, full = (statistics.median(column) for column in zip(*theirs, strict=True))
        print(
            f"pandas + pingouin take {measured / median:.1f} times as long as measured, "
            f"{full / median:.0f} times with all resamples."
        )


if __name__ == "__main__":
    sys.exit(main())
