"""Prices as their sources state them. What a picture costs by them is reckoned in `cost`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from diptych.catalogue.records import Dollars, Record, Sourced, Text

PictureSize = Literal["512", "1K", "2K", "4K"]
"""Classes of size in which vendors price: 1K is about 1024x1024, one megapixel. See `shapes`."""
Quality = Literal["low", "medium", "high"]


FORMS = ("per_image", "per_size", "per_quality", "first_megapixel", "per_megapixel", "per_million_tokens")


class TokenRates(Record):
    """Dollars for a million tokens of each kind. None: unknown, or a kind that the vendor does not bill."""

    text_in: Dollars | None = None
    image_in: Dollars | None = None
    text_out: Dollars | None = None
    image_out: Dollars | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> TokenRates:
        if all(getattr(self, kind) is None for kind in type(self).model_fields):
            raise ValueError(f"there is no rate; possible: {', '.join(type(self).model_fields)}")
        return self


class Price(Sourced):
    """What a picture costs in dollars, in the one form that the source states it in.

    per_image                                     every picture the same
    per_size                                      by class of size: {1K = 0.067, 2K = 0.101}
    per_quality                                   by quality, at the size `at`: {low = 0.011, high = 0.167}
    first_megapixel + further_megapixel           first + (megapixels out - 1) * further + megapixels in *
        + input_megapixel                         input; megapixels in are those of reference pictures
    per_megapixel, at_steps                       megapixels * steps / at_steps; without at_steps, megapixels alone
    per_million_tokens, tokens_per_image          tokens by kind, as the vendor counts them; tokens_per_image is how
                                                  many image_out a picture has, which gives its price beforehand
    """

    unit: Literal["USD"] = "USD"
    seller: Text | None = None
    """Who bills it. None: the source does not say; taken as who serves the entry, or its maker where it runs here."""
    region: Text | None = None
    """Where it holds, as the request's option `region` names it. None: wherever no price of that region is known."""
    tier: Text | None = None
    """The service tier, as the request's option `tier` names it. None: the standard one."""
    per_image: Dollars | None = None
    per_size: dict[PictureSize, Dollars] | None = Field(None, min_length=1)
    per_quality: dict[Quality, Dollars] | None = Field(None, min_length=1)
    at: Text | None = None
    first_megapixel: Dollars | None = None
    further_megapixel: Dollars | None = None
    input_megapixel: Dollars | None = None
    per_megapixel: Dollars | None = None
    at_steps: Annotated[int, Field(ge=1)] | None = None
    per_million_tokens: TokenRates | None = None
    tokens_per_image: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Price:
        given = [form for form in FORMS if getattr(self, form) is not None]
        if len(given) != 1:
            raise ValueError(f"a price has one of {', '.join(FORMS)}; this has {' and '.join(given) or 'none'}")
        needs = {
            "at": "per_quality",
            "further_megapixel": "first_megapixel",
            "input_megapixel": "first_megapixel",
            "at_steps": "per_megapixel",
            "tokens_per_image": "per_million_tokens",
        }
        if self.at is not None and not re.fullmatch(r"\d{1,5}x\d{1,5}", self.at):
            raise ValueError(f"at is {self.at!r}; it is a size in pixels, as in 1024x1024")
        for key, form in needs.items():
            if getattr(self, key) is not None and given != [form]:
                raise ValueError(f"{key} goes with {form}, which this price does not have")
        return self

    @property
    def form(self) -> str:
        """Which of `FORMS` it has."""
        return next(form for form in FORMS if getattr(self, form) is not None)

    def points(self) -> dict[str, float]:
        """Dollars by what they buy: `1K` is one picture of about a megapixel. Points of two sources compare.

        What a price is for beside that, its region and tier, is not in them.
        """
        if self.per_image is not None:
            return {"1K": self.per_image}
        if self.per_size is not None:
            return {str(size): dollars for size, dollars in self.per_size.items()}
        if self.per_quality is not None:
            at = "1K" if self.at in (None, "1024x1024") else self.at
            return {f"{at} {quality}": dollars for quality, dollars in self.per_quality.items()}
        if self.per_megapixel is not None:
            return {f"1K at {self.at_steps} steps" if self.at_steps else "1K": self.per_megapixel}
        if self.per_million_tokens is not None:
            rates = self.per_million_tokens.model_dump(exclude_none=True)
            return {f"million {kind.replace('_', ' ')} tokens": dollars for kind, dollars in rates.items()}
        named = {
            "1K": self.first_megapixel,
            "further megapixel": self.further_megapixel,
            "input megapixel": self.input_megapixel,
        }
        return {what: dollars for what, dollars in named.items() if dollars is not None}
