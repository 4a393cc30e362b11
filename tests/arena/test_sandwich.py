"""Covariances, against statsmodels and against the long way round."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from diptych.arena import davidson, sandwich
from diptych.arena.davidson import Fit
from diptych.arena.votes import Votes
from tests.arena.simulated import counted, simulate

Array = NDArray[np.float64]
FLAT = 1e3


def fitted(votes: Votes) -> tuple[Fit, sandwich.Rows]:
    fit = davidson.fit(counted(votes), FLAT)
    return fit, sandwich.Rows.of(fit, votes.left, votes.right, votes.choice)


def logistic(votes: Votes, kind: str, groups: NDArray[np.int64] | None = None) -> tuple[Array, Array]:
    """Strengths above the last model's, then the side, and their covariance, by a logistic regression."""
    models, rows = len(votes.models), np.arange(len(votes))
    design = np.zeros((len(votes), models))
    design[rows, votes.left] += 1
    design[rows, votes.right] -= 1
    design[:, -1] = 1  # the last model is the reference, and its column the side's
    options = {} if groups is None else {"groups": groups, "use_correction": False}
    result = sm.GLM(votes.choice == 0, design, family=sm.families.Binomial()).fit(
        cov_type=kind, cov_kwds=options, tol=1e-12
    )
    return result.params, result.cov_params()


def contrasts(models: int) -> Array:
    """The same parameters, as weights of the fit's."""
    weights = np.zeros((models, models + 2))
    weights[: models - 1, : models - 1] = np.eye(models - 1)
    weights[: models - 1, models - 1] = -1
    weights[-1, models] = 1
    return weights


@pytest.fixture
def decided() -> Votes:
    """Without ties, which a logistic regression does not know."""
    return simulate(1500, 4, prompts=9, judges=7, tie=-math.inf)


