"""What Alembic runs for every command: on the connection that the store hands over."""

from __future__ import annotations

from alembic import context

from diptych.store.migrations import VERSION_TABLE
from diptych.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
