"""One attempt, from order to evidence: create, gate, start, watch, parse.

Plain functions over the three seams. The GpuActor calls :func:`carry_out` and nothing else happens on the unit
meanwhile, save telemetry. Whatever the environment, the engine or its parser do, an attempt ends with evidence.
"""

from __future__ import annotations

import errno
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from actors import processes
from actors.canary import probe as canary
from actors.clock import REAL, Clock
from actors.engines import CACHE, OUTPUT, Program
from actors.environments import Arm, EngineGone, Process
from actors.files import leavings, removal
from actors.gpu import caches, evidence, parsing, watchdog
from actors.gpu import gate as gates
from actors.gpu.evidence import working_folder
from actors.gpu.kernel_log import KernelLog
from actors.types import (
    Attempt,
    Coherence,
    Evidence,
    Exit,
    GateRecord,
    Launch,
    Metric,
    Mount,
    Outcome,
    Report,
    StageTimes,
    TelemetrySummary,
)

POLL_S = 0.5
"""How often an abort is noticed. The process's end is waited for, not polled."""

LOOK_S = 15.0
"""How often the watchdog looks at a running attempt, at most; four times within the time that counts as a stall."""

EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})
"""What the kernel says when the unit has no more of something."""

PARSER_FILE = "parser-traceback.txt"
"""Evidence of a parser that raised."""

ENGINE_STAGES = ("load_s", "warmup_s", "first_token_s", "steady_s")
"""Stages that only the engine can time; it reports them as metrics."""


class TelemetryLink(Protocol):
    """The unit's sampler, as an attempt sees it. Marking never waits."""

    def mark(
        self, run_id: str | None, attempt: int | None, stage: str, pid: int | None, cgroup: str | None
    ) -> None: ...

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary | None: ...


def _asleep_ns() -> int:
    """How long the machine has been suspended since it booted:
    the boot clock goes on meanwhile and the monotonic one does not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Surroundings:
    """What an attempt uses of the machine itself. A rehearsal hands in its own."""

    clock: Clock = REAL
    cache: Callable[[str, tuple[Path, ...], Event], tuple[str, str | None]] = gates.cache
    canary: Callable[[str, str | None, str | None], Metric] = canary.sing
    asleep_ns: Callable[[], int] = _asleep_ns


class Watch:
    """What an attempt is doing, for ``status`` calls from another thread."""

    def __init__(self) -> None:
        self.order: Attempt | None = None
        self.stage = "idle"
        self.detail = ""
        self.since_utc_ns = time.time_ns()
        self.output: Path | None = None
        self.pid: int | None = None

    def enter(self, stage: str, detail: str = "") -> None:
        if stage != self.stage:
            self.since_utc_ns = time.time_ns()
        self.stage, self.detail = stage, detail


@dataclass(frozen=True)
class Task:
    """An order, and what it is carried out with."""

    order: Attempt
    engine: Program
    arm: Arm
    telemetry: TelemetryLink
    observe: gates.Sensing
    spool: Path
    rest_since_ns: int
    stop: Event
    watch: Watch
    cache_variables: dict[str, str] | None
    kernel_log: KernelLog | None
    surroundings: Surroundings

    @property
    def folder(self) -> Path:
        return working_folder(self.spool, self.order.run_id, self.order.attempt)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def clock(self) -> Clock:
        return self.surroundings.clock

    def mark(self, stage: str, process: Process | None = None) -> None:
        """Tell the sampler what comes now, and whose processes it is about."""
        pid, cgroup = (process.pid, process.cgroup) if process else (None, None)
        self.telemetry.mark(self.order.run_id, self.order.attempt, stage, pid, cgroup)

    def probe(self, when: str) -> Metric:
        """The canary's figure ``before`` or ``after``."""
        return self.surroundings.canary(when, self.observe.gpu_name, self.observe.gpu_uuid)


