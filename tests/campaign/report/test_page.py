"""The report of a campaign in every state it can be in."""

import contextlib
import html as entities
import math
import re
import shutil
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.exchange.imports import import_runs
from campaign.report import figures, page, table_formats, tables, terminal
from campaign.report.drawn import effects, runs
from campaign.report.drawn.look import PAGE
from campaign.report.page import frame, links
from campaign.report.page.sections import quality, statistics
from campaign.report.page.table import Table, filled
from tests import synthetic


@pytest.fixture(scope="module", autouse=True)
def home(page_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMPAIGN_HOME", str(page_home))
        yield


@pytest.fixture(scope="module")
def results(page_path) -> Path:
    return page_path.parent.parent


@pytest.fixture(scope="module")
def html(page_path) -> str:
    assert page_path.parts[-2:] == ("report", "index.html")
    return page_path.read_text(encoding="utf-8")


class Links(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "srcset", "data") and value]
        self.fetched += [value for name, value in attrs if tag == "link" and name == "href" and value]


def visible(html: str) -> str:
    """The text outside scripts, styles and drawings."""
    html = re.sub(r"<(script|style|svg|pre)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_page_fetches_nothing(html):
    links = Links()
    links.feed(html)
    assert links.fetched == []
    assert not re.search(r"@import|url\((?!#)", html.split("<script>")[0])


def test_the_verdict_comes_first_with_both_means_and_the_interval(html):
    text = visible(html.split("<main", 1)[1])
    assert "docker-baseline lowers throughput on all 2 models" in text
    assert (
        text.index("lowers throughput") < text.index("Evidence, model by model") < text.index("Quality of the campaign")
    )
    assert "cannot be told" not in text.split("Evidence")[0]
    assert "docker-baseline is" in text


def test_the_checklist_is_filled_in_and_every_rule_has_its_evidence(html):
    rules = re.findall(
        r'<td class="key">(HB\d+|[A-Z]{4,7})</td><td>[^<]+</td><td class="\w+">(pass|fail|n/a)</td><td>(.+?)</td>',
        html,
    )
    assert [name for name, *_ in rules[:12]] == [f"HB{i}" for i in range(1, 13)]
    assert {"PREREG", "CONCUR", "IDENT", "EXCL", "MULT", "EQUIV", "UNITS", "SEEDS"} == {name for name, *_ in rules[12:]}
    assert all(evidence.strip() for *_, evidence in rules)
    assert {name: status for name, status, _ in rules}["CONCUR"] == "pass"


def test_rejected_attempts_are_listed_with_their_reason(html):
    assert "small__docker-baseline__short__r02" in visible(html)
    assert "throttling: mask 0x20" in visible(html)


def tables_with_queries(html: str) -> dict[str, tuple[list[list[str]], str]]:
    """Name of each table to its rows of cells and the query under it."""
    found = {}
    for name, body, query in re.findall(
        r'<table[^>]* data-name="([^"]*)"[^>]*>(.*?)</table>(?:(?!<table).)*?<pre>(.*?)</pre>',
        html.split("</main>", maxsplit=1)[0],
        re.DOTALL,
    ):
        rows = [
            [
                entities.unescape(re.sub(r"<[^>]+>", "", cell))
                for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)
            ]
            for row in re.findall(r"<tr.*?>(.*?)</tr>", body.split("<tbody>")[1], re.DOTALL)
        ]
        found[entities.unescape(name)] = rows, entities.unescape(query)
    return found


def test_the_query_behind_a_table_gives_its_rows_when_it_is_pasted(html, results):
    con = views.connect(results)
    found = tables_with_queries(html)
    declared = {table.title for table in (*statistics.TABLES, *quality.TABLES)}
    assert {"Throughput of every arm", "What is wrong with these data", "tiny · short · baseline"} < set(found)
    assert len(declared & set(found)) > 12
    for name, (rows, query) in found.items():
        assert not re.search(r"CREATE|\.\.\.", query)
        given = con.execute(query).fetchall()
        assert len(given) == len(rows), name
        for shown, row in zip(rows, given, strict=True):
            first = row[0] if name not in ("What is wrong with these data",) else row[0].replace("_", " ")
            assert shown[0].startswith("–" if first is None else str(first)), name


