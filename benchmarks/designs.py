"""What a whole campaign errs and finds, fixed and with looks,
through everything that a campaign goes through: rehearsed many times.

    python -m benchmarks designs [--repeat 200] [--seed 1] [--check 3] [--plain] [--json designs.json]

One model, three arms, 30 blocks in random order on one simulated unit; the second arm is the first, the third loses 1.5
% of throughput; margin 1 %, looks after 10, 20, 30 blocks. Each seed is one rehearsal of the fixed design (driver,
journal, parsers, verdicts, SQL), analysed as a finished campaign is. A campaign with looks is the beginning of the same
one, since every draw has a key of its own: its looks are taken from the same attempts by the code that the driver and
`campaign verify` take them by. ``--check`` seeds are carried out by the driver with looks as well,
and must come to the same claims and stop.

Noise is that of every rehearsal (0.5 % from run to run, half of it passing on from run to run, one run in a hundred an
outlier), so a block's difference spreads by about 0.7 %; ``--plain`` leaves memory and outliers out, as the reference
case s04 has it. With ``--json`` of a file that is there, seeds that it has are not carried out again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from campaign import config
from campaign.analysis import inputs, looks, parallel, views
from campaign.config.schema import Campaign
from campaign.record import journal
from campaign.record.store import Store
from campaign.rehearsal import injected, machine
from campaign.rehearsal.rehearse import Asked, rehearse
from campaign.rehearsal.repeat import BEGAN_UTC_NS, CLAIMED, interval_pct

LOST_PCT = -1.5
LOOKS = (10, 20, 30)
SLOWER = "docker-net-host"
TRUTH_PCT = {
    ("docker-baseline", "token_throughput_tok_s"): 0.0,
    ("docker-baseline", "latency_mean_ms"): 0.0,
    ("docker-baseline", "peak_memory_gib"): 0.0,
    (SLOWER, "token_throughput_tok_s"): LOST_PCT,
    (SLOWER, "latency_mean_ms"): 100 * (1 / (1 + LOST_PCT / 100) - 1),
    (SLOWER, "peak_memory_gib"): 0.0,
}
MARGIN_PCT = 1.0
TEXT = f"""\
name: designs
engine: trtllm
image: {{source: registry, reference: "nvcr.io/nvidia/tensorrt-llm/release:spark-single-gpu-dev"}}
models: [qwen2-1.5b]
environments: [native-chroot, docker-baseline, {SLOWER}]
workloads:
  - {{name: short, kind: latency, requests: 8, input_tokens: 64, output_tokens: 64, concurrency: 8, warmup_requests: 0}}
