"""Votes written to files and read again, in our form and in others'."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import select

from diptych.arena.votes import CHOICES, Votes
from diptych.errors import InvalidRequest
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes
from diptych.studies.vote_files import read_votes, write_votes
from tests.voting import a_judge, a_study, vote

PROMPT = 'a "red" fox,\nin snow; =1+1 ø'


@pytest.fixture
def study(store: Store) -> int:
    """Six votes, one of each kind, by a person and a model, and one that was taken back."""
    study = a_study(store, ["one", "two steps=4"], {PROMPT: "animals", "a map": None}, samples=2)
    person, model = a_judge(store), a_judge(store, "model", "openai/gpt-5")
    vote(store, study, person, "one", "two steps=4", "left", seconds=1.5)
    vote(store, study, person, "two steps=4", "one", "right", prompt=1, criterion="detail")
    vote(store, study, model, "one", "two steps=4", "tie", reason="Both, \n alike")
    vote(store, study, model, "one", "two steps=4", "both_bad")
    vote(store, study, person, "one", "two steps=4", "skip")
    vote(store, study, model, "one", "two steps=4", "inconsistent")
    key = vote(store, study, person, "one", "two steps=4", "left")
    with store.writing() as connection:
        votes.take_back(connection, key, "back-aaaa")
    return study


def plain(v: Votes) -> list[tuple[object, ...]]:
    """Votes as rows; judges are numbered as they appear, since a file does not say what they are called here."""
    numbers = {judge: number for number, judge in enumerate(dict.fromkeys(v.judge.tolist()))}
    return [
        (
            v.models[left], v.models[right], CHOICES[choice], v.prompts[prompt], numbers[judge], v.criteria[criterion],
            v.categories[category] if category >= 0 else None, None if seconds != seconds else float(seconds),
        )
        for left, right, choice, prompt, judge, criterion, category, seconds in zip(
            v.left, v.right, v.choice, v.prompt, v.judge.tolist(), v.criterion, v.category, v.seconds, strict=True
        )
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_our_form_gives_the_same_votes_again(store: Store, study: int, tmp_path: Path, suffix: str) -> None:
    text, written, left_out = write_votes(store, study, jsonl=suffix == "jsonl")
    assert (written, left_out) == (6, 0)
    path = tmp_path / f"votes.{suffix}"
    path.write_bytes(text.encode())
    found, kept = read_votes(path), votes.load(store, study)
    assert plain(found.votes) == plain(kept.votes)
    assert (found.inconsistent, kept.inconsistent, found.unknown) == (1, 1, ())


def test_nothing_in_a_file_lets_anybody_vote_for_another(store: Store, study: int) -> None:
    text = write_votes(store, study)[0]
    with store.reading() as connection:
        secrets = [*connection.scalars(select(schema.judges.c.id)), *connection.scalars(select(schema.trials.c.token))]
    assert len(secrets) > 8
    assert not [one for one in secrets if one in text]


def test_the_columns_of_our_form(store: Store, study: int) -> None:
    rows = list(csv.DictReader(io.StringIO(write_votes(store, study)[0])))
    first, model = rows[0], rows[2]
    assert (first["study"], first["prompt"], first["category"], first["left"]) == ("study", PROMPT, "animals", "one")
    assert (first["seconds"], first["judge_kind"], first["judge_name"], first["left_number"]) == (
        "1.5",
        "person",
        "",
        "0",
    )
    assert (model["judge_kind"], model["judge_name"], model["reason"]) == ("model", "openai/gpt-5", "Both, \n alike")
    assert first["cast"].startswith("20")
    assert len({row["key"] for row in rows}) == 6


@pytest.mark.parametrize("form", ["fastchat", "plain"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_other_forms_leave_out_what_they_have_no_word_for(
    store: Store, study: int, tmp_path: Path, form: str, suffix: str
) -> None:
    text, written, left_out = write_votes(store, study, form, jsonl=suffix == "jsonl")  # type: ignore[arg-type]
    assert (written, left_out) == (4, 2)
    path = tmp_path / f"votes.{suffix}"
    path.write_bytes(text.encode())
    found = read_votes(path)
    assert [row[:3] for row in plain(found.votes)] == [
        ("one", "two steps=4", "left"),
        ("two steps=4", "one", "right"),
        ("one", "two steps=4", "tie"),
        ("one", "two steps=4", "both_bad"),
    ]
    assert found.unknown == (() if form == "fastchat" else ("prompt", "judge"))
    assert len(found.votes.prompts) == (2 if form == "fastchat" else 1)


def test_fastchats_own_words(store: Store, study: int) -> None:
    lines = [json.loads(line) for line in write_votes(store, study, "fastchat", jsonl=True)[0].splitlines()]
    assert [line["winner"] for line in lines] == ["model_a", "model_b", "tie", "tie (bothbad)"]
    assert lines[0].keys() == {"question_id", "model_a", "model_b", "winner", "judge", "turn", "tstamp"}
    assert (lines[0]["turn"], lines[1]["question_id"]) == (1, "study 2")
    assert lines[0]["tstamp"] > 1.7e9


def test_all_studies_and_none(store: Store, study: int) -> None:
    other = a_study(store, ["one", "three"], name="other")
    vote(store, other, a_judge(store), "one", "three", "left")
    assert [write_votes(store, which)[1] for which in (None, study, other)] == [7, 6, 1]
    assert write_votes(store, 10**6)[0].count("\n") == 1


# What others write


def test_a_file_of_chatbot_arena(tmp_path: Path) -> None:
    battles = [
        {"question_id": "58210e39", "model_a": "alpaca-13b", "model_b": "vicuna-13b", "winner": "model_b",
         "judge": "arena_user_973", "turn": 1, "anony": True, "language": "English", "tstamp": 1682351591.1322},
        {"question_id": 81, "model_a": "gpt-4", "model_b": "vicuna-13b", "winner": "tie (bothbad)",
         "judge": ["author", 2], "turn": 2, "tstamp": None},
    ]  # fmt: skip
    for name, text in (
        ("battles.json", json.dumps(battles)),
        ("battles.jsonl", "\n\n".join(map(json.dumps, battles)) + "\n"),
    ):
        (tmp_path / name).write_text(text)
        found = read_votes(tmp_path / name)
        assert [row[:4] for row in plain(found.votes)] == [
            ("alpaca-13b", "vicuna-13b", "right", "58210e39"),
            ("gpt-4", "vicuna-13b", "both_bad", "81"),
        ]
        assert found.votes.judges == ("arena_user_973", "author, 2")
        assert found.unknown == ()


def test_words_and_names_of_the_winner(tmp_path: Path) -> None:
    words = ["model_a", "MODEL_B", "Tie", "Tie  (bothbad)", "left", "right", "pizza", "salad", "draw", "both_bad"]
    path = tmp_path / "food.tsv"
    path.write_text("\ufeffModel_A\tModel_B\tWinner\n" + "".join(f"pizza\tsalad\t{word}\n" for word in words))
    chosen = [row[2] for row in plain(read_votes(path).votes)]
    assert chosen == ["left", "right", "tie", "both_bad", "left", "right", "left", "right", "tie", "both_bad"]


def test_votes_without_prompts_and_judges(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("left,right,winner\na1,b1,left\nb1,c1,tie\n")
    found = read_votes(path)
    assert (found.unknown, len(found.votes.prompts), len(found.votes.judges)) == (("prompt", "judge"), 1, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("v.csv", "model_a,model_b,winner\nx,y,model_a\nx,y,nobody\n", "line 3: winner is 'nobody'; it is model_a"),
        ("v.csv", "model_a,model_b,winner\nx,x,model_a\n", "line 2: x is compared with itself"),
        ("v.csv", "model_a,model_b,winner\n,y,model_a\n", "line 2: model_a is missing"),
        ("v.csv", "model_a,model_b,winner\nx,y,\n", "line 2: winner is missing"),
        ("v.csv", "model_a,model_b,winner\nx,y,tie,4\n", "line 2: 4 fields where the header has 3"),
        ("v.csv", 'model_a,model_b,winner\n"x,y,tie\n', "line 2: the row that begins here is broken"),
        ("v.csv", "model_a,model_b,winner\ntie,left,left\n", "is a model here and means left elsewhere"),
        ("v.csv", "model_a,model_b,winner,seconds\nx,y,tie,soon\n", "seconds is 'soon'"),
        ("v.csv", "a,b,c\nx,y,tie\n", "the header has no column model_a; it has a, b, c"),
        ("v.csv", "model_a,model_b,winner\n", "holds no vote"),
        ("v.csv", "", "is empty"),
        ("v.jsonl", '{"model_a": "x", "model_b": "y", "winner": "tie"}\n{"model_a": \n', "line 2: this is not JSON"),
        ("v.jsonl", '["x", "y"]\n', "line 1: a vote is an object"),
        ("v.jsonl", '{"model_a": "x", "model_b": "y"}\n', "line 1: winner is missing"),
        ("v.json", '{"model_a": "x"}', "is not a list of votes"),
        ("v.json", '[{"model_a": "x", "model_b": "y", "winner": 3}]', "vote 1: winner is '3'"),
        ("v.txt", "x", "is no file of votes"),
        ("missing.csv", None, "There is no file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRequest) as error:
        read_votes(tmp_path / name)
    assert message in str(error.value)
    assert name in str(error.value)


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("model_a,model_b,winner\n" + "x,y,nobody\n" * 25)
    with pytest.raises(InvalidRequest) as error:
        read_votes(path)
    lines = str(error.value).splitlines()
    assert (len(lines), lines[-1]) == (11, "... and 15 more.")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_bytes(b"model_a,model_b,winner\nx,\xff\xfe,tie\n")
    with pytest.raises(InvalidRequest, match="line 2: this is not UTF-8"):
        read_votes(tmp_path / "v.csv")
