"""Keeps the machine awake while a campaign runs: a suspended machine measures nothing, and wakes with other clocks.

systemd-inhibit holds the lock for as long as a ``cat`` lives that reads from a pipe of this process. However this
process ends, also by ``kill -9``, the kernel closes the pipe, ``cat`` ends, and the lock is gone. Without systemd there
is nothing to hold, and nothing that would suspend the machine by itself.
"""

from __future__ import annotations

import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WHAT = "sleep:idle:handle-lid-switch"
"""Not shutdown: that is somebody's decision, and a campaign goes on after it."""
ANSWER_S = 10.0
BOOTED = Path("/run/systemd/system")
"""Is there where systemd is PID 1: sd_booted(3)."""


@contextmanager
def stay_awake(tell: Callable[[str], None], name: str, booted: Path = BOOTED) -> Iterator[None]:
    """Inhibits suspend inside the block. ``tell`` gets one line: that it is so, or why it is not."""
    program = shutil.which("systemd-inhibit")
    if program is None or not booted.is_dir():
        yield
        return
    holder = subprocess.Popen(
        [program, f"--what={WHAT}", "--who=campaign", f"--why=measuring {name}", "--mode=block", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is for the driver
    )
    try:
        why = _refused(holder)
        if why:
            tell(
                f"suspend is NOT inhibited ({why}): see that this machine does not sleep, e.g. "
                "systemctl mask sleep.target"
            )
        else:
            tell("suspend is inhibited while this runs (systemd-inhibit)")
        yield
    finally:
        holder.kill()  # its child sees the end of the pipe
        holder.communicate()


def _refused(holder: subprocess.Popen[bytes]) -> str:
    """Why the lock is not held; empty where it is. ``cat`` echoes only once it runs,
    which is after the lock was given."""
    assert holder.stdin is not None and holder.stdout is not None and holder.stderr is not None
    try:
        holder.stdin.write(b"\n")
        holder.stdin.flush()
    except BrokenPipeError:
        pass
    ready, _, _ = select.select([holder.stdout], [], [], ANSWER_S)
    if ready and holder.stdout.readline() == b"\n":
        return ""
    if not ready:
        return f"no answer within {ANSWER_S:g} s"
    said = holder.stderr.read().decode(errors="replace").strip().splitlines()
    return said[-1] if said else "systemd-inhibit ended without a word"
