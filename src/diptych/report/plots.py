"""Plots as SVG that takes its colours and its type from the page around it.

matplotlib draws in stand-in colours, which become CSS variables: so one drawing suits light, dark and paper. Labels are
the page's own words: matplotlib is given markers in their place, as a label may hold anything, even mathematics. Each
plot is drawn twice, for a wide and for a narrow screen, since a drawing that shrinks takes its letters with it.
The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from diptych.report import words
from diptych.report.evidence import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 300
"""Drawn of one contestant in one plot."""
MOST_IN_A_PLOT = 3000
COLOURS = 8
"""After so many the colours begin again; rows and labels tell contestants apart without them."""

INK, FAINT, RULE = "#010101", "#020202", "#030303"
VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)"} | {
    f"#0500{i:02x}": f"var(--c{i})" for i in range(COLOURS)
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib; only the layout sees it
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "xtick.color": RULE,
    "xtick.labelcolor": FAINT,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
}
Labels = dict[str, tuple[str, str]]
"""By marker: what is written in its place, and the value beside it."""
LOG_FROM = 30
"""Times that the largest value is the smallest, from which an axis is logarithmic."""


@dataclass(frozen=True)
class Row:
    """Values of one contestant, in the order of its samples."""

    label: str
    values: Sequence[float]
    spread: Spread
    colour: int


@dataclass(frozen=True)
class Plot:
    """wide, narrow: SVG elements. What they show is also in the table, so `alt` is short."""

    wide: str
    narrow: str
    alt: str
    drawn: int
    """Points at most for each contestant; `thinned` when that is fewer than there are."""
    thinned: bool
    logarithmic: bool


def strips(name: str, rows: Sequence[Row], unit: str, *, alt: str) -> Plot:
    """A strip of points for each row, with a bar at the median. unit: `s` or `$`, for the axis."""
    drawn = _limit(len(rows))
    logarithmic = _wants_log([value for row in rows for value in row.values])

    def draw(width: float) -> str:
        height = 0.74 * len(rows) + 0.42
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.004, 0.38 / height, 0.992, (height - 0.4) / height))
        _strip_axes(axes, rows, logarithmic, unit)
        labels: Labels = {}
        for at, row in enumerate(rows):
            values = thin(row.values, drawn)
            axes.scatter(
                values,
                [at + 0.17 - offset for offset in _swarm(values, axes, logarithmic)],
                s=27,
                c=_colour(row.colour),
                alpha=0.6,
                linewidths=0,
                clip_on=False,
            )
            axes.plot([row.spread.median] * 2, [at - 0.08, at + 0.42], color=INK, linewidth=1.6, clip_on=False)
            labels[_marker(at)] = row.label, _value(row.spread.median, unit)
            axes.text(0, at - 0.2, _marker(at), transform=axes.get_yaxis_transform(), fontsize=11, va="bottom")
        return _svg(figure, f"{name}-{'wide' if width > 6 else 'narrow'}", labels, longest=int(width * 7))

    with _style(name):
        return Plot(
            wide=draw(WIDE),
            narrow=draw(NARROW),
            alt=alt,
            drawn=drawn,
            thinned=any(len(row.values) > drawn for row in rows),
            logarithmic=logarithmic,
        )


WIDE, NARROW = 9.6, 3.9
"""Inches, at 72 points each: about 690 and 280 units of the page."""


@dataclass(frozen=True)
class Panel:
    """One measure, for every contestant that has it."""

    title: str
    rows: Sequence[Row]


def panels(name: str, shown: Sequence[Panel], contestants: int, *, alt: str) -> Plot:
    """A small plot for each measure: points, the middle half as a bar, the median across it."""
    drawn = min(60, max(4, MOST_IN_A_PLOT // max(1, contestants * len(shown))))

    def draw(width: float) -> str:
        across = 4 if width > 6 else 2
        down = math.ceil(len(shown) / across)
        panel_height = 0.78 + 0.28 * contestants
        figure = Figure(figsize=(width, down * panel_height))
        labels: Labels = {}
        for i, panel in enumerate(shown):
            column, line = i % across, i // across
            gap = 0.3 / width
            one = (1 - gap * (across - 1)) / across
            axes = figure.add_axes(
                (
                    column * (one + gap) + 0.003,
                    1 - ((line + 1) * panel_height - 0.42) / (down * panel_height),
                    one - 0.006,
                    (panel_height - 0.78) / (down * panel_height),
                )
            )
            _panel_axes(axes, contestants)
            for row in panel.rows:
                at = row.colour
                axes.scatter(
                    thin(row.values, drawn),
                    [at] * min(drawn, len(row.values)),
                    s=9,
                    c=_colour(at),
                    alpha=0.35,
                    linewidths=0,
                )
                axes.plot([row.spread.low, row.spread.high], [at, at], color=_colour(at), linewidth=5, alpha=0.8)
                axes.plot([row.spread.median] * 2, [at - 0.34, at + 0.34], color=INK, linewidth=1.8)
            marker = _marker(i)
            labels[marker] = panel.title, ""
            axes.text(0, 1.04, marker, transform=axes.transAxes, fontsize=10.5, va="bottom", ha="left")
        return _svg(figure, f"{name}-{'wide' if across > 2 else 'narrow'}", labels, longest=40)

    with _style(name):
        return Plot(
            wide=draw(WIDE),
            narrow=draw(NARROW),
            alt=alt,
            drawn=drawn,
            thinned=any(len(row.values) > drawn for panel in shown for row in panel.rows),
            logarithmic=False,
        )


def _style(name: str) -> AbstractContextManager[None]:
    settings: Any = {**STYLE, "svg.hashsalt": name}  # matplotlib's types want each key literally
    return rc_context(settings)


# Values


def thin(values: Sequence[float], most: int) -> Sequence[float]:
    """At most `most` of them, evenly by their place in the study, never by their size."""
    if len(values) <= most:
        return values
    return [values[i * len(values) // most] for i in range(most)]


def _limit(contestants: int) -> int:
    return max(20, min(MOST_POINTS, MOST_IN_A_PLOT // max(1, contestants)))


def _wants_log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_FROM


def _swarm(values: Sequence[float], axes: Axes, logarithmic: bool) -> list[float]:
    """How far each point is moved aside, so that equal values lie beside each other and not on each other."""
    low, high = axes.get_xlim()
    if logarithmic:
        low, high = math.log(low), math.log(high)
    taken: dict[int, int] = {}
    offsets = []
    for value in values:
        place = math.log(value) if logarithmic else value
        bin_ = round((place - low) / (high - low) * 110)
        n = taken.get(bin_, 0)
        taken[bin_] = n + 1
        offsets.append(0.052 * ((n + 1) // 2) * (1 if n % 2 else -1))
    widest = max((abs(offset) for offset in offsets), default=0.0)
    return [offset * min(1.0, 0.24 / widest) if widest else 0.0 for offset in offsets]


def _value(value: float, unit: str) -> str:
    return words.dollars(value) if unit == "$" else words.seconds(value)


def _tick(value: float, unit: str) -> str:
    return f"${words.significant(value, 3)}" if unit == "$" else f"{words.significant(value, 3)} s"


# Axes


def _strip_axes(axes: Axes, rows: Sequence[Row], logarithmic: bool, unit: str) -> None:
    values = [value for row in rows for value in row.values]
    low, high = min(values), max(values)
    axes.set_ylim(len(rows) - 0.42, -0.52)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.25)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, high * 1.06 or 1)  # from zero: lengths then compare as the numbers do
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_visible(False)
    axes.tick_params(axis="x", length=0, pad=6, labelsize=9.5)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.patch.set_visible(False)


def _panel_axes(axes: Axes, contestants: int) -> None:
    axes.set_ylim(contestants - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(2, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.significant(value, 3)))
    axes.yaxis.set_visible(False)
    axes.tick_params(axis="x", length=0, pad=4, labelsize=9)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.patch.set_visible(False)
    axes.margins(x=0.06)


def _colour(at: int) -> str:
    return f"#0500{at % COLOURS:02x}"


# The drawing, made fit for the page


def _marker(at: int) -> str:
    return f"label{at:04d}"


def _svg(figure: Figure, name: str, labels: Labels, longest: int) -> str:
    """The `svg` element alone: no prologue, no metadata, ids of its own, our labels and the page's colours."""
    figure.patch.set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = text.replace("; font-family: 'DejaVu Sans'", "")
    text = re.sub("|".join(VARIABLES), lambda found: VARIABLES[found[0]], text)

    def written(found: re.Match[str]) -> str:
        label, value = labels[found[0]]
        beside = f'<tspan dx="0.7em" class="value">{escape(value)}</tspan>' if value else ""
        return f"<tspan>{escape(words.cut(label, longest))}</tspan>{beside}"

    return re.sub(r"label\d{4}", written, text)
