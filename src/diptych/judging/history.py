"""What judges were shown before in a study, and what they said of it.

A trial belongs to a criterion by the votes on it. One without any vote is still open, and belongs to whichever comes
next: so the same two pictures may be shown once for each criterion, and a pair that was left on the screen comes back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from diptych.store import schema
from diptych.studies.votes import TrialRow

_V = schema.votes.c
_OF_TRIAL_OR_KEY = (
    select(_V.id, _V.trial_id, _V.criterion, _V.choice, _V.takes_back, _V.key)
    .where((_V.trial_id == bindparam("trial")) | (_V.key == bindparam("key")))
    .order_by(_V.id)
)
"""Made once: to build a statement takes as long as to run it."""


@dataclass(frozen=True)
class Past:
    """A trial, by one criterion."""

    trial: TrialRow
    vote: int | None = None
    """Id of the vote that counts; None: the trial is open."""
    key: str | None = None
    choice: str | None = None


def past(connection: Connection, study_id: int, criterion: str, judge_id: str | None = None) -> list[Past]:
    """Trials of a study by this criterion, of one judge or all, in the order in which they were shown."""
    t, v = schema.trials, schema.votes
    mine = t.c.study_id == study_id if judge_id is None else (t.c.study_id == study_id) & (t.c.judge_id == judge_id)
    said: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(
        select(v.c.id, v.c.trial_id, v.c.criterion, v.c.choice, v.c.takes_back, v.c.key)
        .join(t, t.c.id == v.c.trial_id)
        .where(mine)
        .order_by(v.c.id)
    ):
        said[row.trial_id].append(row)
    found = []
    columns = (t.c.id, t.c.study_id, t.c.token, t.c.judge_id, t.c.prompt_id, t.c.left_sample_id, t.c.right_sample_id)
    for shown in connection.execute(select(*columns).where(mine).order_by(t.c.id)):
        trial = TrialRow(*shown)
        one = _of(trial, said[trial.id], criterion)
        if one is not None:
            found.append(one)
    return found


def before(
    connection: Connection, trial_id: int, criterion: str, key: str
) -> tuple[tuple[int, str] | None, str | None]:
    """Trial and criterion of the vote with this key, and key of the vote that counts on the trial; None for none."""
    rows = connection.execute(_OF_TRIAL_OR_KEY, {"trial": trial_id, "key": key}).fetchall()
    same = next(((row.trial_id, row.criterion) for row in rows if row.key == key and row.choice is not None), None)
    last = _last([row for row in rows if (row.trial_id, row.criterion) == (trial_id, criterion)])
    return same, None if last is None else str(last.key)


def author(connection: Connection, key: str) -> tuple[TrialRow, str] | None:
    """Trial and criterion of the vote with this key; None where there is no such vote."""
    t, v = schema.trials, schema.votes
    columns = (t.c.id, t.c.study_id, t.c.token, t.c.judge_id, t.c.prompt_id, t.c.left_sample_id, t.c.right_sample_id)
    row = connection.execute(
        select(*columns, v.c.criterion)
        .join(v, t.c.id == v.c.trial_id)
        .where((v.c.key == key) & v.c.choice.is_not(None))
    ).first()
    return None if row is None else (TrialRow(*row[:-1]), str(row.criterion))


def _of(trial: TrialRow, rows: list[Any], criterion: str) -> Past | None:
    mine = [row for row in rows if row.criterion == criterion]
    if rows and not mine:  # of another criterion
        return None
    vote = _last(mine)
    return Past(trial) if vote is None else Past(trial, vote.id, vote.key, vote.choice)


def _last(rows: list[Any]) -> Any:
    """The last vote that was not taken back."""
    back = {row.takes_back for row in rows if row.takes_back is not None}
    return next((row for row in reversed(rows) if row.choice is not None and row.id not in back), None)
