"""The store on SQLite and on PostgreSQL: opened, locked, read and written, by several processes at once."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, insert, inspect, select, text

from diptych import settings
from diptych import store as stores
from diptych.errors import MissingExtra, StoreError
from diptych.store import database, schema
from diptych.store.database import Store
from tests.servers import free_port, fresh_database
from tests.store.child import Child, add_study

Start = Callable[..., Child]
Others = tuple[Child, Child, Child]


def count(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.scalar(select(func.count()).select_from(schema.studies)) or 0)


def sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


# Opening


def test_tables_are_made_once(url: str) -> None:
    first = stores.open(url)
    with first.writing() as connection:
        add_study(connection)
    first.close()
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    engine_class = type(first.engine)
    event.listen(engine_class, "before_cursor_execute", listen)
    try:
        again = stores.open(url)
    finally:
        event.remove(engine_class, "before_cursor_execute", listen)
    assert said
    assert not [one for one in said if one.split()[0] in ("CREATE", "INSERT", "UPDATE", "ALTER", "DROP", "DELETE")]
    assert count(again) == 1
    again.close()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_several_processes_open_a_fresh_store_at_once(
    backend: str, others: Others, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Again and again: what goes wrong here goes wrong rarely."""
    for turn in range(10 if backend == "sqlite" else 3):
        url = (
            sqlite(tmp_path / f"{turn}.sqlite")
            if backend == "sqlite"
            else fresh_database(request.getfixturevalue("postgres_server"), f"{tmp_path.name}-{turn}")
        )
        for child in others:
            child.tell("open", url)
        assert [child.hear() for child in others] == [url] * 3


def test_a_file_that_another_process_makes_just_now(tmp_path: Path) -> None:
    """SQLite does not let anyone wait who would set the journal then: it says at once that the file is busy."""
    other = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(stores.open, sqlite(tmp_path / "x.sqlite"))
        wait([opened], timeout=0.2)
        assert not opened.done()
        other.execute("COMMIT")
        opened.result().close()
    other.close()


def test_sqlite_is_set_to_keep_what_it_was_given(tmp_path: Path) -> None:
    store = stores.open(sqlite(tmp_path / "x.sqlite"))
    for opened in (store.reading(), store.writing()):
        with opened as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    store.close()


def test_the_home_folder_has_a_store(home: Path) -> None:
    store = stores.open()
    sha256 = store.pictures.put(b"bytes")
    store.close()
    assert (home / "diptych.sqlite").is_file()
    assert (home / "pictures" / sha256[:2] / sha256[2:]).read_bytes() == b"bytes"


def test_diptych_toml_names_another(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "diptych.toml").write_text(f'store = "{sqlite(tmp_path / "other" / "x.sqlite")}"', "utf-8")
    store = stores.open()
    assert (tmp_path / "other" / "x.sqlite").is_file()
    assert store.pictures.place == str(tmp_path / "other" / "pictures")
    store.close()
    (home / "diptych.toml").write_text('pictures = "memory://pictures"', "utf-8")
    store = stores.open()
    assert store.pictures.place == "memory://pictures"
    store.close()
    assert (home / "diptych.sqlite").is_file()


def test_pictures_of_postgresql_are_in_the_home_folder(postgres_server: str, tmp_path: Path, home: Path) -> None:
    store = stores.open(fresh_database(postgres_server, tmp_path.name))
    assert store.pictures.place == str(home / "pictures")
    store.close()


ODD = ["a b", "größe 写真", "100%", "%20", "what?x=1", "a#b", "a&b;c'd\"", "me@work:80", b"not-\xff-utf8"]


