"""What a simulated engine leaves behind: the report, requests and log of the real program,
so that the real parser reads them.

Only what the parser takes, and in every file the word that it is simulated. Formats: ``actors/engines/*_report.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from actors.types import Attempt
from campaign.rehearsal.llamacpp_reports import write_llamacpp
from campaign.rehearsal.served import Served
from campaign.rehearsal.trtllm_reports import write_trtllm
from campaign.rehearsal.vllm_reports import write_vllm


def write(order: Attempt, served: Served, output: Path) -> None:
    """Report, requests and log into the attempt's folder."""
    WRITERS[order.engine](order, served, output)


WRITERS: dict[str, Callable[[Attempt, Served, Path], None]] = {
    "trtllm": write_trtllm,
    "vllm": write_vllm,
    "llamacpp": write_llamacpp,
}


def digest(*parts: object) -> str:
    """In the place of a file's sha256: of what it stands for."""
    return hashlib.sha256("|".join(("simulated", *map(str, parts))).encode()).hexdigest()
