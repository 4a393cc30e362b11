"""Quantiles and the sign test, against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from diptych.report.evidence import ENOUGH_FOR_P95, Spread, paired, quantile, sign_test

VALUES = st.lists(st.floats(min_value=0, max_value=1e6, allow_subnormal=False), min_size=1, max_size=60)


@given(VALUES, st.sampled_from([0.0, 0.25, 0.5, 0.95, 1.0]))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


@given(VALUES)
def test_a_spread_is_in_order_and_within_its_values(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert min(values) == spread.least <= spread.low <= spread.median <= spread.high <= spread.most == max(values)
    assert (spread.p95 is None) == (len(values) < ENOUGH_FOR_P95)


def test_no_values_have_no_spread() -> None:
    assert Spread.of([]) is None


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_sign_test_is_the_exact_binomial_one(fewer: int, more: int) -> None:
    expected = binomtest(fewer, fewer + more).pvalue if fewer + more else 1.0
    assert sign_test(fewer, more) == pytest.approx(expected, rel=1e-9)


def test_a_sign_test_of_thousands_is_exact_too() -> None:
    assert sign_test(2400, 2600) == pytest.approx(binomtest(2400, 5000).pvalue, rel=1e-9)
    assert sign_test(0, 5000) == 0.0 or math.isclose(sign_test(0, 5000), 2.0**-4999)


def test_pairs_are_counted_and_ties_left_out() -> None:
    found = paired([(1, 2), (1, 2), (1, 2), (5, 4), (3, 3)])
    assert (found.lower, found.higher, found.equal, found.n) == (3, 1, 1, 5)
    assert found.chance == pytest.approx(10 / 16)  # (1 + 4) / 16, both sides


def test_six_pairs_that_agree_are_the_least_that_tell_two_apart() -> None:
    assert sign_test(0, 5) > 0.05 > sign_test(0, 6)
