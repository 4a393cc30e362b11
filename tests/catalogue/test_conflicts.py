"""Sources that disagree stay side by side; sources that merely say less do not count as disagreeing."""

from __future__ import annotations

from typing import Any

import pytest

from diptych.catalogue import Model, load
from diptych.catalogue.reading import load_packaged

NAMES = load_packaged().names  # known before a test has its own home folder
KNOWN = {
    "flux-1-schnell": {"price, 1K"},
    "flux-2-pro": {"price, 1K", "rating, lm-arena", "caps, references, images", "latency"},
    "gemini-2.5-flash-image": {"dates, shutdown"},
    "gemini-3.1-flash-image": {"price, 1K"},
}


@pytest.mark.parametrize("name", NAMES)
def test_conflicts_of_the_packaged_models(name: str) -> None:
    assert {conflict.what for conflict in load().find(name).conflicts()} == KNOWN.get(name, set())


def test_a_conflict_names_every_claim_with_source_and_date() -> None:
    (conflict,) = load().find("gemini-2.5-flash-image").conflicts()
    assert conflict.to_dict() == {
        "what": "dates, shutdown",
        "claims": [
            {"value": "2026-10-02", "source": "ai.google.dev", "date": None},
            {"value": "2027-03-15", "source": "LiteLLM price file", "date": "2026-09"},
        ],
    }
    pro = load().find("flux-2-pro")
    price = next(c for c in pro.conflicts() if c.what == "price, 1K")
    assert [claim.value for claim in price.claims] == [0.03, 0.03, 0.055, 0.08]
    assert price.concerns(pro.prices[2])
    assert not price.concerns(pro.ratings[0])


def model(**values: Any) -> Model:
    return Model.model_validate(
        {"name": "m", "title": "M", "provider": "fal", "remote_id": "m"} | values,
    )


def test_a_date_that_says_less_agrees() -> None:
    facts = [{"value": "2026-03", "source": "a"}, {"value": "2026-03-18", "source": "b"}]
    assert model(dates={"shutdown": facts}).conflicts() == ()
    facts[0]["value"] = "2026-04"
    assert len(model(dates={"shutdown": facts}).conflicts()) == 1


def test_a_later_word_of_the_same_source_replaces_its_earlier_one() -> None:
    prices = [
        {"per_image": 0.05, "source": "a", "date": "2026-03"},
        {"per_image": 0.04, "source": "a", "date": "2026-08"},
    ]
    assert model(prices=prices).conflicts() == ()
    prices[1]["source"] = "b"
    assert len(model(prices=prices).conflicts()) == 1
    # Within one month nobody knows which came later.
    prices[1] |= {"source": "a", "date": "2026-03-18"}
    assert len(model(prices=prices).conflicts()) == 1


def test_what_is_not_about_the_same_thing_is_not_compared() -> None:
    ratings = [
        {"scale": "lm-arena", "value": 1000, "source": "a"},
        {"scale": "artificial-analysis", "value": 1200, "source": "b"},
        {"scale": "lm-arena", "value": 1100, "variant": "high", "source": "c"},
    ]
    licences = [
        {"value": "MIT", "variant": "code", "source": "a"},
        {"value": "CC-BY-4.0", "variant": "weights", "source": "b"},
    ]
    caps = {"max_size": [{"value": 4, "unit": "megapixels", "source": "a"}, {"value": "2048x2048", "source": "b"}]}
    prices = [{"per_size": {"2K": 0.1}, "source": "a"}, {"per_image": 0.04, "source": "b"}]
    assert model(ratings=ratings, licence=licences, caps=caps, prices=prices).conflicts() == ()


def test_latencies_conflict_only_when_their_ranges_do_not_meet() -> None:
    def claims(*ranges: tuple[float | None, float | None]) -> list[dict[str, Any]]:
        return [{"at_least": low, "at_most": high, "source": str(at)} for at, (low, high) in enumerate(ranges)]

    assert model(latency=claims((None, 10), (5, 30))).conflicts() == ()
    assert len(model(latency=claims((None, 10), (15, 30))).conflicts()) == 1
    assert model(latency=claims((15, None), (15, 30))).conflicts() == ()
