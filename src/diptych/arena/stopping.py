"""When the votes suffice, and what may then be said, however often one looks.

A vote scores 1 for the model that is better and 1/2 for a tie. *Both bad* compares nothing and *skip* is no vote: both
are left out, and counted. The arithmetic is that of `betting`: what it says of the mean score holds at all times at
once, so one may look after every vote and stop at will. A claim is about the votes as they are; later ones may take it
back.

What the mean is a mean over decides how wide a claim is. There are two levels.

these prompts   The prompt of a trial is drawn at random, and the sides are (see `pairs`). So what to expect of a vote,
                given all before it, depends on the judge alone, and is an average over these prompts. The evidence is
                about the average of these expectations over the votes cast: on these prompts and the pictures that
                were made of them, for these judges, each counting by the votes cast. That judges like one model
                on some prompts and the other on others does no harm, nor does it matter who votes when. Where trials
                were not drawn so, as with votes from elsewhere (`Votes.drawn`), the average is one over the pairs that
                were shown: the evidence is as strong, and the claim says so.
prompts         Beyond these prompts: about prompts of which these are a random draw. Votes on one prompt are then not
                independent draws, so a prompt counts once, however many votes it has. Its score is the mean of its
                first r votes, and the scores of prompts are what is bet on. r is 1, 2, 4, 8, ... at once, each at
                its share 1/2, 1/4, 1/8, ... of alpha. It cannot be "all votes so far", because whoever stops after a
                good vote bends that mean. Three prompts can never suffice: see `fewest_prompts`. It takes for granted
                that how soon a prompt has r votes says nothing of what they are.

Judges are never generalised from. Many models: each pair is tested at alpha / (number of pairs). Then the chance that
anything false is ever said of any pair is at most alpha (a union bound over Ville's inequality), in whatever way the
next pair is chosen. e-BH would cost less, but controls the share of false claims at one look, not at all of them
(Tavyrikov, Goeman and de Heide, arXiv 2501.19360). Criteria are tests of their own, each at alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.arena import claims
from diptych.arena.betting import Evidence
from diptych.arena.votes import BOTH_BAD, LEFT, RIGHT, SKIP, TIE, Votes
from diptych.errors import InvalidRequest

Level = Literal["these prompts", "prompts"]
Outcome = Literal["better", "no difference", "budget spent", "open"]

FARTHEST_FORECAST = 10_000
"""Votes, or prompts, beyond which there is no forecast."""
FEWEST_TO_FORECAST = 10
"""Below that, only the least number that can suffice is told."""
SOONER = 0.75
"""Half of all tests that find a difference end by this share of the votes that a test takes whose votes come in exact
proportion, since to be there once is enough."""
LATER = 1.25
"""The same for tests that find none, which wait until both sides are excluded at once. Both: bench/stopping.py."""

UNANIMOUS = "if all of them say the same; so far there are too few to foresee more"
SPENT = "the vote budget is spent and the evidence does not separate them"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """All that is decided before the first vote."""

    alpha: float = 0.05
    """How likely any false claim may be, over all pairs and all looks."""
    margin: float = 0.05
    """Scores between 1/2 - margin and 1/2 + margin are no difference worth having: 55:45."""
    comparisons: int = 1
    """Pairs of models that alpha is shared by. `decide_all` sets it."""
    budget: int | None = None
    """Votes after which no more are asked for; None: no end. Skipped trials are no votes."""
    drawn: bool = True
    """Whether trials were drawn at random, as `pairs` does. `decide` and `decide_all` take it from the votes."""
    level: Level = "these prompts"
    prior: float = 1.0
    """The a of the bets' Beta(a, a); see `betting`."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidRequest(f"alpha is a probability between 0 and 1, not {self.alpha}.")
        if not 0 < self.margin < 0.5:
            raise InvalidRequest(f"The margin around one half is between 0 and 0.5, not {self.margin}.")
        if self.comparisons < 1 or self.prior <= 0 or (self.budget is not None and self.budget < 1):
            raise InvalidRequest("There is at least one comparison and one vote to spend, and the prior is above 0.")

    @property
    def alpha_of_pair(self) -> float:
        return self.alpha / self.comparisons

    @property
    def needed(self) -> float:
        """The evidence that a claim takes."""
        return 1 / self.alpha_of_pair


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The votes on two models, counted."""

    first: str
    second: str
    wins: int
    """Votes for `first`."""
    losses: int
    ties: int
    both_bad: int
    skipped: int
    prompts: int
    """That have a vote that compares: win, loss or tie."""
    score: float | None
    """Mean of all scores of `first`, a tie counting half; None without a vote."""

    @property
    def compared(self) -> int:
        return self.wins + self.losses + self.ties


@dataclass(frozen=True, kw_only=True)
class Verdict(Tally):
    """What the votes say of two models, and why."""

    outcome: Outcome
    better: str | None
    """`first` or `second` where the outcome is "better"."""
    sentence: str
    """The claim, no wider than it holds."""
    reason: str
    interval: tuple[float, float]
    """For the mean score of `first`, at the rule's level: right at all times at once, with all others, with probability
    1 - alpha. (0, 1) says nothing."""
    judges: tuple[tuple[str, float], ...]
    """Whom it speaks for, and how much each counts: the share of the votes that it rests on."""
    log_evidence: float
    """Natural logarithm of the evidence against one half; a claim takes `rule.needed`. At the level of prompts, times
    the share of its r."""
    more: int | None
    """Votes (at the level of prompts: prompts) that it may take still; None: too many to say, or nothing is open."""
    basis: str | None
    """What `more` rests on."""
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the votes say of all models."""

    models: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    """Of every pair, in the order of the models."""
    best: str | None
    """The model that is better than each of the others."""
    unbeaten: tuple[str, ...]
    """Models that no other one is better than."""
    open: tuple[tuple[str, str], ...]
    """Pairs on which more votes are wanted. Empty when the budget is spent."""
    contested: tuple[Verdict, ...]
    """Those of them that could still change which model is best: two that are unbeaten, or the only such one and any
    that it is not better than. Empty where a best one is known."""
    sentence: str
    """The answer, no wider than it holds."""
    scope: str | None
    """What stands in brackets in the sentence: how sure it is, of what, and for whom. None where nothing is claimed."""
    more: int | None
    """Votes that it may take still to settle every contested pair; None: too many to say, or there is none."""
    rule: Rule

    def wanted(self, *, to_find_the_best: bool = False) -> NDArray[np.bool_]:
        """(models, models): the open pairs, above the diagonal; times `pairs.information`, what to show next.

        to_find_the_best: only those that are contested, so that the others are ranked less well.
        """
        result = np.zeros((len(self.models), len(self.models)), np.bool_)
        for first, second in ((v.first, v.second) for v in self.contested) if to_find_the_best else self.open:
            result[self.models.index(first), self.models.index(second)] = True
        return result


