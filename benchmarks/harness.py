"""What the harness itself takes: gate to exec, time per run, a no-op resume, planning.

    python -m benchmarks harness [--runs 20] [--planned 900] [--only start,run,resume,plan]

start   Both arms of a real campaign. ``gate_to_exec_ms`` is from the moment the gate opens to the engine's exec (for
        Docker: to the engine's ``State.StartedAt``), by SQL over the results. The container is created before the gate
        opens; that is shown beside it. After each second block the harness is stopped and ``docker run`` starts the
        same container twice (the attempt's own shell line, detached): from the CLI's start to the same
        ``State.StartedAt``. The page cache is kept for both.
run     All non-measuring time per run, of a campaign of the native arm with a cooldown of 0: from one ``dispatched`` to
        the next in the journal, less the attempt's create, its gate, its start and the engine's own life (exec to
        exit). It holds the teardown, the parsing, the evidence's way to the driver, the verdict, the telemetry files,
        the durable commit, both journal lines and the dispatch. What Docker's teardown (logs read, container removed)
        adds is shown from the first campaign.
resume  ``campaign run`` of a finished campaign of 900 runs, a folder written by the project's own store, journal and
plan. plan    900 runs: in process (config read, blocks, runs, hash), and the command ``campaign plan``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from benchmarks.campaigns import PROJECT, Running, config, console, elsewhere, machine, running

Row = tuple[str, list[float], str]
"""Label, milliseconds, the aim."""

START_SQL = """
select regexp_extract(environment, '^[a-z]+') as kind, metric, value
from metrics join runs using (run_id)
where metric in ('create_s', 'start_s', 'gate_to_exec_ms', 'teardown_s') and metrics.attempt = 1 and repetition > 1
  and not (environment = 'native-chroot' and repetition % 2 = 1)
"""
"""Without the first of each arm, and without the attempts in whose beginning the harness was stopped."""


# --- start -------------------------------------------------------------------------------------------------


def docker_run(command: dict[str, Any], folder: Path) -> float:
    """Milliseconds from the start of ``docker run`` to the container's ``State.StartedAt``;
    it runs to its end and is removed."""
    output = folder / f"run-{time.monotonic_ns()}"
    output.mkdir()
    output.chmod(0o777)
    # Detached, so that no stream is attached before the start; without --rm, so that StartedAt can be read.
    line = elsewhere(command, output).replace("docker run --rm ", "docker run --detach ", 1)
    before_ns = time.time_ns()
    told = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    container = told.stdout.strip()
    try:
        started = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.StartedAt}}", container],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        subprocess.run(["docker", "wait", container], capture_output=True, check=True)
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
    return (epoch_ns(started) - before_ns) / 1e6


def epoch_ns(text: str) -> int:
    """RFC 3339 with nanoseconds to nanoseconds since 1970."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9])


