"""What a request to a model may set, and the refusal of everything else.

A setting that is absent is one the model does not have. A bound or a default that is None is unknown to us: the
request goes through, and the model itself decides.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from diptych.errors import InvalidRequest
from diptych.images import Request

Pixels = Annotated[int, Field(ge=1)]
Sides = Annotated[tuple[Pixels, Pixels], Strict(False)]
"""Width and height in pixels."""


class _Setting(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Size(_Setting):
    """Width and height in pixels: either one of `choices`, or whatever the bounds allow."""

    default: Sides | None = None
    choices: Annotated[tuple[Sides, ...], Strict(False), Field(min_length=1)] | None = None
    multiple: Pixels = 1
    min_side: Pixels | None = None
    max_side: Pixels | None = None
    max_pixels: Pixels | None = None
    max_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Longer side over shorter side."""

    @model_validator(mode="after")
    def _possible(self) -> Size:
        bounds = (self.min_side, self.max_side, self.max_pixels, self.max_ratio)
        if self.choices is not None and (self.multiple != 1 or any(bound is not None for bound in bounds)):
            raise ValueError("choices already say everything; multiple and bounds do not go with them")
        if self.min_side and self.max_side and self.min_side > self.max_side:
            raise ValueError(f"min_side ({self.min_side}) is more than max_side ({self.max_side})")
        if self.default is not None and not self.allows(*self.default):
            raise ValueError(f"the default {_size(*self.default)} is not a size it allows: {self.rule()}")
        return self

    def allows(self, width: int, height: int) -> bool:
        if self.choices is not None:
            return (width, height) in self.choices
        return (
            width % self.multiple == 0
            and height % self.multiple == 0
            and (self.min_side is None or min(width, height) >= self.min_side)
            and (self.max_side is None or max(width, height) <= self.max_side)
            and (self.max_pixels is None or width * height <= self.max_pixels)
            and (self.max_ratio is None or max(width, height) <= self.max_ratio * min(width, height))
        )

    def rule(self) -> str:
        """What is possible, in words."""
        if self.choices is not None:
            return " or ".join(_size(*choice) for choice in self.choices)
        parts = [f"multiples of {self.multiple}"] if self.multiple > 1 else []
        if self.min_side is not None or self.max_side is not None:
            parts.append("sides " + _range(self.min_side, self.max_side, " pixels"))
        if self.max_pixels is not None:
            parts.append(f"at most {self.max_pixels:,} pixels in all")
        if self.max_ratio is not None:
            parts.append(f"1:{self.max_ratio:g} to {self.max_ratio:g}:1")
        return ", ".join(parts) or "any size"

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
        return _range(self.min, self.max)


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
        return _range(self.min, self.max)


class Prompt(_Setting):
    max_characters: Annotated[int, Field(ge=1)] | None = None


class Settings(_Setting):
    """The settings of one model. `source` and `date` say where they were read; a model's own file needs neither."""

    size: Size | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative: bool = False
    seed: bool = False
    prompt: Prompt = Prompt()
    source: Annotated[str, Field(min_length=1)] | None = None
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")] | None = None
    note: Annotated[str, Field(min_length=1)] | None = None

    def names(self) -> list[str]:
        """The settings the model has, beside the prompt."""
        return [name for name in ("size", "steps", "guidance", "negative", "seed") if getattr(self, name)]


def resolve(model: str, settings: Settings, request: Request) -> Request:
    """`request` with the defaults of `settings` filled in; raises InvalidRequest. `model` is for the messages."""
    longest = settings.prompt.max_characters
    for what, text in (("prompt", request.prompt), ("negative prompt", request.negative)):
        if longest is not None and text is not None and len(text) > longest:
            raise InvalidRequest(f"The {what} has {len(text):,} characters; {model} takes at most {longest:,}.")

    changes: dict[str, Any] = {}
    if request.width is not None and request.height is not None:
        if settings.size is None:
            raise _lacks(model, settings, "size", _size(request.width, request.height))
        _check_size(model, settings.size, request.width, request.height)
    elif settings.size is not None and settings.size.default is not None:
        changes["width"], changes["height"] = settings.size.default

    for name in ("steps", "guidance"):
        given, setting = getattr(request, name), getattr(settings, name)
        if given is None:
            if setting is not None and setting.default is not None:
                changes[name] = setting.default
        elif setting is None:
            raise _lacks(model, settings, name, _number(given))
        elif (setting.min is not None and given < setting.min) or (setting.max is not None and given > setting.max):
            raise InvalidRequest(f"{name} is {_number(given)}; {model} takes {setting.rule()}.")

    if request.negative and request.negative.strip():  # an empty one asks for nothing
        if not settings.negative:
            raise _lacks(model, settings, "negative", repr(_short(request.negative)))
        guidance = request.guidance if request.guidance is not None else changes.get("guidance")
        if settings.guidance is not None and settings.guidance.off is not None and guidance == settings.guidance.off:
            raise InvalidRequest(
                f"negative is {_short(request.negative)!r}, which has no effect at guidance {guidance:g}; "
                f"leave one of the two out, or set guidance above {settings.guidance.off:g}."
            )
    if request.seed is not None and not settings.seed:
        raise _lacks(model, settings, "seed", str(request.seed))
    return dataclasses.replace(request, **changes)


def _check_size(model: str, size: Size, width: int, height: int) -> None:
    if size.allows(width, height):
        return
    nearest = [] if size.choices is not None and len(size.choices) <= 4 else size.nearest(width, height)
    hint = f" Nearest: {' or '.join(_size(*s) for s in nearest)}." if nearest else ""
    raise InvalidRequest(f"size is {_size(width, height)}; {model} makes {size.rule()}.{hint}")


def _lacks(model: str, settings: Settings, name: str, given: str) -> InvalidRequest:
    has = settings.names()
    possible = f"it has {', '.join(has)}" if has else "it takes a prompt alone"
    return InvalidRequest(f"{name} is {given}, but {model} has no setting {name}; {possible}.")


def _check_range(default: float | None, least: float | None, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        raise ValueError(f"min ({least:g}) is more than max ({most:g})")
    if default is not None and ((least is not None and default < least) or (most is not None and default > most)):
        raise ValueError(f"the default {default:g} is not {_range(least, most)}")


def _range(least: float | None, most: float | None, unit: str = "") -> str:
    if least is not None and most is not None:
        return f"{_number(least)} to {_number(most)}{unit}"
    if least is not None:
        return f"at least {_number(least)}{unit}"
    return f"at most {_number(most)}{unit}" if most is not None else "anything"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _size(width: int, height: int) -> str:
    return f"{width}x{height}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
