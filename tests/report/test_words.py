"""Numbers as people write them."""

from __future__ import annotations

import pytest

from diptych.report import words


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (0, 3, "0"),
        (0.0336, 3, "0.0336"),
        (12.34, 3, "12.3"),
        (1234.5, 3, "1,234"),
        (0.5, 3, "0.5"),
        (-5.114, 3, "-5.11"),
    ],
)
def test_significant(value: float, digits: int, said: str) -> None:
    assert words.significant(value, digits) == said


def test_zeros_that_count_stay_where_they_are_wanted() -> None:
    assert words.significant(0.6, 3, zeros=True) == "0.600"
    assert (words.seconds(0.6), words.seconds(12.0), words.seconds(0.034)) == (
        "0.60\u00a0s",
        "12\u00a0s",
        "0.034\u00a0s",
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "$0"), (0.5, "$0.50"), (0.04, "$0.04"), (0.0336, "$0.0336"), (0.000123, "$0.00012"), (1234.5, "$1,234.50")],
)
def test_dollars(value: float, said: str) -> None:
    assert words.dollars(value) == said


def test_lists_and_counts() -> None:
    assert [words.listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert words.count(1, "picture") == "1 picture"
    assert words.count(1200, "picture") == "1,200 pictures"


def test_cutting() -> None:
    assert words.cut("a fox", 5) == "a fox"
    assert words.cut("a fox in snow", 6) == "a fox…"


def test_providers_by_the_names_they_give_themselves() -> None:
    assert words.provider("black_forest_labs") == "Black Forest Labs"
    assert words.provider("some_plugin") == "some plugin"
