"""How the code is laid out: rooms, the arrows between them, long modules, functions of many branches.
``python -m benchmarks house [TREE]``.

A room is a folder below ``campaign/`` or ``actors/``, or a module that lies there itself; an arrow leads from a room to
another one of whose modules any of its modules imports, however often. ``TREE`` is another checkout, such as one of an
older commit (``git worktree add``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.campaigns import BenchmarkFailed

ROOT = Path(__file__).parents[1]
PACKAGES = ("campaign", "actors")
LONG = 400
COMPLEX = 10


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(tree: Path) -> dict[str, list[str]]:
    """Module to the modules that it imports, inside the two packages, as import-linter sees them."""
    code = (
        "import grimp, json, sys; graph = grimp.build_graph(*sys.argv[1:], cache_dir=None); "
        "print(json.dumps({m: sorted(graph.find_modules_directly_imported_by(m)) for m in graph.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *PACKAGES],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise BenchmarkFailed(f"{tree}: {found.stderr.strip().splitlines()[-1:]}")
    graph: dict[str, list[str]] = json.loads(found.stdout)
    return graph


def branching(tree: Path) -> int:
    """Functions above McCabe's number :data:`COMPLEX`, by ruff's count."""
    asked = [
        "--isolated",
        "--select",
        "C901",
        "--config",
        f"lint.mccabe.max-complexity={COMPLEX}",
        "--output-format",
        "json",
    ]
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *asked, *PACKAGES],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    return len(json.loads(found.stdout))


def measured(tree: Path) -> dict[str, int]:
    graph = imports(tree)
    arrows = {(room(a), room(b)) for a, others in graph.items() for b in others if room(a) != room(b)}
    files = [file for package in PACKAGES for file in (tree / package).rglob("*.py")]
    lines = sorted(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return {
        "modules": len(files),
        "lines": sum(lines),
        "lines of the middle module": lines[len(lines) // 2],
        "lines of the longest module": lines[-1],
        f"modules over {LONG} lines": sum(n > LONG for n in lines),
        "rooms": len({room(module) for module in graph} - set(PACKAGES)),
        "arrows between rooms": len(arrows),
        f"functions over McCabe {COMPLEX}": branching(tree),
    }


def main() -> None:
    tree = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    if not all((tree / package).is_dir() for package in PACKAGES):
        raise BenchmarkFailed(f"{tree} holds no campaign/ and actors/. Name a checkout of the project.")
    for what, count in measured(tree).items():
        print(f"{what:<30}{count:>8}")
