"""How far a Davidson fit is from what more votes would give: covariances that take no vote for more than it is.

Three of them, all for the K + 2 parameters of `davidson.Fit`:

votes        sums over single votes (Huber's and White's sandwich, HC1): right where votes are independent.
clusters     the delete-one jackknife (CV3): leave out all votes of one prompt, or of one judge, take one step of
             Newton's method from the fit, and look how far it moves. Of the sandwiches for few clusters it is the one
             that never leans to the small side: Bell and McCaffrey (2002), who call it so; MacKinnon, Nielsen and
             Webb, Fast and reliable jackknife and bootstrap methods for cluster-robust inference (2023); Hansen,
             Jackknife standard errors for clustered regression (2025).
two ways     prompts + judges - (prompt, judge) cells: Cameron, Gelbach and Miller, Robust inference with multiway
             clustering (2011). The result need not be a covariance, which `intervals` answers for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diptych.arena import davidson
from diptych.arena.davidson import Array, Fit, Index

LEVERAGE = 0.01
"""A cluster with at most this share of each model's votes is not refitted without: it would change 1 % of its part."""
BLOCK = 2**19
"""Numbers in one table of cluster scores: 4 MB, which a processor keeps at hand."""
NEGLIGIBLE = 0.01
"""Of a variance."""
REFIT_BLOCK = 128
"""Clusters that are left out in one batch."""
TYPICAL_ICC = 0.05
"""Working correlation of two votes of one cluster: about that of preferences that differ from prompt to prompt with a
standard deviation of 0.5 logits. It only weighs large clusters against small ones in `effective`."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Votes that were rated, a row each, and what they add to the slope of the log-likelihood."""

    left: Index
    right: Index
    along_s: Array
    along_tie: Array

    @classmethod
    def of(cls, fit: Fit, left: Index, right: Index, choice: Index) -> Rows:
        """choice: left, right or tie."""
        along_s, along_tie = davidson.residuals(davidson.probabilities(fit.parameters, fit.side))
        cell = (left * fit.models + right) * 3 + choice
        return cls(left, right, np.ravel(along_s)[cell], np.ravel(along_tie)[cell])

    def take(self, rows: Index | slice) -> Rows:
        return Rows(self.left[rows], self.right[rows], self.along_s[rows], self.along_tie[rows])


@dataclass(frozen=True, eq=False)
class Clustered:
    """A covariance by clusters, and who is in them."""

    covariance: Array
    """(K + 2, K + 2)."""
    clusters: int
    """Those with a rated vote."""
    votes: Array
    """(clusters, K + 2): votes on each model, and all of them in the column of the side term; ties have none."""


def by_vote(fit: Fit) -> Array:
    """(K + 2, K + 2): sandwich over single votes, times n / (n - what was fitted), as for HC1."""
    along_s, along_tie = davidson.residuals(davidson.probabilities(fit.parameters, fit.side))
    products = (along_s * along_s, along_s * along_tie, along_tie * along_tie)
    ss, st, tt = ((fit.counts * each).sum(axis=-1) for each in products)
    meat = davidson.assemble(ss, st, tt, fit.side)
    bread = fit.covariance
    freedom = degrees(fit)
    return bread @ meat @ bread * (fit.votes / freedom if freedom else 1.0)


def degrees(fit: Fit) -> int:
    """Votes less the parameters that they fit, at least 0."""
    played = int((_played(fit) > 0).sum())
    return max(int(fit.votes) - max(played - 1, 0) - 1 - fit.side, 0)


def by_cluster(fit: Fit, rows: Rows, cluster: Index) -> Clustered:
    """Jackknife over clusters. cluster: number of each row's cluster, 0 and up."""
    codes, clusters = _compact(cluster)
    votes = np.zeros((clusters, fit.models + 2))
    covariance = np.zeros_like(fit.information)
    for block in _blocks(rows, codes, clusters, fit.models + 2):
        members = votes[block.first : block.first + block.clusters] = _members(fit, block)
        covariance += _moved(fit, block, members)
    return Clustered(covariance * _shrunk(clusters), clusters, votes)


def by_cell(fit: Fit, rows: Rows, one: Index, other: Index) -> Array:
    """(K + 2, K + 2): the same over cells, each of them what one cluster of the first and one of the second share.

    Cells of few votes each are as many single votes: what they would add to the sandwich over votes is less than
    `NEGLIGIBLE` of what clusters add, and is left out.
    """
    codes, cells = _compact(one * (int(other.max(initial=0)) + 1) + other)
    if _pairs(codes) <= NEGLIGIBLE * (_pairs(_compact(one)[0]) + _pairs(_compact(other)[0])):
        return by_vote(fit)
    least = _played(fit)[_played(fit) > 0].min(initial=np.inf)
    covariance = np.zeros_like(fit.information)
    for block in _blocks(rows, codes, cells, fit.models + 2):
        # Most cells hold few votes, and then there is no need to count on which models.
        some_large = np.bincount(block.code).max(initial=0) > LEVERAGE * least
        covariance += _moved(fit, block, _members(fit, block) if some_large else None)
    return covariance * _shrunk(cells)


