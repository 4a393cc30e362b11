"""What is said of votes: without a name before the end, and in full at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from diptych.arena.stopping import Rule
from diptych.arena.votes import Vote, collect
from diptych.judging.known import Known, headline, know, of_models, scope

A, B, C = "first-model", "second-model", "third-model"
Said = tuple[str, str, str, int]
"""Left, right, choice, how often."""


def known(*said: Said, models: Sequence[str] = (A, B), budget: int | None = None, criterion: str = "overall") -> Known:
    votes = [Vote(left, right, choice, "a fox", "somebody") for left, right, choice, n in said for _ in range(n)]
    return know(collect(votes), models, criterion, Rule(budget=budget))


@pytest.mark.parametrize(
    ("said", "budget", "words", "more", "answer"),
    [
        ((), None, "does not separate the two models yet", "At least 8 more votes are needed", "No vote compares them"),
        (((A, B, "left", 4),), None, "begins to separate the two models", "At least 4 more votes", "do not separate"),
        (((A, B, "left", 4),), 10, "begins to separate", "the budget has 6", "The votes do not separate them yet."),
        (((B, A, "left", 12),), None, "The evidence separates the two models.", None, f"{B} is better."),
        (((A, B, "tie", 2000),), None, "shows no difference that matters", None, "There is no difference that matters"),
        (((A, B, "tie", 5),), 5, "The vote budget is spent, and", None, "The evidence does not separate them."),
        (((A, B, "both_bad", 5), (A, B, "skip", 3)), 5, "The vote budget is spent", None, "No vote compares them yet."),
        (((A, B, "left", 9), (A, B, "right", 8)), None, "does not separate", "more votes", "do not separate them yet"),
    ],
)
def test_two_models(said: tuple[Said, ...], budget: int | None, words: str, more: str | None, answer: str) -> None:
    found = known(*said, budget=budget)
    assert words in found.said
    assert found.enough == (more is None)
    assert more is None or more in (found.more or "")
    assert answer in headline(found.standing)
    assert scope(found.standing)
    for blind in (found.said, found.more or ""):
        assert not {A, B} & set(blind.split())


def test_how_far_a_claim_holds_is_said() -> None:
    better = known((A, B, "left", 12))
    assert scope(better.standing) == "False-alarm rate at most 5 %, on this prompt and its pictures, for this judge."
    assert scope(known((A, B, "tie", 5), budget=5).standing) == "The vote budget is spent."


def test_a_settled_test_without_a_budget_has_spent_none() -> None:
    """One model is better than a second and like a third, which is worse than the second."""
    found = known((A, B, "left", 20), (B, C, "left", 20), (A, C, "tie", 4000), models=MODELS)
    assert scope(found.standing) == (
        "Error rate at most 5 % over all 3 pairs, on this prompt and its pictures, for this judge."
    )


def test_brackets_in_the_name_of_a_model_are_no_claim() -> None:
    one, other = "one (large)", "other (small)"
    found = known((one, other, "left", 12), models=(one, other))
    assert scope(found.standing).startswith("False-alarm rate")
    found = known((one, other, "tie", 5), (one, C, "tie", 5), models=(one, other, C), budget=10)
    assert scope(found.standing) == "The vote budget is spent."


def test_the_same_words_whichever_is_better() -> None:
    for count in range(12):
        one, other = known((A, B, "left", count)), known((B, A, "left", count))
        assert (one.said, one.more, one.enough) == (other.said, other.more, other.enough)


MODELS = (A, B, C)


@pytest.mark.parametrize(
    ("said", "budget", "words", "answer", "enough"),
    [
        ((), None, "does not separate any two models yet", "No vote compares them yet.", False),
        (((A, B, "left", 20),), None, "settled 1 of 3 pairs", "The votes do not separate them yet.", False),
        (
            ((A, B, "left", 20), (A, C, "left", 20)),
            None,
            "The evidence shows which one is best.",
            f"{A} is the best of three.",
            True,
        ),
        (
            ((A, B, "left", 20), (B, C, "left", 20)),
            None,
            "settled 2 of 3 pairs",
            f"{A} is the only one that no other is better than.",
            False,
        ),
        (
            ((A, B, "left", 20), (B, C, "left", 20)),
            40,
            "The vote budget is spent.",
            f"{A} is the only one that no other is better than.",
            True,
        ),
        (
            ((A, C, "left", 20), (B, C, "left", 20), (A, B, "tie", 4000)),
            None,
            "The evidence shows which ones no other is better than.",
            "The best of them do not differ in a way that matters.",
            True,
        ),
        (((A, B, "tie", 3),), 3, "The vote budget is spent.", "The evidence does not separate them.", True),
        (
            ((A, B, "left", 20), (B, C, "left", 20), (A, C, "tie", 4000)),
            None,
            "The evidence shows which ones no other is better than.",
            f"{A} is the only one that no other is better than.",
            True,
        ),
        (
            ((A, B, "left", 20), (B, C, "left", 20), (C, A, "left", 20)),
            None,
            "The evidence shows that none is best: each is worse than another one.",
            "None of them is best: each is worse than another one.",
            True,
        ),
    ],
)
def test_three_models(said: tuple[Said, ...], budget: int | None, words: str, answer: str, enough: bool) -> None:
    found = known(*said, models=MODELS, budget=budget)
    assert words in found.said
    assert headline(found.standing) == answer
    assert found.enough is enough
    assert scope(found.standing).endswith(".")


def test_other_criteria_do_not_count() -> None:
    assert known((A, B, "left", 12), criterion="detail").votes == 0


def test_models_are_numbered_as_the_study_has_them() -> None:
    votes = collect([Vote(B, C, "left", "a fox", "somebody")])
    moved = of_models(votes, MODELS)
    assert (moved.models, moved.left.tolist(), moved.right.tolist()) == (MODELS, [1], [2])


def test_pairs_that_tell_most_are_those_least_known() -> None:
    found = known((A, B, "left", 30), (B, C, "tie", 2), models=MODELS)
    information = found.information
    assert information.shape == (3, 3)
    assert np.allclose(information, information.T)
    assert information[0, 2] > information[0, 1]
