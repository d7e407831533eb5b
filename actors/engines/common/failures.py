"""Why an engine failed, from its log: named, with what to do, and searched for only where errors stand.

The causes are data (:mod:`actors.engines.common.failure_table`). Where none of them fits, the engine's own last words
are given, never a stack frame, a progress bar or a line that it got over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

from actors.engines.common.failure_table import CAUSES, HARMLESS, WRAPPERS, Cause

LEVEL = re.compile(
    r"\[TRT-LLM\] (?:\[[^\]]*\] )*\[(?P<trtllm>[IWEVDT])\]"
    r"|\[TensorRT-LLM\]\[(?P<cpp>[A-Z]+)\]"
    r"|\b(?P<vllm>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d"
    r"|\d\d:\d\d:\d\d,\d{3} - (?P<python>[A-Z]+) - "
    r"|^(?:\([^)]*\) )?(?P<uvicorn>DEBUG|INFO|WARNING|ERROR|CRITICAL): "
)
"""How TensorRT-LLM (Python and C++), vLLM, Python's logging and uvicorn mark a line."""

ERRORS = {"E", "ERROR", "FATAL", "CRITICAL"}
TRACEBACK = "Traceback (most recent call last)"
RAISED = re.compile(r"(?:^|[\]:|] ?)(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error\w*|Exception|Interrupt|Exit)(?::|\s*$)")
STANDING = re.compile(
    r"\*\*\* Process received signal|\bSignal: [A-Z]|MPI_ABORT was invoked|Segmentation "
    r"fault|Bus error|core dumped|Illegal instruction"
    r"|(?:^|\s)Error: (?:No such|Missing|Invalid|Got unexpected)|(?:^|\s)Error: [Oo]ption|Usage: "
    r"|: (?:command )?not found$|executable file not found"
    r"|^[\w./ -]+: error: |^usage: |unrecognized option|: error while loading shared libraries: |symbol lookup error"
    r"|cannot execute binary file|[Ee]xec format error"
    r"|^Could not load library|^\s*(?:ptxas|nvcc) (?:fatal|error)|^ptxas [^;]*; (?:fatal|error)"
    r"|^(?:\S+\(\d+\): )?(?:fatal )?error\s*: |terminate called after throwing|^\s*what\(\): |Fatal Python error"
    r"|double free or corruption|free\(\): invalid"
    r"|line \d+:\s+\d+ (?:Killed|Terminated|Aborted|Segmentation|Bus error)|^Killed$|exit(?:ed)?(?: with)?(?: code"
    r"| status)?:? (?:137|139|134|143|-9|-11|-6|-15)\b|exitcode\s*[=:] ?-\d|non-zero exit status (?:137|139|134)"
    r"|exited with non-zero status|CUDA initialization: |exited on signal|SIGKILL|SIGBUS"
    r"|There are not enough slots|ORTE was unable|It looks like (?:MPI_INIT|orte_init|opal_init|prte_init) failed"
    r"|mpirun has detected an attempt to run as root|OPAL ERROR|PRTE ERROR"
    r"|^ERROR: |NVIDIA Driver was not detected|nvidia-container-cli|[Ee]rror response from daemon"
    r"|OCI runtime create failed|[Oo]ut of memory: Kill|Memory cgroup out of "
    r"memory|oom-kill:|invoked oom-killer|oom_reaper|OOMKilled"
    r"|NVRM: Xid|^error: |: error: |GGML_ASSERT|failed to load model|failed to create context"
    r"|ggml_\w+: failed to allocate|earlyoom|systemd-oomd|NCCL WARN|^(?:\S+: )?[Ee]xec(?:format)? "
    r"|No space left on device|Cannot allocate memory|std::bad_alloc|can't start new thread"
    r"|^(?:pydantic\S*)?\d+ validation errors? for "
)
"""Lines that tell of a failure by themselves, outside any level or traceback: shells, linkers, the kernel,
option parsers."""
CLOSES = re.compile(r"^\s*$|^-{20,}$")
CONTINUES = 8
"""Lines after a standing one that may still belong to it."""

