"""The sections on votes: every table, how alike judges are, and people and models apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from diptych import report
from diptych.arena.votes import Vote, collect
from diptych.report import ballots, voting
from diptych.report.judged import Judged, judge
from diptych.store.database import Store
from diptych.studies import votes as kept
from tests.report.conftest import Builder
from tests.report.test_judged import QUICK, SLOW, votes
from tests.report.test_page import Page
from tests.voting import a_judge, vote


def judged(cast: list[Vote], inconsistent: int = 0) -> Judged:
    found = judge(collect(cast), inconsistent)
    assert found is not None
    return found


def of_people(cast: list[Vote]) -> dict[str, Any]:
    return voting.of_people(judged(cast), [], "study")


def test_without_votes_it_says_how_to_get_them() -> None:
    assert voting.of_people(None, [], '"foxes in snow"') == {
        "notes": [],
        "nothing": "No person has judged these pictures yet.",
        "how": 'diptych judge "foxes in snow"',
    }
    assert voting.of_models(None, [], {}) is None


def test_a_table_for_each_criterion_with_its_categories() -> None:
    found = of_people([*votes(2, 40), *votes(20, 20, 2, "detail")])
    assert [table["title"] for table in found["tables"]] == ["Overall", "Detail"]
    best, worst = found["tables"][0]["rows"]
    assert (best["label"], worst["label"]) == (SLOW, QUICK)
    assert best["votes"] == "40 / 2 / 0"
    assert re.fullmatch(r"9\d % \(\d\d to \d\d %\)", best["wins"]["said"])
    assert float(best["wins"]["low"]) < float(best["wins"]["at"]) < 100 - float(best["wins"]["rest"])
    for table in found["tables"]:
        assert [one["name"] for one in table["categories"]] == ["animals", "things"]
        assert {QUICK, SLOW} == set(table["categories"][0]["wins"])
    assert "42 votes by 2 people on 3 prompts." in found["notes"]


def test_one_category_is_not_said_twice() -> None:
    assert of_people([one for one in votes(20, 20) if one.category == "animals"])["tables"][0]["categories"] == []


def test_why_there_are_no_limits() -> None:
    notes = of_people(votes(2, 1))["notes"]
    assert not any(note.startswith("In brackets") for note in notes)
    assert any(note.startswith("No limits: too few decided votes") for note in notes)
    mixed = of_people([*votes(20, 22), *votes(1, 1, criterion="detail")])["notes"]
    assert any(note.startswith("In brackets") for note in mixed)
    assert any(note.startswith("Without brackets: too few decided votes") for note in mixed)


def test_the_side_and_agreement() -> None:
    one_sided = [Vote(QUICK, SLOW, "left", "a fox", "anna", pictures=str(i)) for i in range(20)]
    one_sided += [Vote(SLOW, QUICK, "left", "a fox", "anna", pictures=str(i + 20)) for i in range(20)]
    (alike,) = of_people(one_sided)["alike"]
    assert alike["left"] == "40 of 40 (100 %)"
    assert int(alike["even"].split()[0]) > 85
    assert alike["alpha"] == "none: no two judges voted on the same pictures"
    same = [Vote(QUICK, SLOW, "left", "a fox", name, pictures=str(i)) for i in range(9) for name in ("anna", "ben")]
    assert of_people(same)["alike"][0]["alpha"] == "1.00, on 9 pairs of pictures"
    ties = [Vote(QUICK, SLOW, "both_bad", "a fox", "anna")]
    assert of_people([*ties, Vote(QUICK, SLOW, "tie", "a fox", "anna")])["alike"][0]["left"] == "none was decided"


def test_judges_to_look_at_are_numbered_and_none_is_left_out() -> None:
    hasty = [Vote(QUICK, SLOW, "left", f"p{i}", "secret-id", seconds=0.2) for i in range(30)]
    found = of_people([*votes(6, 6), *hasty])
    assert [row["name"] for row in found["judges"]] == ["Judge 1", "Judge 2", "Judge 3"]
    assert "30 of 30 decided votes are for the picture on the left" in found["judges"][2]["reasons"]
    assert "less than 0.8 seconds" in found["judges"][2]["reasons"]
    assert found["judges"][0]["reasons"] == ""
    assert "1 judge to look at." in found["judge_notes"][-1]
    assert "secret-id" not in str(found)


def test_of_many_judges_those_to_look_at_come_first() -> None:
    many = [Vote(QUICK, SLOW, ("left", "right")[i % 2], f"p{i}", f"judge {i % 20}", seconds=3.0) for i in range(80)]
    hasty = [Vote(QUICK, SLOW, "tie", f"p{i}", "hasty", seconds=0.2) for i in range(9)]
    found = of_people([*many, *hasty])
    assert len(found["judges"]) == voting.MOST_JUDGES
    assert found["judges"][0]["name"] == "Judge 21"
    assert found["judge_notes"][-1] == "9 more are not listed; those to look at come first."


def test_models_are_named_and_have_no_side() -> None:
    cast = [Vote(QUICK, SLOW, "left", f"p{i % 3}", "id-of-a-model") for i in range(12)]
    found = voting.of_models(judged(cast, inconsistent=3), [], {"id-of-a-model": "openai/gpt-5-mini"})
    assert found is not None
    assert [row["name"] for row in found["judges"]] == ["openai/gpt-5-mini"]
    assert not found["sides"]
    assert found["alike"][0]["left"] is None
    assert found["notes"][-1].endswith("beside 3 trials on which a model contradicted itself.")


@pytest.fixture
def voted(opened: Store) -> Builder:
    """Two people and a model, who do not agree."""
    study = Builder(opened, "foxes in snow")
    study.prompt("a fox in snow", "animals")
    for at, label in enumerate(("quick <b>", "slow")):
        study.contestant(label)
        for number in range(2):
            study.sample(0, at, number, _picture(10 * at + number), seconds=1.0 + at, cost=0.02 - 0.01 * at)
    for judge_id in [a_judge(opened), a_judge(opened)]:
        for i in range(12):
            vote(opened, study.id, judge_id, "quick <b>", "slow", "left" if i else "right", seconds=2.0)
    machine = a_judge(opened, "model", "openai/<i>mini")
    for _ in range(9):
        vote(opened, study.id, machine, "quick <b>", "slow", "right")
    return study


def _picture(seed: int) -> bytes:
    from tests.report.conftest import picture

    return picture(seed)


def test_ballots_are_of_people_and_of_models(voted: Builder) -> None:
    found = ballots.load(voted.store, voted.id)
    assert (len(found.people.votes), len(found.models.votes)) == (24, 9)
    assert list(found.names.values()) == ["openai/<i>mini"]
    assert set(found.names).isdisjoint(found.people.votes.judges)
    assert len(kept.load(voted.store, voted.id).votes) == 33


def test_the_page_shows_people_and_models_apart(voted: Builder, tmp_path: Path) -> None:
    found = ballots.load(voted.store, voted.id)
    text = report.write(voted.results(), voted.store.pictures, tmp_path / "votes.html", votes=found).read_text("utf-8")
    people, models = (
        text[text.index(f'<section id="{name}"') :].partition("</section>")[0] for name in ("votes", "models")
    )
    assert "24 votes by 2 people" in people
    assert "22 / 2 / 0" in people
    assert "gpt" not in people
    assert "mini" not in people
    assert "9 votes by 1 model" in models
    assert "9 / 0 / 0" in models
    assert "openai/&lt;i&gt;mini" in models
    assert "quick &lt;b&gt; looks better to 2 judges" in Page(text).text.replace("<b>", "&lt;b&gt;")
    for judge_id in (*found.people.votes.judges, *found.models.votes.judges):
        assert judge_id not in text  # whoever has a person's id can vote as that person
    assert not Page(text).open
    again = report.write(voted.results(), voted.store.pictures, tmp_path / "again.html", votes=found)
    assert again.read_text("utf-8") == text


def test_the_page_without_votes_says_how(voted: Builder, tmp_path: Path) -> None:
    text = report.write(voted.results(), voted.store.pictures, tmp_path / "none.html").read_text("utf-8")
    section = text[text.index('<section id="votes"') :].partition("</section>")[0]
    assert "<code>diptych judge &#34;foxes in snow&#34;</code>" in section
    assert section.count("<p") == 1
    assert '<section id="models"' not in text
    assert '<section id="tradeoff"' not in text
    assert '<a href="#votes">' in text
    assert '<a href="#tradeoff">' not in text