@pytest.mark.parametrize("name", ODD)
def test_a_home_folder_with_odd_characters(name: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / os.fsdecode(name)
    monkeypatch.setenv(settings.HOME_VARIABLE, str(home))
    store = stores.open()
    assert (home / "diptych.sqlite").is_file()
    assert store.pictures.get(store.pictures.put(b"x")) == b"x"
    with store.writing() as connection:
        add_study(connection)
    with store.lock("study-1"), pytest.raises(StoreError, match="Another process"), store.lock("study-1"):
        pass
    store.name.encode()
    store.close()
    assert {path.parent for path in tmp_path.rglob("*.lock")} == {home}
    again = stores.open()
    assert count(again) == 1
    again.close()


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    here, there = stores.open("sqlite:///x.sqlite"), stores.open("sqlite:///~/x.sqlite")
    assert here.name == sqlite(tmp_path / "x.sqlite")
    assert there.name == sqlite(tmp_path / "me" / "x.sqlite")
    here.close()
    there.close()
    assert (tmp_path / "me" / "x.sqlite").is_file()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_password_is_never_shown(scheme: str, postgres_server: str, tmp_path: Path) -> None:
    given = fresh_database(postgres_server, tmp_path.name).replace("postgresql+psycopg://diptych@", "")
    for url in (f"diptych:secret%40word@{given}", f"diptych@{given}?password=secret-word&sslpassword=secret-word"):
        store = stores.open(f"{scheme}://{url}")  # this server trusts everybody
        assert store.name == f"postgresql+psycopg://{'diptych:***' if '%40' in url else 'diptych'}@{given}"
        assert "secret" not in repr(store)
        with pytest.raises(StoreError, match="nothing_like_it") as error, store.reading() as connection:
            connection.execute(text("SELECT * FROM nothing_like_it"))
        assert "secret" not in str(error.value)
        store.close()


def test_a_password_is_asked_for(postgres_server: str, tmp_path: Path) -> None:
    url = fresh_database(postgres_server, tmp_path.name)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE \"{tmp_path.name}\" LOGIN SUPERUSER PASSWORD 'secret@word'"))
        rules = Path(connection.scalar(text("SHOW hba_file")))
        theirs = rules.read_text("utf-8")
        rules.write_text(f'host all "{tmp_path.name}" 127.0.0.1/32 scram-sha-256\n{theirs}', "utf-8")
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    at = url.partition("@")[2]

    def ask_without() -> None:
        for _ in range(1000):  # until the server has read its new rules
            stores.open(f"postgresql://{tmp_path.name}@{at}").close()

    with pytest.raises(StoreError, match="no password supplied"):
        ask_without()
    with pytest.raises(StoreError, match="password authentication failed") as error:
        stores.open(f"postgresql://{tmp_path.name}:secret-guess@{at}")
    assert "secret" not in str(error.value)
    for right in (
        f"postgresql://{tmp_path.name}:secret%40word@{at}",
        f"postgresql://{tmp_path.name}@{at}?password=secret%40word",
    ):
        store = stores.open(right)
        assert "secret" not in store.name
        store.close()


