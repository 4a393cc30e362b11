"""Blind votes on the page: what they say, and no more than that."""

from __future__ import annotations

import sys

import pytest

from diptych.arena.votes import Vote, collect
from diptych.report.answer import answer
from diptych.report.judged import NOT_JUDGED, ONLY_MODELS, Jury, judge, sentence, verdict
from diptych.report.summary import summarise
from tests.report.conftest import Builder

QUICK, SLOW = "builtin-flow steps=6", "builtin-flow"


def votes(wins: int, losses: int, ties: int = 0, criterion: str = "overall") -> list[Vote]:
    """On QUICK against SLOW, the sides in turn, on three prompts of two categories, by two judges."""
    said = ["win"] * wins + ["loss"] * losses + ["tie"] * ties
    made = []
    for i, what in enumerate(said):
        left, right = (QUICK, SLOW) if i % 2 else (SLOW, QUICK)
        better = {"win": QUICK, "loss": SLOW}.get(what)
        choice = "tie" if better is None else "left" if better == left else "right"
        category = ("animals", "things")[i % 3 % 2]
        made.append(Vote(left, right, choice, f"prompt {i % 3}", f"judge {i % 2}", criterion, category))
    return made


def people(*cast: list[Vote]) -> Jury:
    return Jury(people=judge(collect([one for several in cast for one in several])))


def test_without_votes_nobody_has_judged() -> None:
    assert verdict(Jury()) == NOT_JUDGED
    assert judge(collect([])) is None
    assert judge(collect([Vote(QUICK, SLOW, "skip", "a fox", "anna")])) is None


def test_models_alone_are_no_people() -> None:
    assert verdict(Jury(models=judge(collect(votes(2, 40))))) == ONLY_MODELS


def test_few_votes_do_not_separate() -> None:
    assert verdict(people(votes(4, 3))) == "7 votes do not settle which looks better"
    assert verdict(people(votes(1, 0))) == "1 vote does not settle which looks better"


def test_many_votes_that_agree_do() -> None:
    jury = people(votes(2, 40))
    assert verdict(jury) == f"{SLOW} looks better to 2 judges"
    assert verdict(jury, {SLOW: "the slow one"}) == "the slow one looks better to 2 judges"
    assert jury.people is not None
    assert sentence(jury.people).startswith(f"{SLOW} is better")  # a name stays as it is written


def test_everything_is_by_criterion_and_category() -> None:
    judged = judge(collect([*votes(2, 40), *votes(20, 20, 2, "detail")]), inconsistent=2)
    assert judged is not None
    assert list(judged.by_criterion) == list(judged.by_category) == ["overall", "detail"]
    assert {name: list(found) for name, found in judged.by_category.items()} == {
        "overall": ["animals", "things"],
        "detail": ["animals", "things"],
    }
    assert [judged.position[name].criterion for name in judged.by_criterion] == ["overall", "detail"]
    assert [one.judge for one in judged.judges] == ["judge 0", "judge 1"]


def test_without_evalica_agreement_says_so_and_all_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evalica", None)
    shared = [Vote(QUICK, SLOW, "left", "a fox", name, pictures="one") for name in ("anna", "ben")]
    judged = judge(collect(shared))
    assert judged is not None
    assert judged.alpha["overall"].value is None
    assert "evalica" in str(judged.alpha["overall"].reason)
    assert judged.first.votes == 2


def test_the_headline_ends_with_the_verdict(rich: Builder) -> None:
    summary = summarise(rich.results())
    judged = judge(collect(votes(2, 40)))
    said = answer(summary, prompts=3, jury=Jury(people=judged))
    assert said.headline.endswith(f"{SLOW} looks better to 2 judges.")
    assert judged is not None
    assert said.evidence[0] == sentence(judged)
