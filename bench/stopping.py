"""Whether what `arena.stopping` claims is true as often as it says, and how many votes it takes.

    python bench/stopping.py [--studies 4000]

Simulated votes, looked at after every one of them. The tables are those of docs/stopping.md:

independent     false alarms and votes to stop, beside stopping at |z| > 1.96
effects         votes with preferences that differ by prompt and by judge: claims that are false, at both levels
pictures        the same with few pictures, shown in the order of `arena.pairs`
power           how often a true difference is found, at both levels
ties            votes to stop with ties counted half, left out, or replaced by a coin
even            how often "no difference larger than 55:45" is said, where it is so and where not
forecast        what "about N more votes" is worth

The evidence of many studies at once is computed here on arrays, and held against `arena.stopping` on some of them.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from diptych.arena.betting import Evidence, log_e_value
from diptych.arena.pairs import Pictures, Shown, next_trial
from diptych.arena.stopping import Rule, decide, fewest_prompts
from diptych.arena.votes import LEFT, RIGHT, TIE, Votes

Floats = NDArray[np.float64]
NEEDED = math.log(20)
EFFECT = 0.5
"""Standard deviation of the effects of prompts, judges and their pairs, in logits: 62 % where it would be 50 %."""
LOG_GAMMA = np.array([0.0, *(math.lgamma(i) for i in range(1, 5003))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    independent(studies, rng)
    effects(studies, rng)
    pictures(studies, rng)
    power(studies // 2, rng)
    ties(studies // 10, rng)
    even(studies // 10, rng)
    forecast(studies // 10, rng)
    print(f"\n{time.perf_counter() - start:.0f} s")


def title(text: str, *columns: str) -> None:
    print(f"\n{text}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


# Evidence of many studies at once


def log_e(won: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(studies, votes): log E and wins minus losses after each vote that is a win or a loss."""
    wins = np.cumsum(won, axis=1)
    n = np.arange(1, won.shape[1] + 1)
    losses = n - wins
    log = n * math.log(2) + LOG_GAMMA[wins + 1] + LOG_GAMMA[losses + 1] - LOG_GAMMA[n + 2]
    for study, vote in ((0, 0), (-1, -1), (len(won) // 2, won.shape[1] // 2)):
        assert math.isclose(
            log[study, vote], log_e_value(wins[study, vote], losses[study, vote]), rel_tol=1e-9, abs_tol=1e-9
        )
    return log, (wins - losses).astype(float)


def first_time(reached: NDArray[np.bool_]) -> Floats:
    """(studies,): the vote at which it was first so; infinite where never."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def prompt_level(
    won: NDArray[np.bool_], prompt: NDArray[np.int64], prompts: int, truth: Floats | None = None
) -> Floats:
    """(studies,): the vote at which a claim at the level of prompts was first made; infinite where never.

    For each r: the scores of prompts in the order in which they have r votes, bet on one after the other.
    truth: (studies, votes), what to expect of each vote over all prompts, less one half. Only false claims are counted
    then: those in a direction that the votes they rest on do not have on the whole.
    """
    studies, votes = won.shape
    step = 0.1
    log_odds = np.arange(-25, 25, step)
    theta = sigmoid(log_odds)
    weight = np.log(theta * (1 - theta)) + math.log(step)
    order = np.argsort(prompt, axis=1, kind="stable")
    starts = np.stack([(prompt < k).sum(axis=1) for k in range(prompts + 1)], axis=1)
    counts = np.diff(starts, axis=1)

    def sums(values: NDArray[np.generic]) -> Floats:
        ordered = np.take_along_axis(values, order, 1)
        return np.concatenate([np.zeros((studies, 1)), np.cumsum(ordered, axis=1)], axis=1)

    won_before, true_before = sums(won), sums(np.zeros(won.shape) if truth is None else truth)
    at = np.full(studies, np.inf)
    first, share = 1, 0.5
    while (counts >= first).sum(axis=1).max() >= fewest_prompts(Rule(level="prompts")):
        start, end = starts[:, :-1], np.minimum(starts[:, :-1] + first, votes)
        when = np.where(counts >= first, np.take_along_axis(order, end - 1, 1) + 1.0, np.inf)
        by_time = np.argsort(when, axis=1)

        score, mean = (
            np.take_along_axis(np.take_along_axis(before, end, 1) - np.take_along_axis(before, start, 1), by_time, 1)
            / first
            for before in (won_before, true_before)
        )
        when = np.take_along_axis(when, by_time, 1)
        lead, actual = np.cumsum(score - 0.5, axis=1), np.cumsum(mean, axis=1)
        counted = lead * actual <= 1e-9 if truth is not None else np.ones_like(lead, bool)
        log_wealth = np.broadcast_to(weight, (studies, len(theta))).copy()
        for k in range(prompts):
            s = score[:, k, None]
            log_wealth += np.log(2 * (theta * s + (1 - theta) * (1 - s)))
            largest = log_wealth.max(axis=1)
            log = largest + np.log(np.exp(log_wealth - largest[:, None]).sum(axis=1))
            claims = (log + math.log(share) >= NEEDED) & counted[:, k]
            at = np.where(claims, np.minimum(at, when[:, k]), at)
        first, share = first * 2, share / 2
    return at


def as_votes(won: NDArray[np.bool_], prompt: NDArray[np.int64], tied: NDArray[np.bool_] | None = None) -> Votes:
    """One study as columns; the first model is always on the left."""
    n = len(won)
    none = np.zeros(n, np.int64)
    choice = np.where(won, LEFT, RIGHT)
    return Votes(
        models=("A", "B"),
        prompts=tuple(str(k) for k in range(int(prompt.max()) + 1)),
        judges=("judge",),
        left=none,
        right=none + 1,
        choice=choice if tied is None else np.where(tied, TIE, choice),
        prompt=prompt,
        judge=none,
        criterion=none,
        category=none - 1,
        seconds=np.full(n, np.nan),
    )


# The tables


def independent(studies: int, rng: np.random.Generator) -> None:
    title(
        f"Independent votes, {studies:,} studies of up to 2,000, looked at after every vote",
        "true win rate", "claims", "median votes", "independent simulation", r"\|z\| > 1.96 claims",
    )  # fmt: skip
    known = {0.5: "", 0.55: 955, 0.6: 212, 0.65: 86, 0.7: 47, 0.8: 19}
    n = np.arange(1, 2001)
    for p, median in known.items():
        log, lead = log_e(rng.random((studies, len(n))) < p)
        at = first_time(log >= NEEDED)
        naive = (np.abs(lead) > 1.96 * np.sqrt(n)).any(axis=1)
        middle = np.median(at)
        row(
            p,
            percent(np.isfinite(at).mean()),
            f"{middle:.0f}" if np.isfinite(middle) else "",
            median,
            percent(naive.mean()),
        )


def centred(logits: Floats, weights: Floats | None = None) -> Floats:
    """Logits moved, by one number for each study (the first axis), so that their probabilities average one half.

    weights: of the same shape, summing to one for each study; None: all alike.
    """
    weights = np.full(logits.shape, 1 / logits[0].size) if weights is None else weights
    low, high = np.full(len(logits), -20.0), np.full(len(logits), 20.0)
    others = tuple(range(1, logits.ndim))
    for _ in range(60):
        middle = ((low + high) / 2).reshape(-1, *[1] * len(others))
        above = (weights * sigmoid(logits + middle)).sum(axis=others) > 0.5
        low, high = np.where(above, low, middle.ravel()), np.where(above, middle.ravel(), high)
    return np.asarray(logits + middle)


def effects(studies: int, rng: np.random.Generator) -> None:
    votes = 600
    title(
        f"Prompts, judges and their pairs differ (SD {EFFECT} logits each): false claims within {votes} votes",
        "prompts", "judges", "level: these prompts, exactly even", "these prompts, as drawn",
        "level: prompts, exactly even", "all votes alike, said of prompts",
    )  # fmt: skip
    normal = rng.normal(0, 1, 100_000)
    for prompts in (3, 10, 50):
        for judges, order in ((1, ""), (10, "mixed"), (10, "one after the other")):
            turn = np.broadcast_to(np.arange(votes) * judges // votes, (studies, votes))
            if order == "mixed":
                turn = rng.integers(0, judges, (studies, votes))
            # Over all prompts, and all judges, the models are even: each judge has an opposite one.
            by_judge = rng.normal(0, EFFECT / math.sqrt(2), (studies, judges))
            by_judge = by_judge - by_judge[:, ::-1]
            both = rng.normal(0, EFFECT, (studies, prompts, judges)) if judges > 1 else 0.0
            logits = rng.normal(0, EFFECT, (studies, prompts, 1)) + by_judge[:, None, :] + both
            study = np.arange(studies)[:, None]
            prompt = rng.integers(0, prompts, (studies, votes))
            cells = []
            for drawn in (False, True):
                p = sigmoid(logits if drawn else centred(logits))
                won = rng.random((studies, votes)) < p[study, prompt, turn]
                log, lead = log_e(won)
                # What is true of these prompts. One after the other: for the judges so far, by the votes cast.
                mean = p.mean(axis=1)
                mean = (
                    mean[study, turn]
                    if order == "one after the other"
                    else np.repeat(mean.mean(axis=1, keepdims=True), votes, axis=1)
                )
                truth = np.cumsum(mean - 0.5, axis=1)
                cells.append(((log >= NEEDED) & (truth * lead <= 1e-9)).any(axis=1).mean())
            # And what is true of all prompts.
            spread = EFFECT * (math.sqrt(2) if judges > 1 else 1)
            grid = np.linspace(-4, 4, 401)
            mean = np.interp(by_judge, grid, [sigmoid(x + spread * normal).mean() for x in grid]) - 0.5
            mean = mean[study, turn] if order == "one after the other" else np.zeros((studies, votes))
            _check(won, prompt, prompts)
            beyond = prompt_level(won, prompt, prompts, mean)
            alike = ((log >= NEEDED) & (np.cumsum(mean, axis=1) * lead <= 1e-9)).any(axis=1)
            row(
                prompts, f"{judges}{', ' if order else ''}{order}", *(percent(cell) for cell in cells),
                percent(np.isfinite(beyond).mean()), percent(alike.mean()),
            )  # fmt: skip


def _check(won: NDArray[np.bool_], prompt: NDArray[np.int64], prompts: int) -> None:
    """That `decide` says the same of some studies: at the vote at which a claim is first made, and before."""
    at = prompt_level(won[:200], prompt[:200], prompts)
    for i in [*np.flatnonzero(np.isfinite(at))[:3], 0]:
        until = int(at[i]) if np.isfinite(at[i]) else won.shape[1]
        rule = Rule(level="prompts")
        outcomes = [decide(as_votes(won[i, :n], prompt[i, :n]), "A", "B", rule).outcome for n in (until - 1, until)]
        assert outcomes == ["open", "better" if np.isfinite(at[i]) else "open"], outcomes


def pictures(studies: int, rng: np.random.Generator) -> None:
    """Trials in the order of `next_trial`, which does not depend on votes where there are two models."""
    title(
        "Few pictures, which differ too (SD 1 logit), in the order of `next_trial`: false claims at any time",
        "prompts x samples", "judges", "votes", "judges are",
        "level: these prompts, exactly even", "said of new pictures",
    )  # fmt: skip
    replays = 100
    configurations = [
        (prompts, samples, judges, 0.0, kind)
        for prompts, samples in ((3, 4), (10, 2), (50, 1))
        for judges in (1, 5)
        for kind in ("noisy", "certain")
    ]
    for prompts, samples, judges, missing, kind in [*configurations, (3, 4, 1, 0.4, "noisy"), (10, 2, 1, 0.4, "noisy")]:
        each = studies // replays
        even, new, length = 0, 0, 0
        for _ in range(replays):
            there = rng.random((2, prompts, samples)) >= missing
            there[:, :, 0] = True
            rows = _shown_in_order(there, judges, 200, rng)
            length = max(length, len(rows))
            shape = (each, prompts, samples, samples, judges)
            logits = rng.normal(0, EFFECT, (each, prompts, 1, 1, 1)) + rng.normal(
                0, EFFECT, (each, prompts, 1, 1, judges)
            )
            logits = (
                logits
                + rng.normal(0, 1, (each, prompts, samples, 1, 1))
                - rng.normal(0, 1, (each, prompts, 1, samples, 1))
            )
            weights = (there[0][:, :, None] & there[1][:, None, :])[None, ..., None] / np.ones(shape)
            weights /= weights.sum(axis=(2, 3), keepdims=True) * prompts * judges
            for balanced in (True, False):
                if kind == "noisy":
                    p = sigmoid(centred(logits, weights) if balanced else logits)
                else:
                    middle = np.median(logits.reshape(each, -1), axis=1).reshape(each, 1, 1, 1, 1)
                    p = (logits > (middle if balanced else 0)).astype(float)
                chance = p[:, rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 0]]
                log, _ = log_e(rng.random(chance.shape) < chance)
                claimed = int((log >= NEEDED).any(axis=1).sum())
                even, new = even + claimed * balanced, new + claimed * (not balanced)
        some = (", 40 % of them missing", "up to ") if missing else ("", "")
        row(
            f"{prompts} x {samples}{some[0]}", judges, f"{some[1]}{length}", kind,
            percent(even / replays / each), percent(new / replays / each),
        )  # fmt: skip


def _shown_in_order(there: NDArray[np.bool_], judges: int, votes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(votes, 4): judge, prompt, and the numbers of two samples, the first model's first.

    there: (2, prompts, samples), which pictures exist.
    """
    model, prompt, _ = np.nonzero(there)
    shown, rows = Shown.of(Pictures(prompt, model, np.flatnonzero(there), 2)), []
    samples = there.shape[2]
    for turn in range(votes):
        judge = turn % judges
        trial = next_trial(shown, judge, rng)
        if trial is None:
            break
        shown = shown.and_also(trial, judge)
        first, second = sorted((trial.left_sample, trial.right_sample))
        rows.append((judge, trial.prompt, first % samples, second % samples))
    return np.array(rows)


def power(studies: int, rng: np.random.Generator) -> None:
    votes = 600
    title(
        f"A true difference; prompts differ by SD {EFFECT} logits; one judge: claims in {votes} votes (median votes)",
        "win rate over all prompts", "prompts", "level: these prompts, true claims", "false ones", "level: prompts",
    )  # fmt: skip
    noise = rng.normal(0, EFFECT, 200_000)
    for rate in (0.6, 0.7, 0.8):
        shift = 0.0
        for _ in range(50):
            shift += 4 * (rate - sigmoid(shift + noise).mean())
        for prompts in (3, 10, 50):
            p = sigmoid(shift + rng.normal(0, EFFECT, (studies, prompts)))
            prompt = rng.integers(0, prompts, (studies, votes))
            won = rng.random((studies, votes)) < np.take_along_axis(p, prompt, 1)
            log, lead = log_e(won)
            right = lead * (p.mean(axis=1, keepdims=True) - 0.5) > 0
            at, level = first_time((log >= NEEDED) & right), prompt_level(won, prompt, prompts)
            false = ((log >= NEEDED) & ~right).any(axis=1).mean()
            row(rate, prompts, _share(at), percent(false), _share(level))


def _share(at: Floats) -> str:
    found = np.isfinite(at)
    return percent(found.mean()) + (f" ({np.median(at):.0f})" if found.mean() > 0.5 else "")


@cache
def _even(wins: int, losses: int, tied: int) -> bool:
    """Whether "no difference larger than 55:45" may be said."""
    evidence = Evidence((1.0, 0.0, 0.5), (wins, losses, tied))
    return abs(evidence.mean - 0.5) < 0.05 and min(evidence.log_against(0.45), evidence.log_against(0.55)) >= NEEDED


def ties(studies: int, rng: np.random.Generator) -> None:
    votes, every = 6000, 10
    title(
        f"Ties: median votes, ties included, to stop ({studies} studies, looked at every {every} votes)",
        "ties", "decided votes won", "claim", "ties half", "ties left out", "a coin for each tie",
    )  # fmt: skip
    looks = np.arange(every, votes + 1, every) - 1
    for share in (0.0, 0.2, 0.4, 0.6):
        for rate, claim in ((0.5, "no difference larger than 55:45"), (0.65, "better")):
            tied = rng.random((studies, votes)) < share
            won = (rng.random((studies, votes)) < rate) & ~tied
            coin = won | (tied & (rng.random((studies, votes)) < 0.5))
            medians = []
            for wins, out, half in ((won, False, tied), (won, tied, False), (coin, False, False)):
                w, o, h = (np.cumsum(np.broadcast_to(x, won.shape), axis=1)[:, looks] for x in (wins, out, half))
                losses = looks + 1 - w - o - h
                reached = _first_even(w, losses, h)
                if claim == "better":
                    reached = np.vectorize(log_e_value)(w[:, :200], losses[:, :200]) >= NEEDED
                medians.append(f"{np.median(first_time(reached)) * every:,.0f}")
            row(percent(share), rate, claim, *medians)


def even(studies: int, rng: np.random.Generator) -> None:
    votes, every = 4000, 20
    title(
        f'"No difference larger than 55:45" within {votes:,} votes, looked at every {every} ({studies} studies)',
        "ties", "score", "said", "which is",
    )  # fmt: skip
    looks = np.arange(every, votes + 1, every) - 1
    for share in (0.0, 0.4):
        for score in (0.5, 0.53, 0.551):
            tied = rng.random((studies, votes)) < share
            won = (rng.random((studies, votes)) < 0.5 + (score - 0.5) / (1 - share)) & ~tied
            w, t = np.cumsum(won, axis=1)[:, looks], np.cumsum(tied, axis=1)[:, looks]
            said = _first_even(w, looks + 1 - w - t, t).any(axis=1).mean()
            row(percent(share), score, percent(said), "false" if score > 0.55 else "true")


def _first_even(w: NDArray[np.int64], losses: NDArray[np.int64], tied: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Up to the first time only."""
    reached = np.zeros(w.shape, bool)
    for study in range(len(w)):
        for look in range(w.shape[1]):
            if _even(int(w[study, look]), int(losses[study, look]), int(tied[study, look])):
                reached[study, look] = True
                break
    return reached


def forecast(studies: int, rng: np.random.Generator) -> None:
    title(
        "Forecasts of tests that are open: votes still needed (medians), and how good each one is",
        "after votes", "true win rate", "foreseen", "it took", "right within a factor of 2", "of 4",
    )  # fmt: skip
    for after in (30, 100):
        for rate in (0.6, 0.65, 0.7) if after == 30 else (0.55, 0.6):
            won = rng.random((studies, 5000)) < rate
            at = first_time(log_e(won)[0] >= NEEDED)
            still = np.flatnonzero(at > after)
            verdicts = [decide(as_votes(won[i, :after], np.arange(after) % 3), "A", "B") for i in still]
            foreseen = np.array([np.inf if v.more is None else v.more for v in verdicts])
            took = at[still] - after
            off = np.abs(np.log2(foreseen / took))
            row(
                after, rate, f"{np.median(foreseen):.0f}", f"{np.median(took):.0f}",
                percent((off <= 1).mean()), percent((off <= 2).mean()),
            )  # fmt: skip


if __name__ == "__main__":
    main()