def decide(votes: Votes, first: str, second: str, rule: Rule | None = None) -> Verdict:
    """What may be said of two models.

    votes: about one criterion, in the order in which they were cast; those on other models are passed over.
    Raises InvalidRequest for a model that is not there, or votes about several criteria.
    """
    rule = replace(rule or Rule(), drawn=votes.drawn)
    _one_criterion(votes)
    for name in (first, second):
        if name not in votes.models:
            raise InvalidRequest(f"There is no model {name!r} in these votes; there are {', '.join(votes.models)}.")
    if first == second:
        raise InvalidRequest(f"{first!r} cannot be compared with itself.")
    a, b = votes.models.index(first), votes.models.index(second)
    rows = np.flatnonzero(((votes.left == a) & (votes.right == b)) | ((votes.left == b) & (votes.right == a)))
    return _verdict(votes, rows, first, second, rule, spent=int((votes.choice[rows] != SKIP).sum()))


def decide_all(votes: Votes, rule: Rule | None = None) -> Standing:
    """What may be said of every pair of models, together: `rule.alpha` is shared by all pairs, `rule.budget` too.

    The models are all of `votes.models`, also those without a vote: fix them before the first one.
    Raises InvalidRequest for fewer than two models, or votes about several criteria.
    """
    models = votes.models
    if len(models) < 2:
        raise InvalidRequest("Two models at least can be compared.")
    _one_criterion(votes)
    pairs = list(combinations(range(len(models)), 2))
    rule = replace(rule or Rule(), comparisons=len(pairs), drawn=votes.drawn)
    spent = int((votes.choice != SKIP).sum())
    pair_of_vote = np.minimum(votes.left, votes.right) * len(models) + np.maximum(votes.left, votes.right)
    order = np.argsort(pair_of_vote, kind="stable")  # by pair, in it as cast
    numbers = [a * len(models) + b for a, b in pairs]
    starts, ends = (np.searchsorted(pair_of_vote[order], numbers, side) for side in ("left", "right"))
    verdicts = tuple(
        _verdict(votes, order[start:end], models[a], models[b], rule, spent=spent)
        for (a, b), start, end in zip(pairs, starts, ends, strict=True)
    )
    beaten = {v.second if v.better == v.first else v.first for v in verdicts if v.better}
    unbeaten = tuple(name for name in models if name not in beaten)
    wins = {name: sum(v.better == name for v in verdicts) for name in models}
    best = next((name for name in models if wins[name] == len(models) - 1), None)
    contested = () if best else tuple(v for v in _among(verdicts, unbeaten) if v.outcome == "open")
    more = _in_all(contested)
    sentence, scope = _standing(verdicts, best, unbeaten, contested, more, rule)
    return Standing(
        models=models,
        verdicts=verdicts,
        best=best,
        unbeaten=unbeaten,
        open=tuple((v.first, v.second) for v in verdicts if v.outcome == "open"),
        contested=contested,
        sentence=sentence,
        scope=scope,
        more=more,
        rule=rule,
    )


