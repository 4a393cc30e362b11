"""Votes to a leaderboard: which votes are counted, and their ratings. Computed when asked for, never stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from diptych.arena import claims, ratings
from diptych.arena.ratings import Contrast, Estimate, Rating, Ratings, Scope
from diptych.arena.votes import CRITERIA, SKIP, Votes
from diptych.errors import InvalidRequest, StudyError, near
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes as kept
from diptych.studies.vote_files import read_votes

PEOPLE, MODELS = kept.KINDS
OF_FILE = "unknown"
JUDGES = {PEOPLE: "people", MODELS: "models", None: "people and models", OF_FILE: "unknown"}
"""Kinds of judges, as they are spoken of."""


@dataclass(frozen=True)
class Leaderboard:
    """Ratings of some votes."""

    of: str
    """Whose votes, in words: `the study foxes`, `all studies`, `votes.csv`."""
    kind: str | None
    """Of the judges: `person`, `model`, None for both; `unknown` in a file."""
    ratings: Ratings
    inconsistent: int
    """Pairs on which a model that judges chose otherwise when the sides were swapped, on any criterion: no votes."""
    claim: str
    """Of what and for whom the intervals hold."""
    notes: tuple[str, ...]
    """What must be said beside the numbers."""
    unknown: tuple[str, ...] = ()
    """Of `prompt` and `judge`, what a file says nothing of: their numbers mean nothing then."""

    @property
    def models(self) -> tuple[Rating, ...]:
        return self.ratings.models

    @property
    def headline(self) -> str:
        """The answer in a sentence, no wider than ranks hold."""
        rated = [one for one in self.models if one.rank is not None]
        if not rated:
            return "No vote says yet which of two models is better."
        if len(self.ratings.groups) > 1:
            return "These are several leaderboards: no vote connects them."
        best = [one.model for one in rated if one.best_rank == 1]
        if len(best) == 1:
            return f"{best[0]} is rated best of {len(rated)}."
        if len(best) == len(rated) > 3:
            return f"The evidence does not separate the {len(best)} models."
        if len(best) > 5:
            return f"The evidence does not separate the best {len(best)} of {len(rated)} models."
        return f"The evidence does not separate {', '.join(best[:-1])} and {best[-1]}."

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON. An unknown number is None."""
        r = self.ratings
        return {
            "of": self.of,
            "headline": self.headline,
            "judges_are": JUDGES[self.kind],
            "criterion": r.criterion,
            "category": r.category,
            "scope": r.scope,
            "claim": self.claim,
            "confidence": r.confidence,
            "no_intervals_because": r.reason,
            "notes": list(self.notes),
            "votes": r.votes,
            "both_bad": r.both_bad,
            "skipped": r.skipped,
            "inconsistent": self.inconsistent,
            "prompts": None if "prompt" in self.unknown else r.prompts,
            "judges": None if "judge" in self.unknown else r.judges,
            "models": [row(one) for one in r.models],
            "differences": [
                {"model": one.model, "other": one.other, **_plain("difference", one.difference), "apart": one.apart}
                for one in r.contrasts
            ],
            **_plain("side", r.side),
            "groups": [list(group) for group in r.groups],
            "made_by": {
                "prior_sd": r.prior_sd,
                "side_fitted": r.fitted_side,
                "iterations": r.iterations,
                "converged": bool(r.converged),
                "version": r.version,
            },
        }


def row(one: Rating) -> dict[str, Any]:
    """A model as a flat table has it."""
    return {
        "rank": one.rank,
        "best_rank": one.best_rank,
        "worst_rank": one.worst_rank,
        "model": one.model,
        **_plain("rating", one.rating),
        **_plain("win_rate", one.win_rate),
        "votes": one.votes,
        "wins": one.wins,
        "losses": one.losses,
        "ties": one.ties,
        "both_bad": one.both_bad,
        "both_bad_rate": one.both_bad_rate,
        "group": one.group,
    }


def _plain(name: str, estimate: Estimate) -> dict[str, Any]:
    return {
        name: estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_reason": estimate.reason,
    }


def leaderboard(
    store: Store,
    study_id: int | None = None,
    *,
    criterion: str = CRITERIA[0],
    category: str | None = None,
    scope: Scope = "these",
    kind: str | None = PEOPLE,
) -> Leaderboard:
    """The votes of one study, or of all, on one criterion and perhaps one category of prompts.

    kind: whose votes: `person`, `model`, or None for both. Raises StudyError where nobody has voted on that yet,
    InvalidRequest for a criterion that is none, or a category of no prompt.
    """
    if criterion not in CRITERIA:
        raise InvalidRequest(f"criterion is {criterion!r}; it is {', '.join(CRITERIA)}.")
    labels, known, name = _study(store, study_id)
    if category is not None and category not in known:
        raise InvalidRequest(_no_category(category, known))
    counted = kept.load(store, study_id, kind=kind, pictures=False)
    votes = _of(counted.votes, criterion, category)
    of = "all studies" if study_id is None else f"the study {name}"
    if not (votes.choice != SKIP).any():
        raise StudyError(_nobody(store, study_id, of, criterion, category, kind))
    if study_id is not None:
        votes = with_models(votes, labels)
    rated = ratings.rate(votes, scope)
    return Leaderboard(of, kind, rated, counted.inconsistent, rated.claim, rated.notes)


