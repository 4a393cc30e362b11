"""The steps make the tables that `schema` says, on both databases, and can be undone."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, inspect, select

from diptych import store as stores
from diptych.store import migrations, schema
from diptych.store.database import Store
from tests.store.child import add_study

OPTIONS = {"version_table": migrations.VERSION_TABLE, "compare_type": True, "compare_server_default": True}


def differences(store: Store, metadata: MetaData) -> list[object]:
    with store.reading() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata))


def test_the_steps_make_what_the_schema_says(store: Store) -> None:
    assert differences(store, schema.metadata) == []
    more = MetaData()
    for table in schema.metadata.tables.values():
        table.to_metadata(more)
    Table("more", more, Column("id", Integer, primary_key=True))
    assert len(differences(store, more)) == 1, "the comparison sees what is different"


def test_there_is_one_line_of_steps() -> None:
    scripts = ScriptDirectory.from_config(migrations.config())
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def revisions() -> list[str]:
    """Of the steps, the first one first."""
    found = ScriptDirectory.from_config(migrations.config()).walk_revisions()
    return [script.revision for script in found][::-1]


@pytest.mark.parametrize("revision", revisions())
def test_a_store_of_an_older_diptych_is_brought_up_to_date(revision: str, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        config = migrations.config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        add_study(connection, name="old")
    engine.dispose()
    store = stores.open(url)
    assert differences(store, schema.metadata) == []
    with store.reading() as connection:
        assert connection.scalars(select(schema.studies.c.name)).all() == ["old"]
    store.close()


def test_all_steps_can_be_undone_and_done_again(store: Store, url: str) -> None:
    with store.writing() as connection:
        add_study(connection)
        config = migrations.config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == [migrations.VERSION_TABLE]
    again = stores.open(url)
    assert differences(again, schema.metadata) == []
    with again.reading() as connection:
        assert connection.execute(select(schema.studies)).all() == []
    again.close()


def test_an_installation_in_an_odd_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "__file__", "/folder 100%/%(here)s/__init__.py")
    assert migrations.config().get_main_option("script_location") == "/folder 100%/%(here)s"
