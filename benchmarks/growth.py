"""What the driver costs as work grows: units, and runs, in rehearsals whose attempts are as small as they can be.

    python -m benchmarks growth [--units 1,4,16,64,256] [--runs 512] [--more 1024,2048] [--json growth.json]

Each line is a rehearsal in a process of its own: so many simulated units share so many runs of one model in two arms (8
requests each, no telemetry, no shakedown, files not flushed). CPU of a run is everything between the first dispatch and
the last journal line by all runs: driver, lanes, journal, store and the simulated attempt with the real parser, about
30 ms of it. Then the analysis and the page of what lies there, each once. Memory is the highest of the process.
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
models: [qwen2-1.5b]
environments: [native-chroot, docker-baseline]
workloads:
  - {name: short, kind: latency, requests: 8, input_tokens: 64, output_tokens: 64, concurrency: 8, warmup_requests: 0}
order: random
shakedown: false
gate: {cooldown_s: 60, ceiling_c: 45, dwell_s: 0}
acceptance: {sw_thermal_max_pct: 1}
"""


def measured(units: int, runs: int, whole: bool) -> dict[str, Any]:
    """One rehearsal, here. ``whole``: with analysis and page."""
    from campaign import config
    from campaign.record.store import Store
    from campaign.rehearsal import machine
    from campaign.rehearsal.rehearse import Asked, rehearse

    with tempfile.TemporaryDirectory(prefix="campaign-growth-") as folder:
        path = Path(folder) / "growth.yaml"
        path.write_text(f"{TEXT}repetitions: {runs // 2}\n")
        campaign = config.load(path)
        store = Store(Path(folder) / "growth", durable=False)
        store.lock()
        began, cpu = time.monotonic(), time.process_time()
        done = rehearse(campaign, store, Asked(kind=machine.unit_for(campaign), units=units, rate_hz=0.0))
        store.unlock()
        assert done.snapshot.accepted == runs, done.snapshot
        found = {
            "units": units,
            "runs": runs,
            "cpu_ms_per_run": 1e3 * (time.process_time() - cpu) / runs,
            "wall_s": time.monotonic() - began,
        }
        found["driver_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if whole:
            from campaign.analysis import cache
            from campaign.report import page

            cpu = time.process_time()
            cache.connect(store.root)
            found["analysis_cpu_s"] = time.process_time() - cpu
            cpu = time.process_time()
            page.write(store.root)
            found["page_cpu_s"] = time.process_time() - cpu
            found["whole_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__.splitlines()[0])
    parser.add_argument("--units", default="1,4,16,64,256")
    parser.add_argument("--runs", type=int, default=512)
    parser.add_argument("--more", default="1024,2048", help="Runs on one unit.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        units, runs = map(int, given.one.split(":"))
        print(json.dumps(measured(units, runs, whole=True)))
        return 0
    asked = [(int(units), given.runs) for units in given.units.split(",")]
    asked += [(1, int(runs)) for runs in given.more.split(",") if runs]
    found = []
    print(
        f"{'units':>6}{'runs':>8}{'CPU ms/run':>12}{'driver MiB':>12}{'analysis s':>12}{'page s':>8}{'whole MiB':>11}"
    )
    for units, runs in asked:
        command = [sys.executable, "-m", "benchmarks", "growth", "--one", f"{units}:{runs}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout
        its = json.loads(told.splitlines()[-1])
        found.append(its)
        print(
            f"{units:>6}{runs:>8}{its['cpu_ms_per_run']:>12.1f}{its['driver_mib']:>12.0f}{its['analysis_cpu_s']:>12.1f}{its['page_cpu_s']:>8.1f}{its['whole_mib']:>11.0f}",
            flush=True,
        )
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
