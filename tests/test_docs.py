"""What of the documentation follows from the code is as the code is now."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def test_the_references_are_as_written() -> None:
    spec = importlib.util.spec_from_file_location("docs_reference", PROJECT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    stale = [name for name, made in reference.WRITTEN.items() if (PROJECT / name).read_text() != made()]
    assert stale == [], "run `python docs/reference.py`"


def test_the_pages_are_built_and_every_link_in_them_leads_somewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, check=False, cwd=PROJECT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "reference" / "configuration" / "index.html").is_file()
    assert "http" not in "".join(
        re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"', (tmp_path / "site" / "index.html").read_text())
    )
