"""Online Elo, against evalica and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.arena.elo import OnlineElo, online_elo
from diptych.arena.votes import BOTH_BAD, SKIP, Vote, Votes, collect
from diptych.errors import InvalidRequest
from tests.arena.simulated import simulate


def test_against_evalica() -> None:
    votes = simulate(2000, 5)
    winners = [(evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)[i] for i in votes.choice]
    xs, ys = ([votes.models[i] for i in column] for column in (votes.left, votes.right))
    theirs = evalica.elo(xs, ys, winners, initial=1000.0, k=16.0).scores
    ours = online_elo(votes, k=16)
    assert [name for name, _ in ours.ratings] == list(theirs.index)
    np.testing.assert_allclose([points for _, points in ours.ratings], theirs.to_numpy())  # type: ignore[arg-type]
    assert (ours.k, ours.initial, ours.scale, ours.votes, ours.criterion) == (16, 1000, 400, 2000, "overall")


def test_by_hand() -> None:
    votes = collect(
        [
            Vote("a", "b", "left", "p", "j"),
            Vote("b", "a", "tie", "p", "j"),
            Vote("a", "b", "both_bad", "p", "j"),
            Vote("a", "b", "skip", "p", "j"),
        ],
        models=["c"],
    )
    first = 32 * 0.5
    second = 32 * (0.5 - 1 / (1 + 10 ** (-2 * first / 400)))
    assert online_elo(votes, k=32).ratings == (
        ("a", pytest.approx(1000 + first + second)),
        ("b", pytest.approx(1000 - first - second)),
        ("c", None),
    )


def test_the_order_of_votes_matters() -> None:
    votes = simulate(500, 3)
    backwards = votes.where(np.arange(500)[::-1])  # type: ignore[arg-type]
    assert online_elo(votes, k=32).ratings != online_elo(backwards, k=32).ratings


seeds = st.integers(0, 2**32)


def points(rated: OnlineElo) -> dict[str, float]:
    return {name: value for name, value in rated.ratings if value is not None}


def few_votes(seed: int) -> Votes:
    """With all five choices among them."""
    votes = simulate(60, 4, seed=seed)
    rare = np.random.default_rng(seed).choice([-1, BOTH_BAD, SKIP], 60, p=[0.7, 0.15, 0.15])
    return replace(votes, choice=np.where(rare < 0, votes.choice, rare))


@settings(deadline=None)
@given(seeds)
def test_points_are_only_moved(seed: int) -> None:
    """What one wins another one loses; so the mean stays where all begin."""
    rated = points(online_elo(few_votes(seed), k=24, initial=1500))
    assert np.mean(list(rated.values())) == pytest.approx(1500)
    assert list(rated.values()) == sorted(rated.values(), reverse=True)


@settings(deadline=None)
@given(seeds, st.floats(-2000, 2000), st.floats(0.01, 100))
def test_where_all_begin_and_the_unit_do_not_matter(seed: int, initial: float, unit: float) -> None:
    votes = few_votes(seed)
    plain = points(online_elo(votes, k=16, initial=0.0))
    moved = points(online_elo(votes, k=16 * unit, initial=initial, scale=400 * unit))
    assert moved == {name: pytest.approx(initial + unit * value, abs=1e-6) for name, value in plain.items()}


@settings(deadline=None)
@given(seeds)
def test_names_and_sides_do_not_matter(seed: int) -> None:
    votes = few_votes(seed)
    expected = points(online_elo(votes, k=16))
    order = np.random.default_rng(seed).permutation(4)
    number = np.argsort(order)
    renamed = replace(
        votes, models=tuple(votes.models[i] for i in order), left=number[votes.left], right=number[votes.right]
    )
    turned = replace(votes, left=votes.right, right=votes.left, choice=np.array([1, 0, 2, 3, 4])[votes.choice])
    for same in (renamed, turned):
        assert points(online_elo(same, k=16)) == {name: pytest.approx(value) for name, value in expected.items()}


@settings(deadline=None)
@given(seeds)
def test_both_bad_and_skip_change_nothing(seed: int) -> None:
    votes = few_votes(seed)
    compare = (votes.choice != BOTH_BAD) & (votes.choice != SKIP)
    assert online_elo(votes, k=16) == online_elo(votes.where(compare), k=16)


def test_no_votes() -> None:
    rated = online_elo(collect([], models=["a", "b"]), k=4)
    assert (rated.ratings, rated.votes, rated.criterion) == ((("a", None), ("b", None)), 0, None)


def test_hardly_any_points_to_odds_do_not_overflow() -> None:
    rated = points(online_elo(simulate(500, 3), k=1e6, scale=1e-3))
    assert len(rated) == 3
    assert all(map(math.isfinite, rated.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "above zero"),
        ({"k": -4}, "above zero"),
        ({"k": math.nan}, "above zero"),
        ({"k": math.inf}, "finite"),
        ({"k": 4, "scale": 0}, "above zero"),
        ({"k": 4, "scale": math.inf}, "finite"),
        ({"k": 4, "initial": math.nan}, "initial rating is nan"),
    ],
)
def test_stakes_are_above_zero_and_finite(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        online_elo(simulate(5, 2), **options)


def test_one_criterion_at_a_time() -> None:
    votes = simulate(5, 2)
    with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
        online_elo(replace(votes, criterion=np.array([0, 1, 0, 0, 0])), k=4)
