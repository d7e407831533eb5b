"""A campaign as an ordered list of runs: blocks of model, workload and repetition, deterministic from config and seed.

Inside a block every environment runs once. Its order is set by ``order``:

``alternate``
    reference first on odd repetitions, the reverse on even ones (the methodology's scheme for two arms).
``williams``
    a Williams design (E. J. Williams, Aust. J. Sci. Res. A 2, 1949): over n repetitions each environment stands once in
    each position, and over n (n even) or 2 n (n odd) repetitions each follows each other equally often. Where the
    cycle begins depends on the seed, model and workload.
``random``
    a seeded permutation of its own for every block.

With several lanes (units) a block stays whole on one of them; per model and workload the repetitions on any two
lanes differ by at most one, and each order of environments is spread over the lanes as evenly as that allows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

    from campaign.config.schema import Campaign

Arms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """One row of plan.parquet."""

    index: int
    """0-based place in the campaign's order."""
    run_id: str
    phase: str
    model: str
    environment: str
    workload: str
    engine: str
    repetition: int
    """1-based."""
    block: str
    block_index: int
    position: int
    """1-based place in the block."""
    lane: int
    """0-based index of the unit."""
    simulated: bool


def plan(campaign: Campaign, lanes: int = 1, simulated: bool = False) -> tuple[Planned, ...]:
    """Every run, in the order in which the blocks are handed out; each lane takes its own blocks in that order."""
    if lanes < 1:
        raise ValueError(f"a campaign needs at least one unit, got {lanes}")
    arms = tuple(environment.name for environment in campaign.environments)
    arms = (campaign.reference, *(arm for arm in arms if arm != campaign.reference))
    blocks = list(_blocks(campaign))
    orders = [_sequence(campaign, arms, *block) for block in blocks]
    runs: list[Planned] = []
    for number, ((model, workload, repetition), sequence, lane) in enumerate(
        zip(blocks, orders, _lanes(blocks, orders, lanes), strict=True)
    ):
        for position, arm in enumerate(sequence, 1):
            runs.append(
                Planned(
                    index=len(runs),
                    run_id=f"{model}__{arm}__{workload}__r{repetition:02d}",
                    phase=campaign.phase,
                    model=model,
                    environment=arm,
                    workload=workload,
                    engine=campaign.engine,
                    repetition=repetition,
                    block=f"{model}__{workload}__r{repetition:02d}",
                    block_index=number,
                    position=position,
                    lane=lane,
                    simulated=simulated,
                )
            )
    return tuple(runs)


def _blocks(campaign: Campaign) -> Iterator[tuple[str, str, int]]:
    """Model, workload, repetition. A model with fewer repetitions drops out early where repetitions are outside."""
    workloads = [workload.name for workload in campaign.workloads]
    counts = {model.name: campaign.repetitions[model.name] for model in campaign.models}
    if campaign.nesting == "model":
        pairs = [(model, repetition) for model, count in counts.items() for repetition in range(1, count + 1)]
    else:
        most = max(counts.values())
        pairs = [(m, repetition) for repetition in range(1, most + 1) for m, n in counts.items() if repetition <= n]
    for model, repetition in pairs:
        for workload in workloads:
            yield model, workload, repetition


def _sequence(campaign: Campaign, arms: Arms, model: str, workload: str, repetition: int) -> Arms:
    match campaign.order:
        case "alternate":
            return arms if repetition % 2 else arms[::-1]
        case "random":
            # Sorting by a hash is a permutation that no version of Python draws differently.
            return tuple(sorted(arms, key=lambda arm: _draw(campaign.seed, model, workload, repetition, arm)))
        case "williams":
            n, squares = len(arms), williams(len(arms))
            start = _draw(campaign.seed, model, workload)
            cycle, step = divmod(repetition - 1, n)
            square = squares[(start + cycle) % len(squares)]
            return tuple(arms[i] for i in square[(start // 2 + step) % n])


def _draw(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big")


def williams(n: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The squares of a Williams design for ``n`` treatments: one for even n, two for odd n, each n rows of length n."""
    zigzag = [i // 2 if i % 2 == 0 else n - (i + 1) // 2 for i in range(n)]
    square = tuple(tuple((column + row) % n for column in zigzag) for row in range(n))
    if n % 2 == 0 or n == 1:
        return (square,)
    return square, tuple(row[::-1] for row in square)


def _lanes(blocks: list[tuple[str, str, int]], orders: list[Arms], lanes: int) -> Iterator[int]:
    """For each block the lane with fewest repetitions of its model and workload; among equals the one that has had
    this order of environments least, then the one with fewest blocks, then the first."""
    repetitions: Counter[tuple[str, str, int]] = Counter()
    sequences: Counter[tuple[str, str, Arms, int]] = Counter()
    total: Counter[int] = Counter()
    for (model, workload, _), order in zip(blocks, orders, strict=True):
        best = min(
            range(lanes),
            key=lambda lane: (
                repetitions[model, workload, lane],
                sequences[model, workload, order, lane],
                total[lane],
                lane,
            ),
        )
        repetitions[model, workload, best] += 1
        sequences[model, workload, order, best] += 1
        total[best] += 1
        yield best


def plan_hash(runs: tuple[Planned, ...]) -> str:
    """sha256 over every column of every run, in order."""
    rows = [list(asdict(run).values()) for run in runs]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def to_table(runs: tuple[Planned, ...]) -> pyarrow.Table:
    """One row per run, in order, with the columns of :class:`Planned`."""
    import pyarrow as pa

    kinds: dict[str, Any] = {"str": pa.string(), "int": pa.int32(), "bool": pa.bool_()}
    columns = {name: kinds[kind] for name, kind in Planned.__annotations__.items()}
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    return pa.table({name: [getattr(run, name) for run in runs] for name in columns}, schema=schema)
