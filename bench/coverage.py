"""Whether 95 % intervals are right 95 times in 100: simulated studies in which prompts and judges have preferences.

    python bench/coverage.py [--studies 1000] [--seed 1] [--processes 2] [--quick] [--only TABLE]

Each study is simulated with known strengths, rated, and its intervals compared with the truth that its scope speaks of:
these prompts and these judges as they were drawn, or all that could have been drawn. Prompts and judges are drawn at
random for each vote. Prints four tables in Markdown: differences between models for common designs, the same where
it is made hard, the other numbers that have intervals, and studies that ended when their stopping rule said so, which
these intervals do not know of. "False order": studies in which any two models are said to
be apart that are not, or the other way round, on these prompts and for these judges.
The standard error of a share in the tables is about 0.5 at 1 000 studies.
"""

from __future__ import annotations

import argparse
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from diptych.arena import davidson, ratings
from diptych.arena.betting import log_e_value
from diptych.arena.votes import Votes

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Judged = Callable[[Array], Array]
"""From log odds of left against right, (prompts, models, models), to shares of left, right, tie on the last axis."""

TIE = math.log(0.6)
SIDE = 0.1
SIDE_SD = 0.2
"""How much judges differ in what the left side is worth to them."""
TIE_SD = 0.5
"""How much judges differ in how readily they call a tie."""
BUDGETS = (100, 400)
CHUNKS = 8
GRID = 60
NUMBERS = ("difference", "rating", "win rate", "side")
"""What has an interval. Differences and ratings are in points, the side in natural logits."""


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
    """Of one number, one scope and one design."""

    covered: int = 0
    printed: int = 0
    possible: int = 0
    false_orders: int = 0
    widths: list[float] = field(default_factory=list)

    def see(self, estimate: ratings.Estimate, expected: float) -> None:
        self.possible += 1
        if estimate.low is None and estimate.high is None:
            return
        low = -math.inf if estimate.low is None else estimate.low
        high = math.inf if estimate.high is None else estimate.high
        self.printed += 1
        self.covered += low <= expected <= high
        self.widths.append(high - low)

    def add(self, other: Count) -> None:
        self.covered += other.covered
        self.printed += other.printed
        self.possible += other.possible
        self.false_orders += other.false_orders
        self.widths += other.widths