@dataclass
class Execution:
    """What became of an attempt so far, filled in on the way: whatever raises, what was known before stays known."""

    launch: Launch = field(default_factory=lambda: Launch(argv=()))
    compiled: Path | None = None
    process: Process | None = None
    opened: GateRecord | None = None
    exit: Exit | None = None
    outcome: Outcome = "environment_error"
    failure: str | None = None
    create_s: float | None = None
    start_s: float | None = None
    gate_to_exec_ms: float | None = None
    exec_utc_ns: int | None = None
    run_s: float | None = None
    teardown_s: float | None = None
    paused_s: float | None = None
    extra: list[Metric] = field(default_factory=list)
    """Of the canary and the compile caches."""

    def also(self, words: str | None) -> None:
        """Add to the failure."""
        self.failure = "; ".join(filter(None, (self.failure, words))) or None

    def broke(self, problem: BaseException, words: str) -> None:
        """Something around the engine failed: the unit is at fault, or else the arm."""
        at_fault = is_infrastructure(problem) or self.outcome == "infrastructure"
        self.outcome = "infrastructure" if at_fault else "environment_error"
        self.also(words)


def carry_out(
    order: Attempt,
    *,
    engine: Program,
    arm: Arm,
    telemetry: TelemetryLink,
    observe: gates.Sensing,
    spool: Path,
    rest_since_ns: int,
    stop: Event,
    watch: Watch,
    cache_variables: dict[str, str] | None = None,
    kernel_log: KernelLog | None = None,
    surroundings: Surroundings = Surroundings(),
) -> Evidence:
    """Carry out ``order`` and return its evidence, whatever happens: errors of the environment and of the engine's
    parser are outcomes. ``cache_variables`` are the engine's own, for where it keeps compiled kernels."""
    task = Task(
        order, engine, arm, telemetry, observe, spool, rest_since_ns, stop, watch, cache_variables, kernel_log,
            surroundings
    )  # fmt: skip
    done = Execution()
    began_ns, started_utc_ns = task.clock.monotonic_ns(), task.clock.utc_ns()
    removal.remove(task.folder)
    task.output.mkdir(parents=True)
    task.output.chmod(0o777)  # the engine may run as another user
    watch.order, watch.output, watch.pid = order, task.output, None
    watch.enter("cooldown")
    task.mark("cooldown")
    try:
        if _start_state(task, done, began_ns):
            _run(task, done)
    except Exception as problem:  # an attempt always ends with evidence
        done.outcome, done.failure = "environment_error", None
        done.broke(problem, f"{type(problem).__name__}: {problem}")
    task.mark("idle")
    watch.enter("evidence")
    summary = telemetry.summary(order.run_id, order.attempt)  # first, so that the samples go to disk beside the rest
    _close(task, done)
    if order.canary:
        done.extra.append(task.probe("after"))
    report, sense = _report(task, done)
    found = _evidence(task, done, report, sense, summary, began_ns, started_utc_ns)
    watch.order, watch.output, watch.pid = None, None, None
    watch.enter("idle")
    return found


def _start_state(task: Task, done: Execution, began_ns: int) -> bool:
    """Create the process and wait at the gate; whether it may start."""
    order, watch = task.order, task.watch
    done.compiled = caches.for_attempt(order, task.spool)
    done.launch = launch_of(order, task.engine, task.output, done.compiled, task.cache_variables)
    labels = {"campaign": order.campaign_id, "run": order.run_id, "attempt": str(order.attempt)}
    done.process = task.arm.create(done.launch, labels, task.folder, order.image)
    done.create_s = (task.clock.monotonic_ns() - began_ns) / 1e9

    def on_change(stage: str) -> None:
        if stage in ("cooldown", "gate"):
            task.mark(stage)
        watch.enter("gate" if stage != "cooldown" else stage, stage)
        if order.canary and stage == "gate" and not done.extra:  # the gate then waits for what it has stirred up
            done.extra.append(task.probe("before"))

    done.opened = gates.wait(
        order.gate,
        task.observe,
        rest_since_ns=task.rest_since_ns,
        reference_gib=order.reference_gib,
        files=tuple(Path(file) for file in order.prepared.files.values()),
        stop=task.stop,
        on_change=on_change,
        clock=task.clock,
        prepare_cache=task.surroundings.cache,
    )
    if task.stop.is_set():
        done.outcome, done.failure = "aborted", "stopped before it started"
        return False
    if not done.opened.opened:
        done.outcome, done.failure = "gate_timeout", "blocked by " + ", ".join(done.opened.blocked_by)
        return False
    return True


