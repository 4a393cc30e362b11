"""Ratings of a million votes on fifty models, beside evalica and arena-rank, in one run.

    python bench/ratings.py [--votes 1000000] [--models 50] [--prompts 200] [--judges 2000] [--repeat 3]

All start from columns of numbers in memory. Who gives what:

diptych       Davidson's model with ties and a side term; intervals for ratings, win rates and all pairs, ranks; for
              these prompts and judges (votes independent), and for prompts and judges like these (two-way clusters).
evalica       Bradley-Terry with ties as half wins, or Newman's model with ties; intervals by bootstrap, votes taken for
              independent. Its bootstrap is timed on a few resamples and reckoned up to 100, the fewest for an interval.
arena-rank    Bradley-Terry with ties as half wins; sandwich intervals, votes taken for independent. Warm: its
              compilation is not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from diptych.arena import ratings
from diptych.arena.votes import Votes

RESAMPLES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("votes", 10**6), ("models", 50), ("prompts", 200), ("judges", 2000), ("repeat", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    votes = simulate(arguments.votes, arguments.models, arguments.prompts, arguments.judges)
    print(
        f"{arguments.votes:,} votes, {arguments.models} models, {arguments.prompts} prompts, "
        f"{arguments.judges} judges; the best of {arguments.repeat}, in seconds"
    )

    def best(work: Callable[[], object]) -> float:
        return min(timed(work) for _ in range(arguments.repeat))

    ours = {scope: best(lambda scope=scope: ratings.rate(votes, scope)) for scope in ratings.SCOPES}
    alone = best(lambda: ratings.fit(votes))
    line("diptych, fit alone", alone, "no intervals")
    for scope, seconds in ours.items():
        line(f"diptych, {scope}", seconds, "intervals, win rates, pairs and ranks included")
    slowest = max(ours.values())
    for peer in (with_evalica, with_arena_rank):
        try:
            for name, seconds, note in peer(votes, best):
                line(name, seconds, f"{note}; {seconds / slowest:.1f}x the slowest of diptych")
        except ImportError as error:
            print(f"{peer.__name__.removeprefix('with_')} cannot be imported here: {error}")


def line(name: str, seconds: float, note: str) -> None:
    print(f"{name:38s}{seconds:9.3f}   {note}", flush=True)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def with_evalica(votes: Votes, best: Callable[[Callable[[], object]], float]) -> list[tuple[str, float, str]]:
    import evalica

    winners = [(evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)[i] for i in votes.choice]
    xs, ys = votes.left.tolist(), votes.right.tolist()
    index = pd.Index(range(len(votes.models)))
    rows = []
    for method in (evalica.bradley_terry, evalica.newman):
        seconds = best(lambda method=method: method(xs, ys, winners, index=index))
        rows.append((f"evalica, {method.__name__}", seconds, "no intervals"))
    few = 2

    def bootstrap() -> object:
        return evalica.bootstrap(
            evalica.bradley_terry, xs, ys, winners, index=index, n_resamples=few, bootstrap_method="percentile"
        )

    once = rows[0][1]
    seconds = once + (timed(bootstrap) - once) / few * RESAMPLES
    rows.append(("evalica, bradley_terry and bootstrap", seconds, f"intervals; {RESAMPLES} resamples, from {few}"))
    return rows


def with_arena_rank(votes: Votes, best: Callable[[Callable[[], object]], float]) -> list[tuple[str, float, str]]:
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    table = pd.DataFrame({"model_a": votes.left, "model_b": votes.right, "winner": votes.choice})
    outcome = {0: 1.0, 1: 0.0, 2: 0.5}

    def everything() -> object:
        data = PairDataset.from_pandas(table, outcome_map=outcome.get)
        rated = BradleyTerry(len(data.competitors)).compute_ratings_and_cis(data)
        return np.asarray(rated["rating_upper"])

    data = PairDataset.from_pandas(table, outcome_map=outcome.get)

    def from_pairs() -> object:
        rated = BradleyTerry(len(data.competitors)).compute_ratings_and_cis(data)
        return np.asarray(rated["rating_upper"])

    everything()
    return [
        ("arena-rank", best(everything), "intervals"),
        ("arena-rank, from counted pairs", best(from_pairs), "intervals; counting the votes left out"),
    ]


def simulate(n: int, models: int, prompts: int, judges: int) -> Votes:
    """Prompts and judges have preferences; one vote in four is a tie."""
    rng = np.random.default_rng(0)
    left = rng.integers(models, size=n)
    right = (left + 1 + rng.integers(models - 1, size=n)) % models
    prompt, judge = rng.integers(prompts, size=n), rng.integers(judges, size=n)
    strengths = rng.normal(size=models) * 0.7
    worth = strengths + rng.normal(size=(prompts, models)) * 0.35
    pulls = rng.normal(size=(judges, models)) * 0.35
    s = worth[prompt, left] - worth[prompt, right] + pulls[judge, left] - pulls[judge, right] + 0.1
    weights = np.exp(np.stack([s / 2, -s / 2, np.full(n, -0.4)], axis=1))
    p = weights / weights.sum(axis=1, keepdims=True)
    choice = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    return Votes(
        models=tuple(f"model {i}" for i in range(models)),
        prompts=tuple(f"prompt {i}" for i in range(prompts)),
        judges=tuple(f"judge {i}" for i in range(judges)),
        left=left,
        right=right,
        choice=choice,
        prompt=prompt,
        judge=judge,
        criterion=np.zeros(n, dtype=np.int64),
        category=np.full(n, -1),
        seconds=np.full(n, np.nan),
    )


if __name__ == "__main__":
    main()
