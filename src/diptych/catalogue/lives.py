"""The life of a model and the age of a fact, by dates that are not always exact."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.catalogue.records import Fact

STALE_AFTER = 90
"""Days. Vendors have changed prices and retired models within a quarter."""
ENDING_WITHIN = 90
"""Days."""


def last_day(date: str) -> dt.date:
    """The last day that `2026`, `2026-03` or `2026-03-18` may mean."""
    year, month, day = ([int(part) for part in date.split("-")] + [0, 0])[:3]
    month = month or 12
    return dt.date(year, month, day or calendar.monthrange(year, month)[1])


def stale(date: str | None, today: dt.date, days: int = STALE_AFTER) -> bool:
    """Whether a fact of this date is more than `days` days old, or undated. A month counts from its last day."""
    return date is None or (today - last_day(date)).days > days


def retired(name: str, shutdown: Sequence[Fact], today: dt.date) -> str | None:
    """A sentence that says who says that the model is gone, and who says otherwise; None where nobody says it is."""
    gone = [fact for fact in shutdown if _passed(fact, today)]
    if not gone:
        return None
    others = [fact for fact in shutdown if not _passed(fact, today)]
    return _sentence(name, "was shut down", gone, others)


def ending(name: str, shutdown: Sequence[Fact], today: dt.date, days: int = ENDING_WITHIN) -> str | None:
    """A sentence for an end that is announced within `days` days; None for a model that is gone, or stays longer."""
    near = [fact for fact in shutdown if not _passed(fact, today) and (_day(fact) - today).days <= days]
    if not near or any(_passed(fact, today) for fact in shutdown):
        return None
    others = [fact for fact in shutdown if fact not in near]
    return _sentence(name, "will be shut down", near, others)


def surely_retired(shutdown: Iterable[Fact], today: dt.date) -> bool:
    """Whether every source that speaks of the whole model says it is gone. Facts about a part of it do not count."""
    whole = [fact for fact in shutdown if fact.variant is None]
    return bool(whole) and all(_passed(fact, today) for fact in whole)


def _passed(fact: Fact, today: dt.date) -> bool:
    return _day(fact) < today


def _day(fact: Fact) -> dt.date:
    return last_day(str(fact.value))


def _sentence(name: str, what: str, facts: Sequence[Fact], others: Sequence[Fact]) -> str:
    """`m was shut down on 2026-10-02, says ai.google.dev; LiteLLM price file (2026-09) says 2027-03-15.`"""
    first, *more = facts
    said = f"{name} {what} {_when(first)}{_part(first)}, says {first.source}"
    rest = [f"{f.source}{f' ({f.date})' if f.date else ''} says {f.value}{_part(f)}" for f in (*more, *others)]
    return "; ".join([said, *rest]) + "."


def _when(fact: Fact) -> str:
    date = str(fact.value)
    return f"{'on' if len(date) == 10 else 'in'} {date}"


def _part(fact: Fact) -> str:
    return f" ({fact.variant})" if fact.variant else ""