def test_single_votes_against_statsmodels(decided: Votes) -> None:
    fit, _ = fitted(decided)
    weights = contrasts(4)
    estimates, covariance = logistic(decided, "HC0")
    np.testing.assert_allclose(weights @ fit.parameters, estimates, atol=1e-4)
    correction = fit.votes / sandwich.degrees(fit)
    assert sandwich.degrees(fit) == 1500 - 3 - 1 - 1
    ours = weights @ sandwich.by_vote(fit) @ weights.T / correction
    np.testing.assert_allclose(ours, covariance, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(weights @ fit.covariance @ weights.T, logistic(decided, "nonrobust")[1], rtol=1e-3)


def test_clusters_against_statsmodels(decided: Votes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody left out, the jackknife is the usual sum over clusters."""
    monkeypatch.setattr(sandwich, "LEVERAGE", math.inf)
    fit, rows = fitted(decided)
    weights = contrasts(4)
    for cluster in (decided.prompt, decided.judge):
        count = len(np.unique(cluster))
        ours = sandwich.by_cluster(fit, rows, cluster)
        assert ours.clusters == count
        theirs = logistic(decided, "cluster", cluster)[1]
        np.testing.assert_allclose(
            weights @ ours.covariance @ weights.T / ((count - 1) / count), theirs, rtol=1e-3, atol=1e-7
        )


def test_two_ways_against_statsmodels(decided: Votes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandwich, "LEVERAGE", math.inf)
    fit, rows = fitted(decided)
    weights = contrasts(4)
    by_prompt = sandwich.by_cluster(fit, rows, decided.prompt).covariance * 9 / 8
    by_judge = sandwich.by_cluster(fit, rows, decided.judge).covariance * 7 / 6
    by_cell = sandwich.by_cell(fit, rows, decided.prompt, decided.judge) * 63 / 62
    theirs = logistic(decided, "cluster", np.column_stack([decided.prompt, decided.judge]))[1]
    ours = weights @ (by_prompt + by_judge - by_cell) @ weights.T
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("ties", [-math.inf, -0.5])
def test_the_jackknife_leaves_clusters_out(ties: float) -> None:
    """One step of Newton's method away from the fit without the cluster, which is where that fit is."""
    votes = simulate(3000, 4, prompts=12, tie=ties)
    fit, rows = fitted(votes)
    steps = []
    for prompt in range(12):
        kept = votes.where(votes.prompt != prompt)
        steps.append(davidson.fit(counted(kept), FLAT).parameters - fit.parameters)
    exact = 11 / 12 * np.transpose(steps) @ np.array(steps)
    weights = contrasts(4)
    ours = sandwich.by_cluster(fit, rows, votes.prompt)
    np.testing.assert_allclose(
        np.diag(weights @ ours.covariance @ weights.T), np.diag(weights @ exact @ weights.T), rtol=0.05
    )


def test_balanced_clusters_are_a_t_test() -> None:
    """Two models, five prompts with 40 votes each, no ties: on the scale of the score, the variance of five means."""
    wins = np.array([18, 24, 20, 28, 22])
    outcome = np.concatenate([np.repeat([0, 1], [w, 40 - w]) for w in wins])
    n = len(outcome)
    left = np.tile([0, 1], n // 2)  # sides are even for either outcome
    counts = davidson.pair_counts(2, left, 1 - left, np.where(left == 0, outcome, 1 - outcome))
    fit = davidson.fit(counts, FLAT, side=False)
    rows = sandwich.Rows.of(fit, left, 1 - left, np.where(left == 0, outcome, 1 - outcome))
    covariance = sandwich.by_cluster(fit, rows, np.repeat(np.arange(5), 40)).covariance
    difference = np.array([1.0, -1.0, 0.0, 0.0])
    share = wins.mean() / 40
    slope = 1 / (share * (1 - share))
    of_means = (wins / 40).var(ddof=1) / 5
    assert difference @ covariance @ difference == pytest.approx(slope**2 * of_means, rel=1e-3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = simulate(2000, 5, prompts=40, judges=30)
    fit, rows = fitted(votes)
    whole = sandwich.by_cluster(fit, rows, votes.judge), sandwich.by_cell(fit, rows, votes.prompt, votes.judge)
    monkeypatch.setattr(sandwich, "BLOCK", 64)
    monkeypatch.setattr(sandwich, "REFIT_BLOCK", 3)
    parts = sandwich.by_cluster(fit, rows, votes.judge), sandwich.by_cell(fit, rows, votes.prompt, votes.judge)
    weights = contrasts(5)
    np.testing.assert_allclose(
        weights @ parts[0].covariance @ weights.T, weights @ whole[0].covariance @ weights.T, atol=1e-9
    )
    np.testing.assert_array_equal(parts[0].votes, whole[0].votes)
    np.testing.assert_allclose(weights @ parts[1] @ weights.T, weights @ whole[1] @ weights.T, atol=1e-9)


def test_cells_of_few_votes_are_single_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is little: errors of both ways together are the same to a percent."""
    votes = simulate(6000, 4, prompts=80, judges=60)
    fit, rows = fitted(votes)
    both = (
        sandwich.by_cluster(fit, rows, votes.prompt).covariance + sandwich.by_cluster(fit, rows, votes.judge).covariance
    )
    short = sandwich.by_cell(fit, rows, votes.prompt, votes.judge)
    np.testing.assert_array_equal(short, sandwich.by_vote(fit))
    monkeypatch.setattr(sandwich, "NEGLIGIBLE", 0.0)
    whole = sandwich.by_cell(fit, rows, votes.prompt, votes.judge)
    assert not np.allclose(short, whole, rtol=1e-3)
    weights = contrasts(4)
    errors = [np.sqrt(np.diag(weights @ (both - cells) @ weights.T)) for cells in (short, whole)]
    np.testing.assert_allclose(*errors, rtol=0.01)


def test_numbers_of_clusters_may_have_gaps() -> None:
    votes = simulate(800, 4, prompts=6)
    fit, rows = fitted(votes)
    dense = sandwich.by_cluster(fit, rows, votes.prompt)
    for spread_out in (votes.prompt * 7 + 3, votes.prompt * 10**12 + 5):
        sparse = sandwich.by_cluster(fit, rows, spread_out)
        assert sparse.clusters == 6
        np.testing.assert_allclose(sparse.covariance, dense.covariance, atol=1e-12)
        np.testing.assert_array_equal(sparse.votes, dense.votes)


def test_without_the_only_judge_of_a_model_it_is_where_the_prior_holds_it() -> None:
    """A plain sum over clusters sees no variance at all there: the residuals of a model add up to nothing."""
    votes = simulate(4000, 4, judges=400)
    only = (votes.left == 3) | (votes.right == 3)
    judge = np.where(only, 0, votes.judge)
    fit, rows = fitted(votes)
    scores_alone = sandwich.by_vote(fit)
    ours = sandwich.by_cluster(fit, rows, judge).covariance
    last, second = np.array([1.0, 0, 0, -1, 0, 0]), np.array([1.0, -1, 0, 0, 0, 0])
    assert last @ ours @ last > 30 * (last @ scores_alone @ last)
    assert second @ ours @ second < 3 * (second @ scores_alone @ second)


def test_effective_clusters() -> None:
    votes = np.array([[10.0, 30, 0, 20, 0], [10, 0, 0, 5, 0], [0, 0, 40, 20, 0], [0, 0, 0, 0, 0]])
    weights = np.array([[2.0, 0, 0, 0, 0], [0, -1, 0, 0, 0], [1, -1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]])
    part = {q: 0.95 * q + 0.05 * q**2 for q in (5, 10, 20, 30)}
    contrast = np.array([part[10] / 20**2 + part[30] / 30**2, part[10] / 20**2])
    side = np.array([part[20], part[5], part[20]])
    expected = [2, 1, *(parts.sum() ** 2 / (parts**2).sum() for parts in (contrast, side)), 0]
    np.testing.assert_allclose(sandwich.effective(votes, weights), expected)


@given(st.integers(1, 30), st.integers(1, 9))
def test_even_clusters_count_fully(clusters: int, size: int) -> None:
    votes = np.full((clusters, 3), float(size))
    assert sandwich.effective(votes, np.array([[1.0, -1.0, 0.0]])) == pytest.approx(clusters)
