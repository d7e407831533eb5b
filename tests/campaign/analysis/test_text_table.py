"""A table fits its terminal: whole columns, digits whole, and what is left out is named."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from campaign.analysis.text_table import Column, cut, fit

RUNS = [
    Column("run_id", ["random-llama-8m__native-chroot__chat-short__r01",
        "random-llama-8m__docker-baseline__chat-short__r01"], False),
    Column("phase", ["baseline", "baseline"], False),
    Column("reason", ["", ""], False),
    Column("repetition", ["1", "1"], True),
    Column("throughput_tok_s", ["1234.56", "1198.02"], True),
    Column("model_identity", ["random-llama-8m", "random-llama-8m"], False),
]  # fmt: skip


def test_what_names_a_row_is_cut_only_as_far_as_it_names_it():
    runs = [f"random-llama-15m-q8__{arm}__chat-short__r01" for arm in ("native-chroot", "docker-baseline")]
    columns = [Column("run_id", runs, False), *(Column(f"number_{i}", ["1", "2"], True) for i in range(9))]
    lines = fit(columns, 60).lines()
    assert lines[2].split()[0] != lines[3].split()[0]
    assert all(len(line) <= 60 for line in lines)


def test_a_wide_terminal_shows_all():
    shown = fit(RUNS, 200)
    assert not shown.left_out and not shown.cut


def test_what_says_nothing_goes_first_then_the_right():
    assert fit(RUNS, 110).left_out == ("reason",)
    assert fit(RUNS, 78).left_out == ("reason", "model_identity")


def test_a_name_that_is_cut_keeps_both_ends():
    line = fit(RUNS, 78).lines()[2]
    assert line.startswith("random-") and "…" in line and "__r01" in line
    assert line.endswith("1234.56")


def test_without_a_width_nothing_is_cut_or_left_out():
    shown = fit(RUNS, None)
    assert not shown.left_out and RUNS[0].cells[1] in shown.lines()[3]


texts = st.text("ab_ 09.漢é", max_size=50)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text("abc_", min_size=1, max_size=30), st.lists(texts, min_size=3, max_size=3),
        st.booleans()), min_size=1, max_size=12),
    st.integers(20, 200),
)  # fmt: skip
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(columns, width):
    made = [Column(name, cells, numeric) for name, cells, numeric in columns]
    shown = fit(made, width)
    assert {column.name for column in shown.columns} | set(shown.left_out) == {column.name for column in made}
    assert len(shown.columns) + len(shown.left_out) == len(made)
    assert all(cell_len(line) <= width for line in shown.lines())
    if len(shown.columns) > 1:
        assert all(w == c.width for c, w in zip(shown.columns, shown.widths, strict=True) if c.numeric)


@given(texts, st.integers(1, 40))
def test_a_cut_text_fits(text, width):
    assert cell_len(cut(text, width)) <= width
