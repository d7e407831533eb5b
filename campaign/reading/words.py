"""What a cell says about a run: succeeded, failed, or not there. Words that are not known are asked for,
never taken for either."""

from __future__ import annotations

import re
from typing import Literal

Outcome = Literal["ok", "failed"]

SUCCESS = frozenset(
    [
        "ok",
        "okay",
        "pass",
        "passed",
        "success",
        "successful",
        "succeeded",
        "completed",
        "complete",
        "done",
        "finished",
        "valid",
        "true",
        "yes",
        "1",
    ]
)
FAILURE = frozenset(
    [
        "failed",
        "fail",
        "failure",
        "error",
        "errored",
        "oom",
        "out_of_memory",
        "cuda_oom",
        "oom_killed",
        "timeout",
        "timed_out",
        "timedout",
        "crash",
        "crashed",
        "killed",
        "aborted",
        "abort",
        "cancelled",
        "canceled",
        "interrupted",
        "invalid",
        "rejected",
        "skipped",
        "skip",
        "not_run",
        "dnf",
        "incomplete",
        "gate_timeout",
        "environment_error",
        "exception",
        "segfault",
        "false",
        "no",
    ]
)
FAILED_IN_A_CELL = FAILURE - {"false", "no", "invalid", "skip", "error"} | {"err", "error"}
"""Instead of a figure: the run ended so."""
MISSING = frozenset(
    {"", "na", "n/a", "nan", "none", "null", "-", "--", "–", "—", "nil", "#n/a", "<na>", "?", "not_available"}
)
NO_ERROR = MISSING | {"false", "no", "0", "ok", "no_error", "[]", "{}"}


def folded(value: object) -> str:
    """A word as the tables above spell it."""
    return re.sub(r"[\s-]+", "_", str(value).strip().casefold()) if str(value).strip(" -–—") else str(value).strip()


def missing(value: object) -> bool:
    """Whether a cell is empty or says that there is nothing."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value  # noqa: PLR0124  # NaN
    return isinstance(value, str) and folded(value) in MISSING


def outcome(word: object) -> Outcome | None:
    """What a status word says, None where it is not known."""
    text = folded(word)
    if text in SUCCESS:
        return "ok"
    return "failed" if text in FAILURE else None
