"""`diptych studies`: what the store holds."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """List the studies, the latest first: what they hold and what they cost."""
    from rich.console import Console
    from rich.table import Table

    from diptych import store as stores
    from diptych.cli.study_view import dollars
    from diptych.studies import results

    opened = stores.open(store)
    try:
        found = results.overview(opened)
    finally:
        opened.close()
    if not found:
        typer.echo("There is no study yet: `diptych pilot` makes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("study", overflow="fold")
    table.add_column("made")
    for header in ("prompts", "models", "done", "spent"):
        table.add_column(header, justify="right")
    for one in found:
        done = f"{one.done:,}/{one.samples:,}"
        table.add_row(one.name, one.created[:10], f"{one.prompts}", f"{one.contestants}", done, dollars(one.spent))
    Console().print(table)
