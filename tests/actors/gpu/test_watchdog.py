"""A hang is told from work by what moves: output, answers, the device. Never by how long it has been alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gpu.gate import Reading
from actors.gpu.watchdog import Progress, Signs, signs
from actors.types import Watchdog

S = 10**9
RULES = Watchdog(stall_s=100.0)


def progress(limit_s: float | None = None, usual_power_w: float | None = None) -> Progress:
    return Progress(RULES, Signs(0), limit_s=limit_s, usual_power_w=usual_power_w)


def test_silence_on_an_idle_device_is_a_hang_that_says_what_was_seen() -> None:
    watch = progress()
    assert watch.hung(Signs(50 * S, output_bytes=10, gpu_utilization_pct=0.0, power_w=4.0)) is None
    assert watch.hung(Signs(149 * S, output_bytes=10, gpu_utilization_pct=0.0, power_w=4.0)) is None
    said = watch.hung(Signs(150 * S, output_bytes=10, answered=3, gpu_utilization_pct=0.0, power_w=4.0))
    assert said is None, "an answered request is progress"
    said = watch.hung(Signs(250 * S, output_bytes=10, answered=3, gpu_utilization_pct=0.0, power_w=4.0))
    assert said == "nothing moved for 100 s: no new output, 3 requests answered, GPU 0 % at 4 W"


@pytest.mark.parametrize("sign", ["output_bytes", "files_ns", "answered"])
def test_each_sign_alone_keeps_an_attempt_alive(sign: str) -> None:
    watch = progress()
    for minute in range(1, 60):
        assert watch.hung(Signs(60 * S * minute, gpu_utilization_pct=0.0, **{sign: minute})) is None


def test_a_computing_device_is_no_hang_and_a_spinning_one_is() -> None:
    """96 % utilisation at a fraction of the usual power: the hang in decode that people see on a Spark."""
    busy: dict[str, Any] = {"gpu_utilization_pct": 96.0, "output_bytes": 1}
    at_work, spinning, unknown = progress(usual_power_w=40.0), progress(usual_power_w=40.0), progress()
    for minute in range(1, 10):
        assert at_work.hung(Signs(60 * S * minute, power_w=38.0, **busy)) is None
        assert unknown.hung(Signs(60 * S * minute, power_w=17.0, **busy)) is None, "without a comparison it may be work"
    assert spinning.hung(Signs(60 * S, power_w=17.0, **busy)) is None
    said = spinning.hung(Signs(160 * S, power_w=17.0, **busy))
    assert said == "nothing moved for 100 s: no new output, GPU 96 % at 17 W, 40 W is usual"


def test_without_a_gpu_the_process_tree_computes() -> None:
    at_work, asleep = progress(), progress()
    for minute in range(1, 10):
        assert at_work.hung(Signs(60 * S * minute, cpu_s=30.0 * minute)) is None
    assert asleep.hung(Signs(60 * S, cpu_s=5.0)) is None
    assert (asleep.hung(Signs(160 * S, cpu_s=5.1)) or "").endswith("no new output, 5 s of CPU time in all")


def test_what_takes_longer_than_its_cell_ever_did_is_a_hang_though_it_talks() -> None:
    watch = progress(limit_s=300.0)
    assert watch.hung(Signs(299 * S, output_bytes=1)) is None
    assert (watch.hung(Signs(300 * S, output_bytes=2)) or "").startswith("still running after 300 s, the limit")


@given(st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=40))
def test_it_ends_an_attempt_exactly_when_nothing_moved_for_so_long(steps: list[tuple[int, bool]]) -> None:
    watch, now, moved, written = progress(), 0, 0, 0
    for seconds, moves in steps:
        now += seconds
        written += moves
        moved = now if moves else moved
        hung = watch.hung(Signs(now * S, output_bytes=written or None, gpu_utilization_pct=0.0))
        assert (hung is not None) == (now - moved >= RULES.stall_s)
        if hung:
            return


def test_signs_are_read_from_the_output_folder_and_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(json.dumps({"answered": 7, "stage": "steady", "expected": 9}))
    seen = signs(5, Reading(t_mono_ns=0, gpu_utilization_pct=50.0, power_w=30.0), tmp_path, 11, None)
    assert (seen.answered, seen.output_bytes, seen.gpu_utilization_pct, seen.power_w) == (7, 11, 50.0, 30.0)
    assert seen.files_ns == (tmp_path / "progress.json").stat().st_mtime_ns
    (tmp_path / "progress.json").unlink()
    (tmp_path / "progress.json").symlink_to("/dev/zero")
    assert signs(6, Reading(t_mono_ns=0), tmp_path, None, 1).answered is None
