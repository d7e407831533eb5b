"""The page as a reader has it: in a browser, on a large screen and on a phone, in light and in dark,
by keyboard and on paper."""

import json

import pytest

from campaign.report import figures
from tests import browser

pytestmark = pytest.mark.skipif(browser.program() is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def tab():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture
def shown(tab, page_path):
    tab.look(1440)
    tab.open(page_path)
    return tab


def test_axe_finds_no_violation_at_any_width_in_any_colours(shown):
    assert browser.violations(shown) == []


def test_every_figure_is_drawn_without_an_error_and_the_page_never_scrolls_sideways(shown):
    assert shown.errors == []
    assert shown.js("document.querySelectorAll('.chart.vega-embed svg').length") == len(figures.FIGURES)
    for width in (1440, 390):
        shown.look(width)
        assert shown.js("document.documentElement.scrollWidth") == width


FIRST = (
    "[...document.querySelector('table[data-name=\"Start state by arm\"]').tBodies[0].rows].filter(row => "
    "!row.hidden).map(row => row.cells[0].textContent)"
)


def test_a_table_is_sorted_by_a_click_on_a_heading_and_put_back_by_the_third(shown):
    heading = "document.querySelector('table[data-name=\"Start state by arm\"] button.sort')"
    assert shown.js(FIRST) == ["docker-baseline", "native-chroot"]
    shown.js(f"{heading}.click()")
    assert (shown.js(FIRST), shown.js(f"{heading}.parentElement.ariaSort")) == (
        ["docker-baseline", "native-chroot"],
        "ascending",
    )
    shown.js(f"{heading}.click()")
    assert shown.js(FIRST) == ["native-chroot", "docker-baseline"]
    shown.js(f"{heading}.click()")
    assert (shown.js(FIRST), shown.js(f"{heading}.parentElement.ariaSort")) == (
        ["docker-baseline", "native-chroot"],
        None,
    )


def test_numbers_are_sorted_by_size_whatever_is_printed_with_them(shown):
    texts = ["−0.9 %", "–", "1 236 ± 22", "3.2e−12", "< 1e-16", "+10.0 to +11.1 %"]
    order = shown.js(f"{json.dumps(texts)}.filter(it => it !== '–').sort((a, b) => compare(a, b, true))")
    assert order == ["−0.9 %", "< 1e-16", "3.2e−12", "+10.0 to +11.1 %", "1 236 ± 22"]


def test_rows_are_filtered_by_every_word_that_is_typed(shown):
    field = "document.querySelector('input[aria-label=\"filter the rows of Start state by arm\"]')"
    shown.js(f"{field}.value = 'Docker base'; {field}.dispatchEvent(new Event('input'))")
    assert shown.js(FIRST) == ["docker-baseline"]
    assert shown.js(f"{field}.nextElementSibling.textContent") == "1 of 2 rows"


def test_every_table_of_more_than_one_row_can_be_sorted_and_filtered_and_no_heading_is_empty(shown):
    missing = shown.js(
        "[...document.querySelectorAll('main table')].filter(it => it.tBodies[0].rows.length > 1 && "
        "(it.querySelectorAll('th').length !== it.querySelectorAll('th button.sort').length "
        "|| !it.parentElement.previousElementSibling.matches('.tools'))).map(it => it.dataset.name)"
    )
    assert missing == []
    assert shown.js("[...document.querySelectorAll('th')].filter(it => !it.textContent.trim()).length") == 0


def test_what_scrolls_is_reached_by_the_keyboard_and_has_a_name(shown):
    for width in (1440, 390):
        shown.look(width)
        shown.js(
            "document.querySelectorAll('details').forEach(it => { it.open = true }); new Promise(requestAnimationFrame)"
        )
        regions = (
            "[...document.querySelectorAll('main *')].filter(it => it.scrollWidth > it.clientWidth + 1 && "
            "['auto', 'scroll'].includes(getComputedStyle(it).overflowX))"
        )
        assert (
            shown.js(
                f"{regions}.filter(it => it.tabIndex !== 0 || !it.ariaLabel).map(it => it.outerHTML.slice(0, 200))"
            )
            == []
        )
    assert shown.js(f"{regions}.length") > 3


def test_a_query_is_copied_by_its_button(shown):
    shown.js("window.copied = []; document.execCommand = () => window.copied.push(document.activeElement.value); 0")
    shown.js(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: text => "
        "Promise.resolve(window.copied.push(text))}}); 0"
    )
    shown.js("document.querySelector('#quality details.sql .copy').click()")
    assert shown.js("window.copied")[0] == shown.js("document.querySelector('#quality details.sql pre').textContent")


def test_the_contents_list_follows_the_reader_and_a_link_unfolds_what_it_leads_to(shown, page_path):
    assert shown.js("document.querySelector('nav [aria-current]').hash") == "#verdict"
    shown.open(page_path, "#view-gates")
    assert shown.js("document.getElementById('view-gates').closest('details').open")
    shown.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown.js("document.querySelector('nav [aria-current]').hash") == "#views"


def test_on_a_phone_change_interval_and_verdict_come_before_what_they_are_made_of(shown):
    shown.look(390)
    order = shown.js(
        "[...document.querySelector('table.forest tbody tr').cells].sort((a, b) => a.getBoundingClientRect().top - "
        "b.getBoundingClientRect().top || a.getBoundingClientRect().left - b.getBoundingClientRect().left).map(it => "
        "it.className.split(' ').filter(it => ['key', 'arm', 'change', 'word', 'interval', 'means'].includes(it))[0])"
    )
    assert order == ["key", "arm", "change", "word", "interval", "means", "means"]


def test_on_a_phone_letters_of_figures_can_be_read(shown):
    shown.look(390)
    assert browser.smallest_letters_px(shown) >= 9


def test_in_print_no_column_is_cut_and_a_section_begins_on_a_new_page(shown, tmp_path):
    shown.js("document.querySelectorAll('details.rows').forEach(it => { it.open = true })")
    for width, sections in (((210 - 26) / 25.4 * 96, "section:not(.wide)"), ((297 - 26) / 25.4 * 96, "section.wide")):
        shown.look(int(width) + 1, media="print")
        shown.js("dispatchEvent(new Event('beforeprint'))")
        cut = shown.js(
            f"[...document.querySelectorAll('{sections} table, {sections} svg, {sections} dd, {sections} "
            "h3')].filter(it => it.getBoundingClientRect().right > innerWidth + 1).map(it "
            "=> it.dataset.name || it.outerHTML.slice(0, 120))"
        )
        assert cut == []
        shown.js("dispatchEvent(new Event('afterprint'))")
    shown.look(1440, "dark")
    shown.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert shown.js("document.documentElement.dataset.theme") == "dark"
    assert shown.js("document.documentElement.className") == ""
