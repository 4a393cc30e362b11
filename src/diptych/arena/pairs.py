"""Which two pictures to show next.

Two models are chosen first, then a prompt, then a picture of each, then the sides:

models      A pair of models that nobody was shown comes first. Then those from which most is learned: with strengths
            theta and their covariance V, the vote that shrinks the volume of all intervals most (D-optimal) is on the
            pair with the largest P (1 - P) (V_ii + V_jj - 2 V_ij), where P = 1 / (1 + exp(theta_j - theta_i)).
            One of the pairs that come near to it (`NEAR_BEST`) is drawn: so judges who vote at the same time, on the
            same votes so far, are not all sent the same way. Without that information all pairs are alike.
prompt      Drawn at random for each trial: the stopping rules rest on it. At first every prompt of the pair is
            equally likely. As a judge sees no trial twice, the weight of a prompt is the share of its trials that this
            judge has not seen yet: so prompts with equally many pictures run out together.
pictures    Those shown least so far, to anybody; never the same two pictures twice to one judge.
sides       A fair coin.

What was voted decides about models only, never about prompts, pictures or sides; so it biases no comparison. What a
vote is about does not matter: criteria do not enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diptych.arena.votes import Column
from diptych.errors import InvalidRequest

NEAR_BEST = 0.8
"""Pairs of models are drawn from those that have at least this share of the information of the best one."""


@dataclass(frozen=True)
class Trial:
    """One blind pair on the screen."""

    prompt: int
    left_model: int
    right_model: int
    left_sample: int
    right_sample: int


@dataclass(frozen=True, eq=False)
class Pictures:
    """What can be shown: one row for each picture. Numbers are those of the caller; samples are all different.

    Raises InvalidRequest for columns of different lengths, negative numbers, or a sample that is there twice.
    """

    prompt: Column
    model: Column
    sample: Column
    models: int
    """How many there are, with or without pictures."""

    def __post_init__(self) -> None:
        if not len(self.prompt) == len(self.model) == len(self.sample):
            raise InvalidRequest(
                f"The columns of a table of pictures have one length, not {len(self.prompt)}, {len(self.model)} and "
                f"{len(self.sample)}."
            )
        if len(self.prompt) and min(self.prompt.min(), self.model.min()) < 0:
            raise InvalidRequest("Prompts and models are numbered from 0.")
        if len(self.model) and self.model.max() >= self.models:
            raise InvalidRequest(f"There is no model {self.model.max()}: {self.models} are numbered from 0.")
        if len(np.unique(self.sample)) < len(self.sample):
            raise InvalidRequest("A sample is in a table of pictures once.")

    def rows(self, samples: Column) -> Column:
        """Where those samples are in this table; -1 for one that is not."""
        if not len(self.sample):
            return np.full(len(samples), -1)
        place = np.searchsorted(self.sample, samples, sorter=self._by_sample).clip(max=len(self.sample) - 1)
        found = self._by_sample[place]
        return np.where(self.sample[found] == samples, found, -1)

    @cached_property
    def _by_sample(self) -> Column:
        return np.argsort(self.sample)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(models, prompts): pictures of each."""
        prompts = int(self.prompt.max()) + 1 if len(self.prompt) else 0
        cells = np.bincount(self.model * prompts + self.prompt, minlength=self.models * prompts)
        return cells.reshape(self.models, prompts).astype(np.int64)

    @cached_property
    def trials(self) -> NDArray[np.int64]:
        """(models, models): how many trials of each pair of models one judge can see."""
        return np.asarray(np.triu(self.counts @ self.counts.T, 1))

    @cached_property
    def _by_cell(self) -> tuple[Column, Column]:
        """Rows ordered by model and prompt, and where each cell of `counts` begins among them."""
        order = np.lexsort((self.prompt, self.model))
        return order, np.concatenate([[0], np.cumsum(self.counts.ravel())])

    def pair(self, rows: Column, others: Column) -> Column:
        """The two models of two rows each, as one number: the smaller * models + the larger."""
        one, other = self.model[rows], self.model[others]
        return np.asarray(np.minimum(one, other) * self.models + np.maximum(one, other))

    def of(self, model: int, prompt: int) -> Column:
        """Rows of the pictures that this model made of this prompt, in order."""
        order, starts = self._by_cell
        cell = model * self.counts.shape[1] + prompt
        return order[starts[cell] : starts[cell + 1]]