def fewest_prompts(rule: Rule) -> int:
    """Prompts that a claim at the level of prompts takes at least: when every vote on every prompt says the same."""
    number, needed = 1, math.log(2 * rule.needed)  # with r = 1, whose share is a half
    while Evidence((1.0,), (number,), rule.prior).log_against(0.5) < needed:
        number += 1
    return number


# The evidence


@dataclass(frozen=True, eq=False)
class _Bet:
    """Evidence, the share of alpha that it may spend, and which of the votes that compare it rests on."""

    evidence: Evidence
    share: float
    used: NDArray[np.int64]
    alpha: float
    """That all bets share."""

    @cached_property
    def log_weighted(self) -> float:
        return self.evidence.log_against(0.5) + math.log(self.share)

    @cached_property
    def interval(self) -> tuple[float, float]:
        return self.evidence.interval(self.alpha * self.share)

    @property
    def width(self) -> float:
        return self.interval[1] - self.interval[0]


def _bets(scores: NDArray[np.float64], prompt: NDArray[np.int64], rule: Rule) -> list[_Bet]:
    if rule.level == "these prompts":
        return [_Bet(_evidence(scores, rule), 1.0, np.arange(len(scores)), rule.alpha_of_pair)]
    bets = [_Bet(_evidence(scores[:0], rule), 0.5, np.arange(0), rule.alpha_of_pair)]
    order = np.argsort(prompt, kind="stable")  # by prompt, in it as cast
    ends = np.flatnonzero(np.diff(prompt[order], append=-1)) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(ends)]
    first_votes, share = 1, 0.5
    while (enough := starts[ends - starts >= first_votes]).size:
        used = order[enough[:, None] + np.arange(first_votes)]
        bets.append(_Bet(_evidence(scores[used].mean(axis=1), rule), share, used.ravel(), rule.alpha_of_pair))
        first_votes, share = first_votes * 2, share / 2
    return bets


def _evidence(scores: NDArray[np.float64], rule: Rule) -> Evidence:
    values, counts = np.unique(scores, return_counts=True)
    return Evidence(tuple(values.tolist()), tuple(counts.tolist()), rule.prior)


def _verdict(votes: Votes, rows: NDArray[np.int64], first: str, second: str, rule: Rule, *, spent: int) -> Verdict:
    """rows: of all votes on these two models. spent: of the budget."""
    a, left, choice = votes.models.index(first), votes.left[rows], votes.choice[rows]
    won = ((left == a) & (choice == LEFT)) | ((left != a) & (choice == RIGHT))
    tied = choice == TIE
    compares = tied | (choice == LEFT) | (choice == RIGHT)
    scores, compared = np.where(tied, 0.5, won)[compares], rows[compares]
    prompt = votes.prompt[compared]
    tally = Tally(
        first=first,
        second=second,
        wins=int(won.sum()),
        losses=int((compares & ~won & ~tied).sum()),
        ties=int(tied.sum()),
        both_bad=int((choice == BOTH_BAD).sum()),
        skipped=int((choice == SKIP).sum()),
        prompts=len(np.unique(prompt)),
        score=float(scores.mean()) if len(scores) else None,
    )
    bets = _bets(scores, prompt, rule)
    # Each bet is right together with all others, about its own votes. What is shown is one of them.
    bet = max(bets, key=lambda bet: bet.log_weighted)
    if bet.log_weighted < math.log(rule.needed):
        bet = min(bets, key=lambda bet: bet.width)

    better, outcome = None, _outcome(bet, rule, spent)
    if outcome == "better":
        better = first if bet.evidence.mean > 0.5 else second
    more, basis = _forecast(bet, rule) if outcome == "open" else (None, None)
    judges, counts = np.unique(votes.judge[compared[bet.used]], return_counts=True)
    return Verdict(
        **vars(tally),
        outcome=outcome,
        better=better,
        sentence=_sentence(tally, outcome, better, len(judges), more, basis, rule),
        reason=_reason(tally, bet, len(judges), rule),
        interval=bet.interval,
        judges=tuple((votes.judges[j], float(c / counts.sum())) for j, c in zip(judges, counts, strict=True)),
        log_evidence=bet.log_weighted,
        more=more,
        basis=basis,
        rule=rule,
    )