def of_file(
    path: Path, *, criterion: str | None = None, category: str | None = None, scope: Scope = "these"
) -> Leaderboard:
    """The votes of a file; see `vote_files`. criterion: may be left out where the file has one alone.

    Raises InvalidRequest for a file that cannot be read, a criterion or category that is not in it, and a scope beyond
    prompts or judges that it does not name.
    """
    found = read_votes(path)
    voted = tuple(dict.fromkeys(found.votes.criteria[i] for i in found.votes.criterion))
    if criterion is None and len(voted) > 1:
        raise InvalidRequest(f"{path} has votes on {', '.join(voted)}: choose one with --criterion.")
    if criterion is not None and criterion not in voted:
        raise InvalidRequest(f"{path} has no votes on {criterion!r}; it has {', '.join(voted) or 'none'}.")
    if category is not None and category not in found.votes.categories:
        raise InvalidRequest(_no_category(category, found.votes.categories))
    for what in found.unknown:
        if what in scope:
            raise InvalidRequest(f"{path} names no {what}s, so nothing can be said of other {what}s.")
    votes = _of(found.votes, (voted or CRITERIA)[0] if criterion is None else criterion, category)
    rated = ratings.rate(votes, scope)
    if not found.unknown:
        return Leaderboard(str(path), OF_FILE, rated, found.inconsistent, rated.claim, rated.notes)
    names = " and ".join(f"{what}s" for what in found.unknown)
    return Leaderboard(
        str(path),
        OF_FILE,
        rated,
        found.inconsistent,
        claims.scope(
            rated.prompts,
            None if "judge" in found.unknown else rated.judges,
            beyond_prompts="prompts" in scope,
            beyond_judges="judges" in scope,
            drawn=False,
        ),
        (*rated.notes, f"the file does not name {names}, so nothing can be said of others"),
        found.unknown,
    )


def with_models(votes: Votes, labels: Sequence[str]) -> Votes:
    """The same votes, with models named that nobody has voted on."""
    return dataclasses.replace(votes, models=(*votes.models, *(name for name in labels if name not in votes.models)))


def combined(several: Sequence[Votes]) -> Votes:
    """The votes of several studies as one: models, prompts, judges of the same name are the same. Without pictures."""
    names: dict[str, dict[str, int]] = {name: {} for name in ("models", "prompts", "judges", "categories")}

    def numbers(column: str, of: str | None = None) -> Any:
        parts = [np.zeros(0, np.float64 if column == "seconds" else np.int64)]
        for votes in several:
            part = getattr(votes, column)
            if of is not None:
                known = names[of]
                place = [known.setdefault(name, len(known)) for name in getattr(votes, of)]
                part = np.array([*place, -1], dtype=np.int64)[part]  # the last one stands for -1, which is none
            parts.append(part)
        return np.concatenate(parts)

    left, right = numbers("left", "models"), numbers("right", "models")
    prompt, judge, category = (
        numbers("prompt", "prompts"),
        numbers("judge", "judges"),
        numbers("category", "categories"),
    )
    return Votes(
        models=tuple(names["models"]),
        prompts=tuple(names["prompts"]),
        judges=tuple(names["judges"]),
        left=left,
        right=right,
        choice=numbers("choice"),
        prompt=prompt,
        judge=judge,
        criterion=numbers("criterion"),
        category=category,
        seconds=numbers("seconds"),
        categories=tuple(names["categories"]),
        drawn=all(votes.drawn for votes in several),
    )


def contrast(found: Ratings, one: str, other: str) -> Contrast | None:
    """None where no votes connect the two."""
    try:
        return found.contrast(one, other)
    except KeyError:
        return None


def _of(votes: Votes, criterion: str, category: str | None) -> Votes:
    about = votes.of_criterion(criterion) if criterion in votes.criteria else votes.where(votes.criterion < 0)
    if category is None:
        return about
    return about.of_category(category) if category in about.categories else about.where(np.zeros(len(about), bool))


def _study(store: Store, study_id: int | None) -> tuple[list[str], list[str], str]:
    """Labels and categories of a study, or of all, and the study's name."""
    c, p, s = schema.contestants, schema.prompts, schema.studies
    with store.reading() as connection:
        labels = select(c.c.label).order_by(c.c.id)
        categories = select(p.c.category).where(p.c.category.is_not(None)).order_by(p.c.id)
        if study_id is not None:
            labels, categories = labels.where(c.c.study_id == study_id), categories.where(p.c.study_id == study_id)
        name = connection.scalar(select(s.c.name).where(s.c.id == study_id)) if study_id is not None else None
        return (
            list(dict.fromkeys(connection.scalars(labels))),
            [one for one in dict.fromkeys(connection.scalars(categories)) if one is not None],
            str(name),
        )


def _no_category(category: str, known: Sequence[str]) -> str:
    if not known:
        return f"The category is {category!r}, and no prompt has one."
    hint = f"Did you mean {near(category, known)[0]}? " if near(category, known) else ""
    return f"No prompt is of the category {category!r}. {hint}There are {', '.join(known)}."


def _nobody(store: Store, study_id: int | None, of: str, criterion: str, category: str | None, kind: str | None) -> str:
    about = f" on {criterion}" + (f" for {category}" if category else "")
    if kind is not None:
        other = MODELS if kind == PEOPLE else PEOPLE
        votes = _of(kept.load(store, study_id, kind=other, pictures=False).votes, criterion, category)
        number = int((votes.choice != SKIP).sum())
        if number:
            there = f"In {of} there {'is' if number == 1 else 'are'} {number:,} vote{'' if number == 1 else 's'}"
            who = JUDGES[other]
            return f"{there} of {who}{about}, and none of {JUDGES[kind]}: --judges {who} counts them."
    return f"Nobody has voted{about} in {of} yet: `diptych judge` asks."
