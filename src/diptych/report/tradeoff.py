"""Quality, cost and time in one view: a panel for each price of quality, and which models nothing beats."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from diptych.arena.intervals import Estimate
from diptych.arena.pareto import Point, pareto
from diptych.report import plots, words
from diptych.report.judged import Judged
from diptych.report.plots import FAINT, NARROW, WIDE, Labels, Plot, _colour, _marker, _style, _svg, _tick, _wants_log
from diptych.report.summary import Line
from diptych.report.voting import with_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 8
"""With more models only those that nothing beats are named in the plot; the table names all."""
BETWEEN_LABELS = 0.2
"""Inches between two lines of text."""
ASIDE = 0.13
"""Inches from a point to its label."""
HEIGHT = 3.1
"""Inches of a panel."""
LONGEST = 26
"""Characters of a label."""
CHARACTER = 0.075
"""Inches of one, about: the page's type is not known here."""
PANEL = 5000
"""Markers of each panel; the last one is its title."""
Context = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    what: str
    title: str
    unit: str


AXES = {"cost": Axis("cost", "Wins, by dollars a picture", "$"), "seconds": Axis("time", "Wins, by seconds", "s")}
"""What quality is bought with, by name of the number in a `Point`."""


@dataclass(frozen=True)
class Spot:
    """A model in the plot."""

    point: Point
    wins: Estimate
    """Of the quality, 0 to 1."""
    colour: int
    beaten_by: tuple[str, ...] | None
    """Nobody's name: unbeaten. None: one of its numbers is unknown, so nobody can say."""

    @property
    def quality(self) -> float:
        return self.wins.value or 0.0


def section(judged: Judged | None, lines: Sequence[Line]) -> Context | None:
    """judged: by people. None where no vote compares models, or neither cost nor time of any is known."""
    spots = [] if judged is None else find(judged, lines)
    known = {name: {getattr(spot.point, name) for spot in spots} - {None} for name in AXES}
    if judged is None or not any(known.values()):
        return None
    notes = ["Wins: how often a model wins against the others, by votes of people. The line is the interval."]
    prices = words.listed(["quality", *(AXES[name].what for name in known if known[name])])
    notes.append(
        f"Upwards and to the left is better. Filled is unbeaten: no other one is at least as good in {prices} "
        "together. That goes by the numbers as they are; where intervals overlap, more votes may change it."
    )
    for name, values in known.items():
        if not values:
            notes.append(f"The {AXES[name].what} of none of them is known, so it is left out.")
        elif len(values) == 1 and len(spots) > 1:
            notes.append(f"The {AXES[name].what} of all whose {AXES[name].what} is known is the same.")
    elsewhere = [one.model for one in judged.first.models if one.model not in {spot.point.label for spot in spots}]
    if elsewhere:
        notes.append(f"Votes do not connect {words.listed(elsewhere)} with these.")
    drawn = [name for name, values in known.items() if len(values) > 1]
    alt = f"Wins against {words.listed([AXES[name].what for name in drawn])}; the table below has the numbers."
    return {
        "plot": _plot(spots, drawn, alt) if drawn else None,
        "notes": notes,
        "rows": [_row(spot) for spot in spots],
        "costs": bool(known["cost"]),
        "times": bool(known["seconds"]),
    }


def find(judged: Judged, lines: Sequence[Line]) -> list[Spot]:
    """Of the largest group of models that votes connect, the best first."""
    group = max(judged.first.groups, key=len, default=())
    by_label = {line.label: (at, line) for at, line in enumerate(lines)}
    found = []
    for one in judged.first.models:
        if one.model in group and one.model in by_label and one.win_rate.value is not None:
            at, line = by_label[one.model]
            seconds = None if line.seconds is None else line.seconds.median
            found.append((Point(one.model, one.win_rate.value, line.money.mean, seconds), one.win_rate, at))
    # What is known of no model at all tells none of them apart.
    no_cost = all(point.cost is None for point, _, _ in found)
    no_time = all(point.seconds is None for point, _, _ in found)
    compared = [
        replace(point, cost=0.0 if no_cost else point.cost, seconds=0.0 if no_time else point.seconds)
        for point, _, _ in found
    ]
    return [
        Spot(point, wins, at % plots.COLOURS, _beaten_by(mine, compared))
        for (point, wins, at), mine in zip(found, compared, strict=True)
    ]


def _beaten_by(mine: Point, others: Sequence[Point]) -> tuple[str, ...] | None:
    if not mine.known:
        return None
    return tuple(one.label for one in others if one.known and mine not in pareto((one, mine)))


def _row(spot: Spot) -> Context:
    point = spot.point
    if spot.beaten_by is None:
        said = None
    else:
        named = [words.cut(name, 40) for name in spot.beaten_by[:3]]
        more = [f"{len(spot.beaten_by) - 3} more"] if len(spot.beaten_by) > 3 else []
        said = f"by {words.listed([*named, *more])}" if named else "unbeaten"
    return {
        "label": point.label,
        "colour": spot.colour,
        "wins": with_limits(spot.wins, words.percent),
        "cost": None if point.cost is None else words.dollars(point.cost),
        "seconds": None if point.seconds is None else words.significant(point.seconds, 3, zeros=True),
        "beaten": said,
        "unbeaten": spot.beaten_by == (),
    }


# The plot


