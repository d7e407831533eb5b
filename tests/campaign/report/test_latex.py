"""Tables in three forms that agree, LaTeX that compiles by its structure, and methods that follow the config."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analysis import evidence, sql
from campaign.importing import import_runs
from campaign.report import latex, print
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("campaign") / "two", repetitions=12)


@pytest.fixture(scope="module")
def con(results):
    con = sql.connect(results)
    evidence.ensure(results, con)
    return con


def split(row: str) -> list[str]:
    """Cells of a LaTeX row: at an ampersand that is neither escaped nor inside braces."""
    cells, depth, start = [], 0, 0
    for i, char in enumerate(row):
        escaped = i > 0 and row[i - 1] == "\\"
        depth += (char == "{" and not escaped) - (char == "}" and not escaped)
        if char == "&" and not escaped and depth == 0:
            cells.append(row[start:i])
            start = i + 1
    return [*cells, row[start:]]


def check(source: str) -> list[int]:
    """Balanced braces and environments; the number of cells of each row of the table."""
    code = re.sub(r"(?m)^%.*$", "", source)
    depth = 0
    for char in re.sub(r"\\[\\{}]", "", code):
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    open_: list[str] = []
    for verb, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", code):
        if verb == "begin":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert open_ == []
    assert code.count("\\toprule") == code.count("\\midrule") == 1 + code.count("\\endhead")
    assert code.count("\\bottomrule") == 1
    body = code.split("\\toprule", maxsplit=1)[1]
    return [len(split(line)) for line in body.splitlines() if line.endswith("\\\\")]


def test_every_table_has_as_many_cells_as_columns_in_every_form(con):
    for table in latex.tables(con):
        width = len(table.columns)
        assert table.rows, table.name
        assert set(check(latex.latex(table))) == {width - table.heads}
        assert "|" not in re.search(r"\\begin\{(?:tabular|longtable)\}(.*)", latex.latex(table))[1]
        rows = list(csv.reader(io.StringIO(latex.as_csv(table))))
        assert len(rows) == len(table.rows) + 1
        assert {len(row) for row in rows} == {width + sum(column.kind == "interval" for column in table.columns)}
        pipes = [line for line in latex.markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in pipes} == {width + 1}


def test_a_mean_is_printed_to_its_standard_errors_second_digit():
    assert latex._places(0.0273) == 3
    assert latex._places(0.0999) == 2  # 0.10
    assert latex._places(27.3) == 0
    row = {"mean_reference": 100.04567, "sd_reference": 0.4, "n_reference": 30}
    assert latex._mean(row, "reference") == "100.046"


@given(st.text())
def test_escaped_text_leaves_no_character_that_latex_would_act_on(text):
    plain = latex.escape(text)
    for command in sorted(set(latex._ESCAPES.values()), key=len, reverse=True):
        if command.strip():
            plain = plain.replace(command, "")
    assert not re.search(r"[\\{}&%$#_~^<>|\"\n\r]", plain)


def test_a_table_format_holds_every_number_of_its_column():
    assert latex._format(["100.046", "-1.5", None]) == "-3.3"
    assert latex._format(["30", "28"]) == "2"
    assert latex._format(["0.041", "3.2e-12"]) == "1.3e-2"


def test_simulated_tables_say_so(con):
    assert all("Simulated data" in table.caption for table in latex.tables(con))
    assert "simulated" in latex.methods(con)


def test_the_methods_tell_what_ran(con):
    text = latex.methods(con)
    assert "2 models (small and tiny)" in text and "the reference being native-chroot" in text
    assert "Of 48 planned runs 48 were accepted, 12 for each combination" in text
    assert "in 49 attempts, of which 1 was rejected and kept" in text
    assert r"45 \textdegree{}C" in text
    assert "The order of arms alternated" in text
    assert "Hz" not in text  # the config declares no rate, so none is stated


def test_the_methods_follow_the_config_and_not_the_other_way_round(tmp_path):
    results = synthetic.write(tmp_path / "other", repetitions=3, done=5)
    path = results / "campaign.json"
    facts = json.loads(path.read_text())
    facts["config"] |= {
        "order": "random",
        "gate": {"ceiling_c": 52.5, "dwell_s": 7},
        "telemetry": {"rate_hz": 25},
        "margin_pct": 3,
    }
    path.write_text(json.dumps(facts))
    text = latex.methods(sql.connect(results))
    assert (
        "drawn at random" in text
        and r"52.5 \textdegree{}C for 7 s" in text
        and "25 Hz" in text
        and r"$\pm$3 \%" in text
    )
    assert "Of 12 planned runs 5 were accepted, 1 to 2 for each" in text


def test_the_methods_of_imported_runs_claim_no_design(tmp_path):
    source = Path(__file__).parents[3] / "examples" / "phase1" / "phase1_results.json"
    text = latex.methods(sql.connect(import_runs(source, tmp_path, gpu="NVIDIA GB10", batch_size=8)))
    assert "taken in from phase1\\_results.json" in text and "They are of 3 models" in text
    assert "block" not in text and "unknown" not in text


def test_writing_a_campaign_that_has_not_begun_gives_files_without_claims(tmp_path):
    paths = latex.write(synthetic.write(tmp_path / "none", done=0))
    assert len(paths) == 3 * 6 + 2
    for path in paths:
        if path.suffix == ".tex" and path.name not in ("methods.tex", "paper.tex"):
            check(path.read_text(encoding="utf-8"))


def test_a_character_that_the_fonts_lack_becomes_its_nearest():
    assert latex.escape("naïve “5 μs” → ½ 語") == "naïve ``5 \\textmu{}s'' $\\rightarrow$ 12 [U+8A9E]"


def test_rows_that_share_their_arms_stand_under_one_line(con):
    (table,) = (it for it in latex.tables(con) if it.name == "comparisons")
    source = latex.latex(table)
    assert source.count("docker-baseline against native-chroot") == 2  # one for each model
    assert "tiny, docker-baseline against native-chroot" in source


def test_a_small_p_is_never_printed_as_zero(con):
    assert latex._p(1e-9) == "<0.001" and latex._latex_cell("<0.001", "number") == r"{$<$\,0.001}"
    assert "0.000" not in {
        cell for table in latex.tables(con) if table.name == "tests" for row in table.rows for cell in row
    }


def test_the_article_takes_every_table_and_every_figure_at_its_width(results):
    print.write(results, [3.5])
    latex.write(results)
    article = (results / "report" / "paper.tex").read_text(encoding="utf-8")
    for path in (results / "report" / "tables").glob("*.tex"):
        assert f"\\input{{tables/{path.stem}}}" in article
    figures = list((results / "report" / "print").glob("*.pdf"))
    assert figures
    for path in figures:
        assert f"\\includegraphics{{{{{path.stem}}}.pdf}}" in article  # no width: as large as it was drawn


def test_the_article_compiles_and_nothing_sticks_out(tmp_path):
    if (
        shutil.which("pdflatex") is None
        or subprocess.run(["kpsewhich", "IEEEtran.cls", "siunitx.sty"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no pdflatex with IEEEtran and siunitx here (Debian: texlive-publishers, texlive-science)")
    models, arms = ("a_model-with&odd%name", "small"), ("native-chroot", "docker-baseline", "docker-optimized")
    results = synthetic.write(tmp_path / "c", models=models, environments=arms, repetitions=10)
    print.write(results)
    latex.write(results)
    for _ in range(3):  # longtable settles its columns in the third
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
        run = subprocess.run(
            command, check=False, cwd=results / "report", capture_output=True, text=True, errors="replace"
        )
        assert run.returncode == 0, run.stdout[-2000:]
    assert (results / "report" / "paper.pdf").stat().st_size > 0
    assert not re.findall(r"Overfull.*|LaTeX Warning.*|Missing character.*", run.stdout)
