"""What is left to ask of a study, what it will cost, and how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from diptych.store import schema
from diptych.store.database import Store
from diptych.studies.plan import Plan, seconds_before
from diptych.studies.results import money
from diptych.studies.run import COSTS_NOTHING


@dataclass(frozen=True)
class Line:
    """What is left of one contestant."""

    label: str
    provider: str
    left: int
    """Samples that will be asked for."""
    there: int
    """Samples that are done."""
    per_picture: float | None
    """Dollars; None is unknown."""
    source: str | None
    date: str | None
    seconds: float | None
    """A picture, as measured before; None: never."""

    @property
    def total(self) -> float | None:
        if self.left == 0:
            return 0.0
        if self.per_picture is None:
            return None
        return self.per_picture * self.left


@dataclass(frozen=True)
class Forecast:
    lines: tuple[Line, ...]
    spent: float
    seconds: float | None
    """Until all is there: each provider at its concurrency, all at once. None where one was never measured."""

    @property
    def left(self) -> int:
        return sum(line.left for line in self.lines)

    @property
    def total(self) -> float | None:
        """Dollars to pay to others; None where unknown. What runs here is paid to nobody, whatever it costs."""
        totals = [line.total for line in self.lines if line.provider != "local"]
        return None if any(one is None for one in totals) else sum(one or 0.0 for one in totals)


def of_plan(plan: Plan, limits: Mapping[str, int]) -> Forecast:
    """Of a plan that is no study yet."""
    each = len(plan.prompts.prompts) * plan.samples
    lines = tuple(
        Line(
            contestant.label,
            contestant.model.provider,
            each,
            0,
            estimate.per_picture.dollars if estimate.per_picture else None,
            estimate.per_picture.source if estimate.per_picture else None,
            estimate.per_picture.date if estimate.per_picture else None,
            estimate.seconds,
        )
        for contestant, estimate in zip(plan.contestants, plan.estimates, strict=True)
    )
    return Forecast(lines, 0.0, _seconds(lines, limits))


def of_study(
    store: Store, study_id: int, limits: Mapping[str, int], *, retry_unknown: bool, retry_failed: bool
) -> Forecast:
    """Of what a study has left."""
    c, s = schema.contestants, schema.samples
    states = [
        "planned",
        "sent",
        "waiting",
        *(["unknown"] if retry_unknown else []),
        *(["failed"] if retry_failed else []),
    ]
    open_ones = s.c.state.in_(states) | ((s.c.state == "failed") & s.c.error_kind.in_(COSTS_NOTHING))
    with store.reading() as connection:
        rows = connection.execute(select(c).where(c.c.study_id == study_id).order_by(c.c.position)).all()

        def number(*conditions: object) -> dict[int, int]:
            counted = select(s.c.contestant_id, func.count()).where(s.c.study_id == study_id, *conditions)  # type: ignore[arg-type]
            return {row[0]: row[1] for row in connection.execute(counted.group_by(s.c.contestant_id))}

        left, there = number(open_ones), number(s.c.state == "done")
        spent, _ = money(connection, study_id)
    lines = tuple(
        Line(
            row.label,
            row.provider,
            left.get(row.id, 0),
            there.get(row.id, 0),
            row.estimate,
            (row.estimate_source or {}).get("source"),
            (row.estimate_source or {}).get("date"),
            seconds_before(store, row.label),
        )
        for row in rows
    )
    return Forecast(lines, spent, _seconds(lines, limits))


def _seconds(lines: tuple[Line, ...], limits: Mapping[str, int]) -> float | None:
    by_provider: dict[str, float] = {}
    for line in lines:
        if line.left == 0:
            continue
        if line.seconds is None:
            return None
        by_provider[line.provider] = by_provider.get(line.provider, 0.0) + line.left * line.seconds
    return max((seconds / limits.get(name, 4) for name, seconds in by_provider.items()), default=0.0)