def _outcome(bet: _Bet, rule: Rule, spent: int) -> Outcome:
    if bet.log_weighted >= math.log(rule.needed):
        return "better"
    if 0.5 - rule.margin < bet.interval[0] and bet.interval[1] < 0.5 + rule.margin:
        return "no difference"
    return "budget spent" if rule.budget is not None and spent >= rule.budget else "open"


def _one_criterion(votes: Votes) -> None:
    found = np.unique(votes.criterion)
    if len(found) > 1:
        names = ", ".join(repr(votes.criteria[i]) for i in found)
        raise InvalidRequest(f"These votes are about {names}: give those of one criterion.")


# How many more


def _forecast(bet: _Bet, rule: Rule) -> tuple[int | None, str]:
    """How many more scores, and what that rests on."""
    seen, needed = bet.evidence, math.log(rule.needed / bet.share)
    if seen.n < FEWEST_TO_FORECAST:
        end = 1.0 if seen.mean >= 0.5 else 0.0
        return _first(lambda more: _and(seen, (end,), (more,)).log_against(0.5) >= needed), UNANIMOUS

    # Expected are the scores so far and one more at either end, which keeps a forecast from few votes modest.
    expected = _and(seen, (0.0, 1.0), (1, 1))

    def after(more: float) -> Evidence:
        return _and(seen, expected.scores, [more * count / expected.n for count in expected.counts])

    def even(more: float) -> bool:
        low, high = 0.5 - rule.margin, 0.5 + rule.margin
        then = after(more)
        return low < then.mean < high and min(then.log_against(low), then.log_against(high)) >= needed

    apart = _first(lambda more: after(more).log_against(0.5) >= needed)
    settled = _first(even) if 0.5 - rule.margin < expected.mean < 0.5 + rule.margin else None
    found = [math.ceil(factor * more) for factor, more in ((SOONER, apart), (LATER, settled)) if more]
    what = "prompts" if rule.level == "prompts" else "votes"
    return min(found, default=None), f"if {what} go on like the {seen.n:g} so far"