# What cannot be opened


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "nonsense",
            r"'nonsense' is no URL of a database; it is written sqlite:////folder/file.sqlite or postgresql://",
        ),
        ("/tmp/x.sqlite", "is no URL of a database"),  # noqa: S108  # nothing is made there
        ("postgresql//me:secret@h/d", r"'postgresql//\*\*\*@h/d' is no URL"),
        ("me:secret@host", r"'\*\*\*@host' is no URL"),
        ("host=h password=secret dbname=d", r"'host=h password=\*\*\* dbname=d' is no URL"),
        ("postgresql://me:secret@h:port/d", r"'postgresql://\*\*\*@h:port/d' is no URL"),
        ("postgresql://me:se@cret@h/d", "an @ that is part of a user name or password is written %40"),
        ("mysql://me:secret@h/d", "SQLite, or PostgreSQL by psycopg, not 'mysql'"),
        ("postgresql+psycopg2://me:secret@h/d", r"not 'postgresql\+psycopg2'; it is written .* postgresql://"),
        ("sqlite+aiosqlite:////x", r"not 'sqlite\+aiosqlite'"),
        ("sqlite://", "'sqlite://' names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://folder/x.sqlite", "names no file"),
        ("sqlite:///file:x?mode=memory&uri=true", "names no file"),
        ("sqlite:///~nobody-of-that-name/x.sqlite", "cannot be found: "),
        ("sqlite:////dev/null/x.sqlite", "sqlite:////dev/null/x.sqlite cannot be made: File exists"),
        ("postgresql://me@127.0.0.1/d?pasword=secret", r"127.0.0.1/d cannot be used: .*invalid connection option"),
    ],
)
def test_what_is_no_url_of_a_store(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as error:
        stores.open(url)
    assert "secret" not in str(error.value)
    assert "cret@" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_server_there(host: str) -> None:
    port = free_port()
    with pytest.raises(StoreError) as error:
        stores.open(f"postgresql://me:secret@{host}:{port}/d")
    assert str(error.value).startswith(f"The store postgresql+psycopg://me:***@{host}:{port}/d cannot be used: conn")
    assert "refused" in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_no_such_host_or_database(postgres_server: str) -> None:
    with pytest.raises(StoreError, match="no-such-host"):
        stores.open("postgresql://no-such-host.invalid/d")
    with pytest.raises(StoreError, match='database "missing" does not exist'):
        stores.open(postgres_server.replace("/postgres", "/missing"))


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r'needs psycopg.*pip install "diptych\[postgres\]"'):
        stores.open("postgresql://me@h/d")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    file.write_text("Dear diary, " * 100, "utf-8")
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        stores.open(sqlite(file))
    assert file.read_text("utf-8").startswith("Dear diary")
    with pytest.raises(StoreError, match="cannot be used: unable to open database file"):
        stores.open(sqlite(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path: Path, mere_owner: Child) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for url in (sqlite(closed / "x.sqlite"), sqlite(closed / "folder" / "x.sqlite")):
        answer = mere_owner.ask("open", url)
        assert answer["kind"] == "StoreError"
        assert "unable to open database file" in answer["error"] or "Permission denied" in answer["error"]
    assert not list(closed.iterdir())


def test_a_file_that_cannot_be_written_can_be_read(tmp_path: Path, mere_owner: Child) -> None:
    url = sqlite(tmp_path / "x.sqlite")
    stores.open(url).close()
    (tmp_path / "x.sqlite").chmod(0o400)
    assert mere_owner.ask("open", url) == url
    answer = mere_owner.ask("write", url)
    assert "attempt to write a readonly database" in answer["error"]


def test_a_lock_that_cannot_be_made(tmp_path: Path, mere_owner: Child) -> None:
    url = sqlite(tmp_path / "x.sqlite")
    stores.open(url).close()
    (tmp_path / f"{tmp_path / 'x.sqlite'}.study-1.lock").touch(mode=0o400)
    answer = mere_owner.ask("lock", url, "study-1")
    assert answer["error"] == f"study-1 cannot be locked in {url}: Permission denied."


def test_a_full_disk(tmp_path: Path, start: Start) -> None:
    url = sqlite(tmp_path / "x.sqlite")
    stores.open(url).close()
    child = start()
    child.ask("limit", 500_000)
    answer = child.ask("fill", url, 1_000_000)
    assert answer["kind"] == "StoreError"
    assert "full" in answer["error"] or "I/O error" in answer["error"]
    assert child.ask("fill", url, 100) == "done"
    store = stores.open(url)
    assert count(store) == 1
    store.close()


# Whose tables are there


def test_a_store_of_a_newer_diptych(url: str) -> None:
    store = stores.open(url)
    with store.writing() as connection:
        connection.execute(text("UPDATE diptych_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match=r"made by a newer diptych \(its tables are at 9999\): upgrade diptych"):
        stores.open(url)


@pytest.mark.parametrize("table", sorted(schema.metadata.tables))
def test_tables_of_others(table: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.sqlite") as connection:
        connection.execute(f"CREATE TABLE {table} (theirs TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=f"holds tables that diptych did not make: {table}."):
        stores.open(sqlite(tmp_path / "x.sqlite"))


def test_a_database_is_shared_with_a_program_that_uses_alembic_too(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
    stores.open(url).close()
    stores.open(url).close()
    with engine.begin() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == ["theirs"]
    engine.dispose()


def test_tables_that_cannot_be_made_are_not_made_by_half(url: str) -> None:
    """An index of ours, which is made last, has the name of one that is there."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (a INTEGER)"))
        connection.execute(text("CREATE INDEX ix_attempts_study_id_ended ON theirs (a)"))
    with pytest.raises(StoreError, match=r"ix_attempts_study_id_ended.* already exists"):
        stores.open(url)
    assert inspect(engine).get_table_names() == ["theirs"]
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_attempts_study_id_ended"))
    engine.dispose()
    stores.open(url).close()


# Locks


@pytest.mark.parametrize("name", ["study-1", "a/b ü % ? #", "x" * 300])
def test_one_process_at_a_time(name: str, store: Store, url: str, others: Others, tmp_path: Path) -> None:
    child = others[0]
    assert child.ask("lock", url, name) == "locked"
    with pytest.raises(StoreError, match="Another process is at work on") as error, store.lock(name):
        pytest.fail("it was locked")
    assert str(error.value) == f"Another process is at work on {name} in {store.name}."
    with store.lock("study-2"):
        pass
    assert child.ask("let_go") == "done"
    with store.lock(name):
        assert child.ask("lock", url, name) == {"error": str(error.value), "kind": "StoreError"}
    assert child.ask("lock", url, name) == "locked"
    assert child.ask("let_go") == "done"
    assert {path.parent for path in tmp_path.rglob("*.lock")} <= {tmp_path / "store"}


def test_a_lock_ends_with_its_process(store: Store, url: str, start: Start) -> None:
    child = start()
    assert child.ask("lock", url, "study-1") == "locked"
    child.kill()
    # PostgreSQL notices once its process for that connection comes to read from it.
    for _ in range(1000):
        try:
            with store.lock("study-1"):
                return
        except StoreError:
            threading.Event().wait(0.01)
    pytest.fail("the lock outlived its holder")


def test_a_lock_ends_with_an_error_inside(store: Store) -> None:
    with pytest.raises(TimeoutError, match="mine"), store.lock("study-1"):
        raise TimeoutError("mine")
    with store.lock("study-1"):
        pass


def test_a_link_to_the_database_leads_to_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "x.sqlite")
    one, other = stores.open(sqlite(tmp_path / "x.sqlite")), stores.open(sqlite(tmp_path / "link.sqlite"))
    with one.lock("study-1"), pytest.raises(StoreError, match="Another process"), other.lock("study-1"):
        pass
    one.close()
    other.close()


def test_nothing_is_written_under_a_lock_that_was_lost(postgres_server: str, tmp_path: Path) -> None:
    store = stores.open(fresh_database(postgres_server, tmp_path.name))
    cut = text("SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND database = "
               "(SELECT oid FROM pg_database WHERE datname = current_database())")  # fmt: skip
    with store.lock("study-7"):
        with store.writing() as connection:
            add_study(connection, name="before")
        with store.reading() as connection:
            assert connection.scalars(cut).all() == [True]
        with (
            pytest.raises(StoreError, match="was lost, and with it the lock on study-7"),
            store.writing() as connection,
        ):
            add_study(connection, name="after")
    with store.lock("study-7"), store.writing() as connection:
        add_study(connection, name="again")
    assert count(store) == 2
    store.close()


# Reading and writing


def test_an_error_undoes_the_transaction(store: Store) -> None:
    def write(study_id: int | None) -> None:
        with store.writing() as connection:
            add_study(connection)
            if study_id is None:
                raise KeyError("mine")
            connection.execute(insert(schema.prompts).values(study_id=study_id, position=0, text="x"))

    with pytest.raises(KeyError, match="mine"):
        write(None)
    with pytest.raises(StoreError, match=r"cannot be used: .*(fk_prompts_study_id|FOREIGN KEY)"):
        write(99)
    assert count(store) == 0


def test_reading_is_of_one_moment(store: Store, url: str) -> None:
    other = stores.open(url)
    with store.reading() as connection:
        how_many = select(func.count()).select_from(schema.studies)
        assert connection.scalar(how_many) == 0
        with other.writing() as writing:
            add_study(writing)
        assert count(other) == 1
        assert connection.scalar(how_many) == 0
    assert count(store) == 1
    other.close()


def test_what_others_say_is_kept_as_far_as_it_can_be(store: Store) -> None:
    with store.writing() as connection:
        study = add_study(connection)
        prompt, contestant = (
            connection.execute(
                insert(table).values(study_id=study, position=0, **values).returning(table.c.id)
            ).scalar_one()
            for table, values in (
                (schema.prompts, {"text": "x"}),
                (schema.contestants, {"label": "a", "model": "a", "provider": "p", "values": {}, "facts": {}}),
            )
        )
        connection.execute(
            insert(schema.samples).values(
                study_id=study,
                prompt_id=prompt,
                contestant_id=contestant,
                number=0,
                request={},
                state="failed",
                error="half a \ud83d face, and \0 nothing; ü 写真",
                request_id="x" * 5000,
                usage={"said": "\ud83d \0"},
                recipe=None,
            )
        )
    with store.reading() as connection:
        row = connection.execute(select(schema.samples)).one()
        assert connection.scalar(select(func.count()).where(schema.samples.c.recipe.is_(None))) == 1
    assert row.error == "half a ? face, and \N{REPLACEMENT CHARACTER} nothing; ü 写真"
    assert row.request_id == "x" * 5000
    assert row.usage == {"said": "\ud83d \0"}
    assert row.recipe is None


def test_a_writer_waits_for_another_process(store: Store, url: str, others: Others) -> None:
    child = others[0]
    assert child.ask("begin", url, "theirs") == "begun"
    asked, errors = threading.Event(), []
    event.listen(store.engine, "before_cursor_execute", lambda *_: asked.set())

    def write() -> None:
        try:
            with store.writing() as connection:
                add_study(connection, name="ours")
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert asked.wait(30)
    assert child.ask("let_go") == "done"
    thread.join()
    assert errors == []
    assert count(store) == 2


def test_many_writers_lose_nothing(store: Store, url: str, others: Others) -> None:
    with store.writing() as connection:
        add_study(connection)
    for child in others:
        child.tell("add", url, 30)
    assert [child.hear() for child in others] == ["done"] * 3
    with store.reading() as connection:
        assert connection.scalar(select(schema.studies.c.budget)) == 90


def test_patience_ends(tmp_path: Path, others: Others, monkeypatch: pytest.MonkeyPatch) -> None:
    url = sqlite(tmp_path / "x.sqlite")
    stores.open(url).close()
    assert others[0].ask("begin", url, "theirs") == "begun"
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    store = stores.open(url)
    with pytest.raises(StoreError, match="cannot be used: database is locked"), store.writing():
        pytest.fail("another process is writing")
    assert others[0].ask("let_go") == "done"
    with store.writing() as connection:
        add_study(connection, name="ours")
    store.close()
