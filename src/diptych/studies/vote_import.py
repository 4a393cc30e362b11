"""Votes that were cast in another store become votes of this one: all of a file, or none.

A vote is about two pictures, so it finds its place only where these are: the study must have a sample of the same
prompt, contestant and number for each side. What `write_votes` wrote has all of that; what others publish has not, and
is rated from the file (`diptych rate`).

A vote keeps its key, its time, and whose it is: so the same file may be imported again, and what is there is not added
twice. A vote that was taken back here stays taken back. Judges get new ids, as those of a file are known to others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, func, insert, select

from diptych.arena import votes as arena
from diptych.errors import InvalidRequest
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import vote_files
from diptych.studies.create import now
from diptych.studies.prompts import same
from diptych.studies.votes import IMPORTED, KINDS, LONGEST_REASON, new_judge, storable

LONGEST_JUDGE = 128
AT_ONCE = 500
NEEDS = ("prompt", "left", "right", "choice", "judge", "left_number", "right_number")


@dataclass(frozen=True)
class ImportedVotes:
    """What an import did."""

    added: int
    already: int
    """Votes that the store had under the same key."""
    judges: int
    """Who were not known here before."""


@dataclass(frozen=True)
class _Vote:
    at: str
    judge: str
    trial: str
    left: int
    right: int
    """Of samples, as `left`."""
    choice: str
    criterion: str
    seconds: float | None
    reason: str | None
    cast: str
    key: str
    kind: str
    name: str | None


def import_votes(store: Store, path: Path, study_id: int) -> ImportedVotes:
    """Add the votes of a file that `diptych votes export` wrote to a study that has the same pictures.

    Raises InvalidRequest that names the lines and what is wrong with them; then nothing was added.
    """
    rows = list(vote_files.read_rows(path))
    missing = [name for name in NEEDS if not any(name in row for _, row in rows)]
    if missing:
        raise InvalidRequest(
            f"{path} says nothing of {', '.join(missing)}, so its votes belong to no pictures here. "
            f"`diptych votes export` writes such files; any other is rated by: diptych rate {path}"
        )
    with store.writing() as connection:
        return _write(connection, study_id, _read(connection, study_id, rows))


def _read(connection: Connection, study_id: int, rows: Sequence[tuple[str, Mapping[str, str]]]) -> list[_Vote]:
    samples = _samples(connection, study_id)
    seen: Counter[str] = Counter()
    found, problems = [], []
    for at, row in rows:
        try:
            found.append(_vote(at, row, samples, seen))
        except ValueError as error:
            problems.append(f"{at}: {error}")
    keys = Counter(vote.key for vote in found)
    problems += [f"{vote.at}: the key {vote.key!r} is there twice." for vote in found if keys[vote.key] > 1]
    vote_files.refuse(problems)
    return found


def _samples(connection: Connection, study_id: int) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Sample and prompt, by the prompt's text, the contestant's label, and number."""
    s, c, p = schema.samples, schema.contestants, schema.prompts
    query = (
        select(p.c.text, c.c.label, s.c.number, s.c.id, p.c.id)
        .join_from(s, c, c.c.id == s.c.contestant_id)
        .join(p, p.c.id == s.c.prompt_id)
        .where(s.c.study_id == study_id, s.c.state == "done")
    )
    return {
        (same(text), label, number): (sample, prompt)
        for text, label, number, sample, prompt in connection.execute(query)
    }