def _first(reached: Callable[[int], bool]) -> int | None:
    """The least number from 1 on for which it is so, taking it to stay so; None when it is beyond all forecasts."""
    low, high = 0, 1
    while not reached(high):
        if high >= FARTHEST_FORECAST:
            return None
        low, high = high, min(2 * high, FARTHEST_FORECAST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _and(evidence: Evidence, scores: Sequence[float], counts: Sequence[float]) -> Evidence:
    return Evidence((*evidence.scores, *scores), (*evidence.counts, *counts), evidence.prior)


def _in_all(contested: Sequence[Verdict]) -> int | None:
    """Votes to settle all of these."""
    known = [v.more for v in contested if v.more is not None]
    return sum(known) if known and len(known) == len(contested) else None


# The words


def _sentence(
    tally: Tally, outcome: Outcome, better: str | None, judges: int, more: int | None, basis: str | None, rule: Rule
) -> str:
    scope = _scope(rule, tally.prompts, judges)
    if outcome == "better":
        than = f" than {tally.second if better == tally.first else tally.first}" if rule.comparisons > 1 else ""
        return f"{better} is better{than} (false-alarm rate {scope})"
    if outcome == "no difference":
        return f"no difference larger than {_odds(rule)} (error rate {scope})"
    if outcome == "budget spent":
        return SPENT
    return _more(more, rule, "at least" if basis == UNANIMOUS else "about")


def _more(more: int | None, rule: Rule, about: str = "about") -> str:
    what = "prompt" if rule.level == "prompts" else "vote"
    if more is None:
        return f"more {what}s than can be foreseen"
    number = round(more, 2 - len(str(more))) if about == "about" else more  # two digits that count
    return f"{about} {number:,} more {what}{'' if number == 1 else 's'}"


def _among(verdicts: Sequence[Verdict], unbeaten: Sequence[str]) -> list[Verdict]:
    """The pairs that decide which model is best: all of unbeaten ones, or of the only one, with whomever."""
    least = min(len(unbeaten), 2)
    return [v for v in verdicts if least and len({v.first, v.second} & set(unbeaten)) >= least]


def _standing(
    verdicts: Sequence[Verdict],
    best: str | None,
    unbeaten: Sequence[str],
    contested: Sequence[Verdict],
    more: int | None,
    rule: Rule,
) -> tuple[str, str | None]:
    """The sentence, and what stands in brackets in it."""
    pairs = len(verdicts)
    scope = _scope(rule, max(v.prompts for v in verdicts), len({name for v in verdicts for name, _ in v.judges}))
    false_alarm, error = f"false-alarm rate {scope}", f"error rate {scope}"
    if best is not None:
        said = f"{best} is better" + (" than each of the others" if pairs > 1 else "")
        return f"{said} ({false_alarm})", false_alarm
    if contested:
        least = any(v.basis == UNANIMOUS for v in contested)
        return _more(more, rule, "at least" if least else "about"), None
    if not unbeaten:
        return f"there is no best: each of them is worse than another one ({false_alarm})", false_alarm
    among = _among(verdicts, unbeaten)
    if any(v.outcome == "budget spent" for v in among):
        return SPENT + (f": {_listed(_in(among, 'budget spent', 'no difference'))}" if pairs > 1 else ""), None
    alike, leader = _in(among, "no difference"), unbeaten[0]
    if pairs == 1:
        between = ""
    elif len(unbeaten) > 1:
        between = f" between {_listed(alike)}"
    else:  # one by one: of the others, some are worse than others
        between = f" between {leader} and {_listed([name for name in alike if name != leader], 'or')}"
    worse = [v.second if v.better == v.first else v.first for v in among if v.better]
    rest = f", and {leader} is better than {_listed(worse)}" if worse else ""
    return f"no difference larger than {_odds(rule)}{between}{rest} ({error})", error


def _in(verdicts: Sequence[Verdict], *outcomes: Outcome) -> list[str]:
    """The models of the pairs with these outcomes."""
    found = [v for v in verdicts if v.outcome in outcomes]
    return list(dict.fromkeys([*(v.first for v in found), *(v.second for v in found)]))


def _scope(rule: Rule, prompts: int, judges: int) -> str:
    pairs = f" over all {rule.comparisons} pairs" if rule.comparisons > 1 else ""
    of = claims.scope(prompts, judges, beyond_prompts=rule.level == "prompts", drawn=rule.drawn)
    return f"at most {rule.alpha * 100:g} %{pairs}, {of}"


def _odds(rule: Rule) -> str:
    return f"{50 + 100 * rule.margin:g}:{50 - 100 * rule.margin:g}"


def _reason(tally: Tally, bet: _Bet, judges: int, rule: Rule) -> str:
    if not tally.compared:
        return "There is no vote that compares the two."
    verb = "compares" if tally.compared == 1 else "compare"
    ties = "1 is a tie" if tally.ties == 1 else f"{tally.ties:,} are ties"
    won = f"{tally.first} has {tally.wins:,}, {tally.second} {tally.losses:,}, and {ties}"
    said = [f"Of {_count(tally.compared, 'vote')} that {verb}, {won}."]
    if rule.level == "prompts":
        fewest = fewest_prompts(rule)
        if tally.prompts < fewest:
            return (
                f"{said[0]} They are on {_count(tally.prompts, 'prompt')}, and for a claim beyond these prompts each "
                f"prompt counts once: fewer than {fewest} cannot suffice, whatever is voted on them."
            )
        each = len(bet.used) // round(bet.evidence.n)
        rests = f"{'vote' if each == 1 else f'{each} votes'} on each of {bet.evidence.n:,.0f} prompts"
        said.append(f"Each prompt counts once: the first {rests}, with a mean score of {_percent(bet.evidence.mean)}.")
    strength = _power(bet.log_weighted)
    said.append(f"The evidence against an even match is {strength}, and a claim takes {rule.needed:,.0f}.")
    low, high = bet.interval
    said.append(f"The score of {tally.first}, ties counting half, is between {_percent(low)} and {_percent(high)}.")
    if rule.level == "prompts":
        said.append("This takes these prompts for a random draw of those that are meant.")
    elif rule.drawn:
        said.append("It speaks of these pictures, not of others that the models would make.")
    else:
        said.append("It speaks of the pairs that were shown, whoever chose them, and of no others.")
    if judges > 1:
        said.append("Each judge counts by the votes that it rests on.")
    return " ".join(said)


def _power(log: float) -> str:
    """A number by its logarithm, in two digits."""
    if log > math.log(1e6):
        return f"10^{log / math.log(10):.0f}"
    return f"{math.exp(log):,.0f}" if log > math.log(10) else f"{math.exp(log):.2g}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]
