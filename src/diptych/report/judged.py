"""What blind votes say of a study's models, in numbers and in words no wider than they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diptych.arena import agreement, ratings, stopping
from diptych.arena.agreement import Alpha, Judge, Position
from diptych.arena.ratings import Ratings
from diptych.arena.stopping import Standing
from diptych.arena.votes import CRITERIA, SKIP, Votes
from diptych.report import words
from diptych.report.ballots import Ballots

NOT_JUDGED = "nobody has judged yet which looks better"
ONLY_MODELS = "only models have judged yet which looks better"


@dataclass(frozen=True)
class Judged:
    """A study's votes of one kind of judge, rated: by criterion, and by category of prompt within it."""

    standing: Standing
    """What may be claimed of the pairs, for the first criterion that was voted on."""
    by_criterion: Mapping[str, Ratings]
    by_category: Mapping[str, Mapping[str, Ratings]]
    """By criterion, then by category."""
    position: Mapping[str, Position]
    """By criterion."""
    alpha: Mapping[str, Alpha]
    """By criterion."""
    judges: tuple[Judge, ...]
    """Over all criteria."""
    inconsistent: int
    """Trials on which a model chose otherwise when the sides were swapped."""

    @property
    def first(self) -> Ratings:
        return next(iter(self.by_criterion.values()))


def judge(votes: Votes, inconsistent: int = 0) -> Judged | None:
    """None where no vote compares two models."""
    if not len(votes) or bool((votes.choice == SKIP).all()) or len(votes.models) < 2:
        return None
    found = ratings.by_criterion(votes)
    by_criterion = {name: found[name] for name in CRITERIA if name in found}
    main = votes.of_criterion(next(iter(by_criterion)))
    return Judged(
        standing=stopping.decide_all(main),
        by_criterion=by_criterion,
        by_category={name: ratings.by_category(votes.of_criterion(name)) for name in by_criterion},
        position={name: agreement.position(votes.of_criterion(name)) for name in by_criterion},
        alpha={name: _alpha(votes.of_criterion(name)) for name in by_criterion},
        judges=agreement.look_at_judges(votes),
        inconsistent=inconsistent,
    )


def _alpha(votes: Votes) -> Alpha:
    try:
        return agreement.alpha(votes)
    except ImportError:
        return Alpha(None, "evalica, which computes it, is not installed: pip install evalica", None, 0, 0, 0)


@dataclass(frozen=True)
class Jury:
    """People and models as judges: apart from each other, and never in one rating."""

    people: Judged | None = None
    models: Judged | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """Of models, by their ids as judges."""


NOBODY = Jury()


def hear(ballots: Ballots | None) -> Jury:
    if ballots is None:
        return NOBODY
    people, models = (judge(one.votes, one.inconsistent) for one in (ballots.people, ballots.models))
    return Jury(people, models, ballots.names)


def verdict(jury: Jury, names: Mapping[str, str] | None = None) -> str:
    """The end of the headline: what people say. names: what models are called there, by label."""
    people = jury.people
    if people is None:
        return NOT_JUDGED if jury.models is None else ONLY_MODELS
    standing = people.standing
    if standing.best is not None:
        what = "looks better" if len(standing.models) == 2 else "looks best"
        best = words.cut((names or {}).get(standing.best, standing.best), 60)
        return f"{best} {what} to {words.count(people.first.judges, 'judge')}"
    among = [one for one in standing.verdicts if {one.first, one.second} <= set(standing.unbeaten)]
    if among and all(one.outcome == "no difference" for one in among):
        return "the votes show no difference worth having between the best"
    counted = people.first.votes + people.first.both_bad
    return f"{words.count(counted, 'vote')} {'does' if counted == 1 else 'do'} not settle which looks better"


def sentence(judged: Judged) -> str:
    """What the rule for stopping says, as a sentence of its own."""
    said = judged.standing.sentence
    if said.startswith(("about ", "at least ")):
        return f"It may take {said} to settle it, by a rule that holds however often one looks."
    return words.sentence(said, judged.standing.models)