def _run(task: Task, done: Execution) -> None:
    """Start the process and wait for its end, or end it."""
    process, opened, clock = done.process, done.opened, task.clock
    assert process is not None and opened is not None
    task.watch.enter("run")
    if task.kernel_log is not None:
        task.kernel_log.mark()
    before_ns = clock.monotonic_ns()
    exec_ns = process.start()
    done.exec_utc_ns = clock.utc_ns() - (clock.monotonic_ns() - exec_ns)
    task.mark("run", process)
    task.watch.pid = process.pid
    done.start_s = (exec_ns - before_ns) / 1e9
    if opened.opened_at_ns is not None:
        done.gate_to_exec_ms = (exec_ns - opened.opened_at_ns) / 1e6
    asleep_ns = task.surroundings.asleep_ns()
    done.exit, hung, stopped_s = _watch(process, task.order, task.observe, task.output, task.stop, clock)
    done.paused_s = stopped_s + max(0, task.surroundings.asleep_ns() - asleep_ns - 10**7) / 1e9
    done.run_s = (clock.monotonic_ns() - exec_ns) / 1e9
    if done.exit is not None:
        done.outcome, done.failure = _ended(done.exit)
    elif task.stop.is_set():
        done.exit, done.outcome, done.failure = process.stop(), "aborted", "stopped while it ran"
    elif hung is not None:
        done.exit, done.outcome, done.failure = process.stop(), "hung", f"hung: {hung}"
    else:
        done.exit, done.outcome = process.stop(), "timeout"
        done.failure = f"still running after {task.order.workload.timeout_s:g} s"


def _ended(exit_: Exit) -> tuple[Outcome, str | None]:
    """What an end that was not ours means, and why."""
    if exit_.engine_gone:
        return "infrastructure", exit_.detail
    return ("completed", None) if exit_.code == 0 else ("failed", _exit_text(exit_))


def _close(task: Task, done: Execution) -> None:
    """Give back what the attempt holds, and make its folder safe to read."""
    closing_ns = task.clock.monotonic_ns()
    if done.process is not None:
        try:
            done.process.close()
        except Exception as problem:
            done.broke(problem, f"could not be cleaned up: {problem}")
    if done.run_s is not None:
        done.teardown_s = (task.clock.monotonic_ns() - closing_ns) / 1e9
    try:
        leavings.tidy(task.folder)  # nothing of the engine's is opened before
    except OSError as problem:
        done.broke(problem, f"its files could not be looked through: {problem}")
        done.exit = None


def _report(task: Task, done: Execution) -> tuple[Report, Coherence | None]:
    """What the engine left, read; what is wrong with it is the attempt's outcome."""
    report, sense = Report(), None
    if done.exit is not None:
        try:
            found = parsing.read(task.order, task.engine, task.output)
            report, sense = evidence.loaded(found.report, done.exec_utc_ns), found.sense
        except Exception as problem:
            trace = problem.trace if isinstance(problem, parsing.Unreadable) else traceback.format_exc()
            (task.folder / PARSER_FILE).write_text(trace or f"{problem}\n")
            done.outcome = "parser_error" if done.outcome == "completed" else done.outcome
            done.also(f"the report could not be read: {problem} (see {PARSER_FILE})")
    if done.outcome == "completed" and report.failure:
        done.outcome = "failed"
    done.also(report.failure)
    if (grown := caches.after(task.order, done.compiled)) is not None:
        done.extra.append(grown)
    return report, sense


def _evidence(
    task: Task,
    done: Execution,
    report: Report,
    sense: Coherence | None,
    summary: TelemetrySummary | None,
    began_ns: int,
    started_utc_ns: int,
) -> Evidence:
    order, process, opened = task.order, done.process, done.opened
    stages = _stages(task, done, report, began_ns)
    unknown = {"entrypoint_s": process.entrypoint_unknown} if process is not None else {}
    command: dict[str, Any] = process.command if process is not None else {"argv": list(done.launch.argv)}
    files, large = evidence.files_of(task.folder)
    said = {"command.json": evidence.json_file(command), "command.sh": evidence.script(command, order, done.compiled)}
    return Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome=done.outcome,
        failure=done.failure,
        exit=done.exit,
        report=report,
        gate=opened,
        telemetry=summary,
        stages=stages,
        metrics=(*evidence.all_metrics(report, opened, summary, stages, unknown), *done.extra),
        **evidence.kernel(task.kernel_log, started=done.run_s is not None),
        coherence=sense if done.outcome == "completed" else None,
        paused_s=None if done.paused_s is None else round(done.paused_s, 1),
        started_utc_ns=started_utc_ns,
        ended_utc_ns=task.clock.utc_ns(),
        simulated=order.simulated,
        files=said | files,
        large=large,
    )


