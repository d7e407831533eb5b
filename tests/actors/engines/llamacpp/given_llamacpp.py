"""A model small enough to serve in a blink, and the real program run on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from actors.engines import OUTPUT
from actors.engines.llamacpp.engine import LlamaCpp
from actors.types import Launch, Model, Prepared, RandomWeights, Workload

SHAPE = RandomWeights(layers=2, hidden_size=64, feed_forward_size=96, heads=4, kv_heads=2, vocabulary=512)
MODEL = Model(name="tiny", engines=("llamacpp",), batch_size=3, random_weights=SHAPE)
WORKLOAD = Workload(name="few", requests=7, input_tokens=12, output_tokens=9, warmup_requests=2)
ENGINE = LlamaCpp()


def prepared(cache: Path, model: Model = MODEL, workload: Workload = WORKLOAD) -> Prepared:
    return ENGINE.prepare(model, workload, cache)


def argv_here(launch: Launch, output: Path) -> list[str]:
    """The engine's argv with the paths of this machine in place of those inside an arm."""
    here = {mount.target: mount.source for mount in launch.mounts} | {OUTPUT: str(output)}
    argv = [sys.executable, *launch.argv[1:]]
    for target, source in here.items():
        argv = [text.replace(target, source) for text in argv]
    return argv


def serve(
    cache: Path, folder: Path, model: Model = MODEL, workload: Workload = WORKLOAD
) -> tuple[Path, Prepared, subprocess.CompletedProcess[str]]:
    """Run the program as an attempt would: output folder, and stderr beside it."""
    ready = prepared(cache, model, workload)
    output = folder / "output"
    output.mkdir(parents=True)
    ended = subprocess.run(
        argv_here(ENGINE.command(model, workload, ready), output), capture_output=True, text=True, check=False
    )
    (folder / "stderr.log").write_text(ended.stderr)
    return output, ready, ended