PREFIX = re.compile(
    r"^(?:[\w.-]+ +\| )?(?:\((?:\w+(?: \w+=\w+)?[ ,]?(?:pid|rank)=\d+(?: ?pid=\d+)?|[^)]*pid=\d+[^)]*)\) ?)?"
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?: \[[^\]]*\]| \S+:\d+\])? ?"
    r"|(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] )?\[TRT-LLM\] (?:\[RANK \d+\] )?\[[IWEVDT]\] ?"
    r"|\[TensorRT-LLM\]\[[A-Z]+\] ?)?"
)
FRAME = re.compile(
    r"^\s*\d+\s+0x[0-9a-fA-F]+ |^\s*File \".*\", line \d+|^\s*frame #\d+:|\[0x[0-9a-fA-F]+\]\s*$"
    r"|^\[[^\]]*:\d+\] \[ ?\d+\]|\(\+?0x[0-9a-fA-F]+\)"
    r"|^\s*[\^~]+\s*$|^Exception raised from|^\s*\([^()\s]+:\d+\)\s*$"
)
PROGRESS = re.compile(r"\d+%\|| ?\d+(?:\.\d+)?(?:it/s|s/it|B/s)[\],]|\d+% Completed \|")
WRAPPER = "executor_failed"
"""The cause that says only that there is another, whose words are given where it has no name."""
CHAIN = "The above exception was the direct cause"
DURING = "During handling of the above exception"
SCAFFOLD = re.compile(
    rf"^\s*{re.escape(TRACEBACK)}|^{CHAIN}|^{DURING}|^\s*For further information visit|^Repro command:|^usage: "
    r"|^Usage: |^Try '"
)
PYDANTIC_TAIL = re.compile(r"\s*\[type=\w+, input_value=.*?(?:, input_type=[\w.]+)?\]\s*$")
LONGEST = 600
"""Characters of an engine's own words that are kept; longer ones end at a word."""

STARTED = re.compile(
    r"Application startup complete|Starting benchmark\.\.\.|Starting main benchmark run|\] Setting up for warmup"
    r"|Processed prompts:\s+\d+%\|[^|]*\| [1-9]"
)
SERVING = re.compile(
    r"Starting benchmark\.\.\.|Starting main benchmark run|Starting initial single prompt test run|Processed prompts:"
    r"|Rendering prompts:|\"POST /v1/\S+ HTTP/1\.1\" 200|Request submission complete"
)
FINISHED = re.compile(
    r"= PERFORMANCE OVERVIEW|Serving Benchmark Result =|^Throughput: [\d.]+ requests/s"
    r"|Benchmark done\. Reporting results"
)
STAGES = {
    "requests": "while serving requests",
    "finished": "after the requests had been served",
    "unknown": "",
}


@dataclass(frozen=True)
class Failure:
    """Why there is no report. ``stage`` is ``startup``, ``executor_creation``, ``requests``,
    ``finished`` or ``unknown``."""

    name: str
    reference: str
    stage: str
    detail: str = ""
    failed_requests: int | None = None
    remedy: str = ""

    def __str__(self) -> str:
        parts = [self.detail.rstrip(".")] if self.detail else []
        parts += filter(None, [STAGES.get(self.stage, "before the first request")])
        if self.failed_requests is not None:
            parts.append(f"{self.failed_requests} requests failed")
        return f"{self.name}: {', '.join(parts)}" + (f". {self.remedy}" if self.remedy else "")


