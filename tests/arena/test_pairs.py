"""Which two pictures come next."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diptych.arena.pairs import NEAR_BEST, Pictures, Shown, Trial, choose_models, information, next_trial
from diptych.errors import InvalidRequest

FIRST_SAMPLE = 1000
"""Samples are numbers of the caller, not rows."""


def table(counts: list[list[int]], seed: int = 0) -> Pictures:
    """counts: models x prompts. The rows are in no order."""
    cells = [(m, p) for m, row in enumerate(counts) for p, number in enumerate(row) for _ in range(number)]
    order = np.random.default_rng(seed).permutation(len(cells))
    model, prompt = np.array(cells, np.int64).reshape(len(cells), 2)[order].T
    return Pictures(prompt, model, np.arange(len(cells)) + FIRST_SAMPLE, len(counts))


def sitting(
    pictures: Pictures, rng: np.random.Generator, judges: int = 1, told: NDArray[np.float64] | None = None
) -> list[tuple[int, Trial]]:
    """Trials of judges who take turns until each has seen everything."""
    shown, trials, going = Shown.of(pictures), [], set(range(judges))
    while going:
        for judge in sorted(going):
            trial = next_trial(shown, judge, rng, told)
            if trial is None:
                going.discard(judge)
                continue
            shown = shown.and_also(trial, judge)
            trials.append((judge, trial))
    return trials


def two_pictures(trial: Trial) -> frozenset[int]:
    return frozenset({trial.left_sample, trial.right_sample})


tables = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(tables, st.integers(1, 3), st.integers(0, 1000))
def test_each_judge_sees_every_trial_once(counts: list[list[int]], judges: int, seed: int) -> None:
    pictures = table(counts)
    models = dict(zip(pictures.sample.tolist(), pictures.model.tolist(), strict=True))
    prompts = dict(zip(pictures.sample.tolist(), pictures.prompt.tolist(), strict=True))
    possible = {
        frozenset({a, b}) for a, b in combinations(models, 2) if models[a] != models[b] and prompts[a] == prompts[b]
    }
    trials = sitting(pictures, np.random.default_rng(seed), judges)
    for judge in range(judges):
        seen = [two_pictures(trial) for who, trial in trials if who == judge]
        assert len(seen) == len(set(seen))
        assert set(seen) == possible
    assert pictures.trials.sum() == len(possible)
    for _, trial in trials:
        assert (models[trial.left_sample], models[trial.right_sample]) == (trial.left_model, trial.right_model)
        assert prompts[trial.left_sample] == prompts[trial.right_sample] == trial.prompt


def test_the_same_generator_gives_the_same_trials() -> None:
    pictures = table([[3, 3], [3, 2], [1, 3]])
    first, second, other = (sitting(pictures, np.random.default_rng(seed), 2) for seed in (5, 5, 6))
    assert first == second != other


def test_sides_are_a_fair_coin() -> None:
    shown = Shown.of(table([[2, 2], [2, 2]]))
    rng = np.random.default_rng(1)
    left = 0
    for _ in range(2000):
        trial = next_trial(shown, 0, rng)
        assert trial is not None
        left += trial.left_model == 0
    assert scipy.stats.binomtest(left, 2000).pvalue > 0.001


def test_prompts_are_equally_likely_however_many_pictures_they_have() -> None:
    shown = Shown.of(table([[1, 2, 5, 3], [4, 2, 5, 1]]))
    rng = np.random.default_rng(2)
    prompts = Counter(trial.prompt for _ in range(2000) if (trial := next_trial(shown, 0, rng)))
    assert scipy.stats.chisquare([prompts[k] for k in range(4)]).pvalue > 0.001


def test_a_prompt_weighs_as_much_as_is_left_of_it_for_this_judge() -> None:
    pictures = table([[2, 2], [2, 2]])
    rng = np.random.default_rng(3)
    shown = Shown.of(pictures)
    of_prompt_0 = [trial for _, trial in sitting(pictures, rng) if trial.prompt == 0]
    for trial in of_prompt_0[:3]:
        shown = shown.and_also(trial, 0)
    prompts = Counter(trial.prompt for _ in range(2000) if (trial := next_trial(shown, 0, rng)))
    expected = [2000 * weight / 1.25 for weight in (0.25, 1)]
    assert scipy.stats.chisquare([prompts[0], prompts[1]], expected).pvalue > 0.001
    # Another judge has all of both left.
    prompts = Counter(trial.prompt for _ in range(2000) if (trial := next_trial(shown, 1, rng)))
    assert scipy.stats.chisquare([prompts[0], prompts[1]]).pvalue > 0.001


def test_pairs_of_models_that_nobody_was_shown_come_first() -> None:
    told = np.ones((5, 5))
    told[0, 1] = 100
    trials = sitting(table([[3, 3]] * 5), np.random.default_rng(4), judges=2, told=told)
    first = {frozenset({trial.left_model, trial.right_model}) for _, trial in trials[:10]}
    assert len(first) == 10
    then = Counter(frozenset({trial.left_model, trial.right_model}) for _, trial in trials[10:20])
    assert then == {frozenset({0, 1}): 10}


def test_pictures_are_shown_equally_often() -> None:
    pictures = table([[4], [4]])
    trials = [trial for _, trial in sitting(pictures, np.random.default_rng(5))]
    for until in range(1, 17):
        times = Counter(sample for trial in trials[:until] for sample in two_pictures(trial))
        by_model = [[times[s] for s in pictures.sample[pictures.model == m].tolist()] for m in (0, 1)]
        # After a while the least shown two may have been seen together.
        assert all(max(each) - min(each) <= (1 if until <= 4 else 2) for each in by_model)


def test_what_others_were_shown_counts_too() -> None:
    pictures = table([[5], [5]])
    shown, rng = Shown.of(pictures), np.random.default_rng(6)
    for judge in range(5):
        trial = next_trial(shown, judge, rng)
        assert trial is not None
        shown = shown.and_also(trial, judge)
    assert (shown.times == 1).all()


def test_pairs_near_the_best_are_drawn_and_no_others() -> None:
    told = np.array([[0, 10, 10 * NEAR_BEST, 7.9], [0, 0, 9.0, 0], [0, 0, 0, np.nan], [0, 0, 0, 0]])
    times, rng = np.ones((4, 4), np.int64), np.random.default_rng(7)
    drawn = Counter(choose_models(times, told, rng) for _ in range(300))
    assert set(drawn) == {(0, 1), (0, 2), (1, 2)}
    assert scipy.stats.chisquare(list(drawn.values())).pvalue > 0.001


def test_pairs_that_nothing_is_wanted_of_are_not_shown() -> None:
    told = np.ones((3, 3))
    told[0, 2] = told[1, 2] = 0
    trials = sitting(table([[2, 1]] * 3), np.random.default_rng(8), told=told)
    assert {frozenset({trial.left_model, trial.right_model}) for _, trial in trials} == {frozenset({0, 1})}
    assert len(trials) == 5
    assert choose_models(np.zeros((3, 3), np.int64), np.zeros((3, 3)), np.random.default_rng(0)) is None


def test_a_pair_that_this_judge_has_seen_gives_way_to_the_next_best() -> None:
    told = np.array([[0, 9, 1], [0, 0, 2.0], [0, 0, 0]])
    trials = sitting(table([[1]] * 3), np.random.default_rng(9), told=told)
    assert len(trials) == 3


@pytest.mark.parametrize("counts", [[], [[0]], [[3, 3]], [[3, 0], [0, 3]]], ids=str)
def test_nothing_to_compare(counts: list[list[int]]) -> None:
    assert next_trial(Shown.of(table(counts)), 0, np.random.default_rng(0)) is None


def test_a_model_without_pictures_of_a_prompt() -> None:
    trials = sitting(table([[2, 2], [2, 0], [1, 1]]), np.random.default_rng(10))
    on_second = {frozenset({trial.left_model, trial.right_model}) for _, trial in trials if trial.prompt == 1}
    assert on_second == {frozenset({0, 2})}
    assert len(trials) == 4 + 2 + 2 + 2


def test_trials_come_back_from_their_samples() -> None:
    pictures = table([[2, 2], [2, 2], [1, 2]])
    trials = sitting(pictures, np.random.default_rng(11), judges=2)[:12]
    step_by_step = Shown.of(pictures)
    for judge, trial in trials:
        step_by_step = step_by_step.and_also(trial, judge)
    left, right = [t.left_sample for _, t in trials], [t.right_sample for _, t in trials]
    judges = [judge for judge, _ in trials]
    # One more that is there twice, with the sides swapped, and one of a picture that was taken out since.
    stored = Shown.of(pictures, [*left, right[0], 1], [*right, left[0], left[0]], [*judges, judges[0], 0])
    for name in ("first", "second", "judge", "pair"):
        keys = [np.lexsort((s.judge, s.second, s.first)) for s in (stored, step_by_step)]
        assert (getattr(stored, name)[keys[0]] == getattr(step_by_step, name)[keys[1]]).all()
    assert (stored.times == step_by_step.times).all()
    assert step_by_step.and_also(trials[0][1], trials[0][0]) is step_by_step
    for judge in range(3):
        both = [next_trial(s, judge, np.random.default_rng(12)) for s in (stored, step_by_step)]
        assert both[0] == both[1]


def test_information_is_the_formula() -> None:
    rng = np.random.default_rng(13)
    strengths, root = rng.normal(size=4), rng.normal(size=(4, 4))
    covariance = root @ root.T
    told = information(strengths, covariance)
    for i, j in combinations(range(4), 2):
        p = 1 / (1 + np.exp(strengths[j] - strengths[i]))
        contrast = np.zeros(4)
        contrast[[i, j]] = 1, -1
        assert told[i, j] == pytest.approx(p * (1 - p) * contrast @ covariance @ contrast)
        assert told[j, i] == pytest.approx(told[i, j])


def test_information_is_what_a_vote_takes_from_the_volume() -> None:
    """D-optimal: the determinant of the covariance shrinks most by a vote on the pair with the most of it."""
    rng = np.random.default_rng(14)
    strengths, root = rng.normal(size=4), rng.normal(size=(4, 4))
    covariance = root @ root.T + np.eye(4)
    told, shrunk = information(strengths, covariance), np.zeros((4, 4))
    for i, j in combinations(range(4), 2):
        x = np.zeros(4)
        x[[i, j]] = 1, -1
        p = 1 / (1 + np.exp(-strengths @ x))
        after = np.linalg.inv(np.linalg.inv(covariance) + p * (1 - p) * np.outer(x, x))
        shrunk[i, j] = np.linalg.det(covariance) / np.linalg.det(after) - 1
    assert np.triu(told, 1) == pytest.approx(shrunk)


def test_far_apart_strengths_do_not_overflow() -> None:
    told = information(np.array([2000.0, -2000.0]), np.eye(2))
    assert told[0, 1] == pytest.approx(0, abs=1e-200)


@pytest.mark.parametrize(
    ("prompt", "model", "sample", "models", "says"),
    [
        ([0], [0, 1], [5, 6], 2, "one length"),
        ([0, 0], [0, 1], [5, 5], 2, "once"),
        ([0, 0], [0, 2], [5, 6], 2, "no model 2"),
        ([0, -1], [0, 1], [5, 6], 2, "from 0"),
    ],
)
def test_tables_that_cannot_be(prompt: list[int], model: list[int], sample: list[int], models: int, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        Pictures(np.array(prompt), np.array(model), np.array(sample), models)
