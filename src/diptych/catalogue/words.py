"""How numbers, ranges and choices are said in messages and on the screen."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def number_range(least: float | None, most: float | None, unit: str = "") -> str:
    """`1 to 50`, `at least 1`, `at most 50`, or `anything` where neither bound is known."""
    if least is not None and most is not None:
        return f"{number(least)} to {number(most)}{unit}"
    if least is not None:
        return f"at least {number(least)}{unit}"
    return f"at most {number(most)}{unit}" if most is not None else "anything"


def any_of(choices: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else "".join(choices)


def size_text(width: int, height: int) -> str:
    return f"{width}x{height}"


def short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
