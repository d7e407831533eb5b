"""Telemetry: real sampling of this machine, a described GB10, and a sampler killed in the middle of it."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sensors import Kind, Value
from actors.sensors.nvml import NvmlSensor
from actors.sensors.process import ProcessSensor
from actors.sensors.recorded import RecordedNvml, recorded
from actors.sensors.system import SystemSensor
from actors.telemetry.actor import TelemetryActor
from actors.telemetry.sampler import Sampler
from actors.telemetry.schema import FIELDS, SCHEMA, TAGS
from actors.telemetry.spool import Spool, batch, whole_batches

GB10 = Path(__file__).parents[2] / "machines/gb10"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def table(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))


def everything(spool: Path) -> pa.Table:
    """All samples that reached Parquet, in order."""
    return pa.concat_tables(table(content) for _, content in Spool(spool / "telemetry").ready())


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryActor]:
    actor = TelemetryActor("u1", tmp_path, 50.0)
    yield actor
    actor.close()


def sample_for(actor: TelemetryActor, seconds: float) -> None:
    """Let it sample for so long, by its own clock."""
    until(lambda: actor.latest() is not None)
    first = actor.latest()
    assert first is not None
    until(lambda: (actor.latest() or first)["t_mono_ns"] - first["t_mono_ns"] >= seconds * 1e9)


def test_the_schema_is_the_samplers_tags_and_then_the_sensors_fields() -> None:
    assert (*TAGS, *FIELDS) == tuple(SCHEMA.names)
    sensors = {*SystemSensor.fields, *NvmlSensor.fields, *ProcessSensor.fields}
    assert sensors == set(FIELDS), "every column has its sensor and every sensor its columns"


def test_a_run_on_this_machine_is_sampled_tagged_and_summed_up(telemetry: TelemetryActor, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        sample_for(telemetry, 0.1)
        telemetry.mark("m__native__w__r01", 2, "gate")
        sample_for(telemetry, 0.2)
        telemetry.mark("m__native__w__r01", 2, "run", process.pid)
        sample_for(telemetry, 1.5)
        telemetry.mark("m__native__w__r01", 2, "idle")
        process.communicate(b"\n")
    summary = telemetry.summary("m__native__w__r01", 2)
    sample_for(telemetry, 0.1)
    telemetry.flush()
    samples = everything(tmp_path)
    assert samples.schema == SCHEMA
    stages = samples["stage"].to_pylist()
    assert [stage for stage, _ in groupby(stages)] == ["idle", "gate", "run", "idle"]
    during = samples.filter(pa.compute.equal(samples["stage"], "run"))
    assert abs(during.num_rows - summary.samples) <= 1
    assert summary.samples_expected >= 70
    assert 0 < summary.coverage_pct <= 100
    assert summary.jitter_p50_ms is not None and summary.jitter_p99_ms is not None
    assert summary.jitter_p50_ms <= summary.jitter_p99_ms
    assert summary.longest_gap_ms is not None and summary.longest_gap_ms >= 20
    assert summary.sampler_cpu_pct is not None and summary.sampler_cpu_pct > 0
    assert set(during["run_id"].to_pylist()) == {"m__native__w__r01"} and set(during["attempt"].to_pylist()) == {2}
    metrics = {metric.name: metric for metric in summary.metrics}
    peak = max(
        t - a for t, a in zip(*(during[c].to_pylist() for c in ("mem_total_gib", "mem_available_gib")), strict=True)
    )
    assert metrics["peak_unified_memory_gib"].value == pytest.approx(peak, abs=0.1)
    memory = metrics["attempt_memory_peak_gib"].value
    assert memory is not None and memory > 0
    for metric in metrics.values():
        assert (metric.value is None) == (metric.reason is not None), f"{metric.name}: missing has a reason"
    pickle.loads(pickle.dumps(summary))


def test_samples_lie_on_the_schedule_and_never_bunch_up(telemetry: TelemetryActor, tmp_path: Path) -> None:
    sample_for(telemetry, 1.0)
    telemetry.flush()
    samples = everything(tmp_path)
    ticks = [
        round((at_ns - late_ms * 1e6) / 20e6, 3)
        for at_ns, late_ms in zip(samples["t_mono_ns"].to_pylist(), samples["late_ms"].to_pylist(), strict=True)
    ]
    steps = [after - before for before, after in pairwise(ticks)]
    assert all(step == pytest.approx(round(step), abs=0.002) and round(step) >= 1 for step in steps)
    assert min(samples["late_ms"].to_pylist()) >= 0


def test_every_sensor_but_the_broken_one_goes_on(tmp_path: Path) -> None:
    class Broken:
        name = "broken"
        fields: Mapping[str, Kind] = {"gpu_power_w": "number"}

        def probe(self) -> dict[str, str]:
            return {}

        def read(self) -> dict[str, Value]:
            raise RuntimeError("came loose")

        def describe(self) -> dict[str, Any]:
            return {}

        def close(self) -> None: ...

    actor = TelemetryActor("u1", tmp_path, 100.0, sensors=[Broken(), SystemSensor()])
    sample_for(actor, 0.2)
    latest = actor.latest()
    assert latest is not None and latest["gpu_power_w"] is None and latest["mem_total_gib"] > 0
    assert "broken: RuntimeError: came loose" in actor.describe()["last_error"]
    actor.close()


def test_an_attempt_that_was_never_marked_has_no_coverage(telemetry: TelemetryActor) -> None:
    summary = telemetry.summary("unheard", 1)
    assert (summary.samples, summary.coverage_pct, summary.sampler_cpu_pct) == (0, 0.0, None)


def test_two_attempts_of_a_run_are_two_summaries(telemetry: TelemetryActor) -> None:
    for attempt, seconds in ((1, 0.6), (2, 0.2)):
        telemetry.mark("r", attempt, "run")
        sample_for(telemetry, seconds)
        telemetry.mark("r", attempt, "idle")
    assert telemetry.summary("r", 1).samples > telemetry.summary("r", 2).samples > 0


def test_a_described_gb10_gives_its_figures_and_says_what_it_cannot(tmp_path: Path) -> None:
    actor = TelemetryActor("spark", tmp_path, 100.0, root=GB10)
    actor.mark("r", 1, "run", 4242, f"system.slice/docker-{'8f' * 32}.scope")
    sample_for(actor, 0.2)
    actor.mark("r", 1, "idle")
    summary = actor.summary("r", 1)
    actor.close()
    metrics = {metric.name: metric for metric in summary.metrics}
    assert metrics["power_mean_w"].value == pytest.approx(4.12)
    assert metrics["energy_j"].value == 0.0, "the recorded counter stands still"
    assert metrics["host_temperature_max_c"].value == 41.7
    assert metrics["peak_unified_memory_gib"].value == pytest.approx(127600748 / 2**20 - 116.0)
    assert metrics["memory_bandwidth_mean_gb_s"].value is None
    assert metrics["memory_bandwidth_mean_gb_s"].reason == "the device has no GPM counters"
    assert summary.throttle_reasons == 1
    assert (
        summary.throttled_us == dict.fromkeys(summary.throttled_us, 0) and "hw_therm_slowdown" in summary.throttled_us
    )
    assert summary.foreign_gpu_pids == (), "the worker on the GPU is the attempt's own child"
    json.dumps(actor.describe())


def gb10_with(answers: RecordedNvml, spool: Path, **settings: Any) -> TelemetryActor:
    return TelemetryActor(
        "spark", spool, 100.0, sensors=[SystemSensor(GB10), NvmlSensor(answers), ProcessSensor(GB10)], **settings
    )


def test_a_process_on_the_gpu_that_is_not_the_attempts_is_foreign(tmp_path: Path) -> None:
    answers = recorded(GB10 / "nvml.json")
    actor = gb10_with(answers, tmp_path)
    actor.mark("r", 1, "run", 4242)
    sample_for(actor, 0.1)
    listed = answers.answers["nvmlDeviceGetComputeRunningProcesses"]
    answers.answers["nvmlDeviceGetComputeRunningProcesses"] = [
        *listed,
        {"pid": 5151, "usedGpuMemory": 2**30},
        {"pid": 999999, "usedGpuMemory": 2**20},  # this host cannot see it: nothing says that it is foreign
    ]
    sample_for(actor, 0.1)
    actor.mark("r", 1, "idle")
    sample_for(actor, 0.1)
    latest = actor.latest()
    summary = actor.summary("r", 1)
    actor.close()
    assert summary.foreign_gpu_pids == (5151,)
    assert latest is not None and latest["foreign_gpu_pids"] == (4243, 5151, 999999), "between runs all are"


def test_a_held_list_from_before_the_attempt_makes_nobody_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an H200, where listing is slow while a process ends, and the next attempt began within the second."""
    answers = recorded(GB10 / "nvml.json")
    ended = [{"pid": 999999, "usedGpuMemory": 2**30}]
    answers.answers["nvmlDeviceGetComputeRunningProcesses"] = ended
    ask = answers.nvmlDeviceGetComputeRunningProcesses

    def slow(handle: object) -> object:
        time.sleep(0.002)
        return ask(handle)

    monkeypatch.setattr(answers, "nvmlDeviceGetComputeRunningProcesses", slow, raising=False)
    actor = gb10_with(answers, tmp_path)
    sample_for(actor, 0.1)
    answers.answers["nvmlDeviceGetComputeRunningProcesses"] = []
    actor.mark("r", 1, "run", 4242)
    sample_for(actor, 0.2)
    actor.mark("r", 1, "idle")
    summary = actor.summary("r", 1)
    actor.close()
    assert summary.foreign_gpu_pids == ()


