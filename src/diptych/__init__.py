"""Pictures from prompts: models that run here and hosted ones, compared honestly.

import diptych
picture = diptych.generate("a fox in snow")
picture.save("fox.png")
"""

from diptych.client import agenerate, generate, generate_many
from diptych.errors import DiptychError
from diptych.images import Picture, Request, read_recipe

__version__ = "0.1.0"

__all__ = [
    "DiptychError",
    "Picture",
    "Request",
    "agenerate",
    "generate",
    "generate_many",
    "read_recipe",
]
