"""A leaderboard in words: what stands above, in and below its table, on a page and in a terminal."""

from __future__ import annotations

from diptych.arena.ratings import Estimate, Rating
from diptych.report import words
from diptych.studies.leaderboard import JUDGES, Leaderboard


def about(board: Leaderboard) -> str:
    """`the study foxes, overall, for portraits`."""
    category = f", for {board.ratings.category}" if board.ratings.category else ""
    return f"{board.of}, {board.ratings.criterion or 'no votes'}{category}"


def counted(board: Leaderboard) -> str:
    """`96 votes by 2 people on 3 prompts; 4 called both bad, 2 skipped`."""
    r = board.ratings
    who = {"people": ("person", "people"), "models": ("model", "models")}.get(JUDGES[board.kind], ("judge", "judges"))
    said = words.count(r.votes, "vote")
    said += "" if "judge" in board.unknown else f" by {words.count(r.judges, *who)}"
    said += "" if "prompt" in board.unknown else f" on {words.count(r.prompts, 'prompt')}"
    beside = [
        f"{number:,} {what}"
        for number, what in (
            (r.both_bad, "called both bad"),
            (r.skipped, "skipped"),
            (board.inconsistent, "inconsistent"),
        )
        if number
    ]
    return f"{said}; {words.listed(beside)}" if beside else said


def facts(board: Leaderboard) -> list[str]:
    """For whom the intervals hold, or why there are none, and what else must be said: sentences."""
    r = board.ratings
    rated = [one for one in board.models if one.rank is not None]
    if r.reason is not None:
        said = [f"there are no intervals: {r.reason}"]
    else:
        missing: dict[str, list[str]] = {}
        for one in rated:
            if one.rating.reason is not None:
                missing.setdefault(one.rating.reason, []).append(one.model)
        scope = f"intervals are of {words.percent(r.confidence)} and hold {board.claim}"
        said = [scope] if any(_has_limit(one) for one in rated) else []
        for reason, names in missing.items():
            limited = any(_has_limit(one) for one in rated if one.model in names)
            what = "no full interval" if limited else "no interval"
            who = "any model" if len(names) == len(rated) else words.listed(names)
            said.append(f"there is {what} for {who}: {reason}")
    silent = [one.model for one in board.models if one.rank is None]
    if silent:
        said.append(f"no vote compares {words.listed(silent)} with another model")
    names = [one.model for one in board.models]
    return [words.sentence(one, names) for one in [*said, *board.notes]]


def _has_limit(one: Rating) -> bool:
    return one.rating.low is not None or one.rating.high is not None


def interval(estimate: Estimate, *, percent: bool = False) -> str:
    """`1,012 to 1,075`, `from 1,012`, `to 1,075`, or `none`."""

    def number(value: float) -> str:
        return f"{value * 100:.0f}" if percent else f"{value:,.0f}"

    unit = " %" if percent else ""
    if estimate.low is not None and estimate.high is not None:
        return f"{number(estimate.low)} to {number(estimate.high)}{unit}"
    if estimate.low is not None:
        return f"from {number(estimate.low)}{unit}"
    return f"to {number(estimate.high)}{unit}" if estimate.high is not None else "none"


def ranks(one: Rating) -> str:
    """`1`, `1 to 3`, or nothing for a model that no vote compares."""
    if one.best_rank is None or one.worst_rank is None:
        return ""
    return str(one.best_rank) if one.best_rank == one.worst_rank else f"{one.best_rank} to {one.worst_rank}"
