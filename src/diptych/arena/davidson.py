"""The Davidson model: how likely left, right and tie are, given how strong two models are. Fitted to pair counts.

With strengths a and b of the models on the left and on the right, s = a - b + side:

    left : right : tie  =  exp(s / 2) : exp(-s / 2) : exp(tie)

so among decided votes the left one wins with probability 1 / (1 + exp(-s)), which is Bradley and Terry's model, and
two equal models tie with probability exp(tie) / (2 + exp(tie)). `side` is how much the left place helps.

Source: R. R. Davidson, On extending the Bradley-Terry model to accommodate ties in paired comparison experiments,
JASA 65 (1970), 317-328; his nu is exp(tie). A term for the side, as for playing at home: A. Agresti, Categorical Data
Analysis, 2nd edition (2002), section 10.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diptych.arena.votes import LEFT, RIGHT, TIE

PRIOR_SD = 2.0
"""Of strengths, side and tie, in natural logits: two models whose strengths differ by one such step are at 88 : 12."""
TOLERANCE = 1e-12
"""Fitted when the step that is taken last moves the parameters by less than the root of this, in standard errors."""
LIMIT = 100
"""Steps of Newton's method at most; five to fifteen are usual."""

SMALLEST_EIGENVALUE = 1e-13
"""Of the largest; any less, and equations cannot be solved in double precision."""
ROUNDING = 1e-14
"""Relative error of a log-likelihood."""

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fit:
    """Parameters at the mode of likelihood times prior, for K models: K strengths, then side, then tie."""

    parameters: Array
    """(K + 2,), natural logits. Strengths sum to zero within each component of the comparison graph."""
    information: Array
    """(K + 2, K + 2): minus the second derivatives there, the prior's share included."""
    counts: Array
    """(K, K, 3): how often left, right, tie came of model i on the left and model j on the right."""
    prior_sd: float
    side: bool
    """Whether the side term was fitted; without, it is zero."""
    iterations: int
    converged: bool
    log_likelihood: float
    """Of the votes, without the prior."""

    @property
    def models(self) -> int:
        return len(self.counts)

    @property
    def votes(self) -> float:
        return float(self.counts.sum())

    @property
    def strengths(self) -> Array:
        return self.parameters[: self.models]

    @cached_property
    def covariance(self) -> Array:
        """(K + 2, K + 2): the inverse of the information. Of the parameters if votes are independent and alike."""
        return np.asarray(np.linalg.inv(self.information), dtype=np.float64)


def pair_counts(models: int, left: Index, right: Index, choice: Index) -> Array:
    """(K, K, 3) from columns of votes that are all left, right or tie: everything that the fit needs of them."""
    cells = (left * models + right) * 3 + choice
    return np.bincount(cells, minlength=models * models * 3).reshape(models, models, 3).astype(np.float64)


def probabilities(parameters: Array, side: bool = True) -> Array:
    """(K, K, 3): probability of left, right, tie for model i on the left and j on the right; no overflow."""
    strengths, gamma, tie = parameters[:-2], parameters[-2] if side else 0.0, parameters[-1]
    half = (strengths[:, None] - strengths[None, :] + gamma) / 2
    exponents = np.stack([half, -half, np.full_like(half, tie)], axis=-1)
    exponents -= exponents.max(axis=-1, keepdims=True)
    weights = np.exp(exponents)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float64)


def residuals(p: Array) -> tuple[Array, Array]:
    """What one vote adds to the slope of the log-likelihood: (K, K, 3) along s, and the same along tie.

    p: as from `probabilities`. Along s for the left model and the side term; for the right one with the other sign.
    """
    expected = (p[..., LEFT] - p[..., RIGHT])[..., None]
    along_s = (np.array([1.0, -1.0, 0.0]) - expected) / 2
    along_tie = np.array([0.0, 0.0, 1.0]) - p[..., TIE][..., None]
    return along_s, along_tie


def curvature(p: Array) -> tuple[Array, Array, Array]:
    """What one vote of each ordered pair adds to the information: (K, K) for s with s, s with tie, tie with tie."""
    lead, tie = p[..., LEFT] - p[..., RIGHT], p[..., TIE]
    return (1 - tie - lead**2) / 4, -tie * lead / 2, tie * (1 - tie)


