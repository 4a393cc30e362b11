"""One way to ask any model: a provider for each vendor, one for the engines here, and those that plugins bring.

    async with providers.open("google") as google:
        google.check(model, [request])
        picture = await google.generate(model, request)

A provider is imported when it is first asked for. A package adds one with an entry point in the group
`diptych.providers`: its name is the provider's, its value a class like `Provider`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from diptych.errors import NotAvailable, near
from diptych.images import Cost, Input, Picture, Request

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model

ENTRY_POINTS = "diptych.providers"
OWN = {
    "local": "Local",
    "fake": "Fake",
    "google": "Google",
    "black_forest_labs": "BlackForestLabs",
    "openai": "OpenAI",
    "huggingface": "HuggingFace",
    "replicate": "Replicate",
    "fal": "Fal",
}
"""Module in this package, and the class in it."""


class Watch:
    """What the caller of a request learns while it is under way. Here nothing is done with it; a caller overrides.

    handle: of a job that the vendor accepted before; the provider then asks for its result and sends nothing anew.
    client: whom the picture is for, where several share this machine: they get equal parts of it.
    """

    def __init__(self, handle: str | None = None, client: str | None = None) -> None:
        self.handle = handle
        self.client = client

    async def accepted(self, handle: str) -> None:
        """The vendor took the job: `handle` is what it takes to ask for it later. Kept before it is waited for."""

    def step(self, index: int, total: int, preview: Callable[[], Image]) -> None:
        """A step of a local engine is done; `preview()` is the picture as expected by now."""

    def partial(self, data: bytes) -> None:
        """An encoded picture that is not the last one."""


class Provider(Protocol):
    """A way to reach models. One is opened for an event loop, used by many tasks there, and closed.

    Vendors' clients retry nothing on their own; what is safe to repeat is repeated by `calling.retrying`.
    """

    jobs: bool
    """Whether an accepted request has an id under which its result can be asked for later."""

    async def __aenter__(self) -> Provider: ...

    async def __aexit__(self, *failure: object) -> None: ...

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raise for what can be known to fail before anything is sent: MissingKey, MissingExtra, InvalidRequest."""

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture. `request` is resolved by the catalogue. Raises ProviderError."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a text model is asked: words, and pictures to look at."""

    prompt: str
    pictures: tuple[Input, ...] = ()
    instruction: str | None = None
    """What the model is told to be, before the prompt: the system prompt."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a text model wrote."""

    text: str
    model: str
    seconds: float
    cost: Cost | None = None
    usage: dict[str, Any] = field(default_factory=dict, repr=False)
    request_id: str | None = None

    def __str__(self) -> str:
        return self.text


class Writer(Protocol):
    """A provider whose models answer in words."""

    async def write(self, model: Model, message: Message) -> Written:
        """Raises ProviderError."""


class Describer(Protocol):
    """A provider whose models say what a picture shows, and answer nothing else."""

    async def describe(self, model: Model, picture: Input) -> Written:
        """Raises NotAvailable for a model that does not, ProviderError."""


def open(name: str) -> AbstractAsyncContextManager[Provider]:  # noqa: A001  # providers.open reads as it should
    """The provider `name`, to be entered with `async with`. Raises NotAvailable for a name that nobody provides."""
    return _class(name)()


def _class(name: str) -> Callable[[], Provider]:
    if name in OWN:
        return cast("Callable[[], Provider]", getattr(importlib.import_module(f"{__name__}.{name}"), OWN[name]))
    from importlib import metadata

    found = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = [*OWN, *found]
        hint = f" Did you mean {near(name, known)[0]}?" if near(name, known) else ""
        raise NotAvailable(f"There is no provider named {name!r}.{hint} There are {', '.join(known)}.")
    try:
        return cast("Callable[[], Provider]", found[name].load())
    except Exception as error:  # a plugin may fail in any way; the message must name it
        raise NotAvailable(
            f"The provider {name!r} of the plugin {found[name].value} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
