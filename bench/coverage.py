"""Whether 95 % intervals are right 95 times in 100: simulated studies in which prompts and judges have preferences.

    python bench/coverage.py [--studies 1000] [--seed 1] [--processes 2] [--quick] [--only first|second]

Each study is simulated with known strengths, rated, and its intervals compared with the truth that its scope speaks of:
these prompts and these judges as they were drawn, or all that could have been drawn. Prompts and judges are drawn at
random for each vote. Prints two tables in Markdown: the design of the docs, and what it takes to break it.
The standard error of a figure in the tables is about 0.5 at 1 000 studies.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson, ratings
from diptych.arena.votes import Votes

Array = NDArray[np.float64]
Judged = Callable[[Array], Array]
"""From log odds of left against right, (prompts, models, models), to shares of left, right, tie on the last axis."""

TIE = math.log(0.6)
SIDE = 0.1
SIDE_SD = 0.2
"""How much judges differ in what the left side is worth to them."""
TIE_SD = 0.5
"""How much judges differ in how readily they call a tie."""
CHUNKS = 8
GRID = 60


@dataclass(frozen=True)
class Design:
    """How votes come about. Differences between two models are in natural logits."""

    name: str
    prompts: int
    judges: int
    votes: int
    models: int = 4
    top: float = 0.8
    """Strength of the best model above the last one."""
    prompt_sd: float = 0.5
    judge_sd: float = 0.5
    """Standard deviation over prompts, over judges, of the difference that they make between two models."""
    shape: str = "normal"
    """Of preferences: normal; skewed, as 1 minus an exponential; or few, who are one in five and go the other way."""
    evenness: float = math.inf
    """Of the share of votes that prompts and judges get: infinite for equal shares, else that of a Dirichlet draw."""

    def strengths(self) -> Array:
        return np.linspace(self.top / 2, -self.top / 2, self.models)


@dataclass
class Count:
    """Of one scope of one design."""

    covered: int = 0
    printed: int = 0
    possible: int = 0
    widths: list[float] = field(default_factory=list)
    ranks_right: int = 0
    studies: int = 0

    def add(self, other: Count) -> None:
        self.covered += other.covered
        self.printed += other.printed
        self.possible += other.possible
        self.widths += other.widths
        self.ranks_right += other.ranks_right
        self.studies += other.studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="100 studies of each design")
    parser.add_argument("--only", choices=["first", "second"])
    arguments = parser.parse_args()
    studies = 100 if arguments.quick else arguments.studies
    start = time.perf_counter()
    print(
        f"{studies} studies of each design, seed {arguments.seed}. Covered / printed / median width in rating points.\n"
    )
    with ProcessPoolExecutor(arguments.processes) as pool:
        for number, designs in (("first", first_table()), ("second", second_table())):
            if arguments.only in (None, number):
                print_table(designs, studies, arguments.seed, pool)
    print(f"{time.perf_counter() - start:.0f} s")


def first_table() -> list[Design]:
    return [
        Design(f"{prompts} prompts, {judges} judge{'s' * (judges > 1)}", prompts, judges, votes)
        for prompts in (3, 10, 50)
        for judges in (1, 10)
        for votes in (150, 600)
    ]


def second_table() -> list[Design]:
    base = Design("", 10, 10, 200)
    few = replace(base, prompts=3)
    return [
        replace(base, name="no preferences at all", prompt_sd=0.0, judge_sd=0.0),
        replace(few, name="the same, 3 prompts", prompt_sd=0.0, judge_sd=0.0),
        replace(base, name="twice the preferences", prompt_sd=1.0, judge_sd=1.0),
        replace(few, name="the same, 3 prompts", prompt_sd=1.0, judge_sd=1.0),
        replace(base, name="uneven shares", evenness=2.0),
        replace(few, name="the same, 3 prompts", evenness=2.0),
        replace(base, name="2 models, 40 votes", models=2, votes=40),
        replace(few, name="the same, 3 prompts", models=2, votes=40),
        replace(base, name="2 models, one far ahead", models=2, top=2.5, votes=60),
        replace(base, name="8 models, 400 votes", models=8, votes=400),
        replace(base, name="2 models, skewed preferences", models=2, shape="skewed", prompt_sd=1.0),
        replace(few, name="the same, 3 prompts", models=2, shape="skewed", prompt_sd=1.0),
        replace(base, name="2 models, few prompts against", models=2, shape="few", prompt_sd=1.0),
        replace(few, name="the same, 3 prompts", models=2, shape="few", prompt_sd=1.0),
    ]


def print_table(designs: list[Design], studies: int, seed: int, pool: ProcessPoolExecutor) -> None:
    print(f"| design | votes | {' | '.join(ratings.SCOPES)} | ranks |")
    print("|---|---|" + "---|" * (len(ratings.SCOPES) + 1))
    for number, design in enumerate(designs):
        seeds = np.random.SeedSequence((seed, number)).spawn(CHUNKS)
        sizes = [studies // CHUNKS + (i < studies % CHUNKS) for i in range(CHUNKS)]
        counts: dict[str, Count] = {scope: Count() for scope in ratings.SCOPES}
        for part in pool.map(simulate, [design] * CHUNKS, seeds, sizes):
            for scope, count in part.items():
                counts[scope].add(count)
        these = counts["these"]
        ranks = f"{100 * these.ranks_right / these.studies:.1f}"
        cells = " | ".join(described(count) for count in counts.values())
        print(f"| {design.name} | {design.votes} | {cells} | {ranks} |", flush=True)


def described(count: Count) -> str:
    if not count.printed:
        return "none"
    share = count.printed / count.possible
    printed = "" if share == 1 else f" ({100 * share:.0f} % printed)"
    return f"{100 * count.covered / count.printed:.1f}, {np.median(count.widths):.0f}{printed}"


def simulate(design: Design, seed: np.random.SeedSequence, studies: int) -> dict[str, Count]:
    """So many studies of a design: how often the contrasts of all pairs are right, by scope."""
    rng = np.random.default_rng(seed)
    counts: dict[str, Count] = {scope: Count() for scope in ratings.SCOPES}
    for _ in range(studies):
        votes, truth = study(design, rng)
        for scope, rated in ratings.by_scope(votes).items():
            true = truth[scope]
            count = counts[scope]
            for contrast in rated.contrasts:
                difference = contrast.difference
                count.possible += 1
                if difference.low is None and difference.high is None:
                    continue
                low = -math.inf if difference.low is None else difference.low
                high = math.inf if difference.high is None else difference.high
                expected = true[int(contrast.model)] - true[int(contrast.other)]
                count.printed += 1
                count.covered += low <= expected <= high
                count.widths.append(high - low)
            places = {str(model): place for place, model in enumerate(np.argsort(-true), start=1)}
            count.studies += 1
            count.ranks_right += all(m.best_rank <= places[m.model] <= m.worst_rank for m in rated.models)
    return counts


def study(design: Design, rng: np.random.Generator) -> tuple[Votes, dict[str, Array]]:
    """Votes, and for each scope the ratings that endlessly many of them would give."""
    models, n = design.models, design.votes
    on_prompts = preferences(rng, design, design.prompts, design.prompt_sd, design.shape)
    on_judges = preferences(rng, design, design.judges, design.judge_sd, "normal")
    sides, ties = rng.normal(size=design.judges) * SIDE_SD, rng.normal(size=design.judges) * TIE_SD
    prompt_shares, judge_shares = (shares(rng, design.evenness, count) for count in (design.prompts, design.judges))
    prompt = rng.choice(design.prompts, n, p=prompt_shares)
    judge = rng.choice(design.judges, n, p=judge_shares)
    left = rng.integers(models, size=n)
    right = (left + 1 + rng.integers(models - 1, size=n)) % models
    strengths = design.strengths()
    s = strengths[left] - strengths[right] + SIDE + sides[judge]
    s += on_prompts[prompt, left] - on_prompts[prompt, right] + on_judges[judge, left] - on_judges[judge, right]
    p = outcome(s, TIE + ties[judge])
    choice = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    votes = Votes(
        models=tuple(map(str, range(models))),
        prompts=tuple(map(str, range(design.prompts))),
        judges=tuple(map(str, range(design.judges))),
        left=left, right=right, choice=choice, prompt=prompt, judge=judge,
        criterion=np.zeros(n, dtype=np.int64), category=np.full(n, -1), seconds=np.full(n, np.nan),
    )  # fmt: skip
    # What is fixed is there as it was drawn; what is not is there in all its sizes.
    drawn = pairwise(on_prompts), prompt_shares
    every = spread(design, design.prompt_sd, design.shape), np.full(GRID, 1 / GRID)
    fixed, free = of_judges(pairwise(on_judges) + sides[:, None, None], ties, judge_shares), of_all_judges(design)
    return votes, {
        "these": expected(design, drawn, fixed),
        "prompts": expected(design, every, fixed),
        "judges": expected(design, drawn, free),
        "prompts and judges": expected(design, every, free),
    }


def expected(design: Design, prompts: tuple[Array, Array], judged: Judged) -> Array:
    """Ratings of votes in their expected shares. prompts: what each does to each pair, and their weights."""
    effects, weights = prompts
    strengths = design.strengths()
    p = judged(strengths[:, None] - strengths[None, :] + SIDE + effects)
    counts = np.einsum("p,pabc->abc", weights, p) * (1 - np.eye(design.models)[..., None])
    return ratings.ELO * davidson.fit(counts * 1e6, 1e3).strengths


def of_judges(effects: Array, ties: Array, weights: Array) -> Judged:
    """What these judges say on average. effects: (judges, models, models)."""

    def judged(s: Array) -> Array:
        return np.einsum("j,pjabc->pabc", weights, outcome(s[:, None] + effects, TIE + ties[:, None, None]))

    return judged


@cache
def of_all_judges(design: Design) -> Judged:
    """What all judges say on average, however far they pull and however readily they call a tie."""
    at = np.linspace(-12, 12, 481)
    pulls, ties = quantiles("normal") * math.hypot(design.judge_sd, SIDE_SD), quantiles("normal") * TIE_SD
    means = outcome(at[:, None, None] + pulls[:, None], TIE + ties).mean(axis=(1, 2))
    return lambda s: np.stack([np.interp(s, at, mean) for mean in means.T], axis=-1)


def outcome(s: Array, tie: Array) -> Array:
    """Probabilities of left, right, tie."""
    weights = np.exp(np.stack(np.broadcast_arrays(s / 2, -s / 2, tie), axis=-1))
    return weights / weights.sum(axis=-1, keepdims=True)


def preferences(rng: np.random.Generator, design: Design, count: int, sd: float, shape: str) -> Array:
    """(count, models): so drawn that differences of two models have the standard deviation."""
    if shape == "normal":
        return rng.normal(size=(count, design.models)) * sd / math.sqrt(2)
    drawn = 1 - rng.exponential(size=count) if shape == "skewed" else np.where(rng.random(count) < 0.2, -2.0, 0.5)
    return np.stack([drawn, -drawn], axis=1) * sd / 2


@cache
def quantiles(shape: str) -> Array:
    """GRID equally likely values with mean 0 and standard deviation 1."""
    at = (np.arange(GRID) + 0.5) / GRID
    if shape == "few":
        return np.where(at < 0.2, -2.0, 0.5)
    values = np.array([NormalDist().inv_cdf(x) for x in at]) if shape == "normal" else 1 + np.log(at)
    values -= values.mean()
    return values / values.std()


def spread(design: Design, sd: float, shape: str) -> Array:
    """(GRID, models, models): how far differences can be moved, as if each pair were alone."""
    sign = np.sign(np.arange(design.models)[None, :] - np.arange(design.models)[:, None])
    return quantiles(shape)[:, None, None] * sd * sign


def pairwise(effects: Array) -> Array:
    return effects[:, :, None] - effects[:, None, :]


def shares(rng: np.random.Generator, evenness: float, count: int) -> Array:
    return np.full(count, 1 / count) if math.isinf(evenness) else rng.dirichlet(np.full(count, evenness))


if __name__ == "__main__":
    main()
