"""Pictures from prompts: models that run here and hosted ones, compared honestly.

import diptych
picture = diptych.generate("a fox in snow")
picture.save("fox.png")
"""

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
    "read_recipe",
    "write",
]