def _stages(task: Task, done: Execution, report: Report, began_ns: int) -> StageTimes:
    """Where the time went; ``harness_s`` is what no other stage accounts for."""
    waited_s = done.opened.waited_s if done.opened else None
    known_s = sum(part or 0.0 for part in (done.create_s, waited_s, done.start_s, done.run_s, done.teardown_s))
    return StageTimes(
        gate_s=waited_s,
        create_s=done.create_s,
        start_s=done.start_s,
        gate_to_exec_ms=done.gate_to_exec_ms,
        entrypoint_s=done.process.entrypoint_s if done.process is not None else None,
        teardown_s=done.teardown_s,
        harness_s=max(0.0, (task.clock.monotonic_ns() - began_ns) / 1e9 - known_s),
        **{metric.name: metric.value for metric in report.metrics if metric.name in ENGINE_STAGES},
    )


def is_infrastructure(problem: BaseException) -> bool:
    """Whether the unit is at fault and no run: its container engine is gone, its disk is full,
    its descriptors are out."""
    return isinstance(problem, EngineGone) or (isinstance(problem, OSError) and problem.errno in EXHAUSTED)


def launch_of(
    order: Attempt, engine: Program, output: Path, compiled: Path | None = None, variables: dict[str, str] | None = None
) -> Launch:
    """The engine's launch with the output folder mounted, and the compile caches where it has any."""
    launch = engine.command(order.model, order.workload, order.prepared)
    mounts = [*launch.mounts, Mount(source=str(output), target=OUTPUT, read_only=False)]
    if compiled is None:
        return launch.model_copy(update={"mounts": tuple(mounts)})
    mounts.append(Mount(source=str(compiled), target=CACHE, read_only=False))
    return launch.model_copy(update={"mounts": tuple(mounts), "variables": {**(variables or {}), **launch.variables}})


def _watch(
    process: Process, order: Attempt, observe: gates.Sensing, output: Path, stop: Event, clock: Clock
) -> tuple[Exit | None, str | None, float]:
    """Wait for the end; else why the attempt counts as hung; and the seconds that it was seen stopped. Neither of the
    first two is a stop of ours, or the workload's own time limit."""
    began_ns = clock.monotonic_ns()
    deadline_ns = began_ns + int(order.workload.timeout_s * 1e9)
    look_s = min(LOOK_S, order.watchdog.stall_s / 4, *([] if order.limit_s is None else [order.limit_s / 4]))

    def look() -> watchdog.Signs:
        return watchdog.signs(clock.monotonic_ns(), observe(), output, process.output_bytes(), process.pid)

    progress = watchdog.Progress(
        order.watchdog, watchdog.Signs(began_ns), limit_s=order.limit_s, usual_power_w=order.usual_power_w
    )
    next_look_ns = began_ns + int(look_s * 1e9)
    stopped_s = 0.0
    while not stop.is_set() and (left_ns := deadline_ns - (now_ns := clock.monotonic_ns())) > 0:
        ended = process.wait(max(0.0, min(POLL_S, left_ns / 1e9, (next_look_ns - now_ns) / 1e9)))
        if ended is not None:
            return ended, None, stopped_s
        stopped_s += POLL_S if process.pid is not None and processes.stands_still(process.pid) else 0.0
        if clock.monotonic_ns() >= next_look_ns:
            if (hung := progress.hung(look())) is not None:
                return None, hung, stopped_s
            next_look_ns = clock.monotonic_ns() + int(look_s * 1e9)
    return None, None, stopped_s


def _exit_text(exit_: Exit) -> str:
    if exit_.oom_killed:
        return "out_of_memory: killed by the kernel"
    if exit_.code == -signal.SIGKILL:
        return (
            "killed: ended by SIGKILL, which the campaign did not send. The kernel's OOM killer does: see "
            "`journalctl -k`, and free memory or ask for less"
        )
    return f"exit code {exit_.code}" + (f": {exit_.detail}" if exit_.detail else "")
