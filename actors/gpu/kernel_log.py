"""The kernel's log during an attempt: what it says of the GPU (Xid), of memory (OOM kills) and of heat, as evidence.

Read from ``/dev/kmsg``, which several may read at once without taking from each other; where that is refused, from the
journal. Both need root, ``CAP_SYSLOG`` or the group adm; without, :attr:`KernelLog.unavailable` says so and nothing is
claimed. Only what is known to matter is an event: a driver also logs what is harmless (``NVRM: loading…``, ``NVRM:
Persistence mode is deprecated…``).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "xid",
    "gpu_lost",
    "gpu_driver",
    "oom_kill",
    "thermal",
    "hung_task",
    "lockup",
    "pcie",
    "corrected",
    "memory_error",
    "storage",
    "crash",
]
LONGEST_RECORD = 8192
"""The kernel writes none that is longer."""
KEPT = 16
"""Events of one kind in one attempt; a card that is failing may log thousands,
and those of one kind must not hide another."""


@dataclass(frozen=True)
class Event:
    """One message of the kernel that matters. ``process`` and ``pid`` where it names them;
    ``xid`` the driver's number."""

    kind: Kind
    text: str
    t_mono_ns: int
    """Clock of the machine since boot, as the kernel stamps its log; it stands still in suspend,
    as the monotonic clock does."""
    process: str | None = None
    pid: int | None = None
    xid: int | None = None
    what: str = ""
    """The meaning, in words."""


XIDS = {
    8: "the GPU stopped processing", 13: "exception in a kernel of the program", 31: "memory page fault of the program",
    43: "the GPU stopped processing for the program", 45: "cleaned up after the program was ended",
        48: "uncorrectable memory error",
    56: "display engine error", 61: "internal micro-controller breakpoint", 62: "internal micro-controller halt",
    63: "a memory row was remapped", 64: "a memory row could not be remapped", 68: "video decoder exception",
    69: "graphics engine class error", 74: "NVLink error", 79: "the GPU has fallen off the bus",
        92: "many correctable memory errors",
    94: "contained memory error", 95: "uncontained memory error", 109: "context switch timeout",
        119: "the GPU's system processor (GSP) "
    "did not answer", 120: "error of the GPU's system processor (GSP)", 121: "error of the chip-to-chip link",
        122: "error of the SPI "
    "flash", 123: "error of the power management unit", 140: "uncorrectable memory error",
        143: "the GPU did not initialise",
    154: "the GPU must be reset or the machine rebooted",
}  # fmt: skip
"""What NVIDIA's list of Xid errors says of the common ones."""

