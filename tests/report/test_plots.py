"""Plots: valid SVG in the page's colours, the same bytes each time, and labels that stay labels."""

from __future__ import annotations

import random
import re
from xml.etree import ElementTree as ET

import pytest

from diptych.report import plots
from diptych.report.evidence import Spread
from tests.report.conftest import HOSTILE, RTL


def row(label: str, values: list[float], colour: int = 0) -> plots.Row:
    spread = Spread.of(values)
    assert spread is not None
    return plots.Row(label, values, spread, colour)


def noisy(count: int, middle: float = 1.0) -> list[float]:
    drawn = random.Random(count)  # noqa: S311  # nothing is secret here
    return [middle * drawn.lognormvariate(0, 0.2) for _ in range(count)]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  # our own


def dots(svg: str) -> int:
    return len(re.findall(r"<use ", svg))


def test_the_same_numbers_give_the_same_bytes() -> None:
    rows = [row("a", noisy(12)), row("b", noisy(12, 3.0), 1)]
    assert plots.strips("s", rows, "s", alt="") == plots.strips("s", rows, "s", alt="")


@pytest.mark.parametrize("label", [HOSTILE, RTL, "$x^2$", "&lt;", "label0001", "x" * 200, "\U0001f98a" * 20])
def test_labels_are_text_and_nothing_else(label: str) -> None:
    plot = plots.strips("s", [row(label, noisy(5)), row("other", noisy(5), 1)], "$", alt="")
    for svg in (plot.wide, plot.narrow):
        root = parsed(svg)
        assert {element.tag for element in root.iter()} <= {
            "svg",
            "g",
            "defs",
            "path",
            "use",
            "text",
            "tspan",
            "clipPath",
            "rect",
        }
        shown = [element.text or "" for element in root.iter("tspan")]
        assert any(text == label or (text.endswith("…") and label.startswith(text[:-1])) for text in shown)


def test_colours_are_the_pages_own() -> None:
    plot = plots.strips("s", [row(str(i), noisy(4), i) for i in range(10)], "s", alt="")
    for svg in (plot.wide, plot.narrow):
        assert not re.search(r"#[0-9a-f]{6}", svg)
        assert {f"var(--c{i})" for i in range(8)} <= set(re.findall(r"var\(--\w+\)", svg))
        assert "http" not in svg
        assert "font-family" not in svg


def test_ids_of_two_plots_differ() -> None:
    svgs = []
    for name in ("seconds", "dollars"):
        plot = plots.strips(name, [row("a", noisy(5))], "s", alt="")
        svgs += [plot.wide, plot.narrow]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert sum(map(len, ids)) == len(set.union(*ids))
    for svg, its in zip(svgs, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= its


def test_many_points_are_thinned_and_it_is_said() -> None:
    plot = plots.strips("s", [row("a", noisy(5000)), row("b", noisy(10), 1)], "s", alt="")
    assert (plot.drawn, plot.thinned) == (300, True)
    assert dots(plot.wide) == 310
    assert not plots.strips("s", [row("a", noisy(300))], "s", alt="").thinned


def test_many_contestants_get_fewer_points_each() -> None:
    plot = plots.strips("s", [row(str(i), noisy(400), i) for i in range(30)], "s", alt="")
    assert plot.drawn == 100
    assert dots(plot.narrow) == 3000


def test_thinning_is_even() -> None:
    assert plots.thin(range(10), 20) == range(10)
    assert plots.thin(range(10), 5) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("values", "logarithmic"), [([1.0, 10.0], False), ([1.0, 100.0], True), ([0.0, 100.0], False), ([0.0], False)]
)
def test_a_wide_range_is_drawn_on_a_logarithmic_axis(values: list[float], logarithmic: bool) -> None:
    plot = plots.strips("s", [row("a", values)], "s", alt="")
    assert plot.logarithmic == logarithmic
    assert dots(plot.wide) == len(values)


def test_panels_show_every_measure_of_every_contestant() -> None:
    shown = [plots.Panel(f"measure {i}", [row("a", noisy(8)), row("b", noisy(8), 1)]) for i in range(7)]
    plot = plots.panels("detail", shown, 2, alt="")
    for svg in (plot.wide, plot.narrow):
        titles = [element.text for element in parsed(svg).iter("tspan")]
        assert titles == [f"measure {i}" for i in range(7)]
        assert dots(svg) == 7 * 2 * 8
