"""A request held against the settings of a model: defaults filled in, and the refusal of what the model lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from diptych.catalogue import shapes
from diptych.catalogue.model_settings import OWN_NAMES, Choice, Option, Settings, Size
from diptych.catalogue.words import any_of, number, short, size_text
from diptych.errors import InvalidRequest, near
from diptych.images import Option as OptionValue
from diptych.images import Request, inspect_picture


def resolve(model: str, settings: Settings, request: Request) -> Request:
    """`request` with the defaults of `settings` filled in; raises InvalidRequest. `model` is for the messages.

    Resolving what is resolved already changes nothing.
    """
    longest = settings.prompt.max_characters
    for what, text in (("prompt", request.prompt), ("negative prompt", request.negative)):
        if longest is not None and text is not None and len(text) > longest:
            raise InvalidRequest(f"The {what} has {len(text):,} characters; {model} takes at most {longest:,}.")
    changes: dict[str, Any] = {}
    for name in ("aspect_ratio", "image_size", "quality"):
        changes |= _choice(model, settings, name, getattr(request, name))
    changes |= _size(model, settings, request)
    for name in ("steps", "guidance"):
        given, setting = getattr(request, name), getattr(settings, name)
        if given is None:
            if setting is not None and setting.default is not None:
                changes[name] = setting.default
        elif setting is None:
            raise _lacks(model, settings, name, number(given))
        elif (setting.min is not None and given < setting.min) or (setting.max is not None and given > setting.max):
            raise InvalidRequest(f"{name} is {number(given)}; {model} takes {setting.rule()}.")
    _check_negative(model, settings, request, changes.get("guidance", request.guidance))
    if request.seed is not None and not settings.seed:
        raise _lacks(model, settings, "seed", str(request.seed))
    _check_pictures(model, settings, request)
    options = _options(model, settings, request)
    for name, option in settings.options.items():
        for other in option.excludes or ():
            if options.get(name) is True and _given(request, options, other):
                raise InvalidRequest(
                    f"{other} does not go with {name}=true for {model}; leave it out, or set {name}=false."
                )
    return dataclasses.replace(request, **changes, options=options)


def takes_seed(settings: Settings | None, request: Request) -> bool:
    """Whether a seed may be drawn for `request`: the model has the setting, and no option that is on excludes it."""
    if settings is None or not settings.seed:
        return False
    return not any(
        "seed" in (option.excludes or ()) and request.options.get(name, option.default) is True
        for name, option in settings.options.items()
    )


def _choice(model: str, settings: Settings, name: str, given: str | None) -> dict[str, str]:
    setting: Choice | None = getattr(settings, name)
    if given is None:
        return {} if setting is None or setting.default is None else {name: setting.default}
    if setting is None:
        raise _lacks(model, settings, name, repr(short(given)))
    if setting.choices is not None and given not in setting.choices:
        guess = near(given, setting.choices, count=1)
        hint = f" Did you mean {guess[0]}?" if guess else ""
        raise InvalidRequest(f"{name} is {short(given)!r}; {model} takes {setting.rule()}.{hint}")
    return {}


def _size(model: str, settings: Settings, request: Request) -> dict[str, Any]:
    """Width and height: checked, filled in, or said in the model's own words for it."""
    width, height = request.width, request.height
    if width is None or height is None:
        if settings.size is not None and settings.size.follows_reference and request.references:
            seen = inspect_picture(request.references[0].data)
            found = settings.size.like(seen.width, seen.height)
            return {} if found is None else dict(zip(("width", "height"), found, strict=True))
        shaped = request.aspect_ratio is not None or request.image_size is not None
        if settings.size is None or settings.size.default is None or shaped:  # a shape was asked for in its place
            return {}
        return dict(zip(("width", "height"), settings.size.default, strict=True))
    if settings.size is not None:
        _check_size(model, settings.size, width, height)
    elif settings.aspect_ratio is None:
        raise _lacks(model, settings, "size", size_text(width, height))
    for name, fits in (("aspect_ratio", shapes.is_shape), ("image_size", shapes.in_class)):
        asked = getattr(request, name)
        if asked is not None and not fits(width, height, asked):
            raise InvalidRequest(
                f"size is {size_text(width, height)}, which is not {name} {asked}; leave one of them out."
            )
    return {} if settings.size is not None else _as_shape(model, settings, request, width, height)


