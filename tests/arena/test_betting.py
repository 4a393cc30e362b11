"""Evidence about a mean: against exact values, scipy, and every course that votes can take."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.integrate
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.arena.betting import Evidence, log_e_value
from diptych.errors import InvalidRequest

counts = st.integers(0, 300)
priors = st.sampled_from([0.5, 1.0, 2.0])
inside = st.floats(0.02, 0.98)


def of_votes(wins: float, losses: float, ties: float = 0, prior: float = 1.0) -> Evidence:
    return Evidence((1.0, 0.0, 0.5), (wins, losses, ties), prior)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (1, 1), (5, 0), (3, 7), (40, 20)])
def test_exact_values(wins: int, losses: int) -> None:
    n = wins + losses
    assert math.exp(log_e_value(wins, losses)) == pytest.approx(float(Fraction(2**n, (n + 1) * math.comb(n, wins))))


@settings(deadline=None)
@given(counts, counts, priors)
def test_the_formula_as_scipy_has_it(wins: int, losses: int, prior: float) -> None:
    beta = scipy.special.betaln(prior + wins, prior + losses) - scipy.special.betaln(prior, prior)
    expected = (wins + losses) * math.log(2) + beta
    assert log_e_value(wins, losses, prior) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert log_e_value(losses, wins, prior) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), priors)
def test_the_bet_is_fair(wins: int, losses: int, prior: float) -> None:
    win, loss = log_e_value(wins + 1, losses, prior), log_e_value(wins, losses + 1, prior)
    assert np.logaddexp(win, loss) - math.log(2) == pytest.approx(log_e_value(wins, losses, prior), abs=1e-9)


def test_eight_votes_that_say_the_same_are_the_fewest() -> None:
    assert log_e_value(7, 0) < math.log(20) <= log_e_value(8, 0)
    assert of_votes(7, 0).interval(0.05)[0] < 0.5 < of_votes(8, 0).interval(0.05)[0]


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_more_of_the_votes_are_more_evidence(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers((n + 1) // 2, n))
    if wins < n:
        assert log_e_value(wins, n - wins) < log_e_value(wins + 1, n - wins - 1)
        low, high = of_votes(wins, n - wins).interval(0.05)
        lower, higher = of_votes(wins + 1, n - wins - 1).interval(0.05)
        assert low <= lower
        assert high <= higher


@settings(deadline=None)
@given(counts, counts, counts, priors)
def test_at_one_half_ties_do_not_count(wins: int, losses: int, ties: int, prior: float) -> None:
    assert of_votes(wins, losses, ties, prior).log_against(0.5) == pytest.approx(
        log_e_value(wins, losses, prior), rel=1e-6, abs=1e-6
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]), st.integers(1, 8)), max_size=4), inside, priors)
def test_the_integral_as_scipy_takes_it(seen: list[tuple[float, int]], mean: float, prior: float) -> None:
    def integrand(theta: float) -> float:
        bet = 4 * theta - 2
        wealth = math.prod((1 + bet * (score - 0.5)) ** count for score, count in seen)
        return wealth / (1 + bet * (mean - 0.5)) ** sum(count for _, count in seen)

    weight = (prior - 1, prior - 1)
    expected, _ = scipy.integrate.quad(integrand, 0, 1, weight="alg", wvar=weight, limit=200)
    evidence = Evidence([score for score, _ in seen], [count for _, count in seen], prior)
    assert evidence.log_against(mean) == pytest.approx(
        math.log(expected) - scipy.special.betaln(prior, prior), rel=1e-5, abs=1e-5
    )


@settings(deadline=None, max_examples=50)
@given(counts, counts, st.integers(0, 100), st.sampled_from([0.2, 0.05, 0.001]))
def test_the_interval_is_what_the_evidence_does_not_exclude(wins: int, losses: int, ties: int, alpha: float) -> None:
    evidence = of_votes(wins, losses, ties)
    low, high = evidence.interval(alpha)
    assert 0 <= low <= evidence.mean <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert evidence.log_against(bound) == pytest.approx(-math.log(alpha), abs=1e-4)
        else:
            assert evidence.log_against(bound) < -math.log(alpha)
    for inner in np.linspace(low, high, 7)[1:-1]:
        assert evidence.log_against(float(inner)) < -math.log(alpha)
    mirrored = of_votes(losses, wins, ties).interval(alpha)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)
    if log_e_value(wins, losses) >= -math.log(alpha):
        assert not low <= 0.5 <= high
    else:
        assert low <= 0.5 <= high


def test_without_ties_it_is_nearly_the_closed_form() -> None:
    """{m : B(a+w, a+l) / [B(a,a) m^w (1-m)^l] < 1 / alpha}."""
    for wins, losses in ((15, 5), (60, 40), (500, 500), (5500, 4500)):
        grid = np.linspace(0.0005, 0.9995, 2000)
        closed = scipy.special.betaln(1 + wins, 1 + losses) - wins * np.log(grid) - losses * np.log1p(-grid)
        kept = grid[closed < math.log(20)]
        assert of_votes(wins, losses).interval(0.05) == pytest.approx((kept[0], kept[-1]), abs=0.01)


def test_an_exactly_even_pair_needs_about_1260_votes_to_exclude_55_to_45() -> None:
    assert of_votes(615, 615).interval(0.05)[1] > 0.55 > of_votes(640, 640).interval(0.05)[1]


def test_nothing_seen_says_nothing() -> None:
    assert of_votes(0, 0).interval(0.05) == (0, 1)
    assert Evidence((), ()).log_against(0.3) == pytest.approx(0, abs=1e-8)


def test_a_hundred_thousand_votes() -> None:
    low, high = of_votes(50_500, 49_500).interval(0.05)
    assert 0.495 < low < 0.505 < high < 0.515


MOVING = {
    "one mean": lambda seen: 0.5,
    "judges with opposite tastes": lambda seen: 0.9 if len(seen) < 5 else 0.1,
    "against what was seen": lambda seen: 0.3 if sum(seen) * 2 > len(seen) else 0.7,
    "with what was seen": lambda seen: 0.8 if sum(seen) * 2 > len(seen) else 0.2,
}


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("alpha", [0.3, 0.1])
def test_every_course_that_votes_can_take(name: str, alpha: float) -> None:
    """The mean of what was to be expected is ever outside the interval with a chance of alpha at most."""
    length, expect = 9, MOVING[name]
    outside = false = 0.0
    for course in product((0, 1), repeat=length):
        chance, means, ever, claimed = 1.0, 0.0, False, False
        for n, score in enumerate(course):
            mean = expect(course[:n])
            chance *= mean if score else 1 - mean
            means += mean
            wins = sum(course[: n + 1])
            evidence = of_votes(wins, n + 1 - wins)
            ever |= evidence.log_against(means / (n + 1)) >= -math.log(alpha)
            lead = (2 * wins - n - 1) * (means / (n + 1) - 0.5)
            claimed |= log_e_value(wins, n + 1 - wins) >= -math.log(alpha) and lead <= 1e-12
        outside += chance * ever
        false += chance * claimed
    assert false <= outside <= alpha
    if name == "one mean":
        assert false > alpha / 30  # the bound is not idle


@pytest.mark.parametrize(("scores", "counts"), [((1.5,), (1,)), ((-0.1,), (1,)), ((1.0,), (-1,)), ((math.nan,), (1,))])
def test_scores_that_cannot_be(scores: tuple[float], counts: tuple[float]) -> None:
    with pytest.raises(InvalidRequest, match="between 0 and 1"):
        Evidence(scores, counts)
