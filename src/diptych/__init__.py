"""Pictures from prompts: models that run here and hosted ones, compared honestly.

import diptych
picture = diptych.generate("a fox in snow")
picture.save("fox.png")
"""

from typing import TYPE_CHECKING, Any

from diptych.client import (
    adescribe,
    aedit,
    agenerate,
    aimprove,
    awrite,
    describe,
    edit,
    generate,
    generate_many,
    improve,
    write,
)
from diptych.errors import DiptychError
from diptych.images import Cost, Input, Picture, Request, Timing, read_recipe

if TYPE_CHECKING:
    from diptych.choose.pick import pick

__version__ = "0.1.0"

__all__ = [
    "Cost",
    "DiptychError",
    "Input",
    "Picture",
    "Request",
    "Timing",
    "adescribe",
    "aedit",
    "agenerate",
    "aimprove",
    "awrite",
    "describe",
    "edit",
    "generate",
    "generate_many",
    "improve",
    "pick",
    "read_recipe",
    "write",
]


def __getattr__(name: str) -> Any:
    """`pick` comes when it is first asked for: it brings numpy and the database."""
    if name == "pick":
        from diptych.choose.pick import pick

        globals()[name] = pick
        return pick
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
