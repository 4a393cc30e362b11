"""`diptych train`: make the built-in model again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from diptych.errors import MissingExtra


def command(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the finished model.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Training data; fetched once with npm and pip.")] = Path(
        "training-data"
    ),
    work: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoints and sample sheets; goes on from there.")
    ] = Path("training-work"),
) -> None:
    """Make the built-in model again; hours on two cores.

    Fetches the training data, writes checkpoints and sample sheets. Stop it at will: the same command goes on.
    """
    try:
        from diptych.training.plan import Plan
        from diptych.training.run import train
    except ImportError as error:
        raise MissingExtra("Training", "train", error.name or "torch") from error

    start = time.monotonic()
    train(data, work, out, Plan(), lambda line: typer.echo(f"{time.monotonic() - start:7.0f} s  {line}"))
    typer.echo(f"diptych models add {out} --name NAME   makes it a model of yours")
