"""The shipped analysis gives what independent implementations give."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[4]
CASES = sorted(path.parent for path in (PROJECT / "tests" / "fixtures" / "stats").glob("*/expected.json"))


@pytest.fixture(scope="module")
def reference_cases() -> ModuleType:
    path = PROJECT / "benchmarks" / "reference_cases.py"
    spec = importlib.util.spec_from_file_location("reference_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_cases"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_expected_value_is_obtained(case: Path, reference_cases: ModuleType) -> None:
    checks = reference_cases.check_case(case, strict=True)
    assert len(checks) > 50
    assert set(reference_cases.SHOWN.get(case.name, {})) <= {c.path for c in checks}  # what docs/statistics.md prints
    wrong = [f"{c.path}: expected {c.expected}, obtained {c.obtained}" for c in checks if not c.passed]
    assert not wrong, "\n".join(wrong)


def test_there_are_cases() -> None:
    assert len(CASES) >= 8
