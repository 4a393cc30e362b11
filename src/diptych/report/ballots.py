"""The votes of a study as its report takes them: of people and of models, apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import votes
from diptych.studies.votes import Counted


@dataclass(frozen=True)
class Ballots:
    people: Counted
    models: Counted
    names: Mapping[str, str] = field(default_factory=dict)
    """Of the models that judge, by their ids as judges. Those of people are never shown: who has one can vote by it."""


def load(store: Store, study_id: int) -> Ballots:
    """What counts of a study's votes. Raises StoreError."""
    people, models = (votes.load(store, study_id, kind=kind) for kind in votes.KINDS)
    j = schema.judges
    with store.reading() as connection:
        rows = connection.execute(select(j.c.id, j.c.name).where(j.c.kind == votes.KINDS[1], j.c.name.is_not(None)))
        names = {row.id: row.name for row in rows}
    return Ballots(people, models, names)
