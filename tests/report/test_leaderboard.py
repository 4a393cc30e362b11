"""The leaderboard as a page: what it says, what it must not do, and that it stands for the same numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.arena.ratings import Estimate
from diptych.errors import OutputError
from diptych.report.leaderboard import render, write
from diptych.report.standings import counted, facts, interval, ranks
from diptych.store.database import Store
from diptych.studies.leaderboard import Leaderboard, leaderboard
from tests.report.conftest import HOSTILE
from tests.voting import a_judge, a_study, many_votes, vote


@pytest.fixture
def store() -> Iterator[Store]:
    opened = stores.open()
    yield opened
    opened.close()


@pytest.fixture
def study(store: Store) -> int:
    study = a_study(store, ["good", "even", "poor", "silent"], {"a fox": "animals", "a map": "maps"})
    said = [("good", "even", "left"), ("even", "good", "right"), ("even", "poor", "left"), ("poor", "even", "tie")]
    said += [("good", "poor", "right"), ("poor", "good", "both_bad"), ("even", "good", "skip")]
    many_votes(store, study, [a_judge(store), a_judge(store)], said * 6, prompts=2)
    return study


def text_of(page: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    return " ".join(" ".join(found).split())


def test_the_page_says_what_the_numbers_say(store: Store, study: int) -> None:
    board = leaderboard(store, study)
    text = text_of(render(board))
    assert board.headline.replace(" ", "") in text.replace(" ", "")  # names are in elements of their own
    for one in board.models:
        if one.rating.value is not None:
            assert f"{one.model} {ranks(one)} {one.rating.value:,.0f} {interval(one.rating)}" in text
    assert "No vote compares silent with another model." in text
    assert "30 votes by 2 people on 2 prompts; 6 called both bad and 6 skipped" in text


def test_the_same_leaderboard_gives_the_same_page(store: Store, study: int) -> None:
    assert render(leaderboard(store, study)) == render(leaderboard(store, study))


def test_nothing_runs_and_nothing_is_fetched(store: Store) -> None:
    study = a_study(store, [f"evil {HOSTILE}", "plain"], [HOSTILE])
    many_votes(
        store, study, [a_judge(store)], [(f"evil {HOSTILE}", "plain", "left"), ("plain", f"evil {HOSTILE}", "left")] * 9
    )
    page = render(leaderboard(store, study))
    assert "<script" not in page
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", page)
    assert "default-src 'none'" in unescape(page)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_several_leaderboards_that_no_vote_connects(store: Store, study: int) -> None:
    other = a_study(store, ["x", "y"], name="other")
    many_votes(store, other, [a_judge(store)], [("x", "y", "left"), ("y", "x", "left")] * 8)
    text = text_of(render(leaderboard(store)))
    assert "Leaderboard 1" in text
    assert "Leaderboard 2" in text
    assert "no vote connects these groups" in text.lower()


def test_an_unbeaten_model_has_no_upper_limit(store: Store) -> None:
    study = a_study(store, ["up", "down"])
    many_votes(store, study, [a_judge(store)], [("up", "down", "left"), ("down", "up", "right")] * 20)
    board = leaderboard(store, study)
    assert interval(board.models[0].rating).startswith("from ")
    assert interval(board.models[1].rating).startswith("to ")
    said = facts(board)
    assert any(one.startswith("up ") for one in said)  # a name keeps its letters
    assert render(board)


def test_too_few_votes_have_no_interval(store: Store) -> None:
    study = a_study(store, ["up", "down"])
    vote(store, study, a_judge(store), "up", "down", "left")
    board = leaderboard(store, study)
    said = facts(board)
    assert said[0] == f"There is no interval for any model: {board.models[0].rating.reason}."
    assert not any(one.startswith("Intervals are") for one in said)
    assert "none" in text_of(render(board))


@pytest.mark.parametrize(
    ("estimate", "said", "share"),
    [
        (Estimate(1000, 950, 1050.4), "950 to 1,050", None),
        (Estimate(1000, 950, None, "why"), "from 950", None),
        (Estimate(1000, None, 1050, "why"), "to 1,050", None),
        (Estimate(1000, reason="why"), "none", None),
        (Estimate(0.5, 0.4, 0.61), None, "40 to 61 %"),
        (Estimate(0.5, 0.0, None, "why"), None, "from 0 %"),
    ],
)
def test_intervals_in_words(estimate: Estimate, said: str | None, share: str | None) -> None:
    assert interval(estimate, percent=share is not None) == (said or share)


def test_counts_in_words(store: Store, study: int) -> None:
    board = leaderboard(store, study)
    assert counted(board) == "30 votes by 2 people on 2 prompts; 6 called both bad and 6 skipped"
    nameless = Leaderboard(board.of, None, board.ratings, 2, "", (), ("prompt", "judge"))
    assert counted(nameless) == "30 votes; 6 called both bad, 6 skipped and 2 inconsistent"


def test_the_file_is_written_whole_and_not_over_another(store: Store, study: int, tmp_path: Path) -> None:
    board = leaderboard(store, study)
    out = write(board, tmp_path / "board.html")
    assert out.read_text("utf-8") == render(board)
    with pytest.raises(OutputError, match="exists already"):
        write(board, out)
    assert write(board, out, force=True) == out
