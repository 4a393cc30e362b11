"""Votes as files: those of a study written out, and those of anybody read.

    ours         study, prompt, category, left, right, choice, judge, criterion, seconds, cast, and what it takes to
                 find the trial again: trial, left_number, right_number, judge_kind, judge_name, reason, key. Judges
                 and trials are named by hashes: with what they are called in the store, one could vote for them
    fastchat     question_id, model_a, model_b, winner, judge, turn, tstamp, as FastChat and Chatbot Arena publish them
    plain        model_a, model_b, winner

CSV (or TSV) with a header, or JSONL with an object a line; a JSON file that is one list of objects is read too. The
winner is model_a, model_b, tie or tie (bothbad), left or right, or the name of one of the two models. A column that is
not there is unknown. FastChat's `turn` is not looked at: what a judge said of two turns is two votes on one question.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, select

from diptych import settings
from diptych.arena import votes as arena
from diptych.errors import InvalidRequest
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies.prompts import read_table, read_text
from diptych.studies.votes import that_count

Form = Literal["ours", "fastchat", "plain"]
COLUMNS: dict[Form, tuple[str, ...]] = {
    "ours": (
        *("study", "prompt", "category", "left", "right", "choice", "judge", "criterion", "seconds", "cast"),
        *("trial", "left_number", "right_number", "judge_kind", "judge_name", "reason", "key"),
    ),
    "fastchat": ("question_id", "model_a", "model_b", "winner", "judge", "turn", "tstamp"),
    "plain": ("model_a", "model_b", "winner"),
}
WINNERS = {"left": "model_a", "right": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}
"""FastChat's words. It has none for a trial that was skipped, and for a judge that is inconsistent."""
WORDS = {
    **{choice: choice for choice in schema.CHOICES},
    **{word: choice for choice, word in WINNERS.items()},
    "model_1": "left",
    "model_2": "right",
    "draw": "tie",
    "bothbad": "both_bad",
    "both bad": "both_bad",
}
NAMES = {
    "left": ("left", "model_a", "model_1"),
    "right": ("right", "model_b", "model_2"),
    "choice": ("choice", "winner"),
    "prompt": ("prompt", "question_id", "question"),
    "judge": ("judge", "worker"),
}
"""Under which columns things are found; the first that is there is taken. Everything else has one name."""
UNKNOWN = "unknown"
MOST_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class FileVotes:
    """The votes of a file."""

    votes: arena.Votes
    inconsistent: int
    """Votes of models that could not make up their mind; they are not in `votes`."""
    unknown: tuple[str, ...]
    """Of `prompt` and `judge`, what the file says nothing of. All votes then share one."""


def read_votes(path: Path) -> FileVotes:
    """The votes of any file that the top of this module tells of.

    Raises InvalidRequest that names the lines and what is wrong with them.
    """
    found: list[arena.Vote] = []
    problems: list[str] = []
    inconsistent = 0
    unknown: tuple[str, ...] = ()
    for number, (at, row) in enumerate(read_rows(path)):
        if number == 0:
            unknown = tuple(name for name in ("prompt", "judge") if not any(key in row for key in NAMES[name]))
        try:
            vote = _vote(row)
        except ValueError as error:
            problems.append(f"{at}: {error}")
            continue
        if vote.choice == "inconsistent":
            inconsistent += 1
        else:
            found.append(vote)
    refuse(problems)
    return FileVotes(replace(arena.collect(found), drawn=False), inconsistent, unknown)


def refuse(problems: Sequence[str]) -> None:
    """Raise InvalidRequest that tells all of them, if there is any."""
    more = len(problems) - MOST_PROBLEMS_SHOWN
    if problems:
        raise InvalidRequest("\n".join([*problems[:MOST_PROBLEMS_SHOWN], *([f"... and {more} more."] * (more > 0))]))


def read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Where each vote stands, and its fields by the lower-case names of the columns; unknown ones are left out."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".json", ".jsonl"):
        raise InvalidRequest(f"{path} is no file of votes; they are read from .csv, .tsv, .jsonl and .json.")
    rows = _objects(path) if suffix.startswith(".json") else _table(path, "\t" if suffix == ".tsv" else ",")
    first = next(rows, None)
    if first is None:
        raise InvalidRequest(f"{path} holds no vote.")
    for at, row in itertools.chain([first], rows):
        yield at, {name: text for name, value in row.items() if (text := _text(value))}


