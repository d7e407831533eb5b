"""On a host with two GPUs: one is loaded, and everything that is read of the other is the other's;
what the readings cost.

    python -m benchmarks two_gpus [--seconds 20]

Loads the first card with the canary's kernel and asks the second as a unit's sensors would: temperature, power,
utilisation, processes, the canary's own figure, also where a variable names the loaded card, as Ray's does in an actor.
Then the cost of every call, and the share of a core that :class:`actors.sensors.nvml.NvmlSensor` takes at 10 Hz, paced
and unpaced.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.canary import probe as canary
from actors.sensors.gpus import Gpu, gpus, load
from actors.sensors.nvml import NvmlSensor
from actors.sensors.trouble import Trouble

PROJECT = Path(__file__).parents[1]
SHOWN = ("gpu_temperature_c", "gpu_power_w", "gpu_utilization_pct", "gpu_sm_clock_mhz", "gpu_process_memory_gib")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks two_gpus", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the first card is loaded")
    seconds = parser.parse_args(arguments).seconds
    nvml = load()
    found = gpus(nvml)
    if isinstance(nvml, Trouble) or len(found) < 2:
        print(nvml if isinstance(nvml, Trouble) else f"{len(found)} GPUs here, two are needed", file=sys.stderr)
        return 1
    busy, free = found[:2]
    print(f"loaded: {busy}\nasked:  {free}")
    loading = subprocess.Popen(canary.command(seconds, busy.uuid), cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    time.sleep(min(6.0, seconds / 2))
    for role, gpu in (("loaded", busy), ("asked", free)):
        print(f"{role:<7}", reading(nvml, gpu))
    print("canary on the asked one:", told(free))
    os.environ["CUDA_VISIBLE_DEVICES"] = str(busy.index)
    print("with CUDA_VISIBLE_DEVICES naming the loaded one:", told(free))
    del os.environ["CUDA_VISIBLE_DEVICES"]
    print("canary of the load itself:", canary.answer(*loading.communicate()[:1], "", loading.returncode)[0], "GB/s")

    sensor = NvmlSensor(nvml, uuid=free.uuid)
    sensor.probe()
    facts = sensor.describe()
    print(f"\n{'field':<28}{'cost, µs':>10}{'interval, s':>13}")
    for field, cost_us in facts["cost_us"].items():
        print(f"{field:<28}{cost_us:>10.1f}{facts['interval_s'][field]:>13.2f}")
    print(f"share of a core at 10 Hz: {share_pct(sensor.read):.3f} % paced, {share_pct(sensor.now):.3f} % unpaced")
    sensor.close()
    return 0


def reading(nvml: Any, gpu: Gpu) -> str:
    sensor = NvmlSensor(nvml, uuid=gpu.uuid)
    sensor.probe()
    row = sensor.now()
    sensor.close()
    return f"{ {name.removeprefix('gpu_'): row.get(name) for name in SHOWN} } processes {list(sensor.processes or ())}"


def told(gpu: Gpu) -> str:
    rate, why = canary.gpu_bandwidth_gb_s(gpu.uuid)
    return f"{rate:.0f} GB/s" if rate is not None else str(why)


def share_pct(ask: Callable[[], object], seconds: float = 15.0) -> float:
    """CPU time of this thread, percent of the time that passes, with ``ask`` called ten times a second."""
    began, cpu = time.monotonic(), time.thread_time()
    while time.monotonic() - began < seconds:
        ask()
        time.sleep(0.1)
    return 100 * (time.thread_time() - cpu) / (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
