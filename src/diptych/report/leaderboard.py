"""A leaderboard as a page: the answer, the table, every interval as a line, and what must be said beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych import settings
from diptych.arena.ratings import Rating
from diptych.images import check_writable, write_file
from diptych.report import words
from diptych.report.intervals import Bar, intervals
from diptych.report.page import TEMPLATES, _environment, _unbroken
from diptych.report.plots import COLOURS
from diptych.report.standings import about, counted, facts, interval, ranks
from diptych.studies.leaderboard import Leaderboard

GENERATOR = "diptych leaderboard"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is fetched, and nothing runs."""


def write(board: Leaderboard, out: Path, *, force: bool = False) -> Path:
    """One HTML file that needs nothing else. Raises OutputError."""
    check_writable(out, force=force)
    return write_file(out, render(board).encode("utf-8", "replace"), force=force)


def render(board: Leaderboard) -> str:
    """The HTML. The same leaderboard gives the same text."""
    page = _environment().get_template("leaderboard.html.j2").render(
        css=(TEMPLATES / "report.css").read_text("utf-8"),
        policy=POLICY,
        generator=GENERATOR,
        board=board,
        headline=_unbroken(board.headline, [one.model for one in board.models]),
        about=about(board),
        long=len(board.headline) > 120,
        counted=counted(board),
        facts=facts(board),
        confidence=words.percent(board.ratings.confidence),
        groups=_groups(board),
    )  # fmt: skip
    return settings.redact(page)


def _groups(board: Leaderboard) -> list[dict[str, Any]]:
    """A table and a plot for each set of models that can be compared."""
    found = []
    for number in range(len(board.ratings.groups)):
        members = [one for one in board.models if one.group == number]
        found.append(
            {
                "number": number + 1,
                "rows": [_row(one, i) for i, one in enumerate(members)],
                "plot": intervals(
                    f"ratings-{number}",
                    [_bar(one, i) for i, one in enumerate(members)],
                    lambda value: f"{value:,.0f}",
                    alt="Ratings with their intervals; the table has the numbers.",
                ),
            }
        )
    return found


def _row(one: Rating, at: int) -> dict[str, Any]:
    return {
        "colour": at % COLOURS,
        "model": one.model,
        "ranks": ranks(one),
        "rating": f"{one.rating.value or 0:,.0f}",
        "interval": interval(one.rating),
        "win_rate": words.percent(one.win_rate.value or 0),
        "win_interval": interval(one.win_rate, percent=True),
        "votes": f"{one.votes:,}",
        "said": f"{one.wins:,} won, {one.losses:,} lost, {one.ties:,} tied",
        "both_bad": words.percent(one.both_bad_rate or 0),
    }


def _bar(one: Rating, at: int) -> Bar:
    value = one.rating.value or 0.0
    said = (
        f"{value:,.0f}, {interval(one.rating)}" if one.rating.low or one.rating.high else f"{value:,.0f}, no interval"
    )
    return Bar(one.model, said, value, one.rating.low, one.rating.high, at)
