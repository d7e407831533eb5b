"""An attempt always ends with evidence, whatever its engine does: real processes of this machine,
started as an arm starts them."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from actors.environments.registry import arm as arm_of
from actors.files import removal
from actors.gpu import attempt as attempts
from actors.gpu import evidence as left
from actors.gpu.gate import Observe
from actors.types import (
    Attempt,
    Environment,
    Evidence,
    Gate,
    Launch,
    Metric,
    Model,
    Prepared,
    Report,
    TelemetrySummary,
    Watchdog,
    Workload,
)

ARM = Environment(name="native-host", kind="native-host")
GATE = Gate(
    cooldown_s=0, ceiling_c=None, dwell_s=0, memory_tolerance_gib=None, cache="keep", on_timeout="flag", timeout_s=20
)


class Program:
    """An engine whose program is a line of Python and whose parser is a function."""

    name = "program"

    def __init__(self, text: str, parse=lambda output: Report()) -> None:
        self.text, self.read = text, parse

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        return Prepared(facts={"model_identity": model.name})

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        return Launch(argv=(sys.executable, "-c", self.text))

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        return self.read(output)

    def texts(self, output: Path) -> tuple[str, ...] | None:
        return None


class Quiet:
    """A sampler that is not there: an attempt must do without it."""

    def mark(self, *_: object) -> None: ...

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary | None:
        return None


def carry_out(engine: Program, folder: Path, timeout_s: float = 60.0, arm: Any = None, **order: object) -> Evidence:
    asked = Attempt(
        campaign="c",
        campaign_id="c1",
        run_id="r",
        attempt=1,
        unit="u",
        engine="program",
        model=Model(name="m", engines=("program",), path="/m"),
        workload=Workload(name="w", requests=1, input_tokens=1, output_tokens=1, timeout_s=timeout_s),
        environment=ARM,
        gate=GATE,
        prepared=Prepared(facts={"model_identity": "m"}),
        image=None,
    ).model_copy(update=order)
    return attempts.carry_out(
        asked,
        engine=engine,
        arm=arm or arm_of(ARM, folder),
        telemetry=Quiet(),
        observe=Observe(),
        spool=folder / "spool",
        rest_since_ns=0,
        stop=Event(),
        watch=attempts.Watch(),
    )


def test_a_parser_that_raises_is_an_outcome_with_its_traceback_kept(tmp_path: Path) -> None:
    def raises(output: Path) -> Report:
        raise OverflowError("10 to the 400th")

    evidence = carry_out(Program("print('served')", raises), tmp_path)
    assert evidence.outcome == "parser_error"
    assert evidence.failure is not None and "OverflowError: 10 to the 400th" in evidence.failure
    assert b"in raises" in evidence.files[attempts.PARSER_FILE]
    assert b"served" in evidence.files["stdout.log"]


@pytest.mark.parametrize("own", [(), (Metric(name="load_s", value=1.0, unit_of_measure="s", source="log"),)])
def test_the_load_counts_from_exec_to_what_the_log_calls_ready(tmp_path: Path, own: tuple[Metric, ...]) -> None:
    def parse(output: Path) -> Report:
        return Report(metrics=own, ready_utc_ns=time.time_ns() + 5 * 10**9)

    evidence = carry_out(Program("pass", parse), tmp_path)
    found = [metric for metric in evidence.metrics if metric.name == "load_s"]
    assert len(found) == 1 and evidence.stages.load_s == found[0].value
    assert found[0].value is not None and 5 <= found[0].value <= 60
    assert found[0].source == "unit: exec until the log says ready"


def test_a_log_that_is_ready_before_the_exec_tells_no_load(tmp_path: Path) -> None:
    evidence = carry_out(Program("pass", lambda output: Report(ready_utc_ns=10**18)), tmp_path)
    assert evidence.stages.load_s is None


def test_a_failed_engine_stays_failed_though_its_parser_raises_too(tmp_path: Path) -> None:
    def raises(output: Path) -> Report:
        raise KeyError("x")

    evidence = carry_out(Program("raise SystemExit(3)", raises), tmp_path)
    assert evidence.outcome == "failed" and (evidence.failure or "").startswith(
        "exit code 3; the report could not be read"
    )


def test_an_engine_that_cannot_be_told_to_run_is_an_outcome(tmp_path: Path) -> None:
    engine = Program("pass")
    engine.command = lambda *_: (_ for _ in ()).throw(ValueError("no such backend"))  # type: ignore[method-assign]
    evidence = carry_out(engine, tmp_path)
    assert (evidence.outcome, evidence.failure) == ("environment_error", "ValueError: no such backend")


@pytest.mark.parametrize(
    ("program", "seen"),
    [
        ("import time; print('loading', flush=True); time.sleep(600)", "no new output"),
        ("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)", "s of CPU time in all"),
    ],
)
def test_an_engine_that_does_nothing_is_ended_and_what_was_seen_is_said(
    tmp_path: Path, program: str, seen: str
) -> None:
    evidence = carry_out(Program(program), tmp_path, watchdog=Watchdog(stall_s=2.0))
    assert evidence.outcome == "hung"
    assert (evidence.failure or "").startswith("hung: nothing moved for") and seen in (evidence.failure or "")
    assert evidence.exit is not None and evidence.exit.code not in (0, None)


def test_one_that_computes_or_talks_is_left_alone(tmp_path: Path) -> None:
    busy = "import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: sum(range(10000))"
    talks = "import time\nfor n in range(16): print(n, flush=True); time.sleep(0.25)"
    for program in (busy, talks):
        evidence = carry_out(Program(program), tmp_path, watchdog=Watchdog(stall_s=2.0))
        assert evidence.outcome == "completed", evidence.failure


def test_one_that_takes_longer_than_its_cell_ever_did_is_ended(tmp_path: Path) -> None:
    talks = "import time\nwhile True: print(1, flush=True); time.sleep(0.1)"
    evidence = carry_out(Program(talks), tmp_path, limit_s=2.0)
    assert evidence.outcome == "hung" and "the limit from what is known of its cell" in (evidence.failure or "")


def test_the_workloads_own_limit_is_a_timeout(tmp_path: Path) -> None:
    evidence = carry_out(Program("import time; time.sleep(600)"), tmp_path, timeout_s=1.0)
    assert (evidence.outcome, evidence.failure) == ("timeout", "still running after 1 s")


@pytest.mark.parametrize(
    "leaves",
    [
        "os.mkfifo('report.json')",
        "os.symlink('/dev/zero', 'report.json')",
        "os.symlink('/etc/shadow', 'report.json')",
        "open(b'\\xff\\xfe\\n', 'w').write('x')",
    ],
)
def test_what_an_engine_leaves_cannot_stop_an_attempt(tmp_path: Path, leaves: str) -> None:
    def reads(output: Path) -> Report:
        assert not any(path.is_symlink() or path.is_fifo() for path in output.iterdir())
        return Report(failure=None if (output / "report.json").exists() else "report_missing")

    # On the bare host the output folder is where the mount's source is.
    engine = Program(f"import os, sys; os.chdir(sys.argv[1]); {leaves}", reads)
    engine.command = lambda *_: Launch(argv=(sys.executable, "-c", engine.text, "/campaign/output"))  # type: ignore[method-assign]
    evidence = carry_out(engine, tmp_path)
    assert (evidence.outcome, evidence.failure) == ("failed", "report_missing")
    assert not any(b"root:" in data for data in evidence.files.values())
    assert all(name.isprintable() for name in evidence.files)


def test_an_engine_that_is_stopped_for_a_while_is_noticed(tmp_path: Path) -> None:
    stops = "import os, signal, subprocess, sys, time\n"
    stops += "subprocess.Popen(['sh', '-c', f'sleep 2; kill -CONT {os.getpid()}'])\n"
    stops += "os.kill(os.getpid(), signal.SIGSTOP)"
    assert (carry_out(Program(stops), tmp_path).paused_s or 0) >= 1.0
    assert carry_out(Program("pass"), tmp_path).paused_s == 0.0


def at_output(text: str, parse=lambda output: Report()) -> Program:
    """An engine whose program starts in its output folder."""
    engine = Program(f"import os, sys; os.chdir(sys.argv[1]); {text}", parse)
    engine.command = lambda *_: Launch(argv=(sys.executable, "-c", engine.text, "/campaign/output"))  # type: ignore[method-assign]
    return engine


def test_a_large_file_waits_on_the_unit_until_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left, "PIECE_BYTES", 2**20)
    monkeypatch.setattr(attempts.parsing, "HERE_BYTES", 2**30)  # no other process knows this engine
    evidence = carry_out(
        at_output("open('big.bin', 'wb').write(b'ab' * (3 << 19)); open('small', 'w').write('x')"), tmp_path
    )
    assert evidence.outcome == "completed", evidence.failure
    assert evidence.large == {"output/big.bin": 3 << 20}
    assert evidence.files["output/small"] == b"x" and "output/big.bin" not in evidence.files
    spool, fetched = tmp_path / "spool", b""
    while data := left.piece(spool, "r", 1, "output/big.bin", len(fetched)):
        assert len(data) <= 2**20
        fetched += data
    assert fetched == b"ab" * (3 << 19)
    (spool / "attempts" / "r" / "1" / "output" / "link").symlink_to("/etc/passwd")
    for name in ("output/link", "../../../../../../etc/passwd", "output"):
        with pytest.raises(OSError):
            left.piece(spool, "r", 1, name, 0)


def test_many_files_that_are_large_together_do_not_travel_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts.parsing, "HERE_BYTES", 2**30)
    text = "[open(f'{n:02d}', 'wb').write(b'x' * (900 << 10)) for n in range(12)]"
    evidence = carry_out(at_output(text), tmp_path)
    assert sum(map(len, evidence.files.values())) <= left.TOGETHER * left.LARGE_BYTES
    names = {name for name in (*evidence.files, *evidence.large) if name.startswith("output/")}
    assert names == {f"output/{number:02d}" for number in range(12)}


def test_requests_that_were_not_understood_are_kept_as_a_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts.leavings, "KEEP_BYTES", 1000)
    monkeypatch.setattr(attempts.leavings, "CUT_BYTES", 10)
    evidence = carry_out(at_output("open('requests.jsonl', 'w').write('x' * 5000)"), tmp_path)
    assert evidence.files["output/requests.jsonl"].startswith(b"xxxxxxxxxx\n[4980 bytes are left out here")
    assert b"requests.jsonl: cut in the middle" in evidence.files["left-out.txt"]


def test_compile_caches_nested_beyond_any_path_are_an_unknown_figure(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    deep = "import os; os.chdir(os.environ['HERE'])\nfor _ in range(1500): os.mkdir('d' * 40); os.chdir('d' * 40)"
    engine = Program(deep)
    engine.command = lambda *_: Launch(  # type: ignore[method-assign]
        argv=(sys.executable, "-c", engine.text), variables={"HERE": "/campaign/cache"}
    )
    evidence = carry_out(engine, tmp_path, caches=str(prepared))
    assert evidence.outcome == "completed", evidence.failure
    grown = next(metric for metric in evidence.metrics if metric.name == "compile_cache_new_files")
    assert grown.value is None and "could not be looked through" in (grown.reason or "")
    removal.remove(tmp_path / "spool")


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EROFS"])
def test_what_the_unit_has_no_more_of_counts_against_no_run(tmp_path: Path, name: str) -> None:
    """Sixty-four descriptors cost every run of an arm once: each was given up for what was the unit's."""

    class Refusing:
        def create(self, *_: object) -> None:
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    evidence = carry_out(Program("pass"), tmp_path, arm=Refusing())
    assert evidence.outcome == "infrastructure"
    assert os.strerror(getattr(errno, name)) in (evidence.failure or "")
