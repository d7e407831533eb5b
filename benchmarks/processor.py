"""How evenly this machine's processor works: the same arithmetic again and again, in CPU time and by the clock.

    python -m benchmarks processor [--rounds 200]

Nothing is read, written or waited for, and what runs beside takes CPU time of its own. What is left of the variation in
CPU time is the processor's: its frequency, and on a virtual machine whoever shares its cores. Inference on such a
processor varies at least as much.
"""

from __future__ import annotations

import argparse
import statistics
import time

ADDITIONS = 4_000_000


def work() -> int:
    total = 0
    for number in range(ADDITIONS):
        total += number & 7
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks processor", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    cpu_s, wall_s = [], []
    for _ in range(rounds):
        wall, cpu = time.monotonic(), time.process_time()
        work()
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.monotonic() - wall)
    print(f"{rounds} rounds of {ADDITIONS} additions")
    for name, seconds in (("CPU time", cpu_s), ("clock", wall_s)):
        mean = statistics.mean(seconds)
        varies = 100 * statistics.stdev(seconds) / mean
        print(f"{name:<9} mean {1e3 * mean:.0f} ms, {1e3 * min(seconds):.0f} to {1e3 * max(seconds):.0f} ms, ", end="")
        print(f"coefficient of variation {varies:.1f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
