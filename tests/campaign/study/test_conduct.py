"""A study is decided by its own evidence, phase after phase,
and goes on after any interruption with nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from given_study import TEXT, Invented, conductor, study

from campaign.errors import Drift
from campaign.study import conduct, record
from campaign.study.asked import Choice


def state_of(folder: Path) -> record.StudyState:
    return record.fold(record.read(folder / "results"))


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Invented]:
    """A study in which the host's network wins back two of three percent, and seccomp and init nothing."""
    folder = tmp_path_factory.mktemp("helped")
    invented = Invented({"network": 2.0})
    assert conductor(study(folder), folder, invented).run() == 0
    return folder, invented


def test_what_helps_is_found_combined_and_validated(helped: tuple[Path, Invented]) -> None:
    folder, invented = helped
    state = state_of(folder)
    assert invented.done == ["little-2a", "little-2b", "little-2c", "little-2d"]
    assert state.completed
    assert state.phase("2C").choice == Choice(None, ("docker-net-host",))
    assert state.phase("2D").choice == Choice(None, ("docker-net-host",))
    last = json.loads((folder / "results" / "2D" / "campaign.json").read_text())["config"]
    assert [arm["name"] for arm in last["environments"]] == ["native-chroot", "docker-baseline", "docker-optimized"]
    assert last["environments"][-1]["network"] == "host"


def test_a_decision_holds_raw_and_shrunken_estimates_and_the_reason_of_every_option(
    helped: tuple[Path, Invented],
) -> None:
    decision = state_of(helped[0]).phase("2C").decision
    assert decision is not None
    found = {it["name"]: it for it in decision["evidence"]["candidates"]}
    net = found["net"]
    assert net["reasons"] == []
    assert net["low_pct"] < 2.0 < net["high_pct"] + 0.3
    assert 0 < net["shrunken_pct"] < net["raw_pct"]
    assert net["privilege"] == 1
    assert "not_significant" in found["seccomp"]["reasons"]
    assert found["seccomp"]["security_only"]
    assert not net["security_only"]
    assert decision["evidence"]["confirmatory"] is False
    assert decision["heads"].keys() == {"2A", "2B"}


def test_the_same_command_again_does_nothing(helped: tuple[Path, Invented]) -> None:
    folder, invented = helped
    before = (folder / "results" / record.JOURNAL).read_bytes()
    assert conductor(study(folder), folder, invented).run() == 0
    assert (folder / "results" / record.JOURNAL).read_bytes() == before
    assert len(invented.done) == 4


def test_where_nothing_helps_2c_is_skipped_and_2d_runs_the_baseline_again(tmp_path: Path) -> None:
    invented = Invented({})
    said: list[str] = []
    assert conductor(study(tmp_path), tmp_path, invented, tell=said.append).run() == 0
    assert invented.done == ["little-2a", "little-2b", "little-2d"]
    assert (
        state_of(tmp_path).phase("2C").skipped
        == "no option was shown to help in the screen: there is nothing to combine"
    )
    assert any("no option was shown to help" in line and "that is a result" in line for line in said)
    last = json.loads((tmp_path / "results" / "2D" / "campaign.json").read_text())["config"]
    assert [arm["name"] for arm in last["environments"]][-1] == "docker-baseline-again"


def test_a_study_that_pauses_stops_at_each_decision_and_goes_on(tmp_path: Path) -> None:
    invented = Invented({"network": 2.0})
    said: list[str] = []
    made = study(tmp_path)
    codes = [conductor(made, tmp_path, invented, "pause", tell=said.append).run() for _ in range(4)]
    assert codes == [5, 5, 5, 0]  # before 2B (models), 2C and 2D (options)
    assert any("campaign decide" in line for line in said)
    assert invented.done == ["little-2a", "little-2b", "little-2c", "little-2d"]


def test_a_person_decides_otherwise_with_a_reason_before_the_phase_begins(tmp_path: Path) -> None:
    invented = Invented({"network": 2.0})
    made = study(tmp_path)
    for _ in range(2):
        conductor(made, tmp_path, invented, "pause").run()
    folder = tmp_path / "results"
    seccomp = Choice(options=("docker-seccomp-unconfined",))
    with pytest.raises(conduct.StudyError, match="give the reason"):
        conduct.decide_by_person(made, folder, made.phase("2C"), seccomp, " ")
    with pytest.raises(conduct.StudyError, match="its first run has begun"):
        conduct.decide_by_person(made, folder, made.phase("2A"), Choice(), "because")
    conduct.decide_by_person(made, folder, made.phase("2C"), seccomp, "the network stays closed here")
    assert conductor(made, tmp_path, invented, "go").run() == 0
    state = state_of(tmp_path)
    assert state.phase("2C").choice == seccomp
    assert state.phase("2C").overrides[0]["reason"] == "the network stays closed here"
    assert state.phase("2C").overrides[0]["instead_of"]["options"] == ["docker-net-host"]
    # Seccomp wins nothing back, so the fresh runs of 2C say so.
    assert state.phase("2D").choice == Choice(None, ())


def test_an_interrupted_phase_is_gone_on_with(tmp_path: Path) -> None:
    invented = Invented({"network": 2.0}, stop_at="little-2b")
    made = study(tmp_path)
    assert conductor(made, tmp_path, invented).run() == 130
    assert state_of(tmp_path).phase("2B").ended is None
    assert conductor(made, tmp_path, invented).run() == 0
    assert invented.done == ["little-2a", "little-2b", "little-2b", "little-2c", "little-2d"]


@pytest.mark.parametrize("lines", [4, 6])
def test_after_a_kill_between_any_two_lines_of_the_journal_the_same_study_comes_out(
    helped: tuple[Path, Invented], tmp_path: Path, lines: int
) -> None:
    """The phases' folders are further than the study's journal, as a kill leaves them."""
    import shutil

    folder, _ = helped
    shutil.copytree(folder / "results", tmp_path / "results")
    path = tmp_path / "results" / record.JOURNAL
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:lines]) + whole[lines][:20])
    invented = Invented({"network": 2.0})
    assert conductor(study(tmp_path), tmp_path, invented).run() == 0
    before, after = state_of(folder), state_of(tmp_path)
    assert {name: it.choice for name, it in after.phases.items()} == {
        name: it.choice for name, it in before.phases.items()
    }
    assert after.completed


def test_one_phase_alone_needs_what_comes_before_or_a_persons_word(tmp_path: Path) -> None:
    invented = Invented({"network": 2.0})
    made = study(tmp_path)
    with pytest.raises(conduct.StudyError, match="nothing to choose from"):
        conductor(made, tmp_path, invented).run("2C")
    assert conductor(made, tmp_path, invented).run("2b") == 0
    assert conductor(made, tmp_path, invented).run("2C") == 0
    assert invented.done == ["little-2b", "little-2c"]


def test_a_changed_file_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    invented = Invented({"network": 2.0})
    conductor(study(tmp_path), tmp_path, invented).run("2A")
    changed = study(tmp_path, TEXT.replace("repetitions: 8", "repetitions: 9"))
    with pytest.raises(Drift, match="the study's file"):
        conductor(changed, tmp_path, invented).run()
    assert conductor(changed, tmp_path, invented, accept_drift=True).run("2B") == 0
    assert conductor(changed, tmp_path, invented).run("2B") == 0
