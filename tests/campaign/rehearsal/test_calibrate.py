"""Constants fitted to a campaign that measured predict its temperature; a rehearsal calibrates nothing."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_study import rehearsed, study

from campaign import config
from campaign.rehearsal.calibrate import NotCalibrated, calibrate, temperatures
from campaign.rehearsal.machine import DGX_SPARK, UnknownMachine, read, to_json, unit_for

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "h100-vllm" / "results.tar.zst"


@pytest.fixture(scope="module")
def h100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("h100")
    with pa.input_stream(str(EXAMPLE), compression="zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
        packed.extractall(place, filter="data")
    return place / "gpu-vllm-qwen"


def test_the_h100s_temperature_is_predicted_within_a_degree(h100: Path, tmp_path: Path) -> None:
    found = calibrate(h100)
    assert found.rmse_c < 0.8
    assert found.ahead_rmse_c is not None and found.ahead_rmse_c < 1.2, "the second half, by constants of the first"
    assert len(found.gates) == 24
    assert all(abs(one.predicted_s - one.observed_s) < 1.0 for one in found.gates)
    assert 20 < found.unit.rates.start_s < 40, "of some 30 s from exec until it is ready, as its README has them"
    import json

    kept = tmp_path / "h100.json"
    kept.write_text(json.dumps(to_json(found.unit)))
    assert read(kept) == found.unit


def test_two_lags_are_what_a_body_does() -> None:
    from campaign.rehearsal.heat import Body, Room

    heat = replace(DGX_SPARK.heat, daily_c=0.0, drift_c=0.0)
    body = Body.at_rest(Room(heat, (0.0, 0.0, 0.0)), 0.0, 4.0)
    body.draw(100, 50.0)
    body.draw(700, 4.0)
    times = np.arange(0, 1500, 0.5)
    by_body, power = body.history(times)
    assert temperatures(heat, times, power) == pytest.approx(by_body, abs=1e-6)


def test_a_rehearsal_calibrates_nothing(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, repetitions="1", models="[qwen2-1.5b]", shakedown="false")
    with pytest.raises(NotCalibrated, match="fitted to what was measured"):
        calibrate(went.store.root)


def test_a_file_of_constants_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    import json

    path = tmp_path / "machine.json"
    good = to_json(unit_for(config.load(study(tmp_path))))
    path.write_text(json.dumps(good))
    assert read(path) == DGX_SPARK
    for wrong, words in (
        ({**good, "colour": 1}, "colour: no such key"),
        ({**good, "heat": {**good["heat"], "fast_s": "long"}}, "heat.fast_s: must be a number"),  # type: ignore[dict-item]
        ({**good, "heat": {**good["heat"], "fast_s": -1}}, "heat.fast_s: must not be below 0"),  # type: ignore[dict-item]
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UnknownMachine, match=words):
            read(path)
