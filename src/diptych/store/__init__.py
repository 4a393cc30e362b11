"""What is kept: a database of studies, and pictures by the hash of their content.

    store = store.open()                 SQLite in the home folder, or the database that diptych.toml names
    with store.reading() as connection:  rows by SQLAlchemy's core, tables in `schema`
    store.pictures.get(sha256)           original bytes

SQLAlchemy is imported when a store is first opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.store.database import Store


def open(url: str | None = None, pictures: str | None = None) -> Store:  # noqa: A001  # store.open reads as it should
    """The store at `url`, else the one of diptych.toml, else SQLite in the home folder; its tables are made or mended.

    pictures: a folder or fsspec URL, else what diptych.toml says, else a folder beside SQLite's file, and in the home
    folder for PostgreSQL. Raises StoreError.
    """
    from diptych.store.database import Store

    return Store.open(url, pictures)
