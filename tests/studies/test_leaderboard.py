"""From votes in a store, or a file, to ratings: which are counted, and what is said where they do not suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych.arena import ratings
from diptych.arena.votes import Vote, collect
from diptych.errors import InvalidRequest, StudyError
from diptych.store.database import Store
from diptych.studies import votes as kept
from diptych.studies.leaderboard import combined, leaderboard, of_file
from tests.voting import a_judge, a_study, many_votes, vote

SAID = [("one", "two", "left"), ("two", "one", "right"), ("one", "two", "right"), ("two", "one", "tie")] * 6


@pytest.fixture
def study(store: Store) -> int:
    study = a_study(store, ["one", "two", "three"], {"a fox": "animals", "a map": "maps", "a boat": None})
    many_votes(store, study, [a_judge(store), a_judge(store)], SAID, prompts=2)
    return study


def test_the_ratings_are_those_of_the_votes(store: Store, study: int) -> None:
    board = leaderboard(store, study)
    alone = ratings.rate(kept.load(store, study).votes)
    assert [one for one in board.models if one.rank] == list(alone.models)
    assert (board.of, board.claim) == ("the study study", alone.claim)
    assert (board.ratings.votes, board.ratings.judges, board.ratings.prompts) == (24, 2, 2)


def test_models_without_votes_are_named(store: Store, study: int) -> None:
    board = leaderboard(store, study)
    assert [(one.model, one.rank) for one in board.models] == [("one", 1), ("two", 2), ("three", None)]
    assert "three" not in [one.model for one in leaderboard(store).models]


def test_by_category_and_criterion(store: Store, study: int) -> None:
    assert leaderboard(store, study, category="maps").ratings.votes == 12
    vote(store, study, a_judge(store), "one", "three", "left", criterion="detail")
    assert leaderboard(store, study, criterion="detail").ratings.votes == 1
    assert leaderboard(store, study).ratings.votes == 24


def test_people_and_models_are_not_mixed_unless_asked_for(store: Store, study: int) -> None:
    machine = a_judge(store, "model", "a-model")
    vote(store, study, machine, "one", "two", "left")
    vote(store, study, machine, "one", "two", "inconsistent")
    people, models, both = (leaderboard(store, study, kind=kind) for kind in ("person", "model", None))
    assert [board.ratings.votes for board in (people, models, both)] == [24, 1, 25]
    assert [board.inconsistent for board in (people, models, both)] == [0, 1, 1]


def test_a_wider_claim(store: Store, study: int) -> None:
    board = leaderboard(store, study, scope="prompts")
    assert board.ratings.reason is not None
    assert "2 prompts" in board.ratings.reason
    assert board.to_dict()["no_intervals_because"] == board.ratings.reason


def test_headlines(store: Store, study: int) -> None:
    assert leaderboard(store, study).headline == "The evidence does not separate one and two."
    clear = a_study(store, ["good", "bad"], name="clear")
    many_votes(store, clear, [a_judge(store)], [("good", "bad", "left"), ("bad", "good", "right")] * 25)
    vote(store, clear, a_judge(store), "good", "bad", "right")
    assert leaderboard(store, clear).headline == "good is rated best of 2."
    assert leaderboard(store).headline == "These are several leaderboards: no vote connects them."
    bad = a_study(store, ["x", "y"], name="bad")
    vote(store, bad, a_judge(store), "x", "y", "both_bad")
    assert leaderboard(store, bad).headline == "No vote says yet which of two models is better."


def test_where_nobody_has_voted(store: Store, study: int) -> None:
    with pytest.raises(StudyError, match="Nobody has voted on detail in the study study yet"):
        leaderboard(store, study, criterion="detail")
    with pytest.raises(StudyError, match="there are 24 votes of people on overall, and none of models"):
        leaderboard(store, study, kind="model")
    vote(store, study, a_judge(store), "one", "two", "skip", criterion="detail")
    with pytest.raises(StudyError, match="Nobody has voted"):
        leaderboard(store, study, criterion="detail")


def test_what_cannot_be_asked(store: Store, study: int) -> None:
    with pytest.raises(InvalidRequest, match="criterion is 'beauty'"):
        leaderboard(store, study, criterion="beauty")
    with pytest.raises(InvalidRequest, match=r"No prompt is of the category 'map'\. Did you mean maps"):
        leaderboard(store, study, category="map")
    other = a_study(store, ["one"], name="other")
    with pytest.raises(InvalidRequest, match="no prompt has one"):
        leaderboard(store, other, category="maps")


def test_as_data(store: Store, study: int) -> None:
    data = leaderboard(store, study).to_dict()
    first = data["models"][0]
    assert (first["rank"], first["model"], first["votes"], first["group"]) == (1, "one", 24, 0)
    assert first["rating_low"] < first["rating"] < first["rating_high"]
    assert data["models"][2]["rating"] is None
    (difference,) = data["differences"]
    assert (difference["model"], difference["other"]) == ("one", "two")
    assert difference["difference_low"] < difference["difference"]
    assert (data["votes"], data["judges"], data["prompts"]) == (24, 2, 2)
    assert data["made_by"]["converged"] is True


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    lines = [f"{a},{b},{ {'left': 'model_a', 'right': 'model_b', 'tie': 'tie'}[c] }" for a, b, c in SAID]
    path.write_text("\n".join(["model_a,model_b,winner", *lines]) + "\n")
    return path


def test_a_file_gives_the_same_ratings(store: Store, study: int, file: Path) -> None:
    ours, theirs = leaderboard(store, study).models, of_file(file).models
    assert [(one.model, one.wins, one.ties) for one in theirs] == [(one.model, one.wins, one.ties) for one in ours[:2]]
    assert theirs[0].rating.value == pytest.approx(ours[0].rating.value)


def test_what_a_file_does_not_name_is_said(file: Path) -> None:
    board = of_file(file)
    assert board.unknown == ("prompt", "judge")
    assert board.claim == "on the pairs that were shown, for those who judged"
    assert "the file does not name prompts and judges, so nothing can be said of others" in board.notes
    assert (board.to_dict()["prompts"], board.to_dict()["judges"]) == (None, None)
    for scope, what in (("prompts", "prompts"), ("judges", "judges"), ("prompts and judges", "prompts")):
        with pytest.raises(InvalidRequest, match=f"names no {what}"):
            of_file(file, scope=scope)  # type: ignore[arg-type]


def test_criteria_and_categories_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(
        "left,right,choice,prompt,judge,criterion,category\n"
        "a1,b1,left,p,j,overall,maps\na1,b1,right,q,j,own words,\nb1,c1,tie,q,j,own words,maps\n"
    )
    with pytest.raises(InvalidRequest, match="votes on overall, own words: choose one"):
        of_file(path)
    assert of_file(path, criterion="own words").ratings.votes == 2
    assert of_file(path, criterion="own words", category="maps").ratings.votes == 1
    with pytest.raises(InvalidRequest, match="no votes on 'beauty'"):
        of_file(path, criterion="beauty")
    with pytest.raises(InvalidRequest, match=r"category 'mops'\. Did you mean maps"):
        of_file(path, criterion="overall", category="mops")


# Votes of several studies


def test_combined_votes_are_those_of_all(store: Store, study: int) -> None:
    other = a_study(store, ["two", "four"], {"a map": "charts", "a tree": None}, name="other")
    judge = a_judge(store)
    vote(store, other, judge, "four", "two", "left", seconds=2.5)
    vote(store, other, judge, "two", "four", "tie", prompt=1)
    apart = combined([kept.load(store, one).votes for one in (study, other)])
    together = kept.load(store).votes

    def plain(v: object) -> list[tuple[object, ...]]:
        return [
            (
                v.models[a], v.models[b], c, v.prompts[p], v.judges[j],  # type: ignore[attr-defined]
                v.categories[k] if k >= 0 else None, np.nan_to_num(s, nan=-1),  # type: ignore[attr-defined]
            )
            for a, b, c, p, j, k, s in zip(
                v.left, v.right, v.choice, v.prompt, v.judge, v.category, v.seconds, strict=True  # type: ignore[attr-defined]
            )
        ]  # fmt: skip

    assert plain(apart) == plain(together)
    assert len(combined([])) == 0
    assert combined([collect([Vote("a", "b", "left", "p", "j", category="c")])]).categories == ("c",)
