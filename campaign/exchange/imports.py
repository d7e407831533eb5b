"""Takes in the runs of others: tables or reports of measured runs become a results
folder that SQL and the report can read.

The folder holds what the files say and nothing that they do not: ``campaign.json`` (marked ``imported``, with the
files' digests, what became of every column and row, and what was assumed), ``imported.parquet`` (one row per attempt,
with its place in the file) and the files themselves. There is no plan, journal, log, gate record or telemetry, and none
is made up.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import host
from campaign.reading import Asked, Reading, read, sources
from campaign.reading.asked import check_meaning
from campaign.reading.errors import TableError as ImportRefused
from campaign.reading.errors import listed, shown
from campaign.reading.reference import reference_arm
from campaign.record import untrusted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImportRefused", "import_runs", "understand"]

SIZE_IN_NAME = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
LONGEST_NAME = 64


def import_runs(
    file: Path | Sequence[Path],
    results: Path,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    reference: str | None = None,
    gpu: str | None = None,
    batch_size: int | None = None,
    margin_pct: float | None = None,
    source: str | None = None,
    asked: Asked | None = None,
) -> Path:
    """Read tables or reports of runs into ``results/<name>``; returns the folder.

    ``columns`` maps the file's columns to what they are here and is part of ``asked``, which holds whatever else the
    file does not say. ``reference`` is the base arm (default: the one that is called native or begins with it). ``gpu``
    and ``batch_size`` feed the roofline. ``source`` says whose data they are. Raises :class:`ImportRefused`, before
    anything is written; an existing folder is never written into, and a folder is there whole or not at all.
    """
    files = [file] if isinstance(file, Path) else list(file)
    asked = _with(asked or Asked(), columns)
    folder = results / folder_name(name, files)
    if folder.exists():
        raise ImportRefused(f"{folder} exists already; give another name, or remove it to import again")
    if gpu is not None:
        check_gpu(gpu)
    reading = understand(files, asked)
    base = base_arm(reading, reference, files)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        facts = _facts(reading, files, folder.name, base, gpu, batch_size, margin_pct, source)
        _keep(files, partial)
        _write(attempts(reading), partial / "imported.parquet")
        (partial / "campaign.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def check_gpu(name: str) -> None:
    """Raises :class:`ImportRefused` where no GPU of known bandwidth goes by that name:
    the roofline would be left out without a word."""
    import duckdb

    from campaign.analysis import views

    con = duckdb.connect()
    con.execute(next(statement.text for statement in views.statements() if statement.name == "bandwidths"))
    known = [str(gpu) for (gpu,) in con.execute("SELECT gpu FROM bandwidths").fetchall()]
    if not any(gpu in name for gpu in known):
        raise ImportRefused(
            f"--gpu {shown(name)}: the roofline knows the memory bandwidth of {listed(known)} and of no other GPU. "
            f"Give the name as nvidia-smi prints it (NVIDIA {known[0]}), or leave --gpu out: "
            "then no figure is held against the roofline"
        )


def understand(files: Sequence[Path], asked: Asked) -> Reading:
    """What :func:`import_runs` would take in. Raises :class:`ImportRefused`."""
    for file in files:
        if (why := simulated(file)) is not None:
            raise ImportRefused(
                f"{file}: {why}, and nothing in it was measured: what is imported counts as measured runs"
            )
    reading = read(files, asked, everything=False)
    changed = {name: arms for name, arms in reading.differs.items() if name in reading.held}
    for name, arms in changed.items():
        words = "; ".join(f"{arm} {listed(values, 3)}" for arm, values in arms.items())
        raise ImportRefused(
            f"{name} differs between the arms ({words}): they are not compared. If it belongs to what is compared, "
            f"--column {name}=ignore"
        )
    return reading


SAYS_SIMULATED = re.compile(rb'"simulated"\s*:\s*(?:true|"true")')


def simulated(file: Path) -> str | None:
    """Why the file is of a rehearsal: it says so, in a row or as a whole, or it lies in the folder of one.
    None where it is not."""
    for folder in file.absolute().parents[:6]:
        try:
            said = json.loads(untrusted.read_bytes(folder / "campaign.json"))
        except (OSError, ValueError, RecursionError, untrusted.Unreadable):
            continue
        if isinstance(said, dict) and said.get("simulated") is True:
            return f"lies in {folder}, the folder of a rehearsal"
    try:
        if SAYS_SIMULATED.search(sources.content(file)):
            return "says that it is simulated"
        columns = sources.load(file).columns
    except ImportRefused:
        return None  # whoever reads it says what is wrong with it
    for name, cells in columns.items():
        if name.strip().casefold() == "simulated":
            for number, cell in enumerate(cells, 1):
                if str(cell).strip().casefold() in ("true", "1", "yes", "1.0"):
                    return f"says in row {number} that it is simulated"
    return None


def base_arm(reading: Reading, reference: str | None, files: Sequence[Path]) -> str:
    """The reference; of a table with a single arm, that one."""
    arms = reading.arms
    if reference is None and len(arms) == 1:
        return arms[0]
    try:
        return reference_arm(arms, reference)
    except ImportRefused as error:
        raise ImportRefused(f"{files[0]}: {error}") from None


def folder_name(name: str | None, files: Sequence[Path]) -> str:
    """Of the results folder: the one asked for, or the first file's name in lower-case letters, digits and hyphens."""
    if name is None:
        stem = files[0].name.partition(".")[0] if files else ""
        return re.sub(r"[^a-z0-9-]+", "-", stem.lower()).strip("-")[:LONGEST_NAME] or "imported"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or len(name) > LONGEST_NAME or ".." in name:
        raise ImportRefused(
            f"--name {shown(name)}: a folder's name has letters, digits, dots, hyphens and underscores, begins with "
            f"one of the first two, and is at most {LONGEST_NAME} characters long"
        )
    return name


