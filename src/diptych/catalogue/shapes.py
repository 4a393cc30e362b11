"""Shapes and classes of size: what some vendors take, and price, in place of pixels.

A class is named after the side of its square: 512, 1K (1024 pixels), 2K, 4K. A picture of another shape belongs to the
class whose square has about as many pixels. "About" is a factor of at most 1.5 either way: the pictures that vendors
make in a class are within 1.2 of it (Gemini's widest at 1K, 3072x384, has 1.125 times the pixels of 1024x1024), and
as classes are a factor of 4 apart, none belongs to two. A picture between two classes, as 1920x1080, is in neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
"""Pixels of the side of the square, by the name of the class."""
FACTOR = 1.5
"""By how much the pixels of a picture may be more, or fewer, than those of its class's square."""
TOLERANCE = 0.02
"""By how much width over height may be off a ratio that vendors name: 1344x768, 1.6 % off, is sold as 16:9."""


def class_of(width: int, height: int) -> str | None:
    """The class of a picture of width x height pixels; None for one between two classes, or beyond them."""
    return next((name for name in SIDES if in_class(width, height, name)), None)


def in_class(width: int, height: int, name: str) -> bool:
    """Whether a picture is of the class `name`. A class that is not known here holds everything."""
    if name not in SIDES:
        return True
    times = width * height / SIDES[name] ** 2
    return 1 / FACTOR <= times <= FACTOR


def ratio_of(text: str) -> float:
    """`"16:9"` to 16 / 9."""
    width, _, height = text.partition(":")
    return int(width) / int(height)


def is_shape(width: int, height: int, ratio: str) -> bool:
    """Whether width x height is of the shape `ratio`, as in "16:9", within 2 %."""
    return abs(width / height / ratio_of(ratio) - 1) <= TOLERANCE


def exact_shape(width: int, height: int) -> str:
    """`1920, 1080` to `"16:9"`."""
    divisor = math.gcd(width, height)
    return f"{width // divisor}:{height // divisor}"


def nearest_shape(width: int, height: int, ratios: Iterable[str]) -> str:
    """Of `ratios`, which holds at least one, the one that is least far from width over height, by factor."""

    def apart(ratio: str) -> float:
        times = width / height / ratio_of(ratio)
        return max(times, 1 / times)

    return min(ratios, key=apart)


def nearest_classes(width: int, height: int, names: Iterable[str]) -> list[str]:
    """Of the classes `names`, those on either side of a picture between two, or the one it is nearest to."""
    known = sorted((name for name in names if name in SIDES), key=lambda name: SIDES[name])
    below = [name for name in known if SIDES[name] ** 2 <= width * height]
    above = [name for name in known if SIDES[name] ** 2 > width * height]
    return below[-1:] + above[:1]
