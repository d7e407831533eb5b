"""A small study on TensorRT-LLM, and rehearsals of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from campaign import config
from campaign.record.store import Store
from campaign.rehearsal import injected, machine
from campaign.rehearsal.rehearse import Asked, Rehearsed, rehearse

BEGAN_NS = 1_790_000_000 * 10**9

TEXT = """\
name: small-study
engine: trtllm
seed: 7
image: {source: registry, reference: "nvcr.io/nvidia/tensorrt-llm/release:spark-single-gpu-dev"}
models: [qwen2-1.5b, deepseek-r1-7b]
environments: [native-chroot, docker-baseline]
workloads:
  - {name: short, kind: latency, requests: 24, input_tokens: 128, output_tokens: 64, concurrency: 8, warmup_requests: 2}
repetitions: 4
nesting: repetition
gate: {cooldown_s: 60, ceiling_c: 45, dwell_s: 10, idle_power_w: 6, memory_tolerance_gib: 2, timeout_s: 1200}
canary: true
acceptance: {sw_thermal_max_pct: 1}
"""


def study(folder: Path, **changes: str) -> Path:
    """The config, with keys of it written otherwise."""
    lines = [line for line in TEXT.splitlines() if line.partition(":")[0] not in changes]
    path = folder / "small-study.yaml"
    path.write_text("\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())]) + "\n")
    return path


def rehearsed(
    folder: Path,
    *,
    effects: tuple[str, ...] = (),
    faults: str = "none",
    asked: dict[str, Any] | None = None,
    **changes: str,
) -> Rehearsed:
    """A rehearsal in ``folder``, begun at a fixed moment;
    nobody comes where it pauses unless ``asked`` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    campaign = config.load(study(folder, **changes))
    store = Store(folder / "rehearsals" / campaign.name, durable=False)
    store.lock()
    wanted = {
        "kind": machine.unit_for(campaign),
        "effects": injected.effects(effects, campaign),
        "faults": injected.faults(faults),
        "person_s": None,
        **(asked or {}),
    }
    try:
        return rehearse(campaign, store, Asked(**wanted), began_utc_ns=BEGAN_NS)
    finally:
        store.unlock()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]
