"""`diptych report`: a study as a page, or as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diptych.studies.results import Results


def command(
    study: Annotated[str | None, typer.Argument(help="Name of the study; the latest one without it.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="File, or with --full folder, to write. Default: STUDY.html, STUDY-report.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Write a folder with the original pictures.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The data as JSON, printed or with -o written.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The samples as CSV, printed or with -o written.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page when a person is at the terminal.")
    ] = True,
    store_url: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="Database of the study, when not your own store.")
    ] = None,
) -> None:
    """Write one HTML file of STUDY: the answer first, then numbers, pictures, and claims checked.

    The file needs nothing else and stays under 25 MB; --full makes a folder with every picture as it came.
    """
    from rich.markup import escape

    from diptych import measure, report, store
    from diptych.errors import InvalidRequest
    from diptych.report import ballots
    from diptych.studies import results

    asked = [name for name, wanted in (("--full", full), ("--json", as_json), ("--csv", as_csv)) if wanted]
    if len(asked) > 1:
        raise InvalidRequest(f"{' and '.join(asked)} do not go together: choose one.")
    opened = store.open(store_url)
    try:
        found = results.load(opened, study, measure_version=measure.VERSION)
        if as_json or as_csv:
            _data(report.to_json(found) if as_json else report.to_csv(found), out, force=force)
            return
        from diptych.cli import browser
        from diptych.cli.terminal import console

        with console.status(f"Making the report of {escape(found.name)}"):  # shown at a terminal only
            page = report.write(
                found,
                opened.pictures,
                out or _default(found, full=full),
                votes=ballots.load(opened, found.id),
                full=full,
                force=force,
            )
    finally:
        opened.close()
    if open_page:
        browser.show(page)
    typer.echo(page)


def _default(found: Results, *, full: bool) -> Path:
    """Named after the study; what does not belong in a file name becomes a dash."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in found.name).lstrip(".-") or "study"
    return Path(f"{name}-report" if full else f"{name}.html")


def _data(text: str, out: Path | None, *, force: bool) -> None:
    from diptych.images import write_file

    data = text.encode("utf-8", "replace")
    if out is not None:
        typer.echo(write_file(out, data if data.endswith(b"\n") else data + b"\n", force=force))
        return
    typer.echo(data.decode("utf-8"), nl=not text.endswith("\n"))
