"""The writer: order, few commits, errors where they belong, and nobody who waits in vain."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from diptych import store as stores
from diptych.errors import StoreError
from diptych.store import schema
from diptych.store.database import Store
from diptych.store.writer import AT_ONCE, Writer
from tests.servers import postgres
from tests.store.child import add_study


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store)
    yield made
    made.close()


def study(name: str) -> Callable[[Connection], int]:
    return lambda connection: add_study(connection, name=name)


def names(store: Store) -> list[str]:
    with store.reading() as connection:
        return list(connection.scalars(select(schema.studies.c.name).order_by(schema.studies.c.id)))


@contextlib.contextmanager
def counting(store: Store) -> Iterator[list[int]]:
    """The commits, as they happen."""
    commits: list[int] = []
    event.listen(store.engine, "commit", lambda _: commits.append(1))
    yield commits


async def soon(waiting: Awaitable[Any]) -> Any:
    """A test that would hang fails instead."""
    return await asyncio.wait_for(waiting, 60)


async def together(writer: Writer, *writes: Callable[[Connection], Any]) -> list[Any]:
    """Results or errors of writes that wait at the same time, while another is under way."""
    started, go = threading.Event(), threading.Event()

    def hold(_connection: Connection) -> None:
        started.set()
        go.wait()

    first = asyncio.create_task(writer.write(hold))
    await asyncio.to_thread(started.wait)
    rest = [asyncio.create_task(writer.write(write)) for write in writes]
    await asyncio.sleep(0)  # each has handed in its write
    go.set()
    await soon(first)
    return await soon(asyncio.gather(*rest, return_exceptions=True))


def test_values_come_back_in_order(store: Store, writer: Writer) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(writer.write(study(f"s{number}")) for number in range(300)))

    ids = asyncio.run(main())
    assert ids == list(range(1, 301))
    assert names(store) == [f"s{number}" for number in range(300)]


def test_many_writes_few_commits(store: Store, writer: Writer) -> None:
    with counting(store) as commits:
        asyncio.run(together(writer, *(study(f"s{number}") for number in range(AT_ONCE + 50))))
    assert len(commits) == 3, "one for the write that was under way, two for those that waited"
    assert len(names(store)) == AT_ONCE + 50


def test_a_row_is_committed_when_its_write_returns(store: Store, writer: Writer, url: str) -> None:
    other = stores.open(url)

    async def main() -> None:
        for number in range(5):
            await writer.write(study(f"s{number}"))
            assert len(names(other)) == number + 1

    asyncio.run(main())
    other.close()


def test_an_error_is_of_one_write_alone(store: Store, writer: Writer) -> None:
    def broken(_connection: Connection) -> None:
        raise ValueError("of this write")

    def leaving(_connection: Connection) -> None:
        raise SystemExit("of this one")

    bad_prompt = insert(schema.prompts).values(study_id=99, position=0, text="x")
    writes = [
        study("a"),
        broken,
        study("b"),
        study("a"),  # a name that is taken
        lambda connection: connection.execute(bad_prompt),
        leaving,
        study("c"),
    ]
    with counting(store) as commits:
        results = asyncio.run(together(writer, *writes))
    assert names(store) == ["a", "b", "c"]
    assert len(commits) == 2, "what is left of a batch is still one commit"
    a, failed, b, taken, stray, left, c = results
    with store.reading() as connection:
        by_id = {row.id: row.name for row in connection.execute(select(schema.studies))}
    assert [by_id[one] for one in (a, b, c)] == ["a", "b", "c"]
    assert [type(one) for one in (failed, taken, stray, left)] == [StoreError] * 4
    assert str(failed) == "A row cannot be written: ValueError('of this write')"
    assert isinstance(failed.__cause__, ValueError)
    assert "unique" in str(taken).lower()
    assert "foreign key" in str(stray).lower()
    assert "SystemExit" in str(left)
    assert asyncio.run(soon(writer.write(study("d")))) > 0


def test_all_of_a_batch_may_fail(store: Store, writer: Writer) -> None:
    def broken(_connection: Connection) -> None:
        raise ValueError

    results = asyncio.run(together(writer, *[broken] * AT_ONCE))
    assert {type(one) for one in results} == {StoreError}
    assert len({id(one) for one in results}) == AT_ONCE, "each gets an error of its own"
    assert names(store) == []


def test_a_commit_that_failed_is_not_made_again(store: Store, writer: Writer) -> None:
    """It may have happened: a connection can be cut between the commit and its answer. Here it fails for certain."""
    calls: list[str] = []

    def late(connection: Connection) -> None:
        calls.append("late")
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        else:
            constraint = '"samples" ALTER CONSTRAINT "fk_samples_study_id"'.replace("samples", "prompts")
            connection.exec_driver_sql(f"ALTER TABLE {constraint} DEFERRABLE INITIALLY DEFERRED")
        connection.execute(insert(schema.prompts).values(study_id=99, position=0, text="x"))

    def good(connection: Connection) -> int:
        calls.append("good")
        return add_study(connection)

    results = asyncio.run(together(writer, good, late))
    assert calls == ["good", "late"]
    assert [type(one) for one in results] == [StoreError] * 2
    assert names(store) == []
    asyncio.run(soon(writer.write(study("next"))))
    assert names(store) == ["next"]


def test_closing_finishes_what_was_handed_in(store: Store) -> None:
    writer = Writer(store)

    async def main() -> list[int]:
        tasks = [asyncio.create_task(writer.write(study(f"s{number}"))) for number in range(50)]
        await asyncio.sleep(0)
        await asyncio.to_thread(writer.close)
        assert len(names(store)) == 50
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(main())) == 50


def test_writes_after_closing_fail(store: Store) -> None:
    writer = Writer(store)
    writer.close()
    writer.close()

    async def main() -> None:
        with pytest.raises(StoreError, match="its writer is closed"):
            await soon(writer.write(study("late")))

    asyncio.run(main())
    assert names(store) == []


def test_a_cancelled_wait_loses_no_write(store: Store, writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        started.set()
        go.wait()
        add_study(connection, name="slow")

    async def main() -> None:
        under_way = asyncio.create_task(writer.write(slow))
        await asyncio.to_thread(started.wait)
        waiting = asyncio.create_task(writer.write(study("waiting")))
        failing = asyncio.create_task(writer.write(study("waiting")))
        await asyncio.sleep(0)
        for task in (under_way, waiting, failing):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        go.set()
        await soon(writer.write(study("after")))

    asyncio.run(main())
    assert names(store) == ["slow", "waiting", "after"]
    assert caplog.records == [], "nothing is said of a failed write that nobody waits for"


def test_a_loop_that_has_ended_loses_no_write(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(store)
    started, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        started.set()
        go.wait()
        add_study(connection, name="slow")

    async def main() -> None:
        task = asyncio.create_task(writer.write(slow))
        await asyncio.to_thread(started.wait)
        task.cancel()

    asyncio.run(main())
    go.set()
    writer.close()
    assert names(store) == ["slow"]
    assert caplog.records == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # SQLite lets one write at a time
def test_two_that_wait_for_each_other_both_get_through(store: Store, writer: Writer) -> None:
    with store.writing() as connection:
        for name in ("a", "b"):
            add_study(connection, name=name)
    has_b, calls = threading.Event(), []
    blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")

    def add(connection: Connection, name: str) -> None:
        table = schema.studies
        connection.execute(update(table).where(table.c.name == name).values(budget=table.c.budget + 1))

    def b_then_a(connection: Connection) -> None:
        add(connection, "b")
        calls.append(1)
        has_b.set()
        while len(calls) == 1 and not connection.scalar(blocked):
            pass
        connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")  # it is this one that is ended
        add(connection, "a")

    async def main() -> None:
        with store.writing() as connection:
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '60s'")
            add(connection, "a")
            task = asyncio.create_task(writer.write(b_then_a))
            await asyncio.to_thread(has_b.wait)
            await asyncio.to_thread(add, connection, "b")
        await soon(task)

    asyncio.run(main())
    assert len(calls) >= 2
    with store.reading() as connection:
        assert connection.scalars(select(schema.studies.c.budget)).all() == [2, 2]


def test_a_server_that_goes_away_is_told_to_all_who_wait() -> None:
    with contextlib.ExitStack() as running:
        store = stores.open(running.enter_context(postgres()))
        writer = Writer(store)
        started = threading.Event()

        def slow(connection: Connection) -> None:
            started.set()
            connection.execute(text("SELECT pg_sleep(600)"))

        async def main() -> list[Any]:
            await writer.write(study("before"))
            under_way = asyncio.create_task(writer.write(slow))
            await asyncio.to_thread(started.wait)
            waiting = [asyncio.create_task(writer.write(study(f"s{number}"))) for number in range(300)]
            await asyncio.sleep(0)
            await asyncio.to_thread(running.close)
            after = asyncio.create_task(writer.write(study("after")))
            return await soon(asyncio.gather(under_way, *waiting, after, return_exceptions=True))

        results = asyncio.run(main())
        assert [type(one) for one in results] == [StoreError] * 302
        assert "terminat" in str(results[0]) or "closed" in str(results[0])
        assert {str(one).partition(" cannot be used: ")[0] for one in results} == {f"The store {store.name}"}
        writer.close()
        store.close()
