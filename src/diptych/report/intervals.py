"""A plot of estimates with their intervals, one row each, in the manner of `plots`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from diptych.report.plots import NARROW, RULE, WIDE, Labels, Plot, _colour, _marker, _style, _svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Bar:
    """One row. low, high: None has no limit there; `bounded` is False where there is no interval at all."""

    label: str
    said: str
    """The numbers, in words, beside the label."""
    value: float
    low: float | None
    high: float | None
    colour: int

    @property
    def bounded(self) -> bool:
        return self.low is not None or self.high is not None


def intervals(name: str, bars: Sequence[Bar], tick: Callable[[float], str], *, alt: str) -> Plot:
    """A point and its interval for each row; an arrow where it has no limit, an open point where there is none."""
    known = [x for bar in bars for x in (bar.value, bar.low, bar.high) if x is not None]
    low, high = min(known), max(known)
    margin = (high - low) * 0.08 or 1.0

    def draw(width: float) -> str:
        height = 0.62 * len(bars) + 0.42
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.004, 0.38 / height, 0.992, (height - 0.4) / height))
        _axes(axes, len(bars), (low - margin, high + margin), tick)
        labels: Labels = {}
        for at, bar in enumerate(bars):
            _draw(axes, at, bar, low - margin, high + margin)
            labels[_marker(at)] = bar.label, bar.said
            axes.text(0, at - 0.12, _marker(at), transform=axes.get_yaxis_transform(), fontsize=11, va="bottom")
        return _svg(figure, f"{name}-{'wide' if width > 6 else 'narrow'}", labels, longest=int(width * 5))

    with _style(name):
        return Plot(
            wide=draw(WIDE), narrow=draw(NARROW), alt=alt, drawn=len(bars), thinned=False, logarithmic=False
        )  # fmt: skip


def _draw(axes: Axes, at: int, bar: Bar, left: float, right: float) -> None:
    """The row: its line a little below the label."""
    y, colour = at + 0.16, _colour(bar.colour)
    if bar.bounded:
        ends = (left if bar.low is None else bar.low, right if bar.high is None else bar.high)
        axes.plot(ends, [y, y], color=colour, linewidth=3.2, solid_capstyle="butt", clip_on=False)
        for limit, edge, marker in ((bar.low, left, "<"), (bar.high, right, ">")):
            if limit is None:
                axes.plot([edge], [y], marker=marker, color=colour, markersize=9, clip_on=False)
            else:
                axes.plot([limit] * 2, [y - 0.09, y + 0.09], color=colour, linewidth=1.6, clip_on=False)
    axes.plot(
        [bar.value],
        [y],
        marker="o",
        markersize=8.5,
        color=colour if bar.bounded else "none",
        markeredgecolor=colour,
        markeredgewidth=1.8,
        clip_on=False,
    )


def _axes(axes: Axes, rows: int, ends: tuple[float, float], tick: Callable[[float], str]) -> None:
    axes.set_ylim(rows - 0.45, -0.6)
    axes.set_xlim(*ends)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=ends[1] - ends[0] > 5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.yaxis.set_visible(False)
    axes.tick_params(axis="x", length=0, pad=6, labelsize=9.5, color=RULE)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.patch.set_visible(False)
