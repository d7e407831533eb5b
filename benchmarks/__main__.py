"""``python -m benchmarks`` runs every benchmark of the harness; ``python -m benchmarks NAME …`` one, with its own arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = {
    "perturbation": "the engine's throughput bare against under the full harness",
    "harness": "gate to exec, time per run, no-op resume, planning",
    "peers": "cost per run beside other experiment runners",
    "telemetry": "coverage, jitter and CPU share of the sampler",
}


def main() -> int:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in {"-h", "--help"}:
        print(__doc__)
        print("\n".join(f"  {name:<14}{what}" for name, what in NAMES.items()))
        return 0
    if arguments and not arguments[0].startswith("-"):
        name, *rest = arguments
        if not (Path(__file__).parent / f"{name}.py").exists():
            print(f"no benchmark is called {name}; there are: {', '.join(NAMES)}", file=sys.stderr)
            return 2
        return _run(name, rest)
    codes = []
    for name, what in NAMES.items():
        print(f"\n=== {name}: {what}\n", flush=True)
        codes.append(_run(name, arguments))
    return max(codes)


def _run(name: str, arguments: list[str]) -> int:
    """In a process of its own: Ray and what a benchmark loaded must not meet the next one."""
    program = f"import sys; from benchmarks.{name} import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, cwd=Path(__file__).parents[1]
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
