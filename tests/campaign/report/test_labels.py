"""Labels of eleven arms with long names never lie over each other, on the page and in print."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from functools import partial
from itertools import combinations

import pytest

from campaign.analysis import views
from campaign.report import figures, paper
from campaign.report.drawn.look import PAGE_IN
from campaign.report.paper import theme
from tests import synthetic

ARMS = (
    "native-chroot", "docker-baseline", "docker-shm-32g", "docker-ipc-host", "docker-net-host",
    "docker-seccomp-unconfined",
    "docker-cpuset-performance-cores", "docker-ulimit-memlock", "docker-cap-sys-nice", "docker-hugepages-2m",
    "docker-tmpfs-model-weights",
)  # fmt: skip
LETTER = 0.48
"""Width of a letter over its height, in these names, rather too little than too much."""
Label = tuple[str, float, float, float, float, float]
"""Text, where it begins and where its middle lies (pixels from left and top), its direction (degrees),
its length and height."""


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eleven") / "demo"
    return views.connect(synthetic.write(folder, models=("llama-3.3-70b",), environments=ARMS, repetitions=2))


def labels(drawing: str) -> list[Label]:
    """Every text of an SVG drawing of Vega's."""
    found: list[Label] = []

    def walk(node: ET.Element, x: float, y: float) -> None:
        moved = re.search(r"translate\(([-\d.]+),\s*([-\d.]+)\)", node.get("transform", ""))
        if moved:
            x, y = x + float(moved[1]), y + float(moved[2])
        if node.tag.endswith("}text") and (text := "".join(node.itertext()).strip()):
            turned = re.search(r"rotate\(([-\d.]+)", node.get("transform", ""))
            angle = math.radians(float(turned[1]) if turned else 0.0)
            height = float(re.sub(r"px$", "", node.get("font-size", "11")))
            length = LETTER * height * len(text)
            back = {"middle": length / 2, "end": length}.get(node.get("text-anchor", "start"), 0.0)
            found.append((text, x - back * math.cos(angle), y - back * math.sin(angle), angle, length, height))
        for child in node:
            walk(child, x, y)

    walk(ET.fromstring(drawing), 0.0, 0.0)
    return found


def over_each_other(drawing: str) -> list[tuple[str, str]]:
    """Pairs of labels in one direction whose lines meet."""
    found = []
    for (a, ax, ay, angle, length, height), (b, bx, by, other, longer, higher) in combinations(labels(drawing), 2):
        along = (bx - ax) * math.cos(angle) + (by - ay) * math.sin(angle)
        across = (by - ay) * math.cos(angle) - (bx - ax) * math.sin(angle)
        if (
            abs(angle - other) < 1e-6
            and -longer < along < length
            and abs(across) < 0.6 * min(height, higher)
            and "SIMULATED" not in (a, b)
        ):
            found.append((a, b))
    return found


def test_two_labels_in_one_place_are_found():
    text = '<text font-size="10px" transform="translate({},9)">docker-baseline</text>'
    near, far = (f'<svg xmlns="http://www.w3.org/2000/svg">{text.format(0)}{text.format(x)}</svg>' for x in (40, 90))
    assert over_each_other(near) and not over_each_other(far)


@pytest.mark.parametrize("figure", figures.FIGURES, ids=lambda figure: figure.name)
def test_of_a_figure_of_the_page(con, figure):
    drawing = figures.svg(figures.themed(figure.draw(con)))
    assert {arm for arm in ARMS if arm in drawing} == set(ARMS)
    assert over_each_other(drawing) == []
    assert float(re.search(r'width="([\d.]+)"', drawing)[1]) < 1100, "wider than a page"


@pytest.mark.parametrize("name", ["throughput", "latency-ecdf"])
def test_of_a_figure_for_print(con, name):
    figure = next(figure for figure in paper.FIGURES if figure.name == name)
    drawing = theme.drawn(partial(figure.draw, con), PAGE_IN)
    assert over_each_other(drawing) == []
