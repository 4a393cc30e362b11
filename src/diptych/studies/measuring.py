"""Pictures of a study, measured in other processes while more of them arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sqlalchemy import Connection, select

from diptych.errors import BadPicture
from diptych.measure import VERSION, Pool
from diptych.store import schema
from diptych.store.database import Store
from diptych.store.writer import Writer

WAITING = 64
"""Pictures that wait to be measured at most; who brings more has to wait, so that memory stays flat."""


class Measuring:
    """Takes pictures, measures them in a pool, and keeps the numbers. One that cannot be measured stays without."""

    def __init__(self, store: Store, writer: Writer, pool: Pool) -> None:
        self._store, self._writer, self._pool = store, writer, pool
        self._room = asyncio.Semaphore(WAITING)
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, data: bytes, sha256: str) -> None:
        """Measure this picture; returns before that is done, as long as few are waiting."""
        await self._room.acquire()
        task = asyncio.create_task(self._measure(data, sha256))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def take_missing(self, study_id: int, stop: asyncio.Event) -> None:
        """Measure what the study has without: an earlier run was stopped, or did not measure. Waits for all."""
        await self.finish()
        s, m = schema.samples, schema.measurements
        with self._store.reading() as connection:
            missing = connection.scalars(
                select(s.c.picture)
                .distinct()
                .where(s.c.study_id == study_id, s.c.picture.is_not(None))
                .where(s.c.picture.not_in(select(m.c.picture).where(m.c.version == VERSION)))
            ).all()
        for sha256 in missing:
            if stop.is_set():
                break
            await self.take(await asyncio.to_thread(self._store.pictures.get, sha256), sha256)
        await self.finish()

    async def finish(self) -> None:
        """Wait for what was taken."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _measure(self, data: bytes, sha256: str) -> None:
        try:
            measures = await asyncio.wrap_future(self._pool.submit(data))
        except (BadPicture, BrokenProcessPool):  # the next run tries again
            return
        finally:
            self._room.release()
        await self._writer.write(lambda connection: _keep(connection, sha256, measures.to_dict()))


async def measure_missing(store: Store, study_id: int, pool: Pool) -> None:
    """Measure every picture of a study that has no measurements of this version yet. Raises StoreError."""
    writer = Writer(store)
    try:
        await Measuring(store, writer, pool).take_missing(study_id, asyncio.Event())
    finally:
        await asyncio.to_thread(writer.close)


def _keep(connection: Connection, sha256: str, values: Mapping[str, Any]) -> None:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_if_new
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_if_new  # type: ignore[assignment]
    connection.execute(
        insert_if_new(schema.measurements)
        .values(picture=sha256, version=VERSION, values=dict(values))
        .on_conflict_do_nothing()
    )
