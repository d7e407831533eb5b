"""The unit that carries a campaign through reboots: what systemd is told, and what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from actors import host
from campaign import errors
from campaign.run import service
from campaign.run.service import ServiceError, Systemd

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="units of the system take root")

CTL = """\
#!/bin/sh
echo "$@" >> "{log}"
case "$1" in
  is-active) exit {active} ;;
  show) printf 'ActiveState=failed\\nResult=exit-code\\nExecMainStatus=3\\nUnitFileState=enabled\\nNRestarts=2\\n' ;;
  start) if [ {start} != 0 ]; then echo "Job failed." >&2; exit {start}; fi ;;
esac
"""


def systemd(folder: Path, active: int = 3, start: int = 0) -> Systemd:
    """systemctl, as far as it is asked here; ``calls`` beside it has what it was asked."""
    script = folder / "systemctl"
    script.write_text(CTL.format(log=folder / "calls", active=active, start=start))
    script.chmod(0o755)
    return Systemd(folder=folder, booted=folder, program=str(script))


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_the_unit_runs_the_same_command_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    text = service.text("spark", Path("my own.yaml"), Path("/home/ann/100% mine"))
    assert values(text, "ExecStart") == ['"/home/ann/100%% mine/.venv/bin/campaign" "run" "/tmp/my own.yaml"']
    assert values(text, "WorkingDirectory") == ["/home/ann/100%% mine"]
    assert values(text, "WantedBy") == ["multi-user.target"]


def test_it_starts_again_only_where_waiting_can_help() -> None:
    text = service.text("spark", Path("spark.yaml"))
    person = {int(code) for code in values(text, "RestartPreventExitStatus")[0].split()}
    assert values(text, "Restart") == ["on-failure"]
    assert person == {errors.EXIT_INCOMPLETE, errors.EXIT_CONFIG, errors.EXIT_REFUSED, errors.EXIT_DEFECT}
    assert not person & {errors.EXIT_ENGINE, errors.EXIT_PAUSED}
    assert values(text, "SuccessExitStatus") == [str(errors.EXIT_INTERRUPTED)]


@needs_root
def test_what_the_service_makes_is_the_persons_and_no_token_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SUDO_UID": "65534", "SUDO_GID": "65534", "HF_TOKEN": "hf_secret"}.items():
        monkeypatch.setenv(name, value)
    text = service.text("spark", Path("spark.yaml"))
    assert '"SUDO_UID=65534"' in values(text, "Environment")
    assert "hf_secret" not in text


def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    place = tmp_path / "a 100% checkout"
    (place / ".venv/bin").mkdir(parents=True)
    (place / ".venv/bin/campaign").symlink_to("/bin/true")
    unit = tmp_path / service.UNIT
    unit.write_text(service.text('a "quoted" name', tmp_path / "spark.yaml", place))
    ended = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    ours = [line for line in ended.stderr.splitlines() if service.UNIT in line]
    newer = ("RestartSteps", "RestartMaxDelaySec")  # systemd 254; ignored before, with this notice
    assert [line for line in ours if not any(key in line for key in newer)] == []


@needs_root
def test_one_command_writes_enables_and_starts(tmp_path: Path) -> None:
    said: list[str] = []
    service.install("spark", tmp_path / "spark.yaml", said.append, systemd(tmp_path))
    assert calls(tmp_path) == ["daemon-reload", f"enable {service.UNIT}", f"start {service.UNIT}"]
    assert (tmp_path / service.UNIT).read_text() == service.text("spark", tmp_path / "spark.yaml")
    assert "goes on after every reboot" in said[0]


@needs_root
def test_a_campaign_that_runs_is_not_replaced_by_another(tmp_path: Path) -> None:
    running = systemd(tmp_path, active=0)
    service.install("spark", tmp_path / "spark.yaml", lambda _: None, running)
    service.install("spark", tmp_path / "spark.yaml", lambda _: None, running)  # the same again changes nothing
    with pytest.raises(ServiceError, match="carries out another campaign now"):
        service.install("other", tmp_path / "other.yaml", lambda _: None, running)


@needs_root
def test_what_systemd_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"systemctl start campaign\.service: Job failed\."):
        service.install("spark", tmp_path / "spark.yaml", lambda _: None, systemd(tmp_path, start=1))


@needs_root
def test_removing_stops_it_and_leaves_no_unit(tmp_path: Path) -> None:
    own, said = systemd(tmp_path), list[str]()
    service.remove(said.append, own)
    service.install("spark", tmp_path / "spark.yaml", lambda _: None, own)
    service.remove(said.append, own)
    assert not own.unit.exists()
    assert f"disable --now {service.UNIT}" in calls(tmp_path)
    assert ["nothing to remove" in said[0], "results stay" in said[1]] == [True, True]


def test_its_state_is_told_in_one_line(tmp_path: Path) -> None:
    own = systemd(tmp_path)
    assert "is not installed: sudo .venv/bin/campaign service install" in service.status(own)
    own.unit.write_text("")
    told = service.status(own)
    assert "stopped, exit code 3 (exit-code); it waits for you" in told
    assert told.endswith("starts at boot; started again 2 times")


def test_without_systemd_or_root_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match="systemd does not run this machine"):
        service.status(Systemd(folder=tmp_path, booted=tmp_path / "absent"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match=r"sudo \.venv/bin/campaign service install spark\.yaml"):
        service.install("spark", Path("spark.yaml"), lambda _: None, systemd(tmp_path))


def test_the_documentation_it_names_is_there() -> None:
    (address,) = values(service.text("spark", Path("spark.yaml")), "Documentation")
    assert Path(address.removeprefix("file://")) == host.ROOT / "README.md"
