"""How many requests a run, and how many runs: from the variance that a pilot measured
and what each costs (Kalibera and Jones 2013).

A pilot is the campaign with few repetitions, under a name and in a folder of its own: its runs are nobody's evidence.
Of each model it gives the variance of a request within its run, of a start (what two runs of a block differ by beyond
that) and of a block (what both its arms share, which a comparison in blocks does not see); and the seconds that a
request and a start take. Requests are worth adding until a start is cheaper for the same gain: r = √(c_start/c_request
· s²_request/s²_start). Repetitions follow from keeping the precision that is configured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.errors import CampaignError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from campaign.config.schema import Campaign

FEWEST_BLOCKS = 5
"""Complete blocks from which a variance between starts is told."""
FEWEST_REPETITIONS = 10
"""Repetitions below which no plan goes: the paired test leads from there on."""
REPETITIONS = 6
"""Of a pilot, unless said otherwise."""
SUFFIX = "-pilot"
LEAST_SHARE = 0.05
"""Share of the variance of a run's mean that its start is taken to have at least:
an estimate of none would ask for endless runs."""


class PilotRefused(CampaignError):
    """A pilot that does not tell what is asked. The message is for the person."""

    exit_code = 2


@dataclass(frozen=True)
class Spread:
    """Of one model and workload, in percent of the mean; seconds of one request and of everything else of a run."""

    model: str
    workload: str
    blocks: int
    requests: int
    """In a run of the pilot."""
    request_pct: float
    start_pct: float
    block_pct: float
    request_s: float
    start_s: float

    def run_pct(self, requests: float) -> float:
        """Standard deviation of the mean of a run with so many requests, without what its block adds."""
        return math.sqrt(self.start_pct**2 + self.request_pct**2 / requests)

    @property
    def best_requests(self) -> float:
        """Requests a run at which a second buys most."""
        floor = LEAST_SHARE * self.request_pct**2 / self.requests
        start = max(self.start_pct**2, floor)
        return math.sqrt(self.start_s / self.request_s * self.request_pct**2 / start)


@dataclass(frozen=True)
class Advice:
    """What is configured for a model, and what would be as precise at least cost."""

    spread: Spread
    requests: int
    repetitions: int
    best_requests: int
    best_repetitions: int
    arms: int

    def hours(self, requests: int, repetitions: int) -> float:
        return self.arms * repetitions * (self.spread.start_s + requests * self.spread.request_s) / 3600

    def half_width_pct(self, requests: int, repetitions: int) -> float:
        """Half of a 95 % interval of the change between two arms, plain t in blocks."""
        from campaign.analysis.statistics.distributions import t_quantile

        return t_quantile(0.975, repetitions - 1) * math.sqrt(2 / repetitions) * self.spread.run_pct(requests)


@dataclass(frozen=True)
class CellSpread:
    """Of one cell's mean latency, in percent: within its runs, between its starts, and between its blocks (what it
    shares with the other arms)."""

    model: str
    environment: str
    workload: str
    runs: int
    requests: int
    request_pct: float
    start_pct: float
    block_pct: float
    run_s: float
    """Of one run, rest included."""


LATENCIES = """
WITH latencies AS (
    SELECT r.model, r.workload, r.environment, r.block, r.run_id, count(*) AS requests, avg(q.latency_ms) AS mean,
        var_samp(q.latency_ms) AS within
    FROM requests AS q JOIN runs AS r USING (run_id)
    WHERE q.accepted AND q.ok AND isfinite(q.latency_ms)
    GROUP BY ALL
    HAVING count(*) >= 2 AND avg(q.latency_ms) > 0
),
"""
CELLS = (
    LATENCIES
    + """
shared AS (
    SELECT a.model, a.workload, a.environment, covar_samp(ln(a.mean), ln(b.mean)) AS block
    FROM latencies AS a JOIN latencies AS b ON a.block = b.block AND b.environment <> a.environment
    GROUP BY ALL
),
times AS (
    SELECT a.model, a.workload, a.environment, median(a.duration_s + coalesce(a.gate_wait_s, 0)) AS run_s
    FROM attempts AS a WHERE a.accepted GROUP BY ALL
)
SELECT l.model, l.environment, l.workload, count(*), median(l.requests), 100 * sqrt(avg(l.within / l.mean ** 2)),
    var_samp(ln(l.mean)), any_value(s.block), any_value(t.run_s)
FROM latencies AS l
LEFT JOIN shared AS s USING (model, workload, environment)
LEFT JOIN times AS t USING (model, workload, environment)
GROUP BY l.model, l.environment, l.workload
ORDER BY l.model, l.workload, l.environment
"""
)
QUERY = (
    LATENCIES
    + """
