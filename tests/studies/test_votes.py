"""Votes: kept once whatever is sent twice, taken back by a row, and counted as the docs say, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from diptych import store as stores
from diptych.arena import votes as arena
from diptych.errors import InvalidRequest, StudyError
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes
from tests.servers import fresh_database
from tests.voting import KEYS, a_judge, a_study, many_votes, the_trial, vote


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'votes.sqlite'}"
    if request.param == "postgresql":
        url = fresh_database(request.getfixturevalue("postgres_server"), tmp_path.name)
    opened = stores.open(url)
    yield opened
    opened.close()


@pytest.fixture
def study(store: Store) -> int:
    return a_study(store, ["one", "two", "three"], {"a red fox": "animals", "a map": None}, samples=2)


@pytest.fixture
def judge(store: Store) -> str:
    return a_judge(store)


def rows(store: Store) -> int:
    with store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(schema.votes)) or 0


def said(counted: votes.Counted) -> list[tuple[str, str, str, str]]:
    """(left, right, choice, prompt) of each vote."""
    v = counted.votes
    return [
        (v.models[left], v.models[right], arena.CHOICES[choice], v.prompts[prompt])
        for left, right, choice, prompt in zip(v.left, v.right, v.choice, v.prompt, strict=True)
    ]


# Judges and trials


def test_a_judge_is_an_opaque_id_and_a_model_is_one_judge(store: Store) -> None:
    first, second = a_judge(store), a_judge(store)
    assert first != second
    assert a_judge(store, "model", "gemini") == a_judge(store, "model", "gemini") != a_judge(store, "model", "other")
    with store.reading() as connection:
        assert votes.is_judge(connection, first)
        assert not votes.is_judge(connection, "nobody")


def test_a_trial_is_found_by_its_token_alone(store: Store, study: int, judge: str) -> None:
    trial_id = the_trial(store, study, judge, "two", "one", prompt=1)
    with store.reading() as connection:
        token = connection.scalar(select(schema.trials.c.token)) or ""
        found = votes.trial(connection, token)
        assert (found.id, found.study_id, found.judge_id) == (trial_id, study, judge)
        with pytest.raises(StudyError, match="no such trial"):
            votes.trial(connection, str(trial_id))


def test_a_trial_is_of_one_prompt_and_two_models(store: Store, study: int, judge: str) -> None:
    s = schema.samples
    with store.reading() as connection:
        ids = {
            (row.contestant_id, row.prompt_id, row.number): row.id
            for row in connection.execute(select(s).order_by(s.c.id))
        }
    contestants, prompts, _ = ({key[i] for key in ids} for i in range(3))
    (one, two, *_), (fox, map_) = sorted(contestants), sorted(prompts)
    for left, right in (
        (ids[one, fox, 0], ids[one, fox, 1]),
        (ids[one, fox, 0], ids[two, map_, 0]),
        (ids[one, fox, 0], 10**6),
    ):
        with pytest.raises(StudyError, match="two samples of one prompt"), store.writing() as connection:
            votes.open_trial(connection, study, judge, left, right, "uniform")
    other = a_study(store, ["one", "two"], name="other")
    with pytest.raises(StudyError, match="of one prompt and study"), store.writing() as connection:
        votes.open_trial(connection, other, judge, ids[one, fox, 0], ids[two, fox, 0], "uniform")


def test_one_model_is_one_judge_to_two_who_ask_at_once(store: Store) -> None:
    ids: list[str] = []

    def ask() -> None:
        with store.writing() as connection:
            ids.append(votes.new_judge(connection, "model", "gemini"))

    with store.writing() as connection:
        first = votes.new_judge(connection, "model", "gemini")
        second = threading.Thread(target=ask)
        second.start()
        second.join(0.3)
        assert ids == []  # it waits
    second.join()
    assert ids == [first]


def test_many_judges_and_trials_in_one_go(store: Store, study: int) -> None:
    s = schema.samples
    with store.reading() as connection:
        samples = connection.execute(select(s.c.id, s.c.contestant_id).order_by(s.c.prompt_id, s.c.contestant_id)).all()
    (one, first), (other, _) = samples[0], next(row for row in samples if row.contestant_id != samples[0].contestant_id)
    with store.writing() as connection:
        assert votes.new_judges(connection, 0) == []
        assert votes.open_trials(connection, study, [], "uniform") == []
        judges = votes.new_judges(connection, 300)
        shown = [(judge, *((one, other) if at % 2 else (other, one))) for at, judge in enumerate(judges)]
        made = votes.open_trials(connection, study, shown, "uniform")
    assert len(set(judges)) == len({row.token for row in made}) == 300
    with store.reading() as connection:
        for (judge, left, right), row in zip(shown, made, strict=True):
            assert (row.judge_id, row.left_sample_id, row.right_sample_id) == (judge, left, right)
            assert votes.trial(connection, row.token) == row
        t = schema.trials
        left = connection.execute(select(t.c.left_contestant_id).where(t.c.left_sample_id == one)).scalars().all()
        assert set(left) == {first}
    with pytest.raises(StudyError), store.writing() as connection:  # one that cannot be: none of them is kept
        votes.open_trials(connection, study, [shown[0], (judges[0], one, one)], "uniform")
    with store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.trials)) == 300


# Casting


def test_the_same_key_is_the_same_vote(store: Store, study: int, judge: str) -> None:
    trial = the_trial(store, study, judge, "one", "two")
    with store.writing() as connection:
        first = votes.cast(connection, trial, "left", "key-aaaa", seconds=1.25)
        assert votes.cast(connection, trial, "left", "key-aaaa", seconds=9.0) == first
    with store.writing() as connection:
        assert votes.cast(connection, trial, "left", "key-aaaa") == first
    assert rows(store) == 1
    assert votes.load(store).votes.seconds.tolist() == [1.25]


@pytest.mark.parametrize("change", ["trial", "choice", "criterion"])
def test_a_key_that_was_another_votes_is_refused(store: Store, study: int, judge: str, change: str) -> None:
    trial, other = the_trial(store, study, judge, "one", "two"), the_trial(store, study, judge, "two", "one")
    with store.writing() as connection:
        votes.cast(connection, trial, "left", "key-aaaa")
    with pytest.raises(InvalidRequest, match="another vote's"), store.writing() as connection:
        votes.cast(
            connection,
            other if change == "trial" else trial,
            "right" if change == "choice" else "left",
            "key-aaaa",
            criterion="detail" if change == "criterion" else "overall",
        )
    assert rows(store) == 1


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"choice": "draw"}, "choice is 'draw'; it is left, right, tie"),
        ({"criterion": "beauty"}, "criterion is 'beauty'; it is overall, detail"),
        ({"key": "short"}, "8 to 64 characters"),
        ({"key": "x" * 65}, "8 to 64 characters"),
        ({"trial_id": 10**6}, "no such trial"),
    ],
)
def test_what_no_vote_can_be(store: Store, study: int, judge: str, given_: dict[str, str], message: str) -> None:
    fine = {"trial_id": the_trial(store, study, judge, "one", "two"), "choice": "tie", "key": "key-aaaa"}
    with pytest.raises(InvalidRequest, match=message), store.writing() as connection:
        votes.cast(connection, **{**fine, **given_})
    assert rows(store) == 0


def test_a_long_or_strange_reason_is_kept_as_far_as_it_can_be(store: Store, study: int, judge: str) -> None:
    trial = the_trial(store, study, judge, "one", "two")
    with store.writing() as connection:
        votes.cast(connection, trial, "left", "key-aaaa", reason="x" * 5000)
        votes.cast(connection, trial, "left", "key-bbbb", reason="half \ud83e and \0 nothing")
    with store.reading() as connection:
        long, strange = connection.scalars(select(schema.votes.c.reason).order_by(schema.votes.c.id))
    assert long == "x" * votes.LONGEST_REASON
    assert strange == "half ? and \N{REPLACEMENT CHARACTER} nothing"


def test_seconds_that_cannot_be_are_unknown(store: Store, study: int, judge: str) -> None:
    for seconds in (-1.0, float("nan"), float("inf"), 1e9, None, 0.0):
        vote(store, study, judge, "one", "two", "left", seconds=seconds)
    assert np.isnan(votes.load(store).votes.seconds).tolist() == [True] * 5 + [False]


def test_one_key_from_many_at_once_is_one_vote(store: Store, study: int, judge: str) -> None:
    trial = the_trial(store, study, judge, "one", "two")
    start, ids, failed = threading.Barrier(6), [], []

    def send() -> None:
        start.wait()
        try:
            with store.writing() as connection:
                ids.append(votes.cast(connection, trial, "tie", "key-aaaa"))
        except Exception as error:  # noqa: BLE001  # a thread's error would be lost
            failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, len(set(ids)), len(ids), rows(store)) == ([], 1, 6, 1)


def test_a_key_that_somebody_else_is_just_writing(store: Store, study: int, judge: str) -> None:
    """What two servers on one PostgreSQL can do to each other; in SQLite the second waits for the first."""
    trial, other = the_trial(store, study, judge, "one", "two"), the_trial(store, study, judge, "one", "three")
    ids: list[int] = []

    def send() -> None:
        with store.writing() as connection:
            ids.append(votes.cast(connection, trial, "tie", "key-aaaa"))
            ids.append(votes.cast(connection, other, "left", "key-bbbb"))  # the transaction goes on

    with store.writing() as connection:
        first = votes.cast(connection, trial, "tie", "key-aaaa")
        second = threading.Thread(target=send)
        second.start()
        second.join(0.3)
        assert ids == []  # it waits
    second.join()
    assert ids[0] == first
    assert rows(store) == 2


def test_a_vote_that_was_taken_back_does_not_count(store: Store, study: int, judge: str) -> None:
    key = vote(store, study, judge, "one", "two", "left")
    vote(store, study, judge, "one", "three", "tie")
    with store.writing() as connection:
        votes.take_back(connection, key, "back-aaaa")
    assert said(votes.load(store)) == [("one", "three", "tie", "a red fox")]
    assert rows(store) == 3


def test_twice_taken_back_is_once(store: Store, study: int, judge: str) -> None:
    key = vote(store, study, judge, "one", "two", "left")
    with store.writing() as connection:
        for again in ("back-aaaa", "back-aaaa", "back-bbbb"):
            votes.take_back(connection, key, again)
    assert (rows(store), len(votes.load(store).votes)) == (2, 0)


def test_what_cannot_be_taken_back(store: Store, study: int, judge: str) -> None:
    key, other = (vote(store, study, judge, "one", "two", "left") for _ in range(2))
    with store.writing() as connection:
        votes.take_back(connection, key, "back-aaaa")
    for vote_key, back, message in (
        ("nobodys-key", "back-bbbb", "no such vote"),
        ("back-aaaa", "back-bbbb", "no such vote"),
        (other, "back-aaaa", "another vote's"),
        (other, key, "another vote's"),
    ):
        with pytest.raises(InvalidRequest, match=message), store.writing() as connection:
            votes.take_back(connection, vote_key, back)
    assert len(votes.load(store).votes) == 1


def test_a_vote_after_taking_back_counts_and_the_last_of_several(store: Store, study: int, judge: str) -> None:
    trial = the_trial(store, study, judge, "one", "two")

    def counted(*criteria: str) -> list[str]:
        v = votes.load(store).votes
        return [arena.CHOICES[i] for i in (v.of_criterion(criteria[0]) if criteria else v).choice]

    with store.writing() as connection:
        votes.cast(connection, trial, "left", "key-aaaa")
        votes.take_back(connection, "key-aaaa", "back-aaaa")
        votes.cast(connection, trial, "right", "key-bbbb")
    assert counted() == ["right"]
    with store.writing() as connection:
        votes.cast(connection, trial, "tie", "key-cccc")
        votes.cast(connection, trial, "both_bad", "key-dddd", criterion="detail")
    assert (counted("overall"), counted("detail")) == (["tie"], ["both_bad"])
    with store.writing() as connection:
        votes.take_back(connection, "key-cccc", "back-cccc")
    assert counted("overall") == ["right"]


# Loading


def test_without_votes(store: Store, study: int) -> None:
    for counted in (votes.load(store), votes.load(store, study), votes.load(store, 10**6)):
        assert (len(counted.votes), counted.votes.models, counted.inconsistent) == (0, (), 0)


def test_choices_criteria_categories_and_seconds(store: Store, study: int, judge: str) -> None:
    for number, choice in enumerate(schema.CHOICES):
        vote(store, study, judge, "three", "one", choice, prompt=number % 2, seconds=number + 0.125)
    vote(store, study, judge, "three", "one", "left", criterion="follows the prompt")
    counted = votes.load(store, study)
    v = counted.votes
    assert [arena.CHOICES[i] for i in v.choice] == ["left", "right", "tie", "both_bad", "skip", "left"]
    assert (counted.inconsistent, v.models, v.judges) == (1, ("one", "three"), (judge,))
    assert v.left.tolist() == [1] * 6
    assert v.seconds.tolist()[:5] == [0.125, 1.125, 2.125, 3.125, 4.125]
    assert [v.criteria[i] for i in v.criterion] == ["overall"] * 5 + ["follows the prompt"]
    assert [v.categories[i] if i >= 0 else None for i in v.category] == ["animals", None] * 2 + ["animals", "animals"]


def test_an_inconsistent_vote_that_was_replaced_is_not_counted(store: Store, study: int) -> None:
    machine = a_judge(store, "model", "gemini")
    trial = the_trial(store, study, machine, "one", "two")
    with store.writing() as connection:
        votes.cast(connection, trial, "left", "key-aaaa")
        votes.cast(connection, trial, "inconsistent", "key-bbbb")
    counted = votes.load(store)
    assert (len(counted.votes), counted.inconsistent) == (0, 1)
    with store.writing() as connection:
        votes.cast(connection, trial, "right", "key-cccc")
    counted = votes.load(store)
    assert (said(counted), counted.inconsistent) == ([("one", "two", "right", "a red fox")], 0)


def test_people_and_models_apart(store: Store, study: int, judge: str) -> None:
    machine = a_judge(store, "model", "gemini")
    vote(store, study, judge, "one", "two", "left")
    vote(store, study, machine, "two", "three", "tie")
    vote(store, study, machine, "two", "three", "inconsistent")
    people, models, all_ = (votes.load(store, study, kind=kind) for kind in ("person", "model", None))
    assert (said(people), people.inconsistent) == ([("one", "two", "left", "a red fox")], 0)
    assert (said(models), models.inconsistent) == ([("two", "three", "tie", "a red fox")], 1)
    assert len(all_.votes) == 2
    assert set(all_.votes.judges) == {judge, machine}


def test_two_studies_are_joined_by_labels_and_texts(store: Store, study: int, judge: str) -> None:
    other = a_study(store, ["two", "four"], {"a map": "maps", "a boat": None}, name="other")
    vote(store, study, judge, "one", "two", "left", prompt=1)
    vote(store, other, judge, "two", "four", "right", prompt=0)
    vote(store, other, judge, "four", "two", "tie", prompt=1)
    v = votes.load(store).votes
    assert (v.models, v.prompts) == (("one", "two", "four"), ("a map", "a boat"))
    assert (v.left.tolist(), v.right.tolist(), v.prompt.tolist()) == ([0, 1, 2], [1, 2, 1], [0, 0, 1])
    assert [v.categories[i] if i >= 0 else None for i in v.category] == [None, "maps", None]
    alone = votes.load(store, other).votes
    assert (alone.models, alone.prompts, len(alone)) == (("two", "four"), ("a map", "a boat"), 2)


def test_a_small_study_beside_a_large_one(store: Store, study: int, judge: str) -> None:
    """Read by index and in one sweep: both ways give the same."""
    small = a_study(store, ["two", "four"], name="small")
    many_votes(store, study, [judge], [("one", "two", "left"), ("two", "three", "tie")] * 20, prompts=2)
    vote(store, small, judge, "four", "two", "left")
    assert said(votes.load(store, small)) == [("four", "two", "left", "a red fox")]
    assert len(votes.load(store, study).votes) == 40


def test_the_same_two_pictures_are_known_whichever_side_they_were_on(store: Store, study: int, judge: str) -> None:
    for sides, numbers in (
        (("one", "two"), (0, 0)),
        (("two", "one"), (0, 0)),
        (("one", "two"), (0, 1)),
        (("two", "one"), (1, 0)),
        (("two", "one"), (0, 1)),
    ):
        trial = the_trial(store, study, judge, *sides, numbers=numbers)
        with store.writing() as connection:
            votes.cast(connection, trial, "tie", next(KEYS))
    pictures = votes.load(store).votes.pictures
    assert pictures is not None
    assert (pictures.tolist(), pictures.dtype) == ([0, 0, 1, 1, 2], np.int64)
    assert votes.load(store, pictures=False).votes.pictures is None


def test_few_votes_far_apart(store: Store, study: int, judge: str) -> None:
    """As of a small study in a store of many: a table by the numbers of trials would be larger than the machine."""
    trial = the_trial(store, study, judge, "one", "two")
    with store.writing() as connection:
        row = dict(connection.execute(select(schema.trials).where(schema.trials.c.id == trial)).mappings().one())
        far = {**row, "id": 2_000_000_000, "token": "another", "right_contestant_id": row["left_contestant_id"] + 2}
        connection.execute(schema.trials.insert().values(**far))
        for at, of in enumerate((trial, far["id"], trial)):
            votes.cast(connection, of, ("tie", "left", "right")[at], f"key-{at:08}")
    assert said(votes.load(store, study)) == [
        ("one", "three", "left", "a red fox"),
        ("one", "two", "right", "a red fox"),
    ]


def test_votes_are_read_page_by_page(store: Store, study: int, judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    many_votes(store, study, [judge, a_judge(store)], [("one", "two", "left"), ("two", "three", "tie")] * 6, prompts=2)
    whole = votes.load(store, study)
    monkeypatch.setattr(votes, "AT_ONCE", 5)
    paged = votes.load(store, study)
    assert said(paged) == said(whole)
    assert (paged.votes.judge == whole.votes.judge).all()


class TestAgainstPython:
    """What counts, by a slow and plain reading of the rows, for any sequence of votes and takings back."""

    steps = st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([*schema.CHOICES, "back", "back"]),
            st.sampled_from(arena.CRITERIA),
            st.integers(0, 30),
        ),
        max_size=30,
    )

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=steps)
    def test_same(self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, str, int]]) -> None:
        store = stores.open(f"sqlite:///{tmp_path_factory.mktemp('plain') / 'votes.sqlite'}")
        study = a_study(store, ["one", "two"])
        judges = [a_judge(store), a_judge(store)]
        trials = [
            the_trial(store, study, judges[i % 2], *(("one", "two") if i < 3 else ("two", "one"))) for i in range(4)
        ]
        alive: dict[str, tuple[int, str, str]] = {}  # by key, in the order in which they were cast
        with store.writing() as connection:
            for trial, choice, criterion, which in steps:
                key = next(KEYS)
                if choice != "back":
                    votes.cast(connection, trials[trial], choice, key, criterion=criterion)
                    alive[key] = trial, choice, criterion
                elif alive:
                    taken = list(alive)[which % len(alive)]
                    votes.take_back(connection, taken, key)
                    del alive[taken]
        last = {(trial, criterion): key for key, (trial, _, criterion) in alive.items()}
        kept = [alive[key] for key in alive if key in last.values()]
        counted = votes.load(store, study)
        v = counted.votes
        found = [
            (v.models[a], arena.CHOICES[b], v.criteria[c], v.judges[d])
            for a, b, c, d in zip(v.left, v.choice, v.criterion, v.judge, strict=True)
        ]
        store.close()
        expected = [
            ("two" if trial == 3 else "one", choice, criterion, judges[trial % 2])
            for trial, choice, criterion in kept
            if choice != "inconsistent"
        ]
        assert found == expected
        assert counted.inconsistent == len(kept) - len(expected)
