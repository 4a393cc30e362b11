"""How the tables came to be, step by step: Alembic's scripts. A change of `schema` needs a new one in versions/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import StoreError
from diptych.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

VERSION_TABLE = "diptych_version"
"""Not Alembic's own name: a database that is shared with another program may hold that program's."""

ONE_AT_A_TIME = 0x646970747963
"""Key of PostgreSQL's advisory lock around the making of tables: any number that stays the same."""


def config() -> Config:
    """What Alembic's commands take; `attributes["connection"]` is the connection to work on."""
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return found


def upgrade(engine: Engine, name: str, patience: float) -> None:
    """Make the tables, or bring them up to this version, in one transaction; several processes may try at once.

    name: of the database in messages. patience: seconds to wait for another process that does the same.
    Raises StoreError for a database that is a newer diptych's or somebody else's, and SQLAlchemy's errors.
    """
    with engine.connect() as connection:
        if _is_current(connection, name):
            return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":  # SQLite lets one transaction write at a time
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{patience:g}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
        if _is_current(connection, name):  # another process was first
            return
        from alembic import command

        found = config()
        found.attributes["connection"] = connection
        command.upgrade(found, "head")


def _is_current(connection: Connection, name: str) -> bool:
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect

    scripts = ScriptDirectory(str(Path(__file__).parent))
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
    if not found:
        strangers = sorted(set(metadata.tables) & set(inspect(connection).get_table_names()))
        if strangers:
            raise StoreError(f"{name} holds tables that diptych did not make: {', '.join(strangers)}.")
        return False
    known = {script.revision for script in scripts.walk_revisions()}
    if not set(found) <= known:
        raise StoreError(
            f"{name} was made by a newer diptych (its tables are at {', '.join(found)}): upgrade diptych to use it."
        )
    return set(found) == set(scripts.get_heads())
