"""What telemetry costs and how well it keeps time: coverage, jitter and CPU share at 10 and 100 Hz.

    python benchmarks/telemetry.py [--seconds 30] [--load]

Each rate runs in a process of its own, as on a unit, following a process of its own as the attempt. CPU time is that of
the sampling and the writing thread by their own clocks, as reported with every attempt, and that of the whole process
by the kernel (getrusage), which also counts loading and the Parquet conversion. Where there is an NVIDIA GPU
``nvidia-smi -lms 100`` runs beside it by itself for the same time. The bare timer is the floor: it only sleeps to the
same schedule, so what it shows is the host's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SMI_FIELDS = "timestamp,temperature.gpu,power.draw,utilization.gpu,clocks.sm,pstate,clocks_event_reasons.active"


def sample(rate_hz: float, seconds: float) -> dict[str, Any]:
    """Sample in this process; what the sampler says of itself, and what the kernel says of the process."""
    from actors.telemetry.actor import TelemetryActor

    with tempfile.TemporaryDirectory() as spool:
        attempt = subprocess.Popen(["sleep", "infinity"])
        actor = TelemetryActor("bench", spool, rate_hz)
        time.sleep(1.5)  # past the first spill, which loads what loads late
        before = resource.getrusage(resource.RUSAGE_SELF)
        actor.mark("bench", 1, "run", attempt.pid)
        time.sleep(seconds)
        actor.mark("bench", 1, "idle")
        after = resource.getrusage(resource.RUSAGE_SELF)
        summary = actor.summary("bench", 1)
        began = time.perf_counter()
        actor.flush()
        flush_ms = (time.perf_counter() - began) * 1e3
        size = sum(len(content) for _, content in actor.ready())
        told = actor.describe()
        actor.close()
        attempt.kill()
        attempt.wait()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "expected": summary.samples_expected,
        "samples": summary.samples,
        "coverage_pct": summary.coverage_pct,
        "jitter_p50_ms": summary.jitter_p50_ms,
        "jitter_p99_ms": summary.jitter_p99_ms,
        "longest_gap_ms": summary.longest_gap_ms,
        "cpu_pct": summary.sampler_cpu_pct,
        "process_cpu_pct": 100 * cpu_s / seconds,
        "rss_mib": after.ru_maxrss / 1024,
        "flush_ms": flush_ms,
        "bytes_per_sample": size / max(1, summary.samples),
        "nvml_cost_us": told["sensors"]["nvml"]["cost_us"],
        "thread": told["thread"],
    }


def bare_timer(rate_hz: float, seconds: float) -> dict[str, Any]:
    """A loop that only sleeps to the same schedule at the same priority: what this host's scheduler allows at best."""
    from actors.telemetry.sampler import Sampler

    late_ms: list[float] = []
    timer = Sampler(rate_hz, lambda _, late_ns: late_ms.append(late_ns / 1e6))
    began_ns = time.monotonic_ns()
    timer.start()
    time.sleep(seconds)
    timer.stop()
    ended_ns = time.monotonic_ns()
    off = sorted(abs(b - a) for a, b in pairwise(late_ms))
    expected = timer.ticks(began_ns, ended_ns)
    return {
        "expected": expected,
        "samples": len(late_ms),
        "coverage_pct": 100 * min(1.0, len(late_ms) / expected),
        "jitter_p50_ms": off[len(off) // 2],
        "jitter_p99_ms": off[int(len(off) * 0.99)],
        "cpu_pct": timer.cpu_ns / 1e7 / seconds,
        "thread": timer.settings,
    }


def nvidia_smi(seconds: float) -> dict[str, Any]:
    """``nvidia-smi`` in its loop at 100 ms, by itself."""
    with tempfile.TemporaryFile("w+") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            ["nvidia-smi", f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader", "-lms", "100"], stdout=out
        )
        time.sleep(seconds)
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        lasted = time.monotonic() - began
        out.seek(0)
        stamps = [datetime.strptime(line.split(",")[0], "%Y/%m/%d %H:%M:%S.%f") for line in out if "," in line]
    off = sorted(abs((b - a).total_seconds() * 1e3 - 100) for a, b in pairwise(stamps))
    return {
        "expected": int(lasted * 10),
        "samples": len(stamps),
        "coverage_pct": 100 * len(stamps) / (lasted * 10),
        "jitter_p50_ms": off[len(off) // 2] if off else None,
        "jitter_p99_ms": off[int(len(off) * 0.99)] if off else None,
        "longest_gap_ms": max((b - a).total_seconds() * 1e3 for a, b in pairwise(stamps)) if off else None,
        "cpu_pct": 100 * (usage.ru_utime + usage.ru_stime) / lasted,
        "process_cpu_pct": 100 * (usage.ru_utime + usage.ru_stime) / lasted,
        "rss_mib": usage.ru_maxrss / 1024,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=30.0, help="how long each rate is sampled")
    arguments.add_argument("--rates", type=float, nargs="+", default=[10.0, 100.0])
    arguments.add_argument("--load", action="store_true", help="with every CPU busy besides")
    arguments.add_argument("--json", type=Path, help="write the figures there too")
    arguments.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(sample(options.one, options.seconds)))
        return

    figures = measured(options.rates, options.seconds, options.load)
    show(figures, options.seconds)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def measured(rates_hz: list[float], seconds: float, load: bool) -> dict[str, dict[str, Any]]:
    """Figures by what was measured, beside a busy machine where ``load`` asks for it."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range((os.cpu_count() or 1) if load else 0)
    ]
    figures: dict[str, dict[str, Any]] = {}
    try:
        for rate_hz in rates_hz:
            command = [sys.executable, __file__, "--one", str(rate_hz), "--seconds", str(seconds)]
            path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
            figures[f"sampler, {rate_hz:g} Hz"] = json.loads(told.stdout)
            figures[f"bare timer, {rate_hz:g} Hz"] = bare_timer(rate_hz, seconds)
        if shutil.which("nvidia-smi"):
            figures["nvidia-smi -lms 100"] = nvidia_smi(seconds)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    return figures


def show(figures: dict[str, dict[str, Any]], seconds: float) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    table = Table(title=f"telemetry over {seconds:g} s, {os.cpu_count()} CPUs, load average {load}")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "samples of expected": lambda f: f"{f['samples']} / {f['expected']}",
        "coverage, %": lambda f: f"{f['coverage_pct']:.2f}",
        "jitter p50, ms": lambda f: f"{f['jitter_p50_ms']:.3f}",
        "jitter p99, ms": lambda f: f"{f['jitter_p99_ms']:.3f}",
        "longest gap, ms": lambda f: f"{f['longest_gap_ms']:.1f}",
        "CPU of sampler and writer, % of a core": lambda f: f"{f['cpu_pct']:.3f}",
        "CPU of the process, % of a core": lambda f: f"{f['process_cpu_pct']:.3f}",
        "resident memory, MiB": lambda f: f"{f['rss_mib']:.0f}",
        "flush to Parquet, ms": lambda f: f"{f['flush_ms']:.1f}",
        "bytes per sample": lambda f: f"{f['bytes_per_sample']:.0f}",
    }
    table.add_column("")
    for name in figures:
        table.add_column(name, justify="right")
    for label, text in rows.items():
        cells = []
        for figure in figures.values():
            try:
                cells.append(text(figure))
            except (KeyError, TypeError):
                cells.append("-")
        table.add_row(label, *cells)
    console = Console()
    console.print(table)
    first = next(iter(figures.values()))
    if first.get("nvml_cost_us"):
        console.print("NVML, microseconds per call:", first["nvml_cost_us"])
    console.print(
        "How: each rate in a process of its own; jitter is how far the interval of two samples is from the "
        "schedule's; CPU by per-thread clocks and getrusage; priority and CPUs of the sampling thread:",
        first.get("thread"),
    )


if __name__ == "__main__":
    main()