def _as_shape(model: str, settings: Settings, request: Request, width: int, height: int) -> dict[str, str]:
    """The aspect ratio and class of size that stand for width x height, which stay in the request as what was asked."""
    ratios = settings.aspect_ratio.choices if settings.aspect_ratio is not None else None
    classes = settings.classes() or tuple(shapes.SIDES)
    # Where we do not know which shapes there are, the very one that was asked for goes through.
    nearest = shapes.nearest_shape(width, height, ratios) if ratios else shapes.exact_shape(width, height)
    shape = request.aspect_ratio or nearest
    found = [name for name in classes if shapes.in_class(width, height, name)]
    if not shapes.is_shape(width, height, shape) or not found:
        sizes = found or shapes.nearest_classes(width, height, classes)
        raise InvalidRequest(
            f"size is {size_text(width, height)}; {model} takes no pixels, but a shape{_among(ratios)} and a class of "
            f"size{_among(classes)}. Nearest: {shape} at {any_of(sizes)}."
        )
    return {"aspect_ratio": shape} | ({"image_size": found[0]} if settings.image_size is not None else {})


def _among(choices: Sequence[str] | None) -> str:
    return f" ({any_of(choices)})" if choices else ""


def _check_size(model: str, size: Size, width: int, height: int) -> None:
    if size.allows(width, height):
        return
    nearest = [] if size.choices is not None and len(size.choices) <= 4 else size.nearest(width, height)
    hint = f" Nearest: {any_of([size_text(*s) for s in nearest])}." if nearest else ""
    raise InvalidRequest(f"size is {size_text(width, height)}; {model} makes {size.rule()}.{hint}")


def _check_negative(model: str, settings: Settings, request: Request, guidance: float | None) -> None:
    if not request.negative or not request.negative.strip():  # an empty one asks for nothing
        return
    if not settings.negative:
        raise _lacks(model, settings, "negative", repr(short(request.negative)))
    if settings.guidance is not None and settings.guidance.off is not None and guidance == settings.guidance.off:
        raise InvalidRequest(
            f"negative is {short(request.negative)!r}, which has no effect at guidance {guidance:g}; "
            f"leave one of the two out, or set guidance above {settings.guidance.off:g}."
        )


def _check_pictures(model: str, settings: Settings, request: Request) -> None:
    count = len(request.references)
    given = f"{count} picture{'' if count == 1 else 's'}"
    if count and settings.references is None:
        raise _lacks(model, settings, "references", given)
    if settings.references is not None and settings.references.max is not None and count > settings.references.max:
        raise InvalidRequest(f"references are {given}; {model} takes {settings.references.rule()}.")
    if request.mask is not None and not settings.mask:
        raise _lacks(model, settings, "mask", "a picture")
    if request.follows is not None and not settings.follows:
        raise _lacks(model, settings, "follows", f"a picture of {request.follows.model}")


def _options(model: str, settings: Settings, request: Request) -> dict[str, OptionValue]:
    for name, value in request.options.items():
        if name not in settings.options:
            raise _lacks(model, settings, name, _value(value))
        option = settings.options[name]
        if not option.allows(value):
            raise InvalidRequest(f"{name} is {_value(value)}; {model} takes {option.rule()}.{_guess(option, value)}")
    defaults = {name: option.default for name, option in settings.options.items() if option.default is not None}
    return {**defaults, **request.options}


def _guess(option: Option, value: OptionValue) -> str:
    guess = near(value, [str(choice) for choice in option.choices or ()], count=1) if isinstance(value, str) else []
    return f" Did you mean {guess[0]}?" if guess else ""


def _given(request: Request, options: dict[str, OptionValue], name: str) -> bool:
    if name in options:
        return True
    value = request.width if name == "size" else getattr(request, name, None)
    return value is not None and value != ()


def _lacks(model: str, settings: Settings, name: str, given: str) -> InvalidRequest:
    has = settings.names()
    possible = f"it has {', '.join(has)}" if has else "it takes a prompt alone"
    guess = [] if name in OWN_NAMES else near(name, has, count=1)
    hint = f" Did you mean {guess[0]}?" if guess else ""
    return InvalidRequest(f"{name} is {given}, but {model} has no setting {name}; {possible}.{hint}")


def _value(value: OptionValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(short(value)) if isinstance(value, str) else number(value)
