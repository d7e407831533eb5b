"""Tests of two independent arms, one file each. A file here is all that a further test needs.

A module has ``KEY`` (its name in the JSON of `campaign analyze` and in the view ``tests``), a frozen class ``Found``
(:class:`campaign.analysis.result.Result`) and a function ``test``. Every comparison that may be tested goes through all
of them; what they find stands beside the verdict, and each number in a row of the view ``tests``. Fields made by
``column`` are columns of ``comparisons`` too, which ``sql/90_analysis.sql`` lists.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from campaign.analysis.result import Result
from campaign.analysis.statistics.distributions import FloatArray


class Test(Protocol):
    """A module of this folder."""

    @property
    def KEY(self) -> str: ...

    @property
    def Found(self) -> type[Result]: ...

    def test(self, treatment: FloatArray, reference: FloatArray, m: int) -> Result | None:
        """At least three values an arm, not both arms constant. ``m`` is the number of planned comparisons.
        None where it cannot be told."""
        ...


def tests() -> dict[str, Test]:
    """Every test of this folder by its key, in the order of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [cast(Test, importlib.import_module(f"{__name__}.{name}")) for name in names]
    return {one.KEY: one for one in found}