def test_every_query_of_the_page_runs(html, results):
    queries = [entities.unescape(text) for text in re.findall(r'class="query">.*?<pre>(.*?)</pre>', html, re.DOTALL)]
    assert len(queries) >= len(statistics.TABLES) + len(quality.TABLES) + len(figures.FIGURES) + 4
    con = views.connect(results)
    for query in queries:
        con.execute(query).fetchall()


def test_every_reference_on_the_page_leads_somewhere(html):
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    led = set(re.findall(r'href="#([^"]+)"', html))
    assert led <= set(ids)
    contents = html.split("<nav", 1)[1].split("</nav>")[0]
    sections = re.findall(r'<section id="([^"]+)"', html)
    assert [place for place in re.findall(r'href="#([^"]+)"', contents) if place in sections] == sections
    unlinked = visible(re.sub(r"<a\b.*?</a>", "", html, flags=re.DOTALL))
    assert not re.search(
        r"(?i)under quality|see method|, below|as above|(see|under) (the )?\w+ (table|section)", unlinked
    )


def test_every_run_leads_to_its_raw_files_wherever_the_results_folder_lies(html, results, tmp_path):
    links = set(re.findall(r'href="(\.\./[^"]+)"', html))
    moved = shutil.copytree(results, tmp_path / "moved")
    assert all((moved / "report" / link).exists() for link in links)
    runs = {path.name for path in (results / "attempts").iterdir()}
    assert {Path(link).parts[2] for link in links if link.startswith("../attempts/")} == runs
    for name, (rows, query) in tables_with_queries(html).items():
        if re.search(r"run_id AS run\b", query):
            assert rows and all(f'">{row[0]}</a>' in html for row in rows), name


def test_simulated_data_are_marked_on_the_page_and_on_every_figure(html, results):
    assert "The data are simulated" in visible(html)
    for figure in figures.FIGURES:
        assert "SIMULATED" in (results / "report" / "figures" / f"{figure.name}.svg").read_text()


def measured(folder: Path) -> Path:
    """The same campaign as if it had been measured."""
    import json

    import pyarrow.parquet as pq

    facts = json.loads((folder / "campaign.json").read_text())
    (folder / "campaign.json").write_text(json.dumps(facts | {"simulated": False}))
    plan = pq.read_table(folder / "plan.parquet").to_pandas()
    plan["simulated"] = False
    pq.write_table(synthetic.pa.Table.from_pandas(plan, schema=synthetic.PLAN), folder / "plan.parquet")
    return folder


def test_measured_data_are_not_marked(tmp_path):
    html = page.write(measured(synthetic.write(tmp_path, repetitions=3))).read_text()
    assert "simulated" not in visible(html).lower()
    assert "SIMULATED" not in html.replace(frame.javascript(), "")


ARMS = ("native-chroot", "docker-baseline", "docker-shm-32g", "docker-ipc-private", "docker-cpuset-performance")
STATES: dict[str, dict[str, Any]] = {
    "not begun": {"done": 0},
    "one run": {"done": 1},
    "one arm": {"environments": ("native-chroot",), "repetitions": 3},
    "one repetition": {"repetitions": 1},
    "under way": {"repetitions": 4, "done": 13, "dispatched": True},
    "no GPU, no telemetry": {"repetitions": 3, "gpu": False, "telemetry_hz": 0},
    "five arms": {"models": ("tiny",), "environments": ARMS, "repetitions": 3, "gpu": False},
}