def start(runs: int, folder: Path) -> list[Row]:
    """Gate to exec in both arms; ``docker run`` in the gaps."""
    from actors import host
    from actors.environments.docker import daemon
    from campaign.analysis import views

    os.environ["DOCKER_HOST"] = daemon.ensure(host.home()).host
    by_hand: list[float] = []
    repetitions = 2 * (runs // 2 + 1)
    given = config("start", ["native-chroot", "docker-baseline"], repetitions)
    with running(given, folder) as campaign:
        for number in range(4, 2 * repetitions + 1, 4):
            campaign.finished(number)
            with campaign.standing_still():
                command = campaign.command(campaign.finished(number - 1))
                for _ in range(2):
                    time.sleep(1)  # the attempt's rest
                    by_hand.append(docker_run(command, folder))
        campaign.end()
    with views.connect(campaign.results) as con:
        found = con.execute(START_SQL).fetchall()

    def ms(kind: str, metric: str) -> list[float]:
        return [value * (1 if metric.endswith("_ms") else 1e3) for k, m, value in found if (k, m) == (kind, metric)]

    create, to_exec = ms("docker", "create_s"), ms("docker", "gate_to_exec_ms")
    return [
        ("native: gate open to exec", ms("native", "gate_to_exec_ms"), "< 50"),
        ("native: create, before the gate", ms("native", "create_s"), ""),
        ("docker: gate open to exec", to_exec, ""),
        ("docker: create, before the gate", create, ""),
        ("docker: create + gate to exec", [a + b for a, b in zip(create, to_exec, strict=True)], "≤ 1.1 × next"),
        ("`docker run` of the same container", by_hand, ""),
        ("native: teardown", ms("native", "teardown_s"), ""),
        ("docker: teardown (logs, removal)", ms("docker", "teardown_s"), ""),
    ]


# --- time per run -------------------------------------------------------------------------------------------


def per_run(campaign: Running) -> dict[str, list[float]]:
    """Milliseconds of each run but the first and the last, by part."""
    events = campaign.events()
    dispatched = [event for event in events if event["event"] == "dispatched"]
    ended = {event["run_id"]: event["t_utc_ns"] for event in events if event["event"] == "finished"}
    parts: dict[str, list[float]] = {"all": [], "dispatch": [], "unit": [], "commit": [], "start": []}
    for this, following in pairwise(dispatched[1:]):
        metadata = json.loads((campaign.attempt(this) / "metadata.json").read_bytes())
        stages = metadata["stages"]
        on_unit_ms = (metadata["ended_utc_ns"] - metadata["started_utc_ns"]) / 1e6
        own_ms = 1e3 * (stages["teardown_s"] + stages["harness_s"])
        whole_ms = (following["t_utc_ns"] - this["t_utc_ns"]) / 1e6
        parts["all"].append(whole_ms - (on_unit_ms - own_ms))
        parts["unit"].append(own_ms)
        parts["start"].append(1e3 * (stages["create_s"] + stages["start_s"]))
        parts["dispatch"].append(
            (metadata["started_utc_ns"] - this["t_utc_ns"] + following["t_utc_ns"] - ended[this["run_id"]]) / 1e6
        )
        parts["commit"].append((ended[this["run_id"]] - metadata["ended_utc_ns"]) / 1e6)
    return parts


def run(runs: int, folder: Path) -> list[Row]:
    with running(config("run", ["native-chroot"], runs + 2, gate={"cooldown_s": 0.0}), folder) as campaign:
        campaign.end(60 + 10 * runs)
        parts = per_run(campaign)
    return [
        ("non-measuring time per run, all", parts["all"], "< 50"),
        ("  unit: teardown, parse, summary", parts["unit"], ""),
        ("  evidence, verdict, durable commit", parts["commit"], ""),
        ("  next run: take, journal, order", parts["dispatch"], ""),
    ]


# --- resume and plan ------------------------------------------------------------------------------------------


def large(planned: int) -> dict[str, Any]:
    """A campaign of ``planned`` runs in two arms."""
    given = config("large", ["native-chroot", "docker-baseline"], 30)
    models = max(1, planned // 60)
    shape = {"layers": 1, "hidden_size": 32, "feed_forward_size": 32, "heads": 1, "kv_heads": 1, "vocabulary": 256}
    given["models"] = [
        {"name": f"model-{n}", "engines": ["llamacpp"], "random_weights": shape | {"seed": n + 1}}
        for n in range(models)
    ]
    return given


def finished_folder(path: Path, results: Path) -> int:
    """A finished campaign as the driver leaves it, without the measuring; returns the number of runs.

    Not marked as simulated, because no command goes on with simulated results: for a folder that nobody keeps.
    """
    from pyarrow import BufferOutputStream, parquet

    from actors import host
    from campaign.config import loading as configs
    from campaign.plan.design import plan, plan_hash, to_table
    from campaign.record.durable import to_json
    from campaign.record.journal import Journal
    from campaign.record.store import Store

    campaign = configs.load(path)
    planned = plan(campaign)
    store = Store(results / campaign.name)
    store.root.mkdir(parents=True)
    buffer = BufferOutputStream()
    parquet.write_table(to_table(planned), buffer)
    store.write("plan.parquet", buffer.getvalue().to_pybytes())
    info = {
        "campaign": campaign.name, "campaign_id": "bench", "config_hash": campaign.config_hash,
        "plan_hash": plan_hash(planned), "seed": campaign.seed, "lanes": ["bench"],
        "code": {"digest": host.code_digest()}, "config": campaign.model_dump(mode="json"),
    }  # fmt: skip
    store.write("campaign.json", to_json(info))
    journal = Journal(store.journal_path)
    journal.append("created", **{key: info[key] for key in ("campaign_id", "config_hash", "plan_hash")})
    journal.append("opened", pid=1, host="bench", units=["bench"])
    for row in planned:
        journal.append("dispatched", run_id=row.run_id, attempt=1, unit="bench", block=row.block)
        metadata = to_json({"run_id": row.run_id, "accepted": True, "verdict": [], "metrics": [], "files": {}})
        digest = store.commit_attempt(row.run_id, 1, {"metadata.json": metadata})
        journal.append(
            "finished", run_id=row.run_id, attempt=1, unit="bench", outcome="completed", accepted=True,
            rejected_by=[], evidence=digest,
        )  # fmt: skip
    journal.append("completed", accepted=len(planned), exhausted=0)
    journal.close()
    return len(planned)


def timed(times: int, action: Callable[[], object]) -> list[float]:
    """Milliseconds of each of ``times`` calls."""
    found = []
    for _ in range(times):
        began_ns = time.monotonic_ns()
        action()
        found.append((time.monotonic_ns() - began_ns) / 1e6)
    return found


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "campaign", *words], check=True, stdout=subprocess.DEVNULL, cwd=PROJECT)


