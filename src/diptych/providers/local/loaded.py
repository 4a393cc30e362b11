"""What an engine looks like from here, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.images import Request


class Loaded(Protocol):
    """A model in memory. What is on its way, and how it was asked for, are the engine's own records."""

    @property
    def identity(self) -> str:
        """SHA-256 that names the weights exactly."""

    @property
    def device(self) -> Any: ...

    @property
    def dtype(self) -> str: ...

    def sampler(self, request: Request) -> str:
        """How the picture is made, for its recipe."""

    def check(self, model: Model, request: Request) -> None:
        """Raise for what this network cannot do."""

    def parameters(self, model: Model, request: Request) -> Any:
        """A resolved request in the engine's words. Raises InvalidRequest."""

    def begin(self, asked: Any) -> Any: ...

    def group(self, drawing: Any) -> Hashable: ...

    def step(self, drawings: Sequence[Any]) -> Sequence[Any]: ...

    def done(self, drawing: Any) -> bool: ...

    def finish(self, drawing: Any) -> Image: ...

    def progress(self, drawing: Any) -> tuple[int, int, Callable[[], Image]]:
        """Steps done, steps in all, and what draws the picture as expected by now."""
