"""What a picture costs: the arithmetic of prices, as pure functions. What cannot be known is None, never zero.

A megapixel is 1024x1024 pixels, and where a price is by the first and by further megapixels, every picture's are
rounded up to a whole number, those of each reference by themselves. Black Forest Labs publishes the formula without
the rounding (black-forest-labs/skills at d0793c8, SKILL.md: "(firstMP + (outputMP - 1) * mpPrice) + (inputMP *
mpPrice)"). Sellers of the same models state it: "rounded up to the next megapixel, separately for each reference image
and the generated image; 1 megapixel = 1024x1024 pixels" (lumenfall.ai, of fal and of Replicate). It gives BFL's own
examples: 0.03 for 1 MP of FLUX.2 pro, 0.045 with one reference. Of the two readings it is the dearer one, so an
estimate errs to the safe side; what BFL states for the request itself replaces it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diptych.catalogue import shapes
from diptych.catalogue.words import size_text
from diptych.images import Cost, Input, Request, parse_size

if TYPE_CHECKING:
    from diptych.catalogue.prices import Price

MEGAPIXEL = 1024 * 1024
"""Pixels. With a million, a picture of 2048x2048, which BFL sells as 4 megapixels, would have 4.19."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens that a vendor counted for one request, by kind."""

    text_in: int = 0
    image_in: int = 0
    text_out: int = 0
    image_out: int = 0


def applicable(prices: Iterable[Price], seller: str | None, options: Mapping[str, object]) -> list[Price]:
    """The prices that hold for one request, out of those of a model, in their order.

    seller: who serves the request; a price that names no seller is of him too. A request's option `tier` takes the
    prices of that tier alone, as another tier may cost half or twice as much; `region` those of that region, else
    those that name none, as most lists do not tell regions apart.
    """
    region, tier = options.get("region"), options.get("tier")
    found = [price for price in prices if price.seller in (None, seller) and price.tier == tier]
    there = [price for price in found if price.region is not None and price.region == region]
    return there or [price for price in found if price.region is None]


def of_picture(prices: Sequence[Price], request: Request, made: tuple[int, int] | None = None) -> Cost | None:
    """The cost of one picture by the first of `prices` that speaks of such a picture, out of those of the first's form.

    The catalogue lists the best source first: the vendor's own page, then lists that quote it, then what others say.
    A price in another form than the best one's, as a round sum that a blog names beside a price list by megapixels, is
    a claim to be shown, and not to be reckoned with. made: the size of the picture that came, in pixels.
    """
    usable = [price for price in prices if price.per_million_tokens is None or price.tokens_per_image is not None]
    for price in usable:
        if price.form == usable[0].form:
            dollars = dollars_of(price, request, made)
            if dollars is not None:
                return Cost(dollars, "price", source=price.source, date=price.date)
    return None


def of_usage(prices: Iterable[Price], usage: TokenUsage) -> Cost | None:
    """Tokens of each kind times the price of a million of that kind, by the first price per token.

    None without such a price, and where it has no rate for a kind of which there were tokens.
    """
    price = next((price for price in prices if price.per_million_tokens is not None), None)
    if price is None or price.per_million_tokens is None:
        return None
    dollars = 0.0
    for kind in ("text_in", "image_in", "text_out", "image_out"):
        count, rate = getattr(usage, kind), getattr(price.per_million_tokens, kind)
        if count and rate is None:
            return None
        dollars += count * (rate or 0.0) / 1e6
    return Cost(dollars, "usage", source=price.source, date=price.date)


def of_machine(seconds: float | None, dollars_per_hour: float | None) -> Cost | None:
    """seconds x dollars per hour / 3600; None before the fact, or where nobody said what the machine costs."""
    if seconds is None or dollars_per_hour is None:
        return None
    return Cost(seconds * dollars_per_hour / 3600, "machine", source="dollars_per_hour in diptych.toml")


def dollars_of(price: Price, request: Request, made: tuple[int, int] | None = None) -> float | None:
    """Dollars for one picture by one price; None where the price does not speak of such a picture."""
    size = made or _asked(request)
    if price.per_image is not None:
        return price.per_image
    if price.per_size is not None:
        name = request.image_size or (shapes.class_of(*size) if size else None)
        return next((dollars for key, dollars in price.per_size.items() if key == name), None)
    if price.per_quality is not None:
        return _by_quality(price, request, size)
    if price.first_megapixel is not None:
        return _by_megapixels(price, request, size)
    if price.per_megapixel is not None:
        return _by_megapixels_and_steps(price, request, size)
    return _by_tokens(price, request)


def megapixels(width: int, height: int) -> float:
    """Megapixels of 1024x1024, not rounded."""
    return width * height / MEGAPIXEL


def started(width: int, height: int) -> int:
    """Megapixels of 1024x1024, rounded up: 1920x1080 has 2."""
    return math.ceil(megapixels(width, height))


def _by_quality(price: Price, request: Request, size: tuple[int, int] | None) -> float | None:
    """The price of the request's quality, at the size that the price is for; a request of no size is taken as of it.

    With pictures that go in it is unknown: vendors that price by quality bill those by their tokens, on top.
    """
    if price.per_quality is None or request.references:
        return None
    if size is not None and price.at is not None and size_text(*size) != size_text(*parse_size(price.at)):
        return None
    return next((dollars for key, dollars in price.per_quality.items() if key == request.quality), None)


def _by_megapixels(price: Price, request: Request, size: tuple[int, int] | None) -> float | None:
    """first + (megapixels out - 1) * further + megapixels in * input, each picture's megapixels rounded up.

    Source of the formula: docs.bfl.ai/quick_start/pricing and black-forest-labs/skills at d0793c8.
    """
    if price.first_megapixel is None or size is None:
        return None
    further = started(*size) - 1
    going_in = sum(started(*_size_of(one)) for one in request.references)
    if (further and price.further_megapixel is None) or (going_in and price.input_megapixel is None):
        return None
    return (
        price.first_megapixel + further * (price.further_megapixel or 0.0) + going_in * (price.input_megapixel or 0.0)
    )


def _by_megapixels_and_steps(price: Price, request: Request, size: tuple[int, int] | None) -> float | None:
    """dollars * megapixels, times steps / at_steps where the price is for a number of steps; nothing is rounded.

    Source of the formula: DeepInfra's price of FLUX.2 dev, 0.01 * MP * steps / 28.
    """
    if price.per_megapixel is None or size is None or (price.at_steps is not None and request.steps is None):
        return None
    times = (request.steps or 1) / price.at_steps if price.at_steps is not None else 1.0
    return price.per_megapixel * megapixels(*size) * times


def _by_tokens(price: Price, request: Request) -> float | None:
    """tokens_per_image * image_out / 1e6: the picture alone, as the prompt's few tokens are known only afterwards.

    With pictures that go in it is unknown: how many tokens they are is the vendor's secret until it has counted.
    """
    rates = price.per_million_tokens
    if rates is None or rates.image_out is None or price.tokens_per_image is None or request.references:
        return None
    return price.tokens_per_image * rates.image_out / 1e6


def _asked(request: Request) -> tuple[int, int] | None:
    return (request.width, request.height) if request.width is not None and request.height is not None else None


def _size_of(picture: Input) -> tuple[int, int]:
    """From the header alone: the picture itself was checked when it became an `Input`."""
    from PIL import Image

    with Image.open(io.BytesIO(picture.data)) as image:
        return image.size
