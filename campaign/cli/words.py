"""Errors in words: one message and an exit code that is the same for the same cause in every verb. A traceback reaches
nobody who did not ask for it with ``CAMPAIGN_TRACEBACK=1``;
a defect of the program keeps its own in a file and names it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from actors import host
from campaign.errors import EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_REFUSED, CampaignError

OTHERS = (("duckdb", "Error"), ("builtins", "OSError"))
"""Errors of libraries that are for the person, by module and name: one can only come from a module that is imported."""


@contextlib.contextmanager
def in_words(err: Console) -> Iterator[None]:
    """Whatever is raised within ends the command with words on ``err`` and its exit code."""
    try:
        yield
    except BrokenPipeError:
        seen_enough()
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except KeyboardInterrupt:
        err.print("campaign: interrupted", style="red")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as problem:
        if os.environ.get("CAMPAIGN_TRACEBACK"):
            raise
        others = tuple(getattr(sys.modules[module], name) for module, name in OTHERS if module in sys.modules)
        if isinstance(problem, CampaignError):
            code, message = problem.exit_code, str(problem)
        elif isinstance(problem, others) or str(problem).startswith("Symlink loop"):  # pathlib's own RuntimeError
            code, message = EXIT_REFUSED, _of_others(problem)
        else:
            code, message = EXIT_DEFECT, _defect(problem)
        err.print(f"campaign: {message}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(code) from None


def silence_lost_interrupts() -> None:
    """An interrupt that arises where Python lets no exception out (a destructor, a hook at a fork) is lost, and Python
    would print its stack. Whoever handles signals has noted it already."""
    says = sys.unraisablehook

    def hook(lost: Any) -> None:
        if not (isinstance(lost.exc_type, type) and issubclass(lost.exc_type, KeyboardInterrupt)):
            says(lost)

    sys.unraisablehook = hook


def seen_enough() -> None:
    """The reader of a pipe (head, less) is gone: what is still written goes nowhere, and that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_others(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{_full(problem)} Nothing that finished is lost: make space, and give the same command."
    if isinstance(problem, OSError) and problem.filename is not None and problem.strerror:
        other = f" to {problem.filename2}" if problem.filename2 else ""
        return f"{problem.filename}{other}: {problem.strerror}"
    return str(problem)


def _full(problem: OSError) -> str:
    """What is used up: space, somebody's share of it, or the number of files that a filesystem can have."""
    if problem.errno == errno.EDQUOT:
        return f"the quota is used up ({problem})."
    if problem.filename is not None:
        with contextlib.suppress(OSError):
            facts = os.statvfs(host.existing(Path(os.fsdecode(problem.filename))))
            if facts.f_files and not facts.f_favail:
                return f"the disk holds as many files as it can ({problem}; `df -i` tells, removing files helps)."
    return f"the disk is full ({problem})."


def _defect(problem: Exception) -> str:
    """What is said of an error that nobody foresaw; its traceback is kept."""
    last = traceback.extract_tb(problem.__traceback__)[-1]
    said = (
        f"a defect of the program, not of your input: {type(problem).__name__}: {problem} "
        f"({last.filename}:{last.lineno})."
    )
    try:
        with tempfile.NamedTemporaryFile("w", prefix="campaign-traceback-", suffix=".txt", delete=False) as file:
            traceback.print_exception(problem, file=file)
    except OSError:
        return f"{said} CAMPAIGN_TRACEBACK=1 shows its traceback."
    return f"{said} Its traceback is in {file.name}; with it, please report this."
