"""A plan becomes rows: every sample is in the store before anything is asked. The same plan finds its study again."""

from __future__ import annotations

import dataclasses
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, insert, select, update

from diptych.errors import InvalidRequest, StudyError
from diptych.images import Cost
from diptych.store import schema
from diptych.store.database import Store, one_at_a_time
from diptych.studies.plan import Plan
from diptych.studies.prompts import Prompt

LONGEST_NAME = 64
NAMES = "names of studies"
"""Whoever looks for a free name and takes it does so alone, see `one_at_a_time`."""


def create(store: Store, plan: Plan, name: str | None = None) -> tuple[int, str, bool]:
    """The study of this plan: (id, name, whether it is new). The same plan finds its study again.

    Raises StudyError for a name that another study has.
    """
    fingerprint = plan.fingerprint()
    if (name is not None and not re.fullmatch(r"[\w][\w .-]*", name)) or len(name or "") > LONGEST_NAME:
        raise InvalidRequest(
            f"A study cannot be named {name!r}: 1 to {LONGEST_NAME} letters, digits, dots, dashes, spaces."
        )
    with store.writing() as connection:
        one_at_a_time(connection, NAMES)  # else the same command, given twice at once, makes two studies of one name
        t = schema.studies
        same = t.c.fingerprint == fingerprint if name is None else t.c.name == name
        found = connection.execute(
            select(t.c.id, t.c.name, t.c.fingerprint).where(same).order_by(t.c.id.desc()).limit(1)
        ).first()
        if name is not None and found is not None and found.fingerprint != fingerprint:
            raise StudyError(
                f"There is a study {name!r} already, of other prompts, models or settings. Choose another --name; "
                f"`diptych pilot --name {name}` alone goes on with it."
            )
        if found is not None:
            if plan.budget is not None:
                connection.execute(t.update().where(t.c.id == found.id).values(budget=plan.budget))
            for contestant, estimate in zip(plan.contestants, plan.estimates, strict=True):
                if estimate.per_picture is not None:  # what the catalogue or the person knows now
                    _set_estimate(connection, found.id, contestant.label, estimate.per_picture)
            return found.id, found.name, False
        name = name or _free_name(plan, set(connection.scalars(select(t.c.name))))
        study_id = _inserted(
            connection,
            insert(t).values(
                name=name,
                fingerprint=fingerprint,
                created=now(),
                budget=plan.budget,
                seed=plan.seed,
                settings={"samples": plan.samples, "prompts": plan.prompts.source, "set": dict(plan.values)},
                versions={
                    "diptych": metadata.version("diptych"),
                    "python": platform.python_version(),
                    "machine": f"{platform.system()} {platform.machine()}",
                },
            ),
        )
        prompt_ids = _insert_prompts(connection, study_id, plan.prompts.prompts)
        contestant_ids = _insert_contestants(connection, study_id, plan)
        rows = list(_sample_rows(plan, study_id, prompt_ids, contestant_ids))
        for start in range(0, len(rows), 5000):
            connection.execute(insert(schema.samples), rows[start : start + 5000])
        return study_id, name, True


def amend(
    store: Store, study_id: int, *, budget: float | None = None, prices: Mapping[str, float] | None = None
) -> None:
    """Give a study another budget, and prices a picture by label or model. What is None stays as it is.

    Raises InvalidRequest for what is no amount of money, and a price for who takes no part.
    """
    if budget is not None and not 0 <= budget < float("inf"):
        raise InvalidRequest(f"The budget is {budget:g}; it is in dollars, at least 0.")
    c = schema.contestants
    with store.writing() as connection:
        if budget is not None:
            connection.execute(update(schema.studies).where(schema.studies.c.id == study_id).values(budget=budget))
        rows = connection.execute(select(c.c.label, c.c.model).where(c.c.study_id == study_id)).all()
        for name, dollars in (prices or {}).items():
            labels = [row.label for row in rows if name in (row.label, row.model)]
            if not labels:
                known = ", ".join(row.label for row in rows)
                raise InvalidRequest(f"A price is given for {name}, which takes no part; there are {known}.")
            for label in labels:
                _set_estimate(connection, study_id, label, Cost(dollars, "price", "given"))


def _set_estimate(connection: Connection, study_id: int, label: str, cost: Cost) -> None:
    c = schema.contestants
    connection.execute(
        update(c)
        .where(c.c.study_id == study_id, c.c.label == label)
        .values(estimate=cost.dollars, estimate_source=dataclasses.asdict(cost))
    )


def now() -> str:
    """Times in the store: ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _insert_prompts(connection: Connection, study_id: int, prompts: Sequence[Prompt]) -> list[int]:
    return [
        _inserted(
            connection,
            insert(schema.prompts).values(
                study_id=study_id, position=position, text=prompt.text, category=prompt.category
            ),
        )
        for position, prompt in enumerate(prompts)
    ]


def _insert_contestants(connection: Connection, study_id: int, plan: Plan) -> list[int]:
    ids = []
    for position, (contestant, estimate) in enumerate(zip(plan.contestants, plan.estimates, strict=True)):
        cost = estimate.per_picture
        row = insert(schema.contestants).values(
            study_id=study_id,
            position=position,
            label=contestant.label,
            model=contestant.model.name,
            provider=contestant.model.provider,
            values=dict(contestant.values),
            facts=contestant.model.model_dump(mode="json"),
            estimate=None if cost is None else cost.dollars,
            estimate_source=None if cost is None else dataclasses.asdict(cost),
        )
        ids.append(_inserted(connection, row))
    return ids


def _inserted(connection: Connection, row: Insert) -> int:
    """The id that the database gave it."""
    return int(connection.execute(row.returning(row.table.c.id)).scalar_one())


def _sample_rows(
    plan: Plan, study_id: int, prompt_ids: Sequence[int], contestant_ids: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """In the order in which they are asked: one sample of everything before the second of anything."""
    for number in range(plan.samples):
        for prompt, prompt_id in zip(plan.prompts.prompts, prompt_ids, strict=True):
            for contestant, contestant_id in zip(plan.contestants, contestant_ids, strict=True):
                yield {
                    "study_id": study_id,
                    "prompt_id": prompt_id,
                    "contestant_id": contestant_id,
                    "number": number,
                    "request": plan.request(contestant, prompt, number).to_dict(),
                    "state": "planned",
                }


def _free_name(plan: Plan, taken: set[str]) -> str:
    """After the file, the set, or the first words of the prompts; numbered where that is taken."""
    source = plan.prompts.source.removeprefix("the set ")
    if source == "as given":
        source = plan.prompts.prompts[0].text[:24]
    elif Path(source).suffix:
        source = Path(source).stem
    stem = re.sub(r"[\W_]+", "-", source.lower()).strip("-")[:40].rstrip("-") or "study"
    number = 1
    while (name := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return name
