"""The journal: what was written is read, what was changed is found, what was torn is forgotten."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.record.journal import Journal, JournalError, apply, fold, read

RUNS = st.sampled_from(["a", "b", "c"])
OUTCOMES = st.sampled_from(["completed", "failed", "timeout", "aborted", "interrupted"])


def write(path: Path, events: list[dict]) -> None:
    journal = Journal(path)
    for event in events:
        journal.append(**event)
    journal.close()


def finished(run_id: str, attempt: int, accepted: bool, outcome: str = "completed") -> dict:
    return {
        "event": "finished",
        "run_id": run_id,
        "attempt": attempt,
        "unit": "u",
        "outcome": outcome,
        "accepted": accepted,
        "rejected_by": [],
        "evidence": "0",
    }


def dispatched(run_id: str, attempt: int) -> dict:
    return {"event": "dispatched", "run_id": run_id, "attempt": attempt, "unit": "u", "block": "k"}


@given(st.lists(st.tuples(RUNS, OUTCOMES, st.booleans()), max_size=20), st.integers(min_value=0))
def test_a_journal_cut_anywhere_keeps_every_whole_line(tmp_path_factory, attempts, where):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    write(path, [finished(run, n, ok and out == "completed", out) for n, (run, out, ok) in enumerate(attempts, 1)])
    whole = path.read_bytes()
    cut = where % (len(whole) + 1)
    path.write_bytes(whole[:cut])
    events, offset, _ = read(path)
    assert len(events) == whole[:cut].count(b"\n")
    assert offset == whole[:cut].rfind(b"\n") + 1
    journal = Journal(path)  # and it can be written on, with an unbroken chain
    journal.append("opened")
    journal.close()
    assert read(path)[0][-1]["event"] == "opened"


@given(st.integers(min_value=0, max_value=3), st.integers(min_value=0))
def test_a_changed_line_breaks_the_chain(tmp_path_factory, line, position):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    write(
        path, [dispatched("a", 1), finished("a", 1, True), dispatched("b", 1), finished("b", 1, True), {"event": "end"}]
    )
    lines = path.read_bytes().splitlines(keepends=True)
    at = position % (len(lines[line]) - 1)
    lines[line] = lines[line][:at] + bytes([lines[line][at] ^ 1]) + lines[line][at + 1 :]
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=rf"journal.jsonl:{line + 1}|journal.jsonl:{line + 2}"):
        read(path)


def test_a_removed_line_breaks_the_chain(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, [dispatched("a", 1), finished("a", 1, True), {"event": "end"}])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(JournalError, match="hash chain"):
        read(path)


def test_a_torn_line_is_cut_off_and_remembered(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, [dispatched("a", 1)])
    with path.open("ab") as file:
        file.write(b'{"seq":1,"t_utc')
    journal = Journal(path)
    assert journal.events[-1]["event"] == "recovered"
    assert journal.events[-1]["torn_bytes"] == 15


def test_folding_tells_accepted_open_and_exhausted():
    state = fold(
        [
            dispatched("a", 1),
            finished("a", 1, False, "failed"),
            dispatched("a", 2),
            finished("a", 2, True),
            dispatched("b", 1),
        ]
    )
    assert (state.run("a").accepted, state.run("a").rejected, state.run("a").attempts) == (2, 1, 2)
    assert state.run("b").open == (1, "u") and not state.run("b").done
    apply(state, {"event": "exhausted", "run_id": "b"})
    assert state.run("b").done


def test_folding_keeps_the_best_that_each_units_canary_gave():
    sung = [finished("a", 1, True) | {"canary_gb_s": 200.0}, finished("b", 1, True) | {"canary_gb_s": 90.0}]
    elsewhere = finished("c", 1, True) | {"unit": "v", "canary_gb_s": 120.0}
    assert fold([*sung, elsewhere, finished("d", 1, True)]).canaries == {"u": 200.0, "v": 120.0}


@given(st.lists(st.tuples(RUNS, OUTCOMES), max_size=30))
def test_an_attempt_that_we_stopped_never_counts_against_a_run(attempts):
    state = fold([finished(run, number, False, outcome) for number, (run, outcome) in enumerate(attempts, 1)])
    for name in ("a", "b", "c"):
        counted = sum(run == name and outcome not in ("aborted", "interrupted") for run, outcome in attempts)
        assert state.run(name).rejected == counted


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    import os

    path = tmp_path / "journal.jsonl"
    write(path, [dispatched("a", 1)])
    journal = Journal(path)
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(OSError, match="disk is full"):
        journal.append("opened")
    monkeypatch.undo()
    assert json.loads(path.read_bytes().splitlines()[-1])["event"] == "dispatched"
    journal.append("opened")
    assert [event["event"] for event in read(path)[0]] == ["dispatched", "opened"]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.unlink(), "taken away while the campaign ran"),
        (lambda path: path.rename(path.with_name("elsewhere")), "taken away while the campaign ran"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "changed by somebody else"),
        (lambda path: path.open("ab").write(b"{}\n"), "changed by somebody else"),
        (lambda path: (path.rename(path.with_name("old")), path.write_bytes(b"")), "changed by somebody else"),
    ],
)
def test_a_journal_that_somebody_touches_stops_the_writer(tmp_path, harm, words):
    """A driver went on to the end without a record, and said "finished"."""
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    writer.append("created")
    harm(path)
    with pytest.raises(JournalError, match=words):
        writer.append("opened")
