"""Published claims beside what a study measured: agrees, differs, or cannot be said, and why."""

from __future__ import annotations

from typing import Any

import pytest

from diptych import catalogue
from diptych.report.claims import Claim, Claims, check
from diptych.report.summary import summarise
from diptych.studies.results import ContestantRow
from tests.report.conftest import change
from tests.report.test_summary import results_of, sample

SOURCE = {"source": "example.org", "date": "2026-09"}


def checked(
    facts: dict[str, Any], samples: list[Any], provider: str = "google", *, whole: bool = False
) -> tuple[Claim, ...]:
    """facts: of a model of Google's, beside name, title and provider."""
    base = {"name": "m", "title": "M", "maker": "google", "provider": "google", "remote_id": "m"}
    return claims_of(facts if whole else {**base, **facts}, samples, provider).claims


def claims_of(facts: dict[str, Any], samples: list[Any], provider: str) -> Claims:
    results = results_of(samples, contestants=1)
    row: ContestantRow = change(results.contestants[0], facts=facts, provider=provider)
    results = change(results, contestants=(row,))
    return check(results, summarise(results).lines)[0]


def made(count: int = 8, size: tuple[int, int] = (1024, 1024), **values: Any) -> list[Any]:
    values = {"cost_basis": "usage", "seconds": 2.0, **values}
    return [sample(0, i, width=size[0], height=size[1], **values) for i in range(count)]


@pytest.mark.parametrize(
    ("price", "cost", "verdict"),
    [
        ({"per_image": 0.04}, 0.04, "agrees"),
        ({"per_image": 0.04}, 0.0403, "agrees"),
        ({"per_image": 0.04}, 0.067, "differs"),
        ({"per_size": {"1K": 0.067, "2K": 0.1}}, 0.067, "agrees"),
        ({"per_size": {"2K": 0.1}}, 0.067, "open"),
        ({"per_quality": {"low": 0.011}, "at": "1024x1024"}, 0.011, "open"),  # no quality was asked
    ],
)
def test_prices_beside_the_bill(price: dict[str, Any], cost: float, verdict: str) -> None:
    (claim,) = checked({"prices": [{**price, **SOURCE}]}, made(cost=cost))
    assert claim.verdict == verdict
    assert (claim.source, claim.date, claim.what) == ("example.org", "2026-09", "price, from Google")


def test_a_megapixel_price_is_reckoned_for_the_pictures_that_came() -> None:
    price = {"first_megapixel": 0.03, "further_megapixel": 0.015, **SOURCE}
    (claim,) = checked({"prices": [price]}, made(size=(2048, 1024), cost=0.045))
    assert (claim.verdict, claim.measured) == ("agrees", "$0.045 billed, $0.045 by this price (mean of 8)")
    assert claim.published == "$0.03 for the first megapixel, $0.015 for each further one"


def test_costs_that_come_from_a_price_list_check_no_price_list() -> None:
    (claim,) = checked({"prices": [{"per_image": 0.04, **SOURCE}]}, made(cost=0.04, cost_basis="price"))
    assert (claim.verdict, claim.measured) == (
        "open",
        "costs were reckoned from a price list: no bill to hold it against",
    )


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        ("local", "no bill: it ran on this machine"),
        ("fake", "no bill: nobody bills a rehearsal"),
        ("import", "no bill: made elsewhere"),
        ("replicate", "asked of Replicate, who is another seller"),
    ],
)
def test_prices_of_another_seller_are_not_judged(provider: str, why: str) -> None:
    (claim,) = checked({"prices": [{"per_image": 0.04, **SOURCE}]}, made(cost=0.9), provider)
    assert (claim.verdict, claim.measured) == ("open", why)


def test_without_pictures_or_bills_nothing_is_said_of_prices() -> None:
    price = {"prices": [{"per_image": 0.04, **SOURCE}]}
    assert checked(price, [sample(0, 0, "refused")])[0].measured == "no picture came back"
    assert checked(price, made(cost=None, cost_basis=None))[0].measured == "no bill"


