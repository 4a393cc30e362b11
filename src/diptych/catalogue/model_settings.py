"""What a request to a model may set: the records. How a request is held against them is in `resolving`.

A setting that is absent is one the model does not have. A bound, a choice or a default that is None is unknown to us:
the request goes through, and the model itself decides.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, Strict, model_validator

from diptych.catalogue import shapes
from diptych.catalogue.words import any_of, number, number_range, size_text
from diptych.images import Option as OptionValue

Pixels = Annotated[int, Field(ge=1)]
Sides = Annotated[tuple[Pixels, Pixels], Strict(False)]
"""Width and height in pixels."""
Word = Annotated[str, Field(min_length=1)]
Words = Annotated[tuple[Word, ...], Strict(False), Field(min_length=1)]


class _Setting(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Size(_Setting):
    """Width and height in pixels: either one of `choices`, or whatever the bounds allow."""

    default: Sides | None = None
    choices: Annotated[tuple[Sides, ...], Strict(False), Field(min_length=1)] | None = None
    multiple: Pixels = 1
    min_side: Pixels | None = None
    max_side: Pixels | None = None
    min_pixels: Pixels | None = None
    max_pixels: Pixels | None = None
    max_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Longer side over shorter side."""
    follows_reference: bool = False
    """Whether a picture that goes in decides the size where none is asked for: its own, or the nearest that can be."""

    @model_validator(mode="after")
    def _possible(self) -> Size:
        bounds = (self.min_side, self.max_side, self.min_pixels, self.max_pixels, self.max_ratio)
        if self.choices is not None and (self.multiple != 1 or any(bound is not None for bound in bounds)):
            raise ValueError("choices already say everything; multiple and bounds do not go with them")
        for least, most in (("min_side", "max_side"), ("min_pixels", "max_pixels")):
            low, high = getattr(self, least), getattr(self, most)
            if low and high and low > high:
                raise ValueError(f"{least} ({low}) is more than {most} ({high})")
        if self.default is not None and not self.allows(*self.default):
            raise ValueError(f"the default {size_text(*self.default)} is not a size it allows: {self.rule()}")
        return self

    def allows(self, width: int, height: int) -> bool:
        if self.choices is not None:
            return (width, height) in self.choices
        return (
            width % self.multiple == 0
            and height % self.multiple == 0
            and (self.min_side is None or min(width, height) >= self.min_side)
            and (self.max_side is None or max(width, height) <= self.max_side)
            and (self.min_pixels is None or width * height >= self.min_pixels)
            and (self.max_pixels is None or width * height <= self.max_pixels)
            and (self.max_ratio is None or max(width, height) <= self.max_ratio * min(width, height))
        )

    def rule(self) -> str:
        """What is possible, in words."""
        if self.choices is not None:
            return any_of([size_text(*choice) for choice in self.choices])
        parts = [f"multiples of {self.multiple}"] if self.multiple > 1 else []
        if self.min_side is not None or self.max_side is not None:
            parts.append("sides " + number_range(self.min_side, self.max_side, " pixels"))
        if self.min_pixels is not None or self.max_pixels is not None:
            parts.append(number_range(self.min_pixels, self.max_pixels, " pixels in all"))
        if self.max_ratio is not None:
            parts.append(f"1:{self.max_ratio:g} to {self.max_ratio:g}:1")
        return ", ".join(parts) or "any size"

    def like(self, width: int, height: int) -> tuple[int, int] | None:
        """Of a picture that goes in: its own size where that is allowed, or the nearest one; None where none is."""
        if self.allows(width, height):
            return width, height
        found = self.nearest(width, height, count=1)
        return found[0] if found else self.default

    def nearest(self, width: int, height: int, count: int = 2) -> list[tuple[int, int]]:
        """Allowed sizes close to one that is not, closest first; empty when none is near."""
        if self.choices is not None:
            candidates = set(self.choices)
        else:
            within_w, within_h = self._within(width, height)
            candidates = set(itertools.product(self._around(within_w), self._around(within_h)))
        allowed = [size for size in candidates if self.allows(*size)]

        def distance(size: tuple[int, int]) -> tuple[int, float, tuple[int, int]]:
            # Among equally near sizes the one whose shape changes least.
            return abs(size[0] - width) + abs(size[1] - height), abs(size[0] / size[1] - width / height), size

        return sorted(allowed, key=distance)[:count]

    def _within(self, width: float, height: float) -> tuple[float, float]:
        """The same shape, as far as it may be kept, inside the bounds; not yet a multiple."""
        short, long = sorted((width, height))
        if self.max_side is not None:
            long = min(long, self.max_side)
        if self.max_ratio is not None:
            short = max(short, long / self.max_ratio)
        short = min(short, long)
        if self.min_pixels is not None and short * long < self.min_pixels:
            grow = (self.min_pixels / (short * long)) ** 0.5
            short, long = short * grow, long * grow
        if self.max_pixels is not None:
            shrink = min(1.0, (self.max_pixels / (short * long)) ** 0.5)
            short, long = short * shrink, long * shrink
        return (short, long) if width <= height else (long, short)

    def _around(self, side: float) -> list[int]:
        least = self.min_side or self.multiple
        most = self.max_side or max(int(side) + self.multiple, least)
        down = min(max(int(side), least), most) // self.multiple * self.multiple
        return [down, down + self.multiple]


