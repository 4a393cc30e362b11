"""Everything diptych raises on purpose.

    DiptychError                what went wrong, in one message a person can act on
    ├── InvalidRequest          what was asked for cannot be: prompt, size, steps, a setting the model lacks
    │   └── UnknownModel        no such name in the catalogue; near names are suggested
    ├── CatalogueError          a catalogue file is malformed, or an entry cannot be added
    ├── SettingsError           diptych.toml or the file of keys cannot be read or written
    ├── MissingExtra            an optional part is not installed; says which command installs it
    ├── WeightsError            weights missing, truncated, altered, or not those of the network
    ├── NotAvailable            the model is known, but this installation has no way to run it
    │   └── MissingKey          no key for a vendor; says which variable to set and where to get one
    ├── ProviderError           a vendor said no: its own words, status and request id
    │   ├── Refused             this prompt or picture is against the vendor's rules
    │   ├── NoAccess            a wrong key or no credit, under a status that does not tell: nothing will be made
    │   ├── RateLimited         too many requests, or the vendor is overloaded: nothing was made
    │   ├── Unreachable         no connection came about: nothing was sent
    │   ├── BadAnswer           an answer that is not what the protocol promises: HTML, an empty body, no picture
    │   └── Unanswered          sent, and no answer came: possibly charged
    ├── BadPicture              bytes that are no picture, or one that is not safe to decode
    ├── RecipeError             a picture without a recipe of ours, or one that cannot be read
    ├── OutputError             a file that cannot be written, or that exists already
    ├── StoreError              the database or the folder of pictures cannot be used
    └── StudyError              a study that cannot be planned, found or gone on with

A message names the thing, says what was given and what is possible. Each class carries the exit code of the
command line: 2 for what the person typed, 1 for what failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class DiptychError(Exception):
    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back whole from other processes, whatever their constructors take."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[DiptychError], args: tuple[Any, ...], values: dict[str, Any]) -> DiptychError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(values)
    return error


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


class SettingsError(DiptychError):
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


class MissingKey(NotAvailable):
    """There is no key for `provider`; `variables` are those that are looked at, `page` is where a key is had."""

    def __init__(self, provider: str, variables: Sequence[str], page: str | None) -> None:
        self.provider = provider
        where = f" Keys are made at {page}." if page else ""
        super().__init__(
            f"{provider} needs a key: set {' or '.join(variables)}, or call `diptych keys set {provider}`.{where}"
        )


class ProviderError(DiptychError):
    """A vendor was asked and gave no picture. The message holds the vendor's own words, never a key.

    status: of HTTP, where there was one. request_id: under which the vendor finds the request in its logs.
    retry_after: seconds that the vendor asks to wait. usage: as the vendor counted it, where it did.
    """

    charged: bool | None = False
    """False where such an answer means that nothing was billed, None where nobody here can know."""

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        self.provider = provider
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.usage = dict(usage or {})
        super().__init__(message)


class Refused(ProviderError):
    """The vendor declined this prompt or picture. Vendors bill for it or not, and mostly do not say."""

    charged = None


class NoAccess(ProviderError):
    pass


class RateLimited(ProviderError):
    pass


class Unreachable(ProviderError):
    pass


class BadAnswer(ProviderError):
    charged = None


class Unanswered(ProviderError):
    charged = None


class BadPicture(DiptychError):
    pass


class RecipeError(DiptychError):
    pass


class OutputError(DiptychError, OSError):
    pass


class StoreError(DiptychError):
    pass


class StudyError(DiptychError):
    pass


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names most like `name`, best first."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)
    contained = [k for k in by_lower if name and name.lower() in k and k not in found]
    return [by_lower[k] for k in [*found, *sorted(contained, key=len)][:count]]
