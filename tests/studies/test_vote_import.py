"""Votes that come home: to the same pictures in another store, once, and all or none."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from diptych import store as stores
from diptych.errors import InvalidRequest
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes
from diptych.studies.vote_files import write_votes
from diptych.studies.vote_import import ImportedVotes, import_votes
from tests.servers import fresh_database
from tests.studies.test_vote_files import plain
from tests.voting import a_judge, a_study, vote

PROMPTS = {"a red fox": "animals", "a  map": None}
MODELS = ["one", "two steps=4"]


@pytest.fixture
def file(store: Store, tmp_path: Path) -> Path:
    """What a store exported."""
    study = a_study(store, MODELS, PROMPTS, samples=2)
    person, model = a_judge(store), a_judge(store, "model", "openai/gpt-5")
    vote(store, study, person, *MODELS, "left", seconds=1.5)
    vote(store, study, person, *MODELS, "right", prompt=1)
    vote(store, study, person, *MODELS, "tie", criterion="detail")
    vote(store, study, model, *reversed(MODELS), "both_bad", reason="Both are blurred.")
    vote(store, study, model, *MODELS, "inconsistent", prompt=1)
    path = tmp_path / "votes.csv"
    path.write_bytes(write_votes(store, study)[0].encode())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    if request.param == "postgresql":
        url = fresh_database(request.getfixturevalue("postgres_server"), tmp_path.name)
    opened = stores.open(url)
    yield opened
    opened.close()


@pytest.fixture
def study(other: Store) -> int:
    """The same study elsewhere: other ids, and a white space less."""
    a_study(other, ["three", "four"], name="earlier")
    return a_study(
        other, [*reversed(MODELS), "five"], {"something else": None, "a map": None, "a red fox": None}, samples=3
    )


def count(store: Store, table: str) -> int:
    with store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(schema.metadata.tables[table])) or 0


def changed(path: Path, change: Callable[[list[dict[str, str]]], object]) -> Path:
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    columns = list(rows[0])
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_every_vote_finds_its_pictures(store: Store, other: Store, study: int, file: Path) -> None:
    assert import_votes(other, file, study) == ImportedVotes(added=5, already=0, judges=2)
    here, there = votes.load(store), votes.load(other)
    without_category = [
        [(*row[:3], row[3].replace("  ", " "), *row[4:6], row[7]) for row in plain(v.votes)] for v in (here, there)
    ]
    assert without_category[0] == without_category[1]
    assert (here.inconsistent, there.inconsistent) == (1, 1)
    # All but study, category, and names of judges and trials, which are of the store: time, key, reason, numbers.
    columns = ("prompt", "left", "right", "choice", "criterion", "seconds", "cast", "left_number", "reason", "key")
    ours, theirs = (
        [
            tuple(" ".join(row[name].split()) for name in columns)
            for row in csv.DictReader(io.StringIO(write_votes(one, of)[0], newline=""))
        ]
        for one, of in ((store, None), (other, study))
    )
    assert ours == theirs


def test_twice_is_once(other: Store, study: int, file: Path) -> None:
    import_votes(other, file, study)
    before = {table: count(other, table) for table in ("judges", "trials", "votes")}
    assert import_votes(other, file, study) == ImportedVotes(added=0, already=5, judges=0)
    assert {table: count(other, table) for table in before} == before == {"judges": 2, "trials": 5, "votes": 5}


def test_what_was_taken_back_stays_so(other: Store, study: int, file: Path) -> None:
    import_votes(other, file, study)
    with other.writing() as connection:
        key = connection.scalar(select(schema.votes.c.key).order_by(schema.votes.c.id)) or ""
        votes.take_back(connection, key, "back-aaaa")
    import_votes(other, file, study)
    assert len(votes.load(other).votes) == 3


def test_a_model_of_the_same_name_is_the_same_judge(other: Store, study: int, file: Path) -> None:
    known = a_judge(other, "model", "openai/gpt-5")
    assert import_votes(other, file, study).judges == 1
    assert known in votes.load(other, kind="model").votes.judges
    assert count(other, "judges") == 2


def test_rows_without_keys_are_told_apart_and_known_again(other: Store, study: int, file: Path) -> None:
    changed(file, lambda rows: [rows.append(dict(rows[0])), *(row.update(key="") for row in rows)])
    assert import_votes(other, file, study).added == 6
    assert import_votes(other, file, study) == ImportedVotes(added=0, already=6, judges=0)
    assert len(votes.load(other).votes) == 4  # the repeated one is a second word on the same trial


def test_rows_without_trials_are_trials_of_their_own(other: Store, study: int, file: Path) -> None:
    changed(
        file, lambda rows: [rows.append({**rows[0], "key": "another-key"}), *(row.update(trial="") for row in rows)]
    )
    assert import_votes(other, file, study).added == 6
    assert len(votes.load(other).votes) == 5


def test_votes_of_one_trial_stay_together_in_two_files(other: Store, study: int, file: Path) -> None:
    import_votes(other, file, study)
    changed(file, lambda rows: [row.update(key=f"later-{i:04}", criterion="detail") for i, row in enumerate(rows)])
    assert import_votes(other, file, study).added == 5
    assert count(other, "trials") == 5


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("prompt", "another", "line 3: the study has no picture 0 of 'one' for the prompt 'another'"),
        ("left", "six", "line 3: the study has no picture 0 of 'six'"),
        ("right_number", "7", "line 3: the study has no picture 7 of 'two steps=4'"),
        ("right_number", "-1", "right_number is '-1'; it is a whole number"),
        ("right", "one", "one is compared with itself"),
        ("choice", "nobody", "winner is 'nobody'"),
        ("judge", "", "judge is missing"),
        ("judge", "x" * 129, "judge and judge_name have at most 128 characters"),
        ("criterion", "beauty", "criterion is 'beauty'; it is overall"),
        ("judge_kind", "dog", "judge_kind is 'dog'; it is person or model"),
        ("seconds", "-2", "seconds is '-2'"),
        ("cast", "yesterday", "cast is 'yesterday'"),
        ("key", "short", "key has 8 to 64 characters"),
    ],
)
def test_one_wrong_row_and_nothing_is_added(
    other: Store, study: int, file: Path, column: str, value: str, message: str
) -> None:
    changed(file, lambda rows: rows[1].update({column: value}))
    with pytest.raises(InvalidRequest) as error:
        import_votes(other, file, study)
    assert message in str(error.value)
    assert f"{file}, line 3" in str(error.value)
    assert [count(other, table) for table in ("judges", "trials", "votes")] == [0, 0, 0]


def test_a_key_twice_in_one_file(other: Store, study: int, file: Path) -> None:
    changed(file, lambda rows: rows[1].update(key=rows[0]["key"]))
    with pytest.raises(InvalidRequest, match=r"line 3: the key .* is there twice"):
        import_votes(other, file, study)


def test_a_file_that_names_no_pictures_is_for_rate(other: Store, study: int, tmp_path: Path) -> None:
    path = tmp_path / "arena.csv"
    path.write_text("model_a,model_b,winner\none,two,tie\n")
    with pytest.raises(InvalidRequest, match=r"says nothing of prompt.*diptych rate"):
        import_votes(other, path, study)


def test_pictures_that_are_not_there_yet(other: Store, file: Path) -> None:
    study = a_study(other, MODELS, PROMPTS, samples=2, state="planned")
    with pytest.raises(InvalidRequest, match="has no picture"):
        import_votes(other, file, study)
