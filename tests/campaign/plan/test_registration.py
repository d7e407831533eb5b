"""What was written down before the first run, and whether the campaign kept to it."""

import hashlib
import json

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from actors import host
from campaign import cli, errors
from campaign.analysis import cache as evidence
from campaign.analysis import inputs, views
from campaign.analysis.margin import DEFAULT_PCT
from campaign.audit import files
from campaign.audit.legality import illegal
from campaign.config import loading as config
from campaign.exchange import export
from campaign.plan import registration
from campaign.plan.design import plan, plan_hash, to_table
from campaign.record import journal
from campaign.record.durable import to_json
from campaign.record.store import Store
from campaign.report import methods, page
from campaign.run.ledger import Ledger
from tests import synthetic
from tests.small_campaign import write_config


def call(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture
def loaded(tmp_path):
    return config.load(write_config(tmp_path))


def begun(campaign, root, units=("u",), code=None):
    """The ledger of ``campaign`` as it is before its first run, and what it says: folder made, journal opened."""
    store = Store(root)
    root.mkdir()
    planned = plan(campaign, lanes=len(units))
    info = {
        "campaign": campaign.name,
        "campaign_id": "c",
        "config_hash": campaign.config_hash,
        "plan_hash": plan_hash(planned),
        "lanes": list(units),
        "code": {"digest": code or host.code_digest()},
        "config": campaign.published(),
    }
    store.write("campaign.json", to_json(info))
    parquet.write_table(to_table(planned), store.plan_path)
    ledger = Ledger(store, journal.Journal(store.journal_path))
    ledger.record("created")
    ledger.record("opened", pid=1, units=list(units), accept_drift=False)
    return ledger


def register(campaign, root, units=1):
    data = registration.canonical(registration.document(campaign, units))
    registration.place_beside(root).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_the_command_writes_one_file_that_gives_the_same_hash_again(tmp_path):
    path, results = write_config(tmp_path), tmp_path / "results"
    done = call("register", path, "--results", results, "-o", tmp_path / "copy.json")
    assert done.exit_code == 0, done.output
    data = (results / "small.registration.json").read_bytes()
    assert data == (tmp_path / "copy.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() in done.output
    for tool in ("git tag -s", "ots stamp", "openssl ts"):
        assert tool in done.output
    assert call("register", path, "--results", results).exit_code == 0
    # What may have been dated is not written over.
    changed = call("register", write_config(tmp_path, repetitions=3), "--results", results)
    assert changed.exit_code == errors.EXIT_REFUSED and "another registration is there" in " ".join(
        changed.output.split()
    )
    assert (results / "small.registration.json").read_bytes() == data


def test_it_says_what_is_asked_and_how_it_is_decided(loaded):
    registered = json.loads(registration.canonical(registration.document(loaded)))
    assert registered["config_hash"] == loaded.config_hash
    assert registered["plan_hash"] == plan_hash(plan(loaded))
    assert registered["code"]["digest"] == host.code_digest()
    (question,) = registered["questions"]
    assert (question["treatment"], question["reference"]) == ("docker-baseline", "native-chroot")
    assert loaded.margin_pct is None
    assert (set(registered["margins_pct"].values()), registered["margin_declared"]) == ({DEFAULT_PCT}, False)
    assert registered["exclusion"]["acceptance"]["coverage_min_pct"] == loaded.acceptance.coverage_min_pct
    assert registered["deciding_rule"]["unseen_runs_equivalence"] == 14
    assert list(registered) == sorted(registered)


def test_the_families_are_those_that_the_analysis_will_count(tmp_path, loaded):
    """One model, two arms: the sizes that the views give for a folder of this shape."""
    con = views.connect(synthetic.write(tmp_path / "made", models=("tiny",), repetitions=3))
    planned = inputs.settings(con)["planned"]
    families = registration.document(loaded)["families"]
    assert {name: families[name]["m"] for name in ("F_doc", "F_primary5")} == {
        name: planned[name] for name in ("F_doc", "F_primary5")
    }


def test_the_campaign_takes_it_in_before_its_first_run_and_verify_holds_it_to_that(tmp_path, loaded):
    root = tmp_path / "small"
    digest = register(loaded, root)
    said: list[str] = []
    ledger = begun(loaded, root)
    ledger.register(said.append)
    ledger.register(said.append)  # a later session
    assert said == [f"registered: sha256 {digest}"]
    events, _, _ = journal.read(ledger.store.journal_path)
    (event,) = [event for event in events if event["event"] == "registered"]
    assert event["sha256"] == digest == event["files"]["registration.json"]
    assert not list(illegal(events, [], {}))
    assert not list(files.registration_problems(ledger.store, events))
    assert "registration.json" in set(ledger.store.finished_files())
    stated = registration.state(root)
    assert (stated.sha256, stated.deviations, stated.problem) == (digest, [], None)
    (root / "registration.json").write_bytes((root / "registration.json").read_bytes().replace(b"small", b"other"))
    assert "another hash" in registration.state(root).problem
    (problem,) = files.registration_problems(ledger.store, events)
    assert "not the one of line 3" in str(problem)


def test_a_driver_killed_between_file_and_journal_is_made_good(tmp_path, loaded):
    root = tmp_path / "small"
    digest = register(loaded, root)
    said: list[str] = []
    ledger = begun(loaded, root)
    (root / "registration.json").write_bytes(registration.place_beside(root).read_bytes())
    ledger.register(said.append)
    assert registration.state(root).problem is None
    assert f"{digest}  registration.json\n" in ledger.store.manifest.read_text()


def test_a_registration_after_the_first_run_counts_for_nothing(tmp_path, loaded):
    root = tmp_path / "small"
    said: list[str] = []
    ledger = begun(loaded, root)
    ledger.record("dispatched", run_id="r", attempt=1, unit="u", block="b")
    register(loaded, root)
    ledger.register(said.append)
    assert "shows nothing" in said[0] and not (root / "registration.json").exists()
    # Put there by hand, with a line of the journal in due form.
    data = registration.place_beside(root).read_bytes()
    ledger.store.write("registration.json", data)
    assert "does not know it" in registration.state(root).problem
    (problem,) = files.registration_problems(ledger.store, ledger.events)
    assert "the journal does not know it" in str(problem)
    ledger.record("registered", sha256=registration.sha256(data))
    assert "after the first measured run" in registration.state(root).problem
    events, _, _ = journal.read(ledger.store.journal_path)
    assert any("after the first measured run" in what for _, what in illegal(events, [], {}))


def test_every_deviation_is_stated(tmp_path, loaded):
    root = tmp_path / "small"
    register(loaded, root, units=2)
    other = config.load(write_config(tmp_path, seed=8))
    said: list[str] = []
    ledger = begun(other, root, code="e" * 64)
    ledger.register(said.append)
    ledger.record("override", what="unit u", difference=["image: another"], session=2)
    ledger.record("requeued", block="b", **{"from": "u", "to": "v"})
    ledger.record("reopened", run_id="m__b__w__r01", reason="a person asked for it (campaign retry)")
    ledger.record("exhausted", run_id="m__a__w__r01", reason="3 attempts")
    ledger.record("left_out", cells={"m__a__w": "no memory"})
    found = "\n".join(registration.state(root).deviations)
    for part in (
        "config: seed was 7, is 8", "units: registered for 2, carried out on 1", "begun with eeeeeeeeeeee",
        "accepted during the campaign: image: another", "block b moved from u to v",
        "given up: m__a__w__r01", "more attempts than registered: m__b__w__r01",
        "left out: m__a__w (no memory)",
    ):  # fmt: skip
        assert part in found
    assert "deviation from the registration: config: seed was 7, is 8" in said


def test_another_rule_than_the_registered_one_is_a_deviation(tmp_path, loaded, monkeypatch):
    root = tmp_path / "small"
    register(loaded, root)
    said: list[str] = []
    ledger = begun(loaded, root)
    ledger.register(said.append)
    monkeypatch.setattr("campaign.analysis.statistics.deciding.UNSEEN_EQUIVALENCE", 4.0)
    assert registration.state(root).deviations == ["deciding rule: unseen_runs_equivalence was 14.0, is 4.0"]


def test_page_and_paper_state_the_hash_and_the_archive_holds_the_file(tmp_path, loaded):
    folder = synthetic.write(tmp_path / "made", models=("tiny",), repetitions=3, rejections=False)
    registered = registration.document(loaded)
    data = registration.canonical(registered)
    (folder / "registration.json").write_bytes(data)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    events.insert(2, {"event": "registered", "t_utc_ns": events[1]["t_utc_ns"], "sha256": registration.sha256(data)})
    previous, text = journal.read(folder / "none")[2], b""
    for number, event in enumerate(events):
        line = json.dumps(event | {"seq": number, "prev": previous}, separators=(",", ":")).encode() + b"\n"
        previous, text = journal.digest(line), text + line
    (folder / "journal.jsonl").write_bytes(text)
    stated = registration.state(folder)
    assert stated.problem is None and any(line.startswith("config: ") for line in stated.deviations)
    shown = page.write(folder).read_text()
    assert registration.sha256(data) in shown and "deviations from the registration" in shown
    assert registration.sha256(data) in methods.methods(evidence.connect(folder), stated)
    made = export.export(folder, tmp_path / "archive")
    assert (made / "raw" / "registration.json").read_bytes() == data


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":"campaign-registration/1"}', "[" * 100_000])
def test_what_is_no_registration_is_refused_in_words(tmp_path, text):
    path = tmp_path / "small.registration.json"
    path.write_text(text)
    with pytest.raises(registration.NotRegistered, match="campaign register"):
        registration.read(path)
