"""What one run costs beside two other experiment runners: ReBench and ReFrame, with a command that does nothing.

    python -m benchmarks peers [--runs 120] [--rounds 3]

The peers are installed with uv into temporary environments (their versions are fixed here) and take turns with ours. A
peer's figure is the slope between a session of N runs and one of N / 4, so that its start-up, the intercept, is not in
it. Ours is the non-measuring time per run of ``benchmarks.harness`` (dispatch to dispatch, less gate, create, start and
the engine's life), and beside it the same with what starting a process through our native arm takes (create and start:
a supervisor, a mount namespace, a chroot), which is the like of what the peers do when they start theirs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from benchmarks.campaigns import PROJECT, config, console, machine, running
from benchmarks.harness import per_run

PEERS = {"rebench": "rebench==1.4.0", "reframe": "reframe-hpc==4.10.4"}

NOOP = "#!/bin/sh\necho 'noop: iterations=1 runtime: 1us'\n"

REBENCH = """
default_experiment: all
default_data_file: noop.data
runs: {{invocations: {runs}, iterations: 1}}
benchmark_suites:
  suite:
    gauge_adapter: RebenchLog
    command: ""
    benchmarks: [noop]
executors:
  plain: {{path: ., executable: noop.sh}}
experiments:
  all: {{suites: [suite], executions: [plain]}}
"""

REFRAME = """
import reframe as rfm
import reframe.utility.sanity as sn

@rfm.simple_test
class noop(rfm.RunOnlyRegressionTest):
    number = parameter(range({runs}))
    valid_systems = ['*']
    valid_prog_environs = ['*']
    executable = {executable!r}

    @sanity_function
    def answered(self):
        return sn.assert_found('noop', self.stdout)
"""


class PeerFailed(Exception):
    """A peer does not do what it is asked. The message is for the person."""


def install(folder: Path, *packages: str) -> Path:
    """The ``bin`` folder of a new environment with ``packages``, on the Python that runs this."""
    uv = shutil.which("uv") or str(PROJECT / ".campaign" / "uv" / "bin" / "uv")
    if not Path(uv).exists():
        raise PeerFailed("there is no uv to install it with (make setup brings one)")
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "--python", str(folder), *packages],
    ):
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode != 0:
            raise PeerFailed(f"it could not be installed: {(told.stderr.strip().splitlines() or ['no message'])[-1]}")
    return folder / "bin"


def rebench(programs: Path, folder: Path, runs: int) -> list[str]:
    (folder / "noop.conf").write_text(REBENCH.format(runs=runs))
    # Denoise would change settings of this machine, by sudo.
    return [str(programs / "rebench"), "--clean", "--no-denoise", "noop.conf"]


def reframe(programs: Path, folder: Path, runs: int) -> list[str]:
    (folder / "noop.py").write_text(REFRAME.format(runs=runs, executable=str(folder / "noop.sh")))
    return [str(programs / "reframe"), "--checkpath", "noop.py", "--run", "--exec-policy=serial", "--prefix=out"]


COMMANDS: dict[str, Callable[[Path, Path, int], list[str]]] = {"rebench": rebench, "reframe": reframe}


def session(name: str, programs: Path, runs: int) -> float:
    """Seconds of one whole session of ``runs`` runs."""
    with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-") as place:
        folder = Path(place)
        script = folder / "noop.sh"
        script.write_text(NOOP)
        script.chmod(0o755)
        command = COMMANDS[name](programs, folder, runs)
        variables = os.environ | {"HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
        began = time.monotonic()
        told = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        if told.returncode != 0:
            text = (told.stdout + told.stderr).strip().splitlines()[-6:]
            raise PeerFailed(f"it ended with code {told.returncode}: " + " | ".join(text))
        return took


def ours(runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds per run of ours: besides gate and starting, and with starting."""
    with tempfile.TemporaryDirectory(prefix="campaign-bench-") as folder:
        given = config("peers", ["native-chroot"], runs + 2, gate={"cooldown_s": 0.0})
        with running(given, Path(folder)) as campaign:
            campaign.end(60 + 10 * runs)
            parts = per_run(campaign)
    return parts["all"], [a + b for a, b in zip(parts["all"], parts["start"], strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=120, help="runs of the longer session; the shorter has a quarter")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.runs < 20:
        parser.error("--runs: a slope needs at least 20")
    few, many = options.runs // 4, options.runs
    before = machine()
    slopes: dict[str, list[float]] = {name: [] for name in PEERS}
    starts: dict[str, list[float]] = {name: [] for name in PEERS}
    skipped: dict[str, str] = {}
    bare: list[float] = []
    full: list[float] = []
    with tempfile.TemporaryDirectory(prefix="campaign-peers-") as place:
        programs: dict[str, Path] = {}
        for name, package in PEERS.items():
            try:
                programs[name] = install(Path(place) / name, package)
                session(name, programs[name], 1)  # compiles and caches what the first session would
            except PeerFailed as problem:
                skipped[name] = str(problem)
                programs.pop(name, None)
        for _ in range(options.rounds):
            for name, where in programs.items():
                try:
                    short, long = (session(name, where, runs) for runs in (few, many))
                except PeerFailed as problem:
                    skipped[name] = str(problem)
                    continue
                slopes[name].append(1e3 * (long - short) / (many - few))
                starts[name].append(1e3 * short - few * slopes[name][-1])
            without, having = ours(max(20, many // options.rounds))
            bare += without
            full += having
    table = Table(title=f"Cost of one run, {before}")
    for heading in ("ms per run", "figures", "median", "min", "max", "start-up"):
        table.add_column(heading, justify="left" if heading == "ms per run" else "right", no_wrap=True)
    rows: list[tuple[str, list[float], list[float] | None]] = [
        ("ours, besides gate and starting", bare, None),
        ("ours, with starting (supervisor, chroot)", full, None),
    ]
    rows += [(PEERS[name].replace("==", " "), slopes[name], starts[name]) for name in PEERS if slopes[name]]
    for label, values, start in rows:
        figures = (f"{figure:.1f}" for figure in (statistics.median(values), min(values), max(values)))
        table.add_row(label, str(len(values)), *figures, f"{statistics.median(start):.0f}" if start else "-")
    console().print(table)
    for name, why in skipped.items():
        print(f"{name} is left out: {why}")
    print(
        f"How: a peer's figure is the slope between sessions of {few} and {many} runs of a shell script that prints "
        f"one line; ours is from journal and stages of\nreal runs; {options.rounds} rounds, interleaved. Ours holds "
        "what the peers leave out: evidence and samples synced to disk with digests, a hash-chained\njournal, a "
        "verdict, telemetry. ReBench runs without its denoise, ReFrame with its serial policy."
    )
    return 0
