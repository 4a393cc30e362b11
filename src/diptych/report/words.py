"""Numbers, sizes and lists as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNBROKEN = "\u00a0"
"""A space at which no line ends."""

PROVIDERS = {
    "local": "this machine",
    "google": "Google",
    "black_forest_labs": "Black Forest Labs",
    "openai": "OpenAI",
    "huggingface": "Hugging Face",
    "replicate": "Replicate",
    "import": "imported",
}


def significant(value: float, digits: int, *, zeros: bool = False) -> str:
    """Plain notation: 0.0336, 12.3, 1,235. zeros: whether those that end a fraction stay, as in 0.60."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text and not zeros else text


def seconds(value: float) -> str:
    """Two digits that count: 0.60 s, 12 s, never broken between lines."""
    return f"{significant(value, 2, zeros=True)}{UNBROKEN}s"


def dollars(value: float) -> str:
    """Cents in full from a dollar on; below three digits that count, of tenths of a cent two."""
    if abs(value) >= 1:
        return f"${value:,.2f}"
    text = significant(value, 3 if abs(value) >= 0.001 else 2)
    return f"${text}0" if len(text) == 3 else f"${text}"  # $0.50, as cents are written


def provider(name: str) -> str:
    """As the vendor writes its name."""
    return PROVIDERS.get(name, name.replace("_", " "))


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def times(ratio: float) -> str:
    """`2.9` of `2.9 times as fast`."""
    return significant(ratio, 2)


def count(number: int, what: str, several: str | None = None) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def listed(items: Sequence[str], joint: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(items[:-1])} {joint} {items[-1]}" if len(items) > 1 else "".join(items)


def sentence(text: str, names: Sequence[str] = ()) -> str:
    """With a capital and a full stop; a name at the beginning stays as it is written."""
    named = any(text.startswith(name) for name in names)
    return f"{text if named else text[:1].upper() + text[1:]}{'' if text.endswith('.') else '.'}"


def cut(text: str, most: int) -> str:
    """At most `most` characters, an ellipsis where some are left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def size(width: int | None, height: int | None) -> str | None:
    return f"{width}{UNBROKEN}×{UNBROKEN}{height}" if width and height else None
