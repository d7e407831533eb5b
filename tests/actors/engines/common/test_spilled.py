"""A sample that goes to a file has the figures of one that does not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from actors.engines.common import spilled
from actors.engines.common.spilled import Sample

SAMPLES = {
    "one value": [3.25],
    "both zeros, and the smallest numbers": [0.0, -0.0, 5e-324, -5e-324, 0.0],
    "all the same": [7.5] * 40,
    "both signs, all sizes": [(-1) ** number * 10.0 ** (number - 40) for number in range(80)],
    "times in milliseconds": list(np.random.default_rng(1).lognormal(3, 1, 500)),
}


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_percentiles_of_a_file_are_numpys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], chunk: int
) -> None:
    monkeypatch.setattr(spilled, "IN_MEMORY", 0)
    monkeypatch.setattr(spilled, "CHUNK", chunk)
    sample = Sample(tmp_path)
    for value in values:
        sample.extend([value])
    percents = (0, 50, 95, 99, 100)
    assert sample.percentiles(percents) == [float(it) for it in np.percentile(values, percents)]
    assert sample.mean() == pytest.approx(float(np.mean(values)), rel=1e-12)
    assert len(sample) == len(values)


def test_nothing_has_no_figures(tmp_path: Path) -> None:
    empty = Sample(tmp_path)
    assert math.isnan(empty.mean())
    assert all(math.isnan(value) for value in empty.percentiles((50, 99)))


def test_the_file_has_no_name_and_goes_with_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "IN_MEMORY", 10)
    monkeypatch.setattr(spilled, "CHUNK", 5)
    sample = Sample(tmp_path)
    sample.extend([float(value) for value in range(100)])
    sample.extend([200.0] * 7)
    assert sample.percentiles((50,)) == [float(np.percentile([*range(100), *[200.0] * 7], 50))]
    assert list(tmp_path.iterdir()) == []
