"""The figures of the article: exact widths, embedded fonts, text of 8 pt, and a reason for each one that is missing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from campaign.analysis import sql
from campaign.report import paper, print
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("campaign") / "two", repetitions=4)


@pytest.fixture(scope="module")
def written(results) -> print.Written:
    return print.write(results)


def test_every_figure_comes_in_three_forms_at_both_widths(results, written):
    names = {path.name for path in written.paths}
    drawn = [figure.name for figure in print.FIGURES if figure.name not in written.absent]
    assert set(written.absent) == {"screening"}
    assert {
        f"{name}-{width}in.{form}" for name in drawn for width in ("3.5", "7.16") for form in ("pdf", "svg", "png")
    } < names
    assert all(path.stat().st_size > 0 for path in written.paths)


def test_the_widths_are_exact_and_no_figure_is_taller_than_a_page(written):
    for path in written.paths:
        if path.suffix == ".svg":
            found = re.search(r'width="([\d.]+)in" height="([\d.]+)in"', path.read_text(encoding="utf-8"))
            assert found is not None
            assert path.stem.endswith(f"{float(found[1]):g}in")
            assert float(found[2]) <= paper.TALLEST_IN


def test_no_text_is_smaller_than_eight_points_and_no_colour_comes_without_shape_or_dash(written):
    for path in written.paths:
        if path.suffix == ".svg":
            sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)px"', path.read_text(encoding="utf-8"))]
            assert sizes and min(sizes) >= 8, path.name


def test_the_fonts_of_a_pdf_are_embedded(written):
    if shutil.which("pdffonts") is None:  # then by the PDF's own words
        for path in written.paths:
            if path.suffix == ".pdf":
                assert path.read_bytes().count(b"/FontFile2") >= 1
        return
    for path in written.paths:
        if path.suffix == ".pdf":
            lines = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout.splitlines()[
                2:
            ]
            assert lines and all("LiberationSans" in line for line in lines)
            assert all(re.search(r"\syes\s+yes\s+(yes|no)\s", line) for line in lines), path.name


def test_simulated_data_are_marked_on_every_figure(written):
    assert all("SIMULATED" in path.read_text(encoding="utf-8") for path in written.paths if path.suffix == ".svg")


def test_what_is_missing_is_named_with_its_reason(tmp_path):
    results = synthetic.write(
        tmp_path / "one", environments=("native-chroot",), repetitions=3, gpu=False, telemetry_hz=0
    )
    written = print.write(results, [3.5])
    assert set(written.absent) == {"overhead", "timeline", "power-energy", "screening", "power-curves"}
    captions = (results / "report" / "print" / "captions.md").read_text(encoding="utf-8")
    assert all(reason in captions for reason in written.absent.values())


def test_a_campaign_that_has_not_begun_draws_nothing_and_fails_nowhere(tmp_path):
    con = sql.connect(synthetic.write(tmp_path / "none", done=0))
    assert all(figure.draw(con) is None for figure in print.FIGURES)


def test_ten_models_fit_one_column(tmp_path):
    models = [f"model-{letter}-instruct" for letter in "abcdefghij"]
    con = sql.connect(synthetic.write(tmp_path / "ten", models=models, repetitions=3, telemetry_hz=0))
    for draw in (print.throughput, print.overhead, print.memory):
        assert paper.drawn(lambda points, draw=draw: draw(con, points), paper.COLUMN_IN)


def test_screening_finds_the_options_that_were_injected(tmp_path):
    arms = ("native-chroot", "docker-baseline", "docker-shm-32g", "docker-cpuset")
    effects = {"docker-baseline": -3.0, "docker-shm-32g": -3.0, "docker-cpuset": -0.5}
    con = sql.connect(
        synthetic.write(tmp_path / "s", environments=arms, effects_pct=effects, repetitions=10, telemetry_hz=0)
    )
    found = print.screened(con)
    assert found is not None
    rows = found[0].set_index(["environment", "model"])
    assert (rows.loc["docker-cpuset"].low > 1.5).all()
    assert (rows.loc["docker-shm-32g"].change.abs() < 0.6).all()


def test_overhead_has_the_sign_of_a_loss_and_is_marked_where_it_is_demonstrated(results):
    table = print.overheads(sql.connect(results))
    assert (table.overhead > 0).all()
    assert (table.low <= table.overhead).all() and (table.overhead <= table.high).all()
