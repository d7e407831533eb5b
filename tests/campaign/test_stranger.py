"""Results of strangers are data: whatever stands in the folder, nothing outside it is read or written, nothing hangs,
no string is taken for a command, and what is derived is not believed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.cli import app
from campaign.exchange.export import export
from campaign.exchange.imports import import_runs
from campaign.record import untrusted
from campaign.record.durable import StoreError
from campaign.record.journal import JournalError, read
from campaign.record.store import Store
from campaign.report import page, terminal
from tests import synthetic

PROJECT = Path(__file__).parents[2]
SECRET = "a private key"
NAMES = {
    "control characters": "a\x07\x00\x08b".replace("\x00", "\x01"),
    "escape sequence": "\x1b]0;owned\x07\x1b[2Jred",
    "newline": "two\nlines",
    "markup": "[/bold] [red]x[/red]",
    "script": "<!--<script>alert(1)</script>",
    "formula": '=HYPERLINK("http://x","y")',
    "way out": "../../../etc",
    "endless": "n" * 10_000,
    "reversed": "abc\u202etxt.exe",
    "quotes": "';DROP TABLE runs;--\"`$(id)`",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("stranger") / "original", repetitions=3)


@pytest.fixture
def results(original, tmp_path, home) -> Path:
    return shutil.copytree(original, tmp_path / "results" / "demo")


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Path:
    """Imported runs of ten models with the names of :data:`NAMES`, as whoever made the folder can write them."""
    place = tmp_path_factory.mktemp("named")
    rows = [
        {"model": f"m{number}", "environment": arm, "repetition": repetition,
        "throughput_tok_s": 100 + number + repetition / 7}
        for number in range(len(NAMES))
        for arm in ("native", "docker")
        for repetition in (1, 2, 3)
    ]  # fmt: skip
    (place / "runs.json").write_text(json.dumps(rows))
    folder = import_runs(place / "runs.json", place / "results", columns={"throughput_tok_s": "token_throughput_tok_s"})
    table = parquet.read_table(folder / "imported.parquet")
    new = dict(zip([f"m{number}" for number in range(len(NAMES))], NAMES.values(), strict=True))
    for column in ("model", "run_id"):
        values = [re.sub(r"^m\d", lambda found: new[found[0]], value) for value in table[column].to_pylist()]
        table = table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.array(values))
    parquet.write_table(table, folder / "imported.parquet")
    return folder


def command(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "campaign", *map(str, words)],
        cwd=PROJECT, env=os.environ | {"CAMPAIGN_HOME": str(home)}, capture_output=True, text=True, timeout=120,
            check=False,
    )  # fmt: skip


def said(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.output


# --- strings ---------------------------------------------------------------------------------------------------


def test_no_name_breaks_a_command_or_reaches_the_terminal_as_a_command(named, home):
    for words in (
        ("report", named, "--print"),
        ("power", named),
        ("sql", named, "from runs"),
        ("export", named, home / "out.zip"),
    ):
        done = command(*words, home=home)
        assert done.returncode == 0, (words, done.stderr[-2000:])
        assert "Traceback" not in done.stderr
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.stdout + done.stderr), words
    models = {row[0] for row in views.connect(named).execute("SELECT DISTINCT model FROM runs").fetchall()}
    assert len(models) == len(NAMES), "two names stay two"
    assert max(map(len, models)) <= 255


def test_no_name_ends_a_script_of_the_page(named, home):
    html = page.write(named).read_text()
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (line,) = [line for script in scripts for line in script.splitlines() if line.startswith("const specifications = ")]
    assert not set("<>&") & set(line), "nothing in the data that an HTML parser could take for markup"
    specifications, end = json.JSONDecoder().raw_decode(line.removeprefix("const specifications = "))
    assert specifications and line.removeprefix("const specifications = ")[end:].startswith(", themes")
    assert "<!--<script>alert" not in html


def test_no_cell_of_an_exported_table_is_a_formula(named, results, home, tmp_path):
    trail = export(named, tmp_path / "trail")
    for path in trail.rglob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                assert not [text for text in row if text.startswith(("=", "@", "\t")) or re.match(r"[+-]\D", text)], (
                    path
                )
    table = said("sql", named, "select '=1+1' as a, 'plain' as b, -1.5 as c", "-f", "csv")
    assert table.splitlines()[1] == "'=1+1,plain,-1.5"


def test_imported_names_stay_inside_the_export(named, tmp_path, home):
    export(named, tmp_path / "deep" / "down" / "trail")
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "home"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"down"}
    assert {path.name for path in (tmp_path / "deep" / "down").iterdir()} == {"trail"}


# --- places ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sibling"), [("de*o", "demo"), ("dem?", "demo"), ("demo[1]", "demo1"), ("[a-z]emo", "demo")]
)
def test_a_folder_with_the_signs_of_a_pattern_in_its_name_is_that_folder_alone(original, tmp_path, home, name, sibling):
    folder = synthetic.write(tmp_path / name, models=("tiny",), repetitions=2, rejections=False)
    shutil.copytree(original, tmp_path / sibling)
    con = views.connect(folder)
    assert con.execute("SELECT count(*), count(*) FILTER (accepted), count(DISTINCT model) FROM runs").fetchall() == [
        (4, 4, 1)
    ]
    assert con.execute("SELECT count(*) FROM attempts").fetchall() == [(4,)]
    assert con.execute("SELECT count(DISTINCT run_id) FROM telemetry").fetchall() == [(4,)]
    assert con.execute("SELECT count(DISTINCT run_id) FROM requests").fetchall() == [(4,)]
    assert page.write(folder).exists()


def test_a_run_that_names_another_place_is_left_out(results, tmp_path):
    path = sorted(results.glob("attempts/*/1/metadata.json"))[0]
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"run_id": "../../../PWNED"}))
    trail = export(results, tmp_path / "out" / "trail")
    assert not list(tmp_path.rglob("PWNED*"))
    assert len(list(trail.glob("runs/*/1"))) == 11
    broken = views.connect(results).execute("SELECT file, reason FROM broken_files").fetchall()
    assert broken == [(str(path.relative_to(results)), "it speaks of another run or attempt than its folder")]


def test_links_are_followed_nowhere(results, tmp_path):
    (tmp_path / "id_rsa").write_text(SECRET)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text(SECRET)
    attempt = sorted(results.glob("attempts/*/1"))[0]
    (attempt / "key").symlink_to(tmp_path / "id_rsa")
    (attempt / "folder").symlink_to(tmp_path / "private")
    (attempt / "stdout.log").symlink_to(tmp_path / "id_rsa")
    (results / "units" / "x.json").symlink_to(tmp_path / "id_rsa")
    (results / "attempts" / "other").symlink_to(tmp_path / "private")
    trail = export(results, tmp_path / "trail")
    for path in trail.rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    listed = (trail / "left-out.txt").read_text()
    assert "/key: not a regular file but a link" in listed
    assert "units/x.json: not a regular file but a link" in listed


@pytest.mark.parametrize("planted", ["report", "report/figures", "analysis"])
def test_a_link_in_the_place_of_a_folder_of_ours_is_refused(results, tmp_path, planted):
    (tmp_path / "elsewhere").mkdir()
    (results / planted).parent.mkdir(exist_ok=True)
    (results / planted).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(views.ResultsError, match="a link or a file where a folder of ours should be"):
        page.write(results)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_is_written_through_a_link_in_a_folder_of_ours(results, tmp_path):
    precious = tmp_path / ".bashrc"
    precious.write_text("mine")
    for name in (
        "report/figures/throughput.svg",
        "report/.index.html.partial",
        "report/index.html",
        "analysis/state.json",
        "analysis/.comparisons.parquet.partial",
        "analysis/comparisons.parquet",
        "report/tables/methods.tex",
    ):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).symlink_to(precious)
    page.write(results)
    said("report", results, "--print")
    assert precious.read_text() == "mine"


SPECIAL = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("/etc/hostname"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize(
    "name", ["campaign.json", "journal.jsonl", "plan.parquet", "units/unit-a.json", "metadata.json", "requests.parquet"]
)
def test_what_is_no_regular_file_is_named_and_never_opened(results, kind, name):
    path = (
        sorted(results.glob(f"attempts/*/1/{name}"))[0]
        if name in {"metadata.json", "requests.parquet"}
        else results / name
    )
    path.unlink()
    SPECIAL[kind](path)
    con = views.connect(results)
    broken = dict(con.execute("SELECT file, reason FROM broken_files").fetchall())
    assert "not a regular file" in broken[str(path.relative_to(results))]
    said("verify", results)
    said("status", results)
    if name != "campaign.json":
        assert page.write(results).exists()
    if name == "journal.jsonl":
        with pytest.raises(JournalError, match="not a regular file"):
            read(path)
    if name == "campaign.json":
        with pytest.raises(StoreError, match="not a regular file"):
            Store(results).info()


def test_text_that_is_not_utf8_or_bottomless_is_left_out_with_words(results):
    first, second, *_ = sorted(results.glob("attempts/*/1/metadata.json"))
    first.write_bytes(b'{"run_id": "\xff\xfe"}')
    second.write_bytes(b"[" * 1_000_000)
    broken = dict(views.connect(results).execute("SELECT file, reason FROM broken_files").fetchall())
    assert set(broken) == {str(path.relative_to(results)) for path in (first, second)}


# --- the database ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["FROM read_text('{outside}')", "FROM read_csv('/etc/passwd')", "FROM glob('/etc/*')",
     "COPY (SELECT 1) TO '{outside}'",
     "ATTACH '{outside}.db'", "INSTALL httpfs", "LOAD httpfs", "FROM 'https://example.org/x.parquet'",
     "SET enable_external_access = true", "SET allowed_directories = ['/']"],
)  # fmt: skip
def test_the_database_reaches_nothing_but_the_folder(results, tmp_path, query):
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    con = views.connect(results)
    with pytest.raises(duckdb.Error, match=r"disabled|locked"):
        con.execute(query.format(outside=outside)).fetchall()
    assert outside.read_text() == "a\n1\n"


# --- what is derived ------------------------------------------------------------------------------------------


def throughput_change(results: Path) -> float:
    rows = evidence.rows(evidence.connect(results))
    return next(row["pct"] for row in rows if row["metric"] == "token_throughput_tok_s")


def forge(results: Path) -> None:
    path = results / "analysis" / "comparisons.parquet"
    table = parquet.read_table(path)
    at = table.schema.get_field_index("pct")
    parquet.write_table(table.set_column(at, table.schema.field("pct"), pa.array([-41.5] * len(table))), path)


def test_a_forged_table_of_the_analysis_is_noticed_and_computed_again(results, capsys):
    true = throughput_change(results)
    kept = (results / "analysis" / "comparisons.parquet").stat().st_mtime_ns
    assert throughput_change(results) == true
    assert (results / "analysis" / "comparisons.parquet").stat().st_mtime_ns == kept, (
        "what is sealed is not computed again"
    )
    forge(results)
    broken = dict(views.connect(results).execute("SELECT file, reason FROM broken_files").fetchall())
    assert "analysis/comparisons.parquet" in broken
    assert views.connect(results).execute("FROM comparisons").fetchall() == [], "nor does SQL show it"
    assert throughput_change(results) == true
    assert "computing it again" in capsys.readouterr().err


def test_the_analysis_of_a_stranger_is_computed_again_whatever_its_seal_says(results, tmp_path, monkeypatch):
    true = throughput_change(results)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("CAMPAIGN_HOME", str(tmp_path / "another"))
        throughput_change(results)
        forge(results)
        from campaign.analysis import seal

        seal.seal(results, seal.state(results))
    assert throughput_change(results) == true


def test_changed_evidence_is_analysed_again(results):
    before = throughput_change(results)
    for path in results.glob("attempts/*docker*/*/metadata.json"):
        facts = json.loads(path.read_text())
        for metric in facts["metrics"]:
            if metric["name"] == "token_throughput_tok_s":
                metric["value"] *= 0.5
        path.write_text(json.dumps(facts))
    assert throughput_change(results) < before - 10


def test_imported_rows_count_for_nothing_in_a_campaign_that_ran_here(results, named):
    before = views.connect(results).execute("SELECT count(*) FROM runs").fetchall()
    shutil.copy(named / "imported.parquet", results / "imported.parquet")
    con = views.connect(results)
    assert con.execute("SELECT count(*) FROM runs").fetchall() == before
    assert con.execute("SELECT reason FROM broken_files").fetchall() == [
        ("imported runs in a campaign that ran here: not taken in",)
    ]


# --- single rules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", "\x1b[1m", "n" * 256, os.fsdecode(b"\xff")])
def test_such_a_name_is_not_taken(name):
    assert untrusted.bad_name(name) is not None
    assert untrusted.bad_name(untrusted.file_name(name)) is None


def test_a_file_that_is_too_large_is_left_alone(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(untrusted.Unreadable, match="11 bytes, more than the 10"):
        untrusted.read_bytes(tmp_path / "large", limit=10)


def test_the_summary_takes_no_name_for_markup(named, home, capsys):
    terminal.show(named)
    assert "[red]x[/red]" in capsys.readouterr().out


def test_folders_of_any_depth_are_walked(tmp_path, request):
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", tmp_path / "d"], check=True))  # pytest could not
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    assert [(name.count("/"), why) for name, why in untrusted.walk(tmp_path)] == [(1500, None)]
