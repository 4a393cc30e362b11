"""Quality, cost and time: which models nothing beats, and a plot in which every label can be read."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.arena.votes import Vote, collect
from diptych.report import tradeoff
from diptych.report.judged import Judged, judge
from diptych.report.summary import Line, summarise
from diptych.store.database import Store
from tests.report.conftest import HOSTILE, Builder, picture
from tests.report.test_plots import parsed

BEST, CHEAP, BEATEN = "best", "cheap", "beaten"
COSTS = {BEST: 0.10, CHEAP: 0.01, BEATEN: 0.20}
SECONDS = {BEST: 4.0, CHEAP: 2.0, BEATEN: 9.0}


def votes(order: list[str], each: int = 24) -> Judged:
    """Whoever stands earlier in the order wins two votes of three."""
    cast = []
    for i in range(each):
        for at, one in enumerate(order):
            for other in order[at + 1 :]:
                left, right = (one, other) if i % 2 else (other, one)
                better = one if i % 3 else other
                cast.append(Vote(left, right, "left" if better == left else "right", f"prompt {i % 4}", "anna"))
    found = judge(collect(cast))
    assert found is not None
    return found


def lines(
    opened: Store, costs: dict[str, float | None], seconds: dict[str, float | None], name: str = "study"
) -> tuple[Line, ...]:
    study = Builder(opened, name)
    study.prompt("a fox")
    for at, label in enumerate(costs):
        study.contestant(label)
        study.sample(0, at, 0, picture(at), cost=costs[label], seconds=seconds[label])
    return summarise(study.results()).lines


def rows(judged: Judged, its: tuple[Line, ...]) -> dict[str, str | None]:
    found = tradeoff.section(judged, its)
    assert found is not None
    return {row["label"]: row["beaten"] for row in found["rows"]}


def test_who_is_beaten_and_by_whom(opened: Store) -> None:
    found = rows(votes([BEST, CHEAP, BEATEN]), lines(opened, COSTS, SECONDS))
    assert found == {BEST: "unbeaten", CHEAP: "unbeaten", BEATEN: "by best and cheap"}


def test_what_is_unknown_of_one_cannot_be_said(opened: Store) -> None:
    found = rows(votes([BEST, CHEAP, BEATEN]), lines(opened, {**COSTS, BEATEN: None}, SECONDS))
    assert found[BEATEN] is None
    assert found[CHEAP] == "unbeaten"


def test_what_is_unknown_of_all_tells_none_apart(opened: Store) -> None:
    judged, its = votes([BEST, CHEAP, BEATEN]), lines(opened, dict.fromkeys(COSTS), SECONDS)
    assert rows(judged, its)[BEATEN] == "by best and cheap"
    found = tradeoff.section(judged, its)
    assert found is not None
    assert (found["costs"], found["times"]) == (False, True)
    assert "The cost of none of them is known, so it is left out." in found["notes"]
    assert "in quality and time together" in " ".join(found["notes"])
    assert found["plot"].alt.startswith("Wins against time;")


def test_equal_costs_are_not_drawn(opened: Store) -> None:
    found = tradeoff.section(votes([BEST, CHEAP]), lines(opened, {BEST: 0.0, CHEAP: 0.0}, {BEST: 1.0, CHEAP: 1.0}))
    assert found is not None
    assert found["plot"] is None
    assert "The cost of all whose cost is known is the same." in found["notes"]
    assert [row["beaten"] for row in found["rows"]] == ["unbeaten", "by best"]


def test_without_votes_or_numbers_there_is_no_section(opened: Store) -> None:
    its = lines(opened, dict.fromkeys(COSTS), dict.fromkeys(COSTS))
    assert tradeoff.section(votes([BEST, CHEAP]), its) is None
    assert tradeoff.section(None, its) is None


def test_models_that_votes_do_not_connect_are_told(opened: Store) -> None:
    first = [Vote(BEST, CHEAP, "left", "a fox", "anna"), Vote(BEST, CHEAP, "right", "a fox", "anna")]
    judged = judge(collect([*first, Vote(CHEAP, BEATEN, "tie", "a fox", "anna"), Vote("x", "y", "tie", "a fox", "b")]))
    assert judged is not None
    found = tradeoff.section(judged, lines(opened, COSTS, SECONDS))
    assert found is not None
    assert "Votes do not connect x and y with these." in found["notes"]


@pytest.mark.parametrize("name", [HOSTILE, "$x^2$", "label5000", "x" * 90])
def test_the_plot_is_valid_and_in_the_pages_colours(opened: Store, name: str) -> None:
    judged = votes([name, CHEAP])
    its = lines(opened, {name: 1.5, CHEAP: 0.01}, {name: 3.0, CHEAP: 100.0})
    found, again = tradeoff.section(judged, its), tradeoff.section(judged, its)
    assert found is not None
    assert again is not None
    assert found["plot"] == again["plot"]
    for svg in (found["plot"].wide, found["plot"].narrow):
        texts = [element.text or "" for element in parsed(svg).iter("tspan")]
        assert sum(text == name or (text.endswith("…") and name.startswith(text[:-1])) for text in texts) == 2
        assert "Wins, by dollars a picture" in texts
        assert "#0" not in svg
        assert "var(--c1)" in svg


def test_of_many_models_only_the_unbeaten_are_named(opened: Store) -> None:
    drawn = random.Random(3)  # noqa: S311  # nothing is secret here
    names = [f"model {i}" for i in range(12)]
    costs = {name: drawn.uniform(0.01, 0.1) for name in names}
    judged, its = votes(names, 6), lines(opened, costs, {name: drawn.uniform(1, 9) for name in names})
    found = tradeoff.section(judged, its)
    assert found is not None
    unbeaten = {row["label"] for row in found["rows"] if row["unbeaten"]}
    texts = {element.text for element in parsed(found["plot"].wide).iter("tspan")}
    assert texts & set(names) == unbeaten
    assert 0 < len(unbeaten) < 12


inside = st.floats(0, 4), st.floats(0, 2.4)


@given(st.lists(st.tuples(*inside), min_size=1, max_size=8))
def test_no_two_labels_share_a_line_and_each_is_beside_its_dot(dots: list[tuple[float, float]]) -> None:
    placed = tradeoff.place(dots, range(len(dots)), [1.2] * len(dots), (4, 2.4))
    assert [number for number, *_ in placed] == list(range(len(dots)))
    heights = sorted(y for _, _, y, _ in placed)
    assert all(b - a > tradeoff.BETWEEN_LABELS - 1e-9 for a, b in itertools.pairwise(heights))
    for number, x, y, to in placed:
        assert x == dots[number][0] + to * tradeoff.ASIDE
        assert y <= 2.4
        end = x + 1.2 * to
        assert -1e-9 <= end <= 4 + 1e-9 or len(dots) > 1


def test_a_label_goes_to_the_side_where_it_hides_no_dot() -> None:
    assert [to for *_, to in tradeoff.place([(2.0, 1.0), (2.6, 1.0)], [0], [1.2], (4, 2))] == [-1]
    assert [to for *_, to in tradeoff.place([(2.0, 1.0), (1.4, 1.0)], [0], [1.2], (4, 2))] == [1]
    assert [to for *_, to in tradeoff.place([(3.9, 1.0)], [0], [1.2], (4, 2))] == [-1]