def resume(planned: int, folder: Path) -> list[Row]:
    path = folder / "large.yaml"
    path.write_text(yaml.safe_dump(large(planned)))
    count = finished_folder(path, folder / "results")
    taken = timed(5, lambda: command("run", str(path), "--results", str(folder / "results")))
    return [(f"no-op `campaign run`, {count} runs", taken, "< 2000")]


def planning(planned: int, folder: Path) -> list[Row]:
    from campaign.config import loading as configs
    from campaign.plan.design import plan, plan_hash

    path = folder / "large.yaml"
    path.write_text(yaml.safe_dump(large(planned)))
    loaded = configs.load(path)
    count = len(plan(loaded))
    return [
        (f"planning {count} runs in process", timed(5, lambda: plan_hash(plan(configs.load(path)))), "< 1000"),
        ("  of that, blocks and runs alone", timed(5, lambda: plan(loaded)), ""),
        (
            f"`campaign plan`, {count} runs",
            timed(5, lambda: command("plan", str(path), "--results", str(folder / "none"))),
            "< 1000",
        ),
    ]


# --- all of it ------------------------------------------------------------------------------------------------


def show(title: str, rows: Iterable[Row]) -> Table:
    table = Table(title=title)
    for heading in ("ms", "n", "median", "p90", "max", "aim"):
        table.add_column(heading, justify="left" if heading in {"ms", "aim"} else "right", no_wrap=True)
    for label, values, aim in rows:
        ordered = sorted(values)
        p90 = ordered[max(0, -(-9 * len(ordered) // 10) - 1)]
        figures = (f"{figure:.1f}" for figure in (statistics.median(ordered), p90, ordered[-1]))
        table.add_row(label, str(len(ordered)), *figures, aim)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks harness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=20, help="runs of an arm that count")
    parser.add_argument("--planned", type=int, default=900, help="runs of the large campaign, a multiple of 60")
    parser.add_argument("--only", default="start,run,resume,plan", help="which parts, with commas")
    options = parser.parse_args()
    if options.runs < 2:
        parser.error("--runs: at least 2")
    parts: dict[str, Callable[[Path], list[Row]]] = {
        "start": lambda folder: start(options.runs, folder),
        "run": lambda folder: run(options.runs, folder),
        "resume": lambda folder: resume(options.planned, folder),
        "plan": lambda folder: planning(options.planned, folder),
    }
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only: no part is called {unknown[0]}; there are: {', '.join(parts)}")
    before = machine()
    rows: list[Row] = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix=f"campaign-bench-{name}-") as folder:
            rows += parts[name](Path(folder))
    console().print(show(f"The harness itself, {before}", rows))
    print("start" + (__doc__ or "").partition("\n\nstart")[2])
    return 0