repetitions: {LOOKS[-1]}
order: random
shakedown: false
gate: {{cooldown_s: 60, ceiling_c: 45, dwell_s: 0}}
acceptance: {{sw_thermal_max_pct: 1}}
margin_pct: {MARGIN_PCT}
"""
SEQUENTIAL = f"sequential: {{looks: {list(LOOKS)}, spending: pocock}}\n"
MEMORY_SD_GIB = 0.05
"""Of memory from start to start: as narrow as throughput, so that it can be decided too."""


@dataclass(frozen=True)
class Told:
    """What one design said of one comparison."""

    treatment: str
    metric: str
    different: bool
    equivalent: bool
    covered: bool | None
    """Whether its 95 % interval (alone, at looks repeated) holds the truth."""


@dataclass(frozen=True)
class Went:
    """One seed under one design."""

    seed: int
    blocks: int
    days: float
    told: tuple[Told, ...]


def made(sequential: bool) -> Campaign:
    place = Path(tempfile.mkdtemp(prefix="campaign-designs-"))
    try:
        path = place / "designs.yaml"
        path.write_text(TEXT + (SEQUENTIAL if sequential else ""))
        return config.load(path)
    finally:
        shutil.rmtree(place)


def asked(campaign: Campaign, seed: int, plain: bool) -> Asked:
    kind = machine.unit_for(campaign)
    noise = injected.Noise(slow_share=0.0, outliers=0.0) if plain else injected.Noise()
    effects = injected.effects((f"{SLOWER}:token_throughput_tok_s:{LOST_PCT}",), campaign)
    kind = replace(kind, memory=replace(kind.memory, sd_gib=MEMORY_SD_GIB))
    return Asked(kind=kind, effects=effects, noise=noise, seed=seed, rate_hz=0.0)


def seeded(campaign: Campaign, seed: int) -> Campaign:
    """Another schedule for each seed."""
    return campaign.model_copy(update={"seed": seed})


def once(fixed: Campaign, sequential: Campaign, seed: int, plain: bool, check: bool) -> dict[str, Went]:
    """One seed under both designs. Raises AssertionError where a driver with looks comes to something else."""
    place = Path(tempfile.mkdtemp(prefix="campaign-designs-"))
    fixed, sequential = seeded(fixed, seed), seeded(sequential, seed)
    try:
        root = carried_out(fixed, place / "fixed", asked(fixed, seed, plain))
        con = views.connect(root)
        told = inputs.ask(con)
        others = [name for name in told.table if name in all_metrics() and name not in {m for _, m in TRUTH_PCT}]
        table = told.table.drop(columns=others)
        (began,) = con.execute("SELECT epoch(min(started_utc)) FROM attempts").fetchall()[0]
        ends = dict(con.execute("SELECT repetition, epoch(max(ended_utc)) FROM attempts GROUP BY 1").fetchall())
        found = {
            "fixed": Went(
                seed, LOOKS[-1], (max(ends.values()) - began) / 86_400, fixed_told(replace(told, table=table))
            )
        }
        plan = looks.planned(sequential.model_dump(mode="json"))
        assert plan is not None
        conduct = looks.conducted(plan, [])
        (name,) = plan.cells()
        events = []
        while name not in conduct.stops:
            events.append(looks.take(table, plan, conduct, name))
        blocks = LOOKS[conduct.stops[name].look - 1]
        days = (max(at for block, at in ends.items() if block <= blocks) - began) / 86_400
        found["looks"] = Went(seed, blocks, days, looks_told(plan, conduct))
        if check:
            own = carried_out(sequential, place / "looks", asked(sequential, seed, plain))
            journalled = [event for event in journal.read(Store(own).journal_path)[0] if event["event"] == "look"]
            for ours, theirs in zip(events, journalled, strict=True):
                assert (ours["new_claims"], ours["stopped"]) == (theirs["new_claims"], theirs["stopped"]), (
                    ours,
                    theirs,
                )
        return found
    finally:
        shutil.rmtree(place, ignore_errors=True)


def all_metrics() -> set[str]:
    from campaign.analysis.statistics.metrics import known

    return set(known())


def carried_out(campaign: Campaign, place: Path, how: Asked) -> Path:
    store = Store(place / campaign.name, durable=False)
    store.lock()
    try:
        done = rehearse(campaign, store, how, began_utc_ns=BEGAN_UTC_NS)
    finally:
        store.unlock()
    assert done.completed, done.snapshot.message
    return Path(store.root)


def fixed_told(told: inputs.Asked) -> tuple[Told, ...]:
    """The headline comparisons, as a finished campaign is analysed."""
    from campaign.analysis.statistics import compare_runs

    settings = told.settings
    keys = ("reference", "seed", "margin_pct", "m_planned", "planned", "planned_repetitions")
    work = compare_runs(told.table, **{key: settings[key] for key in keys}, refused=told.refused, units=told.units)
    (result,) = parallel.together([work])
    found = []
    for row in result["comparisons"]:
        key = (row["treatment"], row["metric"])
        if row["analysis_set"] != "protocol" or key not in TRUTH_PCT:
            continue
        alone = row["claim_detail"].its.alone
        covered = None if alone is None else alone.low <= TRUTH_PCT[key] <= alone.high
        verdict = row["verdict"]
        found.append(Told(*key, verdict in CLAIMED, verdict in ("equivalent", "different_but_negligible"), covered))
    return tuple(found)


def looks_told(plan: looks.Planned, conduct: Any) -> tuple[Told, ...]:
    from campaign.analysis.statistics.sequential.concluded import intervals

    found = []
    for key, its in plan.of.items():
        course = conduct.courses[key]
        at = intervals(plan.design, course.counted).ci95
        assert at.low_pct is not None and at.high_pct is not None
        truth = TRUTH_PCT[its.treatment, its.metric]
        covered = at.low_pct <= truth <= at.high_pct
        found.append(
            Told(its.treatment, its.metric, "different" in course.claims, "equivalent" in course.claims, covered)
        )
    return tuple(found)


QUESTIONS: dict[str, Callable[[Went], Iterable[bool]]] = {
    "95 % interval holds the truth": lambda went: (it.covered for it in went.told if it.covered is not None),
    "any of 4 equal ones called different": lambda went: [any(it.different for it in went.told if not _truth(it))],
    "any of 2 beyond the margin called equivalent": lambda went: [any(it.equivalent for it in went.told if _truth(it))],
    "an equal one called equivalent": lambda went: (it.equivalent for it in went.told if not _truth(it)),
    "the 1.5 % found": lambda went: (it.different for it in went.told if _truth(it)),
    "everything right": lambda went: [
        all(
            it.different and not it.equivalent if _truth(it) else it.equivalent and not it.different for it in went.told
        )
    ],
}


def _truth(it: Told) -> float:
    return TRUTH_PCT[it.treatment, it.metric]


def summary(went: dict[str, list[Went]]) -> dict[str, Any]:
    """By design: shares in percent with Clopper and Pearson's 95 % limits;
    blocks and days with the standard error of their mean."""
    found: dict[str, Any] = {}
    for design, every in went.items():
        told: dict[str, Any] = {"rehearsals": len(every)}
        for question, hits_of in QUESTIONS.items():
            hits = [hit for one in every for hit in hits_of(one)]
            low, high = interval_pct(sum(hits), len(hits))
            told[question] = {"pct": 100 * sum(hits) / len(hits), "low_pct": low, "high_pct": high, "of": len(hits)}
        for what in ("blocks", "days"):
            values = [float(getattr(one, what)) for one in every]
            mean = sum(values) / len(values)
            sd = (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
            told[what] = {"mean": mean, "se": sd / len(values) ** 0.5}
        found[design] = told
    return found


def kept(data: dict[str, Any], plain: bool) -> dict[str, list[Went]]:
    """What an earlier call of the same noise came to."""
    if data["plain"] != plain:
        raise SystemExit("the file holds rehearsals with other noise: name another")
    return {
        design: [Went(**one | {"told": tuple(Told(**it) for it in one["told"])}) for one in every]
        for design, every in data["went"].items()
    }


def show(told: dict[str, Any]) -> None:
    first = next(iter(told.values()))
    print(f"\n{'':<48}" + "".join(f"{design:>26}" for design in told))
    for name in first:
        if name == "rehearsals":
            cells = [str(its[name]) for its in told.values()]
        elif "pct" in first[name]:
            cells = [
                f"{its[name]['pct']:.1f} % ({its[name]['low_pct']:.1f} to {its[name]['high_pct']:.1f})"
                for its in told.values()
            ]
        else:
            cells = [f"{its[name]['mean']:.4g} ± {its[name]['se']:.2g}" for its in told.values()]
        print(f"{name:<48}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks designs", description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", type=int, default=3)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    fixed, sequential = made(False), made(True)
    went: dict[str, list[Went]] = {"fixed": [], "looks": []}
    began, cpu = time.monotonic(), time.process_time()
    if given.json and given.json.exists():
        went = kept(json.loads(given.json.read_text()), given.plain)
    known = {one.seed for one in went["fixed"]}
    seeds = [seed for seed in range(given.seed, given.seed + given.repeat) if seed not in known]
    with parallel.helpers("benchmarks.designs") as spread:
        for first in range(0, len(seeds), 10):
            some = seeds[first : first + 10]
            jobs = [
                partial(once, fixed, sequential, seed, given.plain, seed < given.seed + given.check) for seed in some
            ]
            for found in spread(jobs):
                for design, one in found.items():
                    went[design].append(one)
            print(f"{len(went['fixed'])} of {given.repeat}, {time.monotonic() - began:.0f} s", flush=True)
            told = summary(went)
            if given.json:
                data = {"plain": given.plain, "seed": given.seed, "designs": told}
                data["went"] = {design: [asdict(one) for one in every] for design, every in went.items()}
                given.json.write_text(json.dumps(data, indent=1) + "\n")
    show(summary(went))
    print(f"{time.monotonic() - began:.0f} s; {time.process_time() - cpu:.0f} s of CPU in this process")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
