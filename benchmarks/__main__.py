"""``python -m benchmarks`` runs every benchmark of the harness; ``python -m benchmarks NAME …`` one,
with its own arguments."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from benchmarks.campaigns import BenchmarkFailed

NAMES = {
    "perturbation": "the engine's throughput bare against under the full harness",
    "harness": "gate to exec, time per run, no-op resume, planning",
    "peers": "cost per run beside other experiment runners",
    "telemetry": "coverage, jitter and CPU share of the sampler",
    "calibration": "coverage and error rates of the tests and of the rule that decides (tens of minutes)",
    "processor": "how evenly this machine computes",
    "analysis": "analysis and report of 900 runs beside pandas and pingouin",
}


def main() -> int:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in {"-h", "--help"}:
        print(__doc__)
        print("\n".join(f"  {name:<14}{what}" for name, what in NAMES.items()))
        return 0
    if arguments and not arguments[0].startswith("-"):
        return one(*arguments)
    codes = []
    for name, what in NAMES.items():
        print(f"\n=== {name}: {what}\n", flush=True)
        # In a process of its own: what one benchmark loaded must not meet the next.
        command = [sys.executable, "-m", "benchmarks", name, *arguments]
        codes.append(subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode)
    return max(codes)


def one(name: str, *arguments: str) -> int:
    if not (Path(__file__).parent / f"{name}.py").exists():
        print(f"no benchmark is called {name}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m benchmarks {name}", *arguments]
    try:
        code: int | None = importlib.import_module(f"benchmarks.{name}").main()
    except BenchmarkFailed as problem:
        print(f"benchmark {name}: {problem}", file=sys.stderr)
        return 1
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