@pytest.mark.parametrize("state", STATES)
def test_any_state_of_a_campaign_has_a_page_and_a_table_that_claim_no_more_than_they_may(tmp_path, state):
    results = synthetic.write(tmp_path, **STATES[state])
    text = visible(page.write(results).read_text())
    shown = StringIO()
    terminal.show(results, Console(file=shown, width=80))
    for said in (text, " ".join(shown.getvalue().split())):
        assert not re.search(r"\b(nan|None|inf)\b", said), re.findall(r".{30}\b(?:nan|None|inf)\b.{30}", said)
        if state in ("not begun", "one arm"):
            assert "Nothing can be claimed yet" in said
        if state in ("one run", "one repetition"):
            assert re.search(r"nothing (is|can be) claimed|no accepted run of docker-baseline yet", said)
            assert "(95 % interval" not in said
    if state == "under way":
        assert "3 runs are outstanding" in text


def altered(folder, change):
    import json

    for i, path in enumerate(sorted(folder.glob("attempts/*/*/metadata.json"))):
        metadata = json.loads(path.read_text())
        change(metadata, i)
        path.write_text(json.dumps(metadata))
    return folder


def constant(metadata, _):
    for metric in metadata["metrics"]:
        metric["value"] = 5.0


def unmeasured(metadata, _):
    for metric in metadata["metrics"]:
        metric["value"] = None


def not_a_number(metadata, i):
    for metric in metadata["metrics"]:
        metric["value"] = float("nan") if i % 2 else metric["value"]


def drifting(metadata, _):
    """The container's runs drift to and fro beside the native ones, of which one measured nothing."""
    for metric in metadata["metrics"]:
        if metadata["environment"] == "native-chroot":
            metric["value"] = None if metadata["repetition"] == 13 else metric["value"]
        elif metric["value"]:
            metric["value"] *= 1 + 0.1 * math.sin(metadata["repetition"] * math.pi / 6)


def test_an_interval_that_is_wide_because_blocks_resemble_their_neighbours_says_so(tmp_path):
    results = altered(synthetic.write(tmp_path, models=("tiny",), repetitions=13, telemetry_hz=0), drifting)
    first, _, rest = visible(page.write(results).read_text().split("<main", 1)[1]).partition("Evidence, model by model")
    worth = re.search(r"\b12 blocks that resemble their neighbours, worth ([0-9.]+)", first)
    assert worth is not None and 1 < float(worth[1]) < 6
    assert f"worth {worth[1]}" in rest and "as stands below n" in rest


@pytest.mark.parametrize("change", [constant, unmeasured, not_a_number])
def test_bad_data_get_a_page_without_a_claim(tmp_path, change):
    results = altered(synthetic.write(tmp_path, models=("tiny",), repetitions=3, telemetry_hz=0), change)
    text = visible(page.write(results).read_text())
    assert not re.search(r"\b(nan|None|inf)\b", text), re.findall(r".{30}\b(?:nan|None|inf)\b.{30}", text)
    assert "lowers throughput" not in text
    assert "raises throughput" not in text


def test_a_campaign_whose_attempts_were_all_rejected_claims_nothing(tmp_path):
    results = synthetic.write(tmp_path, models=("tiny",), repetitions=3, telemetry_hz=0, rejections=False)
    journal = results / "journal.jsonl"
    rejected = journal.read_text().replace(
        '"accepted":true,"rejected_by":[]', '"accepted":false,"rejected_by":["telemetry_coverage"]'
    )
    assert rejected != journal.read_text()
    journal.write_text(rejected)
    text = visible(page.write(results).read_text())
    assert "0 of 6 runs" in text
    assert "telemetry_coverage" in text
    assert re.search(r"[Nn]othing (is|can be) claimed", text)
    assert "95 % interval −" not in text


def test_unreadable_files_are_named_on_the_page(tmp_path):
    results = synthetic.write(tmp_path, repetitions=3)
    broken = results / "attempts" / "tiny__native-chroot__short__r01" / "1" / "requests.parquet"
    broken.write_bytes(broken.read_bytes()[:200])
    (next(results.glob("telemetry/*/*.parquet"))).write_bytes(b"PAR1")
    text = visible(page.write(results).read_text())
    assert "2 files cannot be read" in text
    assert "attempts/tiny__native-chroot__short__r01/1/requests.parquet" in text


