"""What blind votes say of a study's models, in numbers and in words no wider than they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.arena import ratings, stopping
from diptych.arena.intervals import Estimate
from diptych.arena.ratings import Ratings
from diptych.arena.stopping import Standing
from diptych.arena.votes import CRITERIA, SKIP, Votes
from diptych.report import plots, words
from diptych.report.summary import Line

NOT_JUDGED = "nobody has judged yet which looks better"
TITLES = {"overall": "Overall", "detail": "Detail", "follows the prompt": "Follows the prompt"}
Context = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A study's votes, rated: by criterion, and by category of prompt for the first criterion."""

    standing: Standing
    """What may be claimed of the pairs, for the first criterion that was voted on."""
    by_criterion: Mapping[str, Ratings]
    by_category: Mapping[str, Ratings]
    inconsistent: int
    """Trials on which a model chose otherwise when the sides were swapped."""

    @property
    def first(self) -> Ratings:
        return next(iter(self.by_criterion.values()))


def judge(votes: Votes, inconsistent: int = 0) -> Judged | None:
    """None where no vote compares two models."""
    if not len(votes) or bool((votes.choice == SKIP).all()) or len(votes.models) < 2:
        return None
    found = ratings.by_criterion(votes)
    by_criterion = {name: found[name] for name in CRITERIA if name in found}
    main = votes.of_criterion(next(iter(by_criterion)))
    return Judged(stopping.decide_all(main), by_criterion, ratings.by_category(main), inconsistent)


def verdict(judged: Judged | None) -> str:
    """The end of the headline."""
    if judged is None:
        return NOT_JUDGED
    standing = judged.standing
    if standing.best is not None:
        what = "looks better" if len(standing.models) == 2 else "looks best"
        return f"{words.cut(standing.best, 60)} {what} to {words.count(judged.first.judges, 'judge')}"
    among = [one for one in standing.verdicts if {one.first, one.second} <= set(standing.unbeaten)]
    if among and all(one.outcome == "no difference" for one in among):
        return "the votes show no difference worth having between the best"
    return f"{words.count(judged.first.votes, 'vote')} do not settle which looks better"


def sentence(judged: Judged) -> str:
    """What the rule for stopping says, as a sentence of its own."""
    said = judged.standing.sentence
    if said.startswith(("about ", "at least ")):
        return f"It may take {said} to settle it, by a rule that holds however often one looks."
    return f"{said[:1].upper()}{said[1:]}{'' if said.endswith('.') else '.'}"


def section(judged: Judged | None, lines: Sequence[Line]) -> Context | None:
    """Tables and words for the page; None without votes."""
    if judged is None:
        return None
    colours = {line.label: at % plots.COLOURS for at, line in enumerate(lines)}
    main = judged.first
    brackets = (
        f"In brackets: {100 * main.confidence:g} % limits for these votes, {main.claim}. They are for one look at the "
        "end; the rule for stopping, which allows many, asks for more."
    )
    notes = [sentence(judged), main.reason or brackets, *main.notes]
    counted = f"{words.count(main.votes, 'vote')} by {words.count(main.judges, 'judge')}"
    counted += f" on {words.count(main.prompts, 'prompt')}"
    also = [
        words.count(number, what, several)
        for number, what, several in (
            (main.both_bad, "more that called both bad", "more that called both bad"),
            (main.skipped, "skipped trial", None),
            (
                judged.inconsistent,
                "trial on which a model contradicted itself",
                "trials on which a model contradicted itself",
            ),
        )
        if number
    ]
    notes.append(f"{counted}{', beside ' + words.listed(also) if also else ''}. {_side(main.side)}")
    tables = [{"title": TITLES[name], "rows": _rows(found, colours)} for name, found in judged.by_criterion.items()]
    categories = [
        {"name": name, "votes": found.votes, "rates": {row["label"]: row["win_rate"] for row in _rows(found, colours)}}
        for name, found in judged.by_category.items()
    ]
    return {
        "notes": notes,
        "tables": tables,
        "categories": categories if len(categories) > 1 else [],
        "models": [{"label": label, "colour": colour} for label, colour in colours.items()],
    }


def _rows(found: Ratings, colours: Mapping[str, int]) -> list[Context]:
    return [
        {
            "label": one.model,
            "colour": colours.get(one.model, 0),
            "rating": _with_limits(one.rating, lambda value: f"{value:.0f}"),
            "win_rate": _with_limits(one.win_rate, words.percent),
            "rank": _rank(one.best_rank, one.worst_rank),
            "votes": f"{one.wins:,} / {one.losses:,} / {one.ties:,}",
            "both_bad": "none" if not one.both_bad_rate else words.percent(one.both_bad_rate),
            "share": one.win_rate.value,
            "low": one.win_rate.low,
            "high": one.win_rate.high,
        }
        for one in found.models
    ]


def _with_limits(estimate: Estimate, text: Any) -> str | None:
    if estimate.value is None:
        return None
    if estimate.low is None or estimate.high is None:
        return str(text(estimate.value))
    return f"{text(estimate.value)} ({text(estimate.low)} to {text(estimate.high)})"


def _rank(best: int | None, worst: int | None) -> str | None:
    if best is None or worst is None:
        return None
    return f"{best}" if best == worst else f"{best} to {worst}"


def _side(side: Estimate) -> str:
    """Whether the place on the screen mattered."""
    if side.value is None:
        return "Whether the left place helps is not known."
    share = words.percent(1 / (1 + math.exp(-side.value)))
    if side.low is None or side.high is None:
        return f"Of decided votes on equal pictures, {share} would go to the left one."
    low, high = (words.percent(1 / (1 + math.exp(-limit))) for limit in (side.low, side.high))
    return f"Of decided votes on equal pictures, {share} ({low} to {high}) would go to the left one."
