"""Intervals: which error counts, with which t, and what never may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diptych.arena import ratings
from diptych.arena.intervals import SCOPES, Estimate, Spread, Uncertainty, prior_share
from tests.arena.simulated import simulate


def spread(errors: list[list[float]], degrees: list[list[float]], reasons: tuple[str | None, ...] = (None,)) -> Spread:
    return Spread(np.array(errors), np.array(degrees), reasons)


def test_the_largest_error_counts_with_its_own_t() -> None:
    """Not the widest product: 0.9 with t(4) would be wider than 1 with t(500)."""
    found = spread([[1.0], [0.9]], [[500.0], [4.0]])
    assert stats.t.ppf(0.975, 4) * 0.9 > stats.t.ppf(0.975, 500)
    assert found.half_widths(0.95) == pytest.approx(stats.t.ppf(0.975, 500))
    assert found.chances(np.array([2.0])) == pytest.approx(stats.t.sf(2, 500))
    other = spread([[1.0], [1.1]], [[500.0], [4.0]])
    assert other.half_widths(0.95) == pytest.approx(stats.t.ppf(0.975, 4) * 1.1)
    assert other.chances(np.array([-2.0])) == pytest.approx(stats.t.sf(2 / 1.1, 4))


def test_each_contrast_has_its_own() -> None:
    found = spread([[1.0, 2.0], [3.0, 1.0]], [[100.0, 100.0], [9.0, 9.0]], (None, "too few"))
    np.testing.assert_allclose(found.half_widths(0.9), stats.t.ppf(0.95, [9, 100]) * [3, 2])
    np.testing.assert_allclose(found.chances(np.array([1.0, 1.0])), [stats.t.sf(1 / 3, 9), 1.0])


def test_an_error_of_nothing_leaves_no_doubt() -> None:
    assert spread([[0.0]], [[10.0]]).chances(np.array([0.3])) == 0


@given(st.integers(0, 2**32), st.sampled_from(SCOPES), st.floats(0.5, 0.99))
def test_intervals_and_chances_say_the_same(seed: int, scope: ratings.Scope, confidence: float) -> None:
    """Zero is outside of an interval exactly where such a difference is less likely than what the interval leaves."""
    votes = simulate(200, 3, prompts=7, judges=7, seed=seed % 1000)
    fit = ratings.fit(votes)
    columns = (votes.left, votes.right, votes.choice, votes.prompt, votes.judge)
    weights = np.array([[1.0, -1, 0, 0, 0], [0, 1, -1, 0, 0], [1, 0, -1, 0, 0]])
    found = Uncertainty.of(fit, scope, *columns).spread(weights)
    differences = weights @ fit.parameters
    outside = np.abs(differences) > found.half_widths(confidence)
    printed = np.array([reason is None for reason in found.reasons])
    np.testing.assert_array_equal(found.chances(differences) < (1 - confidence) / 2, outside & printed)


def test_the_prior_has_the_less_to_say_the_more_votes_there_are() -> None:
    weights = np.array([[1.0, -1.0, 0.0, 0.0]])
    shares = [float(prior_share(ratings.fit(simulate(n, 2, tie=-math.inf)), weights)[0]) for n in (5, 14, 50, 500)]
    assert shares == sorted(shares, reverse=True)
    # The variance of the difference is 2 * 2^2 by the prior alone, and 4 / n by n even votes alone.
    assert shares[1:] == pytest.approx([(4 / n) / (4 / n + 8) for n in (14, 50, 500)], rel=0.15)


def test_turned_round_and_as_a_share() -> None:
    estimate = Estimate(1.0, 0.5, None, "no upper limit")
    assert estimate.negated() == Estimate(-1.0, None, -0.5, "no upper limit")
    assert estimate.negated().negated() == estimate
    share = estimate.share()
    assert (share.value, share.low, share.high) == (
        pytest.approx(1 / (1 + math.exp(-1))),
        pytest.approx(1 / (1 + math.exp(-0.5))),
        None,
    )