def find_failure(lines: Iterable[str], own: Sequence[Cause] = ()) -> Failure | None:
    """The most telling cause among error lines and tracebacks, or None where the log shows none. ``own`` are causes
    that an engine knows besides :data:`CAUSES`; they come first."""
    lines = list(lines)
    finished = _after(FINISHED, lines)
    served_all = finished and not re.search(r"Failed requests:\s+[1-9]", "\n".join(lines))
    after = finished if served_all else _after(STARTED, lines)
    # What stands before the engine was ready, it got over; what stands after the figures does not explain them.
    kept = [_bare(line) for line in error_lines(lines[after:])]
    if not kept:
        return None
    text = "\n".join(kept)
    stage = stage_of(lines)
    failed = re.search(r"Requests failed: [^\n]*\((\d{1,9}) requests\)", text)
    if stage == "startup" and re.search(r"Executor creation failed|Failed to initialize executor", text):
        stage = "executor_creation"
    for cause in (*own, *CAUSES):
        match = re.search(cause.pattern, text, re.MULTILINE)
        if match is not None:
            detail = _filled(cause.says, match)
            if cause.name == WRAPPER and (spoken := last_words(kept)) and not _WRAPPERS.search(spoken):
                detail = spoken
            number = int(failed[1]) if failed else None
            return Failure(cause.name, cause.reference, stage, detail, number, cause.remedy)
    words = "" if served_all else last_words(kept)
    return Failure("failed", "unknown", stage, words) if words else None


def stage_of(lines: Iterable[str]) -> str:
    """How far the engine came, by its own lines."""
    text = "\n".join(lines)
    if re.search(FINISHED.pattern, text, re.MULTILINE):
        return "finished"
    return "requests" if SERVING.search(text) else "startup"


def report_missing(lines: Sequence[str], option: str) -> Failure:
    """There is no report, and the log shows no error. ``option`` is the one that makes the program write a report."""
    stage = stage_of(lines) if lines else "unknown"
    if stage == "finished":
        return Failure(
            "report_missing", "no_report", stage, "the program printed its figures and wrote no report",
            remedy=f"Have it write one with {option}, as a campaign does: "
                "the printed figures are rounded and incomplete.",
        )  # fmt: skip
    words = "no report was written, and the log shows no error"
    return Failure(
        "report_missing", "no_report", stage, words,
        remedy="Was it interrupted, or killed by the kernel (`journalctl -k | grep -i oom`)? "
            f"{option} is where the report goes.",
    )  # fmt: skip


def error_lines(lines: Iterable[str]) -> list[str]:
    """Lines of level E with their continuation, tracebacks up to the exception they end with, signals, usage errors.

    Everything else may speak of memory running out without having failed: the autotuner tries tactics that do.
    """
    saying = _Saying()
    return [line for line in map(_without_progress, lines) if line is not None and saying.keeps(line)]


class _Saying:
    """What the next line may go on with: a message of level E, a traceback, a statement without a level."""

    def __init__(self) -> None:
        self.continued = self.in_traceback = False
        self.standing = 0

    def keeps(self, line: str) -> bool:
        """Whether the line is, or belongs to, a failure."""
        level = LEVEL.search(line)
        harmless = any(pattern.search(line) for pattern in _HARMLESS)
        if level is not None:
            self.continued, self.standing = _named(level) in ERRORS and not harmless, 0
        if TRACEBACK in line:
            self.in_traceback = True
        if level is not None and self.in_traceback and not self.continued and TRACEBACK not in line:
            return False  # another process's line in between
        if harmless and not self.in_traceback:
            return False
        stands = STANDING.search(line) is not None and (level is None or self.continued)
        kept = self.continued or self.in_traceback or stands or self.standing > 0
        self._go_on(line, stands, level is not None)
        return kept

    def _go_on(self, line: str, stands: bool, has_level: bool) -> None:
        if stands:
            self.standing = CONTINUES
        elif self.standing:
            self.standing = 0 if CLOSES.match(line) else self.standing - 1
        if not self.in_traceback or TRACEBACK in line:
            return
        if not has_level and RAISED.search(line):
            self.in_traceback = False
            self.continued = True  # the message may go on, and further exceptions may follow
        elif self.continued and RAISED.search(_bare(line)):
            self.in_traceback = False


