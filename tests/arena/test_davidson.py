"""The fit, against published examples, an independent implementation, and what must not matter."""

from __future__ import annotations

import math

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from diptych.arena import davidson
from tests.arena.simulated import baseball, counted, pudding, simulate

FLAT = 1e4
"""Standard deviation of a prior that says nothing."""


@st.composite
def some_counts(draw: st.DrawFn, most: int = 20) -> NDArray[np.float64]:
    models = draw(st.integers(1, 5))
    counts = draw(arrays(np.float64, (models, models, 3), elements=st.integers(0, most).map(float)))
    counts[np.arange(models), np.arange(models)] = 0
    return counts


def test_davidsons_puddings() -> None:
    """Estimates as the R package PlackettLuce gives them, which fits the same model in another form."""
    fitted = davidson.fit(pudding(), FLAT, side=False)
    worth = np.exp(fitted.strengths)
    expected = [0.1388, 0.1730, 0.1617, 0.1654, 0.1587, 0.2024]
    np.testing.assert_allclose(worth / worth.sum(), expected, atol=5e-5)
    assert math.exp(fitted.parameters[-1]) == pytest.approx(0.7468, abs=5e-5)


def test_agrestis_baseball() -> None:
    """Table 10.11 of Categorical Data Analysis: strengths without, and with, the advantage of playing at home."""
    neutral = davidson.fit(baseball(), FLAT, side=False).strengths
    expected = [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]
    np.testing.assert_allclose(neutral - neutral[-1], expected, atol=5e-3)
    at_home = davidson.fit(baseball(), FLAT)
    worth = np.exp(at_home.strengths)
    np.testing.assert_allclose(worth / worth.sum(), [0.220, 0.190, 0.164, 0.157, 0.137, 0.088, 0.044], atol=5e-4)
    assert at_home.parameters[-2] == pytest.approx(0.302, abs=5e-4)
    assert math.sqrt(at_home.covariance[-2, -2]) == pytest.approx(0.131, abs=5e-4)


def test_against_evalica_with_ties() -> None:
    votes = simulate(3000, 6, side=0.0)
    winners = [(evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)[i] for i in votes.choice]
    theirs = evalica.newman(votes.left.tolist(), votes.right.tolist(), winners, tolerance=1e-12, limit=10_000)
    ours = davidson.fit(counted(votes), FLAT, side=False)
    scores = np.log(theirs.scores.sort_index().to_numpy())
    np.testing.assert_allclose(ours.strengths, scores - scores.mean(), atol=1e-7)
    assert math.exp(ours.parameters[-1]) == pytest.approx(2 * theirs.v, rel=1e-7)


def test_against_evalica_without_ties() -> None:
    votes = simulate(2000, 5, tie=-math.inf, side=0.0)
    assert (votes.choice < 2).all()
    winners = [(evalica.Winner.X, evalica.Winner.Y)[i] for i in votes.choice]
    theirs = evalica.bradley_terry(votes.left.tolist(), votes.right.tolist(), winners, tolerance=1e-12, limit=10_000)
    scores = np.log(theirs.scores.sort_index().to_numpy())
    ours = davidson.fit(counted(votes), FLAT, side=False)
    np.testing.assert_allclose(ours.strengths, scores - scores.mean(), atol=1e-7)


def test_two_models_by_hand() -> None:
    """Among decided votes the odds are 30 to 10, and ties are as likely as sqrt(30 * 10) times nu."""
    counts = np.zeros((2, 2, 3))
    counts[0, 1] = counts[1, 0, [1, 0, 2]] = 30, 10, 20
    fitted = davidson.fit(counts, FLAT)
    assert fitted.converged
    assert fitted.strengths[0] - fitted.strengths[1] == pytest.approx(math.log(3))
    assert fitted.parameters[-2] == pytest.approx(0, abs=1e-9)
    assert math.exp(fitted.parameters[-1]) == pytest.approx(20 / math.sqrt(300))
    shares = davidson.probabilities(fitted.parameters)[0, 1]
    np.testing.assert_allclose(shares, [30 / 60, 10 / 60, 20 / 60])


@given(some_counts())
def test_the_gradient_and_the_information_are_derivatives(counts: NDArray[np.float64]) -> None:
    models = len(counts)
    at = np.random.default_rng(models).normal(size=models + 2)

    def slope(where: NDArray[np.float64]) -> NDArray[np.float64]:
        return davidson.gradient(counts, davidson.probabilities(where), side=True)

    def height(where: NDArray[np.float64]) -> float:
        p = davidson.probabilities(where)
        return float((counts * np.log(p)).sum())

    steps = np.eye(models + 2) * 1e-5
    numeric = np.array([(height(at + step) - height(at - step)) / 2e-5 for step in steps])
    np.testing.assert_allclose(slope(at), numeric, atol=1e-4)
    second = -np.array([(slope(at + step) - slope(at - step)) / 2e-5 for step in steps])
    hessian = davidson.information(counts.sum(axis=-1), davidson.probabilities(at), side=True)
    np.testing.assert_allclose(hessian, second, atol=1e-4)
    np.testing.assert_array_equal(hessian, hessian.T)


