"""The command line: a thin file per verb. A DiptychError becomes one message and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from diptych.cli import (
    demo,
    doctor,
    edit,
    generate,
    import_pictures,
    judge,
    keys,
    latency,
    leaderboard,
    measure,
    models,
    pick,
    pilot,
    report,
    show,
    studies,
    train,
    votes,
    walk,
    weights,
)
from diptych.errors import DiptychError
from diptych.settings import HOME_VARIABLE

app = typer.Typer(
    help="Pictures from prompts: models that run here and hosted ones, compared honestly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help text: quick to print, easy to pipe
    pretty_exceptions_enable=False,
)
app.command("generate")(generate.command)
app.command("edit")(edit.command)
app.command("walk")(walk.command)
app.command("demo")(demo.command)
app.command("pilot")(pilot.command)
app.command("studies")(studies.command)
app.command("import")(import_pictures.command)
app.command("judge")(judge.command)
app.command("report")(report.command)
app.command("leaderboard")(leaderboard.command)
app.command("rate")(leaderboard.rate)
app.add_typer(votes.app, name="votes")
app.command("pick")(pick.command)
app.command("show")(show.command)
app.command("measure")(measure.command)
app.add_typer(models.app, name="models")
app.add_typer(weights.app, name="weights")
app.command("latency")(latency.command)
app.command("doctor")(doctor.command)
app.add_typer(keys.app, name="keys")
app.add_typer(train.app, name="train")


def _version(wanted: bool) -> None:
    if wanted:
        from diptych import __version__

        typer.echo(f"diptych {__version__}")
        raise typer.Exit


@app.callback()
def common(
    home: Annotated[
        Path | None, typer.Option(help="Folder where everything of yours is kept.", envvar=HOME_VARIABLE)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if home is not None:
        os.environ[HOME_VARIABLE] = str(home)


def main() -> None:
    """Entry point of the `diptych` command."""
    try:
        app(prog_name="diptych")
    except DiptychError as error:
        sys.stderr.write(f"diptych: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("diptych: stopped.\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
