"""The article takes everything that was written, and compiles."""

import re
import shutil
import subprocess

import pytest

from campaign.analysis import cache as evidence
from campaign.report import paper
from campaign.report.paper import article
from tests import synthetic
from tests.campaign.report.test_table_formats import check


def test_writing_a_campaign_that_has_not_begun_gives_files_without_claims(tmp_path):
    paths = article.write(synthetic.write(tmp_path / "none", done=0))
    withheld = {"tests", "effects", "power", "families", "diagnostics"}  # what an unfinished campaign does not show
    assert len(paths) == 3 * (12 - len(withheld)) + 2
    assert not withheld & {path.stem for path in paths}
    for path in paths:
        if path.suffix == ".tex" and path.name not in ("methods.tex", "paper.tex"):
            check(path.read_text(encoding="utf-8"))


def test_the_article_takes_every_table_and_every_figure_at_its_width(results):
    paper.write(results, [3.5])
    article.write(results)
    source = (results / "report" / "paper.tex").read_text(encoding="utf-8")
    assert re.search(r"^\w+: Output token throughput under docker-baseline .* \(\d.*interval", source, re.MULTILINE)
    for path in (results / "report" / "tables").glob("*.tex"):
        assert f"\\input{{tables/{path.stem}}}" in source
    figures = list((results / "report" / "print").glob("*.pdf"))
    assert figures
    for path in figures:
        assert f"\\includegraphics{{{{{path.stem}}}.pdf}}" in source  # no width: as large as it was drawn


def test_a_figure_stands_once_in_a_column_or_over_both_where_it_is_tall(tmp_path):
    """Of each figure the file of one width; a column's come first, so that the first page is full."""
    folder = tmp_path / "print"
    folder.mkdir()
    for name, height in (("throughput", 2.4), ("overhead", 5.0), ("timeline", 3.0)):
        for width in (3.5, 7.16):
            (folder / f"{name}-{width}in.pdf").touch()
            (folder / f"{name}-{width}in.svg").write_text(f'<svg width="{width}in" height="{height}in"></svg>')
    (folder / "memory-7.16in.pdf").touch()
    source = article.document(evidence.connect(synthetic.write(tmp_path / "none", done=0)), [], folder)
    set_ = re.findall(r"\\begin\{(figure\*?)\}|includegraphics\{\{(.*?)\}\.pdf\}|(section\{Methods\})", source)
    assert ["".join(it) for it in set_] == [
        "figure", "throughput-3.5in", "figure", "timeline-3.5in", "section{Methods}", "figure*", "overhead-7.16in",
        "figure*", "memory-7.16in",
    ]  # fmt: skip


def test_the_article_compiles_and_nothing_sticks_out(tmp_path):
    if (
        shutil.which("pdflatex") is None
        or subprocess.run(["kpsewhich", "IEEEtran.cls", "siunitx.sty"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no pdflatex with IEEEtran and siunitx here (Debian: texlive-publishers, texlive-science)")
    models, arms = ("a_model-with&odd%name", "small"), ("native-chroot", "docker-baseline", "docker-optimized")
    results = synthetic.write(tmp_path / "c", models=models, environments=arms, repetitions=10)
    paper.write(results)
    article.write(results)
    for _ in range(3):  # longtable settles its columns in the third
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
        run = subprocess.run(
            command, check=False, cwd=results / "report", capture_output=True, text=True, errors="replace"
        )
        assert run.returncode == 0, run.stdout[-2000:]
    assert (results / "report" / "paper.pdf").stat().st_size > 0
    assert not re.findall(r"Overfull.*|LaTeX Warning.*|Missing character.*", run.stdout)