Counts = dict[tuple[str, str], Count]
"""By scope and number."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="100 studies of each design")
    parser.add_argument("--only", choices=["designs", "stress", "numbers", "stopped"])
    arguments = parser.parse_args()
    studies = 100 if arguments.quick else arguments.studies
    start = time.perf_counter()
    print(f"{studies} studies of each design, seed {arguments.seed}: % covered, median width.")
    with ProcessPoolExecutor(arguments.processes) as pool:
        for name, designs in (("designs", common()), ("stress", stress())):
            if arguments.only in (None, name):
                print_table(designs, studies, arguments.seed, pool)
        if arguments.only in (None, "numbers"):
            print_numbers(common()[1::2], studies, arguments.seed, pool)
        if arguments.only in (None, "stopped"):
            print_stopped(studies, arguments.seed, pool)
    print(f"\n{time.perf_counter() - start:.0f} s")


def common() -> list[Design]:
    return [
        Design(f"{prompts} prompts, {judges} judge{'s' * (judges > 1)}", prompts, judges, votes)
        for prompts in (3, 10, 50)
        for judges in (1, 10)
        for votes in (150, 600)
    ]


def stress() -> list[Design]:
    base = Design("", 10, 10, 200)
    few = replace(base, prompts=5)
    return [
        replace(base, name="no preferences at all", prompt_sd=0.0, judge_sd=0.0),
        replace(few, name="no preferences at all, 5 prompts", prompt_sd=0.0, judge_sd=0.0),
        replace(base, name="twice the preferences", prompt_sd=1.0, judge_sd=1.0),
        replace(few, name="twice the preferences, 5 prompts", prompt_sd=1.0, judge_sd=1.0),
        replace(base, name="uneven shares", evenness=2.0),
        replace(few, name="uneven shares, 5 prompts", evenness=2.0),
        replace(base, name="6 prompts, 6 judges", prompts=6, judges=6),
        replace(base, name="100 votes", votes=100),
        replace(base, name="2 models, 40 votes", models=2, votes=40),
        replace(few, name="2 models, 40 votes, 5 prompts", models=2, votes=40),
        replace(base, name="2 models, one far ahead", models=2, top=2.5, votes=60),
        replace(base, name="8 models, 400 votes", models=8, votes=400),
        replace(base, name="8 equal models, no preferences", models=8, votes=400, top=0.0, prompt_sd=0.0, judge_sd=0.0),
        replace(base, name="2 models, skewed preferences", models=2, shape="skewed", prompt_sd=1.0),
        replace(few, name="2 models, skewed preferences, 5 prompts", models=2, shape="skewed", prompt_sd=1.0),
        replace(base, name="2 models, few prompts against", models=2, shape="few", prompt_sd=1.0),
        replace(few, name="2 models, few prompts against, 5 prompts", models=2, shape="few", prompt_sd=1.0),
    ]


def print_table(designs: list[Design], studies: int, seed: int, pool: ProcessPoolExecutor) -> None:
    print(f"\n| design | votes | {' | '.join(ratings.SCOPES)} | false order |")
    print("|---|---|" + "---|" * (len(ratings.SCOPES) + 1))
    for design in designs:
        counts = counted(design, studies, seed, pool)
        cells = " | ".join(described(counts[scope, "difference"]) for scope in ratings.SCOPES)
        false = 100 * counts["these", "difference"].false_orders / studies
        print(f"| {design.name} | {design.votes} | {cells} | {false:.1f} |", flush=True)


def print_numbers(designs: list[Design], studies: int, seed: int, pool: ProcessPoolExecutor) -> None:
    print(f"\n| design | votes | number | {' | '.join(ratings.SCOPES)} |")
    print("|---|---|---|" + "---|" * len(ratings.SCOPES))
    for design in designs:
        counts = counted(design, studies, seed, pool)
        for number in NUMBERS[1:]:
            cells = " | ".join(described(counts[scope, number]) for scope in ratings.SCOPES)
            print(f"| {design.name} | {design.votes} | {number} | {cells} |", flush=True)


def print_stopped(studies: int, seed: int, pool: ProcessPoolExecutor) -> None:
    print(f"\n| true win rate | {' | '.join(f'at most {budget}' for budget in BUDGETS)} |")
    print("|---|" + "---|" * len(BUDGETS))
    sizes = [studies // CHUNKS] * CHUNKS
    for win_rate in (0.5, 0.55, 0.6, 0.7, 0.8):
        cells = []
        for budget in BUDGETS:
            seeds = np.random.SeedSequence((seed, budget, int(100 * win_rate))).spawn(CHUNKS)
            count = Count()
            for part in pool.map(stopped, [win_rate] * CHUNKS, [budget] * CHUNKS, seeds, sizes):
                count.add(part)
            cells.append(described(count))
        print(f"| {win_rate:g} | {' | '.join(cells)} |", flush=True)


def stopped(win_rate: float, budget: int, seed: np.random.SeedSequence, studies: int) -> Count:
    """Of so many studies of two models without ties, looked at after every vote: intervals that hold at the end."""
    rng, count = np.random.default_rng(seed), Count()
    truth = ratings.ELO * math.log(win_rate / (1 - win_rate))
    for _ in range(studies):
        won = rng.random(budget) < win_rate
        wins = np.cumsum(won)
        looks = ((int(w), n - int(w)) for n, w in enumerate(wins, start=1))
        n = next((w + lost for w, lost in looks if log_e_value(w, lost) >= math.log(20)), budget)
        left = rng.integers(2, size=n)
        choice = np.where(won[:n] == (left == 0), 0, 1)
        votes = as_votes(2, 1, 1, left, 1 - left, choice, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))
        count.see(ratings.rate(votes).contrast("0", "1").difference, truth)
    return count


def described(count: Count) -> str:
    if not count.printed:
        return "none"
    share = count.printed / count.possible
    printed = "" if share > 0.995 else f" ({100 * share:.0f} % printed)"
    width = float(np.median(count.widths))
    return f"{100 * count.covered / count.printed:.1f}, {width:.{0 if width > 3 else 2}f}{printed}"


def counted(design: Design, studies: int, seed: int, pool: ProcessPoolExecutor) -> Counts:
    """All studies of a design."""
    seeds = np.random.SeedSequence((seed, zlib.crc32(repr(replace(design, name="")).encode()))).spawn(CHUNKS)
    sizes = [studies // CHUNKS + (i < studies % CHUNKS) for i in range(CHUNKS)]
    counts: Counts = defaultdict(Count)
    for part in pool.map(simulate, [design] * CHUNKS, seeds, sizes):
        for key, count in part.items():
            counts[key].add(count)
    return counts


def simulate(design: Design, seed: np.random.SeedSequence, studies: int) -> Counts:
    """So many studies: how often each interval holds."""
    rng = np.random.default_rng(seed)
    counts: Counts = defaultdict(Count)
    for _ in range(studies):
        votes, truth = study(design, rng)
        for scope, rated in ratings.by_scope(votes).items():
            true = truth[scope]
            strengths, rates, false = ratings.ELO * true[:-2], win_rates(true), False
            for contrast in rated.contrasts:
                expected = float(strengths[int(contrast.model)] - strengths[int(contrast.other)])
                counts[scope, "difference"].see(contrast.difference, expected)
                false |= contrast.apart and expected < 1e-6
            counts[scope, "difference"].false_orders += false
            for model in rated.models:
                counts[scope, "rating"].see(model.rating, ratings.MEAN + strengths[int(model.model)])
                counts[scope, "win rate"].see(model.win_rate, rates[int(model.model)])
            counts[scope, "side"].see(rated.side, float(true[-2]))
    return dict(counts)


def win_rates(parameters: Array) -> Array:
    even = parameters.copy()
    even[-2] = 0.0
    p = davidson.probabilities(even)
    wins = p[..., 0] + p[..., 2] / 2
    return np.asarray((wins.sum(axis=1) - 0.5) / (len(wins) - 1))


def study(design: Design, rng: np.random.Generator) -> tuple[Votes, dict[str, Array]]:
    """Votes, and for each scope the parameters that endlessly many of them would give."""
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
    votes = as_votes(models, design.prompts, design.judges, left, right, choice, prompt, judge)
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


def as_votes(models: int, prompts: int, judges: int, left: Index, right: Index, *columns: Index) -> Votes:
    """columns: choice, prompt, judge. Names are the numbers."""
    choice, prompt, judge = columns
    return Votes(
        models=tuple(map(str, range(models))),
        prompts=tuple(map(str, range(prompts))),
        judges=tuple(map(str, range(judges))),
        left=left,
        right=right,
        choice=choice,
        prompt=prompt,
        judge=judge,
        criterion=np.zeros_like(left),
        category=np.full_like(left, -1),
        seconds=np.full(len(left), np.nan),
    )


def expected(design: Design, prompts: tuple[Array, Array], judged: Judged) -> Array:
    """The fit to votes in their expected shares. prompts: what each does to each pair, and their weights."""
    effects, weights = prompts
    strengths = design.strengths()
    p = judged(strengths[:, None] - strengths[None, :] + SIDE + effects)
    counts = np.einsum("p,pabc->abc", weights, p) * (1 - np.eye(design.models)[..., None])
    return davidson.fit(counts * 1e6, 1e3).parameters


def of_judges(effects: Array, ties: Array, weights: Array) -> Judged:
    """What these judges say on average. effects: (judges, models, models)."""

    def judged(s: Array) -> Array:
        p = outcome(s[:, None] + effects, TIE + ties[:, None, None])
        return np.asarray(np.einsum("j,pjabc->pabc", weights, p))

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
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


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
    return np.asarray(values / values.std())


def spread(design: Design, sd: float, shape: str) -> Array:
    """(GRID, models, models): how far differences can be moved, as if each pair were alone."""
    sign = np.sign(np.arange(design.models)[None, :] - np.arange(design.models)[:, None])
    return np.asarray(quantiles(shape)[:, None, None] * sd * sign)


def pairwise(effects: Array) -> Array:
    return effects[:, :, None] - effects[:, None, :]


def shares(rng: np.random.Generator, evenness: float, count: int) -> Array:
    return np.full(count, 1 / count) if math.isinf(evenness) else rng.dirichlet(np.full(count, evenness))


if __name__ == "__main__":
    main()
