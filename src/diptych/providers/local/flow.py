"""The flow engine behind a request: settings by name become the engine's parameters."""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from diptych.engines.flow.pipeline import Parameters, Pipeline
from diptych.engines.flow.sampling import State
from diptych.engines.text.cache import EmbeddingCache
from diptych.errors import InvalidRequest, NotAvailable
from diptych.images import Input, Request

if TYPE_CHECKING:
    from diptych.catalogue import Model

STRENGTH = 0.7
"""Of a change to a whole picture, where nobody says: the composition stays, everything in it may change."""
BLEND = 0.5
SOLVERS = {"euler": "Euler", "heun": "Heun"}

Loras = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Drawing:
    """A picture on its way, with the LoRAs that its steps are to be taken with."""

    state: State
    loras: Loras


@dataclass(frozen=True)
class Flow:
    """A loaded flow model. Its `group`, `step`, `done` and `finish` are what a `runner.Runner` drives."""

    pipeline: Pipeline

    @classmethod
    def load(cls, folder: Path, device: Any, dtype: Any, cache: Path) -> Flow:
        """device, dtype: torch's. cache: folder for embeddings of prompts. Raises WeightsError."""
        return cls(Pipeline.load(folder, device, dtype, EmbeddingCache(cache)))

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
        return SOLVERS[str(request.options.get("sampler", "euler"))]

    def check(self, model: Model, request: Request) -> None:
        """Raise InvalidRequest for what this network cannot do, and WeightsError for a LoRA that does not fit."""
        asked = self.parameters(model, request)
        self.pipeline.check(asked[0])
        for path, _ in asked[1]:
            self.pipeline.read_lora(Path(path))

    def parameters(self, model: Model, request: Request) -> tuple[Parameters, Loras]:
        """A resolved request in the engine's words. Raises InvalidRequest."""
        r = request
        options: dict[str, Any] = dict(request.options)
        family = self.pipeline.family
        embedded = family is not None and family.embedded_guidance
        if r.width is None or r.height is None or r.steps is None or r.seed is None:
            raise NotAvailable(
                f"{model.name} says no default for one of size and steps: its settings lack them. Give them, or add it "
                "with --like NAME."
            )
        pictures = [opened(one) for one in r.references]
        reads = family is not None and family.most_references > 0
        if model.settings is not None and model.settings.references is not None:
            reads = reads and not model.settings.references.begin
        control = None if family is None else family.control
        begins = bool(pictures) and (not reads or r.mask is not None or "strength" in options)
        first, others = (pictures[0], pictures[1:]) if begins else (None, pictures)
        whole = r.mask is not None or control is not None
        asked = Parameters(
            prompt=r.prompt,
            width=r.width,
            height=r.height,
            steps=r.steps,
            seed=r.seed,
            guidance=1.0 if r.guidance is None else r.guidance,
            negative=r.negative,
            true_guidance=options.get("true_guidance", 1.0),
            interval=_interval(options),
            solver=options.get("sampler", "euler"),
            shift=options.get("shift"),
            picture=first,
            strength=float(options.get("strength", 1.0 if whole else STRENGTH)) if begins else 1.0,
            mask=None if r.mask is None else opened(r.mask),
            references=tuple(others),
            blend=_blend(options),
            towards=_towards(options),
        )
        if "strength" in options and not pictures:
            raise InvalidRequest("strength says how much of a picture changes, and there is none: give a reference.")
        if embedded and r.negative and asked.true_guidance == 1.0:
            raise InvalidRequest(
                f"negative needs true_guidance above 1 for {model.name}: guidance is told to this network, and knows "
                "of no negative prompt."
            )
        return asked, _loras(options)

    # What a runner drives

    def begin(self, asked: tuple[Parameters, Loras]) -> Drawing:
        self._use(asked[1])
        return Drawing(self.pipeline.begin(asked[0]), asked[1])

    def group(self, drawing: Drawing) -> Hashable:
        return (drawing.loras, self.pipeline.group(drawing.state))

    def step(self, drawings: Sequence[Drawing]) -> list[Drawing]:
        """All of one group, so with the same LoRAs."""
        self._use(drawings[0].loras)
        states = self.pipeline.step([drawing.state for drawing in drawings])
        return [Drawing(state, drawing.loras) for state, drawing in zip(states, drawings, strict=True)]

    def done(self, drawing: Drawing) -> bool:
        return drawing.state.done

    def finish(self, drawing: Drawing) -> Image.Image:
        return Image.fromarray(self.pipeline.finish(drawing.state).numpy())

    def progress(self, drawing: Drawing) -> tuple[int, int, Callable[[], Image.Image]]:
        """Steps done, steps in all, and what decodes the picture as expected by now."""
        state = drawing.state

        def preview() -> Image.Image:
            if self.pipeline.family is not None:  # a large decoder costs as much as several steps
                small = Image.fromarray(self.pipeline.preview(state).numpy())
                return small.resize(state.course.size, Image.Resampling.BICUBIC)
            estimate = state.latents if state.estimate is None else state.estimate
            return Image.fromarray(self.pipeline.decode(estimate, *state.course.size).numpy())

        return state.index, state.course.steps, preview

    def _use(self, loras: Loras) -> None:
        if _merged.get(id(self.pipeline), ()) != loras:
            self.pipeline.use([(_lora(self.pipeline, path), strength) for path, strength in loras])
            _merged.clear()  # one pipeline is loaded at a time
            _merged[id(self.pipeline)] = loras


_merged: dict[int, Loras] = {}


@lru_cache(maxsize=4)
def _lora(pipeline: Pipeline, path: str) -> Any:
    return pipeline.read_lora(Path(path))


def opened(given: Input) -> Image.Image:
    """A picture that goes in; checked when the request was made."""
    image = Image.open(io.BytesIO(given.data))
    image.load()
    return image


def _interval(options: dict[str, Any]) -> tuple[float, float]:
    """Shares of the way from noise to picture, as times from 1 to 0."""
    since, until = float(options.get("guidance_from", 0.0)), float(options.get("guidance_until", 1.0))
    if since > until:
        raise InvalidRequest(f"guidance_from is {since:g} and guidance_until {until:g}; it begins before it ends.")
    return (1 - until, 1 - since)


def _blend(options: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    if "blend" not in options:
        if "blend_weight" in options:
            raise InvalidRequest("blend_weight is the weight of a second prompt: give that as blend.")
        return ()
    if not str(options["blend"]).strip():
        raise InvalidRequest("blend is empty: it is a second prompt.")
    return ((str(options["blend"]), float(options.get("blend_weight", BLEND))),)


def _towards(options: dict[str, Any]) -> tuple[int, float] | None:
    if ("walk" in options) != ("walk_seed" in options):
        missing = "walk_seed" if "walk" in options else "walk"
        raise InvalidRequest(f"walk and walk_seed go together: how far, and towards which seed. {missing} is missing.")
    return (int(options["walk_seed"]), float(options["walk"])) if "walk" in options else None


def _loras(options: dict[str, Any]) -> Loras:
    """ "FILE:STRENGTH, FILE" to paths and strengths."""
    found = []
    for part in str(options.get("lora", "")).split(","):
        path, colon, strength = part.strip().rpartition(":")
        if not colon or "/" in strength or "\\" in strength:
            path, strength = part.strip(), "1"
        if not path:
            continue
        try:
            found.append((path, float(strength)))
        except ValueError:
            raise InvalidRequest(
                f"lora is {part.strip()!r}; it is FILE or FILE:STRENGTH, as in style.safetensors:0.8."
            ) from None
    return tuple(found)
