"""Who was compared with whom, and which differences the votes leave without a limit.

Strengths can be compared within a component of the graph of votes. Between two models of one component the difference
is finite without help of the prior when there is a way of wins or ties from each to the other: Ford, Solution of a
ranking problem from binary comparisons (1957). If there is a way only from A to B, the likelihood grows with the
difference for ever, which is called separation: an unbeaten model is the usual case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diptych.arena.davidson import Array, Index
from diptych.arena.votes import LEFT, RIGHT, TIE

Relation = NDArray[np.bool_]


def components(counts: Array) -> Index:
    """(K,): number of each model's component, in the order of their first models; -1 for one without a vote.

    counts: (K, K, 3), as in `davidson`.
    """
    met = counts.sum(axis=-1) > 0
    joined = _closed(met | met.T)
    numbers = np.full(len(counts), -1)
    count = 0
    for model in np.flatnonzero((met | met.T).any(axis=1)):
        if numbers[model] < 0:
            numbers[joined[model]] = count
            count += 1
    return numbers


def not_below(counts: Array) -> Relation:
    """(K, K): whether a way of wins or ties leads from model i to model j, or i is j."""
    won = counts[..., LEFT] + counts[..., RIGHT].T + counts[..., TIE] + counts[..., TIE].T
    return _closed(won > 0)


def core(reach: Relation, members: Index) -> Index:
    """The most models of one component whose differences all have limits; all of it where no two are such.

    reach: as from `not_below`. members: numbers of the component's models.
    """
    both = (reach & reach.T)[np.ix_(members, members)]
    sizes = both.sum(axis=1)
    return members[both[int(sizes.argmax())]] if len(members) and sizes.max() > 1 else members


def _closed(relation: Relation) -> Relation:
    """What relation, applied any number of times, leads from each to each."""
    reach = relation | np.eye(len(relation), dtype=bool)
    while True:
        further = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (further == reach).all():
            return reach
        reach = further
