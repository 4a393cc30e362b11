"""What many ask for at the same instant, done in one go.

Two hundred judges who come at once each need a row of their own. Written one by one, those are hundreds of statements
in a thread that takes turns with the one that answers; written together, they are two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from diptych.errors import StoreError

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """`await together(item)` gives the result for this item, of one call for all that were asked for meanwhile.

    do: results for items, in their order. Where it raises StoreError for several, each is tried by itself: so one that
    cannot be done fails alone. Used from one event loop.
    """

    def __init__(self, do: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._do = do
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._work: asyncio.Future[None] | None = None

    async def __call__(self, item: T) -> R:
        """Raises StoreError. Cancelling the wait does not take back what is under way."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._work is None or self._work.done():
            self._work = asyncio.ensure_future(self._all())
        return await done

    async def _all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            if not await self._try(batch) and len(batch) > 1:
                for one in batch:
                    await self._try([one])

    async def _try(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> bool:
        try:
            results = await self._do([item for item, _ in batch])
        except StoreError as error:
            if len(batch) == 1 and not batch[0][1].done():
                batch[0][1].set_exception(error)
            return False
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():  # who asked may have gone
                done.set_result(result)
        return True
