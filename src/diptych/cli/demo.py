"""`diptych demo`: see it work, with no key, no GPU and no download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diptych.images import check_writable

MODELS = ("builtin-flow:steps=6", "builtin-flow")
"""Until there is a second built-in model: the one there is, in a hurry and with time."""
SAMPLES = 4
SEED = 1


def command(
    prompts: Annotated[list[str] | None, typer.Argument(help="Other prompts than the demo's own three.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the report goes.")] = Path(
        "diptych-demo.html"
    ),
    seed: Annotated[int, typer.Option(help="Seed of every prompt's first picture.")] = SEED,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report when a person is at the terminal.")
    ] = True,
) -> None:
    """See it work: a small study from its plan to its report.

    Three prompts, four pictures each, by the built-in model with few and with many steps. No key, no GPU, no download.
    Running it again replaces its own report.
    """
    from diptych import measure, report, store
    from diptych.cli import pilot
    from diptych.studies import results, votes

    check_writable(out, force=report.is_report(out))
    opened = store.open()
    try:
        name = pilot.study(opened, MODELS, prompts or [], samples=SAMPLES, seed=seed)
        found = results.load(opened, name, measure_version=measure.VERSION)
        page = report.write(found, opened.pictures, out, votes=votes.load(opened, found.id))
    finally:
        opened.close()
    if open_page and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    typer.echo(page)
