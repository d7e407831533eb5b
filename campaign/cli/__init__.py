"""The command line: verbs only, no logic; a module for each group of verbs,
in the order in which ``--help`` shows them."""

from __future__ import annotations

import sys
import time

from campaign.cli import before, carry_out, meanwhile, others, rehearsal, results, schema, study
from campaign.cli.app import ROOT, app, err, out
from campaign.cli.words import silence_lost_interrupts

__all__ = [
    "app",
    "before",
    "carry_out",
    "err",
    "main",
    "meanwhile",
    "others",
    "out",
    "rehearsal",
    "results",
    "schema",
    "study",
]


def main() -> None:
    began_ns = time.time_ns()
    silence_lost_interrupts()
    try:
        app()
    finally:
        from actors import account

        account.leave(ROOT, sys.argv[1:], began_ns)
