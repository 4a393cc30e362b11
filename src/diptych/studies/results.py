"""What a study holds so far, as frozen records: what reports, tables and judges read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, func, select

from diptych.errors import StudyError, near
from diptych.store import schema
from diptych.store.database import Store


@dataclass(frozen=True)
class PromptRow:
    id: int
    position: int
    text: str
    category: str | None


@dataclass(frozen=True)
class ContestantRow:
    """A model with its settings, as this study asks it. `label` tells it from the others."""

    id: int
    position: int
    label: str
    model: str
    provider: str
    values: Mapping[str, Any]
    """Settings as given, beside those for all."""
    facts: Mapping[str, Any]
    """The catalogue's entry when the study was planned: `catalogue.Model` as JSON."""
    estimate: float | None
    """Dollars a picture before the fact; None is unknown."""
    estimate_source: Mapping[str, Any] | None
    """`basis`, `source`, `date` of the estimate."""


@dataclass(frozen=True)
class SampleRow:
    """One cell, with the result of its last attempt. `state` is one of `schema.STATES`."""

    id: int
    prompt_id: int
    contestant_id: int
    number: int
    """Counts from 0 within a prompt and contestant."""
    request: Mapping[str, Any]
    """`Request.to_dict()`, as sent."""
    state: str
    finished: str | None = None
    picture: str | None = None
    """SHA-256; `store.pictures.get` gives the original bytes."""
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)
    """`Timing` as JSON: total, queued, first_byte, download, per_step in seconds, peak_memory in bytes."""
    seconds: float | None = None
    cost: float | None = None
    """Dollars; None is unknown."""
    cost_basis: str | None = None
    """stated, usage, price, machine: see `Cost`."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_kind: str | None = None
    """The class of the error: Refused, BadAnswer, Unanswered, ..."""
    request_id: str | None = None
    measures: Mapping[str, Any] | None = None
    """`measure.Measures.to_dict()`; None where it was not measured."""


@dataclass(frozen=True)
class Results:
    """A study whole. Samples are in the order of prompt, contestant and number."""

    id: int
    name: str
    created: str
    budget: float | None
    seed: int | None
    settings: Mapping[str, Any]
    """What was asked for all: `samples` (a prompt and model), `prompts` (where they are from), `set`, ..."""
    versions: Mapping[str, str]
    prompts: tuple[PromptRow, ...]
    contestants: tuple[ContestantRow, ...]
    samples: tuple[SampleRow, ...]
    spent: float
    """Dollars that count against the budget: what is known, and what was reserved for what is not."""
    unsure: float
    """The part of `spent` that may not have been charged."""


def names(store: Store) -> list[str]:
    """Every study, the latest first."""
    with store.reading() as connection:
        return list(connection.scalars(select(schema.studies.c.name).order_by(schema.studies.c.id.desc())))


@dataclass(frozen=True)
class Overview:
    """A study in a line."""

    name: str
    created: str
    prompts: int
    contestants: int
    samples: int
    done: int
    spent: float


def overview(store: Store) -> list[Overview]:
    """Every study, the latest first."""
    t, a = schema.studies, schema.attempts

    def number(table: Table, *conditions: Any) -> Any:
        return select(func.count()).where(table.c.study_id == t.c.id, *conditions).scalar_subquery()

    spent = select(func.sum(func.coalesce(a.c.charge, a.c.reserved))).where(a.c.study_id == t.c.id).scalar_subquery()
    with store.reading() as connection:
        rows = connection.execute(
            select(
                t.c.name,
                t.c.created,
                number(schema.prompts),
                number(schema.contestants),
                number(schema.samples),
                number(schema.samples, schema.samples.c.state == "done"),
                func.coalesce(spent, 0.0),
            ).order_by(t.c.id.desc())
        )
        return [Overview(*row) for row in rows]


def find(store: Store, name: str | None = None) -> int:
    """The id of the study `name`, or of the latest. Raises StudyError."""
    known = names(store)
    if not known:
        raise StudyError(f"There is no study yet in {store.name}: `diptych pilot` makes one.")
    if name is not None and name not in known:
        hint = f"Did you mean {' or '.join(near(name, known))}?" if near(name, known) else f"There is {known[0]}."
        raise StudyError(f"There is no study named {name!r}. {hint}")
    with store.reading() as connection:
        found = connection.scalar(select(schema.studies.c.id).where(schema.studies.c.name == (name or known[0])))
    if found is None:  # removed meanwhile
        raise StudyError(f"There is no study named {name!r}.")
    return int(found)


def budget(store: Store, study_id: int) -> float | None:
    """Dollars; None where the study has none."""
    with store.reading() as connection:
        found = connection.scalar(select(schema.studies.c.budget).where(schema.studies.c.id == study_id))
    return None if found is None else float(found)


def load(store: Store, name: str | None = None, *, measure_version: int | None = None) -> Results:
    """The study `name`, or the latest. Raises StudyError, StoreError.

    measure_version: `measure.VERSION`, for samples with their measurements.
    """
    study_id = find(store, name)
    s, m = schema.samples, schema.measurements
    with store.reading() as connection:
        study = connection.execute(select(schema.studies).where(schema.studies.c.id == study_id)).one()
        prompts = tuple(
            PromptRow(row.id, row.position, row.text, row.category)
            for row in connection.execute(
                select(schema.prompts).where(schema.prompts.c.study_id == study_id).order_by(schema.prompts.c.position)
            )
        )
        contestants = tuple(
            ContestantRow(**{k: v for k, v in row._mapping.items() if k != "study_id"})  # noqa: SLF001  # SQLAlchemy's
            for row in connection.execute(
                select(schema.contestants)
                .where(schema.contestants.c.study_id == study_id)
                .order_by(schema.contestants.c.position)
            )
        )
        spent, unsure = money(connection, study_id)
        measured: dict[str, Any] = {}
        if measure_version is not None:
            measured = {
                row.picture: row[1]
                for row in connection.execute(
                    select(m.c.picture, m.c["values"])
                    .where(m.c.version == measure_version)
                    .where(m.c.picture.in_(select(s.c.picture).where(s.c.study_id == study_id)))
                )
            }
        at = {row.id: row.position for row in (*prompts,)}, {row.id: row.position for row in contestants}
        samples = [
            SampleRow(
                **{
                    k: ({} if v is None and k in ("timing", "usage", "recipe") else v)
                    for k, v in row._mapping.items()  # noqa: SLF001  # SQLAlchemy's public name for it
                    if k != "study_id"
                },
                measures=measured.get(row.picture),
            )
            for row in connection.execute(select(s).where(s.c.study_id == study_id))
        ]
    samples.sort(key=lambda one: (at[0][one.prompt_id], at[1][one.contestant_id], one.number))
    return Results(
        id=study.id,
        name=study.name,
        created=study.created,
        budget=study.budget,
        seed=study.seed,
        settings=study.settings,
        versions=study.versions,
        prompts=prompts,
        contestants=contestants,
        samples=tuple(samples),
        spent=spent,
        unsure=unsure,
    )


@dataclass(frozen=True)
class Tally:
    """How many samples of a contestant are in each state."""

    contestant_id: int
    label: str
    states: Mapping[str, int]


def tallies(store: Store, study_id: int) -> list[Tally]:
    """Of every contestant, in their order."""
    s, c = schema.samples, schema.contestants
    counted: dict[int, dict[str, int]] = {}
    with store.reading() as connection:
        for contestant_id, state, number in connection.execute(
            select(s.c.contestant_id, s.c.state, func.count())
            .where(s.c.study_id == study_id)
            .group_by(s.c.contestant_id, s.c.state)
        ):
            counted.setdefault(contestant_id, {})[state] = number
        rows = connection.execute(select(c.c.id, c.c.label).where(c.c.study_id == study_id).order_by(c.c.position))
        return [Tally(row.id, row.label, counted.get(row.id, {})) for row in rows]


def money(connection: Any, study_id: int) -> tuple[float, float]:
    """Dollars that count against the budget, and the part of them that may not have been charged."""
    a = schema.attempts
    counted = func.coalesce(a.c.charge, a.c.reserved)
    total = connection.scalar(select(func.sum(counted)).where(a.c.study_id == study_id)) or 0.0
    in_doubt = a.c.outcome.is_(None) | a.c.outcome.in_(("unknown", "refused", "failed"))
    unsure = connection.scalar(select(func.sum(counted)).where(a.c.study_id == study_id, in_doubt)) or 0.0
    return float(total), float(unsure)
