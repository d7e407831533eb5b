"""The gate, in virtual time before recorded readings, and against this machine's real page cache."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gpu.gate import REAL, Clock, Observe, Reading, cache, wait
from actors.types import Gate, GateRecord

NS = 10**9
KEEP: dict[str, Any] = {"cache": "keep", "cooldown_s": 0.0, "dwell_s": 0.0, "timeout_s": 100.0}


@dataclass
class Unit:
    """A unit whose state is a function of time, in seconds since the gate began; waiting is what makes time pass."""

    state: Callable[[float], dict[str, Any]]
    now_ns: int = 1000 * NS
    stop: threading.Event = field(default_factory=threading.Event)
    stop_at_s: float = float("inf")
    heard: list[str] = field(default_factory=list)

    def seconds(self) -> float:
        return self.now_ns / NS - 1000

    def look(self) -> Reading:
        return Reading(t_mono_ns=self.now_ns, **self.state(self.seconds()))

    def wait_(self, event: threading.Event, timeout_s: float) -> bool:
        assert timeout_s > 0, "a gate that does not sleep is busy"
        self.now_ns += max(1, round(timeout_s * NS))
        if self.seconds() >= self.stop_at_s:
            event.set()
        return event.is_set()

    def gate(self, reference_gib: float | None = None, rested_s: float | None = None, **settings: Any) -> GateRecord:
        return wait(
            Gate(**(KEEP | settings)),
            self.look,
            rest_since_ns=None if rested_s is None else self.now_ns - round(rested_s * NS),
            reference_gib=reference_gib,
            files=(),
            stop=self.stop,
            on_change=self.heard.append,
            clock=Clock(lambda: self.now_ns, self.wait_),
        )


def cooling(seconds: float) -> dict[str, Any]:
    """60 °C at first, 1 °C less each second, down to 38 °C."""
    return {"gpu_temperature_c": max(38.0, 60.0 - seconds), "mem_available_gib": 110.0, "foreign_gpu_pids": ()}


def cool(_: float) -> dict[str, Any]:
    return {"gpu_temperature_c": 40.0, "mem_available_gib": 110.0, "foreign_gpu_pids": (), "power_w": 4.0}


def test_a_cool_rested_unit_opens_at_once() -> None:
    unit = Unit(cool)
    record = unit.gate()
    assert record.opened and record.waited_s == 0.0
    assert record.blocked_by == () and record.unavailable == ()
    assert (record.temperature_c, record.mem_available_gib, record.power_w) == (40.0, 110.0, 4.0)
    assert record.opened_at_ns == unit.now_ns


def test_the_cooldown_ends_to_the_nanosecond_and_not_at_the_next_poll() -> None:
    record = Unit(cool).gate(rested_s=0.0, cooldown_s=2.345, poll_s=1.0)
    assert record.opened and record.waited_s == record.rest_s == 2.345
    assert record.blocked_by == ("cooldown",)


def test_rest_already_had_counts() -> None:
    record = Unit(cool).gate(rested_s=299.5, cooldown_s=300.0)
    assert record.waited_s == 0.5 and record.rest_s == 300.0


def test_it_waits_until_the_temperature_has_stayed_below_the_ceiling() -> None:
    record = Unit(cooling).gate(ceiling_c=45.0, dwell_s=10.0)
    assert record.opened and record.waited_s == 26.0  # 44 °C after 16 s, then ten more
    assert record.temperature_c == 38.0
    assert record.blocked_by == ("temperature",)


def test_the_dwell_may_lie_within_the_cooldown() -> None:
    assert Unit(cooling).gate(ceiling_c=45.0, dwell_s=10.0, rested_s=0.0, cooldown_s=30.0).waited_s == 30.0


def test_a_relapse_begins_the_dwell_anew() -> None:
    def relapsing(seconds: float) -> dict[str, Any]:
        return {"gpu_temperature_c": 50.0 if 4 <= seconds < 6 else 40.0, "foreign_gpu_pids": ()}

    assert Unit(relapsing).gate(ceiling_c=45.0, dwell_s=5.0).waited_s == 11.0


def test_the_host_stands_in_where_there_is_no_gpu() -> None:
    record = Unit(lambda _: {"host_temperature_c": 44.0, "mem_available_gib": 5.0}).gate(ceiling_c=45.0)
    assert record.temperature_c == 44.0
    assert [entry.split(":")[0] for entry in record.unavailable] == ["foreign_gpu_processes"]


def test_a_host_without_sensors_says_so_once_and_goes_on() -> None:
    record = Unit(lambda _: {}).gate(rested_s=0.0, cooldown_s=5.0, idle_power_w=6.0, dwell_s=10.0)
    assert record.opened and record.waited_s == 5.0
    assert [entry.split(":")[0] for entry in record.unavailable] == [
        "temperature",
        "memory",
        "idle_power",
        "foreign_gpu_processes",
    ]


def test_memory_must_be_back_at_its_reference() -> None:
    def returning(seconds: float) -> dict[str, Any]:
        return cool(seconds) | {"mem_available_gib": 100.0 + seconds}

    record = Unit(returning).gate(reference_gib=112.0, memory_tolerance_gib=2.0)
    assert record.opened and record.waited_s == 10.0 and record.mem_available_gib == 110.0
    assert record.blocked_by == ("memory",)


def test_idle_power_and_foreign_processes_hold_the_gate() -> None:
    def leaving(seconds: float) -> dict[str, Any]:
        return cool(seconds) | {
            "power_w": 12.0 if seconds < 3 else 4.0,
            "foreign_gpu_pids": (777,) if seconds < 5 else (),
        }

    unit = Unit(leaving)
    record = unit.gate(idle_power_w=6.0)
    assert record.waited_s == 5.0 and record.blocked_by == ("idle_power", "foreign_gpu_processes")
    assert any("777" in line for line in unit.heard)
    assert Unit(leaving).gate(foreign_gpu_processes="allow").waited_s == 0.0


@pytest.mark.parametrize(("policy", "opened"), [("pause", False), ("skip", False), ("flag", True)])
def test_a_gate_that_does_not_open_in_time(policy: str, opened: bool) -> None:
    warm_room = Unit(lambda seconds: cool(seconds) | {"gpu_temperature_c": 52.0})
    record = warm_room.gate(ceiling_c=45.0, timeout_s=30.0, on_timeout=policy, rested_s=0.0, cooldown_s=10.0)
    assert record.opened is opened and record.flagged is opened
    assert record.blocked_by == ("temperature",), "the cooldown had been met"
    assert record.waited_s == 40.0, "the timeout begins when the cooldown ends"
    assert (record.opened_at_ns is not None) is opened


def test_a_stop_ends_the_wait() -> None:
    unit = Unit(cool, stop_at_s=7.0)
    record = unit.gate(rested_s=0.0, cooldown_s=300.0, on_timeout="flag")
    assert not record.opened and record.waited_s == 7.0 and record.blocked_by == ("cooldown",)


def test_a_reading_from_before_the_caches_were_dropped_does_not_count() -> None:
    unit = Unit(cool)
    old = unit.look()

    def slow_drop(*_: Any) -> tuple[str, None]:
        unit.now_ns += 2 * NS
        return "dropped", None

    readings = iter([old, old, None])
    record = wait(
        Gate(**KEEP),
        lambda: next(readings, unit.look()),
        rest_since_ns=None,
        reference_gib=None,
        files=(),
        stop=unit.stop,
        clock=Clock(lambda: unit.now_ns, unit.wait_),
        prepare_cache=slow_drop,
    )
    assert record.opened and record.cache_action == "dropped"
    assert record.blocked_by == ("cache", "sample")


def test_a_dead_sampler_cannot_open_the_gate() -> None:
    unit = Unit(cool)
    last = unit.look()
    unit.now_ns += 5 * NS
    record = wait(
        Gate(**(KEEP | {"timeout_s": 20.0})),
        lambda: last,
        rest_since_ns=None,
        reference_gib=None,
        files=(),
        stop=unit.stop,
        clock=Clock(lambda: unit.now_ns, unit.wait_),
    )
    assert not record.opened and record.blocked_by == ("sample",)


def test_below_the_floor_the_gate_waits_and_says_so() -> None:
    unit = Unit(lambda seconds: {"gpu_temperature_c": 30.0 + seconds, "foreign_gpu_pids": ()})
    record = unit.gate(floor_c=36.0, ceiling_c=45.0)
    assert record.opened and record.temperature_c == 36.0
    assert "temperature 30.0 °C below 36 °C" in unit.heard


def test_the_stage_is_told_and_then_what_holds_the_gate() -> None:
    unit = Unit(cooling)
    unit.gate(ceiling_c=45.0, rested_s=0.0, cooldown_s=5.0)
    assert unit.heard[:3] == ["cooldown", "gate", "temperature 55.0 °C, to be below 45 °C"]


@given(
    temperatures=st.lists(st.floats(30, 60), min_size=1, max_size=60),
    ceiling_c=st.floats(35, 55),
    dwell_s=st.integers(0, 8),
    cooldown_s=st.floats(0, 20),
)
def test_whatever_the_readings_it_opens_only_on_a_state_that_holds(
    temperatures: list[float], ceiling_c: float, dwell_s: int, cooldown_s: float
) -> None:
    def recorded(seconds: float) -> dict[str, Any]:
        return {"gpu_temperature_c": temperatures[min(int(seconds), len(temperatures) - 1)], "foreign_gpu_pids": ()}

    record = Unit(recorded).gate(
        ceiling_c=ceiling_c, dwell_s=float(dwell_s), rested_s=0.0, cooldown_s=cooldown_s, timeout_s=90.0
    )
    if record.opened:
        opened_s = record.waited_s
        assert opened_s >= cooldown_s - 1e-9
        assert record.temperature_c is not None and record.temperature_c < ceiling_c
        assert recorded(max(0.0, opened_s - dwell_s))["gpu_temperature_c"] < ceiling_c, "it held for the dwell"
    else:
        assert temperatures[-1] >= ceiling_c, "a unit that stays cool is let through"


def resident_pages(path: Path) -> int:
    """Pages of a file in the page cache (mincore(2)), without touching them."""
    import ctypes

    size = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as view:
        pages = -(-size // mmap.PAGESIZE)
        seen = (ctypes.c_ubyte * pages)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), seen) == 0
        return sum(one & 1 for one in seen)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of 8 MiB on disk and in the page cache."""
    path = tmp_path / "model/weights.bin"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(os.urandom(8 * 2**20))
        file.flush()
        os.fsync(file.fileno())
    path.read_bytes()
    return path


