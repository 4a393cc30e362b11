"""A study, run: every sample asked once, nothing paid twice, the budget kept; stopped and gone on with at any moment.

The order of things is what keeps the promises. For a sample:

1. its price is reserved in the budget, and an attempt is committed to the store: `sent`
2. the request leaves
3. a vendor that takes it as a job says under which id; that is committed: `waiting`
4. the picture's bytes are on disk, then its row: `done`. Or `refused`, `failed`, `unknown`, with the vendor's words

A process that dies after 1 leaves an attempt open. Going on, one with an id is asked for its result; one without was
perhaps sent and perhaps charged: it becomes `unknown`, counts against the budget, and is repeated only when asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, update

from diptych import catalogue, providers
from diptych.errors import DiptychError, NoAccess, ProviderError, Refused, StoreError, StudyError
from diptych.images import Request
from diptych.settings import config
from diptych.store import schema
from diptych.store.database import Store
from diptych.store.writer import Writer
from diptych.studies.attempt import Attempt, Event, Ledger, Purse
from diptych.studies.create import now
from diptych.studies.results import money

if TYPE_CHECKING:
    from diptych.catalogue import Model
    from diptych.measure import Pool
    from diptych.providers import Provider
    from diptych.studies.measuring import Measuring

CONCURRENCY = {"local": 1, "fake": 16, "google": 4, "openai": 4, "black_forest_labs": 8, "huggingface": 2}
"""Requests at once where diptych.toml says nothing. Black Forest Labs allows 24 tasks."""
AT_ONCE = 4
"""The same, to any other provider."""
PAGE = 200
HOPELESS = (401, 402, 403, 404)
"""What a vendor answers to every request alike: wrong key, no credit, no access, no such model."""
COSTS_NOTHING = ("RateLimited", "Unreachable", "MissingKey")
"""Failures of samples that going on repeats unasked: nothing was sent, or nothing was taken."""

OpenProvider = Callable[[str], AbstractAsyncContextManager["Provider"]]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    stopped: bool
    """By a person, with samples left."""
    over_budget: tuple[str, ...]
    """Contestants with samples left that the budget does not reach."""
    hopeless: Mapping[str, str] = field(default_factory=dict)
    """Contestants that were not asked further, and what the vendor said."""


@dataclass(frozen=True)
class _Cell:
    """A sample that is to be asked for, or with a handle, whose result is to be asked for."""

    id: int
    contestant_id: int
    request: Mapping[str, Any]
    attempt_id: int | None = None
    handle: str | None = None
    reserved: float = 0.0


@dataclass(frozen=True)
class _Contestant:
    id: int
    label: str
    model: Model


def limits(concurrency: int | None = None) -> dict[str, int]:
    """Requests at once by provider: what was asked for, else what diptych.toml says, else a careful number.

    What runs on this machine takes turns whatever is asked for: two pictures at once would each take twice as long.
    """
    configured = {**CONCURRENCY, **config().concurrency}
    if concurrency is None:
        return configured
    return {**dict.fromkeys({*configured, *providers.OWN}, concurrency), "local": configured["local"]}


def check(models: Sequence[tuple[Model, Sequence[Request]]], open_provider: OpenProvider = providers.open) -> None:
    """Raise what can be known to fail before a study is made: a missing key, a model without weights."""

    async def ask() -> None:
        for model, requests in models:
            async with open_provider(model.provider) as provider:
                provider.check(model, requests)

    asyncio.run(ask())


async def run(
    store: Store,
    study_id: int,
    *,
    concurrency: Mapping[str, int] | None = None,
    pool: Pool | None = None,
    retry_unknown: bool = False,
    retry_failed: bool = False,
    on_event: Callable[[Event], None] | None = None,
    stop: asyncio.Event | None = None,
    open_provider: OpenProvider = providers.open,
) -> Outcome:
    """Ask for every sample that was not asked for, and for the results of those that were.

    concurrency: requests at once by provider. pool: measures pictures as they arrive, and those that it missed before.
    stop: when it is set, nothing more is asked, and what is under way is waited for; cancelling leaves that to the
    next run.
    Raises StoreError, StudyError when another process runs this study, and what a provider's `check` raises.
    """
    with store.lock(f"study-{study_id}"):
        writer = Writer(store)
        measuring = None
        if pool is not None:
            from diptych.studies.measuring import Measuring  # with OpenCV, which not every run needs

            measuring = Measuring(store, writer, pool)
        stop = stop or asyncio.Event()
        try:
            with store.reading() as connection:
                study = connection.execute(select(schema.studies).where(schema.studies.c.id == study_id)).one()
                purse = Purse(study.budget, money(connection, study_id)[0])
            ledger = Ledger(study_id, writer, store.pictures, purse, on_event or (lambda _: None))
            running = _Run(store, ledger, stop, measuring)
            await running.prepare(retry_unknown=retry_unknown, retry_failed=retry_failed)
            outcome = await running.all(limits() if concurrency is None else concurrency, open_provider)
            if measuring is not None:
                await measuring.take_missing(study_id, stop)
            return outcome
        finally:
            await asyncio.to_thread(writer.close)


class _Run:
    def __init__(self, store: Store, ledger: Ledger, stop: asyncio.Event, measuring: Measuring | None) -> None:
        self.store, self.ledger, self.stop, self.measuring = store, ledger, stop, measuring
        self.study_id, self.writer, self.purse = ledger.study_id, ledger.writer, ledger.purse
        self.contestants: dict[int, _Contestant] = {}
        self.hopeless: dict[int, str] = {}
        self.over_budget: set[int] = set()

    # Before anything is asked

    async def prepare(self, *, retry_unknown: bool, retry_failed: bool) -> None:
        known = catalogue.load()
        t, s = schema.contestants, schema.samples
        with self.store.reading() as connection:
            rows = connection.execute(select(t).where(t.c.study_id == self.study_id).order_by(t.c.position)).all()
            most = select(s.c.contestant_id, func.max(s.c.cost)).where(s.c.study_id == self.study_id)
            paid = {row[0]: row[1] or 0.0 for row in connection.execute(most.group_by(s.c.contestant_id))}
        for row in rows:
            if row.provider == "import":
                continue
            contestant = _Contestant(row.id, row.label, known.find(row.model))
            self.contestants[row.id] = contestant
            unpriced = row.estimate is None and row.provider != "local"
            if self.purse.budget is not None and unpriced and self._left([contestant]):
                raise StudyError(
                    f"A budget cannot be kept: what {row.label} costs is unknown. "
                    f"Give a price: --price {row.model}=DOLLARS."
                )
            estimate = 0.0 if row.provider == "local" else row.estimate or 0.0
            self.ledger.dearest[row.id] = max(estimate, paid.get(row.id, 0.0))
        again = [*(["unknown"] if retry_unknown else []), *(["failed"] if retry_failed else [])]

        def write(connection: Connection) -> None:
            self._recover(connection)
            connection.execute(
                update(s)
                .where(s.c.study_id == self.study_id)
                .where(s.c.state.in_(again) | ((s.c.state == "failed") & s.c.error_kind.in_(COSTS_NOTHING)))
                .values(state="planned", error=None, error_kind=None)
            )

        await self.writer.write(write)

    def _recover(self, connection: Connection) -> None:
        """Attempts that a process left open and that nothing can be asked about."""
        a, s, c = schema.attempts, schema.samples, schema.contestants
        left = connection.execute(
            select(a.c.id, a.c.sample_id, a.c.reserved, c.c.provider)
            .join(s, s.c.id == a.c.sample_id)
            .join(c, c.c.id == s.c.contestant_id)
            .where(a.c.study_id == self.study_id, a.c.ended.is_(None), a.c.handle.is_(None))
        ).all()
        for row in left:
            here = row.provider == "local"
            said = "The process that asked was stopped before an answer came."
            connection.execute(
                update(a)
                .where(a.c.id == row.id)
                .values(
                    ended=now(),
                    outcome="failed" if here else "unknown",
                    charge=0.0 if here else row.reserved,
                    error=said,
                )
            )
            values: dict[str, Any] = (
                {"state": "planned"}  # work on this machine that is lost costs nobody's money
                if here
                else {"state": "unknown", "finished": now(), "error": said, "error_kind": "Unanswered"}
            )
            connection.execute(update(s).where(s.c.id == row.sample_id).values(**values))

    # All samples

    async def all(self, concurrency: Mapping[str, int], open_provider: OpenProvider) -> Outcome:
        by_provider: dict[str, list[_Contestant]] = {}
        for contestant in self.contestants.values():
            by_provider.setdefault(contestant.model.provider, []).append(contestant)
        busy = {name: who for name, who in by_provider.items() if self._left(who)}
        if busy:
            self.store.pictures.check()  # before anything is paid for that could not be kept
        async with contextlib.AsyncExitStack() as opened:
            ready = []
            for name, who in busy.items():
                provider = await opened.enter_async_context(open_provider(name))
                for contestant in who:
                    provider.check(contestant.model, self._distinct(contestant))
                ready.append((provider, who, concurrency.get(name, AT_ONCE)))
            async with _all_or_none() as group:
                for provider, who, limit in ready:
                    group.create_task(self._ask_all(provider, who, limit))
        return Outcome(
            stopped=self.stop.is_set() and bool(self._left(list(self.contestants.values()))),
            over_budget=tuple(self.contestants[i].label for i in sorted(self.over_budget)),
            hopeless={self.contestants[i].label: said for i, said in self.hopeless.items()},
        )

    def _left(self, contestants: Sequence[_Contestant]) -> bool:
        s = schema.samples
        with self.store.reading() as connection:
            return (
                connection.execute(
                    select(s.c.id)
                    .where(s.c.contestant_id.in_([one.id for one in contestants]))
                    .where(s.c.state.in_(("planned", "sent", "waiting")))
                    .limit(1)
                ).first()
                is not None
            )

    def _distinct(self, contestant: _Contestant) -> list[Request]:
        """A request of each prompt: samples of one differ in their seed alone."""
        s = schema.samples
        first = (
            select(func.min(s.c.id))
            .where(s.c.contestant_id == contestant.id, s.c.state.in_(("planned", "sent", "waiting")))
            .group_by(s.c.prompt_id)
        )
        with self.store.reading() as connection:
            return [Request.from_dict(one) for one in connection.scalars(select(s.c.request).where(s.c.id.in_(first)))]

    async def _ask_all(self, provider: Provider, contestants: Sequence[_Contestant], limit: int) -> None:
        waiting: asyncio.Queue[_Cell | None] = asyncio.Queue(maxsize=limit)

        async def feed() -> None:
            async for cell in self._unfinished(contestants):
                await waiting.put(cell)
            for _ in range(limit):
                await waiting.put(None)

        async def work() -> None:
            while (cell := await waiting.get()) is not None:
                if not self.stop.is_set():
                    await self._ask(provider, cell)

        async with _all_or_none() as group:
            group.create_task(feed())
            for _ in range(limit):
                group.create_task(work())

    async def _unfinished(self, contestants: Sequence[_Contestant]) -> AsyncIterator[_Cell]:
        """First what a vendor has taken already, then what was never asked, page by page.

        A model that runs here is asked for everything at once: taking turns would load it again and again.
        """
        a, s = schema.attempts, schema.samples
        ids = [one.id for one in contestants]
        with self.store.reading() as connection:
            taken = [
                _Cell(*row)
                for row in connection.execute(
                    select(s.c.id, s.c.contestant_id, s.c.request, a.c.id, a.c.handle, a.c.reserved)
                    .join(a, a.c.sample_id == s.c.id)
                    .where(s.c.contestant_id.in_(ids), a.c.ended.is_(None), a.c.handle.is_not(None))
                    .order_by(s.c.id)
                )
            ]
        self.purse.adopt(len(taken))
        for cell in taken:
            yield cell
        one_by_one = contestants[0].model.provider == "local"
        for group in [[i] for i in ids] if one_by_one else [ids]:
            last = 0
            while not self.stop.is_set():
                page = await asyncio.to_thread(self._page, group, last)
                for cell in page:
                    yield cell
                if len(page) < PAGE:
                    break
                last = page[-1].id

    def _page(self, contestant_ids: Sequence[int], after: int) -> Sequence[_Cell]:
        s = schema.samples
        with self.store.reading() as connection:
            rows = connection.execute(
                select(s.c.id, s.c.contestant_id, s.c.request)
                .where(s.c.contestant_id.in_(contestant_ids), s.c.state == "planned", s.c.id > after)
                .order_by(s.c.id)
                .limit(PAGE)
            )
            return [_Cell(*row) for row in rows]

    # One sample

    async def _ask(self, provider: Provider, cell: _Cell) -> None:
        contestant = self.contestants[cell.contestant_id]
        if cell.attempt_id is not None:
            attempt = Attempt(self.ledger, contestant.id, cell.id, cell.reserved, cell.attempt_id, cell.handle)
        else:
            if contestant.id in self.hopeless or contestant.id in self.over_budget:
                return
            reserved = self.ledger.dearest[contestant.id]
            if not await self.purse.reserve(reserved):
                self.over_budget.add(contestant.id)
                return
            if self.stop.is_set():  # while the budget was waited for
                await self.purse.settle(reserved, 0.0)
                return
            attempt = Attempt(self.ledger, contestant.id, cell.id, reserved)
            await attempt.begin()
        try:
            request = Request.from_dict(cell.request)
            picture = await provider.generate(contestant.model, request, attempt)
        except ProviderError as error:
            hopeless = isinstance(error, NoAccess) or error.status in HOPELESS
            if hopeless and attempt.handle is None and not isinstance(error, Refused):
                self.hopeless[contestant.id] = str(error)
                await attempt.fail(error, state="planned")
            else:
                await attempt.fail(error)
        except (StoreError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # a provider that fails in its own way costs a sample, not the study
            await attempt.fail(error)
        else:
            sha256 = await attempt.succeed(picture)
            if self.measuring is not None:
                await self.measuring.take(picture.data, sha256)


@contextlib.asynccontextmanager
async def _all_or_none() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as itself, not as a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except* DiptychError as several:
        first: BaseException = several
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
