"""`diptych votes`: votes to files, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write votes to a file, and read them back.")

Form = Literal["ours", "fastchat", "plain"]
STORE = typer.Option("--store", metavar="URL", help="Another database than the home folder's.")


@app.command("export")
def export(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study, or all; the latest one without it.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write; printed without it.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="Our columns, FastChat's, or model_a, model_b, winner alone.")
    ] = "ours",
    jsonl: Annotated[bool, typer.Option("--jsonl", help="JSONL, as for a FILE named so, in place of CSV.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    store_url: Annotated[str | None, STORE] = None,
) -> None:
    """Write the votes of a study.

    Those that count: of each trial and criterion the last one that was not taken back. Judges are opaque ids; where a
    judge is a model, its name is there too.
    """
    from diptych import store
    from diptych.cli.leaderboard import which
    from diptych.cli.terminal import console
    from diptych.images import check_writable, write_file
    from diptych.studies.vote_files import write_votes

    if out is not None:
        check_writable(out, force=force)
        jsonl = jsonl or out.suffix.lower() == ".jsonl"
    opened = store.open(store_url)
    try:
        text, written, left_out = write_votes(opened, which(opened, study), form, jsonl=jsonl)
    finally:
        opened.close()
    if out is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(write_file(out, text.encode("utf-8", "replace"), force=force))
    said = f"{written:,} vote{'' if written == 1 else 's'}"
    if left_out:
        said += f"; {left_out:,} skipped or inconsistent left out, for which this format has no word"
    console.print(f"{said}.", highlight=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What `diptych votes export` wrote.", show_default=False)],
    study: Annotated[str, typer.Option(help="The study that has the same pictures.", show_default=False)],
    store_url: Annotated[str | None, STORE] = None,
) -> None:
    """Add exported votes to a study with the same pictures.

    Every vote must find its two pictures there, by prompt, model and number; else nothing is added. Votes that are
    there already are not added again. Votes of others, without pictures here, are rated from their file:
    `diptych rate FILE`.
    """
    from diptych import store
    from diptych.studies import results
    from diptych.studies.vote_import import import_votes

    opened = store.open(store_url)
    try:
        done = import_votes(opened, file, results.find(opened, study))
    finally:
        opened.close()
    already = f", {done.already:,} there already" if done.already else ""
    judges = f", by {done.judges} new judge{'' if done.judges == 1 else 's'}" if done.judges else ""
    typer.echo(f"{done.added:,} vote{'' if done.added == 1 else 's'} added to {study}{judges}{already}.")
