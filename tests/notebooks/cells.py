"""Executes a notebook's code cells as Jupyter would, without Jupyter."""

import ast
import json
from pathlib import Path
from typing import Any


def code_cells(notebook: Path) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def run_cells(sources: list[str]) -> list[Any]:
    """The value of each cell's last expression, None where it ends in a statement. One namespace for all."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    values: list[Any] = []
    for number, source in enumerate(sources, 1):
        tree = ast.parse(source, f"<cell {number}>")
        ends = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
        last: Any = tree.body.pop() if ends else None
        exec(compile(tree, f"<cell {number}>", "exec"), namespace)
        if last is None:
            values.append(None)
        else:
            values.append(eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), namespace))
    return values
