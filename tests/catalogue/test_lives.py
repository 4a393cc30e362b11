"""What has been shut down, what will be, and what was read too long ago to be trusted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from diptych.catalogue import Model, load
from diptych.catalogue.lives import last_day
from diptych.catalogue.records import Fact
from diptych.errors import NotAvailable

TODAY = dt.date(2026, 11, 15)


def model(*shutdown: dict[str, Any]) -> Model:
    facts = [{"source": "a"} | fact for fact in shutdown]
    entry = {"name": "m", "title": "M", "provider": "fal", "remote_id": "m", "dates": {"shutdown": facts}}
    return Model.model_validate(entry)


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2026", dt.date(2026, 12, 31)),
        ("2026-02", dt.date(2026, 2, 28)),
        ("2028-02", dt.date(2028, 2, 29)),
        ("2026-03-18", dt.date(2026, 3, 18)),
    ],
)
def test_a_date_that_is_not_exact_means_its_last_day(date: str, day: dt.date) -> None:
    assert last_day(date) == day


def test_a_model_that_is_gone() -> None:
    gone = load().find("gpt-image-1")
    assert gone.retired(TODAY) == "gpt-image-1 was shut down on 2026-10-23, says developers.openai.com."
    assert gone.ending(TODAY) is None
    with pytest.raises(NotAvailable, match=r"gpt-image-1 was shut down on 2026-10-23.*`diptych models`"):
        gone.check_alive(TODAY)
    assert gone.retired(dt.date(2026, 10, 23)) is None, "on the day itself it may still answer"
    gone.check_alive(dt.date(2026, 10, 23))


def test_sources_that_disagree_are_both_named_and_the_vendor_decides() -> None:
    disputed = load().find("gemini-2.5-flash-image")
    assert disputed.retired(TODAY) == (
        "gemini-2.5-flash-image was shut down on 2026-10-02, says ai.google.dev; "
        "LiteLLM price file (2026-09) says 2027-03-15."
    )
    disputed.check_alive(TODAY)
    with pytest.raises(NotAvailable, match="says 2027-03-15"):
        disputed.check_alive(dt.date(2027, 3, 16))


def test_a_model_that_will_be_gone() -> None:
    ending = load().find("gpt-image-1.5")
    assert ending.retired(TODAY) is None
    assert ending.ending(TODAY) == "gpt-image-1.5 will be shut down on 2026-12-01, says developers.openai.com."
    assert ending.ending(dt.date(2026, 9, 2)) is not None, "90 days before"
    assert ending.ending(dt.date(2026, 9, 1)) is None
    ending.check_alive(TODAY)
    disputed = load().find("gemini-2.5-flash-image").ending(dt.date(2026, 9, 1))
    assert disputed is not None
    assert "will be shut down on 2026-10-02" in disputed
    assert "says 2027-03-15" in disputed


def test_a_model_that_lives() -> None:
    for name in ("flux-2-pro", "builtin-flow", "openai/gpt-5"):
        alive = load().find(name)
        assert (alive.retired(TODAY), alive.ending(TODAY)) == (None, None)
        alive.check_alive(TODAY)


def test_a_part_that_is_gone_is_not_the_whole() -> None:
    imagen = load().find("imagen-3.0")
    assert imagen.retired(TODAY) == "imagen-3.0 was shut down on 2025-11-10 (Gemini API), says ai.google.dev."
    imagen.check_alive(TODAY)


def test_months_and_years() -> None:
    month = model({"value": "2026-10"})
    assert month.retired(dt.date(2026, 10, 31)) is None
    assert month.retired(dt.date(2026, 11, 1)) == "m was shut down in 2026-10, says a."
    assert model({"value": "2026"}).retired(dt.date(2026, 12, 31)) is None


def test_a_later_word_of_the_same_source_replaces_its_earlier_one() -> None:
    earlier, later = (
        {"value": "2026-10-01", "date": "2026-01"},
        {"value": "2027-10-01", "date": "2026-08"},
    )
    assert model(earlier, later).retired(TODAY) is None
    assert model(earlier, later | {"source": "b"}).retired(TODAY) is not None
    apart = model(earlier | {"variant": "API"}, later | {"variant": "app"}).retired(TODAY)
    assert apart == "m was shut down on 2026-10-01 (API), says a; a (2026-08) says 2027-10-01 (app)."


@pytest.mark.parametrize(
    ("date", "stale"),
    [
        (None, True),
        ("2026-11-15", False),
        ("2026-08-17", False),  # 90 days before
        ("2026-08-16", True),
        ("2026-08", False),  # it may be from the 31st
        ("2026-07", True),
        ("2026", False),
        ("2025", True),
        ("2027-01-01", False),
    ],
)
def test_what_is_stale(date: str | None, stale: bool) -> None:
    fact = Fact.model_validate({"value": 1, "source": "a", "date": date})
    assert fact.stale(TODAY) is stale
    assert fact.stale(TODAY, days=10_000) is (date is None)