def test_throttling_between_samples_shows_in_the_counters(tmp_path: Path) -> None:
    answers = recorded(GB10 / "nvml.json")
    actor = gb10_with(answers, tmp_path)
    actor.mark("r", 1, "run", 4242)
    sample_for(actor, 0.1)
    answers.answers["nvmlDeviceGetFieldValues"]["NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN"] += 3_000_000
    actor.mark("r", 1, "idle")
    summary = actor.summary("r", 1)
    actor.close()
    assert summary.throttled_us["sw_therm_slowdown"] == 3000
    assert summary.throttled_us["hw_therm_slowdown"] == 0


def test_energy_is_integrated_where_there_is_no_counter(tmp_path: Path) -> None:
    answers = recorded(GB10 / "nvml.json")
    answers.answers["nvmlDeviceGetTotalEnergyConsumption"] = {"error": "NOT_SUPPORTED"}
    actor = gb10_with(answers, tmp_path)
    actor.mark("r", 1, "run")
    sample_for(actor, 0.3)
    actor.mark("r", 1, "idle")
    metrics = {metric.name: metric.value for metric in actor.summary("r", 1).metrics}
    described = actor.describe()
    actor.close()
    energy_j = metrics["energy_j"]
    assert energy_j is not None and energy_j >= 0.25 * 4.12
    assert described["sensors"]["nvml"]["energy"] == "integrated from power samples"


