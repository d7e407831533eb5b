"""Strict JSON: plain values, no NaN, put in place in one step, with the versions of what computed them."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from campaign.analysis.result import Result, as_json


def write_json(result: dict[str, Any], out: Path) -> None:
    """Write strict JSON (no NaN) and put it in place in one step. Raises FileExistsError where a device, a pipe or a
    folder is in that place."""
    if out.exists() and not out.is_file():
        raise FileExistsError(errno.EEXIST, "no regular file, and would be replaced by one", str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, allow_nan=False)
        file.write("\n")
    Path(name).chmod(0o644)
    Path(name).replace(out)


def json_ready(value: Any) -> Any:
    """Plain Python values; what is not finite becomes None, its reason standing beside it."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, Result):
        return json_ready(as_json(value))
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def versions() -> dict[str, str]:
    """Versions of everything that computes a number."""
    from importlib.metadata import PackageNotFoundError, version

    out = {"python": platform.python_version(), "byteorder": sys.byteorder}
    for package in ("numpy", "scipy", "pandas"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"
    return out
