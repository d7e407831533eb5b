"""A systemd unit that carries a campaign through reboots: the same command at every start, until it is finished.

Finished is exit 0, and the unit rests. It starts again by itself, ever later, only where waiting can help: no Docker
engine yet (4), a gate that did not open (5), a driver that was killed. A wrong config (2), a refusal (3) or runs given
up (1) wait for a person.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors import account, host
from actors.environments import EnvironmentError_
from campaign.errors import EXIT_CONFIG, EXIT_DEFECT, EXIT_INCOMPLETE, EXIT_REFUSED

UNIT = "campaign.service"
FOLDER = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
FOR_A_PERSON = (EXIT_INCOMPLETE, EXIT_CONFIG, EXIT_REFUSED, EXIT_DEFECT)
"""Exit codes that no repetition mends."""
KEPT = ("CAMPAIGN_HOME", "DOCKER_HOST", "DOCKER_CONFIG", "LANG")
"""Variables of the one who installs that the campaign must see again. No token: runs fetch nothing,
and anyone can read a unit."""


class ServiceError(EnvironmentError_):
    """The service cannot be installed or asked here. The message says why."""


@dataclass(frozen=True)
class Systemd:
    """``systemctl`` of this machine, and where its units lie."""

    folder: Path = FOLDER
    booted: Path = BOOTED
    program: str = "systemctl"

    @property
    def unit(self) -> Path:
        return self.folder / UNIT

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.program, *words], capture_output=True, text=True, check=False)

    def must(self, *words: str) -> None:
        ended = self.call(*words)
        if ended.returncode != 0:
            why = (ended.stderr or ended.stdout).strip() or f"it ended with {ended.returncode}"
            raise ServiceError(f"systemctl {' '.join(words)}: {why}")

    def require(self, *, root: bool, verb: str) -> None:
        if not self.booted.is_dir() or shutil.which(self.program) is None:
            raise ServiceError(
                "systemd does not run this machine: start `campaign run` by what does, after a reboot too."
            )
        if root and os.geteuid() != 0:
            raise ServiceError(f"units of the system take root: sudo .venv/bin/campaign service {verb}")


def text(name: str, config: Path, checkout: Path = host.ROOT) -> str:
    """The unit's file. Type, restart and limits: systemd.service(5), systemd.exec(5)."""
    who = account.person()
    variables = {variable: os.environ[variable] for variable in KEPT if os.environ.get(variable)}
    if who is not None:  # what is made stays theirs, as with sudo
        variables |= {"SUDO_UID": str(who.uid), "SUDO_GID": str(who.gid), "SUDO_USER": who.name}
    program = checkout / ".venv/bin/campaign" if host.is_checkout() else Path(sys.prefix) / "bin/campaign"
    environment = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in variables.items())
    command = " ".join(_quoted(word) for word in (str(program), "run", str(config.absolute())))
    return f"""\
# Made by `campaign service install`; `campaign service remove` takes it away.
[Unit]
Description=Campaign {_escaped(name)}: native against Docker, until it is finished
Documentation=file://{_escaped(str(checkout / "README.md")).replace(" ", "%%20")}
Wants=docker.service network-online.target
After=docker.service network-online.target nvidia-persistenced.service
StartLimitIntervalSec=1d
StartLimitBurst=20

[Service]
Type=exec
WorkingDirectory={_escaped(str(checkout))}
{environment}ExecStart={command}
# Back off from one minute to half an hour (before systemd 254: always one minute).
Restart=on-failure
RestartSec=60
RestartSteps=5
RestartMaxDelaySec=1800
RestartPreventExitStatus={" ".join(map(str, FOR_A_PERSON))}
SuccessExitStatus=130
# SIGTERM to the driver alone: it ends the attempt, makes it durable and stops what it started.
KillMode=mixed
TimeoutStopSec=180
# What an engine needs, a service has not by default. An engine killed for memory is an outcome, not the campaign's end.
LimitMEMLOCK=infinity
LimitNOFILE=1048576
TasksMax=infinity
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
"""


def _escaped(word: str) -> str:
    return word.replace("%", "%%")


def _quoted(word: str) -> str:
    """As one word of a command line or assignment: systemd.syntax(7)."""
    inner = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{inner}"'


def install(name: str, config: Path, say: Callable[[str], None], systemd: Systemd | None = None) -> None:
    """Write the unit, enable it, start it. Raises ServiceError."""
    systemd = systemd or Systemd()
    systemd.require(root=True, verb=f"install {config}")
    fresh = text(name, config)
    if systemd.unit.exists() and systemd.unit.read_text() != fresh and systemd.call("is-active", UNIT).returncode == 0:
        raise ServiceError(
            f"{systemd.unit} carries out another campaign now. Let it finish, or: "
            "sudo .venv/bin/campaign service remove"
        )
    systemd.unit.write_text(fresh)
    systemd.unit.chmod(0o644)
    systemd.must("daemon-reload")
    systemd.must("enable", UNIT)
    systemd.must("start", UNIT)
    say(f"{systemd.unit}: '{name}' runs now, and goes on after every reboot until it is finished")
    say(f"watch: .venv/bin/campaign status --watch · its lines: journalctl -u {UNIT} -f · stop: systemctl stop {UNIT}")


def remove(say: Callable[[str], None], systemd: Systemd | None = None) -> None:
    """Stop the campaign as Ctrl-C would, and take the unit away. Results stay."""
    systemd = systemd or Systemd()
    systemd.require(root=True, verb="remove")
    if not systemd.unit.exists():
        say(f"{systemd.unit} is not there: nothing to remove")
        return
    systemd.must("disable", "--now", UNIT)
    systemd.unit.unlink()
    systemd.must("daemon-reload")
    systemd.call("reset-failed", UNIT)
    say(f"removed {systemd.unit}; results stay, and `campaign run` goes on with them")


def status(systemd: Systemd | None = None) -> str:
    """One line: installed or not, running or how it ended, and whether a reboot starts it."""
    systemd = systemd or Systemd()
    systemd.require(root=False, verb="status")
    if not systemd.unit.exists():
        return f"{systemd.unit} is not installed: sudo .venv/bin/campaign service install [CONFIG]"
    shown = systemd.call("show", UNIT, "--property=ActiveState,SubState,Result,ExecMainStatus,UnitFileState,NRestarts")
    facts = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    state, ended = facts.get("ActiveState", "unknown"), facts.get("ExecMainStatus", "?")
    how = {
        "active": "running",
        "activating": f"waiting to start again (it ended with {ended})",
        "failed": f"stopped, exit code {ended} ({facts.get('Result', '?')}); it waits for you: journalctl -u {UNIT} -e",
        "inactive": f"at rest, exit code {ended}",
    }.get(state, state)
    reboot = "starts at boot" if facts.get("UnitFileState") == "enabled" else "does not start at boot"
    return f"{UNIT}: {how}; {reboot}; started again {facts.get('NRestarts', '?')} times"