WORDINGS: tuple[tuple[Kind, str], ...] = (
    ("xid", r"NVRM: (?:GPU at [^:]*:[^:]*:[^:]*: )?Xid \((?P<place>[^)]*)\): (?P<xid>\d+)(?:, (?P<rest>.*))?"),
    ("gpu_lost", (r"fallen off the bus|GPU .*\bis lost\b|NVRM:.*GPU has been lost"
        r"|unable to change power state from D3cold to D0")),
    ("oom_kill", (r"(?:Memory cgroup out of memory|Out of memory)[^:]*: Kill(?:ed)? process (?P<pid>\d+),? "
        r"\((?P<process>.*?)\)(?=[\s,]|$)")),
    ("oom_kill", r"oom-kill:.*\btask=(?P<process>.*?),pid=(?P<pid>\d+)"),
    ("oom_kill", r"oom_reaper: (?!unable)reaped process (?P<pid>\d+) \((?P<process>.*?)\)(?=[\s,]|$)"),
    ("oom_kill", r"(?P<process>\S+) invoked oom-killer"),
    ("thermal", r"(?:Core|Package|CPU\d*):? ?temperature (?:is )?above threshold|cpu clock throttled"
        r"|critical temperature reached"
                r"|thermal.*(?:shutting down|shutdown|throttl)|throttled due to (?:thermal|heat)|SW Thermal Slowdown"),
    ("hung_task", r"INFO: task (?P<process>.+?):(?P<pid>\d+) (?:is )?blocked (?:for|on|in)"),
    ("lockup", r"(?:soft|hard) lockup|rcu(?:_\w+)?:? .*(?:self-)?detected stalls?\b|NMI watchdog: Watchdog detected"),
    ("corrected", r"AER: (?:Multiple )?Correct(?:ed|able) error|PCIe Bus Error: severity=Correct|EDAC .*\bCE\b"
                  r"|\[Hardware Error\]: (?:event severity: corrected|Corrected error|It has been corrected)"),
    ("pcie", (r"AER: .*(?:error|recovery)|PCIe Bus Error: severity|pcieport.*(?:link is down|Link Down)|DPC: "
        r"containment event")),
    ("memory_error", r"\[Hardware Error\]|EDAC .*\bUE\b|Memory failure:|Machine check|mce: .*(?:error|exception)"),
    ("storage", r"I/O error, dev|EXT4-fs error|XFS .*(?:corruption|error)|nvme\d*: "
        r".*(?:timeout|reset controller|controller is down)|"
                r"Remounting filesystem read-only"),
    ("crash", r"(?P<process>\S+)\[(?P<pid>\d+)\]: segfault at|traps: "
        r"(?P<process2>\S+)\[(?P<pid2>\d+)\]|general protection fault"
              r"|BUG: |kernel panic|Oops(?:\b|:)"),
    ("gpu_driver", r"NVRM:.*(?:fail|error|timeout|timed out|assert|out of "
        r"memory|RmInitAdapter|uncorrectable|cannot|unable|"
                   r"NV_ERR_|GSP.*(?:crash|halt)|not responding|exception)|nvidia-modeset: ERROR"
                   r"|nvidia-uvm:.*(?:error|fatal)"),
)  # fmt: skip
"""In this order: the first that fits names the event."""

PATTERNS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in WORDINGS)

HARMLESS = re.compile(
    r"gpuClearFbhubPoisonIntr|NVRM: loading NVIDIA|Persistence mode is deprecated|"
    r"NVRM: (?:This PCI I/O region assigned to your NVIDIA device is invalid|os_pci_init_handle: invalid context)|"
    r"NVRM: nvCheckOkFailedNoLog: Check failed: .*NV_ERR_NOT_SUPPORTED|AER: enabled with IRQ"
    r"|mce: CPU\d+: Thermal monitoring enabled|thermal_sys: Registered thermal governor",
    re.IGNORECASE,
)
"""Said by drivers in order, though words of error are in it."""


def event(text: str, t_mono_ns: int = 0) -> Event | None:
    """What a message means; None where it is of no interest."""
    if HARMLESS.search(text):
        return None
    for kind, pattern in PATTERNS:
        if (found := pattern.search(text)) is None:
            continue
        named = found.groupdict()
        process, pid = named.get("process") or named.get("process2"), named.get("pid") or named.get("pid2")
        xid = int(named["xid"]) if named.get("xid") else None
        rest = named.get("rest") or ""
        if xid is not None:
            pid = next(iter(re.findall(r"\bpid='?(\d+)", rest)), None)
            process = next(iter(re.findall(r"\bname=([^,]+)", rest)), None)
        return Event(
            kind="gpu_lost" if xid == 79 else kind,
            text=text,
            t_mono_ns=t_mono_ns,
            process=process,
            pid=int(pid) if pid else None,
            xid=xid,
            what=XIDS.get(xid, "see NVIDIA's list of Xid errors") if xid is not None else "",
        )
    return None


def record(raw: bytes) -> tuple[int, int, str] | None:
    """Sequence number, nanoseconds since boot and text of a record of ``/dev/kmsg``
    (Documentation/ABI/testing/dev-kmsg); None for what is no record. Lines that continue it, with a key and a value
    each, are left out; ``\\x0a`` stands for a byte."""
    head, separator, rest = raw.partition(b";")
    fields = head.split(b",")
    if not separator or len(fields) < 3:
        return None
    try:
        sequence, microseconds = int(fields[1]), int(fields[2])
    except ValueError:
        return None
    text = rest.partition(b"\n")[0].decode(errors="replace")
    return sequence, microseconds * 1000, re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)