def effective(votes: Array, weights: Array) -> Array:
    """How many clusters of equal size would be worth as much, for each of several contrasts.

    votes: (clusters, K + 2) as in `Clustered`. weights: (contrasts, K + 2). A model's strength is known about as well
    as an average of its votes, and q votes of one cluster add to the variance of that a part proportional to
    q + ICC q (q - 1). What clusters add to a contrast counts as the squares of its weights, and equal parts count
    fully: (sum of parts) squared / sum of squared parts. Carter, Schnepel and Steigerwald, Asymptotic behavior of a
    t-test robust to cluster heterogeneity (2017).
    """
    totals = np.maximum(votes.sum(axis=0), 1.0)
    of_models = (votes * (1 - TYPICAL_ICC) + TYPICAL_ICC * votes**2) / totals**2
    result = np.zeros(len(weights))
    step = max(1, 2 * BLOCK // max(len(votes), 1))
    for first in range(0, len(weights), step):
        parts = weights[first : first + step] ** 2 @ of_models.T
        squares = np.einsum("cg,cg->c", parts, parts)
        total = parts.sum(axis=1)
        result[first : first + step] = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
    return result


def _compact(cluster: Index) -> tuple[Index, int]:
    """Clusters numbered without gaps, and how many there are."""
    highest = int(cluster.max(initial=-1)) + 1
    if highest > 4 * len(cluster) + 1024:
        names, codes = np.unique(cluster, return_inverse=True)
        return codes.astype(np.int64), len(names)
    present = np.bincount(cluster, minlength=highest) > 0
    if present.all():
        return cluster, highest
    return (np.cumsum(present) - 1)[cluster], int(present.sum())


@dataclass(frozen=True, eq=False)
class _Block:
    """The rows of some consecutive clusters."""

    rows: Rows
    code: Index
    """Of each row's cluster, counted from `first`."""
    first: int
    clusters: int


def _blocks(rows: Rows, codes: Index, clusters: int, width: int) -> Iterator[_Block]:
    """All rows, in blocks of clusters that need a table of `width` numbers each."""
    size = max(1, BLOCK // width)
    if clusters <= size or len(codes) <= size:
        yield _Block(rows, codes, 0, clusters)
        return
    block = codes // size
    # numpy sorts 16 bits in one pass over the digits, and longer numbers by comparing them.
    order = np.argsort(block.astype(np.uint16) if clusters // size < 2**16 else block, kind="stable")
    ends = np.cumsum(np.bincount(block))
    codes, rows = codes[order], rows.take(order)
    for number, end in enumerate(ends):
        chosen = slice(int(ends[number - 1]) if number else 0, int(end))
        first = number * size
        yield _Block(rows.take(chosen), codes[chosen] - first, first, min(size, clusters - first))


def _scores(fit: Fit, block: _Block) -> Array:
    """(clusters, K + 2): slopes of the log-likelihood, summed by cluster."""
    rows, code, models = block.rows, block.code, fit.models
    shape = (block.clusters, models)
    base = code * models
    scores = np.empty((block.clusters, models + 2))
    plus = np.bincount(base + rows.left, weights=rows.along_s, minlength=block.clusters * models)
    minus = np.bincount(base + rows.right, weights=rows.along_s, minlength=block.clusters * models)
    np.subtract(plus.reshape(shape), minus.reshape(shape), out=scores[:, :models])
    scores[:, models] = np.bincount(code, weights=rows.along_s, minlength=block.clusters) if fit.side else 0.0
    scores[:, models + 1] = np.bincount(code, weights=rows.along_tie, minlength=block.clusters)
    return scores


def _members(fit: Fit, block: _Block) -> Array:
    """(clusters, K + 2): votes as in `Clustered`."""
    base = block.code * fit.models
    on_models = sum(
        np.bincount(base + side, minlength=block.clusters * fit.models) for side in (block.rows.left, block.rows.right)
    )
    members = np.zeros((block.clusters, fit.models + 2))
    members[:, : fit.models] = np.reshape(on_models, (block.clusters, fit.models))
    members[:, fit.models] = np.bincount(block.code, minlength=block.clusters)
    return members


def _moved(fit: Fit, block: _Block, members: Array | None) -> Array:
    """Sum over clusters of the squared steps that the fit takes without each of them; no members: none is large."""
    scores = _scores(fit, block)
    if members is None:
        return np.asarray(fit.covariance @ (scores.T @ scores) @ fit.covariance, dtype=np.float64)
    models, rows, code = fit.models, block.rows, block.code
    steps = scores @ fit.covariance
    large = np.flatnonzero((members[:, :models] > LEVERAGE * _played(fit)).any(axis=1))
    p = davidson.probabilities(fit.parameters, fit.side)
    for first in range(0, len(large), REFIT_BLOCK):
        batch = large[first : first + REFIT_BLOCK]
        place = np.full(block.clusters, -1)
        place[batch] = np.arange(len(batch))
        where = place[code]
        inside = where >= 0
        cells = (where[inside] * models + rows.left[inside]) * models + rows.right[inside]
        totals = np.bincount(cells, minlength=len(batch) * models**2).reshape(-1, models, models).astype(np.float64)
        without = fit.information - davidson.information(totals, p, fit.side)
        steps[batch] = np.linalg.solve(without, scores[batch][..., None])[..., 0]
    return np.asarray(steps.T @ steps, dtype=np.float64)


def _played(fit: Fit) -> Array:
    """(K,): rated votes on each model."""
    return np.asarray(fit.counts.sum(axis=(1, 2)) + fit.counts.sum(axis=(0, 2)), dtype=np.float64)


def _pairs(codes: Index) -> float:
    """Pairs of different rows with the same code: as many covariances as a cluster adds to its variances."""
    sizes = np.bincount(codes).astype(np.float64)
    return float(sizes @ (sizes - 1))


def _shrunk(clusters: int) -> float:
    """The jackknife's factor, (G - 1) / G."""
    return (clusters - 1) / clusters if clusters else 1.0
