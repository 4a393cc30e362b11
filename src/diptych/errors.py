"""Everything diptych raises on purpose.

    DiptychError                what went wrong, in one message a person can act on
    ├── InvalidRequest          what was asked for cannot be: prompt, size, steps, a setting the model lacks
    │   └── UnknownModel        no such name in the catalogue; near names are suggested
    ├── CatalogueError          a catalogue file is malformed, or an entry cannot be added
    ├── MissingExtra            an optional part is not installed; says which command installs it
    ├── WeightsError            weights missing, truncated, altered, or not those of the network
    ├── NotAvailable            the model is known, but this installation has no way to run it
    ├── RecipeError             a picture without a recipe of ours, or one that cannot be read
    └── OutputError             a file that cannot be written, or that exists already

A message names the thing, says what was given and what is possible. Each class carries the exit code of the
command line: 2 for what the person typed, 1 for what failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DiptychError(Exception):
    exit_code = 1


class InvalidRequest(DiptychError, ValueError):
    exit_code = 2


class UnknownModel(InvalidRequest):
    """`name` is not in the catalogue."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.suggestions = tuple(near(name, known))
        hint = f"Did you mean {' or '.join(self.suggestions)}?" if self.suggestions else "`diptych models` lists them."
        super().__init__(f"There is no model named {name!r}. {hint}")


class CatalogueError(DiptychError):
    pass


class MissingExtra(DiptychError, ImportError):
    """The optional dependency `package` is missing; `extra` of pyproject.toml brings it."""

    def __init__(self, what: str, extra: str, package: str) -> None:
        super().__init__(
            f'{what} needs {package}, which is not installed. Install it with: pip install "diptych[{extra}]"'
        )


class WeightsError(DiptychError):
    pass


class NotAvailable(DiptychError):
    pass


class RecipeError(DiptychError):
    pass


class OutputError(DiptychError, OSError):
    pass


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names most like `name`, best first."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)
    contained = [k for k in by_lower if name and name.lower() in k and k not in found]
    return [by_lower[k] for k in [*found, *sorted(contained, key=len)][:count]]
