"""Online Elo, against evalica and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import evalica
import numpy as np
import pytest

from diptych.arena.elo import online_elo
from diptych.arena.votes import Vote, collect
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


def test_hardly_any_points_to_odds_do_not_overflow() -> None:
    points = dict(online_elo(simulate(500, 3), k=1e6, scale=1e-3).ratings)
    assert all(math.isfinite(value or 0) for value in points.values())


@pytest.mark.parametrize("options", [{"k": 0}, {"k": -4}, {"k": math.nan}, {"k": 4, "scale": 0}])
def test_stakes_are_above_zero(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="above zero"):
        online_elo(simulate(5, 2), **options)


def test_one_criterion_at_a_time() -> None:
    votes = simulate(5, 2)
    with pytest.raises(InvalidRequest, match="'overall', 'detail'"):
        online_elo(replace(votes, criterion=np.array([0, 1, 0, 0, 0])), k=4)
