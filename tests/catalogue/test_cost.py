"""What a picture costs, held against published examples reckoned by hand. Unknown is never zero."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from diptych.catalogue import Model, TokenUsage, load
from diptych.catalogue.cost import dollars_of, megapixels, started
from diptych.catalogue.prices import Price
from diptych.catalogue.reading import load_packaged
from diptych.images import Cost, Input, Request
from diptych.settings import config_file

NAMES = load_packaged().names  # known before a test has its own home folder


def dollars(model: str, *, made: tuple[int, int] | None = None, **values: Any) -> float | None:
    entry = load().find(model)
    cost = entry.cost(entry.resolve(Request(prompt="a fox", **values)), made=made)
    return None if cost is None else cost.dollars


def reference(width: int, height: int) -> Input:
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return Input(out.getvalue())


def hosted(*prices: dict[str, Any], **values: Any) -> Model:
    listed = [{"source": "a"} | price for price in prices]
    return Model.model_validate(
        {"name": "m", "title": "M", "provider": "fal", "remote_id": "m", "prices": listed} | values
    )


# The published price lists, by hand


@pytest.mark.parametrize(
    ("model", "size", "references", "expected"),
    [
        # docs.bfl.ai: first megapixel + (megapixels - 1) * further + megapixels in * input
        ("flux-2-pro", (1024, 1024), [], 0.03),
        ("flux-2-pro", (2048, 2048), [], 0.03 + 3 * 0.015),  # 0.075
        ("flux-2-pro", (1920, 1088), [], 0.03 + 1 * 0.015),  # 1.99 megapixels
        ("flux-2-pro", (1024, 1024), [(1024, 1024)], 0.045),  # "1MP I2I" of BFL's own table
        ("flux-2-pro", (1024, 1024), [(1500, 1000), (64, 64)], 0.03 + (2 + 1) * 0.015),  # each rounded up by itself
        ("flux-2-max", (1024, 1024), [(1024, 1024)], 0.10),
        ("flux-2-flex", (1024, 1024), [(1024, 1024)], 0.10),
        ("flux-2-flex", (2048, 2048), [], 0.20),
        ("flux-2-klein-4b@black_forest_labs", (1024, 1024), [], 0.014),
        ("flux-2-klein-4b@black_forest_labs", (1024, 1024), [(1024, 1024)], 0.015),
        ("flux-2-klein-9b@black_forest_labs", (1024, 1024), [(1024, 1024)], 0.017),
        ("flux-2-klein-9b@black_forest_labs", (2048, 2048), [], 0.015 + 3 * 0.002),
        ("flux-1-dev@black_forest_labs", (1024, 768), [], 0.025),
        ("flux-pro-1.1", (1024, 768), [], 0.04),
        ("gemini-2.5-flash-image", (1024, 1024), [], 0.039),
        ("gemini-3-pro-image", (2048, 2048), [], 0.134),
        ("gemini-3-pro-image", (4096, 4096), [], 0.24),
        ("gemini-3.1-flash-image", (512, 512), [], 0.045),
        ("gemini-3.1-flash-image", (1344, 768), [], 0.067),
        ("gemini-3.1-flash-image", (5504, 3072), [], 0.151),
    ],
)
def test_published_examples(
    model: str, size: tuple[int, int], references: list[tuple[int, int]], expected: float
) -> None:
    pictures = tuple(reference(*one) for one in references)
    assert dollars(model, width=size[0], height=size[1], references=pictures) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "size", "quality", "expected"),
    [
        ("gpt-image-1.5", (1024, 1024), "high", 0.133),
        ("gpt-image-1.5", None, "low", 0.009),  # a size left to the vendor is taken as the one that is priced
        ("gpt-image-1.5", (1024, 1536), "medium", 0.05),
        ("gpt-image-1-mini", (1024, 1024), "high", 0.036),
        ("gpt-image-2", (1024, 1024), "medium", 0.053),
        ("gpt-image-1", (1536, 1024), "high", None),  # priced at 1024x1024 alone
        ("gpt-image-2", (2048, 2048), "medium", None),
        ("gpt-image-2", (1024, 1024), "auto", None),  # the vendor chooses, so nobody knows
        ("gpt-image-2", (1024, 1024), None, None),
    ],
)
def test_prices_by_quality(
    model: str, size: tuple[int, int] | None, quality: str | None, expected: float | None
) -> None:
    width, height = size or (None, None)
    assert dollars(model, width=width, height=height, quality=quality) == expected


def test_a_price_by_quality_says_nothing_of_pictures_that_go_in() -> None:
    assert dollars("gpt-image-1.5", quality="low", references=(reference(64, 64),)) is None


def test_the_picture_that_came_counts() -> None:
    assert dollars("flux-2-pro") is None, "nobody asked for a size, and BFL chooses it"
    assert dollars("flux-2-pro", made=(1024, 1024)) == 0.03
    assert dollars("flux-2-pro", width=1024, height=1024, made=(1440, 1440)) == pytest.approx(0.045)
    assert dollars("gpt-image-1.5", quality="low", made=(1024, 1536)) == 0.013
    assert dollars("gpt-image-1", quality="low", made=(1536, 1024)) is None
    assert dollars("gemini-3.1-flash-image", image_size="2K") == 0.101
    lite = load().find("gemini-3.1-flash-lite-image")
    assert lite.cost(Request(prompt="a fox")) is None
    assert lite.cost(Request(prompt="a fox"), made=(1024, 1024)) == Cost(
        0.0336, "price", source="LiteLLM price file", date="2026-09"
    )
    assert lite.cost(Request(prompt="a fox"), made=(2048, 2048)) is None, "no price is known at 2K"
    assert lite.cost(Request(prompt="a fox"), made=(1920, 1080)) is None, "between two classes"


def test_a_price_by_megapixels_and_steps() -> None:
    price = hosted({"per_megapixel": 0.01, "at_steps": 28}).prices[0]
    assert dollars_of(price, Request(prompt="x", width=1024, height=1024, steps=28)) == pytest.approx(0.01)
    assert dollars_of(price, Request(prompt="x", width=2048, height=1024, steps=56)) == pytest.approx(0.04)
    assert dollars_of(price, Request(prompt="x", width=512, height=512, steps=28)) == pytest.approx(0.0025)
    assert dollars_of(price, Request(prompt="x", width=1024, height=1024)) is None
    assert dollars_of(price, Request(prompt="x", steps=28)) is None
    plain = hosted({"per_megapixel": 0.01}).prices[0]
    assert dollars_of(plain, Request(prompt="x", width=1024, height=512, steps=3)) == pytest.approx(0.005)


def test_megapixels() -> None:
    assert [started(*size) for size in ((64, 64), (1024, 1024), (1024, 1025), (1920, 1080), (2048, 2048))] == [
        1,
        1,
        2,
        2,
        4,
    ]
    assert megapixels(512, 512) == 0.25


# Which price it is


def test_the_cost_names_its_source_and_date() -> None:
    model = load().find("gemini-3.1-flash-image")
    cost = model.cost(model.resolve(Request(prompt="a fox")))
    assert cost == Cost(0.067, "price", source="LiteLLM price file", date="2026-09")


def test_the_first_source_counts_and_a_round_sum_of_another_is_a_claim() -> None:
    by_size = {"per_size": {"1K": 0.1}, "source": "vendor"}
    model = hosted(by_size, {"per_image": 0.04, "source": "blog"})
    at_1k, at_4k = (Request(prompt="x", image_size=size) for size in ("1K", "4K"))
    assert model.cost(at_1k) == Cost(0.1, "price", source="vendor")
    assert model.cost(at_4k) is None, "the blog's price is not reckoned with"
    listed = hosted(by_size, {"per_size": {"1K": 0.2, "4K": 0.3}, "source": "list"})
    assert listed.cost(at_1k) == Cost(0.1, "price", source="vendor")
    assert listed.cost(at_4k) == Cost(0.3, "price", source="list"), "of what the best source is silent on"


def test_only_prices_of_who_serves_it() -> None:
    assert dollars("flux-3-image") is None, "the only price known is that of another seller"
    assert load().find("flux-3-image").prices
    assert dollars("flux-1-schnell@fal") == 0.003
    other = hosted({"per_image": 0.5, "seller": "somebody"}, {"per_image": 0.1, "seller": "fal"})
    assert other.cost(Request(prompt="x")) == Cost(0.1, "price", source="a")
    assert hosted({"per_image": 0.1}).cost(Request(prompt="x")) == Cost(0.1, "price", source="a")
    resold = hosted({"per_image": 0.1}, routes=[{"provider": "replicate", "id": "r"}])
    assert resold.seller == "fal"


def test_region_and_tier() -> None:
    model = hosted(
        {"per_image": 0.04},
        {"per_image": 0.05, "region": "eu"},
        {"per_image": 0.02, "tier": "batch"},
        {"per_image": 0.03, "tier": "batch", "region": "eu"},
    )

    def cost(**options: Any) -> float | None:
        found = model.cost(Request(prompt="x", options=options))
        return None if found is None else found.dollars

    assert (cost(), cost(region="eu"), cost(tier="batch"), cost(tier="batch", region="eu")) == (0.04, 0.05, 0.02, 0.03)
    assert cost(region="us") == 0.04, "most lists do not tell regions apart"
    assert cost(tier="priority") is None, "a tier may cost twice as much"


# Tokens


def test_cost_of_usage() -> None:
    gemini = load().find("gemini-3-pro-image")
    # 1120 image tokens at 120 dollars a million is the published 0.134; 20 words and 900 tokens of thought beside it
    cost = gemini.cost_of_usage(TokenUsage(text_in=20, text_out=900, image_out=1120))
    assert cost is not None
    assert cost.dollars == pytest.approx(20 * 2e-6 + 900 * 12e-6 + 0.1344)
    assert (cost.basis, cost.source) == ("usage", "LiteLLM price file")
    usage = TokenUsage(text_in=50, image_in=1000, image_out=1056)
    edit = load().find("gpt-image-1").cost_of_usage(usage)
    assert edit is not None
    assert edit.dollars == pytest.approx((50 * 5 + 1000 * 10 + 1056 * 40) / 1e6)


def test_tokens_without_a_price_are_unknown() -> None:
    assert load().find("flux-2-pro").cost_of_usage(TokenUsage(image_out=1)) is None
    assert load().find("gpt-image-1").cost_of_usage(TokenUsage(text_out=1)) is None, "no rate for words that come out"
    free = hosted({"per_million_tokens": {"image_out": 0}})
    assert free.cost_of_usage(TokenUsage(image_out=9)) == Cost(0.0, "usage", source="a"), "free is not unknown"


def test_tokens_a_picture_give_an_estimate() -> None:
    model = hosted({"per_million_tokens": {"image_in": 1, "image_out": 30}, "tokens_per_image": 1290})
    cost = model.cost(Request(prompt="x"))
    assert cost is not None
    assert (cost.dollars, cost.basis) == (pytest.approx(0.0387), "price")
    assert model.cost(Request(prompt="x", references=(reference(8, 8),))) is None
    assert hosted({"per_million_tokens": {"image_out": 30}}).cost(Request(prompt="x")) is None


# Machines and rehearsals


def test_a_local_picture_costs_seconds_of_this_machine() -> None:
    model = load().find("builtin-flow")
    request = model.resolve(Request(prompt="a fox"))
    assert model.cost(request, seconds=10.0) is None, "unknown until somebody says what the machine costs"
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text("dollars_per_hour = 3.6\n")
    assert model.cost(request) is None, "not known before the fact"
    cost = model.cost(request, seconds=10.0)
    assert cost is not None
    assert (cost.dollars, cost.basis) == (pytest.approx(0.01), "machine")
    config_file().write_text("dollars_per_hour = 0\n")
    assert model.cost(request, seconds=10.0) == Cost(0.0, "machine", source="dollars_per_hour in diptych.toml")


def test_a_local_model_never_costs_what_a_vendor_asks() -> None:
    for name in ("flux-2-klein-4b", "flux-2-dev", "flux-1-dev"):
        assert load().find(name).prices
        assert dollars(name, width=1024, height=1024) is None


def test_a_rehearsal_costs_what_it_is_told() -> None:
    assert dollars("fake-a") == 0.0
    assert dollars("fake-b", options={"price": 0.04}) == 0.04
    anything = load().find("fake/x")
    assert anything.cost(Request(prompt="x", options={"price": "much"})) is None


# In general


def test_an_image_that_costs_nothing_is_a_claim_like_any_other() -> None:
    assert dollars("flux-1-schnell") is None
    assert hosted({"per_image": 0}).cost(Request(prompt="x")) == Cost(0.0, "price", source="a")


@pytest.mark.parametrize("name", NAMES)
def test_unknown_is_never_zero(name: str) -> None:
    model = load().find(name)
    cost = model.cost(model.resolve(Request(prompt="a fox")))
    assert cost is None or cost.dollars > 0 or model.provider == "fake"
    assert cost is None or cost.source


SIDES = st.integers(64, 8192)
RATES = st.none() | st.floats(0, 1)


@settings(deadline=None)
@given(first=st.floats(0, 1), further=RATES, sides=st.tuples(SIDES, SIDES), more=st.tuples(SIDES, SIDES))
def test_more_megapixels_never_cost_less(
    first: float, further: float | None, sides: tuple[int, int], more: tuple[int, int]
) -> None:
    small, large = sorted((sides, more), key=lambda size: size[0] * size[1])
    for price in (
        {"first_megapixel": first, "further_megapixel": further},
        {"per_megapixel": first},
    ):
        model = hosted({key: value for key, value in price.items() if value is not None})
        less, rest = (model.cost(Request(prompt="x", width=w, height=h)) for w, h in (small, large))
        if less is None or rest is None:
            assert further is None, "only a further megapixel without a price is unknown"
            assert started(*large) > 1
        else:
            assert less.dollars <= rest.dollars


@settings(deadline=None)
@given(counts=st.tuples(*[st.integers(0, 10**6)] * 4), rates=st.tuples(*[RATES] * 4))
def test_tokens_are_added_up_or_unknown(counts: tuple[int, ...], rates: tuple[float | None, ...]) -> None:
    kinds = ("text_in", "image_in", "text_out", "image_out")
    given_rates = {kind: rate for kind, rate in zip(kinds, rates, strict=True) if rate is not None}
    assume(given_rates)
    usage = TokenUsage(**dict(zip(kinds, counts, strict=True)))
    cost = hosted({"per_million_tokens": given_rates}).cost_of_usage(usage)
    unknown = any(count and rate is None for count, rate in zip(counts, rates, strict=True))
    assert (cost is None) == unknown
    if cost is not None:
        by_hand = sum(count * (rate or 0) / 1e6 for count, rate in zip(counts, rates, strict=True))
        assert cost.dollars == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ({"per_million_tokens": {}}, "there is no rate; possible: text_in, image_in, text_out, image_out"),
        ({"per_million_tokens": {"image_out": 1}, "per_image": 1}, "has per_image and per_million_tokens"),
        ({"per_image": 1, "tokens_per_image": 3}, "tokens_per_image goes with per_million_tokens"),
        ({"per_quality": {"low": 1}, "at": "square"}, "at is 'square'; it is a size in pixels, as in 1024x1024"),
        ({"per_million_tokens": {"text_inn": 1}}, "text_inn"),
    ],
)
def test_prices_that_make_no_sense(price: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Price.model_validate({"source": "a"} | price)


def test_prices_of_another_region_or_tier_do_not_conflict() -> None:
    apart = [{"per_image": 0.04}, {"per_image": 0.05, "region": "eu"}, {"per_image": 0.02, "tier": "batch"}]
    assert hosted(*apart).conflicts() == ()
    for one, other in itertools.combinations(apart, 2):
        assert hosted(one, other | {"source": "b"}).conflicts() == ()
    assert len(hosted(apart[1], {"per_image": 0.06, "region": "eu", "source": "b"}).conflicts()) == 1