@dataclass(frozen=True, eq=False)
class Shown:
    """The trials that judges were shown, voted on or still open. `of` makes it, `and_also` adds a trial.

    What a judge was shown twice all the same, say in two tabs, is in here once.
    """

    pictures: Pictures
    first: Column
    """Row in the table of pictures, the smaller of two."""
    second: Column
    judge: Column
    pair: Column
    """The two models, the smaller number first: first * models + second."""
    times: Column
    """(pictures,): how often each picture was shown."""

    @staticmethod
    def of(
        pictures: Pictures,
        left_samples: Sequence[int] = (),
        right_samples: Sequence[int] = (),
        judges: Sequence[int] = (),
    ) -> Shown:
        """Trials by their samples; none by default. Those of pictures that are not in the table are left out."""
        left, right, judge = (np.asarray(column, np.int64) for column in (left_samples, right_samples, judges))
        left, right = pictures.rows(left), pictures.rows(right)
        known = (left >= 0) & (right >= 0)
        first, second = np.minimum(left, right)[known], np.maximum(left, right)[known]
        _, who = np.unique(judge[known], return_inverse=True)
        size = len(pictures.sample)
        _, once = np.unique((who * size + first) * size + second, return_index=True)
        first, second = first[once], second[once]
        times = np.bincount(np.concatenate([first, second]), minlength=size)
        return Shown(pictures, first, second, judge[known][once], pictures.pair(first, second), times)

    def and_also(self, trial: Trial, judge: int) -> Shown:
        """These trials and one more."""
        rows = np.sort(self.pictures.rows(np.array([trial.left_sample, trial.right_sample])))
        first, second = rows[:1], rows[1:]
        if ((self.judge == judge) & (self.first == first) & (self.second == second)).any():
            return self
        times = self.times.copy()
        times[rows] += 1
        return Shown(
            self.pictures,
            np.append(self.first, first),
            np.append(self.second, second),
            np.append(self.judge, judge),
            np.append(self.pair, self.pictures.pair(first, second)),
            times,
        )


def information(strengths: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(models, models): P (1 - P) (V_ii + V_jj - 2 V_ij), how much a vote on each pair would tell.

    strengths: (models,), natural logits. covariance: (models, models), of the strengths.
    """
    p = 1 / (1 + np.exp(np.clip(strengths[None, :] - strengths[:, None], -500, 500)))
    variance = np.diag(covariance)
    return np.asarray(p * (1 - p) * (variance[:, None] + variance[None, :] - 2 * covariance))


def next_trial(
    shown: Shown, judge: int, rng: np.random.Generator, information: NDArray[np.float64] | None = None
) -> Trial | None:
    """What to show to this judge. None when there is nothing left that this judge has not seen.

    information: (models, models), as from `information`; only what is above the diagonal is read. None: every pair of
    models is as good as another (uniform). Zero: no more votes are wanted on that pair.
    """
    pictures, size = shown.pictures, shown.pictures.models
    mine = np.flatnonzero(shown.judge == judge)
    possible = pictures.trials > np.bincount(shown.pair[mine], minlength=size * size).reshape(size, size)
    times = np.bincount(shown.pair, minlength=size * size).reshape(size, size)
    pair = choose_models(times, possible * (np.ones((size, size)) if information is None else information), rng)
    if pair is None:
        return None
    first, second = pair
    seen = mine[shown.pair[mine] == first * pictures.models + second]

    trials = pictures.counts[first] * pictures.counts[second]
    prompts = np.flatnonzero(trials)
    seen_of_prompt = np.bincount(pictures.prompt[shown.first[seen]], minlength=len(trials))
    unseen = 1 - seen_of_prompt[prompts] / trials[prompts]
    prompt = int(rng.choice(prompts, p=unseen / unseen.sum()))

    seen = seen[pictures.prompt[shown.first[seen]] == prompt]
    one, other = _rows(shown, seen, pictures.of(first, prompt), pictures.of(second, prompt), rng)
    left, right = (one, other) if rng.random() < 0.5 else (other, one)
    return Trial(
        prompt=prompt,
        left_model=int(pictures.model[left]),
        right_model=int(pictures.model[right]),
        left_sample=int(pictures.sample[left]),
        right_sample=int(pictures.sample[right]),
    )


def choose_models(
    times: NDArray[np.int64], information: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Which two models, the smaller number first; None when nothing is wanted.

    times: (models, models), how often each pair was shown, above the diagonal. information: as in `next_trial`.
    """
    wanted = np.triu(information, 1) > 0
    if not wanted.any():
        return None
    unjudged = wanted & (times == 0)
    best = unjudged if unjudged.any() else wanted & (information >= NEAR_BEST * information[wanted].max())
    first, second = divmod(int(rng.choice(np.flatnonzero(best))), len(information))
    return first, second


def _rows(shown: Shown, seen: Column, ours: Column, theirs: Column, rng: np.random.Generator) -> tuple[int, int]:
    """One of our rows and one of theirs that were not `seen` together: of those, two that were shown least."""
    cost = (shown.times[ours][:, None] + shown.times[theirs][None, :]).astype(float)
    first, second = shown.first[seen], shown.second[seen]
    ours_first = np.isin(first, ours)
    one, other = np.where(ours_first, first, second), np.where(ours_first, second, first)
    cost[np.searchsorted(ours, one), np.searchsorted(theirs, other)] = np.inf
    row, column = divmod(int(rng.choice(np.flatnonzero(cost.ravel() == cost.min()))), len(theirs))
    return int(ours[row]), int(theirs[column])
