"""A table in three forms that agree, and LaTeX that is sound by its structure."""

import csv
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from campaign.analysis import numbers
from campaign.report import table_formats, tables


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
    for table in tables.tables(con):
        width = len(table.columns)
        assert table.rows, table.name
        assert set(check(table_formats.latex(table))) == {width - table.heads}
        assert "|" not in re.search(r"\\begin\{(?:tabular|longtable)\}(.*)", table_formats.latex(table))[1]
        rows = list(csv.reader(io.StringIO(table_formats.as_csv(table))))
        assert len(rows) == len(table.rows) + 1
        assert {len(row) for row in rows} == {width + sum(column.kind == "interval" for column in table.columns)}
        pipes = [line for line in table_formats.markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in pipes} == {width + 1}


@given(st.text())
def test_escaped_text_leaves_no_character_that_latex_would_act_on(text):
    plain = table_formats.escape(text)
    for command in sorted(set(table_formats._ESCAPES.values()), key=len, reverse=True):
        if command.strip():
            plain = plain.replace(command, "")
    assert not re.search(r"[\\{}&%$#_~^<>|\"\n\r]", plain)


def test_a_table_format_holds_every_number_of_its_column():
    assert table_formats._format(["100.046", "-1.5", None]) == "-3.3"
    assert table_formats._format(["30", "28"]) == "2"
    assert table_formats._format(["0.041", "3.2e-12"]) == "1.3e-2"


def test_a_character_that_the_fonts_lack_becomes_its_nearest():
    assert table_formats.escape("naïve “5 μs” → ½ 語") == "naïve ``5 \\textmu{}s'' $\\rightarrow$ 12 [U+8A9E]"


def test_rows_that_share_their_arms_stand_under_one_line(con):
    (table,) = (it for it in tables.tables(con) if it.name == "comparisons")
    source = table_formats.latex(table)
    assert source.count("docker-baseline against native-chroot") == 2  # one for each model
    assert "tiny, docker-baseline against native-chroot" in source


def test_a_small_p_is_never_printed_as_zero(con):
    assert numbers.p_value(1e-9) == "<0.001" and table_formats._latex_cell("<0.001", "number") == r"{$<$\,0.001}"
    assert "0.000" not in {
        cell for table in tables.tables(con) if table.name == "tests" for row in table.rows for cell in row
    }
