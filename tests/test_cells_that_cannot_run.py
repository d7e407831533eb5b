"""A whole campaign of which one model cannot run: found before anything is measured, named,
decided once, journalled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_campaign import PROJECT, campaign, write_config

from campaign.audit.verification import verify
from campaign.errors import EXIT_INCOMPLETE, EXIT_REFUSED
from campaign.record import journal
from campaign.record.store import Store

BROKEN = "random-llama-8m, {name: broken, engines: [llamacpp], path: %s}"


@pytest.fixture(scope="module")
def results(docker_engine, session_home, tmp_path_factory) -> Path:
    """`campaign shakedown`, then the campaign stopped at it, then unattended, each by its own command."""
    place = tmp_path_factory.mktemp("shakedown")
    weights = place / "broken.gguf"
    weights.write_bytes(b"GGUF is not all it takes")
    config = write_config(place, models=f"[{BROKEN % weights}]", repetitions=1, shakedown="true")
    for name, words in (("tried", ("shakedown",)), ("stopped", ("run", "--stop")), ("done", ("run", "--no-report"))):
        verb, *options = words
        done = campaign(verb, config, *options, "--results", place / "results", home=session_home)
        (place / f"{name}.txt").write_text(f"{done.returncode}\n{done.stdout}")
    return place


def said(results: Path, name: str) -> tuple[int, str]:
    code, _, text = (results / f"{name}.txt").read_text().partition("\n")
    return int(code), re.sub(r"\s+", " ", text)


def events(results: Path, kind: str) -> list[dict]:
    return [event for event in journal.read(results / "results/small/journal.jsonl")[0] if event["event"] == kind]


def test_the_command_by_itself_measures_nothing_and_names_what_cannot_run(results):
    code, text = said(results, "tried")
    assert code == EXIT_INCOMPLETE
    assert "shakedown of 4 cells: 2 cannot run. Nothing was measured." in text
    assert "broken · native-chroot · tiny: " in text and "GGUF" in text
    assert "Traceback" not in text


def test_stop_refuses_and_says_how_to_go_on(results):
    code, text = said(results, "stopped")
    assert code == EXIT_REFUSED
    assert "2 cells cannot run; mend them, or go on --without them" in text


def test_unattended_it_goes_on_with_the_cells_that_can_and_its_code_says_so(results):
    code, text = said(results, "done")
    assert code == EXIT_INCOMPLETE, text
    assert "going on without 2 cells (unattended)" in text
    (settled,) = events(results, "left_out")
    assert set(settled["cells"]) == {"broken__native-chroot__tiny", "broken__docker-baseline__tiny"}
    finished = events(results, "finished")
    assert {event["run_id"].split("__")[0] for event in finished} == {"random-llama-8m"}
    assert all(event["accepted"] for event in finished)
    (completed,) = events(results, "completed")
    assert (completed["accepted"], completed["left_out"]) == (2, 2)


def test_it_is_tried_once_and_kept_apart_from_the_results(results):
    tried = [event for event in events(results, "shakedown") if event["model"] == "random-llama-8m"]
    assert [event["attempt"] for event in tried] == [1, 1], "what passed is not tried again"
    store = Store(results / "results/small")
    assert verify(store) == []
    assert all(
        (store.root / f"shakedown/random-llama-8m__{event['environment']}__tiny__local/1/stdout.log").exists()
        for event in tried
    )
    assert not any("broken" in path.name or "__s0" in path.name for path in store.root.glob("attempts/*"))


def test_the_same_command_again_says_what_was_left_out(results, session_home):
    again = campaign("run", results / "small.yaml", "--results", results / "results", home=session_home)
    assert again.returncode == EXIT_INCOMPLETE and "is finished" in again.stdout
    status = campaign("status", results / "results/small", home=session_home, code=PROJECT)
    assert "2 runs left out" in status.stdout
