"""What of the documentation follows from the code is as the code is now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def test_the_references_are_as_written() -> None:
    spec = importlib.util.spec_from_file_location("docs_reference", PROJECT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    stale = [name for name, made in reference.WRITTEN.items() if (PROJECT / name).read_text() != made()]
    assert stale == [], "run `python docs/reference.py`"
