"""Models that run here. The only bridge from requests and pictures to the engines' tensors.

this_machine.py  what this machine computes with
loaded.py        what an engine looks like from here
flow.py          the flow engine: a request as its parameters
tokens.py        the token engine, in the same way
running.py       many pictures at once, on either
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

from diptych import settings
from diptych.errors import MissingExtra, NotAvailable
from diptych.images import RECIPE_VERSION, Picture, Request, Timing, encode_png
from diptych.providers.local.this_machine import Machine, machine

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.images import Input
    from diptych.providers import Watch, Written
    from diptych.providers.local.loaded import Loaded

__all__ = ["Local", "Machine", "Progress", "check", "generate", "machine"]

Progress = Callable[[int, int, "Callable[[], Image]"], None]
"""Called after every step with (step, steps, preview); calling `preview` decodes the picture as expected by now."""

_computing = threading.Lock()
_loading = threading.Lock()


class Local:
    """The engines as a provider: what `check` and `generate` do, awaited.

    Pictures that are asked for at the same time are stepped in turn, or together where that is faster: see
    `engines.runner`. One that is no longer waited for is given up at its next step.
    """

    jobs = False

    async def __aenter__(self) -> Local:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        check(model, requests)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        loaded = await asyncio.to_thread(_load, _folder(model), model.engine or "flow")
        from diptych.providers.local import running

        on_step = None if watch is None else watch.step
        client = None if watch is None else watch.client
        drawn = await running.draw(loaded, _computing, model, request, on_step, client)
        return _picture(model, request, loaded, *drawn)

    async def describe(self, model: Model, picture: Input) -> Written:
        """A short caption. Raises NotAvailable for a model that reads no pictures."""
        from diptych.providers import Written

        loaded = await asyncio.to_thread(_load, _folder(model), model.engine or "flow")
        if not hasattr(loaded, "describe"):
            raise NotAvailable(f"{model.name} describes no pictures: it makes them.")
        start = time.perf_counter()
        text = await asyncio.to_thread(loaded.describe, picture)
        return Written(text=text, model=model.name, seconds=time.perf_counter() - start)


def check(model: Model, requests: Sequence[Request]) -> None:
    """Load `model` and raise for a request that it cannot do, before time is spent on any of them.

    Raises NotAvailable for a model without weights here, WeightsError, MissingExtra without the extra `local`, and
    InvalidRequest for a prompt that is too long, or a setting that this network does not have.
    """
    loaded = _load(_folder(model), model.engine or "flow")
    for request in requests:
        loaded.check(model, request)


def generate(model: Model, request: Request, on_step: Progress | None = None) -> Picture:
    """Make one picture. `request` was checked and is resolved: what the model has is given, the seed too.

    on_step is called on this thread.
    """
    loaded = _load(_folder(model), model.engine or "flow")
    from diptych.engines import compute

    at: list[float] = []
    with _computing:  # two pictures at once on one machine would each take twice as long, in twice the memory
        compute.forget_peak(loaded.device)
        start = time.perf_counter()
        state = loaded.begin(loaded.parameters(model, request))
        while not loaded.done(state):
            (state,) = loaded.step([state])
            at.append(time.perf_counter())
            if on_step is not None:
                on_step(*loaded.progress(state))
        image = loaded.finish(state)
        seconds = time.perf_counter() - start
        peak = compute.peak_memory(loaded.device)
    per_step = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else None
    return _picture(model, request, loaded, image, Timing(total=seconds, per_step=per_step, peak_memory=peak), seconds)


def _picture(model: Model, request: Request, loaded: Loaded, image: Image, timing: Timing, busy: float) -> Picture:
    """busy: seconds that the machine worked on it."""
    recipe = {
        "version": RECIPE_VERSION,
        "model": model.name,
        "request": request.to_dict(),
        "weights": loaded.identity,
        "sampler": loaded.sampler(request),
        "device": loaded.device.type,
        "dtype": loaded.dtype,
        "versions": {name: metadata.version(name) for name in ("diptych", "torch")},
    }
    return Picture(
        request=request,
        model=model.name,
        data=encode_png(image, recipe),
        width=image.width,
        height=image.height,
        timing=timing,
        cost=model.cost(request, seconds=busy),
        recipe=recipe,
    )


def _folder(model: Model) -> Path:
    """Where the weights lie. Raises NotAvailable where they do not."""
    if model.weights == "builtin":
        return Path(str(resources.files(f"diptych.engines.{model.engine}"))) / "builtin"
    if model.weights is not None:
        return Path(model.weights)
    elsewhere = [f"{model.name}@{way.provider}" for way in model.ways() if way.provider != "local"]
    others = f" Others serve it: {' or '.join(elsewhere)}." if elsewhere else ""
    if model.engine == "flow" and model.hub_id is not None:
        from diptych.providers import weights

        try:
            found = weights.find(model.hub_id)
        except NotAvailable as error:
            raise NotAvailable(f"{model.name} has no weights here: {error}{others}") from None
        if found.missing:
            raise NotAvailable(
                f"{model.name} has only a part of its weights on this machine: {len(found.missing)} files of "
                f"{found.repo} are missing. Call again: diptych weights pull {found.repo}{others}"
            )
        return found.folder
    raise NotAvailable(f"{model.name} cannot run here.{others} `diptych models show {model.name}` says more.")


def _load(folder: Path, engine: str) -> Loaded:
    with _loading:  # two threads that ask at once share one model
        return _loaded(folder, engine)


@lru_cache(maxsize=1)
def _loaded(folder: Path, engine: str) -> Loaded:
    """The last model used stays loaded."""
    try:
        from diptych.engines.compute import best_device, best_dtype
        from diptych.providers.local.flow import Flow
        from diptych.providers.local.tokens import Tokens
    except ImportError as error:
        raise MissingExtra("Running a model here", "local", error.name or "torch") from error
    device = best_device()
    kind: type[Flow] | type[Tokens] = Tokens if engine == "tokens" else Flow
    return kind.load(folder, device, best_dtype(device, settings.probe_cache()), settings.home() / "embeddings")
