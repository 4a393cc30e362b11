"""Blind votes on the page: what they say, and no more than that."""

from __future__ import annotations

from pathlib import Path

from diptych import report
from diptych.arena.votes import Vote, collect
from diptych.report.answer import answer
from diptych.report.judged import NOT_JUDGED, judge, section, sentence, verdict
from diptych.report.summary import summarise
from diptych.studies.votes import Counted
from tests.report.conftest import Builder

QUICK, SLOW = "builtin-flow steps=6", "builtin-flow"


def votes(wins: int, losses: int, ties: int = 0, criterion: str = "overall") -> list[Vote]:
    """On QUICK against SLOW, the sides in turn, on three prompts of two categories, by two judges."""
    said = ["win"] * wins + ["loss"] * losses + ["tie"] * ties
    made = []
    for i, what in enumerate(said):
        left, right = (QUICK, SLOW) if i % 2 else (SLOW, QUICK)
        better = {"win": QUICK, "loss": SLOW}.get(what)
        choice = "tie" if better is None else "left" if better == left else "right"
        category = ("animals", "things")[i % 3 % 2]
        made.append(Vote(left, right, choice, f"prompt {i % 3}", f"judge {i % 2}", criterion, category))
    return made


def test_without_votes_nobody_has_judged() -> None:
    assert verdict(None) == NOT_JUDGED
    assert judge(collect([])) is None
    assert judge(collect([Vote(QUICK, SLOW, "skip", "a fox", "anna")])) is None


def test_few_votes_do_not_separate() -> None:
    judged = judge(collect(votes(4, 3)))
    assert judged is not None
    assert verdict(judged) == "7 votes do not settle which looks better"


def test_many_votes_that_agree_do() -> None:
    judged = judge(collect(votes(2, 40)))
    assert judged is not None
    assert verdict(judged) == f"{SLOW} looks better to 2 judges"


def test_the_section_has_a_table_for_each_criterion_and_category() -> None:
    judged = judge(collect([*votes(2, 40), *votes(20, 20, 2, "detail")]), inconsistent=2)
    found = section(judged, [])
    assert found is not None
    assert [table["title"] for table in found["tables"]] == ["Overall", "Detail"]
    best, worst = found["tables"][0]["rows"]
    assert (best["label"], worst["label"]) == (SLOW, QUICK)
    assert best["votes"] == "40 / 2 / 0"
    assert best["share"] > 0.8 > 0.2 > worst["share"]
    assert [one["name"] for one in found["categories"]] == ["animals", "things"]
    said = " ".join(found["notes"])
    assert "42 votes by 2 judges on 3 prompts" in said
    assert "2 trials on which a model contradicted itself" in said


def test_the_headline_ends_with_the_verdict(rich: Builder) -> None:
    summary = summarise(rich.results())
    judged = judge(collect(votes(2, 40)))
    said = answer(summary, prompts=3, judged=judged)
    assert said.headline.endswith(f"{SLOW} looks better to 2 judges.")
    assert judged is not None
    assert said.evidence[0] == sentence(judged)


def test_the_page_with_votes(rich: Builder, tmp_path: Path) -> None:
    results = rich.results()
    names = [contestant.label for contestant in results.contestants[:2]]
    cast = [
        Vote(names[0], names[1], "left" if i % 2 else "right", f"<script>{i % 3}", "<b>judge</b>") for i in range(12)
    ]
    page = report.write(results, rich.store.pictures, tmp_path / "votes.html", votes=Counted(collect(cast), 0))
    text = page.read_text("utf-8")
    assert 'id="votes"' in text
    assert NOT_JUDGED not in text
    assert "<script>0" not in text
    assert "<b>judge" not in text