class Steps(_Setting):
    default: Annotated[int, Field(ge=1)] | None = None
    min: Annotated[int, Field(ge=1)] | None = None
    max: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Steps:
        _check_range(self.default, self.min, self.max)
        return self

    def rule(self) -> str:
        return number_range(self.min, self.max)


class Guidance(_Setting):
    """How strongly the prompt pulls. At `off` it does not act, and neither does a negative prompt."""

    default: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    min: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    off: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Guidance:
        _check_range(self.default, self.min, self.max)
        return self

    def rule(self) -> str:
        return number_range(self.min, self.max)


class Prompt(_Setting):
    max_characters: Annotated[int, Field(ge=1)] | None = None


class Choice(_Setting):
    """A setting that takes one of some words: a class of size, a quality."""

    choices: Words | None = None
    default: Word | None = None

    @model_validator(mode="after")
    def _among(self) -> Choice:
        if self.default is not None and self.choices is not None and self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is none of {', '.join(self.choices)}")
        return self

    def rule(self) -> str:
        return "any" if self.choices is None else any_of(self.choices)


class AspectRatio(Choice):
    """The shape, as in "16:9". `at`: the class of size of every picture, where the model takes no image_size."""

    at: Literal["512", "1K", "2K", "4K"] | None = None

    @model_validator(mode="after")
    def _shapes(self) -> AspectRatio:
        for choice in (*(self.choices or ()), *([self.default] if self.default else [])):
            if not re.fullmatch(r"[1-9]\d{0,4}:[1-9]\d{0,4}", choice):
                raise ValueError(f'{choice!r} is no aspect ratio; it is written WIDTH:HEIGHT, as in "16:9"')
        return self


class References(_Setting):
    """Pictures that go in beside the prompt. `max` None: nobody says how many at most."""

    max: Annotated[int, Field(ge=1)] | None = None
    begin: bool = False
    """Of a model that runs here: it reads none, so the one that is given is what its picture begins from."""

    def rule(self) -> str:
        return "pictures, nobody says how many" if self.max is None else f"at most {self.max} pictures"


def _plain(value: Any) -> OptionValue:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r} is not a text, a number, true or false")
    return value


Plain = Annotated[OptionValue, PlainValidator(_plain), PlainSerializer(lambda value: value, return_type=Any)]
"""As it is written: pydantic must not make a number of true."""


