"""`diptych leaderboard` and `diptych rate`: a table, data or a page, and words where something is missing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.store.database import Store
from tests.cli.conftest import Run
from tests.voting import a_judge, a_study, many_votes, vote

SAID = [
    *[("one", "two", "left"), ("two", "one", "left"), ("one", "three", "right"), ("three", "one", "right")],
    *[("two", "three", "left"), ("three", "two", "left"), ("one", "two", "tie"), ("one", "three", "left")],
] * 8
"""No model is beaten always, and each pair has enough votes for an interval."""


@pytest.fixture
def own(home: Path) -> Store:
    return stores.open()


@pytest.fixture
def study(own: Store) -> int:
    study = a_study(own, ["one", "two", "three"], {"a fox": "animals", "a map": "maps"}, name="foxes and maps")
    many_votes(own, study, [a_judge(own), a_judge(own)], SAID, prompts=2)
    return study


@pytest.fixture
def file(folder: Path) -> Path:
    (folder / "votes.csv").write_text("model_a,model_b,winner\n" + "one,two,one\ntwo,one,one\none,two,two\n" * 9)
    return Path("votes.csv")


def test_a_table_of_the_latest_study(run_cli: Run, study: int) -> None:
    code, out, err = run_cli("leaderboard")
    assert (code, err) == (0, "")
    assert out.startswith("Leaderboard of the study foxes and maps, overall\n")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "The evidence does not separate" in out
    assert "64 votes by 2 people on 2 prompts." in out
    assert "hold on these prompts and pictures, for these judges." in " ".join(out.split())


def test_by_name_and_all(run_cli: Run, study: int, own: Store) -> None:
    other = a_study(own, ["one", "four"], name="later")
    vote(own, other, a_judge(own), "one", "four", "left")
    assert "the study later" in run_cli("leaderboard")[1]
    assert "the study foxes and maps" in run_cli("leaderboard", "foxes and maps")[1]
    code, out, _ = run_cli("leaderboard", "all")
    assert (code, "Leaderboard of all studies" in out, "four" in out, "65 votes" in out) == (0, True, True, True)


def test_a_study_that_is_named_all(run_cli: Run, own: Store) -> None:
    study = a_study(own, ["x", "y"], name="all")
    vote(own, study, a_judge(own), "x", "y", "left")
    assert "the study all" in run_cli("leaderboard", "all")[1]


def test_a_category_a_criterion_and_other_judges(run_cli: Run, study: int, own: Store) -> None:
    assert "32 votes by 2 people on 1 prompt" in run_cli("leaderboard", "--category", "maps")[1]
    vote(own, study, a_judge(own), "one", "two", "left", criterion="detail")
    assert "1 vote by 1 person on 1 prompt" in run_cli("leaderboard", "--criterion", "detail")[1]
    vote(own, study, a_judge(own, "model", "m"), "one", "two", "left")
    assert "1 vote by 1 model on 1 prompt" in run_cli("leaderboard", "--judges", "models")[1]
    assert "65 votes by 3 judges on 2 prompts" in run_cli("leaderboard", "--judges", "all")[1]


def test_a_wider_claim_and_why_it_has_no_intervals(run_cli: Run, study: int) -> None:
    code, out, _ = run_cli("leaderboard", "--scope", "both")
    assert code == 0
    assert "There are no intervals" in out
    assert "none" in out


def test_data(run_cli: Run, study: int) -> None:
    code, out, err = run_cli("leaderboard", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    code, out, _ = run_cli("leaderboard", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["model"] for row in rows] == [one["model"] for one in data["models"]]
    assert float(rows[0]["rating"]) == data["models"][0]["rating"]
    assert (data["criterion"], data["judges_are"], data["votes"]) == ("overall", "people", 64)


def test_a_page(run_cli: Run, folder: Path, study: int) -> None:
    code, out, _ = run_cli("leaderboard", "--page", "board.html")
    assert (code, out.strip()) == (0, "board.html")
    assert "foxes and maps" in (folder / "board.html").read_text("utf-8")
    assert run_cli("leaderboard", "--page", "board.html")[0] == 1
    assert run_cli("leaderboard", "--page", "board.html", "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 1, "There is no study named 'nothing'"),
        (["--csv", "--json"], 2, "--csv and --json do not go together"),
        (["--json", "--page", "x.html"], 2, "--json and --page do not go together"),
        (["--criterion", "beauty"], 2, "criterion is 'beauty'"),
        (["--criterion", "detail"], 1, "Nobody has voted on detail"),
        (["--category", "dogs"], 2, "No prompt is of the category 'dogs'"),
        (["--judges", "models"], 1, "--judges people counts them"),
        (["--scope", "everybody"], 2, "everybody"),
    ],
)
def test_what_cannot_be(run_cli: Run, study: int, arguments: list[str], code: int, message: str) -> None:
    found, out, err = run_cli("leaderboard", *arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_rate_reads_a_file_and_no_store(run_cli: Run, file: Path, home: Path) -> None:
    code, out, err = run_cli("rate", file)
    assert (code, err) == (0, "")
    assert "Leaderboard of votes.csv, overall" in out
    assert "27 votes.\n" in out
    assert "on the pairs that were shown, for those who judged" in " ".join(out.split())
    assert not (home / "diptych.sqlite").exists()


def test_rate_as_data_and_as_a_page(run_cli: Run, folder: Path, file: Path) -> None:
    data = json.loads(run_cli("rate", file, "--json")[1])
    assert (data["of"], data["votes"], data["prompts"]) == ("votes.csv", 27, None)
    assert run_cli("rate", file, "--csv")[1].startswith("rank,")
    assert run_cli("rate", file, "--page", "rated.html")[0] == 0
    assert "votes.csv" in (folder / "rated.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "There is no file missing.csv"),
        (["votes.csv", "--scope", "prompts"], "names no prompts"),
        (["votes.csv", "--criterion", "beauty"], "no votes on 'beauty'"),
        (["votes.csv", "--category", "maps"], "no prompt has one"),
        (["wrong.csv"], "wrong.csv, line 3: winner is 'nobody'"),
    ],
)
def test_what_cannot_be_rated(run_cli: Run, folder: Path, file: Path, arguments: list[str], message: str) -> None:
    (folder / "wrong.csv").write_text("model_a,model_b,winner\none,two,tie\none,two,nobody\n")
    code, out, err = run_cli("rate", *arguments)
    assert (code, out) == (2, "")
    assert message in err
