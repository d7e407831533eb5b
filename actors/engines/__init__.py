"""Engines: the benchmark programs. One protocol: prepare, command, parse.

An engine knows nothing of environments: it says what argv, which mounts and which variables, and reads back
what its program wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from actors.types import Launch, Model, Prepared, Report, Workload

OUTPUT = "/campaign/output"
"""Where every arm sees the attempt's output folder."""

CACHE = "/campaign/cache"
"""Where every arm sees the engine's compile caches, read-write: an attempt's own copy of what an unmeasured start made."""


CACHE = "/campaign/cache"
"""Where every arm sees the engine's compile caches."""


class EngineError(Exception):
    """A model, a workload or a report that the engine cannot handle. The message is for the person: what is wrong on the
    first line, and on those after it ``remedy``, what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.remedy = remedy


class Engine(Protocol):
    name: str

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Put weights and dataset in place below ``cache`` (idempotent, atomic), and say where they are."""
        ...

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """The process to start. Paths are as seen inside; the output folder is mounted at ``OUTPUT``
        by the caller, read-write."""
        ...

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        """Read what the program wrote to the output folder (and ``stdout.log``/``stderr.log`` beside it, in
        ``output.parent``). Never raises for a bad report: names the failure in ``Report.failure``."""
        ...
