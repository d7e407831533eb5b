"""The machine does not sleep while a campaign runs, and may again when it has ended, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.processes import runs
from campaign.run.stay_awake import stay_awake

HOLDS = """\
#!/bin/sh
# As systemd-inhibit: has the lock, then carries its command out.
echo "$$ $*" > "{log}"
while [ "$1" != cat ]; do shift; done
exec "$@"
"""
REFUSES = "#!/bin/sh\necho 'Failed to inhibit: Access denied' >&2\nexit 1\n"


def program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = folder / "asked"
    (folder / "systemd-inhibit").write_text(script.replace("{log}", str(log)))
    (folder / "systemd-inhibit").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return log


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not runs(pid)


def test_the_lock_is_held_inside_the_block_and_gone_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, said = program(tmp_path, HOLDS, monkeypatch), list[str]()
    with stay_awake(said.append, "spark", booted=tmp_path):
        pid, _, asked = log.read_text().partition(" ")
        assert runs(int(pid))
    assert ends(int(pid))
    assert "--what=sleep:idle:handle-lid-switch" in asked
    assert "--mode=block" in asked
    assert said == ["suspend is inhibited while this runs (systemd-inhibit)"]


def test_a_killed_driver_lets_the_machine_sleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = program(tmp_path, HOLDS, monkeypatch)
    code = (
        "import sys, time; from pathlib import Path; from campaign.run.stay_awake import stay_awake\n"
        f"with stay_awake(lambda line: print(line, flush=True), 'x', booted=Path({str(tmp_path)!r})): time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert "is inhibited" in driver.stdout.readline()
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert ends(int(log.read_text().split()[0]))


def test_a_lock_that_is_refused_is_said_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, REFUSES, monkeypatch)
    said: list[str] = []
    with stay_awake(said.append, "spark", booted=tmp_path):
        pass
    assert len(said) == 1
    assert said[0].startswith("suspend is NOT inhibited (Failed to inhibit: Access denied)")


def test_without_systemd_nothing_is_asked_and_nothing_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, said = program(tmp_path, HOLDS, monkeypatch), list[str]()
    with stay_awake(said.append, "spark", booted=tmp_path / "absent"):
        assert not log.exists()
    assert said == []