@pytest.mark.parametrize(
    ("latency", "seconds", "verdict"),
    [
        ({"at_least": 1, "at_most": 3}, 2.0, "agrees"),
        ({"at_least": 1, "at_most": 3}, 4.0, "differs"),
        ({"at_least": 15}, 4.0, "differs"),
        ({"at_most": 1}, 1.0, "agrees"),
    ],
)
def test_latency(latency: dict[str, Any], seconds: float, verdict: str) -> None:
    (claim,) = checked({"latency": [{**latency, **SOURCE}]}, made(seconds=seconds))
    assert claim.verdict == verdict
    assert "median of 8" in claim.measured


def test_few_pictures_outside_do_not_refute_a_latency() -> None:
    facts = {"latency": [{"at_most": 3, **SOURCE}]}
    (claim,) = checked(facts, made(4, seconds=4.0))
    assert (claim.verdict, claim.published) == ("open", "under 3 s")
    assert claim.measured.endswith("too few to tell")
    assert checked(facts, made(seconds=4.0), "replicate")[0].measured.endswith("by another route")
    assert checked(facts, made(seconds=None))[0].measured == "no time was measured"


def fact(value: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"value": value, **SOURCE, **more}]


@pytest.mark.parametrize(
    ("cap", "value", "samples", "verdict"),
    [
        ("max_size", "1024x1024", made(), "agrees"),
        ("max_size", "2048x2048", made(), "open"),
        ("max_size", "512x512", made(), "differs"),
        ("max_size", "big", made(), "open"),
        ("max_megapixels", 1, made(), "agrees"),
        ("max_megapixels", 4.0, made(), "open"),
        ("max_megapixels", 0.5, made(), "differs"),
        ("sizes", ["1K"], made(), "agrees"),
        ("sizes", ["1K", "2K"], made(), "open"),
        ("aspect_ratios", ["1:1"], made(), "agrees"),
        ("aspect_ratios", ["16:9", "1:1"], made(), "open"),
        ("multiple", 16, made(), "agrees"),
        ("multiple", 100, made(), "differs"),
        ("references", 2, made(request={"prompt": "x", "references": ["a", "b"]}), "agrees"),
        ("references", 1, made(request={"prompt": "x", "references": ["a", "b"]}), "differs"),
        ("references", 14, made(), "open"),
        ("steps", 50, made(request={"prompt": "x", "steps": 8}), "open"),
        ("output_tokens", 1290, made(), "open"),
        ("max_size", "1024x1024", [sample(0, 0, "failed")], "open"),
    ],
)
def test_caps(cap: str, value: Any, samples: list[Any], verdict: str) -> None:
    (claim,) = checked({"caps": {cap: fact(value)}}, samples)
    assert claim.verdict == verdict
    assert claim.measured


def test_a_rating_cannot_be_judged_without_votes() -> None:
    rating = {"scale": "lm-arena", "value": 1264.0, "interval": 5.0, "variant": "preview", **SOURCE}
    (claim,) = checked({"ratings": [rating]}, made())
    assert (claim.published, claim.verdict) == ("1264 ± 5 (preview)", "open")
    assert claim.measured == "nobody has judged these pictures yet"


def test_what_two_sources_say_stands_beside_each_other() -> None:
    prices = [{"per_image": 0.067, **SOURCE}, {"per_image": 0.04, "source": "a blog", "note": "in passing"}]
    first, second = checked({"prices": prices}, made(cost=0.067))
    assert (first.verdict, second.verdict) == ("agrees", "differs")
    assert (second.source, second.date, second.note) == ("a blog", None, "in passing")


def test_facts_that_cannot_be_read_are_said_to_be() -> None:
    assert claims_of({"name": "m", "colour": "of another version"}, made(), "google").unreadable
    none = claims_of({}, made(), "import")
    assert (none.unreadable, none.claims) == (False, ())


@pytest.mark.parametrize("model", catalogue.load().models, ids=lambda model: model.name)
def test_every_model_of_the_catalogue_can_be_checked(model: Any) -> None:
    found = checked(model.model_dump(mode="json"), made(cost=0.05), model.provider, whole=True)
    caps = sum(len(getattr(model.caps, name)) for name in type(model.caps).model_fields)
    assert len(found) >= len(model.prices) + len(model.ratings) + len(model.latency)
    assert len(found) <= len(model.prices) + len(model.ratings) + len(model.latency) + caps
    assert all(claim.published and claim.measured for claim in found)
