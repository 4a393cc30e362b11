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
from sqlalchemy import BigInteger, ColumnElement, Connection, Text, bindparam, case, func, insert, select
from sqlalchemy import cast as as_type
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from diptych.arena import votes as arena
from diptych.errors import InvalidRequest, StudyError
from diptych.store import schema
from diptych.store.database import Store, one_at_a_time
from diptych.studies.create import now

LONGEST_REASON = 2000
KINDS = ("person", "model")
"""Of judges."""
_T = schema.trials.c
_BY_TOKEN = select(
    _T.id, _T.study_id, _T.token, _T.judge_id, _T.prompt_id, _T.left_sample_id, _T.right_sample_id
).where(_T.token == bindparam("token"))
"""Made once: to build a statement takes as long as to run it."""


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
    """An opaque id for a judge. A model of the same name is the same judge, also to two who ask at the same time."""
    if name is None:
        return new_judges(connection, 1, kind)[0]
    j = schema.judges
    one_at_a_time(connection, f"judge {kind} {name}")
    known = connection.scalar(select(j.c.id).where(j.c.kind == kind, j.c.name == name).order_by(j.c.created))
    return new_judges(connection, 1, kind, name)[0] if known is None else str(known)


def new_judges(connection: Connection, number: int, kind: str = "person", name: str | None = None) -> list[str]:
    """Opaque ids of so many new judges, in one statement."""
    ids = [secrets.token_urlsafe(12) for _ in range(number)]
    rows = [{"id": judge_id, "kind": kind, "name": name, "created": now()} for judge_id in ids]
    if rows:
        connection.execute(insert(schema.judges), rows)
    return ids


def is_judge(connection: Connection, judge_id: str) -> bool:
    return connection.scalar(select(schema.judges.c.id).where(schema.judges.c.id == judge_id)) is not None


def open_trial(
    connection: Connection, study_id: int, judge_id: str, left_sample_id: int, right_sample_id: int, policy: str
) -> TrialRow:
    """Keep that these two samples, of one prompt and two contestants, are shown to this judge on these sides."""
    return open_trials(connection, study_id, [(judge_id, left_sample_id, right_sample_id)], policy)[0]


def open_trials(
    connection: Connection, study_id: int, shown: Sequence[tuple[str, int, int]], policy: str
) -> list[TrialRow]:
    """Keep several trials, in two statements. shown: judge, left sample, right sample of each.

    Raises StudyError, and keeps none, where two samples are not of one prompt of this study and two contestants.
    """
    s = schema.samples
    samples = sorted({sample for _, *both in shown for sample in both})
    found = {
        row.id: row
        for row in connection.execute(
            select(s.c.id, s.c.prompt_id, s.c.contestant_id, s.c.study_id).where(s.c.id.in_(samples))
        )
    }
    rows: list[dict[str, Any]] = []
    for judge_id, left_sample_id, right_sample_id in shown:
        left, right = found.get(left_sample_id), found.get(right_sample_id)
        if (
            left is None
            or right is None
            or (left.study_id, left.prompt_id) != (right.study_id, right.prompt_id)
            or left.study_id != study_id
            or left.contestant_id == right.contestant_id
        ):
            raise StudyError("A trial is of two samples of one prompt and study, by two models.")
        rows.append(
            {
                "study_id": study_id,
                "token": secrets.token_urlsafe(16),
                "judge_id": judge_id,
                "prompt_id": left.prompt_id,
                "left_sample_id": left_sample_id,
                "right_sample_id": right_sample_id,
                "left_contestant_id": left.contestant_id,
                "right_contestant_id": right.contestant_id,
                "policy": policy,
                "shown": now(),
            }
        )
    if not rows:
        return []
    t = schema.trials
    ids = {token: id_ for id_, token in connection.execute(insert(t).returning(t.c.id, t.c.token), rows)}
    named = ("study_id", "token", "judge_id", "prompt_id", "left_sample_id", "right_sample_id")
    return [TrialRow(ids[row["token"]], *(row[name] for name in named)) for row in rows]


def trial(connection: Connection, token: str) -> TrialRow:
    """Raises StudyError for a token that belongs to no trial."""
    row = connection.execute(_BY_TOKEN, {"token": token}).first()
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
    known = _add(
        connection,
        key,
        trial_id=trial_id,
        criterion=criterion,
        choice=choice,
        seconds=seconds if seconds is None or 0 <= seconds < 86_400 else None,
        reason=None if reason is None else storable(reason[:LONGEST_REASON]),
    )
    if isinstance(known, int):
        return known
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
    if not isinstance(known, int) and known.takes_back != vote.id:
        raise InvalidRequest("This key was another vote's.")


_COLUMNS = ("trial_id", "criterion", "choice", "takes_back", "seconds", "reason")
_ADD = {
    name: dialect.insert(schema.votes).on_conflict_do_nothing(index_elements=["key"]).returning(schema.votes.c.id)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}


def _by_key(connection: Connection, key: str) -> Any:
    """The row of that key as SQLAlchemy gives it, or None."""
    _check_key(key)
    v = schema.votes
    columns = (v.c.id, v.c.trial_id, v.c.choice, v.c.criterion, v.c.takes_back)
    return connection.execute(select(*columns).where(v.c.key == key)).first()


def _check_key(key: str) -> None:
    if not 8 <= len(key) <= 64:
        raise InvalidRequest("The key of a vote has 8 to 64 characters.")


def _add(connection: Connection, key: str, **values: Any) -> Any:
    """The id of a new row, or the row that was written under the same key before, perhaps just now by somebody else."""
    _check_key(key)
    row = {name: values.get(name) for name in _COLUMNS} | {"key": key, "cast": now()}
    try:
        added = connection.scalar(_ADD[connection.dialect.name], row)
    except IntegrityError:  # the key was nobody's, so it is the trial that is not there
        raise InvalidRequest("There is no such trial.") from None
    return _by_key(connection, key) if added is None else int(added)


def storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


# Votes as columns

Column = NDArray[np.int64]
IMPORTED = "import"
"""The policy of trials whose votes were cast elsewhere."""
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
        drawn = not _some_imported(connection, study_id)
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
            drawn=drawn,
        ),
        inconsistent=int((theirs & ~decided).sum()),
    )


def _some_imported(connection: Connection, study_id: int | None) -> bool:
    """Whether any trial was chosen elsewhere, by whatever rule they have there."""
    t = schema.trials
    query = select(t.c.id).where(t.c.policy == IMPORTED).limit(1)
    return connection.scalar(query if study_id is None else query.where(t.c.study_id == study_id)) is not None


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
