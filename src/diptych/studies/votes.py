"""Trials and votes of studies: kept once, taken back by another row, read as columns.

Writing functions take a connection in a transaction (`store.writing()`): a caller decides what belongs together.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, Text, case, func, insert, select
from sqlalchemy import cast as as_type
from sqlalchemy.exc import IntegrityError

from diptych.arena import votes as arena
from diptych.errors import InvalidRequest, StudyError
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies.create import now

LONGEST_REASON = 2000
KINDS = ("person", "model")
"""Of judges."""


@dataclass(frozen=True)
class TrialRow:
    """One blind pair, shown to one judge."""

    id: int
    study_id: int
    token: str
    judge_id: str
    prompt_id: int
    left_sample_id: int
    right_sample_id: int


def new_judge(connection: Connection, kind: str = "person", name: str | None = None) -> str:
    """An opaque id for a judge. A model of the same name is the same judge."""
    j = schema.judges
    if name is not None:
        known = connection.scalar(select(j.c.id).where(j.c.kind == kind, j.c.name == name).order_by(j.c.created))
        if known is not None:
            return str(known)
    judge_id = secrets.token_urlsafe(12)
    connection.execute(insert(j).values(id=judge_id, kind=kind, name=name, created=now()))
    return judge_id


def is_judge(connection: Connection, judge_id: str) -> bool:
    return connection.scalar(select(schema.judges.c.id).where(schema.judges.c.id == judge_id)) is not None


def open_trial(
    connection: Connection, study_id: int, judge_id: str, left_sample_id: int, right_sample_id: int, policy: str
) -> TrialRow:
    """Keep that these two samples, of one prompt and two contestants, are shown to this judge on these sides."""
    s = schema.samples
    found = {
        row.id: row
        for row in connection.execute(
            select(s.c.id, s.c.prompt_id, s.c.contestant_id, s.c.study_id).where(
                s.c.id.in_([left_sample_id, right_sample_id])
            )
        )
    }
    left, right = found.get(left_sample_id), found.get(right_sample_id)
    if (
        left is None
        or right is None
        or (left.study_id, left.prompt_id) != (right.study_id, right.prompt_id)
        or left.study_id != study_id
        or left.contestant_id == right.contestant_id
    ):
        raise StudyError("A trial is of two samples of one prompt and study, by two models.")
    token = secrets.token_urlsafe(16)
    row = insert(schema.trials).values(
        study_id=study_id,
        token=token,
        judge_id=judge_id,
        prompt_id=left.prompt_id,
        left_sample_id=left_sample_id,
        right_sample_id=right_sample_id,
        left_contestant_id=left.contestant_id,
        right_contestant_id=right.contestant_id,
        policy=policy,
        shown=now(),
    )
    trial_id = int(connection.execute(row.returning(schema.trials.c.id)).scalar_one())
    return TrialRow(trial_id, study_id, token, judge_id, left.prompt_id, left_sample_id, right_sample_id)


def trial(connection: Connection, token: str) -> TrialRow:
    """Raises StudyError for a token that belongs to no trial."""
    t = schema.trials
    row = connection.execute(
        select(
            t.c.id, t.c.study_id, t.c.token, t.c.judge_id, t.c.prompt_id, t.c.left_sample_id, t.c.right_sample_id
        ).where(t.c.token == token)
    ).first()
    if row is None:
        raise StudyError("There is no such trial.")
    return TrialRow(*row)


def cast(
    connection: Connection,
    trial_id: int,
    choice: str,
    key: str,
    *,
    criterion: str = arena.CRITERIA[0],
    seconds: float | None = None,
    reason: str | None = None,
) -> int:
    """Keep a vote; its id. The same key again is the same vote: nothing is written.

    Raises InvalidRequest for a choice, criterion, key or trial that cannot be, and for a key that was another vote's.
    """
    if choice not in schema.CHOICES:
        raise InvalidRequest(f"choice is {choice!r}; it is {', '.join(schema.CHOICES)}.")
    if criterion not in arena.CRITERIA:
        raise InvalidRequest(f"criterion is {criterion!r}; it is {', '.join(arena.CRITERIA)}.")
    known = _by_key(connection, key) or _add(
        connection,
        key,
        trial_id=trial_id,
        criterion=criterion,
        choice=choice,
        seconds=seconds if seconds is None or 0 <= seconds < 86_400 else None,
        reason=None if reason is None else storable(reason[:LONGEST_REASON]),
    )
    if (known.trial_id, known.choice, known.criterion) != (trial_id, choice, criterion):
        raise InvalidRequest("This key was another vote's.")
    return int(known.id)


def take_back(connection: Connection, vote_key: str, key: str) -> None:
    """Take the vote with `vote_key` back: a new row with a key of its own. Doing so twice is doing so once.

    Raises InvalidRequest for a key that is no vote's, and for one of its own that was another vote's.
    """
    vote, known = _by_key(connection, vote_key), _by_key(connection, key)
    if vote is None or vote.choice is None:
        raise InvalidRequest("There is no such vote to take back.")
    v = schema.votes
    if known is None and connection.scalar(select(v.c.id).where(v.c.takes_back == vote.id)) is not None:
        return
    known = known or _add(connection, key, trial_id=vote.trial_id, criterion=vote.criterion, takes_back=vote.id)
    if known.takes_back != vote.id:
        raise InvalidRequest("This key was another vote's.")


def _by_key(connection: Connection, key: str) -> Any:
    """The row of that key as SQLAlchemy gives it, or None."""
    if not 8 <= len(key) <= 64:
        raise InvalidRequest("The key of a vote has 8 to 64 characters.")
    v = schema.votes
    columns = (v.c.id, v.c.trial_id, v.c.choice, v.c.criterion, v.c.takes_back)
    return connection.execute(select(*columns).where(v.c.key == key)).first()


def _add(connection: Connection, key: str, **values: Any) -> Any:
    """The row of that key: this one, or the one that somebody else has just written under the same key."""
    try:
        with connection.begin_nested():
            connection.execute(insert(schema.votes).values(key=key, cast=now(), **values))
    except IntegrityError:
        if _by_key(connection, key) is None:  # then it was not the key that cannot be
            raise InvalidRequest("There is no such trial.") from None
    return _by_key(connection, key)


def storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


# Votes as columns

Column = NDArray[np.int64]
INCONSISTENT = schema.CHOICES.index("inconsistent")
FIRST = ord("A")
AT_ONCE = 2_000_000
"""Votes that are read by one statement: a database holds no text of more than a gigabyte."""
SPARSE = 10
"""Numbers that reach so many times as far as there are of them are numbered anew before a table is made by them."""
MANY = 4
"""A study with one in so many of all trials is read in one sweep over all of them: by index each costs five times."""


@dataclass(frozen=True)
class Counted:
    """The votes that count, and those of models that could not make up their mind."""

    votes: arena.Votes
    """Models are labels of contestants, prompts are texts, judges are opaque ids; in the order of the votes."""
    inconsistent: int


def load(store: Store, study_id: int | None = None, *, kind: str | None = None, pictures: bool = True) -> Counted:
    """The votes that count, of one study or of all: the last of each trial and criterion that was not taken back.

    kind: of judges, `person` or `model`; None is both. pictures: False leaves out which two each vote is about, as
    ratings do not look at it, and a million votes are read the sooner. Contestants of the same label in several
    studies are one model, prompts of the same text one prompt. Only models, prompts and judges that have votes are
    named, in the order in which they were made. Seconds are to the millisecond.
    """
    with store.reading() as connection:
        rows = _rows(connection, study_id, pictures)
        rows = _where(rows, _counts(connection, rows))
        judge, judges = _judges(connection, study_id, kind, rows["trial"])
        labels, texts, categories = _names(connection)
    theirs = judge >= 0
    decided = theirs & (rows["choice"] != INCONSISTENT)
    kept = _where({**rows, "judge": judge}, decided)

    sides, models = _numbered(np.concatenate([kept["left"], kept["right"]]), labels)
    left, right = np.split(sides, 2)
    prompt, prompts = _numbered(kept["prompt"], texts)
    category, named = _numbered(kept["prompt"], categories)
    number, voted = _numbered(kept["judge"], judges)
    return Counted(
        arena.Votes(
            models=models,
            prompts=prompts,
            judges=voted,
            left=left,
            right=right,
            choice=kept["choice"],
            prompt=prompt,
            judge=number,
            criterion=kept["criterion"],
            category=category,
            seconds=np.where(kept["milliseconds"] < 0, np.nan, kept["milliseconds"] / 1000),
            categories=named,
            pictures=_pairs(kept["left_sample"], kept["right_sample"]) if pictures else None,
        ),
        inconsistent=int((theirs & ~decided).sum()),
    )


def that_count(connection: Connection, study_id: int | None = None) -> Column:
    """Ids of the votes that count, of one study or of all, inconsistent ones too; in their order."""
    rows = _rows(connection, study_id, pictures=False)
    return rows["id"][_counts(connection, rows)]


def _rows(connection: Connection, study_id: int | None, pictures: bool) -> dict[str, Column]:
    """Every row of the table of votes with its trial, as numbers in the order of their ids.

    The database writes each column as one text, which numpy reads: rows as Python's objects would take many times as
    long. As such a text leaves out what is null, nothing may be.
    """
    v, t = schema.votes, schema.trials
    words = {"choice": (v.c.choice, schema.CHOICES), "criterion": (v.c.criterion, arena.CRITERIA)}
    numbers: dict[str, ColumnElement[Any]] = {
        "id": v.c.id,
        "trial": v.c.trial_id,
        "milliseconds": func.coalesce(as_type(func.round(v.c.seconds * 1000), BigInteger), -1),
        "left": t.c.left_contestant_id,
        "right": t.c.right_contestant_id,
        "prompt": t.c.prompt_id,
    }
    if pictures:
        numbers |= {"left_sample": t.c.left_sample_id, "right_sample": t.c.right_sample_id}
    query = select(
        *(_joined(column).label(name) for name, column in numbers.items()),
        *(_letters(column, known).label(name) for name, (column, known) in words.items()),
    ).join_from(v, t)
    if study_id is not None:
        of_study = connection.scalar(select(func.count()).where(t.c.study_id == study_id)) or 0
        of_all = connection.scalar(select(func.max(t.c.id))) or 0
        # A function of a column is looked up in no index.
        query = query.where((t.c.study_id if MANY * of_study < of_all else func.coalesce(t.c.study_id, 0)) == study_id)
    last = connection.scalar(select(func.max(v.c.id))) or 0
    pages = [
        connection.execute(query.where(v.c.id > start, v.c.id <= start + AT_ONCE)).mappings().one()
        for start in range(0, max(last, 1), AT_ONCE)
    ]
    rows = {name: np.concatenate([_numbers(page[name]) for page in pages]) for name in numbers}
    rows |= {name: np.concatenate([_places(page[name]) for page in pages]) for name in words}
    if (np.diff(rows["id"]) < 0).any():
        order = np.argsort(rows["id"])
        rows = {name: column[order] for name, column in rows.items()}
    return rows


def _joined(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.aggregate_strings(as_type(column, Text), ",")


def _numbers(text: str | None) -> Column:
    return np.fromstring(text, dtype=np.int64, sep=",") if text else np.zeros(0, dtype=np.int64)


def _letters(column: ColumnElement[Any], words: Sequence[str]) -> ColumnElement[Any]:
    """One letter for each row: A for the first of the words, B for the second; @ for none of them."""
    letters = {word: chr(FIRST + i) for i, word in enumerate(words)}
    return func.aggregate_strings(case(letters, value=column, else_=chr(FIRST - 1)), "")


def _places(letters: str | None) -> Column:
    return np.frombuffer((letters or "").encode(), dtype=np.uint8).astype(np.int64) - FIRST


def _counts(connection: Connection, rows: Mapping[str, Column]) -> NDArray[np.bool_]:
    """Which rows are votes that were not taken back, and the last such one of their trial and criterion."""
    counts = rows["choice"] >= 0
    v = schema.votes
    back = _numbers(connection.scalar(select(_joined(v.c.takes_back)).where(v.c.takes_back.is_not(None))))
    counts[np.searchsorted(rows["id"], back[np.isin(back, rows["id"])])] = False
    at = np.flatnonzero(counts)
    if len(at):
        trial = rows["trial"][at] - rows["trial"][at].min()
        if trial.max() > SPARSE * len(at):  # few votes, far apart in a large store
            trial = np.unique(trial, return_inverse=True)[1]
        cell = trial * len(arena.CRITERIA) + rows["criterion"][at]
        last = np.zeros(int(cell.max()) + 1, dtype=np.int64)
        last[cell] = at  # of several the last one stays
        counts[at] = last[cell] == at
    return counts


def _where(rows: Mapping[str, Column], keep: NDArray[np.bool_]) -> dict[str, Column]:
    return dict(rows) if keep.all() else {name: column[keep] for name, column in rows.items()}


def _judges(
    connection: Connection, study_id: int | None, kind: str | None, trials: Column
) -> tuple[Column, dict[int, str]]:
    """The judge of each of these trials as a number, -1 for one of another kind; and the judges' ids by number."""
    t, j = schema.trials, schema.judges
    query = select(t.c.judge_id, _joined(t.c.id)).group_by(t.c.study_id, t.c.judge_id)
    if study_id is not None:
        query = query.where(t.c.study_id == study_id)
    groups = [(judge_id, _numbers(ids)) for judge_id, ids in connection.execute(query)]
    asked = select(j.c.id).order_by(j.c.created, j.c.id)
    judges = dict(enumerate(connection.scalars(asked if kind is None else asked.where(j.c.kind == kind))))
    if not len(trials):
        return trials, judges
    number = {judge_id: i for i, judge_id in judges.items()}
    ids = np.concatenate([of_judge for _, of_judge in groups])
    numbers = np.repeat([number.get(judge_id, -1) for judge_id, _ in groups], [len(one) for _, one in groups])
    order = np.argsort(ids, kind="stable")
    return numbers[order][np.searchsorted(ids[order], trials)], judges


