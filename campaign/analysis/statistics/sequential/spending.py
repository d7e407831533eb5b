"""How much of an error level has been spent when a share of the information is in (Lan and DeMets 1983)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

Kind = Literal["pocock", "obrien_fleming", "hsd"]


@dataclass(frozen=True)
class Spending:
    """A spending function. ``gamma`` is of Hwang, Shih and De Cani's family (``hsd``) alone."""

    type: Kind = "pocock"
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.type not in ("pocock", "obrien_fleming", "hsd"):
            raise ValueError(f"no spending function is called {self.type!r}: pocock, obrien_fleming or hsd")
        if (self.type == "hsd") != (self.gamma is not None):
            raise ValueError("gamma is the parameter of hsd, and of hsd alone")

    def spent(self, fraction: float, level: float) -> float:
        """One-sided level spent at this fraction (0 to 1) of the information, of ``level`` in all."""
        if fraction >= 1:
            return level
        if self.type == "pocock":
            return level * math.log1p((math.e - 1) * fraction)
        if self.type == "obrien_fleming":
            return 2 * float(special.ndtr(special.ndtri(level / 2) / math.sqrt(fraction)))
        assert self.gamma is not None
        if self.gamma == 0:
            return level * fraction
        return level * math.expm1(-self.gamma * fraction) / math.expm1(-self.gamma)
