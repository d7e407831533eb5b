"""The study's page as a reader has it: in a browser, on a large screen and on a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from given_study import TEXT, Invented, conductor, study

from campaign.study import page
from tests import browser

pytestmark = pytest.mark.skipif(browser.program() is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    folder = tmp_path_factory.mktemp("seen")
    of = study(folder, TEXT.replace("repetitions: 4", "repetitions: 8"))
    assert conductor(of, folder, Invented({"network": 2.0})).run() == 0
    written = page.write(folder / "results")
    with browser.Browser() as opened:
        opened.look(1440)
        opened.open(written)
        yield opened


def test_axe_finds_no_violation_and_nothing_scrolls_sideways(tab: browser.Browser) -> None:
    assert tab.errors == []
    assert browser.violations(tab) == []
    for width in (1440, 390):
        tab.look(width)
        assert tab.js("document.documentElement.scrollWidth") == width


def test_every_figure_answers_and_every_table_is_sorted_and_filtered(tab: browser.Browser) -> None:
    tab.look(1440)
    figures = tab.js("[...document.querySelectorAll('figure')].map(it => it.id)")
    assert set(figures) == {"overhead-of-baseline", "screen", "half-normal", "together", "overheads", "won-back"}
    assert tab.js("document.querySelectorAll('.chart.vega-embed svg').length") == len(figures)
    plain = tab.js(
        "[...document.querySelectorAll('main table')].filter(it => it.tBodies[0].rows.length > 1 && "
        "it.querySelectorAll('th').length !== it.querySelectorAll('th button.sort').length).length"
    )
    assert plain == 0


def test_on_a_phone_every_table_is_read_from_top_to_bottom_and_figures_keep_their_letters(
    tab: browser.Browser,
) -> None:
    tab.look(390)
    wide = tab.js(
        "[...document.querySelectorAll('main table')].filter(it => it.scrollWidth > it.parentElement.clientWidth + 1)"
        ".map(it => it.dataset.name)"
    )
    assert wide == []
    assert browser.smallest_letters_px(tab) >= 9