def test_caches_are_dropped_as_root() -> None:
    action, _ = cache("drop", (), threading.Event())
    assert action == ("dropped" if os.access("/proc/sys/vm/drop_caches", os.W_OK) else "kept")


def test_without_permission_the_engines_own_files_are_evicted(weights: Path, tmp_path: Path) -> None:
    assert resident_pages(weights) == 2048
    refused = tmp_path / "no/such/drop_caches"
    action, why = cache("drop", (weights.parent,), threading.Event(), refused)
    assert action == "evicted" and why is not None and "own files 1" in why
    assert resident_pages(weights) < 2048


def test_without_permission_and_without_files_it_is_said_that_nothing_was_done(tmp_path: Path) -> None:
    action, why = cache("drop", (), threading.Event(), tmp_path / "no/such/drop_caches")
    assert action == "kept" and why is not None and "root" in why


def test_a_warm_cache_holds_the_engines_files(weights: Path) -> None:
    cache("drop", (weights,), threading.Event(), Path("/no/such/drop_caches"))
    assert cache("warm", (weights,), threading.Event()) == ("warmed", None)
    assert resident_pages(weights) == 2048


def test_it_opens_on_this_machine() -> None:
    record = wait(
        Gate(cooldown_s=0.05, ceiling_c=120.0, dwell_s=0.0, foreign_gpu_processes="allow", cache="keep"),
        Observe(),
        rest_since_ns=time.monotonic_ns(),
        reference_gib=None,
        files=(),
        stop=threading.Event(),
        clock=REAL,
    )
    assert record.opened
    assert record.rest_s is not None and record.rest_s >= 0.05
    assert record.mem_available_gib is not None and record.mem_available_gib > 0
    assert record.swap_used_gib is not None