def _with(asked: Asked, columns: Mapping[str, str] | None) -> Asked:
    for column, meaning in (columns or {}).items():
        check_meaning(column, meaning)
    return replace(asked, columns={**asked.columns, **(columns or {})})


def _facts(
    reading: Reading,
    files: Sequence[Path],
    name: str,
    base: str,
    gpu: str | None,
    batch_size: int | None,
    margin_pct: float | None,
    source: str | None,
) -> dict[str, Any]:
    """``campaign.json``."""
    notes = list(reading.notes)
    digests = [{"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files]
    whole = digests[0]["sha256"] if len(digests) == 1 else hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    identities: dict[str, str | None] = {}
    for run in reading.runs:
        model = run.factors["model"]
        identities[model] = identities.get(model) or run.factors.get("model_identity") or None
    models = [_model(model, identity, batch_size, notes) for model, identity in identities.items()]
    config: dict[str, Any] = {"name": name, "models": models, "environments": reading.arms, "reference": base}
    if margin_pct is not None:
        config["margin_pct"] = margin_pct
    if reading.better:
        config["better"] = reading.better
    return {
        "campaign": name,
        "campaign_id": f"imported-{whole[:12]}",
        "config": config,
        "seed": 0,
        "simulated": False,
        "created_utc_ns": int(datetime.now(UTC).timestamp() * 1e9),
        "chosen_because": f"imported from {listed((path.name for path in files), 5)}",
        "imported": {
            "file": listed((path.name for path in files), 5),
            "sha256": whole,
            "files": digests,
            "source": source,
            "gpu": gpu,
            "batch_size": batch_size,
            **reading.report(),
            "notes": notes,
        },
    }


def _keep(files: Sequence[Path], folder: Path) -> None:
    """The files as they were given, beside what was read from them."""
    if len(files) == 1:
        suffix = "".join(files[0].suffixes[-2:]) if files[0].suffix in (".gz", ".bz2", ".xz") else files[0].suffix
        shutil.copyfile(files[0], folder / f"source{suffix}")
        return
    for i, path in enumerate(files, 1):
        target = folder / "source" / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target if not target.exists() else target.with_name(f"{i}-{path.name}"))


def attempts(reading: Reading) -> pd.DataFrame:
    """One row per attempt, in order of time where it is known, in the columns of ``schema_imported``. A metric without
    a value has the reason why."""
    import pandas as pd

    several = [name for name in ("unit", "phase") if len({run.factors[name] for run in reading.runs}) > 1]
    rows = []
    in_time = sorted(reading.runs, key=lambda run: math.inf if run.sequence_index is None else run.sequence_index)
    for index, run in enumerate(in_time):
        f = run.factors
        known = "__".join(
            [*(f[name] for name in several), f["model"], f["environment"], f["workload"], f"r{run.repetition:02d}"]
        )
        rows.append(
            {
                "run_id": known, "attempt": run.attempt, "index": index, "phase": f["phase"], "unit": f["unit"],
                "model": f["model"],
                "environment": f["environment"], "workload": f["workload"], "engine": f["engine"],
                "repetition": run.repetition,
                "started_utc_ns": run.started_ns, "sequence_index": run.sequence_index,
                "order_in_block": run.order_in_block,
                "outcome": "completed" if run.ok else "failed", "failure": run.failure, "throttled": run.throttled,
                "start_temperature_c": run.states.get("start_temperature_c"),
                "model_identity": f.get("model_identity") or None,
                "source_row": run.place, "settings": json.dumps(reading.settings(run)),
                "metrics": [
                    {
                        "name": metric, "value": None if metric in run.reasons else run.values[metric],
                        "unit_of_measure": unit,
                        "source": "imported", "reason": run.reasons.get(metric),
                    }
                    for metric, unit in reading.metrics.items()
                ],
            }
        )  # fmt: skip
    return pd.DataFrame(rows).astype({"started_utc_ns": "Int64"})


def _model(name: str, identity: str | None, batch_size: int | None, notes: list[str]) -> dict[str, Any]:
    """What is known of a model: from ``configs/models.yaml`` by its identity, else its size from its name."""
    known = next((entry for entry in _library() if identity and entry.get("huggingface_id") == identity), None)
    out: dict[str, Any] = {"name": name, "huggingface_id": identity, "batch_size": batch_size}
    if known:
        notes.append(f"{name}: size of {identity} from configs/models.yaml")
        return out | {key: known.get(key) for key in ("parameters", "active_parameters", "weight_bytes", "precision")}
    size = _size(identity or "") or _size(name)
    if size:
        notes.append(f"{name}: {size / 1e9:g} billion parameters, from its name {identity or name}")
    return out | {"parameters": size, "active_parameters": None, "weight_bytes": None, "precision": None}


def _size(text: str) -> int | None:
    found = [float(times or 1) * float(billions) for times, billions in SIZE_IN_NAME.findall(text)]
    return int(max(found) * 1e9) if found and max(found) < 1e6 else None


def _library() -> list[dict[str, Any]]:
    import yaml

    path = host.shipped("configs") / "models.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []) if path.exists() else []
    return [entry for entry in entries if isinstance(entry, dict)]


def _write(table: pd.DataFrame, path: Path) -> None:
    """In the types of ``schema_imported``."""
    import duckdb

    from campaign.analysis import views

    con = duckdb.connect()
    con.execute(views.definition("schema_imported"))
    try:
        views.write_parquet(con, table, path)
    except duckdb.Error as error:
        raise ImportRefused(f"a cell does not fit what it is to be: {str(error).splitlines()[0]}") from None
