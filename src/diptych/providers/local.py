"""Models that run here. The only bridge from requests and pictures to the engines' tensors."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych import settings
from diptych.errors import MissingExtra, NotAvailable
from diptych.images import RECIPE_VERSION, Picture, Request, Timing, encode_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.engines.flow.pipeline import Pipeline
    from diptych.providers import Watch

Progress = Callable[[int, int, "Callable[[], Image]"], None]
"""Called after every step with (step, steps, preview); calling `preview` decodes the picture as expected by now."""

_computing = threading.Lock()
_loading = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What local models would compute with. Bytes; what cannot be known is None."""

    device: str | None
    """cpu, cuda or mps. None: torch is not installed, so nothing runs here."""
    name: str
    """Of the processor or the card."""
    dtype: str | None = None
    """float32 or bfloat16, whichever was measured faster."""
    cores: int | None = None
    memory: int | None = None
    """Of the machine, or of the container that this runs in."""
    memory_free: int | None = None
    device_memory: int | None = None
    """A card's own; None where it computes in the machine's."""
    device_memory_free: int | None = None


def machine() -> Machine:
    """What this machine computes with. Measures the faster dtype where that was not done before."""
    total, free = _memory()
    try:
        from diptych.engines import compute
    except ImportError:
        return Machine(
            device=None,
            name=platform.processor() or platform.machine(),
            cores=os.cpu_count(),
            memory=total,
            memory_free=free,
        )
    device = compute.best_device()
    own = compute.device_memory(device)
    return Machine(
        device=device.type,
        name=compute.device_name(device),
        dtype=str(compute.best_dtype(device, settings.probe_cache())).removeprefix("torch."),
        cores=os.cpu_count(),
        memory=total,
        memory_free=free,
        device_memory=None if own is None else own[1],
        device_memory_free=None if own is None else own[0],
    )


def _memory() -> tuple[int | None, int | None]:
    """Total and free bytes of the machine, or of the control group that limits this process (cgroup v2, Linux)."""
    total = _pages("SC_PHYS_PAGES")
    # What the system keeps for reading files again is free to whoever needs it.
    available = re.search(r"^MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    free = int(available[1]) * 1024 if available else _pages("SC_AVPHYS_PAGES")
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal() and total is not None and free is not None and int(limit) < total:
        total, free = int(limit), min(free, max(0, int(limit) - int(used)))
    return total, free


def _pages(name: str) -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)
    except (AttributeError, ValueError, OSError):  # Windows has none of this; macOS does not say what is free
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


class Local:
    """The engines as a provider: what `check` and `generate` do, awaited."""

    jobs = False

    async def __aenter__(self) -> Local:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        check(model, requests)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        return await asyncio.to_thread(generate, model, request, None if watch is None else watch.step)


def check(model: Model, requests: Sequence[Request]) -> None:
    """Load `model` and raise for a request that it cannot do, before time is spent on any of them.

    Raises NotAvailable for a model without weights here, WeightsError, MissingExtra without the extra `local`, and
    InvalidRequest for a prompt that is too long.
    """
    if model.engine != "flow" or model.weights is None:
        elsewhere = [f"{model.name}@{way.provider}" for way in model.ways() if way.provider != "local"]
        raise NotAvailable(
            f"{model.name} cannot run here yet: this version of diptych runs builtin-flow and models that "
            f"`diptych train` made. "
            + (f"Others serve it: {' or '.join(elsewhere)}." if elsewhere else f"`diptych models show {model.name}`.")
        )
    pipeline = _load(_folder(model.weights))
    for request in requests:
        pipeline.tokenize([request.prompt, request.negative or ""])


def generate(model: Model, request: Request, on_step: Progress | None = None) -> Picture:
    """Make one picture. `request` was checked and is resolved: what the model has is given, the seed too."""
    pipeline = _load(_folder(model.weights or ""))
    from PIL import Image

    from diptych.engines import compute

    r = request
    if r.width is None or r.height is None or r.steps is None or r.guidance is None or r.seed is None:
        raise NotAvailable(
            f"{model.name} says no default for one of size, steps and guidance: "
            'its model.json lacks them under "settings".'
        )
    width, height = r.width, r.height

    at: list[float] = []

    def watch(step: Any) -> None:
        at.append(time.perf_counter())
        if on_step is not None:
            estimate = step.estimate
            on_step(step.index, step.total, lambda: Image.fromarray(pipeline.decode(estimate, width, height).numpy()))

    with _computing:  # two pictures at once on one machine would each take twice as long, in twice the memory
        compute.forget_peak(pipeline.device)
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
        peak = compute.peak_memory(pipeline.device)
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
        timing=Timing(
            total=seconds,
            per_step=(at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else None,
            peak_memory=peak,
        ),
        cost=model.cost(r, seconds=seconds),
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
