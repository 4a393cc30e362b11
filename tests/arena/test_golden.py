"""Public votes, and what another implementation has published of them.

The data are in the repository of evalica, not in this one: food.csv (30 votes on dishes) and llmfao.csv (8,931 votes on
59 language models, crowdsourced; CC BY 4.0), each with the golden results of all its algorithms (Apache 2.0). With a
checkout at hand:

    git clone https://github.com/dustalov/evalica
    EVALICA_CHECKOUT=evalica pytest tests/arena/test_golden.py

What is said of them in docs/statistics.md was measured so. Published examples that need no file are in test_davidson.
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from diptych.arena import davidson, sandwich
from diptych.arena.elo import online_elo
from diptych.arena.votes import LEFT, RIGHT, TIE, Vote, Votes, collect
from tests.arena.simulated import counted

CHECKOUT = os.environ.get("EVALICA_CHECKOUT")
FLAT = 1e4
"""Standard deviation of a prior that says nothing."""

pytestmark = pytest.mark.skipif(CHECKOUT is None, reason="EVALICA_CHECKOUT names no checkout of evalica")


def read(name: str) -> list[dict[str, str]]:
    with (Path(CHECKOUT or "") / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def votes_of(name: str) -> Votes:
    return collect(
        Vote(row["left"], row["right"], row["winner"], row.get("prompt", "any"), row.get("worker", "somebody"))
        for row in read(f"{name}.csv")
    )


def golden(name: str, algorithm: str, votes: Votes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Scores of the models of the votes, in their order."""
    scores = {row["item"]: float(row["score"]) for row in read(f"{name}-golden.csv") if row["algorithm"] == algorithm}
    assert set(scores) == set(votes.models)
    return np.array([scores[model] for model in votes.models])


@pytest.mark.parametrize("name", ["food", "llmfao"])
def test_ties_as_half_wins(name: str) -> None:
    """Bradley and Terry: no ties are left, so the tie term has nothing to say."""
    votes = votes_of(name)
    counts = counted(votes)
    counts[..., [LEFT, RIGHT]] += counts[..., [TIE]] / 2
    counts[..., TIE] = 0
    theirs = np.log(golden(name, "bradley_terry", votes))
    np.testing.assert_allclose(davidson.fit(counts, FLAT, side=False).strengths, theirs - theirs.mean(), atol=1e-7)


@pytest.mark.parametrize("name", ["food", "llmfao"])
def test_ties_as_ties(name: str) -> None:
    """Newman's model is Davidson's."""
    votes = votes_of(name)
    theirs = np.log(golden(name, "newman", votes))
    fitted = davidson.fit(counted(votes), FLAT, side=False)
    np.testing.assert_allclose(fitted.strengths, theirs - theirs.mean(), atol=1e-7)


@pytest.mark.parametrize("name", ["food", "llmfao"])
def test_online_elo(name: str) -> None:
    votes = votes_of(name)
    ours = dict(online_elo(votes, k=4).ratings)
    np.testing.assert_allclose(
        [ours[model] or math.nan for model in votes.models], golden(name, "elo", votes), rtol=1e-12
    )


@pytest.mark.parametrize("by", ["worker", "prompt"])
def test_clustered_errors_of_decided_votes_against_statsmodels(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard errors of all 58 models against one of them."""
    monkeypatch.setattr(sandwich, "LEVERAGE", math.inf)  # the plain sum over clusters, as statsmodels has it
    votes = votes_of("llmfao")
    votes = votes.where(votes.choice != TIE)
    groups, models, rows = votes.judge if by == "worker" else votes.prompt, len(votes.models), np.arange(len(votes))
    design = np.zeros((len(votes), models))
    design[rows, votes.left] += 1
    design[rows, votes.right] -= 1
    design = design[:, :-1]
    options = {"groups": groups, "use_correction": False}
    model = sm.GLM(votes.choice == LEFT, design, family=sm.families.Binomial())
    theirs = model.fit(cov_type="cluster", cov_kwds=options, tol=1e-12)

    fit = davidson.fit(counted(votes), FLAT, side=False)
    clustered = sandwich.by_cluster(fit, sandwich.Rows.of(fit, votes.left, votes.right, votes.choice), groups)
    weights = np.zeros((models - 1, models + 2))
    weights[:, : models - 1] = np.eye(models - 1)
    weights[:, models - 1] = -1
    shrunk = (clustered.clusters - 1) / clustered.clusters
    np.testing.assert_allclose(weights @ fit.parameters, theirs.params, atol=1e-6)
    ours = np.sqrt(np.diag(weights @ clustered.covariance @ weights.T) / shrunk)
    np.testing.assert_allclose(ours, theirs.bse, rtol=1e-5)


def test_how_much_wider_clusters_make_errors() -> None:
    """By prompt more than by worker: workers agree more than prompts are alike."""
    votes = votes_of("llmfao")
    fit = davidson.fit(counted(votes), side=False)
    rows = sandwich.Rows.of(fit, votes.left, votes.right, votes.choice)
    models = len(votes.models)

    def errors(covariance: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
        return float(np.median(np.sqrt(np.diag(covariance)[:models])))

    plain = errors(sandwich.by_vote(fit))
    assert errors(sandwich.by_cluster(fit, rows, votes.judge).covariance) / plain == pytest.approx(1.12, abs=0.05)
    assert errors(sandwich.by_cluster(fit, rows, votes.prompt).covariance) / plain == pytest.approx(1.60, abs=0.15)
