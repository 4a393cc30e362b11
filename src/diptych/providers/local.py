"""Models that run here. The only bridge from requests and pictures to the engines' tensors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych import settings
from diptych.errors import MissingExtra, NotAvailable
from diptych.images import RECIPE_VERSION, Picture, Request, encode_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.engines.flow.pipeline import Pipeline

Progress = Callable[[int, int, "Callable[[], Image]"], None]
"""Called after every step with (step, steps, preview); calling `preview` decodes the picture as expected by now."""

_computing = threading.Lock()
_loading = threading.Lock()


def check(model: Model, requests: Sequence[Request]) -> None:
    """Load `model` and raise for a request that it cannot do, before time is spent on any of them.

    Raises NotAvailable for a model without weights here, WeightsError, MissingExtra without the extra `local`, and
    InvalidRequest for a prompt that is too long.
    """
    if model.engine != "flow" or model.weights is None:
        raise NotAvailable(
            f"{model.name} cannot run here yet: this version of diptych runs builtin-flow and models that "
            f"`diptych train` made. Its entry stays in the catalogue: `diptych models show {model.name}`."
        )
    pipeline = _load(_folder(model.weights))
    for request in requests:
        pipeline.tokenize([request.prompt, request.negative or ""])


def generate(model: Model, request: Request, on_step: Progress | None = None) -> Picture:
    """Make one picture. `request` was checked and is resolved: what the model has is given, the seed too."""
    pipeline = _load(_folder(model.weights or ""))
    from PIL import Image

    r = request
    if r.width is None or r.height is None or r.steps is None or r.guidance is None or r.seed is None:
        raise NotAvailable(
            f"{model.name} says no default for one of size, steps and guidance: "
            'its model.json lacks them under "settings".'
        )
    width, height = r.width, r.height

    def watch(step: Any) -> None:
        if on_step is not None:
            estimate = step.estimate
            on_step(step.index, step.total, lambda: Image.fromarray(pipeline.decode(estimate, width, height).numpy()))

    with _computing:  # two pictures at once on one machine would each take twice as long, in twice the memory
        start = time.perf_counter()
        pixels = pipeline(
            r.prompt,
            width=width,
            height=height,
            steps=r.steps,
            guidance=r.guidance,
            seed=r.seed,
            negative=r.negative,
            on_step=watch,
        )
        seconds = time.perf_counter() - start
    recipe = {
        "version": RECIPE_VERSION,
        "model": model.name,
        "request": r.to_dict(),
        "weights": pipeline.identity,
        "sampler": "Euler",
        "device": pipeline.device.type,
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "versions": {name: metadata.version(name) for name in ("diptych", "torch")},
    }
    return Picture(
        request=r,
        model=model.name,
        data=encode_png(Image.fromarray(pixels.numpy()), recipe),
        width=width,
        height=height,
        seconds=seconds,
        recipe=recipe,
    )


def _folder(weights: str) -> Path:
    if weights == "builtin":
        return Path(str(resources.files("diptych.engines.flow"))) / "builtin"
    return Path(weights)


def _load(folder: Path) -> Pipeline:
    with _loading:  # two threads that ask at once share one model
        return _loaded(folder)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Pipeline:
    """The last model used stays loaded."""
    try:
        from diptych.engines.compute import best_device, best_dtype
        from diptych.engines.flow.pipeline import Pipeline
    except ImportError as error:
        raise MissingExtra("Running a model here", "local", error.name or "torch") from error
    device = best_device()
    return Pipeline.load(folder, device, best_dtype(device, settings.probe_cache()))
