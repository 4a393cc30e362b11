"""Many small writes, few commits: what waits while one commit is under way goes into the next together.

A commit is a flush to disk. With one for every row, thousands of short requests would wait for the disk alone.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection

from diptych.errors import StoreError
from diptych.store.database import Store

T = TypeVar("T")
Write = Callable[[Connection], Any]

AT_ONCE = 200
"""Writes in one transaction at most."""


class Writer:
    """One thread that writes. `await write(f)` returns what f(connection) returned, once that is committed.

    Writes are committed in the order in which they were handed in. One that raises undoes its whole transaction: its
    neighbours are written again without it. So f may be called more than once, and must change nothing but rows.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[tuple[Write, Future[Any]] | None] = queue.SimpleQueue()
        self._handing_in = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="diptych-writer", daemon=True)
        self._thread.start()

    async def write(self, do: Callable[[Connection], T]) -> T:
        """Raises StoreError. Cancelling the wait does not take the write back."""
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # from here on, cancelling the wait does not cancel it
        with self._handing_in:
            if self._closed:
                raise StoreError(f"Nothing more is written to {self._store.name}: its writer is closed.")
            self._waiting.put((do, done))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Finish what was handed in. May be called again."""
        with self._handing_in:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._next()
            self._commit(batch)

    def _next(self) -> tuple[list[tuple[Write, Future[Any]]], bool]:
        batch: list[tuple[Write, Future[Any]]] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) == AT_ONCE or self._waiting.empty():
                return batch, False
            item = self._waiting.get()
        return batch, True

    def _commit(self, batch: list[tuple[Write, Future[Any]]]) -> None:
        while batch:
            at: int | None = None
            results = []
            try:
                with self._store.writing() as connection:
                    for at, (do, _) in enumerate(batch):  # noqa: B007  # read below, where one of them raised
                        results.append(do(connection))
                    at = None
            except BaseException as error:  # noqa: BLE001  # whatever a write raises belongs to the one who asked for it
                if at is not None and _is_deadlock(error):
                    continue
                # Outside of the writes it is the database that fails, and so it would for each of them alone; a commit
                # that was cut off may have happened, and is never made again.
                failed = batch if at is None else [batch.pop(at)]
                for _, done in failed:
                    done.set_exception(_as_store_error(error))
                if at is None:
                    return
            else:
                for (_, done), result in zip(batch, results, strict=True):
                    done.set_result(result)
                return


def _is_deadlock(error: BaseException) -> bool:
    """PostgreSQL ended one of two that waited for each other, and all was undone: the other is through by now."""
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) == "40P01"


def _as_store_error(error: BaseException) -> StoreError:
    """One for each who waits: an exception that several raise gathers all their tracebacks."""
    told = StoreError(str(error) if isinstance(error, StoreError) else f"A row cannot be written: {error!r}")
    told.__cause__ = error
    return told
