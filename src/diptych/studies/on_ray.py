"""Local models on a Ray cluster: an actor for each model, with its GPUs; the plan and the rows stay where they are.

Only the asking is done elsewhere. A picture made there is kept here, and a study goes on after either side was lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from diptych import providers
from diptych.errors import DiptychError, MissingExtra, NotAvailable, ProviderError

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.images import Picture, Request
    from diptych.providers import Provider, Watch


def open_on_ray(
    address: str, gpus: float | None = None, actors: int = 1
) -> Callable[[str], AbstractAsyncContextManager[Provider]]:
    """In place of `providers.open`: local models run on Ray, all others as ever.

    address: `ray` for the cluster that RAY_ADDRESS names, or one started here; `ray://HOST:PORT` for one elsewhere.
    gpus: of each actor; None: one where the cluster has any. actors: of each model. Raises MissingExtra without Ray.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise MissingExtra("Running models on a cluster", "ray", "ray") from None
    return lambda name: OnRay(address, gpus, actors) if name == "local" else providers.open(name)


class OnRay:
    """The provider `local`, on a cluster: actors with one model loaded each, which take turns at its samples."""

    jobs = False

    def __init__(self, address: str, gpus: float | None, actors: int) -> None:
        self._address, self._gpus, self._number = address, gpus, actors
        self._idle: dict[str, asyncio.Queue[Any]] = {}
        self._started = False

    async def __aenter__(self) -> OnRay:
        import ray

        if not ray.is_initialized():
            address = None if self._address == "ray" else self._address
            start = partial(ray.init, address, log_to_driver=False, logging_level=logging.ERROR)
            try:
                await asyncio.to_thread(start)
            except (ConnectionError, RuntimeError, ValueError) as error:
                where = os.environ.get("RAY_ADDRESS", "this machine") if self._address == "ray" else self._address
                raise NotAvailable(f"The Ray cluster at {where} cannot be reached: {error}") from None
            self._started = True
        return self

    async def __aexit__(self, *failure: object) -> None:
        import ray

        self._idle.clear()  # actors end with the last that knows of them
        if self._started:
            await asyncio.to_thread(ray.shutdown)

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        import ray

        actor = self._actor()
        self._queue(model).put_nowait(actor)
        try:
            ray.get(actor.check.remote(model, list(requests)))
        except ray.exceptions.RayTaskError as error:
            raise _ours(error) from None

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        import ray

        idle = self._queue(model)
        actor = await idle.get()
        if actor is None:
            actor = self._actor()
        try:
            picture: Picture = await actor.generate.remote(model, request)
        except ray.exceptions.RayTaskError as error:
            raise _ours(error) from None
        except ray.exceptions.RayError as error:
            actor = None  # a worker that was lost: a new one takes its turn
            raise ProviderError(f"Ray lost the worker: {type(error).__name__}", provider="local") from error
        finally:
            idle.put_nowait(actor)
        return picture

    def _queue(self, model: Model) -> asyncio.Queue[Any]:
        """The actors of `model` that wait for work; None stands for one that is still to be started."""
        if model.name not in self._idle:
            self._idle[model.name] = asyncio.Queue()
            for _ in range(self._number - 1):
                self._idle[model.name].put_nowait(None)
        return self._idle[model.name]

    def _actor(self) -> Any:
        import ray

        gpus = self._gpus
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        return ray.remote(_Worker).options(num_cpus=1, num_gpus=gpus).remote()


class _Worker:
    """What an actor does: the same calls as `providers.local`, over there."""

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        from diptych.providers import local

        local.check(model, requests)

    def generate(self, model: Model, request: Request) -> Picture:
        from diptych.providers import local

        return local.generate(model, request)


def _ours(error: Any) -> Exception:
    """What was raised over there: as itself where it is an error of ours."""
    cause = error.cause
    return cause if isinstance(cause, DiptychError) else ProviderError(f"Ray: {cause!r}", provider="local")