def information(totals: Array, p: Array, side: bool) -> Array:
    """(..., K + 2, K + 2) of votes counted per ordered pair, (..., K, K); leading axes are sets of votes."""
    ss, st, tt = curvature(p)
    return assemble(totals * ss, totals * st, totals * tt, side)


def assemble(ss: Array, st: Array, tt: Array, side: bool) -> Array:
    """(..., K + 2, K + 2) from sums per ordered pair, (..., K, K) each, of products along s and along tie."""
    models = ss.shape[-1]
    gamma, tie = models, models + 1
    result = np.zeros((*ss.shape[:-2], models + 2, models + 2))
    result[..., :models, :models] = -(ss + np.swapaxes(ss, -1, -2))
    diagonal = np.arange(models)
    result[..., diagonal, diagonal] += ss.sum(axis=-1) + ss.sum(axis=-2)
    result[..., :models, tie] = st.sum(axis=-1) - st.sum(axis=-2)
    result[..., tie, tie] = tt.sum(axis=(-1, -2))
    if side:
        result[..., :models, gamma] = ss.sum(axis=-1) - ss.sum(axis=-2)
        result[..., gamma, gamma] = ss.sum(axis=(-1, -2))
        result[..., gamma, tie] = st.sum(axis=(-1, -2))
    lower = np.tril_indices(models + 2, -1)
    result[..., lower[0], lower[1]] = result[..., lower[1], lower[0]]
    return result


def fit(counts: Array, prior_sd: float = PRIOR_SD, *, side: bool = True, limit: int = LIMIT) -> Fit:
    """Strengths, side and tie that make votes and prior most likely.

    counts: (K, K, 3) as from `pair_counts`; fractions are possible. prior_sd: of a normal prior around zero on every
    parameter, which keeps an unbeaten model finite; 2 is worth about half a vote between two models, more is less.

    The log-likelihood is concave, so Newton's method with halved steps goes up until it is there; `converged` says
    whether it was within `limit` steps.
    """
    models = len(counts)
    totals, precision = counts.sum(axis=-1), np.full(models + 2, prior_sd**-2)
    parameters = np.zeros(models + 2)
    p = probabilities(parameters, side)
    value = _log_posterior(counts, p, precision, parameters)
    converged, iterations = False, 0
    while not converged and iterations < limit:
        iterations += 1
        slope = gradient(counts, p, side) - precision * parameters
        step = np.linalg.solve(with_prior(information(totals, p, side), prior_sd), slope)
        promised = float(slope @ step)
        # A sum of many logarithms is known only so well; below that, no rise can be seen and none is asked for.
        unseen = ROUNDING * (abs(value) + totals.sum())
        converged = bool(promised < max(TOLERANCE, unseen))
        size, before = 1.0, parameters
        parameters = before + step
        p = probabilities(parameters, side)
        while (risen := _log_posterior(counts, p, precision, parameters)) < value + 1e-4 * size * promised - unseen:
            size /= 2
            parameters = before + size * step
            p = probabilities(parameters, side)
        value = risen
    hessian = with_prior(information(totals, p, side), prior_sd)
    return Fit(parameters, hessian, counts, prior_sd, side, iterations, converged, _log_likelihood(counts, p))


def with_prior(information: Array, prior_sd: float) -> Array:
    """(K + 2, K + 2): what votes and prior say together.

    Votes say nothing of the sum of all strengths. The prior does, but beside very many votes that would be lost.
    """
    precision = prior_sd**-2 + SMALLEST_EIGENVALUE * float(information.max())
    return information + precision * np.eye(len(information))


def gradient(counts: Array, p: Array, side: bool) -> Array:
    """(K + 2,): slope of the log-likelihood of `counts` where it gives the probabilities `p`."""
    along_s, along_tie = ((counts * each).sum(axis=-1) for each in residuals(p))
    gamma = along_s.sum() if side else 0.0
    return np.concatenate([along_s.sum(axis=1) - along_s.sum(axis=0), [gamma, along_tie.sum()]])


def _log_posterior(counts: Array, p: Array, precision: Array, parameters: Array) -> float:
    return _log_likelihood(counts, p) - float(precision @ parameters**2) / 2


def _log_likelihood(counts: Array, p: Array) -> float:
    seen = counts > 0
    with np.errstate(divide="ignore"):
        return float((counts[seen] * np.log(p[seen])).sum())
