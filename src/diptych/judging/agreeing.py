"""How far a model that judges agrees with people who judged the same pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sqlalchemy import select

from diptych.arena.votes import BOTH_BAD, CRITERIA, LEFT, RIGHT, SKIP, TIE, Votes
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes as kept


@dataclass(frozen=True)
class Agreement:
    """How often a model and people said the same of the same two pictures."""

    pictures: int
    """Pairs of pictures that the model and at least one person judged."""
    compared: int
    """Votes of people on them: each is compared with the model's."""
    same: int
    """Votes of people that named the same picture as the model did, or a tie, or both bad, as it did."""
    kappa: float | None
    """Cohen's: 1 is always the same, 0 what chance alone gives. None without pairs, and where all say one thing."""

    @property
    def share(self) -> float | None:
        return self.same / self.compared if self.compared else None


def agreement(store: Store, study_id: int, judge: str, criterion: str = CRITERIA[0]) -> Agreement:
    """Of one judge with all people, on pairs of pictures that both judged; skipped and inconsistent ones left out."""
    votes = kept.load(store, study_id).votes
    votes = votes.where((votes.criterion == CRITERIA.index(criterion)) & (votes.choice != SKIP))
    with store.reading() as connection:
        j = schema.judges
        people = set(connection.scalars(select(j.c.id).where(j.c.kind == "person")))
    named = _named(votes)
    at = np.array([name == judge for name in votes.judges], bool)[votes.judge]
    of_people = np.array([name in people for name in votes.judges], bool)[votes.judge]
    pictures = cast("Any", votes.pictures)
    own = dict(zip(pictures[at].tolist(), named[at].tolist(), strict=True))
    both = [
        (own[pair], said, pair)
        for pair, said in zip(pictures[of_people].tolist(), named[of_people].tolist(), strict=True)
        if pair in own
    ]
    ours, theirs = [one for one, _, _ in both], [other for _, other, _ in both]
    return Agreement(
        pictures=len({pair for _, _, pair in both}),
        compared=len(both),
        same=sum(one == other for one, other in zip(ours, theirs, strict=True)),
        kappa=_kappa(ours, theirs),
    )


def _named(votes: Votes) -> Any:
    """What each vote says, whichever side the models were on: the better one's number, or less than 0."""
    return np.select(
        [votes.choice == LEFT, votes.choice == RIGHT, votes.choice == TIE, votes.choice == BOTH_BAD],
        [votes.left, votes.right, np.full(len(votes), -1), np.full(len(votes), -2)],
    )


def _kappa(ours: list[int], theirs: list[int]) -> float | None:
    """(observed - expected) / (1 - expected). Cohen, A coefficient of agreement for nominal scales (1960)."""
    number = len(ours)
    if not number:
        return None
    observed = sum(one == other for one, other in zip(ours, theirs, strict=True)) / number
    mine, others = Counter(ours), Counter(theirs)
    expected = sum(mine[said] * others[said] for said in mine) / number**2
    return None if expected == 1 else (observed - expected) / (1 - expected)
