"""Who gets which block: queues of units, blocks of units that were lost, and when nothing is left. Pure but for its
lock: nothing is written, asked or waited for here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from campaign.plan.design import Planned
from campaign.run.joining import share

Block = Sequence[Planned]


@dataclass(frozen=True)
class Taken:
    """A block, and the unit whose it was: another than the taker's must be journalled."""

    block: Block
    owner: str


Later = Literal["later"]
"""Nothing now; but another unit is at work, and may be lost."""


class Dispatch:
    """Blocks of one round of lanes. Whole blocks only: one whose unit was lost moves whole."""

    def __init__(
        self, queues: Mapping[str, Iterable[Block]], done: Callable[[Block], bool] = lambda block: False
    ) -> None:
        """``queues`` are the blocks of each unit in order. A block that is ``done``
        when its turn comes is passed over."""
        self._queues = {unit: deque(blocks) for unit, blocks in queues.items()}
        self._done = done
        self._orphans: deque[Taken] = deque()
        self._at_work: set[str] = set()
        self._lock = Lock()

    def take(self, unit: str) -> Taken | Later | None:
        """The next block for ``unit``: its own, else one of a unit that was lost. None at the end."""
        with self._lock:
            self._at_work.discard(unit)
            own = self._queues.get(unit, deque())
            while own:
                block = own.popleft()
                if not self._done(block):
                    self._at_work.add(unit)
                    return Taken(block, unit)
            while self._orphans:
                taken = self._orphans.popleft()
                if not self._done(taken.block):
                    self._at_work.add(unit)
                    return taken
            return "later" if self._at_work or any(self._queues.values()) else None

    def give_back(self, unit: str, unfinished: Block | None) -> None:
        """The blocks of a unit that was lost, the unfinished one first, go to whoever is free."""
        with self._lock:
            self._at_work.discard(unit)
            blocks = [*([] if unfinished is None else [unfinished]), *self._queues.pop(unit, ())]
            self._orphans.extend(Taken(block, unit) for block in blocks)

    def on_offer(self, untouched: Callable[[Block], bool]) -> bool:
        """Whether there is work for a unit that joins now."""
        with self._lock:
            return bool(self._orphans or share(self._queues, untouched))

    def join(self, unit: str, untouched: Callable[[Block], bool]) -> list[Taken]:
        """Its share of the waiting blocks that are ``untouched`` becomes the queue of a unit that joins."""
        with self._lock:
            taken = [Taken(block, owner) for owner, block in share(self._queues, untouched)]
            for one in taken:
                self._queues[one.owner].remove(one.block)
            self._queues[unit] = deque(one.block for one in taken)
            return taken

    def left(self) -> bool:
        """Whether any block waits."""
        with self._lock:
            return bool(self._orphans) or any(self._queues.values())


def deal(
    blocks: Iterable[Block], lanes: Sequence[str], present: Sequence[str], moved: Mapping[str, str] = {}
) -> tuple[dict[str, list[Block]], list[tuple[Block, str, str]]]:
    """Blocks by unit, in order, and the moves (block, old unit, new unit): those of a unit that is away go to the ones
    that are ``present``, by turns. ``lanes`` are the units that the plan is for, ``moved`` those of blocks that went to
    another before, where part of them may be measured."""
    queues: dict[str, list[Block]] = {name: [] for name in present}
    unassigned = []
    for block in blocks:
        lane = block[0].lane
        owner = moved.get(block[0].block) or (lanes[lane] if lane < len(lanes) else "")
        if owner in queues:
            queues[owner].append(block)
        else:
            unassigned.append((owner, block))
    moves = []
    for number, (owner, block) in enumerate(unassigned):
        heir = present[number % len(present)]
        moves.append((block, owner, heir))
        queues[heir].append(block)
    return queues, moves