class Option(_Setting):
    """A setting that only this vendor has, under the vendor's own name."""

    type: Literal["text", "whole number", "number", "yes/no"]
    choices: Annotated[tuple[Plain, ...], Strict(False), Field(min_length=1)] | None = None
    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    default: Plain | None = None
    """Sent where nothing else is asked for. None: left to the vendor."""
    excludes: Words | None = None
    """Settings that may not be given while this one is true."""
    note: Word | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Option:
        if self.type not in ("whole number", "number") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max go with numbers; this is of type {self.type}")
        if self.choices is not None and (self.min is not None or self.max is not None):
            raise ValueError("choices already say everything; min and max do not go with them")
        if self.excludes is not None and self.type != "yes/no":
            raise ValueError(f"excludes goes with yes/no; this is of type {self.type}")
        _check_range(None, self.min, self.max)
        for choice in self.choices or ():
            if not self.is_of_type(choice):
                raise ValueError(f"the choice {choice!r} is not of type {self.type}")
        if self.default is not None and not self.allows(self.default):
            raise ValueError(f"the default {self.default!r} is not what it allows: {self.rule()}")
        return self

    def is_of_type(self, value: OptionValue) -> bool:
        if self.type == "yes/no":
            return isinstance(value, bool)
        if self.type == "text":
            return isinstance(value, str)
        kinds = int if self.type == "whole number" else int | float
        return isinstance(value, kinds) and not isinstance(value, bool)

    def allows(self, value: OptionValue) -> bool:
        if not self.is_of_type(value) or (self.choices is not None and value not in self.choices):
            return False
        if isinstance(value, str):
            return True
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def rule(self) -> str:
        """What is possible, in words."""
        if self.choices is not None:
            return any_of([str(choice) for choice in self.choices])
        if self.type == "yes/no":
            return "true or false"
        if self.min is None and self.max is None:
            return {"text": "text", "whole number": "a whole number", "number": "a number"}[self.type]
        kind = "a whole number, " if self.type == "whole number" else ""
        return kind + number_range(self.min, self.max)


OptionName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
OWN_NAMES = (
    "size",
    "aspect_ratio",
    "image_size",
    "steps",
    "guidance",
    "negative",
    "seed",
    "quality",
    "references",
    "mask",
    "follows",
)
"""The settings that a request has under names of ours, in the order in which a person is told of them."""


class Settings(_Setting):
    """The settings of one model. `source` and `date` say where they were read; a model's own file needs neither.

    A model with `aspect_ratio` and without `size` takes a size in pixels too, where it fits one of its shapes and
    classes: see `resolving`.
    """

    size: Size | None = None
    aspect_ratio: AspectRatio | None = None
    image_size: Choice | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative: bool = False
    seed: bool = False
    quality: Choice | None = None
    references: References | None = None
    mask: bool = False
    follows: bool = False
    """Whether a request may go on from an earlier picture, with the conversation that made it."""
    prompt: Prompt = Prompt()
    options: dict[OptionName, Option] = {}  # pydantic copies it
    source: Annotated[str, Field(min_length=1)] | None = None
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")] | None = None
    note: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name, option in self.options.items():
            if name in (*OWN_NAMES, "prompt", "width", "height", "options", "original_prompt"):
                raise ValueError(f"the option {name} has the name of a setting of ours; give it there")
            for other in option.excludes or ():
                if other not in self.names():
                    raise ValueError(f"the option {name} excludes {other}, which is not a setting of this model")
        if self.mask and self.references is None:
            raise ValueError("a mask belongs to a reference, and this model takes none")
        if self.aspect_ratio is not None and self.aspect_ratio.at is not None and self.image_size is not None:
            raise ValueError("aspect_ratio.at goes with a model that takes no image_size")
        return self

    def names(self) -> list[str]:
        """The settings the model has, beside the prompt."""
        return [*(name for name in OWN_NAMES if getattr(self, name)), *self.options]

    def classes(self) -> tuple[str, ...]:
        """The classes of size in which it makes pictures, as far as they are known."""
        if self.image_size is not None and self.image_size.choices is not None:
            return tuple(name for name in self.image_size.choices if name in shapes.SIDES)
        return (self.aspect_ratio.at,) if self.aspect_ratio is not None and self.aspect_ratio.at else ()


def _check_range(default: float | None, least: float | None, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        raise ValueError(f"min ({number(least)}) is more than max ({number(most)})")
    if default is not None and ((least is not None and default < least) or (most is not None and default > most)):
        raise ValueError(f"the default {number(default)} is not {number_range(least, most)}")
