"""The Pareto set, against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diptych.arena.pareto import Point, pareto

few = st.integers(0, 3).map(float)
maybe = few | st.none()
points = st.lists(st.builds(Point, st.just("x"), maybe, maybe, maybe), max_size=12)


def test_a_worked_example() -> None:
    found = [
        Point("best", 1200, 0.10, 10),
        Point("cheap", 1000, 0.01, 10),
        Point("fast", 1000, 0.10, 1),
        Point("beaten", 1000, 0.10, 10),
        Point("no price", 1300, None, 1),
        Point("like cheap", 1000, 0.01, 10),
    ]
    assert [point.label for point in pareto(found)] == ["best", "cheap", "fast", "like cheap"]
    assert pareto([]) == ()


@given(points)
def test_none_in_it_is_beaten_and_all_outside_are(found: list[Point]) -> None:
    best = pareto(found)
    for point in found:
        if not point.known:
            assert point not in best
            continue
        beaten = any(
            other.known
            and other.quality >= point.quality  # type: ignore[operator]
            and other.cost <= point.cost  # type: ignore[operator]
            and other.seconds <= point.seconds  # type: ignore[operator]
            and (other.quality, other.cost, other.seconds) != (point.quality, point.cost, point.seconds)
            for other in found
        )
        assert (point in best) == (not beaten)
