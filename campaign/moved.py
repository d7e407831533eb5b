"""Modules that others may import by the name they had before they got rooms (CHANGELOG.md), until version 0.2.

A finder of last resort: it is asked where no module of that name exists, and hands out the module that bears the new
one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NEW = {
    "campaign.doctor": "campaign.preflight.doctor",
    "campaign.prepare": "campaign.preflight.prepare",
    "campaign.diff": "campaign.preflight.diff",
    "campaign.importing": "campaign.exchange.imports",
    "campaign.export": "campaign.exchange.export",
    "campaign.store": "campaign.record.store",
    "campaign.journal": "campaign.record.journal",
    "campaign.power": "campaign.plan.power",
    "campaign.acceptance": "campaign.run.acceptance",
    "campaign.verification": "campaign.audit.verification",
    "campaign.analysis.sql": "campaign.analysis.views",
}
"""Old name to new."""


class Moved(MetaPathFinder, Loader):
    """Finder and loader in one; the module that comes out is the one of the new name, not a copy."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in NEW else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(NEW[spec.name])
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # the import system has just given it the old name's


def serve() -> None:
    """Let the old names be imported."""
    sys.meta_path.append(Moved())
