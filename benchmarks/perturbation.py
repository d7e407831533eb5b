"""Does the harness slow the engine down? The engine's own throughput, bare against under the full harness, in pairs.

    python -m benchmarks perturbation [--pairs 15] [--seconds 3] [--no-floor]

Under the harness: attempts of a real ``campaign run`` (Ray, both actors, supervisor, 10 Hz telemetry, status once a
second, no terminal), native-chroot. Bare: the very shell line of that attempt's ``command.json`` in a plain ``sh``
while every process of the harness is stopped (SIGSTOP). Both wait the same second of rest after the run before. The
order alternates inside the pairs, harness first in odd ones and bare first in even ones (ABBA), so a drift of the
machine cancels. A pair's figure is log(throughput under the harness / throughput bare), the table gives the mean's
exponential with its 95 % interval by Student's t. The noise floor is the same figure from as many pairs of bare against
bare, run in the same gaps.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy import stats

from benchmarks.campaigns import GATE, config, console, elsewhere, machine, running, wait

REST_S = GATE["cooldown_s"]
TOKENS_S = 700
"""About what random-llama-8m decodes in a second on one thread; only sets how long an attempt lasts."""


def throughput(output: Path) -> float:
    """Tokens per second by the engine's own report. vLLM's counts prompt tokens too, which leaves a ratio as it is."""
    report = json.loads((output / "report.json").read_bytes())
    performance = report.get("performance")
    return float(performance["token_throughput_tok_s"] if performance else report["tokens_per_second"])


def bare(command: dict[str, Any], compiled: Path | None = None) -> float:
    """Rest, run the attempt's command by itself, and read its report. ``compiled`` are the prepared compile caches, of
    which it gets a copy, as an attempt does."""
    time.sleep(REST_S)
    with tempfile.TemporaryDirectory(prefix="campaign-bare-") as name:
        output, copy = Path(name, "output"), Path(name, "caches") if compiled else None
        output.mkdir()
        output.chmod(0o777)
        if compiled and copy:
            shutil.copytree(compiled, copy, symlinks=True)
        with (output / "bare.log").open("wb") as log:
            line = elsewhere(command, output, copy)
            code = wait(subprocess.Popen(["sh", "-c", line], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/"))
        if code != 0:
            raise RuntimeError(f"the bare command ended with code {code}: {(output / 'bare.log').read_text()[-2000:]}")
        return throughput(output)


def measure(pairs: int, seconds: float, floor: bool) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Pairs of throughput (harness, bare), and (bare, bare), tok/s."""
    requests = max(4, round(seconds * TOKENS_S / 128))
    # One attempt in front that nobody counts: it warms the page cache and everything that loads late.
    given = config("perturbation", ["native-chroot"], pairs + 1, requests=requests, output_tokens=128)
    harness: list[float] = []
    alone: list[float] = []
    twins: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="campaign-bench-") as folder, running(given, Path(folder)) as campaign:
        for number in range(pairs + 1):
            event = campaign.finished(number + 1)
            if number > 0:
                harness.append(throughput(campaign.attempt(event) / "output"))
            # Bare runs due in this gap: the second of an odd pair, the first of the even pair that follows.
            due = (number % 2 == 1) + (number % 2 == 1 and number < pairs)
            if due:
                with campaign.standing_still():
                    command = campaign.command(event)
                    alone += [bare(command) for _ in range(due)]
                    if floor:
                        twins += [(bare(command), bare(command)) for _ in range(due)]
        campaign.end()
    return list(zip(harness, alone, strict=True)), twins


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Geometric mean of first over second, its 95 % t-interval, and the SD of one pair's log ratio."""
    logs = np.log([first / second for first, second in pairs])
    mean, sd = float(logs.mean()), float(logs.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * sd / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half), sd


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks perturbation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=3.0, help="steady state of one attempt, about")
    parser.add_argument("--no-floor", action="store_true", help="leave the bare/bare pairs out")
    parser.add_argument("--json", type=Path, help="write the single figures there too")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs: an interval needs at least 2")
    before = machine()
    harness, floor = measure(options.pairs, options.seconds, not options.no_floor)
    table = Table(title=f"Perturbation, {before}")
    for heading in ("tok/s", "pairs", "first", "second", "ratio", "95 % interval", "pair SD"):
        table.add_column(heading, justify="left" if heading == "tok/s" else "right", no_wrap=True)
    for label, pairs in (("harness / bare", harness), ("bare / bare", floor)):
        if len(pairs) > 1:
            value, low, high, sd = ratio(pairs)
            first, second = (f"{np.mean([pair[side] for pair in pairs]):.1f}" for side in (0, 1))
            table.add_row(
                label, str(len(pairs)), first, second, f"{value:.4f}", f"{low:.4f} – {high:.4f}", f"{100 * sd:.2f} %"
            )
    out = console()
    out.print(table)
    out.print(
        "How: attempts of one real `campaign run` (native-chroot) against their own shell line while the whole "
        "harness is stopped; ABBA order; mean of log ratios with Student's t. The aim is 1.000 within 0.005."
    )
    if options.json:
        options.json.write_text(json.dumps({"harness_bare": harness, "bare_bare": floor}, indent=1))
    return 0
