"""Votes as columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diptych.arena.votes import CHOICES, CRITERIA, Vote, Votes, check, collect, one_criterion, present
from diptych.errors import InvalidRequest
from tests.arena.simulated import simulate


def test_columns_index_names() -> None:
    votes = collect(
        [
            Vote("b", "a", "left", "fox", "ann", category="animals", seconds=2.0, pictures="1-2"),
            Vote("a", "c", "both_bad", "sea", "bob", criterion="detail"),
            Vote("a", "b", "tie", "fox", "bob", criterion="charm", category="animals", pictures="1-2"),
        ],
        models=["a", "b", "d"],
    )
    check(votes)
    assert votes.models == ("a", "b", "d", "c")
    assert votes.prompts == ("fox", "sea")
    assert votes.judges == ("ann", "bob")
    assert votes.criteria == (*CRITERIA, "charm")
    assert votes.categories == ("animals",)
    assert votes.left.tolist() == [1, 0, 0]
    assert votes.right.tolist() == [0, 3, 1]
    assert [CHOICES[i] for i in votes.choice] == ["left", "both_bad", "tie"]
    assert votes.category.tolist() == [0, -1, 0]
    assert votes.seconds[0] == 2
    assert np.isnan(votes.seconds[1:]).all()
    assert votes.pictures is not None
    assert votes.pictures.tolist() == [0, -1, 0]


def test_some_of_them_keep_their_names() -> None:
    votes = collect(
        [
            Vote("a", "b", "left", "fox", "ann", category="animals", pictures="1-2"),
            Vote("a", "b", "right", "sea", "bob", criterion="detail", pictures="3-4"),
        ]
    )
    detail = votes.of_criterion("detail")
    assert len(detail) == 1
    assert detail.prompts == votes.prompts
    assert detail.prompts[detail.prompt[0]] == "sea"
    assert detail.pictures is not None
    assert detail.pictures.tolist() == [1]
    assert len(votes.of_category("animals")) == 1
    assert one_criterion(detail) == "detail"
    with pytest.raises(KeyError):
        votes.of_criterion("charm")
    with pytest.raises(KeyError):
        votes.of_category("landscapes")


def test_one_criterion() -> None:
    assert one_criterion(collect([])) is None
    votes = collect([Vote("a", "b", "left", "p", "j"), Vote("a", "b", "left", "p", "j", criterion="detail")])
    with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
        one_criterion(votes)


def test_present() -> None:
    assert present(np.array([3, -1, 3, 0])) == [-1, 0, 3]
    assert present(np.zeros(0, dtype=np.int64)) == []


def test_no_such_choice() -> None:
    with pytest.raises(InvalidRequest, match="Vote 2 is 'LEFT'; a vote is one of left, right"):
        collect([Vote("a", "b", "left", "p", "j"), Vote("a", "b", "LEFT", "p", "j")])


def test_a_model_against_itself() -> None:
    with pytest.raises(InvalidRequest, match="Vote 1 compares 'a' with itself"):
        collect([Vote("a", "a", "left", "p", "j")])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"left": np.array([0, 7])}, "Vote 2 has 7 as its left; there are 3"),
        ({"right": np.array([-1, 1])}, "Vote 1 has -1 as its right"),
        ({"choice": np.array([5, 0])}, "Vote 1 has 5 as its choice; there are 5"),
        ({"prompt": np.array([0, 5])}, "prompt"),
        ({"judge": np.array([0, -2])}, "judge"),
        ({"criterion": np.array([9, 0])}, "criterion"),
        ({"category": np.array([-2, -1])}, "category"),
        ({"category": np.array([0, -1])}, "category"),
        ({"left": np.array([0.0, 1.0])}, "whole numbers"),
        ({"judge": np.array([0])}, r"judge has the shape \(1,\), and there are 2 votes"),
        ({"seconds": np.zeros((2, 1))}, "seconds"),
        ({"pictures": np.zeros(3, dtype=np.int64)}, "pictures"),
    ],
)
def test_what_is_malformed_is_named(columns: dict[str, Any], message: str) -> None:
    votes = simulate(2, 3)
    check(votes)
    broken: Votes = replace(votes, **columns)
    with pytest.raises(InvalidRequest, match=message):
        check(broken)
