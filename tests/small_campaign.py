"""A campaign of four short real runs, and the command line as its user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
CONFIG = """\
name: small
description: Native against Docker, seconds long.
engine: llamacpp
seed: 7
models: [random-llama-8m]
environments: [native-chroot, docker-baseline]
without: [gpu, ulimits.memlock]
workloads:
  - {name: tiny, requests: 6, input_tokens: 16, output_tokens: 24, concurrency: 2, warmup_requests: 1, timeout_s: 60}
repetitions: 2
shakedown: false
gate: {cooldown_s: 0.5, ceiling_c: null, dwell_s: 0, memory_tolerance_gib: null, timeout_s: 30, on_timeout: flag}
acceptance: {coverage_min_pct: 50}   # of an attempt of a second one late sample is a tenth
"""


@dataclass(frozen=True)
class Finished:
    config: Path
    folder: Path
    """The results folder."""
    done: subprocess.CompletedProcess[str]
    """How `campaign run` ended."""
    home: Path


def write_config(folder: Path, **changed: object) -> Path:
    """The campaign's file in ``folder``, with the values of top-level keys replaced."""
    lines = CONFIG.splitlines()
    for key, value in changed.items():
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{key}:"))
        lines[at] = f"{key}: {value}"
    path = folder / "small.yaml"
    path.write_text("\n".join([*lines, f"library: {PROJECT / 'configs'}", ""]))
    return path


def start(*words: object, home: Path, code: Path = PROJECT) -> subprocess.Popen[str]:
    """`campaign WORDS` without a terminal; ``code`` is the checkout that it runs from."""
    return subprocess.Popen(
        [sys.executable, "-m", "campaign", *map(str, words)],
        cwd=code,
        env={**os.environ, "CAMPAIGN_HOME": str(home), "PYTHONPATH": str(code)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def campaign(*words: object, home: Path, code: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """The same, to its end; ``stdout`` is everything that the user sees."""
    process = start(*words, home=home, code=code)
    said, _ = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, said, "")