def _names(connection: Connection) -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """Labels of contestants, texts and categories of prompts, by their ids in ascending order."""
    c, p = schema.contestants, schema.prompts
    labels = {row.id: row.label for row in connection.execute(select(c.c.id, c.c.label).order_by(c.c.id))}
    prompts = list(connection.execute(select(p.c.id, p.c.text, p.c.category).order_by(p.c.id)))
    return (
        labels,
        {row.id: row.text for row in prompts},
        {row.id: row.category for row in prompts if row.category is not None},
    )


def _numbered(ids: Column, names: Mapping[int, str]) -> tuple[Column, tuple[str, ...]]:
    """Which of the names each id has, -1 for none; and those names, each once, in the order of ids."""
    there = np.flatnonzero(np.bincount(ids))
    table = np.full(int(there.max(initial=0)) + 1, -1, dtype=np.int64)
    known: dict[str, int] = {}
    for i in there.tolist():
        if i in names:
            table[i] = known.setdefault(names[i], len(known))
    return table[ids], tuple(known)


def _pairs(one: Column, other: Column) -> Column:
    """The same number for the same two pictures, whichever side each was on; numbered without gaps."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    return np.unique(low * (int(high.max(initial=0)) + 1) + high, return_inverse=True)[1].astype(np.int64)