@given(some_counts(), st.floats(-50, 50))
def test_adding_a_constant_to_all_strengths_changes_nothing(counts: NDArray[np.float64], constant: float) -> None:
    """Votes know differences only; so the sum of strengths is the prior's, and is zero."""
    models = len(counts)
    at = np.random.default_rng(models).normal(size=models + 2)
    moved = at + np.concatenate([np.full(models, constant), [0.0, 0.0]])
    p, other = davidson.probabilities(at), davidson.probabilities(moved)
    np.testing.assert_allclose(other, p, atol=1e-12)
    np.testing.assert_allclose(
        davidson.gradient(counts, other, side=True), davidson.gradient(counts, p, side=True), atol=1e-9
    )
    along = davidson.information(counts.sum(axis=-1), p, side=True)[:, :models].sum(axis=1)
    np.testing.assert_allclose(along, 0, atol=1e-9)


@given(some_counts(), st.sampled_from([0.5, 2.0, 50.0]), st.booleans())
def test_the_slope_is_zero_at_the_mode(counts: NDArray[np.float64], prior_sd: float, side: bool) -> None:
    fitted = davidson.fit(counts, prior_sd, side=side)
    assert fitted.converged
    slope = davidson.gradient(counts, davidson.probabilities(fitted.parameters, side), side)
    np.testing.assert_allclose(slope, fitted.parameters / prior_sd**2, atol=1e-6)
    assert fitted.strengths.sum() == pytest.approx(0, abs=1e-9)
    if not side:
        assert fitted.parameters[-2] == 0


@given(some_counts(), st.randoms(use_true_random=False))
def test_names_do_not_matter(counts: NDArray[np.float64], random: st.DataObject) -> None:
    order = list(range(len(counts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    fitted = davidson.fit(counts)
    renamed = davidson.fit(counts[np.ix_(order, order)])
    np.testing.assert_allclose(renamed.strengths, fitted.strengths[order], atol=1e-7)
    np.testing.assert_allclose(renamed.parameters[-2:], fitted.parameters[-2:], atol=1e-7)


@given(some_counts())
def test_swapping_sides_turns_the_side_term_alone(counts: NDArray[np.float64]) -> None:
    swapped = np.swapaxes(counts, 0, 1)[..., [1, 0, 2]]
    fitted, turned = davidson.fit(counts), davidson.fit(swapped)
    np.testing.assert_allclose(turned.strengths, fitted.strengths, atol=1e-7)
    np.testing.assert_allclose(turned.parameters[-2], -fitted.parameters[-2], atol=1e-7)
    np.testing.assert_allclose(turned.parameters[-1], fitted.parameters[-1], atol=1e-7)


def test_all_votes_twice_change_nothing_but_how_much_is_known() -> None:
    counts = counted(simulate(500, 4))
    once, twice = davidson.fit(counts, FLAT), davidson.fit(2 * counts, FLAT)
    np.testing.assert_allclose(twice.parameters, once.parameters, atol=1e-6)
    difference = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    assert difference @ twice.covariance @ difference == pytest.approx(difference @ once.covariance @ difference / 2)


@settings(deadline=None)
@given(some_counts(), st.integers(0, 14), st.integers(-2, 4), st.booleans())
def test_it_always_arrives(counts: NDArray[np.float64], votes: int, prior: int, side: bool) -> None:
    """Separated, disconnected, all ties, none at all, up to 10^14 votes of a kind, any prior."""
    fitted = davidson.fit(counts * 10.0**votes, 10.0**prior, side=side)
    assert fitted.converged
    assert np.isfinite(fitted.parameters).all()
    assert np.isfinite(fitted.covariance).all()


def test_whole_steps_may_be_too_long() -> None:
    """65 119 wins from the left and two ties: here Newton's method overshoots, and halves its steps."""
    counts = np.zeros((2, 2, 3))
    counts[0, 1, 0], counts[1, 0, 2] = 65_119, 2
    fitted = davidson.fit(counts, 100)
    assert fitted.converged
    slope = davidson.gradient(counts, davidson.probabilities(fitted.parameters), side=True)
    np.testing.assert_allclose(slope, fitted.parameters / 100**2, atol=1e-8)


def test_all_ties_are_equal_strengths() -> None:
    counts = np.zeros((3, 3, 3))
    counts[..., 2] = 10 * (1 - np.eye(3))
    fitted = davidson.fit(counts)
    np.testing.assert_allclose(fitted.strengths, 0, atol=1e-9)
    assert fitted.parameters[-1] > 3


def test_too_few_steps_are_said() -> None:
    counts = counted(simulate(500, 4))
    assert not davidson.fit(counts, limit=2).converged
    fitted = davidson.fit(counts)
    assert fitted.converged
    assert 2 < fitted.iterations < 10


def test_probabilities_do_not_overflow() -> None:
    p = davidson.probabilities(np.array([800.0, -800.0, 0.0, 2000.0]))
    np.testing.assert_allclose(p[0, 1], [0, 0, 1])
    p = davidson.probabilities(np.array([800.0, -800.0, 0.0, -2000.0]))
    np.testing.assert_allclose(p[0, 1], [1, 0, 0])
    np.testing.assert_allclose(p[1, 0], [0, 1, 0])
