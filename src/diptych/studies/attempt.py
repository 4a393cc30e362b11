"""One time that a sample is asked for, and the money set aside for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, update

from diptych import providers
from diptych.errors import DiptychError, Refused, Unanswered
from diptych.images import Picture
from diptych.store import schema
from diptych.store.pictures import Pictures
from diptych.store.writer import Writer
from diptych.studies.create import now


@dataclass(frozen=True)
class Event:
    """Something happened to a sample; what a progress display needs."""

    contestant_id: int
    state: str
    """`sent`, `waiting`, `done`, `refused`, `failed` or `unknown`."""
    seconds: float | None = None
    cost: float | None = None
    spent: float = 0.0


class Purse:
    """The budget. What is reserved is settled when its price is known, or decided."""

    def __init__(self, budget: float | None, counted: float) -> None:
        self.budget = budget
        self._flying = 0
        self._changed = asyncio.Condition()
        self.counted = counted
        """Dollars that count against the budget now: what was charged, and what is reserved."""

    async def reserve(self, dollars: float) -> bool:
        """Take `dollars` out, waiting for requests under way that may turn out cheaper; False when it cannot be."""
        async with self._changed:
            while self.budget is not None and dollars > 0 and self.counted + dollars > self.budget + 1e-9:
                if self._flying == 0:
                    return False
                await self._changed.wait()
            self.counted += dollars
            self._flying += 1
            return True

    async def settle(self, reserved: float, charge: float) -> None:
        async with self._changed:
            self.counted += charge - reserved
            self._flying -= 1
            self._changed.notify_all()

    def adopt(self, attempts: int) -> None:
        """So many attempts of an earlier run are under way again; what they reserved is counted already."""
        self._flying += attempts


@dataclass
class Ledger:
    """What the attempts of one run write to."""

    study_id: int
    writer: Writer
    pictures: Pictures
    purse: Purse
    on_event: Callable[[Event], None]
    dearest: dict[int, float] = field(default_factory=dict)
    """Dollars by contestant: the estimate, or the most that a picture of it has cost. The next may cost as much."""


class Attempt(providers.Watch):
    """Committed before it is sent, settled when it has ended; a job's id is committed before it is waited for."""

    def __init__(
        self,
        ledger: Ledger,
        contestant_id: int,
        sample_id: int,
        reserved: float,
        attempt_id: int = 0,
        handle: str | None = None,
    ) -> None:
        super().__init__(handle)
        self._ledger = ledger
        self._contestant_id, self._sample_id, self._reserved, self._id = contestant_id, sample_id, reserved, attempt_id

    async def begin(self) -> None:
        def write(connection: Connection) -> int:
            self._set_sample(connection, state="sent")
            row = insert(schema.attempts).values(
                study_id=self._ledger.study_id, sample_id=self._sample_id, sent=now(), reserved=self._reserved
            )
            return int(connection.execute(row.returning(schema.attempts.c.id)).scalar_one())

        self._id = await self._ledger.writer.write(write)
        self._tell("sent")

    async def accepted(self, handle: str) -> None:
        def write(connection: Connection) -> None:
            self._set_sample(connection, state="waiting")
            self._set_attempt(connection, handle=handle)

        await self._ledger.writer.write(write)
        self.handle = handle
        self._tell("waiting")

    async def succeed(self, picture: Picture) -> str:
        """Keep the picture, then its row. Returns its SHA-256."""
        sha256 = await asyncio.to_thread(self._ledger.pictures.put, picture.data)
        cost = None if picture.cost is None else picture.cost.dollars
        charge = self._reserved if cost is None else cost
        values = {
            "state": "done",
            "finished": now(),
            "request": picture.request.to_dict(),
            "picture": sha256,
            "media_type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(picture.data),
            "timing": {name: value for name, value in asdict(picture.timing).items() if value is not None},
            "seconds": picture.seconds,
            "cost": cost,
            "cost_basis": None if picture.cost is None else picture.cost.basis,
            "usage": dict(picture.usage),
            "text": picture.text,
            "recipe": picture.recipe,
            "request_id": picture.request_id,
            "error": None,
            "error_kind": None,
        }

        def write(connection: Connection) -> None:
            self._set_sample(connection, **values)
            self._set_attempt(connection, ended=now(), outcome="done", charge=charge, request_id=picture.request_id)

        await self._ledger.writer.write(write)
        await self._settle(charge)
        self._tell("done", picture.seconds, cost)
        return sha256

    async def fail(self, error: Exception, state: str | None = None) -> None:
        """Refused, failed or unknown, as the error tells; what may have been charged counts as charged.

        state: of the sample, where it is another one: `planned` leaves it for the next run.
        """
        outcome = "refused" if isinstance(error, Refused) else "unknown" if isinstance(error, Unanswered) else "failed"
        if outcome == "unknown" and self.handle is not None:
            # The vendor has the job and can be asked again: it stays open, for the next run.
            await self._ledger.purse.settle(self._reserved, self._reserved)
            self._tell("waiting")
            return
        ours = isinstance(error, DiptychError)
        charged = getattr(error, "charged", False) if ours else None
        charge = 0.0 if charged is False else self._reserved
        said = str(error) if ours else f"{type(error).__name__}: {error}"
        ended = {"ended": now(), "outcome": outcome, "charge": charge, "error": said}
        result = {"error": said, "error_kind": type(error).__name__, "usage": getattr(error, "usage", {})}
        request_id = getattr(error, "request_id", None)

        def write(connection: Connection) -> None:
            self._set_sample(connection, state=state or outcome, finished=now(), request_id=request_id, **result)
            self._set_attempt(connection, request_id=request_id, **ended)

        await self._ledger.writer.write(write)
        await self._settle(charge)
        self._tell(state or outcome)

    async def _settle(self, charge: float) -> None:
        dearest = self._ledger.dearest
        dearest[self._contestant_id] = max(dearest[self._contestant_id], charge)
        await self._ledger.purse.settle(self._reserved, charge)

    def _set_sample(self, connection: Connection, **values: Any) -> None:
        connection.execute(update(schema.samples).where(schema.samples.c.id == self._sample_id).values(**values))

    def _set_attempt(self, connection: Connection, **values: Any) -> None:
        connection.execute(update(schema.attempts).where(schema.attempts.c.id == self._id).values(**values))

    def _tell(self, state: str, seconds: float | None = None, cost: float | None = None) -> None:
        self._ledger.on_event(Event(self._contestant_id, state, seconds, cost, self._ledger.purse.counted))
