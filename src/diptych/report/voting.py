"""The sections on votes: of people, and apart from them of models. Plain values for the template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from diptych.arena.agreement import Alpha, Judge, Position
from diptych.arena.intervals import Estimate
from diptych.arena.ratings import Ratings
from diptych.report import plots, words
from diptych.report.judged import Judged, sentence
from diptych.report.summary import Line

TITLES = {"overall": "Overall", "detail": "Detail", "follows the prompt": "Follows the prompt"}
MOST_JUDGES = 12
"""In the table; those to look at come before all others then."""
Context = dict[str, Any]


def of_people(judged: Judged | None, lines: Sequence[Line], study: str) -> Context:
    """Without votes, how to get some."""
    if judged is None:
        return {"notes": [], "nothing": "No person has judged these pictures yet.", "how": f"diptych judge {study}"}
    names = {one.judge: f"Judge {at}" for at, one in enumerate(judged.judges, start=1)}
    return _section(judged, lines, names, ("person", "people"))


def of_models(judged: Judged | None, lines: Sequence[Line], names: Mapping[str, str]) -> Context | None:
    """names: of the models, by their ids as judges."""
    if judged is None:
        return None
    named = {one.judge: names.get(one.judge, f"Model {at}") for at, one in enumerate(judged.judges, start=1)}
    return _section(judged, lines, named, ("model", "models"))


def _section(judged: Judged, lines: Sequence[Line], names: Mapping[str, str], who: tuple[str, str]) -> Context:
    colours = {line.label: at % plots.COLOURS for at, line in enumerate(lines)}
    models = who[0] == "model"
    return {
        "nothing": None,
        "notes": _notes(judged, who),
        "tables": [
            {
                "title": TITLES[name],
                "rows": _rows(found, colours),
                "categories": _categories(judged.by_category[name], colours),
            }
            for name, found in judged.by_criterion.items()
        ],
        "models": [
            {"label": label, "colour": colour}
            for label, colour in colours.items()
            if label in {one.model for one in judged.first.models}
        ],
        "alike": [
            {
                "title": TITLES[name],
                "votes": words.count(found.votes + found.both_bad, "vote"),
                "judges": words.count(found.judges, *who),
                "left": None if models else _left(judged.position[name]),
                "even": None if models else _even(judged.position[name]),
                "alpha": _alpha(judged.alpha[name]),
            }
            for name, found in judged.by_criterion.items()
        ],
        "sides": not models,
        "judges": _judges(judged.judges, names),
        "judge_notes": _judge_notes(judged, who),
    }


def _notes(judged: Judged, who: tuple[str, str]) -> list[str]:
    main = judged.first
    brackets = (
        f"In brackets: {100 * main.confidence:g} % limits for these votes, {main.claim}. They are for one look at the "
        "end; the rule for stopping, which allows many, asks for more."
    )
    rated = [one.win_rate for found in _all(judged) for one in found.models if one.win_rate.value is not None]
    reasons = list(dict.fromkeys(one.reason for one in rated if one.reason is not None))
    notes = [sentence(judged)]
    limited = any(one.low is not None for one in rated)
    notes += [brackets] if limited else []
    notes += [f"{'Without brackets' if limited else 'No limits'}: {'; '.join(reasons)}."] if reasons else []
    notes += [words.sentence(one, [model.model for model in main.models]) for one in main.notes]
    counted = f"{words.count(main.votes, 'vote')} by {words.count(main.judges, *who)}"
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
    return [*notes, f"{counted}{', beside ' + words.listed(also) if also else ''}."]


def _all(judged: Judged) -> Iterator[Ratings]:
    """All that is in tables."""
    for name, found in judged.by_criterion.items():
        yield found
        yield from judged.by_category[name].values()


# Tables


def _rows(found: Ratings, colours: Mapping[str, int]) -> list[Context]:
    return [
        {
            "label": one.model,
            "colour": colours.get(one.model, 0),
            "rating": with_limits(one.rating, lambda value: f"{value:,.0f}"),
            "wins": _share(one.win_rate),
            "rank": _rank(one.best_rank, one.worst_rank),
            "votes": f"{one.wins:,} / {one.losses:,} / {one.ties:,}",
            "both_bad": "none" if not one.both_bad_rate else words.percent(one.both_bad_rate),
        }
        for one in found.models
    ]


def _categories(found: Mapping[str, Ratings], colours: Mapping[str, int]) -> list[Context]:
    """Nothing where there is but one: it would say the same again."""
    if len(found) < 2:
        return []
    return [
        {
            "name": name,
            "votes": f"{rated.votes:,}",
            "wins": {one.model: {**_share(one.win_rate), "colour": colours.get(one.model, 0)} for one in rated.models},
        }
        for name, rated in found.items()
    ]


def _share(estimate: Estimate) -> Context:
    """Of 0 to 1: in words, and in percent for the small drawing beside them."""
    at, low, high = (None if x is None else f"{100 * x:.1f}" for x in (estimate.value, estimate.low, estimate.high))
    rest = None if estimate.high is None else f"{100 - 100 * estimate.high:.1f}"
    limited = low is not None and high is not None
    return {
        "said": with_limits(estimate, words.percent),
        "at": at,
        "low": low if limited else None,
        "rest": rest if limited else None,
    }


def with_limits(estimate: Estimate, text: Callable[[float], str]) -> str | None:
    """`62 % (48 to 75 %)`; None where there is no estimate."""
    if estimate.value is None:
        return None
    if estimate.low is not None and estimate.high is not None:
        return f"{text(estimate.value)} ({text(estimate.low).removesuffix(' %')} to {text(estimate.high)})"
    if estimate.low is not None:
        return f"{text(estimate.value)} (from {text(estimate.low)})"
    return f"{text(estimate.value)} (to {text(estimate.high)})" if estimate.high is not None else text(estimate.value)


def _rank(best: int | None, worst: int | None) -> str | None:
    if best is None or worst is None:
        return None
    return f"{best}" if best == worst else f"{best} to {worst}"


# Judges


def _left(position: Position) -> str:
    decided = position.left + position.right
    if not decided or position.share_left is None:
        return "none was decided"
    return f"{position.left:,} of {decided:,} ({words.percent(position.share_left)})"


def _even(position: Position) -> str:
    return with_limits(position.even_share, words.percent) or "unknown"


def _alpha(alpha: Alpha) -> str:
    if alpha.value is None:
        return f"none: {alpha.reason}"
    on = words.count(alpha.units, "pair of pictures", "pairs of pictures")
    return f"{alpha.value:.2f}, on {on}"


def _judges(judges: Sequence[Judge], names: Mapping[str, str]) -> list[Context]:
    shown = judges
    if len(judges) > MOST_JUDGES:
        shown = sorted(judges, key=lambda one: not one.flagged)[:MOST_JUDGES]
    return [
        {
            "name": names[one.judge],
            "votes": f"{one.left + one.right + one.ties + one.both_bad:,}",
            "sides": f"{one.left:,} / {one.right:,} / {one.ties:,}",
            "both_bad": f"{one.both_bad:,}",
            "skipped": f"{one.skipped:,}",
            "seconds": None if one.median_seconds is None else words.seconds(one.median_seconds),
            "agreed": f"{one.agreed:,} of {one.compared:,}" if one.compared else None,
            "reasons": words.listed(one.reasons),
        }
        for one in shown
    ]


def _judge_notes(judged: Judged, who: tuple[str, str]) -> list[str]:
    notes = ["Krippendorff's alpha is 1 where judges always agree, and 0 where they agree as often as by chance."]
    if who[0] == "person":
        notes.insert(0, "Between equals: how often the left one would win if the models were equal; 50 % is no bias.")
    else:
        notes.insert(0, "A model is asked about both orders of a pair, so a side that it favours is no vote.")
    flagged = sum(one.flagged for one in judged.judges)
    if flagged:
        notes.append(f"{words.count(flagged, 'judge')} to look at. Nothing is left out: talk first, then decide.")
    else:
        notes.append("No judge stands out by a side, by haste, or against all others.")
    left = len(judged.judges) - MOST_JUDGES
    if left > 0:
        notes.append(f"{left:,} more {'is' if left == 1 else 'are'} not listed; those to look at come first.")
    return notes
