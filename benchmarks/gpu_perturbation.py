"""Does the harness slow a GPU engine down? As ``benchmarks.perturbation``,
with the first model and arms of a campaign file.

    python -m benchmarks.gpu_perturbation configs/campaigns/gpu-vllm.yaml native-chroot-nodes [--pairs 8] [--json FILE]

Each pair is an attempt of a real ``campaign run`` and that attempt's own shell line while the whole harness is stopped,
in ABBA order.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.campaigns import GATE, PROJECT, running
from benchmarks.perturbation import bare, ratio, throughput


def given(path: Path, environment: str, repetitions: int) -> dict[str, Any]:
    """The campaign of ``path`` with one model, one arm, one throughput workload and the benchmarks' short gate."""
    campaign: dict[str, Any] = yaml.safe_load(path.read_text())
    arm = next((arm for arm in campaign["environments"] if arm == environment or arm["name"] == environment), None)
    if arm is None:
        raise SystemExit(f"{path}: no environment is called {environment!r}")
    return campaign | {
        "name": "gpu-perturbation",
        "models": campaign["models"][:1],
        "workloads": [
            one
            for one in campaign["workloads"]
            if isinstance(one, str) or one.get("kind", "throughput") == "throughput"
        ][:1],
        "environments": [arm],
        "reference": environment,
        "repetitions": repetitions,
        "gate": GATE,
        "library": str(PROJECT / "configs"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", type=Path)
    parser.add_argument("environment")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the single figures there too")
    options = parser.parse_args()
    harness: list[float] = []
    alone: list[float] = []
    # One attempt in front that nobody counts.
    config = given(options.campaign, options.environment, options.pairs + 1)
    model = config["models"][0]
    model = model if isinstance(model, str) else model["name"]
    with tempfile.TemporaryDirectory(prefix="campaign-bench-") as folder, running(config, Path(folder)) as campaign:
        for number in range(options.pairs + 1):
            event = campaign.finished(number + 1)
            if number > 0:
                harness.append(throughput(campaign.attempt(event) / "output"))
            due = (number % 2 == 1) + (number % 2 == 1 and number < options.pairs)
            if due:
                with campaign.standing_still():
                    compiled = campaign.compiled(model)
                    alone += [bare(campaign.command(event), compiled) for _ in range(due)]
            if options.json:
                options.json.write_text(json.dumps({"harness_tok_s": harness, "bare_tok_s": alone}, indent=1))
        campaign.end()
    pairs = list(zip(harness, alone, strict=False))
    value, low, high, sd = ratio(pairs)
    print(
        f"harness / bare over {len(pairs)} pairs: {value:.4f} ({low:.4f} to {high:.4f}, 95 % t-interval of the mean "
        f"log ratio), SD of a pair {100 * sd:.2f} %; tok/s harness {harness}, bare {alone}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