class KernelLog:
    """The log from a mark on. ``unavailable`` is why this process cannot read it, None where it can."""

    def __init__(self, kmsg: Path = Path("/dev/kmsg")) -> None:
        self.unavailable: str | None = None
        self.source = str(kmsg)
        self._handle = -1
        self._since_utc = time.time()
        self.missed: str | None = None
        """Why some of what was said since the mark may not have been read; None where all of it was."""
        try:
            self._handle = os.open(kmsg, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._seek_end()
        except OSError as problem:
            self.close()
            self.unavailable = self._journal_refuses(problem)

    def mark(self) -> None:
        """From now on."""
        self._since_utc, self.missed = time.time(), None
        if self._handle >= 0:
            self._seek_end()

    def since_mark(self) -> list[Event]:
        """Events since the mark, or since the call before, of each kind the first :data:`KEPT`."""
        if self.unavailable is not None:
            return []
        found = self._of_kmsg() if self._handle >= 0 else self._of_journal()
        kept, of_kind = [], Counter[Kind]()
        for one in distinct(found):
            of_kind[one.kind] += 1
            if of_kind[one.kind] <= KEPT:
                kept.append(one)
        return kept

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _seek_end(self) -> None:
        try:
            os.lseek(self._handle, 0, os.SEEK_END)
        except OSError as problem:
            if problem.errno != errno.ESPIPE:
                raise

    def _of_kmsg(self) -> Iterator[Event]:
        while True:
            try:
                raw = os.read(self._handle, LONGEST_RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # EPIPE: overwritten; the next read gives the oldest that is left
                self.missed = "the kernel overwrote messages before they were read"
                continue
            except OSError as problem:
                self.missed = f"{self.source}: {problem.strerror}"
                return
            if not raw:
                return
            if (told := record(raw)) is not None and (found := event(told[2], told[1])) is not None:
                yield found

    def _journal_refuses(self, kmsg: OSError) -> str | None:
        """Falls back to the journal. Returns why neither can be read."""
        why = f"{self.source}: {kmsg.strerror}"
        if shutil.which("journalctl") is None:
            return f"the kernel's log cannot be read ({why}; there is no journalctl)"
        try:
            asked = self._journal("-n", "1")
        except (OSError, subprocess.TimeoutExpired) as problem:
            return f"the kernel's log cannot be read ({why}; journalctl: {problem})"
        if asked.returncode != 0 or not asked.stdout.strip():
            said = (asked.stderr.strip().splitlines() or ["it shows this user nothing"])[0]
            return f"the kernel's log cannot be read ({why}; journalctl: {said})"
        self.source = "journalctl -k"
        return None

    def _journal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["journalctl", "-k", "-b", "-o", "json", "--no-pager", *arguments],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    def _of_journal(self) -> Iterator[Event]:
        since, self._since_utc = self._since_utc, time.time()
        try:
            asked = self._journal(f"--since=@{since:.6f}")
        except (OSError, subprocess.TimeoutExpired) as problem:
            self.missed = f"journalctl: {problem}"
            return
        if asked.returncode != 0:
            self.missed = f"journalctl: {asked.stderr.strip()[:200] or f'exit code {asked.returncode}'}"
        for line in asked.stdout.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                told = json.loads(line)
                found = event(str(told["MESSAGE"]), int(told.get("__MONOTONIC_TIMESTAMP", 0)) * 1000)
                if found is not None:
                    yield found


def distinct(events: Iterable[Event]) -> Iterator[Event]:
    """Each kill once: the kernel says it in up to four lines, of which the one that names process and PID counts."""
    killed: set[int] = set()
    asked: list[Event] = []
    for one in events:
        if one.kind != "oom_kill":
            yield one
        elif one.pid is None:
            asked.append(one)
        elif one.pid not in killed:
            killed.add(one.pid)
            asked.clear()
            yield one
    yield from asked[:1]  # a shortage that ended without a kill that is named
