"""The figures of the article, one function each: a connection and a width in points in, an Altair chart out.

No title in the image; an axis says quantity (unit). Panels carry (a), (b), … below them. Every figure of runs shows
each run; no line joins arms or models. A function returns None where there is nothing to draw, and ``FIGURES`` says
why. Shown throughout: mean and its 95 % t interval, from three runs on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaign.report.drawn.checks import normal_quantiles, roofline
from campaign.report.drawn.effects import overhead, power_curves, screening
from campaign.report.drawn.latency import latency_ecdf, latency_percentiles
from campaign.report.drawn.look import COLUMN_IN, PAGE_IN
from campaign.report.drawn.runs import memory, power_energy, run_order, throughput
from campaign.report.drawn.shared import Chart
from campaign.report.drawn.telemetry import timeline
from campaign.report.paper import theme


@dataclass(frozen=True)
class Figure:
    """A figure of the article: its file name, what a caption must say, how to draw it, and why it may be missing."""

    name: str
    caption: str
    draw: Callable[..., Chart]
    absent: str


@dataclass(frozen=True)
class Written:
    """What :func:`write_figures` made: files, and figure to the reason why there is none."""

    paths: list[Path]
    absent: dict[str, str]


QQ = (
    "Quantiles of {}, standardised within each arm, against those of a normal distribution (line); p: Shapiro and "
    "Wilk's test. Every accepted run a mark."
)
FIGURES = (
    Figure(
        "throughput",
        "Output token throughput of every accepted run; black: mean and 95 % t interval. Truncated y axes.",
        throughput,
        "no accepted run has a throughput",
    ),
    Figure(
        "overhead",
        "Throughput lost against the reference, with the interval that decided, at the level of its family; ticks: "
        "BCa bootstrap of independent arms; grey: equivalence margin; filled: differs, after adjustment over the "
        "planned comparisons. Without what may not be interpreted; without the bar of an interval that lacks a limit.",
        overhead,
        "no contrast of two arms with a throughput whose runs interleave in time",
    ),
    Figure(
        "latency-ecdf",
        "Distribution of request latency, requests pooled; band: from the fastest to the slowest single run.",
        latency_ecdf,
        "no accepted run has figures of single requests",
    ),
    Figure(
        "latency-percentiles",
        "Percentiles of request latency within each run; black: mean over runs and 95 % t interval.",
        latency_percentiles,
        "no accepted run has latency percentiles",
    ),
    Figure(
        "memory",
        "Peak memory, KV cache and unified memory of every accepted run; black: mean and 95 % t interval. "
        "Truncated axes.",
        memory,
        "no accepted run has a memory figure",
    ),
    Figure(
        "timeline",
        "Telemetry of one block with its gates, runs and cooldowns; dotted: the gate's ceiling.",
        timeline,
        "no telemetry file holds a sample of a planned run",
    ),
    Figure(
        "run-order",
        "Throughput in the order in which runs were made, and the temperature each started from.",
        run_order,
        "no accepted run has a throughput",
    ),
    Figure(
        "power-energy",
        "Mean power and energy of every accepted run; black: mean and 95 % t interval. Truncated axes.",
        power_energy,
        "this campaign has no power figure: its units have no power sensor, or no run is accepted",
    ),
    Figure(
        "qq-throughput",
        QQ.format("output token throughput"),
        partial(normal_quantiles, metric="token_throughput_tok_s"),
        "no accepted run has a throughput",
    ),
    Figure(
        "qq-latency",
        QQ.format("mean request latency"),
        partial(normal_quantiles, metric="latency_mean_ms"),
        "no accepted run has a mean latency",
    ),
    Figure(
        "qq-memory",
        QQ.format("the engine's peak memory"),
        partial(normal_quantiles, metric="peak_memory_gib"),
        "no accepted run has a figure of the engine's peak memory",
    ),
    Figure(
        "roofline",
        "Measured output rate over the rate that memory bandwidth permits; bar: mean, every run a mark. Solid: the "
        "bound; dashed: 0.3, below which a figure is looked into.",
        roofline,
        "no model of known size and batch ran on a unit of known memory bandwidth",
    ),
    Figure(
        "screening",
        "Docker options against the Docker baseline: change of throughput, 95 % interval after Fieller where it has "
        "both limits, every run a grey circle.",
        screening,
        "no phase compares Docker options with a Docker baseline",
    ),
    Figure(
        "power-curves",
        "Smallest throughput difference detected with 80 % power at the run-to-run spread of this campaign.",
        power_curves,
        "no contrast has three runs in both arms with a spread",
    ),
)
WIDTHS = (COLUMN_IN, PAGE_IN)


def write_figures(results: Path, widths_in: Sequence[float] = WIDTHS) -> list[Path]:
    """Every figure at every width as PDF, SVG and PNG into ``<results>/report/print/``; returns the files.

    ``captions.md`` there has what each caption must say, and for a figure that is missing the reason.
    """
    return write(results, widths_in).paths


def write(results: Path, widths_in: Sequence[float] = WIDTHS) -> Written:
    """:func:`write_figures`, and why a figure is missing."""
    from campaign.analysis import cache as evidence
    from campaign.analysis import parallel, views

    evidence.connect(results)
    folder = views.output_folder(results.resolve(), "report", "print")
    for figure in FIGURES:
        for stale in folder.glob(f"{figure.name}-[0-9]*in.*"):
            stale.unlink()
    as_of_ns = time.time_ns()
    jobs = [partial(theme.make, results, as_of_ns, figure.draw, widths_in, folder / figure.name) for figure in FIGURES]
    with parallel.helpers("campaign.report.paper") as spread:
        made = spread(jobs)
    paths: list[Path] = []
    absent: dict[str, str] = {}
    lines = ["# Captions", ""]
    for figure, sizes in zip(FIGURES, made, strict=True):
        paths += [path for size in sizes for path in size.paths]
        unfit = {f"{figure.name}-{size.width_in:g}in": size.problem for size in sizes if size.problem}
        drawn = bool(unfit) or any(size.paths for size in sizes)
        absent |= unfit if drawn else {figure.name: figure.absent}
        lines.append(f"- `{figure.name}`: {figure.caption if drawn else f'not drawn, {figure.absent}.'}")
        lines += [f"  - {name}: not drawn, {why}." for name, why in unfit.items()]
    captions = folder / "captions.md"
    captions.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return Written([*paths, captions], absent)
