"""Votes as columns of numbers: what ratings, stopping rules and agreement are computed from.

A vote is about a trial: two pictures of one prompt, by two models, on two sides. It is one of five things, which stay
distinct: `left` or `right` is better, a `tie`, `both_bad`, or `skip`. A judge is an opaque name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import InvalidRequest

CHOICES = ("left", "right", "tie", "both_bad", "skip")
LEFT, RIGHT, TIE, BOTH_BAD, SKIP = range(len(CHOICES))
CRITERIA = ("overall", "detail", "follows the prompt")

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Vote:
    """One vote, in words."""

    left: str
    """Model on the left side, `right` on the other."""
    right: str
    choice: str
    """One of CHOICES."""
    prompt: str
    judge: str
    criterion: str = CRITERIA[0]
    category: str | None = None
    seconds: float | None = None
    """From seeing both pictures to voting; None is unknown."""
    pictures: str | None = None
    """Names the two pictures, whichever side each was on; None is unknown."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Many votes. All columns have the same length; numbers index the tuples of names."""

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    judges: tuple[str, ...]
    left: Column
    """Index into `models`, as is `right`."""
    right: Column
    choice: Column
    """Index into CHOICES."""
    prompt: Column
    judge: Column
    criterion: Column
    """Index into `criteria`."""
    category: Column
    """Index into `categories`; -1 is none."""
    seconds: NDArray[np.float64]
    """NaN is unknown."""
    criteria: tuple[str, ...] = CRITERIA
    categories: tuple[str, ...] = field(default=())
    pictures: Column | None = None
    """Equal where the same two pictures were judged, -1 is unknown; None is unknown throughout."""
    drawn: bool = True
    """Whether trials were drawn at random, as `pairs` does; False where votes came from elsewhere. Claims say which."""

    def __len__(self) -> int:
        return len(self.choice)

    def where(self, keep: NDArray[np.bool_]) -> Votes:
        """Those votes for which `keep` is true; names stay, so that indices keep their meaning."""
        columns = ("left", "right", "choice", "prompt", "judge", "criterion", "category", "seconds")
        return Votes(
            **{name: getattr(self, name)[keep] for name in columns},
            models=self.models,
            prompts=self.prompts,
            judges=self.judges,
            criteria=self.criteria,
            categories=self.categories,
            pictures=None if self.pictures is None else self.pictures[keep],
            drawn=self.drawn,
        )

    def of_criterion(self, name: str) -> Votes:
        """Those about one criterion. Raises KeyError for one that nobody voted on."""
        if name not in self.criteria:
            raise KeyError(name)
        return self.where(self.criterion == self.criteria.index(name))

    def of_category(self, name: str) -> Votes:
        """Those on prompts of one category. Raises KeyError for one that no prompt has."""
        if name not in self.categories:
            raise KeyError(name)
        return self.where(self.category == self.categories.index(name))


def collect(votes: Iterable[Vote], models: Sequence[str] = ()) -> Votes:
    """Votes as columns. models: in this order first, also those without a vote; others follow as they appear.

    Raises InvalidRequest for a choice that is none of CHOICES, or a model that is compared with itself.
    """
    votes = list(votes)
    names: dict[str, dict[Any, int]] = {
        "model": {name: i for i, name in enumerate(models)},
        "prompt": {},
        "judge": {},
        "criterion": {name: i for i, name in enumerate(CRITERIA)},
        "category": {},
        "pictures": {},
    }

    def index(kind: str, name: Any) -> int:
        known = names[kind]
        return known.setdefault(name, len(known))

    for number, vote in enumerate(votes, start=1):
        if vote.choice not in CHOICES:
            raise InvalidRequest(f"Vote {number} is {vote.choice!r}; a vote is one of {', '.join(CHOICES)}.")
    rows = [
        (
            index("model", vote.left),
            index("model", vote.right),
            CHOICES.index(vote.choice),
            index("prompt", vote.prompt),
            index("judge", vote.judge),
            index("criterion", vote.criterion),
            -1 if vote.category is None else index("category", vote.category),
            -1 if vote.pictures is None else index("pictures", vote.pictures),
        )
        for vote in votes
    ]
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 8).T
    left, right, choice, prompt, judge, criterion, category, pictures = (
        np.ascontiguousarray(column) for column in columns
    )
    collected = Votes(
        models=tuple(names["model"]),
        prompts=tuple(names["prompt"]),
        judges=tuple(names["judge"]),
        left=left,
        right=right,
        choice=choice,
        prompt=prompt,
        judge=judge,
        criterion=criterion,
        category=category,
        seconds=np.array([np.nan if vote.seconds is None else vote.seconds for vote in votes]),
        criteria=tuple(names["criterion"]),
        categories=tuple(names["category"]),
        pictures=pictures,
    )
    check(collected)
    return collected


def check(votes: Votes) -> None:
    """Raises InvalidRequest where columns differ in length, a number has no name, or a model meets itself."""
    named = {
        "left": votes.models,
        "right": votes.models,
        "choice": CHOICES,
        "prompt": votes.prompts,
        "judge": votes.judges,
        "criterion": votes.criteria,
        "category": votes.categories,
        "seconds": None,
        "pictures": None,
    }
    for name, names in named.items():
        column = getattr(votes, name)
        if column is None:
            continue
        if column.shape != (len(votes),):
            raise InvalidRequest(f"The column {name} has the shape {column.shape}, and there are {len(votes)} votes.")
        if names is None or not len(column):
            continue
        if column.dtype.kind not in "iu":
            raise InvalidRequest(f"The column {name} holds {column.dtype}; it takes whole numbers.")
        least, low, high = -1 if name == "category" else 0, int(column.min()), int(column.max())
        if low < least or high >= len(names):
            wrong = low if low < least else high
            row = int(np.argmax(column == wrong))
            raise InvalidRequest(f"Vote {row + 1} has {wrong} as its {name}; there are {len(names)}, numbered from 0.")
    same = votes.left == votes.right
    if same.any():
        row = int(np.argmax(same))
        raise InvalidRequest(f"Vote {row + 1} compares {votes.models[votes.left[row]]!r} with itself.")


def present(column: Column) -> list[int]:
    """The different numbers of a column, in order; -1 and up."""
    return [int(i) - 1 for i in np.flatnonzero(np.bincount(column + 1))]


def one_criterion(votes: Votes) -> str | None:
    """The criterion that all votes are about, None without a vote. Raises InvalidRequest where there are several."""
    found = present(votes.criterion)
    if len(found) > 1:
        names = ", ".join(repr(votes.criteria[i]) for i in found)
        raise InvalidRequest(f"These votes are about {names}: take those about one of them, with of_criterion.")
    return votes.criteria[found[0]] if found else None
