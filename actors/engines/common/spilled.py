"""Mean and percentiles of samples that may be larger than memory: up to a million values are kept,
more go to a file without a name.

The figures are the same either way. Percentiles interpolate linearly (type 7 of Hyndman and Fan 1996, as
``numpy.percentile``), and are found in a file by the digits of their bit patterns, which sort as the numbers do: four
passes, whatever the values.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 2**20
"""Values."""
CHUNK = 2**18
"""Values that are read at once."""
SIGN = np.uint64(1 << 63)

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]


class Sample:
    """Numbers in the order in which they come. ``folder`` is where a large one is spilled to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Floats] = []
        self._waiting: list[float] = []
        self._kept = 0
        self._file: Any = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, values: Sequence[float]) -> None:
        """Add finite numbers. Raises OSError (a full disk)."""
        self._waiting.extend(values)
        self._count += len(values)
        if len(self._waiting) >= CHUNK:
            self._pack()

    def _pack(self) -> None:
        part = np.array(self._waiting, dtype=np.float64)
        self._waiting = []
        self._parts.append(part)
        self._kept += len(part)
        if self._kept > IN_MEMORY or self._file is not None:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 -- lives as long as the sample
            for each in self._parts:
                self._file.write(each.tobytes())
            self._parts, self._kept = [], 0

    def _chunks(self) -> Iterator[Floats]:
        self._pack()
        if self._file is None:
            yield from self._parts
            return
        self._file.seek(0)
        while data := self._file.read(8 * CHUNK):
            yield np.frombuffer(data, dtype=np.float64)

    def mean(self) -> float:
        """NaN of nothing."""
        if not self._count:
            return math.nan
        if self._file is None:
            return float(np.mean(np.concatenate(list(self._chunks()))))
        return sum(float(np.sum(chunk)) for chunk in self._chunks()) / self._count

    def percentiles(self, of: Sequence[float]) -> list[float]:
        """One for each of ``of``, 0 to 100. NaN of nothing."""
        if not self._count:
            return [math.nan] * len(of)
        if self._file is None:
            return [float(value) for value in np.percentile(np.concatenate(list(self._chunks())), of, method="linear")]
        places = [(self._count - 1) * (percent / 100) for percent in of]
        wanted = {rank for place in places for rank in (math.floor(place), math.ceil(place))}
        found = self._at(sorted(wanted))
        return [_between(found[math.floor(p)], found[math.ceil(p)], p - math.floor(p)) for p in places]

    def _at(self, ranks: Sequence[int]) -> dict[int, float]:
        """Values by their 0-based place in ascending order."""
        prefix, left = dict.fromkeys(ranks, 0), {rank: rank for rank in ranks}
        for shift in (48, 32, 16, 0):
            counts = {start: np.zeros(2**16, dtype=np.int64) for start in prefix.values()}
            for chunk in self._chunks():
                keys = _keys(chunk)
                for start, count in counts.items():
                    mine = keys if shift == 48 else keys[keys >> np.uint64(shift + 16) == np.uint64(start)]
                    digits = (mine >> np.uint64(shift)) & np.uint64(0xFFFF)
                    count += np.bincount(digits.astype(np.int64), minlength=2**16)
            for rank in ranks:
                below = np.cumsum(counts[prefix[rank]])
                digit = int(np.searchsorted(below, left[rank], side="right"))
                left[rank] -= int(below[digit - 1]) if digit else 0
                prefix[rank] = prefix[rank] << 16 | digit
        return {rank: _value(prefix[rank]) for rank in ranks}


def _keys(values: Floats) -> Keys:
    """Bit patterns that sort as the numbers: the sign bit turned round, and all of a negative one's."""
    bits = values.view(np.uint64)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def _value(key: int) -> float:
    bits = key & ~(1 << 63) if key >> 63 else ~key & (2**64 - 1)
    return float(np.array(bits, dtype=np.uint64).view(np.float64))


def _between(low: float, high: float, share: float) -> float:
    """As NumPy rounds it."""
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