def test_nothing_is_converted_during_a_run(telemetry: TelemetryActor) -> None:
    telemetry.mark("r", 1, "run")
    sample_for(telemetry, 0.1)
    assert telemetry.flush() == [] and telemetry.ready() == []
    telemetry.mark("r", 1, "cooldown")
    (name,) = telemetry.flush()
    assert [ready for ready, _ in telemetry.ready()] == [name]


def test_a_file_stays_until_it_is_acknowledged(telemetry: TelemetryActor) -> None:
    sample_for(telemetry, 0.1)
    (first,) = telemetry.flush()
    sample_for(telemetry, 0.1)
    (second,) = telemetry.flush()
    assert [name for name, _ in telemetry.ready()] == [first, second]
    telemetry.acknowledge([first, "../../etc/passwd"])
    assert [name for name, _ in telemetry.ready()] == [second]


SAMPLING = """
import sys, time
from actors.telemetry.actor import TelemetryActor
actor = TelemetryActor("u1", sys.argv[1], 50.0)
actor.mark("r", 1, "run")
time.sleep(float(sys.argv[2]))
actor.spill()
print(actor.latest()["t_mono_ns"], flush=True)
time.sleep(60)
"""


def killed_sampler(spool: Path, after_s: float) -> int:
    """A process that sampled and was killed with -9; the clock of its last sample that must not be lost."""
    with subprocess.Popen(
        [sys.executable, "-c", SAMPLING, str(spool), str(after_s)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdout is not None
        spilled_ns = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    return spilled_ns


def test_a_killed_sampler_loses_nothing_that_it_had_spilled(tmp_path: Path) -> None:
    spilled_ns = killed_sampler(tmp_path, 1.5)
    assert list((tmp_path / "telemetry/spool").glob("*.arrows"))
    assert not list((tmp_path / "telemetry/ready").glob("*")), "nothing was converted before the kill"

    successor = TelemetryActor("u1", tmp_path, 50.0)
    (name,) = successor.salvaged
    content = dict(successor.ready())[name]
    assert max(table(content)["t_mono_ns"].to_pylist()) >= spilled_ns - 20_000_000
    assert table(content).schema == SCHEMA
    sample_for(successor, 0.1)
    latest = successor.latest()
    assert latest is not None and (latest["run_id"], latest["stage"]) == (None, "idle")
    successor.close()
    stages = everything(tmp_path)["stage"].to_pylist()
    assert "run" in stages and stages[-1] == "idle"
    clocks = everything(tmp_path)["t_mono_ns"].to_pylist()
    assert clocks == sorted(set(clocks)), "no sample twice"


def test_an_attempt_that_the_sampler_was_killed_in_shows_the_gap(tmp_path: Path) -> None:
    killed_sampler(tmp_path, 1.0)
    time.sleep(1.0)
    successor = TelemetryActor("u1", tmp_path, 50.0)
    successor.mark("r", 1, "run")  # the unit goes on with the attempt
    sample_for(successor, 0.3)
    successor.mark("r", 1, "idle")
    summary = successor.summary("r", 1)
    successor.close()
    assert summary.samples >= 40
    assert summary.longest_gap_ms is not None and summary.longest_gap_ms >= 1000
    assert summary.coverage_pct < 80
    assert summary.sampler_cpu_pct is None, "nobody knows what the killed one had spent"


def row(at_ns: int, run_id: str | None = "r", stage: str = "run") -> tuple[Any, ...]:
    return (at_ns, at_ns, "u1", run_id, 1, stage, False, 0.5, *(None for _ in FIELDS))


@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=6), cut=st.floats(0, 1))
def test_however_a_stream_is_torn_its_whole_batches_come_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cut: float
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    spool = Spool(folder)
    sizes = []
    at_ns = 0
    for count in counts:
        spool.append([row(at_ns + index) for index in range(count)])
        at_ns += count
        sizes.append((next(spool.segments.glob("*.arrows")).stat().st_size, at_ns))
    segment = next(spool.segments.glob("*.arrows"))
    length = round(cut * segment.stat().st_size)
    os.truncate(segment, length)
    expected = max((rows for size, rows in sizes if size <= length), default=0)
    assert sum(piece.num_rows for piece in whole_batches(segment)) == expected
    successor = Spool(folder)
    (leftover,) = successor.leftovers()
    name = successor.convert(leftover)
    assert (name is None) == (expected == 0)
    assert [table(content)["t_utc_ns"].to_pylist() for _, content in successor.ready()] == (
        [list(range(expected))] if expected else []
    )
    assert successor.leftovers() == []


