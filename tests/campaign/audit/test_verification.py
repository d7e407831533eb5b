"""`campaign verify` against whoever changes a results folder afterwards,
from a flipped byte to somebody who knows the format.

Each mutation is made to a copy of a real finished campaign. What is not noticed is named, with the reason:
docs/threat-model.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from small_campaign import Finished

from campaign.audit.verification import verify
from campaign.record.journal import Journal, digest, read
from campaign.record.store import Store
from campaign.report import page

# --- the mutations ----------------------------------------------------------------------------------------------


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def flip(pattern: str) -> Callable[[Path], None]:
    """Change one byte in the middle."""

    def change(folder: Path) -> None:
        path = one(folder, pattern)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return change


def cut(pattern: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = one(folder, pattern)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def delete(pattern: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = one(folder, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def add(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name.format(run=one(folder, "attempts/*").name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from somewhere else\n")

    return change


def rewritten(folder: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    """The journal with other events, its chain made anew: what somebody does who knows the format."""
    events = read(folder / "journal.jsonl")[0]
    edit(events)
    lines, previous = [], "0" * 64
    for number, event in enumerate(events):
        line = json.dumps(event | {"seq": number, "prev": previous}, separators=(",", ":")).encode() + b"\n"
        lines.append(line)
        previous = digest(line)
    (folder / "journal.jsonl").write_bytes(b"".join(lines))


def appended(event: str, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        known = {"run": one(folder, "attempts/*").name}
        journal = Journal(folder / "journal.jsonl")
        journal.append(
            event,
            **{key: known.get(value, value) if isinstance(value, str) else value for key, value in fields.items()},
        )
        journal.close()

    return change


def after_opening(event: str, **fields: Any) -> Callable[[Path], None]:
    """As by somebody who also knows that a driver opens first."""

    def change(folder: Path) -> None:
        units = json.loads((folder / "campaign.json").read_text())["lanes"]
        appended("opened", pid=1, host="h", units=units)(folder)
        appended(event, **fields)(folder)

    return change


def relist(folder: Path, name: str) -> None:
    """Append the digest of a changed file to the manifest."""
    with (folder / "MANIFEST.sha256").open("a") as file:
        file.write(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n")


def unlist(folder: Path, name: str) -> None:
    lines = (folder / "MANIFEST.sha256").read_text().splitlines(keepends=True)
    (folder / "MANIFEST.sha256").write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))


def replace_listed(folder: Path, name: str) -> None:
    """Put the digest of a changed file in the place of the old one."""
    unlist(folder, name)
    relist(folder, name)


def edit_json(pattern: str, edit: Callable[[Any], object], then: Callable[[Path, str], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = one(folder, pattern)
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))
        then(folder, str(path.relative_to(folder)))

    return change


def edit_table(pattern: str, then: Callable[[Path, str], None]) -> Callable[[Path], None]:
    """Rows in the opposite order."""

    def change(folder: Path) -> None:
        path = one(folder, pattern)
        table = parquet.read_table(path)
        parquet.write_table(table.take(list(range(len(table)))[::-1]), path)
        then(folder, str(path.relative_to(folder)))

    return change


def forged_comparisons(folder: Path) -> None:
    path = folder / "analysis" / "comparisons.parquet"
    parquet.write_table(parquet.read_table(path).slice(1), path)


def forged_attempt(edit: Callable[[dict[str, Any]], object], verdict: bool | None = None) -> Callable[[Path], None]:
    """A changed metadata.json with journal, chain and manifest to match: an informed forger."""

    def change(folder: Path) -> None:
        path = one(folder, "attempts/*/1/metadata.json")
        facts = json.loads(path.read_text())
        edit(facts)
        if verdict is not None:
            facts["accepted"] = verdict
        path.write_text(json.dumps(facts))
        replace_listed(folder, str(path.relative_to(folder)))
        run_id = path.parent.parent.name

        def follow(events: list[dict[str, Any]]) -> None:
            for event in events:
                if event["event"] == "finished" and event["run_id"] == run_id:
                    event["evidence"] = hashlib.sha256(path.read_bytes()).hexdigest()
                    event["accepted"] = facts["accepted"]
                    event["rejected_by"] = [it["check"] for it in facts["verdict"] if it["passed"] is False]

        rewritten(folder, follow)

    return change


def faster(facts: dict[str, Any]) -> None:
    for metric in facts["metrics"]:
        if metric["name"] == "token_throughput_tok_s":
            metric["value"] *= 1.2


def failing(facts: dict[str, Any]) -> None:
    """A run that failed to answer, passed off as one that did."""
    facts["report"]["requests_answered"] -= 1


def linked(folder: Path) -> None:
    path = one(folder, "attempts/*/1/stdout.log")
    copy = folder.parent / "outside.log"
    shutil.move(path, copy)
    path.symlink_to(copy)


def other_runs_attempt(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("attempts/*/1"))
    shutil.rmtree(first)
    shutil.copytree(second, first)


def tail_cut(count: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "journal.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-count]))

    return change


def last_edited(folder: Path) -> None:
    rewritten(folder, lambda events: events[-1].update(accepted=99))


def duplicated(folder: Path) -> None:
    lines = (folder / "MANIFEST.sha256").read_text().splitlines(keepends=True)
    (folder / "MANIFEST.sha256").write_text("".join([*lines, lines[0]]))


def telemetry_replaced(folder: Path) -> None:
    edit_table("telemetry/*/*.parquet", unlist)(folder)
    Store(folder).repair()  # what `campaign run` does at its next start


def imported(folder: Path) -> None:
    (folder / "imported.parquet").write_bytes((folder / "plan.parquet").read_bytes())


def margin(info: dict[str, Any]) -> None:
    info["config"]["acceptance"]["error_rate_max"] = 0.3


def rehashed(info: dict[str, Any]) -> None:
    from campaign.audit.again import hash_of

    margin(info)
    info["config_hash"] = hash_of(info["config"])


EVERYTHING = (
    *((f"one byte of {name}", flip(name)) for name in (
        "campaign.json", "plan.parquet", "journal.jsonl", "MANIFEST.sha256", "status.json", "report/index.html",
        "units/*.json",
        "telemetry/*/*.parquet", "attempts/*/1/metadata.json", "attempts/*/1/output/report.json",
        "attempts/*/1/requests.parquet", "attempts/*/1/command.json", "analysis/comparisons.parquet",
    )),
    *((f"half of {name}", cut(name)) for name in (
        "campaign.json", "plan.parquet", "journal.jsonl", "MANIFEST.sha256", "status.json", "telemetry/*/*.parquet",
        "attempts/*/1/metadata.json", "attempts/*/1/requests.parquet", "report/index.html",
    )),
    *((f"without {name}", delete(name)) for name in (
        "campaign.json", "plan.parquet", "journal.jsonl", "MANIFEST.sha256", "status.json", "units/*.json",
        "telemetry/*/*.parquet",
        "attempts/*/1/metadata.json", "attempts/*/1/stdout.log", "attempts/*/1", "attempts/*", "attempts", "telemetry",
    )),
    *((f"with {name}", add(name)) for name in (
        "notes.txt", "attempts/{run}/evil.txt", "attempts/{run}/1/evil.txt", "attempts/{run}/2/metadata.json",
        "attempts/other/1/stdout.log",
        "units/other.json", "telemetry/unit=x/1.parquet", "attempts/{run}/1 (copy)/stdout.log", ".hidden",
        "sub/folder/file",
    )),
    ("journal: the last line removed", tail_cut(1)),
    ("journal: the last three lines removed", tail_cut(3)),
    ("journal: the last line edited", last_edited),
    ("journal: an override appended", appended("override", what="code", difference=["x"])),
    ("journal: an override appended by one who knows", after_opening("override", what="code", difference=["x"])),
    ("journal: a run opened again", appended("reopened", run_id="run", reason="because")),
    ("journal: a run opened again by one who knows", after_opening("reopened", run_id="run", reason="because")),
    ("journal: a run given up", appended("exhausted", run_id="run", attempts=1, reason="because")),
    ("journal: a run given up by one who knows",
     after_opening("exhausted", run_id="run", attempts=9, reason="because")),
    ("journal: completed once more", appended("completed", accepted=4, exhausted=0)),
    ("journal: an unknown event", after_opening("blessed", run_id="run")),
    ("journal: a second accepted attempt", after_opening(
        "finished", run_id="run", attempt=2, unit="u", outcome="completed", accepted=True, rejected_by=[],
        evidence="0" * 64)),
    ("journal: two lines exchanged", lambda folder: rewritten(folder, lambda events: events.insert(3, events.pop(4)))),
    ("journal: begun twice", appended("created", campaign_id="x", config_hash="y", plan_hash="z")),
    ("a telemetry file and its line removed", lambda folder: (
        unlist(folder, str(one(folder, "telemetry/*/*.parquet").relative_to(folder))),
            delete("telemetry/*/*.parquet")(folder))),
    ("telemetry edited, its new digest appended", edit_table("telemetry/*/*.parquet", relist)),
    ("telemetry edited, its digest exchanged", edit_table("telemetry/*/*.parquet", replace_listed)),
    ("telemetry edited, its line removed, and the manifest completed", telemetry_replaced),
    ("another GPU, appended", edit_json("units/*.json", lambda facts: facts.update(gpu="H100"), relist)),
    ("another GPU, exchanged", edit_json("units/*.json", lambda facts: facts.update(gpu="H100"), replace_listed)),
    ("another rule of acceptance, appended", edit_json("campaign.json", margin, relist)),
    ("another rule of acceptance, exchanged", edit_json("campaign.json", margin, replace_listed)),
    ("another rule of acceptance with its hash", edit_json("campaign.json", rehashed, replace_listed)),
    ("another code digest", edit_json("campaign.json", lambda it: it["code"].update(digest="0" * 64), replace_listed)),
    ("plan: order reversed, appended", edit_table("plan.parquet", relist)),
    ("plan: order reversed, exchanged", edit_table("plan.parquet", replace_listed)),
    ("manifest: a line duplicated", duplicated),
    ("manifest: a name that leads out",
     lambda folder: (folder / "MANIFEST.sha256").open("a").write(f"{'0' * 64}  ../../x\n")),
    ("a log replaced by a link to the same", linked),
    ("a FIFO in an attempt", lambda folder: os.mkfifo(one(folder, "attempts/*/1") / "pipe")),
    ("another run's attempt in the place of one", other_runs_attempt),
    ("imported.parquet at the top", imported),
    ("analysis: a comparison removed", forged_comparisons),
    ("informed: a failed run passed off as accepted", forged_attempt(failing)),
    ("informed: a figure that changes a verdict",
     forged_attempt(lambda facts: facts["telemetry"].update(coverage_pct=50.0))),
    ("informed: an accepted run rejected",
     forged_attempt(lambda facts: facts["verdict"][0].update(passed=False), verdict=False)),
    ("informed: a throughput 20 % higher", forged_attempt(faster)),
)  # fmt: skip

OUT_OF_REACH = {
    "everything made anew, heads and page included": (
        "no secret is in the folder; only a head that was kept elsewhere tells"
    ),
    "analysis deleted": "nothing is lost: it is computed from the evidence",
    "report deleted": "nothing is lost: it is written from the evidence",
}


@pytest.fixture(scope="module")
def reported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished campaign with its report, made in the home of the session."""
    folder = tmp_path_factory.mktemp("reported") / "small"
    shutil.copytree(finished.folder, folder, symlinks=True)
    before = os.environ.get("CAMPAIGN_HOME")
    os.environ["CAMPAIGN_HOME"] = str(finished.home)
    page.write(folder)
    os.environ.pop("CAMPAIGN_HOME")
    if before is not None:
        os.environ["CAMPAIGN_HOME"] = before
    return folder