def _plot(spots: Sequence[Spot], shown: Sequence[str], alt: str) -> Plot:
    limits = [x for spot in spots for x in (spot.quality, spot.wins.low, spot.wins.high) if x is not None]
    margin = max(0.04, 0.1 * (max(limits) - min(limits)))
    ends = max(-0.03, min(limits) - margin), min(1.03, max(limits) + margin)

    def draw(width: float) -> str:
        across = len(shown) if width > 6 else 1
        down = len(shown) // across
        gap, left, top, bottom = 0.75 if across > 1 else 0.0, 0.5, 0.34, 0.36
        figure = Figure(figsize=(width, down * HEIGHT))
        size = (width - left - gap * (across - 1)) / across - 0.06, HEIGHT - top - bottom
        labels: Labels = {}
        for i, name in enumerate(shown):
            column, line = i % across, i // across
            corner = left + column * (size[0] + 0.06 + gap), (down - line - 1) * HEIGHT + bottom
            axes = figure.add_axes(
                (corner[0] / width, corner[1] / (down * HEIGHT), size[0] / width, size[1] / (down * HEIGHT))
            )
            here = [spot for spot in spots if getattr(spot.point, name) is not None]
            _panel(axes, here, name, ends, size, PANEL * i, labels)
            marker = _marker(PANEL * i + PANEL - 1)
            labels[marker] = AXES[name].title, ""
            axes.text(0, 1.05, marker, transform=axes.transAxes, fontsize=10.5, va="bottom", ha="left")
        return _svg(figure, f"tradeoff-{'wide' if width > 6 else 'narrow'}", labels, longest=LONGEST)

    with _style("tradeoff"):
        return Plot(wide=draw(WIDE), narrow=draw(NARROW), alt=alt, drawn=1, thinned=False, logarithmic=False)


def _panel(
    axes: Axes,
    spots: Sequence[Spot],
    name: str,
    ends: tuple[float, float],
    size: tuple[float, float],
    first: int,
    labels: Labels,
) -> None:
    """size: of the panel, in inches. first: number of its first marker."""
    values = [float(getattr(spot.point, name)) for spot in spots]
    axes.set_ylim(*ends)
    _across(axes, values, AXES[name].unit)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.tick_params(length=0, pad=6, labelsize=9.5, labelcolor=FAINT)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    dots = []
    for spot, x in zip(spots, values, strict=True):
        colour = _colour(spot.colour)
        if spot.wins.low is not None and spot.wins.high is not None:
            axes.plot([x, x], [spot.wins.low, spot.wins.high], color=colour, linewidth=2.4, alpha=0.55)
        face = colour if spot.beaten_by == () else "none"
        axes.plot(
            [x], [spot.quality], "o", markersize=9, color=face, markeredgecolor=colour, markeredgewidth=1.8,
            clip_on=False,
        )  # fmt: skip
        at = axes.transAxes.inverted().transform(axes.transData.transform((x, spot.quality)))
        dots.append((float(at[0]) * size[0], float(at[1]) * size[1]))
    named = [i for i, spot in enumerate(spots) if len(spots) <= MOST_LABELS or spot.beaten_by == ()]
    names = [spots[i].point.label for i in named]
    for number, x, y, to in place(dots, named, [CHARACTER * min(LONGEST, len(one)) for one in names], size):
        marker = _marker(first + number)
        labels[marker] = spots[number].point.label, ""
        axes.text(
            x / size[0], y / size[1], marker, transform=axes.transAxes, fontsize=10, va="center",
            ha="left" if to > 0 else "right", zorder=1,
        )  # fmt: skip


def place(
    dots: Sequence[tuple[float, float]], named: Sequence[int], lengths: Sequence[float], size: tuple[float, float]
) -> list[tuple[int, float, float, int]]:
    """Where labels of some dots go: number of the dot, x, y, and 1 where it is written to the right, -1 to the left.

    Everything in inches. A label is beside its dot, on the side where it leaves the panel least and hides the fewest
    other dots; labels are moved up or down so that no two share a line.
    """
    placed = []
    for i, y, length in zip(named, _apart([dots[i][1] for i in named], size[1]), lengths, strict=True):
        x = dots[i][0]
        beside = [dot[0] for j, dot in enumerate(dots) if j != i and abs(dot[1] - y) < 0.8 * BETWEEN_LABELS]
        trouble = {}
        for to in (1, -1):
            end = x + to * (ASIDE + length)
            hidden = sum(min(x, end) - 0.1 < other < max(x, end) + 0.1 for other in beside)
            trouble[to] = max(0.0, -end, end - size[0]) + hidden
        best = min(trouble, key=lambda to: trouble[to])
        placed.append((i, x + best * ASIDE, y, best))
    return placed


def _apart(heights: Sequence[float], most: float) -> list[float]:
    """The same heights, from 0 to `most`, moved as little as is needed for a line of text at each."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + BETWEEN_LABELS)
    top = most
    for i in reversed(order):  # from the top down again
        placed[i] = min(placed[i], top)
        top = placed[i] - BETWEEN_LABELS
    return placed


def _across(axes: Axes, values: Sequence[float], unit: str) -> None:
    low, high = min(values), max(values)
    if _wants_log(values):
        axes.set_xscale("log")
        axes.set_xlim(low / 1.4, high * 1.4)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 60 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0 - 0.04 * (high or 1), high * 1.1 or 1)  # from zero: twice as far is twice as much
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit) if value >= 0 else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())
