"""A study's audit trail as an archive: each phase's data package in a folder of its own,
the study's record and report beside them."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from campaign.exchange import export as exporting
from campaign.exchange.archive import pack, stem
from campaign.record.durable import StoreError
from campaign.study import record


def export(folder: Path, target: Path) -> Path:
    """Write the audit trail of a study to ``target``: a folder, or an archive by its ending. Refuses (``StoreError``)
    a target that exists."""
    folder, target = folder.resolve(), target.resolve()
    if target.exists():
        raise StoreError(f"{target}: already there. Remove it, or name another target.")
    if target.is_relative_to(folder):
        raise StoreError(f"{target}: inside the results. Name a target outside {folder}.")
    about = record.facts(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        whole = Path(scratch) / stem(target)
        whole.mkdir()
        for name in (record.FACTS, record.JOURNAL):
            shutil.copyfile(folder / name, whole / name)
        if (page := folder / "report" / "index.html").is_file() and not page.is_symlink():
            shutil.copyfile(page, whole / "report.html")
        for phase in about["phases"]:
            if record.phase_store(folder, phase["name"]).exists():
                exporting.export(folder / phase["name"], whole / phase["name"])
        made = pack(
            whole, Path(scratch) / "archive", target.name, datetime.fromtimestamp(about["created_utc_ns"] / 1e9, UTC)
        )
        made.rename(target)
    return target
