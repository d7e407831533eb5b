"""The kernel's words of GPU, memory and heat, as kernels and drivers really write them,
and what they write in good order."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gpu.evidence import kernel
from actors.gpu.kernel_log import KEPT, Event, KernelLog, Kind, distinct, event, record

SAID = [
    ("NVRM: Xid (PCI:000f:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", "gpu_lost", None,
     79),
    ("NVRM: GPU at PCI:0000:01:00: GPU-5c6f0d7a", None, None, None),
    ("NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS",
     "xid", 4242, 31),
    ("NVRM: Xid (PCI:0000:01:00): 13, pid='4242', name=trtllm-bench, Graphics SM Warp Exception on (GPC 0, TPC 0)",
     "xid", 4242, 13),
    ("NVRM: Xid (PCI:0000:01:00): 119, pid=1, name=x, Timeout after 6s of waiting for RPC response from GPU0 GSP!",
     "xid", 1, 119),
    ("NVRM: Xid (PCI:0000:19:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", "xid",
     None, 154),
    ("NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x62:0x40:2477)", "gpu_driver", None, None),
    ("NVRM: nvAssertOkFailedNoLog: Assertion failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051)", "gpu_driver", None,
     None),
    ("NVRM: GPU0 GSP RPC buffer contains function 4103, _kgspRpcRecvPoll: timeout", "gpu_driver", None, None),
    ("nvidia 0000:01:00.0: GPU has fallen off the bus", "gpu_lost", None, None),
    ("Out of memory: Killed process 4243 (python3) total-vm:98304kB, anon-rss:4096kB, UID:0", "oom_kill", 4243, None),
    ("Out of memory: Kill process 812 (mysqld (x)) score 401 or sacrifice child", "oom_kill", 812, None),
    ("Memory cgroup out of memory: Killed process 99 (VLLM::EngineCor) total-vm:1kB", "oom_kill", 99, None),
    ("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task_memcg=/x,task=vllm,pid=77,uid=0", "oom_kill", 77, None),
    ("python3 invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0", "oom_kill", None,
     None),
    ("oom_reaper: reaped process 4243 (python3), now anon-rss:0kB, file-rss:0kB", "oom_kill", 4243, None),
    ("CPU3: Package temperature above threshold, cpu clock throttled (total events = 12)", "thermal", None, None),
    ("thermal thermal_zone0: acpitz: critical temperature reached, shutting down", "thermal", None, None),
    ("INFO: task kworker/u40:3:9120 blocked for more than 122 seconds.", "hung_task", 9120, None),
    ("INFO: task python3:4242 blocked for more than 120 seconds.", "hung_task", 4242, None),
    ("watchdog: BUG: soft lockup - CPU#7 stuck for 26s! [python3:4242]", "lockup", None, None),
    ("rcu: INFO: rcu_preempt self-detected stall on CPU", "lockup", None, None),
    ("pcieport 0000:00:01.0: AER: Uncorrectable (Fatal) error message received from 0000:01:00.0", "pcie", None, None),
    ("pcieport 0000:00:01.0: AER: Corrected error message received from 0000:01:00.0", "corrected", None, None),
    ("nvme 0004:01:00.0: PCIe Bus Error: severity=Correctable, type=Physical Layer, (Receiver ID)", "corrected", None,
     None),
    ("nvidia 0000:01:00.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer", "pcie", None,
     None),
    ("{2}[Hardware Error]: event severity: corrected", "corrected", None, None),
    ("EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0", "corrected", None, None),
    ("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0", "memory_error", None, None),
    ("{1}[Hardware Error]: event severity: recoverable", "memory_error", None, None),
    ("nvme nvme0: I/O tag 512 (1200) opcode 0x2 QID 3 timeout, aborting req_op:READ(0)", "storage", None, None),
    ("EXT4-fs error (device nvme0n1p2): ext4_find_entry:1683: inode #2: comm python3: reading directory lblock 0",
     "storage", None, None),
    ("python3[4242]: segfault at 0 ip 00007f sp 00007f error 4 in libtorch.so", "crash", 4242, None),
]  # fmt: skip
QUIET = [
    "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (nixbld@)",
    "NVRM: gpuClearFbhubPoisonIntrForBug2924523_GA100: FBHUB Interrupt detected. Clearing it.",
    ("NVRM: Persistence mode is deprecated and will be removed in a future release. "
    "Please use nvidia-persistenced instead."),
    ("NVRM: nvCheckOkFailedNoLog: Check failed: Call not supported [NV_ERR_NOT_SUPPORTED] (0x00000056) "
    "returned from x @ gpu.c:1"),
    "nvidia: loading out-of-tree module taints kernel.",
    "nvidia-nvlink: Nvlink Core is being initialized, major device number 240",
    "nvidia-modeset: Loading NVIDIA Kernel Mode Setting Driver for UNIX platforms  580.95.05",
    "pcieport 0000:00:1c.0: AER: enabled with IRQ 122",
    "mce: CPU0: Thermal monitoring enabled (TM1)",
    "thermal_sys: Registered thermal governor 'step_wise'",
    "EXT4-fs (nvme0n1p2): mounted filesystem with ordered data mode. Quota mode: none.",
    "docker0: port 1(veth1) entered blocking state",
    "audit: type=1400 apparmor=\"DENIED\" operation=\"open\" comm=\"snap-confine\"",
    "oom_reaper: unable to reap pid:12 (x)",
    "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "pid", "xid"), SAID)
def test_real_words_are_told_by_kind_process_and_number(
    text: str, kind: str | None, pid: int | None, xid: int | None
) -> None:
    found = event(text, 7)
    assert (None if found is None else (found.kind, found.pid, found.xid)) == (
        None if kind is None else (kind, pid, xid)
    )
    if found is not None:
        assert (found.text, found.t_mono_ns) == (text, 7)
        assert bool(found.what) == (xid is not None)


@pytest.mark.parametrize("text", QUIET)
def test_what_a_kernel_in_order_says_is_no_event(text: str) -> None:
    assert event(text) is None


def test_the_process_that_was_killed_is_named_whole() -> None:
    assert event("Out of memory: Killed process 812 (tmux: server (1)) total-vm:1kB").process == "tmux: server (1)"


def test_a_kill_is_told_once_though_the_kernel_says_it_four_times() -> None:
    lines = [
        "python3 invoked oom-killer: gfp_mask=0x140dca, order=0",
        "oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/x,task=python3,pid=77,uid=0",
        "Out of memory: Killed process 77 (python3) total-vm:1kB",
        "oom_reaper: reaped process 77 (python3), now anon-rss:0kB",
    ]
    found = [one for one in map(event, lines) if one is not None]
    assert [(one.kind, one.pid, one.process) for one in distinct(found)] == [("oom_kill", 77, "python3")]
    assert [one.pid for one in distinct(found[:1])] == [None], "a shortage without a kill that is named is told as well"


def test_a_record_of_kmsg_is_sequence_time_and_text() -> None:
    raw = b"6,365,468142,-;nvidia: loading out-of-tree module\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n"
    assert record(raw) == (365, 468_142_000, "nvidia: loading out-of-tree module")
    assert record(b"4,1,2,c;caf\\xc3 \\x5c\n") == (1, 2000, "caf\xc3 \\")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(raw: bytes) -> None:
    told = record(raw)
    if told is not None:
        found = event(told[2], told[1])
        assert found is None or isinstance(found, Event)


@given(st.integers(1, 200), st.integers(1, 4_000_000), st.from_regex(r"[A-Za-z:_. -]{1,15}", fullmatch=True))
def test_any_xid_and_any_killed_process_is_found(xid: int, pid: int, name: str) -> None:
    found = event(f"NVRM: Xid (PCI:000f:01:00): {xid}, pid={pid}, name=x, Ch 00000010")
    assert found is not None
    assert (found.xid, found.pid) == (xid, pid)
    killed = event(f"Out of memory: Killed process {pid} ({name}) total-vm:1kB, anon-rss:2kB")
    assert killed is not None
    assert (killed.kind, killed.pid, killed.process) == ("oom_kill", pid, name)


def test_only_what_comes_after_the_mark_counts(tmp_path: Path) -> None:
    """A pipe of records stands for the device, which gives one of them to each read."""
    log = KernelLog(tmp_path / "none")
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    log.unavailable, log._handle = None, reading
    log.mark()
    os.write(writing, b"3,9,5000000,-;NVRM: Xid (PCI:000f:01:00): 43, pid=5, name=x, Ch 00000010\n")
    os.write(writing, b"6,10,6000000,-;usb 1-1: new device\n")
    (found,) = log.since_mark()
    assert (found.kind, found.xid, found.t_mono_ns) == ("xid", 43, 5_000_000_000)
    assert log.since_mark() == []
    log.close()
    os.close(writing)


def test_where_nothing_can_be_read_it_is_said_and_nothing_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    log = KernelLog(tmp_path / "kmsg")
    assert log.unavailable is not None
    assert "No such file" in log.unavailable
    assert "journalctl" in log.unavailable
    log.mark()
    assert log.since_mark() == []


def test_the_journal_stands_in_where_the_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    line = '{"MESSAGE":"NVRM: Xid (PCI:0000:01:00): 31, pid=4, name=y, MMU Fault","__MONOTONIC_TIMESTAMP":"12"}'
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{line}' '{{\"MESSAGE\":null}}' 'torn'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = KernelLog(tmp_path / "kmsg")
    assert (log.unavailable, log.source) == (None, "journalctl -k")
    log.mark()
    (found,) = log.since_mark()
    assert (found.xid, found.pid, found.t_mono_ns) == (31, 4, 12_000)


def test_every_kind_has_real_words() -> None:
    assert {one.kind for one in map(event, (text for text, *_ in SAID)) if one is not None} == set(get_args(Kind))


def test_many_of_one_kind_do_not_hide_another(tmp_path: Path) -> None:
    log = KernelLog(tmp_path / "none")
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2**18)  # a page for each record
    log.unavailable, log._handle = None, reading
    for _ in range(KEPT + 5):
        os.write(writing, b"4,1,2,-;pcieport 0000:00:1c.0: AER: Corrected error received: 0000:00:1c.0\n")
    os.write(writing, b"3,9,5000000,-;NVRM: Xid (PCI:000f:01:00): 43, pid=5, name=x, Ch 00000010\n")
    assert [one.kind for one in log.since_mark()] == ["corrected"] * KEPT + ["xid"]
    log.close()
    os.close(writing)


def test_what_was_overwritten_before_it_was_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = KernelLog(tmp_path / "none")
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    log.unavailable, log._handle = None, reading
    os.write(writing, b"6,10,6000000,-;usb 1-1: new device\n")
    real, answers = os.read, iter([BrokenPipeError()])

    def read(handle: int, most: int) -> bytes:
        if (problem := next(answers, None)) is not None:
            raise problem
        return real(handle, most)

    monkeypatch.setattr("actors.gpu.kernel_log.os.read", read)
    assert log.since_mark() == []
    assert kernel(log, started=True) == {"kernel": (), "kernel_unavailable": log.missed}
    assert "overwrote" in str(log.missed)
    log.mark()
    assert log.missed is None
    log.close()
    os.close(writing)


def test_a_journal_that_fails_meanwhile_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\necho '{}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = KernelLog(tmp_path / "kmsg")
    log.mark()
    program.write_text("#!/bin/sh\necho no journal >&2\nexit 1\n")
    assert log.since_mark() == []
    assert log.missed == "journalctl: no journal"