pairs AS (
    SELECT a.model, a.workload, ln(a.mean) AS x, ln(b.mean) AS y
    FROM latencies AS a JOIN latencies AS b ON a.block = b.block AND b.environment <> a.environment
    WHERE a.environment = (SELECT any_value(reference) FROM campaign)
),
times AS (
    SELECT a.model, a.workload, median(a.steady_s) AS steady_s, median(a.duration_s + coalesce(a.gate_wait_s,
        0)) AS run_s
    FROM attempts AS a WHERE a.accepted GROUP BY ALL
)
SELECT l.model, l.workload, any_value(p.n), median(l.requests), 100 * sqrt(avg(l.within / l.mean ** 2)),
    any_value(p.difference), any_value(p.shared),
    any_value(t.steady_s), any_value(t.run_s)
FROM latencies AS l
LEFT JOIN (SELECT model, workload, count(*) AS n, var_samp(x - y) / 2 AS difference, covar_samp(x, y) AS shared
FROM pairs GROUP BY ALL) AS p USING (model, workload)
LEFT JOIN times AS t USING (model, workload)
GROUP BY l.model, l.workload
ORDER BY l.model, l.workload
"""
)


def of(campaign: Campaign, repetitions: int = REPETITIONS) -> Campaign:
    """The campaign as its pilot: every cell of it ``repetitions`` times, without looks, under a name of its own.
    Raises :class:`PilotRefused`."""
    if repetitions < FEWEST_BLOCKS:
        raise PilotRefused(
            f"a pilot of {repetitions} repetitions tells no variance between starts: give {FEWEST_BLOCKS} or more"
        )
    if campaign.rest is not None:
        raise PilotRefused(
            "the campaign's rest is calibrated already, and a pilot must rest as long as may be needed: write "
            "gate.cooldown_s in seconds for it"
        )
    overrides = {name: its.model_copy(update={"repetitions": None}) for name, its in campaign.overrides.items()}
    return campaign.model_copy(
        update={
            "name": f"{campaign.name[: 64 - len(SUFFIX)]}{SUFFIX}",
            "pilot_of": campaign.name,
            "repetitions": dict.fromkeys(campaign.repetitions, repetitions),
            "overrides": overrides,
            "sequential": None,
        }
    )


def cells(results: Path) -> list[CellSpread]:
    """What the runs in a results folder tell of each cell with latencies of single requests and three runs or more."""
    from campaign.analysis import views

    found = []
    for model, arm, workload, runs, requests, within_pct, variance, shared, run_s in (
        views.connect(results).execute(CELLS).fetchall()
    ):
        if runs < 3 or variance is None or run_s is None:
            continue
        block = min(max(0.0, shared or 0.0), variance)
        start = max(0.0, 1e4 * (variance - block) - within_pct**2 / requests)
        found.append(
            CellSpread(
                model, arm, workload, runs, int(requests), within_pct, math.sqrt(start), 100 * math.sqrt(block), run_s
            )
        )
    return found


def spreads(results: Path) -> list[Spread]:
    """What the runs in a results folder tell of each model and workload.
    Raises :class:`PilotRefused` where nothing can be told."""
    from campaign.analysis import views

    found = []
    for model, workload, blocks, requests, within_pct, difference, shared, steady_s, run_s in (
        views.connect(results).execute(QUERY).fetchall()
    ):
        if not blocks or blocks < FEWEST_BLOCKS or not steady_s or not run_s or run_s <= steady_s:
            continue
        start = max(0.0, 1e4 * difference - within_pct**2 / requests)
        found.append(
            Spread(
                model, workload, blocks, int(requests), within_pct, math.sqrt(start), 100 * math.sqrt(max(0.0, shared)),
                steady_s / requests, run_s - steady_s,
            )
        )  # fmt: skip
    if not found:
        raise PilotRefused(
            f"{results}: no model has {FEWEST_BLOCKS} complete blocks with the latency of single requests and the "
            f"times of its stages. Run a longer pilot: the campaign with `repetitions: {FEWEST_BLOCKS}` or more."
        )
    return found


def advice(campaign: Campaign, known: Sequence[Spread]) -> list[Advice]:
    """For every model of the campaign that the pilot knows."""
    found = []
    for spread in known:
        if spread.model not in campaign.repetitions or spread.workload not in [w.name for w in campaign.workloads]:
            continue
        asked = campaign.asked(spread.model, spread.workload)
        model = campaign.model(spread.model)
        step = asked.concurrency or model.batch_size
        repetitions = campaign.repetitions[spread.model]
        best, needed = _cheapest(spread, asked.requests, repetitions, step)
        found.append(Advice(spread, asked.requests, repetitions, best, needed, len(campaign.environments)))
    if not found:
        raise PilotRefused(
            "the pilot has none of this campaign's models and workloads: give the results of the same models"
        )
    return found


def _cheapest(spread: Spread, requests: int, repetitions: int, step: int) -> tuple[int, int]:
    """Requests and repetitions that are as precise as those given at least hours: of whole batches, of no fewer
    repetitions than any plan has."""
    aim = spread.run_pct(requests) ** 2 / repetitions
    best = max(step, round(spread.best_requests / step) * step)
    needed = math.ceil(spread.run_pct(best) ** 2 / aim)
    if needed < FEWEST_REPETITIONS:  # more precise than it need be: fewer requests will do
        needed = FEWEST_REPETITIONS
        left = aim * needed - spread.start_pct**2
        least = spread.request_pct**2 / left if left > 0 else math.inf
        best = min(best, max(step, math.ceil(least / step - 1e-9) * step)) if math.isfinite(least) else best

    def cost(plan: tuple[int, int]) -> float:
        return plan[1] * (spread.start_s + plan[0] * spread.request_s)

    return min(((requests, repetitions), (best, needed)), key=cost)


def describe_cells(every: Sequence[CellSpread]) -> RenderableType:
    """Where each cell varies: within its runs, between its starts, between its blocks."""
    from rich.table import Table

    table = Table(
        title="Variation of mean latency, cell by cell", title_justify="left", title_style="bold", box=None,
            padding=(0, 2, 0, 0)
    )  # fmt: skip
    for heading in ("model", "arm", "workload"):
        table.add_column(heading, overflow="fold")
    for heading in ("runs", "request %", "start %", "block %", "s a run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for its in every:
        table.add_row(
            its.model, its.environment, its.workload, str(its.runs), f"{its.request_pct:.2g}", f"{its.start_pct:.2g}",
            f"{its.block_pct:.2g}", f"{its.run_s:.3g}",
        )  # fmt: skip
    return table


def describe(every: Sequence[Advice]) -> RenderableType:
    """What is configured beside the optimum, with hours and precision."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Requests and repetitions, from the pilot", title_justify="left", title_style="bold", box=None,
            padding=(0, 2, 0, 0)
    )  # fmt: skip
    table.add_column("model", overflow="fold")
    for heading in ("request %", "start %", "plan", "requests × reps", "hours", "± %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for its in every:
        spread = (f"{its.spread.request_pct:.2g}", f"{its.spread.start_pct:.2g}")
        now, best = (its.requests, its.repetitions), (its.best_requests, its.best_repetitions)
        plans = (("configured", *now), ("optimum", *best)) if now != best else (("both", *now),)
        for i, (name, requests, repetitions) in enumerate(plans):
            table.add_row(
                "" if i else its.spread.model, *(("", "") if i else spread), name, f"{requests} × {repetitions}",
                f"{its.hours(requests, repetitions):.3g}", f"{its.half_width_pct(requests, repetitions):.2g}",
            )  # fmt: skip
    blocks = min(its.spread.blocks for its in every)
    words = (
        f"Standard deviations of mean latency from {blocks} blocks or more, in percent: of a request within its run, "
        "and of a start; what differs between blocks a comparison in blocks does not see. ±: half of the 95 % "
        "interval of a change, plain t in blocks. Optimum after Kalibera and Jones (2013): as precise as what is "
        f"configured, at least hours, whole batches, at least {FEWEST_REPETITIONS} repetitions; where nothing is "
        f"cheaper, what is configured. A standard deviation from {blocks} blocks is itself known to about "
        f"{100 / math.sqrt(2 * max(1, blocks - 1)):.0f} %."
    )
    return Group(table, Text(words, style="dim"))


def overrides(every: Sequence[Advice]) -> str:
    """The optimum as the key ``overrides`` of a campaign file."""
    lines = ["# From a pilot: `campaign plan --pilot` (Kalibera and Jones 2013).", "overrides:"]
    by_model: dict[str, Advice] = {}
    for its in every:
        known = by_model.get(its.spread.model)
        if known is None or its.best_requests * its.best_repetitions > known.best_requests * known.best_repetitions:
            by_model[its.spread.model] = its
    for model, its in by_model.items():
        lines.append(f"  {model}: {{requests: {its.best_requests}, repetitions: {its.best_repetitions}}}")
    return "\n".join(lines) + "\n"
