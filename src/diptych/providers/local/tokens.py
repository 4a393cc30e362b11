"""The token engine behind a request: steps are passes, a reference is a picture to edit or to begin from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from diptych.engines.tokens.pipeline import Drawing, Pipeline, read_mask, read_picture
from diptych.errors import InvalidRequest, NotAvailable
from diptych.images import Input, Request
from diptych.providers.local.flow import opened

if TYPE_CHECKING:
    from diptych.catalogue import Model

DESCRIBED = 128
"""Pixels along a side of a picture that is described."""


@dataclass(frozen=True)
class Tokens:
    """A loaded token model. Its `group`, `step`, `done` and `finish` are what a `runner.Runner` drives."""

    pipeline: Pipeline

    @classmethod
    def load(cls, folder: Path, device: Any, dtype: Any, cache: Path) -> Tokens:
        """device, dtype: torch's. cache: not used. Raises WeightsError."""
        return cls(Pipeline.load(folder, device, dtype))

    @property
    def identity(self) -> str:
        return self.pipeline.identity

    @property
    def device(self) -> Any:
        return self.pipeline.device

    @property
    def dtype(self) -> str:
        return str(self.pipeline.dtype).removeprefix("torch.")

    def sampler(self, request: Request) -> str:
        return "parallel masked decoding"

    def check(self, model: Model, request: Request) -> None:
        """Raise InvalidRequest for what this network cannot do."""
        self.parameters(model, request)
        self.pipeline.tokenize([request.prompt, request.negative or ""])

    def parameters(self, model: Model, request: Request) -> dict[str, Any]:
        """A resolved request in the engine's words. Raises InvalidRequest."""
        r, options = request, dict(request.options)
        if r.width is None or r.height is None or r.steps is None or r.seed is None:
            raise NotAvailable(f"{model.name} says no default for one of size and steps: its model.json lacks them.")
        if "strength" in options and not r.references:
            raise InvalidRequest("strength says how much of a picture changes, and there is none: give a reference.")
        size = (r.width, r.height)
        picture = read_picture(opened(r.references[0]), size) if r.references else None
        return {
            "prompt": r.prompt,
            "width": r.width,
            "height": r.height,
            "passes": r.steps,
            "guidance": 1.0 if r.guidance is None else r.guidance,
            "seed": r.seed,
            "temperature": float(options.get("temperature", 1.0)),
            "negative": r.negative,
            "picture": picture,
            "mask": None if r.mask is None else read_mask(opened(r.mask), size),
            "strength": options.get("strength"),
            # A picture that nothing else is said of is one to edit as the prompt says.
            "edited": picture is not None and "strength" not in options and r.mask is None,
        }

    def describe(self, picture: Input) -> str:
        """A short caption. The picture is read at a size the model knows."""
        return self.pipeline.describe(read_picture(opened(picture), (DESCRIBED, DESCRIBED)))

    # What a runner drives

    def begin(self, asked: dict[str, Any]) -> Drawing:
        asked = dict(asked)
        return self.pipeline.begin(asked.pop("prompt"), **asked)

    def group(self, drawing: Drawing) -> Hashable:
        return id(drawing.conditioning)  # passes are made one by one: a choice that hangs by a bit stays what it was

    def step(self, drawings: Sequence[Drawing]) -> list[Drawing]:
        return [self.pipeline.step(drawing) for drawing in drawings]

    def done(self, drawing: Drawing) -> bool:
        return drawing.state.finished

    def finish(self, drawing: Drawing) -> Image.Image:
        return Image.fromarray(self.pipeline.finish(drawing).numpy())

    def progress(self, drawing: Drawing) -> tuple[int, int, Callable[[], Image.Image]]:
        """Passes done, passes in all, and what draws the picture as thought most likely by now."""
        (done,), (passes,) = drawing.state.done, drawing.state.passes
        return done, passes, lambda: Image.fromarray(self.pipeline.finish(drawing, likely=True).numpy())