def test_names_cannot_smuggle_markup_into_the_page(tmp_path):
    import json

    results = synthetic.write(tmp_path, repetitions=1)
    facts = json.loads((results / "campaign.json").read_text())
    facts["campaign"] = facts["chosen_because"] = "</script><script>alert(1)</script>"
    (results / "campaign.json").write_text(json.dumps(facts))
    html = page.write(results).read_text()
    assert "<script>alert" not in html
    assert html.count("<script>") == 4


def test_a_figure_is_saved_in_the_format_of_its_name(results, tmp_path):
    chart = runs.throughput(views.connect(results), look=PAGE)
    beginnings = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}
    for ending, beginning in beginnings.items():
        assert figures.save(chart, tmp_path / f"x{ending}").read_bytes().startswith(beginning)
    with pytest.raises(ValueError, match=r"\.jpg"):
        figures.save(chart, tmp_path / "x.jpg")


def test_every_axis_of_a_quantity_names_its_unit(results):
    con = views.connect(results)
    titles = set()

    def collect(node):
        if isinstance(node, dict):
            if node.get("type") == "quantitative" and isinstance(node.get("title"), str):
                titles.add(node["title"])
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    for figure in figures.FIGURES:
        collect(figure.draw(con).to_dict())
    assert titles
    for title in titles - {"fraction of requests"}:
        assert re.search(r" \(.+\)$", title), title


def test_a_figure_without_data_is_not_drawn(tmp_path):
    con = views.connect(synthetic.write(tmp_path, done=0))
    assert [figure.draw(con) for figure in figures.FIGURES] == [None, None, None]


def test_the_terminal_table_fits_eighty_columns_and_respects_no_color(results, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = StringIO()
    terminal.show(results, Console(file=shown, width=80, force_terminal=True))
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?3[1-6]m", shown.getvalue())
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert re.search(
        r"throughput tok/s +33\.\d+ ± 0\.\d+ +3[12]\.\d+ ± 0\.\d+ +−[34](\.\d+)? \[−\d(\.\d+)?, −\d(\.\d+)?\] worse",
        text,
    )


def test_an_interval_with_one_open_side_is_drawn_to_the_edge_and_told(tmp_path):
    """Three runs are often too few for both of Fieller's limits."""
    runs = {
        "m1": {"docker": (104.58, 107.73, 110.08), "native": (107.59, 136.48, 127.37)},
        "m2": {"docker": (118.11, 124.38, 113.78), "native": (104.41, 120.79, 106.06)},
    }
    lines = ["model,environment,repetition,token_throughput_tok_s"]
    for model, arms in runs.items():
        lines += [f"{model},{arm},{i},{value}" for arm, values in arms.items() for i, value in enumerate(values, 1)]
    (tmp_path / "open.csv").write_text("\n".join(lines) + "\n")
    folder = import_runs(tmp_path / "open.csv", tmp_path / "results")
    text = visible(page.write(folder).read_text(encoding="utf-8"))
    assert "above −46.5 %" in text
    assert "below 56.7 %" in text
    with contextlib.closing(evidence.connect(folder)) as con:
        made = {table.name: table for table in tables.tables(con)}
        overheads = effects.overheads(con)
    assert overheads["low"].isna().all()
    assert overheads["high"].isna().all()
    assert r"{[\num{-46.50}, --]}" in table_formats.latex(made["results"])
    assert r"{[--, \num{56.66}]}" in table_formats.latex(made["results"])
    assert ",-46.50,," in table_formats.as_csv(made["results"])


def test_no_p_value_is_printed_as_nothing(tmp_path):
    table = Table(
        "x",
        "",
        "",
        'SELECT 0.0::DOUBLE AS p, 1e-20::DOUBLE AS "TOST p adjusted", 0.03::DOUBLE AS "Welch p", 0.0::DOUBLE AS change',
    )
    (row,) = filled(duckdb.connect(), table, links.Links(tmp_path)).rows
    assert [cell.text for cell in row] == ["< 1e-16", "< 1e-16", "0.03", "0"]