def _vote(
    at: str, row: Mapping[str, str], samples: Mapping[tuple[str, str, int], tuple[int, int]], seen: Counter[str]
) -> _Vote:
    """Raises ValueError, which says what is wrong."""
    absent = [name for name in NEEDS if name not in row]
    if absent:
        raise ValueError(f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.")
    sides = []
    for side in ("left", "right"):
        number = row[f"{side}_number"]
        if not re.fullmatch(r"\d{1,9}", number):
            raise ValueError(f"{side}_number is {number[:40]!r}; it is a whole number, counted from 0.")
        place = samples.get((same(row["prompt"]), row[side], int(number)))
        if place is None:
            raise ValueError(
                f"the study has no picture {number} of {row[side]!r} for the prompt {row['prompt'][:60]!r}."
            )
        sides.append(place[0])
    if row["left"] == row["right"]:
        raise ValueError(f"{row['left']} is compared with itself.")
    criterion = row.get("criterion", arena.CRITERIA[0])
    if criterion not in arena.CRITERIA:
        raise ValueError(f"criterion is {criterion[:40]!r}; it is {', '.join(arena.CRITERIA)}.")
    kind = row.get("judge_kind", KINDS[0])
    if kind not in KINDS:
        raise ValueError(f"judge_kind is {kind[:40]!r}; it is {' or '.join(KINDS)}.")
    name = row.get("judge_name")
    if len(row["judge"]) > LONGEST_JUDGE or len(name or "") > LONGEST_JUDGE:
        raise ValueError(f"judge and judge_name have at most {LONGEST_JUDGE} characters.")
    key = _key(row, seen)
    reason = row.get("reason")
    return _Vote(
        at=at,
        judge=storable(row["judge"]),
        trial=row.get("trial", key),
        left=sides[0],
        right=sides[1],
        choice=vote_files.choice_of(row["choice"], row["left"], row["right"]),
        criterion=criterion,
        seconds=vote_files.seconds_of(row.get("seconds")),
        reason=None if reason is None else storable(reason[:LONGEST_REASON]),
        cast=_time(row.get("cast")),
        key=key,
        kind=kind,
        name=None if name is None else storable(name),
    )


def _time(text: str | None) -> str:
    if text is None:
        return now()
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"cast is {text[:40]!r}; it is a time as in 2026-11-20T09:30:00+00:00.") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def _key(row: Mapping[str, str], seen: Counter[str]) -> str:
    """Its own; else one that follows from the row, and from how many the same there were before it in the file."""
    if "key" in row:
        if not 8 <= len(row["key"]) <= 64:
            raise ValueError("key has 8 to 64 characters.")
        return storable(row["key"])
    content = json.dumps(sorted(row.items()))
    seen[content] += 1
    return hashlib.sha256(f"{seen[content]} {content}".encode("utf-8", "replace")).hexdigest()[:40]


# Rows


def _write(connection: Connection, study_id: int, found: Sequence[_Vote]) -> ImportedVotes:
    there = _there(connection, schema.votes.c.key, [vote.key for vote in found])
    fresh = [vote for vote in found if vote.key not in there]
    judges, new = _judges(connection, fresh)
    trials = _trials(connection, study_id, {_token(study_id, vote): (judges[_judge(vote)], vote) for vote in fresh})
    rows = [
        {
            "trial_id": trials[_token(study_id, vote)],
            "criterion": vote.criterion,
            "choice": vote.choice,
            "key": vote.key,
            "seconds": vote.seconds,
            "reason": vote.reason,
            "cast": vote.cast,
        }
        for vote in fresh
    ]
    if rows:
        connection.execute(insert(schema.votes), rows)
    return ImportedVotes(len(fresh), len(found) - len(fresh), new)


def _judge(vote: _Vote) -> tuple[str, str]:
    """Kind and name under which the judge is kept: a model's own, a person's by what the file calls the person."""
    named = vote.name if vote.kind == "model" and vote.name else f"imported {vote.judge}"
    return vote.kind, named


def _judges(connection: Connection, votes: Sequence[_Vote]) -> tuple[dict[tuple[str, str], str], int]:
    """Ids by kind and name, and how many are new."""
    j = schema.judges
    before = connection.scalar(select(func.count()).select_from(j)) or 0
    ids = {judge: new_judge(connection, *judge) for judge in dict.fromkeys(map(_judge, votes))}
    return ids, (connection.scalar(select(func.count()).select_from(j)) or 0) - before


def _token(study_id: int, vote: _Vote) -> str:
    """Of the trial here: the same for the votes of one trial there, on the same pictures and by the same judge."""
    parts = (study_id, vote.trial, vote.left, vote.right, *_judge(vote))
    return f"i{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:31]}"


def _trials(connection: Connection, study_id: int, wanted: Mapping[str, tuple[str, _Vote]]) -> dict[str, int]:
    """Their ids by token: those that are there, and new ones."""
    t, s = schema.trials, schema.samples
    found = _there(connection, t.c.token, list(wanted))
    new = [token for token in wanted if token not in found]
    of = {
        row.id: row
        for row in connection.execute(select(s.c.id, s.c.prompt_id, s.c.contestant_id).where(s.c.study_id == study_id))
    }
    rows = [
        {
            "study_id": study_id,
            "token": token,
            "judge_id": judge,
            "prompt_id": of[vote.left].prompt_id,
            "left_sample_id": vote.left,
            "right_sample_id": vote.right,
            "left_contestant_id": of[vote.left].contestant_id,
            "right_contestant_id": of[vote.right].contestant_id,
            "policy": IMPORTED,
            "shown": now(),
        }
        for token, (judge, vote) in ((token, wanted[token]) for token in new)
    ]
    if rows:
        connection.execute(insert(t), rows)
    return {**found, **_there(connection, t.c.token, new)}


def _there(connection: Connection, column: Column[Any], values: Sequence[str]) -> dict[str, int]:
    """Ids of the rows that have one of these values in the column; a few at a time, as parameters are limited."""
    found: dict[str, int] = {}
    for i in range(0, len(values), AT_ONCE):
        query = select(column, column.table.c.id).where(column.in_(values[i : i + AT_ONCE]))
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found
