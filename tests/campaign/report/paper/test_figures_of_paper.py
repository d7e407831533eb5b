"""The figures of the article: exact widths, embedded fonts, text of 8 pt, and a reason for each one that is missing."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from scipy import stats

from campaign.analysis import cache as evidence
from campaign.analysis import views
from campaign.exchange.imports import import_runs
from campaign.report import paper
from campaign.report.drawn import effects as effects_of
from campaign.report.drawn import look as look_of
from campaign.report.drawn import shared
from campaign.report.paper import theme
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("campaign") / "two", repetitions=4)


@pytest.fixture(scope="module")
def written(results) -> paper.Written:
    return paper.write(results)


def test_every_figure_comes_in_three_forms_at_both_widths(results, written):
    names = {path.name for path in written.paths}
    drawn = [figure.name for figure in paper.FIGURES if figure.name not in written.absent]
    assert set(written.absent) == {"screening", "roofline"}
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
            assert float(found[2]) <= look_of.TALLEST_IN


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
    written = paper.write(results, [3.5])
    assert set(written.absent) == {
        "overhead",
        "timeline",
        "power-energy",
        "screening",
        "power-curves",
        "roofline",
    }
    captions = (results / "report" / "print" / "captions.md").read_text(encoding="utf-8")
    assert all(reason in captions for reason in written.absent.values())


def test_a_campaign_that_has_not_begun_draws_nothing_and_fails_nowhere(tmp_path):
    con = views.connect(synthetic.write(tmp_path / "none", done=0))
    assert all(figure.draw(con) is None for figure in paper.FIGURES)


def analysed(results: Path):
    return evidence.connect(results)


def sized(results: Path, bytes_per_step: float) -> Path:
    """The campaign with the sizes of its models in its config, so that there is a roofline (batch 1 on a GB10)."""
    path = results / "campaign.json"
    facts = json.loads(path.read_text())
    facts["config"]["models"] = [
        {"name": name, "parameters": 1e9, "weight_bytes": bytes_per_step, "batch_size": 1}
        for name in facts["config"]["models"]
    ]
    path.write_text(json.dumps(facts))
    return results


@pytest.mark.parametrize(
    "arms", [("native-chroot", "docker-baseline"), ("native-chroot", "docker-baseline", "docker-x")]
)
def test_ten_models_fit_one_column(tmp_path, arms):
    models = [f"model-{letter}-instruct" for letter in "abcdefghij"]
    results = synthetic.write(tmp_path / "ten", models=models, environments=arms, repetitions=3, telemetry_hz=0)
    con = analysed(sized(results, 2e9))
    for name in (
        "throughput",
        "overhead",
        "memory",
        "run-order",
        "qq-throughput",
        "qq-latency",
        "qq-memory",
        "roofline",
    ):
        (draw,) = (figure.draw for figure in paper.FIGURES if figure.name == name)
        assert theme.drawn(partial(draw, con), look_of.COLUMN_IN), name


def test_more_arms_than_a_column_can_hold_are_refused_with_what_to_do(tmp_path):
    arms = ("native-chroot", *(f"docker-{letter}" for letter in "abcdefgh"))
    con = views.connect(synthetic.write(tmp_path / "many", environments=arms, repetitions=3, telemetry_hz=0))
    (draw,) = (figure.draw for figure in paper.FIGURES if figure.name == "qq-throughput")
    with pytest.raises(theme.FitError, match="wider figure"):
        theme.drawn(lambda points: draw(con, points), look_of.COLUMN_IN)
    assert theme.drawn(lambda points: draw(con, points), look_of.PAGE_IN)


def test_no_two_arms_look_alike():
    arms = [f"arm-{i}" for i in range(14)]
    look = shared.arm_look(arms, look_of.PAGE_IN * 72)
    colors, shapes = (look[name].to_dict()["scale"]["range"] for name in ("color", "shape"))
    assert len(set(zip(colors, shapes, strict=True))) == len(arms)


def test_runs_lie_on_the_line_of_normal_quantiles_where_they_are_normal_and_each_arm_shows_its_p(results):
    con = views.connect(results)
    chart = paper.normal_quantiles(con, metric="token_throughput_tok_s")
    said = json.dumps(chart.to_dict())
    runs = con.execute(
        "SELECT model, environment, list(value) AS runs FROM observations WHERE metric = "
        "'token_throughput_tok_s' GROUP BY ALL"
    ).fetchall()
    for _, _, values in runs:
        assert f"p = {stats.shapiro(values).pvalue:.3f}" in said


def test_an_arm_without_spread_is_called_constant_and_one_of_two_runs_is_not_tested(tmp_path):
    con = views.connect(synthetic.write(tmp_path / "few", repetitions=2, telemetry_hz=0))
    assert '"n = 2"' in json.dumps(paper.normal_quantiles(con, metric="token_throughput_tok_s").to_dict())
    con = views.connect(synthetic.write(tmp_path / "flat", repetitions=4, telemetry_hz=0))
    assert '"constant"' in json.dumps(paper.normal_quantiles(con, metric="kv_cache_gib").to_dict())


def test_the_roofline_shows_measured_over_permitted_and_both_of_its_lines(tmp_path):
    results = sized(synthetic.write(tmp_path / "roof", models=("tiny",), repetitions=3, telemetry_hz=0), 273e9 / 200)
    said = json.dumps(paper.roofline(views.connect(results)).to_dict())
    for mark in ('"limit": 0.3', '"limit": 1.0', '"text": "0.50"', '"name": "bound"', '"name": "flag"'):
        assert mark in said  # 100 tok/s under a bound of 200


def test_runs_of_others_are_drawn_too(tmp_path):
    source = Path(__file__).parents[4] / "examples" / "phase1" / "phase1_results.json"
    results = import_runs(source, tmp_path, gpu="NVIDIA GB10", batch_size=8)
    con = analysed(results)
    drawn = {figure.name for figure in paper.FIGURES if figure.draw(con) is not None}
    assert {"throughput", "memory", "run-order", "qq-throughput", "qq-memory", "roofline"} <= drawn
    assert "overhead" not in drawn  # its arms were never interleaved


def test_screening_finds_the_options_that_were_injected(tmp_path):
    arms = ("native-chroot", "docker-baseline", "docker-shm-32g", "docker-cpuset")
    effects = {"docker-baseline": -3.0, "docker-shm-32g": -3.0, "docker-cpuset": -0.5}
    con = analysed(
        synthetic.write(tmp_path / "s", environments=arms, effects_pct=effects, repetitions=10, telemetry_hz=0)
    )
    found = effects_of.screened(con)
    assert found is not None
    rows = found[0].set_index(["environment", "model"])
    assert (rows.loc["docker-cpuset"].low > 1.5).all()
    assert (rows.loc["docker-shm-32g"].change.abs() < 0.6).all()


def test_overhead_has_the_sign_of_a_loss_and_is_marked_where_it_is_demonstrated(results):
    table = effects_of.overheads(analysed(results))
    assert (table.overhead > 0).all()
    assert (table.low <= table.overhead).all() and (table.overhead <= table.high).all()
