"""Settings that come as text, from a command line or a form, to the request that they make."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from diptych.catalogue.model_settings import Option
from diptych.catalogue.words import any_of, short
from diptych.errors import InvalidRequest, near
from diptych.images import Option as OptionValue
from diptych.images import Request, parse_size

if TYPE_CHECKING:
    from diptych.catalogue.model import Model

WORDS = ("aspect_ratio", "image_size", "quality", "negative")
NUMBERS = ("steps", "guidance", "seed")
NAMES = ("size", *WORDS, *NUMBERS)
NOT_TEXT = {
    "width": "size=WIDTHxHEIGHT",
    "height": "size=WIDTHxHEIGHT",
    "prompt": "it where the request is made",
    "original_prompt": "it where the request is made",
    "references": "pictures where the request is made",
    "mask": "a picture where the request is made",
    "follows": "a picture where the request is made",
    "options": "each by its own name",
}
YES, NO = ("true", "yes", "on"), ("false", "no", "off")


def with_settings(request: Request, values: Mapping[str, str], model: Model) -> Request:
    """See `diptych.catalogue.with_settings`."""
    for name in values:
        if name in NOT_TEXT:
            raise InvalidRequest(f"{name} cannot be set as text; set {NOT_TEXT[name]}.")
    changes: dict[str, Any] = {}
    options: dict[str, OptionValue] = dict(request.options)
    for name, text in values.items():
        text = text.strip()
        if name == "size":
            changes["width"], changes["height"] = parse_size(text)
        elif name in WORDS:
            changes[name] = text
        elif name == "guidance":
            changes[name] = _number(name, text, "a number")
        elif name in NUMBERS:
            changes[name] = _whole_number(name, text, "a whole number")
        else:
            options[name] = _option(name, text, model)
    return dataclasses.replace(request, **changes, options=options)


def _option(name: str, text: str, model: Model) -> OptionValue:
    if model.settings is None:
        return _by_look(text)
    option = model.settings.options.get(name)
    if option is None:
        known = [one for one in model.settings.names() if one in NAMES or one in model.settings.options]
        guess = near(name, known, count=1)
        hint = f" Did you mean {guess[0]}?" if guess else ""
        possible = f"it has {', '.join(known)}" if known else "it takes a prompt alone"
        raise InvalidRequest(f"{name} is {short(text)!r}, but {model.name} has no setting {name}; {possible}.{hint}")
    return _of_type(name, text, option)


def _of_type(name: str, text: str, option: Option) -> OptionValue:
    if option.type == "yes/no":
        return _yes_or_no(name, text)
    parse: Callable[[str, str, str], OptionValue] = {
        "text": lambda name, text, rule: text,
        "whole number": _whole_number,
        "number": _number,
    }[option.type]
    return parse(name, text, option.rule())


def _yes_or_no(name: str, text: str) -> bool:
    if text.lower() in (*YES, *NO):
        return text.lower() in YES
    raise InvalidRequest(f"{name} is {short(text)!r}; it is {any_of(('true', 'false'))}.")


def _whole_number(name: str, text: str, rule: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidRequest(f"{name} is {short(text)!r}; it is {rule}.") from None


def _number(name: str, text: str, rule: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequest(f"{name} is {short(text)!r}; it is {rule}.")
    return value


def _by_look(text: str) -> OptionValue:
    """true or false as a yes or no, what reads as a number as a number, all else as text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text
