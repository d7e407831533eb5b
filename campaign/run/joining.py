"""What a unit that joins a campaign in the middle takes over from those at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from campaign.plan.design import Planned

Block = Sequence[Planned]


def share(
    queues: Mapping[str, Sequence[Block]], untouched: Callable[[Block], bool] = lambda block: True
) -> list[tuple[str, Block]]:
    """Blocks that wait, with the unit that gives each away: an equal share for one more unit, in the order of the plan.

    Cell for cell alike, as far as whole blocks allow, because a unit that measured one model alone would be mixed up
    with it; each from whoever has most of that cell, the last first. Blocks of which something was measured (not
    ``untouched``) stay where they are.
    """
    waiting = {unit: [block for block in queue if untouched(block)] for unit, queue in queues.items()}
    most = sum(map(len, waiting.values())) // (len(queues) + 1)
    given: list[tuple[str, Block]] = []
    has: Counter[tuple[str, str]] = Counter()
    while len(given) < most:
        left = Counter((unit, _cell(block)) for unit, blocks in waiting.items() for block in blocks)
        total = Counter(cell for (_, cell), count in left.items() for _ in range(count))
        unit, cell = min(left, key=lambda it: (has[it[1]], -total[it[1]], -left[it], -len(waiting[it[0]]), it))
        block = next(block for block in reversed(waiting[unit]) if _cell(block) == cell)
        waiting[unit].remove(block)
        given.append((unit, block))
        has[cell] += 1
    return sorted(given, key=lambda it: it[1][0].index)


def _cell(block: Block) -> tuple[str, str]:
    return block[0].model, block[0].workload
