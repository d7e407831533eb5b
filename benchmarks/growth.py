"""What the driver costs as work grows: units, and runs, in rehearsals whose attempts are as small as they can be.

    python -m benchmarks growth [--units 1,4,16,64,256] [--runs 512] [--more 4096,16384,100000] [--json growth.json]

Each line is a rehearsal in a process of its own: so many simulated units share so many runs in two arms (8 requests
each, no telemetry, no shakedown, files not flushed), of one model, or of eight on sixteen units where ``--more`` is
asked. CPU of a run is everything between the first dispatch and the last journal line by all runs: driver, lanes,
journal, store and the simulated attempt with the real parser. Then, up to 20 000 runs, the analysis and the page of
what lies there, each once, with the CPU time of the helpers. Memory is the highest of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TEXT = """\
name: growth
engine: trtllm
image: {source: registry, reference: "nvcr.io/nvidia/tensorrt-llm/release:spark-single-gpu-dev"}
models: [{models}]
environments: [native-chroot, docker-baseline]
workloads:
  - {name: short, kind: latency, requests: 8, input_tokens: 64, output_tokens: 64, concurrency: 8, warmup_requests: 0}
order: random
shakedown: false
gate: {cooldown_s: 60, ceiling_c: 45, dwell_s: 0}
acceptance: {sw_thermal_max_pct: 1}
"""
MODELS = (
    "qwen2-1.5b",
    "gemma-2b",
    "phi-3-mini",
    "mistral-7b-v0.3",
    "deepseek-r1-7b",
    "llama-3-8b",
    "gpt-oss-120b",
    "llama-3.3-70b-nvfp4",
)
UNITS_OF_MORE = 16
WHOLE_RUNS = 20_000
"""Up to so many the analysis and the page are measured: they hold what they read in memory."""


def cpu_s() -> float:
    """Of this process and of those that it waited for."""
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measured(units: int, runs: int, models: int) -> dict[str, Any]:
    """One rehearsal, here."""
    from campaign import config
    from campaign.record.store import Store
    from campaign.rehearsal import machine
    from campaign.rehearsal.rehearse import Asked, rehearse

    with tempfile.TemporaryDirectory(prefix="campaign-growth-") as folder:
        path = Path(folder) / "growth.yaml"
        names = ", ".join(MODELS[:models])
        path.write_text(TEXT.replace("{models}", names) + f"repetitions: {runs // 2 // models}\n")
        campaign = config.load(path)
        store = Store(Path(folder) / "growth", durable=False)
        store.lock()
        began, cpu = time.monotonic(), cpu_s()
        done = rehearse(campaign, store, Asked(kind=machine.unit_for(campaign), units=units, rate_hz=0.0))
        store.unlock()
        assert done.snapshot.accepted == runs, done.snapshot
        found = {
            "units": units,
            "models": models,
            "runs": runs,
            "cpu_ms_per_run": 1e3 * (cpu_s() - cpu) / runs,
            "wall_s": time.monotonic() - began,
        }
        found["driver_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if runs <= WHOLE_RUNS:
            from campaign.analysis import cache
            from campaign.report import page

            cpu = cpu_s()
            cache.connect(store.root)
            found["analysis_cpu_s"] = cpu_s() - cpu
            cpu = cpu_s()
            page.write(store.root)
            found["page_cpu_s"] = cpu_s() - cpu
            found["whole_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__.splitlines()[0])
    parser.add_argument("--units", default="1,4,16,64,256")
    parser.add_argument("--runs", type=int, default=512)
    parser.add_argument("--more", default="4096,16384,100000", help="Runs of eight models on sixteen units.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(*map(int, given.one.split(":")))))
        return 0
    asked = [(int(units), given.runs, 1) for units in given.units.split(",") if units]
    asked += [(UNITS_OF_MORE, int(runs), len(MODELS)) for runs in given.more.split(",") if runs]
    found = []
    print(" units models    runs  CPU ms/run  driver MiB  analysis s  page s  whole MiB")
    for one in asked:
        command = [sys.executable, "-m", "benchmarks", "growth", "--one", ":".join(map(str, one))]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        its = json.loads(told.stdout.splitlines()[-1])
        found.append(its)
        whole = [f"{its[name]:.1f}" if name in its else "–" for name in ("analysis_cpu_s", "page_cpu_s", "whole_mib")]
        figures = f"{its['cpu_ms_per_run']:>12.1f}{its['driver_mib']:>12.0f}{whole[0]:>12}{whole[1]:>8}{whole[2]:>11}"
        print(f"{its['units']:>6}{its['models']:>7}{its['runs']:>8}{figures}", flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