def _table(path: Path, separator: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    header = next(csv.reader(io.StringIO(read_text(path)), delimiter=separator, skipinitialspace=True), [])
    there = [name.strip().casefold() for name in header]
    needs = next((name for name in NAMES["left"] if name in there), NAMES["left"][1])
    return read_table(path, needs=needs, separator=separator)


def _objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = read_text(path)
    if path.suffix.lower() == ".json":
        values = _json(text, str(path))
        if not isinstance(values, list):
            raise InvalidRequest(f"{path} is not a list of votes.")
        places: Iterable[tuple[str, Any]] = ((f"{path}, vote {i}", value) for i, value in enumerate(values, start=1))
    else:
        lines = ((f"{path}, line {i}", line) for i, line in enumerate(text.split("\n"), start=1) if line.strip())
        places = ((at, _json(line, at)) for at, line in lines)
    for at, value in places:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{at}: a vote is an object, with model_a, model_b and winner.")
        yield at, {str(name).casefold(): field for name, field in value.items()}


def _json(text: str, at: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidRequest(f"{at}: this is not JSON: {said}.") from None


def _text(value: Any) -> str:
    """FastChat's judges are lists, as in ["gpt-4", "pair-v2"]."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value).strip()


# One row


def field(row: Mapping[str, str], name: str) -> str | None:
    return next((row[key] for key in NAMES.get(name, (name,)) if key in row), None)


def _vote(row: Mapping[str, str]) -> arena.Vote:
    """Raises ValueError, which says what is wrong."""
    left, right = field(row, "left"), field(row, "right")
    if left is None or right is None:
        what = " and ".join(NAMES[side][1] for side, name in (("left", left), ("right", right)) if name is None)
        raise ValueError(f"{what} is missing.")
    if left == right:
        raise ValueError(f"{left} is compared with itself.")
    return arena.Vote(
        left=left,
        right=right,
        choice=choice_of(field(row, "choice"), left, right),
        prompt=field(row, "prompt") or UNKNOWN,
        judge=field(row, "judge") or UNKNOWN,
        criterion=field(row, "criterion") or arena.CRITERIA[0],
        category=field(row, "category"),
        seconds=seconds_of(field(row, "seconds")),
    )


def choice_of(word: str | None, left: str, right: str) -> str:
    """One of `schema.CHOICES`. Raises ValueError for a word that is none, and for one that means two things."""
    if word is None:
        raise ValueError("winner is missing.")
    named = {left: "left", right: "right"}.get(word)
    known = WORDS.get(" ".join(word.casefold().split()))
    if named is not None and known is not None and named != known:
        raise ValueError(f"winner is {word!r}, which is a model here and means {known} elsewhere.")
    if named is None and known is None:
        possible = ", ".join([*WINNERS.values(), "left, right"])
        raise ValueError(f"winner is {word[:60]!r}; it is {possible}, or the name of one of the two models.")
    return named or known or ""


def seconds_of(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"seconds is {text[:40]!r}; it is a number of at least 0.")
    return value


# Writing


def write_votes(
    store: Store, study_id: int | None, form: Form = "ours", *, jsonl: bool = False
) -> tuple[str, int, int]:
    """The votes that count, of one study or of all: the file, how many are in it, and how many it has no word for."""
    with store.reading() as connection:
        rows = list(_kept(connection, study_id))
    said = rows if form == "ours" else [row for row in rows if row["choice"] in WINNERS]
    lines = said if form == "ours" else [_as_fastchat(row) for row in said]
    columns = COLUMNS[form]
    out = io.StringIO()
    if jsonl:
        for line in lines:
            out.write(json.dumps({name: line[name] for name in columns}, ensure_ascii=False) + "\n")
    else:
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return settings.redact(out.getvalue()), len(said), len(rows) - len(said)


def _kept(connection: Connection, study_id: int | None) -> Iterator[dict[str, Any]]:
    v, t, j, p, studies = schema.votes, schema.trials, schema.judges, schema.prompts, schema.studies
    left, right = schema.samples.alias("ls"), schema.samples.alias("rs")
    left_contestant, right_contestant = schema.contestants.alias("lc"), schema.contestants.alias("rc")
    columns = {
        "id": v.c.id, "study": studies.c.name, "prompt": p.c.text, "category": p.c.category,
        "left": left_contestant.c.label, "right": right_contestant.c.label, "choice": v.c.choice,
        "judge": t.c.judge_id, "trial": t.c.token, "criterion": v.c.criterion, "seconds": v.c.seconds, "cast": v.c.cast,
        "left_number": left.c.number, "right_number": right.c.number, "judge_kind": j.c.kind,
        "judge_name": j.c.name, "reason": v.c.reason, "key": v.c.key, "position": p.c.position,
    }  # fmt: skip
    query = (
        select(*(column.label(name) for name, column in columns.items()))
        .join_from(v, t, t.c.id == v.c.trial_id)
        .join(j, j.c.id == t.c.judge_id)
        .join(p, p.c.id == t.c.prompt_id)
        .join(studies, studies.c.id == t.c.study_id)
        .join(left, left.c.id == t.c.left_sample_id)
        .join(right, right.c.id == t.c.right_sample_id)
        .join(left_contestant, left_contestant.c.id == t.c.left_contestant_id)
        .join(right_contestant, right_contestant.c.id == t.c.right_contestant_id)
        .order_by(v.c.id)
    )
    counting = set(that_count(connection, study_id).tolist())
    for row in connection.execute(query if study_id is None else query.where(t.c.study_id == study_id)).mappings():
        if row["id"] in counting:
            yield {**row, "judge": _named("judge", row["judge"]), "trial": _named("trial", row["trial"])}


def _named(what: str, secret: str) -> str:
    return hashlib.sha256(f"{what} {secret}".encode()).hexdigest()[:16]


def _as_fastchat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "question_id": f"{row['study']} {row['position'] + 1}",
        "model_a": row["left"],
        "model_b": row["right"],
        "winner": WINNERS[row["choice"]],
        "judge": row["judge"],
        "turn": 1,
        "tstamp": datetime.fromisoformat(row["cast"]).timestamp(),
    }
