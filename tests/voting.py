"""Studies with votes for tests: put into a real store by the functions that the page and the models vote through."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select

from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes

KEYS = (f"key-{number:08}" for number in itertools.count())
"""Of votes: never the same twice in one run of the tests."""


def a_study(
    store: Store,
    models: Sequence[str],
    prompts: Mapping[str, str | None] | Sequence[str] = ("a red fox",),
    *,
    name: str = "study",
    samples: int = 1,
    **values: Any,
) -> int:
    """The id of a new study without pictures. prompts: texts, or texts and categories. values: of every sample."""
    texts = dict(prompts) if isinstance(prompts, Mapping) else dict.fromkeys(prompts)
    with store.writing() as connection:

        def add(table: Any, **row: Any) -> int:
            return int(connection.execute(insert(table).values(**row).returning(table.c.id)).scalar_one())

        study_id = add(
            schema.studies, name=name, fingerprint=name, created="2026-11-20T09:30:00.000+00:00",
            settings={}, versions={},
        )  # fmt: skip
        prompt_ids = [
            add(schema.prompts, study_id=study_id, position=i, text=text, category=category)
            for i, (text, category) in enumerate(texts.items())
        ]
        for i, label in enumerate(models):
            contestant_id = add(
                schema.contestants, study_id=study_id, position=i, label=label, model=label.split()[0],
                provider="fake", values={}, facts={},
            )  # fmt: skip
            for prompt_id, number in itertools.product(prompt_ids, range(samples)):
                row = {"study_id": study_id, "prompt_id": prompt_id, "contestant_id": contestant_id, "number": number}
                add(schema.samples, **{**row, "request": {"prompt": "x"}, "state": "done", **values})
    return study_id


def the_trial(
    store: Store, study_id: int, judge: str, left: str, right: str, prompt: int = 0, numbers: tuple[int, int] = (0, 0)
) -> int:
    """The id of a new trial of two contestants by their labels. judge: an id. prompt: counted from 0."""
    s, c, p = schema.samples, schema.contestants, schema.prompts
    with store.writing() as connection:
        ids = [
            connection.execute(
                select(s.c.id)
                .join(c, c.c.id == s.c.contestant_id)
                .join(p, p.c.id == s.c.prompt_id)
                .where(s.c.study_id == study_id, c.c.label == label, p.c.position == prompt, s.c.number == number)
            ).scalar_one()
            for label, number in zip((left, right), numbers, strict=True)
        ]
        return votes.open_trial(connection, study_id, judge, ids[0], ids[1], "uniform").id


def a_judge(store: Store, kind: str = "person", name: str | None = None) -> str:
    with store.writing() as connection:
        return votes.new_judge(connection, kind, name)


def vote(
    store: Store,
    study_id: int,
    judge: str,
    left: str,
    right: str,
    choice: str,
    *,
    prompt: int = 0,
    key: str | None = None,
    **given: Any,
) -> str:
    """One vote on a trial of its own; its key."""
    trial = the_trial(store, study_id, judge, left, right, prompt)
    key = key or next(KEYS)
    with store.writing() as connection:
        votes.cast(connection, trial, choice, key, **given)
    return key


Said = tuple[str, str, str]
"""Left, right, choice."""


def many_votes(
    store: Store, study_id: int, judges: Sequence[str], said: Iterable[Said], prompts: int = 1, **given: Any
) -> None:
    """Votes in turn by these judges, on these many prompts in turn."""
    for number, (left, right, choice) in enumerate(said):
        judge = judges[number % len(judges)]
        vote(store, study_id, judge, left, right, choice, prompt=number // len(judges) % prompts, **given)
