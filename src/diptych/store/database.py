"""The database: opened, brought up to date, read, and written in transactions."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from diptych import settings
from diptych.errors import MissingExtra, StoreError
from diptych.store.pictures import Pictures, open_pictures

PATIENCE = 30.0
"""Seconds to wait for another process that writes to SQLite or makes the tables, and for a server that is silent."""

DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
HOW = "it is written sqlite:////folder/file.sqlite or postgresql://user:password@host/database"

# postgresql.org/docs/current/libpq-connect.html: what is vanished is noticed soon, and an idle lock is not forgotten by
# the routers in between.
POSTGRES = {"connect_timeout": 10, "keepalives_idle": 60, "tcp_user_timeout": int(PATIENCE * 1000)}


@dataclass(frozen=True)
class Store:
    """A database and the pictures that its rows name."""

    engine: Engine
    pictures: Pictures
    _locks: dict[int, str] = field(default_factory=dict, repr=False, compare=False)
    """PostgreSQL: what is locked, by the session that holds it."""

    @classmethod
    def open(cls, url: str | None = None, pictures: str | None = None) -> Store:
        from diptych.store.migrations import upgrade

        config = settings.config()
        where = url or config.store
        parsed = _parse(where) if where else _file(settings.home() / "diptych.sqlite")
        opened = open_pictures(pictures or config.pictures or str(_beside(parsed)))
        engine = _engine(parsed)
        try:
            with _as_store_error(engine):
                upgrade(engine, _name(parsed), PATIENCE)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, opened)

    @property
    def name(self) -> str:
        """Where the database is, without a password."""
        return _name(self.engine.url)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """All that is read in here is of one moment, whatever others write meanwhile."""
        options = {"isolation_level": "REPEATABLE READ"} if self._is_postgres else {}  # in SQLite it is always so
        with _as_store_error(self.engine), self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: on disk when the block is left, undone when it raises."""
        with (
            _as_store_error(self.engine),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            self._still_locked(connection)
            yield connection

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process at a time is in here with this name; it ends with the process, however that ends.

        Raises StoreError at once when another process is; when the lock is lost with the connection that holds it,
        `writing` raises StoreError from then on.
        """
        with self._lock_in_postgres(name) if self._is_postgres else self._lock_beside(name):
            yield

    def close(self) -> None:
        self.engine.dispose()

    @property
    def _is_postgres(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def _taken(self, name: str) -> StoreError:
        return StoreError(f"Another process is at work on {name} in {self.name}.")

    @contextlib.contextmanager
    def _lock_beside(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        plain = name if re.fullmatch(r"[a-z0-9-]{1,64}", name) else hashlib.sha256(name.encode()).hexdigest()
        database = Path(self.engine.url.database or "").resolve()  # one lock, whichever link leads there
        lock = FileLock(f"{database}.{plain}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise self._taken(name) from None
        except OSError as error:
            raise StoreError(f"{name} cannot be locked in {self.name}: {error.strerror or error}.") from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _lock_in_postgres(self, name: str) -> Iterator[None]:
        number = _lock_number(name)
        with contextlib.ExitStack() as opened:
            with _as_store_error(self.engine):
                connection = opened.enter_context(self.engine.connect())
                mine, session = connection.execute(
                    select(func.pg_try_advisory_lock(number), func.pg_backend_pid())
                ).one()
                connection.commit()  # the lock is the session's; an open transaction would hold back vacuuming
            if not mine:
                raise self._taken(name)
            self._locks[session] = name
            try:
                yield
            finally:
                del self._locks[session]
                with contextlib.suppress(SQLAlchemyError):  # a session that is gone has let go of its locks
                    connection.scalar(select(func.pg_advisory_unlock(number)))

    def _still_locked(self, connection: Connection) -> None:
        """A server that was restarted, or a connection that was cut, has given the lock to whoever asks next."""
        for session, name in list(self._locks.items()):
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = :session"
            if not connection.scalar(text(held), {"session": session}):
                raise StoreError(
                    f"The connection to {self.name} was lost, and with it the lock on {name}: another process may be "
                    "at work on it, so nothing more is written."
                )


def one_at_a_time(connection: Connection, name: str) -> None:
    """Wait until nobody else is between here, with this name, and the end of a transaction that writes.

    What was written by then is seen. In SQLite one transaction at a time writes anyway; in PostgreSQL two may look for
    the same row, find none, and both make it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_lock_number(f"row {name}"))))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise StoreError(f"{_without_password(url)!r} is no URL of a database; {HOW}.") from None
    if parsed.drivername not in DRIVERS:
        raise StoreError(f"The store is SQLite, or PostgreSQL by psycopg, not {parsed.drivername!r}; {HOW}.")
    parsed = parsed.set(drivername=DRIVERS[parsed.drivername])
    if parsed.drivername == "sqlite":
        if parsed.host or parsed.database in (None, "", ":memory:") or "uri" in parsed.query:
            raise StoreError(f"{url!r} names no file that a store can be kept in; {HOW}.")
        return _file(Path(str(parsed.database)), dict(parsed.query))
    if "@" in (parsed.host or ""):  # the rest of a password
        raise StoreError("In the URL of the store, an @ that is part of a user name or password is written %40.")
    return parsed


def _file(path: Path, query: dict[str, Any] | None = None) -> URL:
    """Made of its parts: a path may hold what has a meaning in a URL."""
    try:
        return URL.create("sqlite", database=str(path.expanduser().absolute()), query=query or {})
    except RuntimeError as error:  # ~somebody
        raise StoreError(f"The store {str(path)!r} cannot be found: {error}") from None


def _beside(url: URL) -> Path:
    return (Path(url.database or "").parent if url.drivername == "sqlite" else settings.home()) / "pictures"


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        try:
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The store {_name(url)} cannot be made: {error.strerror or error}.") from None
        engine = create_engine(url, connect_args={} if "timeout" in url.query else {"timeout": PATIENCE})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    secrets = {name: value for name, value in url.query.items() if "password" in name.lower()}
    options = {name: value for name, value in POSTGRES.items() if name not in url.query}
    try:
        return create_engine(
            url.difference_update_query(list(secrets)), connect_args=options | secrets, pool_pre_ping=True
        )
    except ImportError as error:
        raise MissingExtra("A store on PostgreSQL", "postgres", error.name or "psycopg") from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Source: sqlite.org/pragma.html. FULL: a committed row outlives a power cut, and rows speak of money."""
    connection.isolation_level = None  # SQLAlchemy begins and ends the transactions, see _begin_sqlite
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Processes that make the same file at once are told that it is busy without being let wait.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    """IMMEDIATE where it writes: a deferred transaction that later writes fails at once when another has written."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"diptych {name}".encode()).digest()[:8], signed=True)


@contextlib.contextmanager
def _as_store_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        raise StoreError(f"The store {_name(engine.url)} cannot be used: {said[0]}") from error


def _name(url: URL) -> str:
    """Without a password, and of libpq's options only those that say where it is. A path stays readable."""
    if url.drivername == "sqlite":
        path = (url.database or "").encode("utf-8", "replace").decode()
        return "sqlite:///" + re.sub("[%?#]", lambda found: f"%{ord(found[0]):02X}", path)
    where = {option: value for option, value in url.query.items() if option in ("host", "port", "service")}
    return url.set(query=where).render_as_string(hide_password=True)


def _without_password(text: str) -> str:
    """What is no URL may hold a password anywhere before its last @, or as an option."""
    text = re.sub(r"(password\s*=\s*)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)
    return re.sub(r"^(.*?//)?.*@", r"\1***@", text, flags=re.DOTALL)