def test_a_wall_clock_set_back_does_not_overwrite_a_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    names = []
    for _ in range(2):
        spool.append([row(42)])
        segment = spool.close_segment()
        assert segment is not None
        names.append(spool.convert(segment))
    assert names == ["42.parquet", "43.parquet"]


NO_ROOM = """
import json, resource, sys, time
from actors.telemetry.actor import TelemetryActor
actor = TelemetryActor("u1", sys.argv[1], 200.0)
actor.mark("r", 1, "run")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, most))  # a file that cannot grow, as on a full disk
while not actor.spill_errors:
    time.sleep(0.05)
    actor.spill()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
time.sleep(0.2)
actor.mark("r", 1, "idle")
made = actor.close()
print(json.dumps([actor.describe()["spill_errors"], made, actor.summary("r", 1).samples]))
"""


def test_a_full_disk_costs_samples_and_is_said_but_ends_nothing(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    errors, made, sampled = json.loads(finished.stdout)
    assert "samples were not written" in errors[0]
    assert len(made) >= 1
    stored = everything(tmp_path)
    lost = sum(int(error.split()[0]) for error in errors)
    assert stored.filter(pa.compute.equal(stored["stage"], "run")).num_rows <= sampled, (
        "the figures count what was lost"
    )
    assert lost > 0 and not list((tmp_path / "telemetry/spool").iterdir())


@given(
    rate_hz=st.sampled_from([1.0, 3.0, 10.0, 100.0]),
    start_ns=st.integers(-(10**10), 10**10),
    length_ns=st.integers(0, 10**10),
)
def test_ticks_of_neighbouring_windows_add_up(rate_hz: float, start_ns: int, length_ns: int) -> None:
    sampler = Sampler(rate_hz, lambda *_: None)
    start_ns += sampler.epoch_ns
    middle_ns, end_ns = start_ns + length_ns // 3, start_ns + length_ns
    whole = sampler.ticks(start_ns, end_ns)
    assert sampler.ticks(start_ns, middle_ns) + sampler.ticks(middle_ns, end_ns) == whole
    assert abs(whole - length_ns / sampler.period_ns) <= 1


def test_one_batch_has_the_schema_of_a_sample() -> None:
    assert batch([row(1), row(2)]).schema == SCHEMA
