"""How many votes it takes to tell the best two of eight models apart, by how the pairs are chosen.

    python bench/pairing.py [--studies 60] [--svg docs/pairing.svg]

Eight models in equal steps, so that neighbours are at 60:40. Apart: what `arena.stopping` claims at 5 % over all 28
pairs. That is valid however pairs are chosen, as a pair is chosen by votes that are past. Four ways to choose:

uniform                 every pair as likely as another
most information        `arena.pairs`, with the ratings of `arena.davidson` after every ten votes
open pairs only         the same, without the pairs that are settled
to find the best        the same, without models that are beaten already

Prints how many studies have told them apart after so many votes, and draws it.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson
from diptych.arena.betting import log_e_value
from diptych.arena.pairs import choose_models, information
from diptych.arena.stopping import Standing, decide_all
from diptych.arena.votes import LEFT, Votes

MODELS = 8
STRENGTHS = -math.log(0.6 / 0.4) * np.arange(MODELS)
NEEDED = math.log(20 * MODELS * (MODELS - 1) / 2)
REFIT = 10
WAYS = ("uniform", "most information", "open pairs only", "to find the best")
AT = (250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 16000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    taken = {way: np.array([votes_until_apart(way, seed) for seed in range(options.studies)]) for way in WAYS}

    print(f"Best two of {MODELS} models told apart: share of {options.studies} studies after so many votes\n")
    print(f"| votes | {' | '.join(WAYS)} |\n|{'---|' * (len(WAYS) + 1)}")
    for votes in AT:
        print(f"| {votes:,} | {' | '.join(f'{(taken[way] <= votes).mean() * 100:.0f} %' for way in WAYS)} |")
    for name, summary in (("median", np.median), ("mean", np.mean)):
        print(f"| {name} votes | {' | '.join(f'{summary(taken[way]):,.0f}' for way in WAYS)} |")
    means = [taken[way].mean() / taken["uniform"].mean() for way in WAYS]
    print(f"| of uniform | {' | '.join(f'{mean * 100:.0f} %' for mean in means)} |")
    if options.svg:
        draw(taken, options.svg)
    print(f"\n{time.perf_counter() - start:.0f} s")


def votes_until_apart(way: str, seed: int) -> int:
    """Of the best two models, 0 and 1."""
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(STRENGTHS[None, :] - STRENGTHS[:, None]))
    wins = np.zeros((MODELS, MODELS), np.int64)
    settled, beaten = np.zeros((MODELS, MODELS), bool), np.zeros(MODELS, bool)
    told = np.ones((MODELS, MODELS))
    votes = 0
    while not settled[0, 1]:
        if way != "uniform" and votes % REFIT == 0:
            told = what_votes_would_tell(wins)
        wanted = told.copy()
        if way in WAYS[2:]:
            wanted[settled] = 0
        if way == WAYS[3]:
            wanted[beaten] = wanted[:, beaten] = 0
        pair = choose_models(wins + wins.T, wanted, rng)
        assert pair is not None
        i, j = pair if rng.random() < chance[pair] else pair[::-1]
        wins[i, j] += 1
        votes += 1
        if log_e_value(wins[i, j], wins[j, i]) >= NEEDED:
            settled[pair] = True
            beaten[j if wins[i, j] > wins[j, i] else i] = True
    if seed == 0:
        check(wins, settled, beaten)
    return votes


def what_votes_would_tell(wins: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.zeros((MODELS, MODELS, 3))
    counts[..., LEFT] = wins
    fit = davidson.fit(counts, side=False)
    return information(fit.strengths, np.linalg.inv(fit.information)[:MODELS, :MODELS])


def check(wins: NDArray[np.int64], settled: NDArray[np.bool_], beaten: NDArray[np.bool_]) -> None:
    """That `decide_all` says the same of these votes. What was settled once may not be so any more."""
    left, right = (np.repeat(index.ravel(), wins.ravel()) for index in np.indices(wins.shape))
    none = np.zeros(len(left), np.int64)
    names = tuple("ABCDEFGH")
    votes = Votes(names, ("p",), ("j",), left, right, none, none, none, none, none - 1, np.full(len(left), np.nan))
    standing: Standing = decide_all(votes)
    better = {(names.index(v.first), names.index(v.second)) for v in standing.verdicts if v.better}
    assert (0, 1) in better
    assert better <= {(int(i), int(j)) for i, j in zip(*np.nonzero(settled), strict=True)}
    assert {name for name, lost in zip(names, beaten, strict=True) if not lost} <= set(standing.unbeaten)


def draw(taken: dict[str, NDArray[np.int64]], path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "pairing", "font.family": "sans-serif"}
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (way, votes), colour, dash in zip(
        taken.items(), ("#777777", "#0072b2", "#009e73", "#d55e00"), ("--", "-", "-", "-"), strict=True
    ):
        share = 100 * np.arange(len(votes) + 1) / len(votes)
        axes.step([100, *np.sort(votes)], share, where="post", color=colour, linestyle=dash, linewidth=2, label=way)
    axes.set(xscale="log", xlim=(200, 25_000), ylim=(0, 102))
    axes.set_xlabel("votes, on all pairs together")
    axes.set_ylabel("best two told apart, % of studies")
    axes.set_xticks(
        [250, 500, 1000, 2500, 5000, 10_000, 25_000], ["250", "500", "1,000", "2,500", "5,000", "10,000", "25,000"]
    )
    axes.minorticks_off()
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None, "Title": "Votes needed to tell the best two of eight models apart"})


if __name__ == "__main__":
    main()
