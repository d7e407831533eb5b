"""The same rehearsal many times with other seeds: how often the whole pipeline finds what was injected,
and claims what was not."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import metrics
from campaign.config.schema import Campaign
from campaign.record.store import Store
from campaign.rehearsal.rehearse import Asked, rehearse

if TYPE_CHECKING:
    from rich.console import RenderableType

CLAIMED = ("different", "different_but_negligible")
BEGAN_UTC_NS = 1_790_000_000 * 10**9


@dataclass(frozen=True)
class Claimed:
    """What one rehearsal's analysis said of one primary metric of one comparison."""

    model: str
    treatment: str
    reference: str
    metric: str
    truth_pct: float | None
    """What was injected, where that is known: of throughput,
    and of every metric of an arm in which nothing was turned."""
    verdict: str
    covered: bool | None
    """Whether its 95 % interval holds the truth."""


@dataclass(frozen=True)
class Went:
    """One rehearsal of many."""

    seed: int
    completed: bool
    days: float
    rejected: int
    claims: tuple[Claimed, ...]


def once(campaign: Campaign, asked: Asked) -> Went:
    """One rehearsal with its analysis, in a folder that is thrown away. No telemetry is kept."""
    from campaign.analysis import cache

    place = Path(tempfile.mkdtemp(prefix="campaign-repeat-"))
    try:
        store = Store(place / campaign.name, durable=False)
        store.lock()
        try:
            done = rehearse(campaign, store, replace(asked, rate_hz=0.0), began_utc_ns=BEGAN_UTC_NS)
        finally:
            store.unlock()
        rows = cache.rows(cache.connect(store.root)) if done.snapshot.accepted else []
        claims = tuple(_claimed(campaign, asked, row) for row in rows if row["group"] == "primary")
        days = (done.ended_utc_ns - done.began_utc_ns) / 86_400e9
        return Went(asked.seed, done.completed, days, done.snapshot.rejected_attempts, claims)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _claimed(campaign: Campaign, asked: Asked, row: dict[str, Any]) -> Claimed:
    from campaign.rehearsal.conclusion import truth_pct

    turned = {arm for arm, _ in asked.effects.logs}
    truth: float | None = None
    if row["metric"] == metrics.headline():
        truth = truth_pct(campaign, asked, row)
    elif not turned & {row["treatment"], row["reference"]}:
        truth = 0.0
    low, high = row.get("alone_low"), row.get("alone_high")
    covered = None
    if truth is not None and low is not None and high is not None and not (math.isnan(low) or math.isnan(high)):
        covered = low <= truth <= high
    model = row["model"].partition(" @ ")[0]
    return Claimed(model, row["treatment"], row["reference"], row["metric"], truth, row["verdict"], covered)


def repeat(campaign: Campaign, asked: Asked, times: int, tell: Callable[[str], None]) -> list[Went]:
    """``times`` rehearsals, with seeds from ``asked``'s on, over the CPUs of this machine."""
    from campaign.analysis import parallel

    found: list[Went] = []
    with parallel.helpers("campaign.rehearsal.repeat") as spread:
        batch = 4 * (parallel.MOST + 1)
        for first in range(0, times, batch):
            seeds = range(asked.seed + first, asked.seed + min(times, first + batch))
            found += spread([partial(once, campaign, replace(asked, seed=seed)) for seed in seeds])
            tell(f"{len(found)} of {times} rehearsals")
    return found


def interval_pct(hits: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share, percent."""
    from scipy import special

    if not of:
        return 0.0, 100.0
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, of - hits + 1, 0.025))
    high = 1.0 if hits == of else float(special.betaincinv(hits + 1, of - hits, 0.975))
    return 100 * low, 100 * high


def share(hits: Iterable[bool]) -> str:
    """``96 % (90 to 99, 193 of 200)``."""
    every = list(hits)
    if not every:
        return "–"
    low, high = interval_pct(sum(every), len(every))
    return f"{100 * sum(every) / len(every):.0f} % ({low:.0f} to {high:.0f}, {sum(every)} of {len(every)})"


def describe(went: list[Went]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    days = sorted(one.days for one in went)
    lines: list[RenderableType] = [
        Text("Simulated: nothing here was measured.", "bold yellow"),
        Text(
            f"{len(went)} rehearsals, {sum(one.completed for one in went)} finished; {days[len(days) // 2]:.2f} days "
            f"in the middle, {days[0]:.2f} to {days[-1]:.2f}; {sum(one.rejected for one in went)} attempts rejected"
        ),
        Text(),
    ]
    table = Table(title="Throughput", title_justify="left", title_style="bold", header_style="dim", box=None)
    table.add_column("", overflow="fold")
    for heading in ("truth %", "different", "equivalent", "interval holds truth"):
        table.add_column(heading, justify="right", overflow="fold")
    every = [claim for one in went for claim in one.claims]
    throughput = [claim for claim in every if claim.metric == metrics.headline()]
    for key in dict.fromkeys((claim.model, claim.treatment, claim.reference) for claim in throughput):
        mine = [claim for claim in throughput if (claim.model, claim.treatment, claim.reference) == key]
        truth = mine[0].truth_pct or 0.0
        table.add_row(
            f"{key[0]}, {key[1]} against {key[2]}",
            f"{truth:+.2f}".replace("-", "−") if truth else "0",
            share(claim.verdict in CLAIMED for claim in mine),
            share(claim.verdict == "equivalent" for claim in mine),
            share(claim.covered for claim in mine if claim.covered is not None),
        )
    null = [[claim for claim in one.claims if claim.truth_pct == 0.0] for one in went]
    lines += [table, Text()]
    if any(null):
        single = share(claim.verdict in CLAIMED for claims in null for claim in claims)
        family = share(any(claim.verdict in CLAIMED for claim in claims) for claims in null if claims)
        lines.append(
            Text(f"Where nothing was injected, a primary metric is called different in {single} of comparisons;")
        )
        lines.append(Text(f"at least one of a rehearsal's is in {family} of rehearsals."))
    shown = share(claim.covered for claim in every if claim.covered is not None)
    lines.append(Text(f"Intervals at 95 % hold the truth in {shown}, over primary metrics whose truth is known."))
    lines.append(Text("In brackets: Clopper and Pearson's 95 % interval.", "dim"))
    return Group(*lines)