def _without_progress(line: str) -> str | None:
    """A bar ends without a new line, so a message may follow it in its line; None where nothing does."""
    if not PROGRESS.search(line):
        return line
    if TRACEBACK in line:
        return line[line.index(TRACEBACK) :]
    spoken = LEVEL.search(line)
    return None if spoken is None else line[spoken.start() :]


def _named(level: re.Match[str]) -> str | None:
    """The level's name, of whichever program's form."""
    return level["trtllm"] or level["cpp"] or level["vllm"] or level["python"] or level["uvicorn"]


def last_words(kept: Sequence[str]) -> str:
    """The engine's own words: the last exception that wraps no other, whole, else the last line that says anything."""
    said = list(_statements(kept))
    raised = [words for words, is_raised in said if is_raised]
    own = [words for words in raised if not _WRAPPERS.search(words)]
    plain = [words for words, _ in said if not _WRAPPERS.search(words)]
    chosen = next(iter((own or plain or raised or [words for words, _ in said])[-1:]), "")
    return _shortened(chosen)


def _statements(kept: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Exceptions with the lines of their message, and other telling lines. Of exceptions where one caused the next,
    the first."""
    words: list[str] = []
    raised = caused = False
    for line in [*kept, ""]:
        bare = PYDANTIC_TAIL.sub("", line.strip())
        begins = RAISED.search(line) is not None and not line.startswith("  ")
        noise = FRAME.search(line) is not None or SCAFFOLD.search(line) is not None or not bare
        if noise or begins or (not raised and words):
            if words and not (raised and caused):
                yield _joined(words), raised
            if words and raised:
                caused = False
            words, raised = [], False
        if line.startswith(CHAIN):
            caused = True
        if noise:
            continue
        # An indented line is source code of a traceback unless it belongs to a message that has begun.
        if begins or raised or not line.startswith("    "):
            words.append(bare)
            raised = raised or begins
            if begins and (
                cut := re.search(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error\w*|Exception|Interrupt|Exit)(?::|\s*$)", bare)
            ):
                words[-1] = bare if cut.start() < 80 else bare[cut.start() :]


def _joined(words: list[str]) -> str:
    first, *rest = words[:6]
    return (
        ": ".join([first.rstrip(":"), "; ".join(rest)]) if rest and "validation error" in first else " ".join(words[:6])
    )


def _shortened(words: str) -> str:
    if len(words) <= LONGEST:
        return words
    return words[:LONGEST].rpartition(" ")[0] + " …"


def _bare(line: str) -> str:
    """The line without time, process, level and place."""
    bare = line
    for _ in range(3):  # a C++ line within a Python one
        bare = re.sub(r"^Failed to initialize executor on rank \d+: (?=\[TensorRT)", "", PREFIX.sub("", bare, count=1))
    return bare


def _after(pattern: re.Pattern[str], lines: Sequence[str]) -> int:
    """Index after the last line that matches, 0 where none does."""
    return next((index + 1 for index in range(len(lines) - 1, -1, -1) if pattern.search(lines[index])), 0)


def _filled(says: str, match: re.Match[str]) -> str:
    """``says`` with the groups that matched. ``{have:cuda}`` writes 12040 as 12.4."""
    parts = []
    for literal, field, form, _ in Formatter().parse(says):
        parts.append(literal)
        if field:
            value = " ".join((match[field] or "").split())
            value = PYDANTIC_TAIL.sub("", value)
            parts.append(f"{int(value) // 1000}.{int(value) % 1000 // 10}" if form == "cuda" and value else value)
    return "".join(parts).strip(" :,;")


_HARMLESS = tuple(re.compile(pattern) for pattern in HARMLESS)
_WRAPPERS = re.compile(WRAPPERS)