@pytest.fixture
def folder(reported: Path, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMPAIGN_HOME", str(finished.home))
    return shutil.copytree(reported, tmp_path / "small")


def test_a_finished_campaign_is_clean(folder):
    assert verify(Store(folder)) == []


@pytest.mark.parametrize(("name", "mutate"), EVERYTHING, ids=[name for name, _ in EVERYTHING])
def test_it_is_noticed(name, mutate, folder):
    mutate(folder)
    assert verify(Store(folder)) != []


def test_a_model_in_the_config_that_is_no_longer_its_own_is_damage_and_no_traceback(folder):
    path = folder / "campaign.json"
    info = json.loads(path.read_bytes())
    info["config"]["repetitions"] = {f"{name}x": count for name, count in info["config"]["repetitions"].items()}
    path.write_text(json.dumps(info))
    assert any("its config cannot be read" in str(problem) for problem in verify(Store(folder)))


def made_anew(folder: Path) -> None:
    """Somebody who changes a figure and then everything that speaks of it."""
    forged_attempt(faster)(folder)
    store = Store(folder)
    from campaign.record.snapshot import Snapshot, digest_of

    status = Snapshot.model_validate_json((folder / "status.json").read_bytes())
    status.journal, status.manifest = store.head("journal"), store.head("manifest")
    status.digest = digest_of(status)
    (folder / "status.json").write_text(status.model_dump_json())
    page.write(folder)


@pytest.mark.parametrize(
    ("name", "mutate"),
    list(zip(OUT_OF_REACH, (made_anew, delete("analysis"), delete("report")), strict=True)),
    ids=list(OUT_OF_REACH),
)
def test_it_is_out_of_reach_and_the_documentation_says_so(name, mutate, folder):
    mutate(folder)
    assert verify(Store(folder)) == []
    text = (Path(__file__).parents[3] / "docs" / "threat-model.md").read_text()
    assert name in text and OUT_OF_REACH[name] in text


def test_a_head_that_was_kept_elsewhere_tells(folder):
    kept = Store(folder).head("journal")
    assert verify(Store(folder), kept) == []
    made_anew(folder)
    assert ["the head that was kept knows it with" in str(it) for it in verify(Store(folder), kept)] == [True]


def test_the_verdict_is_what_the_evidence_gives(folder):
    forged_attempt(failing)(folder)
    said = "\n".join(map(str, verify(Store(folder))))
    assert (
        "the evidence gives requests_answered: failed (5 of 6), written is requests_answered: passed (6 of 6)" in said
    )


def test_nothing_outside_the_folder_is_opened(folder, tmp_path):
    (folder / "MANIFEST.sha256").open("a").write(f"{'0' * 64}  ../../../../dev/zero\n")
    problems = verify(Store(folder))
    assert any("is none that a campaign writes" in str(it) for it in problems)
