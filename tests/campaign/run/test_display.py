"""What the display says of a snapshot, on a terminal and without one."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from actors.types import Gate, Status
from campaign.record.snapshot import Snapshot
from campaign.run.display import Display, line, panel


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def running(**changed: object) -> Snapshot:
    now = time.time_ns()
    status = Status(
        unit="spark-1",
        run_id="llama__docker__chat__r03",
        attempt=2,
        stage="run",
        since_utc_ns=now - 90 * 10**9,
        detail="steady",
        temperature_c=41.6,
        progress=0.25,
        throughput_tok_s=1234.5,
        pid=1,
    )
    facts = {"campaign": "demo", "results": "r", "total": 8, "accepted": 3, "exhausted": 1, "eta_s": 125.0}
    return Snapshot(**{**facts, "stage": "running", "lanes": {"spark-1": status}, "elapsed_s": 60.0, **changed})


def drawn(snapshot: Snapshot, gate: Gate | None = None) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(panel(snapshot, gate))
    return printed(console)


def test_it_shows_run_stage_progress_temperature_and_throughput():
    text = drawn(running(), Gate(ceiling_c=45.0))
    assert "llama · docker · chat · r03 (attempt 2)" in text
    assert "run: steady" in text
    assert "25%" in text
    assert "42 °C / 45" in text
    assert "1234 tok/s" in text or "1235 tok/s" in text
    assert "spark-1" in text


def test_done_counts_what_is_accepted_and_what_was_given_up():
    text = drawn(running(rejected_attempts=2))
    assert "4/8" in text
    assert "2 attempts rejected" in text
    assert "1 runs given up" in text


@pytest.mark.parametrize(("seconds", "shown"), [(125.0, "ETA 2 min"), (None, "ETA –")])
def test_the_time_left_is_shown_or_unknown(seconds: float | None, shown: str):
    assert shown in drawn(running(eta_s=seconds))


def test_a_campaign_that_does_not_run_shows_its_stage_for_the_time_left():
    assert "ETA" not in drawn(running(stage="stopped"))
    assert "stopped" in drawn(running(stage="stopped"))


def test_a_number_of_runs_that_is_not_known_yet_is_no_number():
    assert "0/?" in drawn(running(stage="connecting", total=0, accepted=0, exhausted=0, lanes={}))


def test_a_unit_without_a_sensor_says_so():
    status = running().lanes["spark-1"].model_copy(update={"temperature_c": None, "throughput_tok_s": None})
    text = drawn(running(lanes={"spark-1": status}), Gate(ceiling_c=45.0))
    assert "no sensor" in text
    assert "/ 45" not in text


def test_every_unit_has_a_line_in_order_of_name():
    status = running().lanes["spark-1"]
    text = drawn(running(lanes=dict.fromkeys(("spark-2", "spark-1"), status)))
    assert text.index("spark-1") < text.index("spark-2")


def test_a_narrow_terminal_is_not_overrun():
    console = Console(file=io.StringIO(), width=60)
    console.print(panel(running()))
    assert all(len(text) <= 60 for text in printed(console).splitlines())


def test_the_plain_line_says_the_same():
    assert re.fullmatch(r"4/8 runs, ETA 2 min.*, spark-1: llama__docker__chat__r03 run", line(running()))
    assert line(Snapshot(campaign="c", results="r", stage="preparing")) == "0/0 runs, ETA –, preparing"


def test_without_a_terminal_a_stage_is_told_once_and_nothing_is_drawn(capsys: pytest.CaptureFixture[str]):
    with Display(Console(file=io.StringIO()), None) as display:
        for stage in ("connecting", "connecting", "running", "running", "completed"):
            display.show(running(stage=stage))
    said = capsys.readouterr().out
    assert said.splitlines() == ["demo: connecting", line(running()), "demo: completed"]
    assert "\x1b" not in said


def test_a_message_with_brackets_is_shown_as_it_is():
    console = Console(file=io.StringIO(), width=100)
    Display(console, None).tell("rejected [r03]: [bold]throttling")
    assert printed(console) == "rejected [r03]: [bold]throttling\n"


def test_the_live_display_gives_the_cursor_back():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Display(console, None) as display:
        display.show(running())
    shown = printed(console)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def columns(snapshot: Snapshot, width: int) -> list[int]:
    """Where the head's columns begin."""
    console = Console(file=io.StringIO(), width=width)
    console.print(panel(snapshot))
    head = next(line for line in printed(console).splitlines() if line.startswith("unit"))
    return [match.start() for match in re.finditer(r"\S+", head)]


def with_lane(**changed: object) -> Snapshot:
    lane = running().lanes["spark-1"].model_copy(update=changed)
    return running(lanes={"spark-1": lane})


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_columns_stay_where_they_are_from_frame_to_frame(width: int):
    frames = [
        with_lane(temperature_c=None),
        with_lane(temperature_c=None, stage="cooldown", detail="waiting for 45 °C, 51 °C now", progress=None),
        with_lane(temperature_c=None, run_id=None, stage="idle", throughput_tok_s=None),
        with_lane(temperature_c=None, run_id="a" * 90, throughput_tok_s=123456.0),
    ]
    assert len({tuple(columns(frame, width)) for frame in frames}) == 1


def test_a_sensor_that_is_not_there_goes_before_a_name_is_cut():
    console = Console(file=io.StringIO(), width=80)
    name = "random-llama-8m__docker-baseline__r01"
    console.print(panel(with_lane(run_id=name, attempt=1, temperature_c=None)))
    text = printed(console)
    assert name.replace("__", " · ") in text and "no sensor" not in text


def test_the_time_moves_on_between_snapshots(monkeypatch: pytest.MonkeyPatch):
    shown, now = panel(running(elapsed_s=60.0)), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 120)
    console = Console(file=io.StringIO(), width=80)
    console.print(shown)
    assert "3 min so far" in printed(console)
