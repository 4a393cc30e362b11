"""`diptych train`: make the built-in models again, or others like them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(help="Make the built-in models again, or others like them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the finished model.")]
Data = Annotated[Path, typer.Option(metavar="DIR", help="Training data; fetched once with npm and pip.")]
Work = Annotated[Path, typer.Option(metavar="DIR", help="Checkpoints and sample sheets; goes on from there.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Every stage in seconds, at a size that learns nothing.")]
DATA, WORK = Path("training-data"), Path("training-work")


@app.command("data")
def data_command(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Your own pictures with captions (.txt beside them, or captions.csv or .jsonl)."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The packed file.")] = Path("pictures.zip"),
    data: Data = DATA,
) -> None:
    """Fetch the training data; or pack FOLDER, anyone's pictures with captions, into one file."""
    _need()
    if folder is None:
        from diptych.training.data import fetch

        fetch(data)
        typer.echo(data)
        return
    from diptych.images import check_writable
    from diptych.training.folder import pack_folder

    check_writable(out)
    summary = pack_folder(folder, out)
    for complaint in summary.complaints:
        typer.echo(f"{complaint}", err=True)
    typer.echo(f"{summary}", err=True)
    typer.echo(out)


@app.command("flow")
def flow_command(out: Out, data: Data = DATA, work: Work = WORK, smoke: Smoke = False) -> None:
    """Make the flow model: autoencoder, text encoder, network. Hours on two cores; stop it at will.

    Writes checkpoints and sample sheets; the same command goes on.
    """
    _train("flow", out, data, work, smoke=smoke)


@app.command("tokens")
def tokens_command(out: Out, data: Data = DATA, work: Work = WORK, smoke: Smoke = False) -> None:
    """Make the token model: image tokenizer and network. Hours on two cores; stop it at will."""
    _train("tokens", out, data, work, smoke=smoke)


@app.command("classifier")
def classifier_command(data: Data = DATA, work: Work = WORK) -> None:
    """Make the classifier that `evaluate` looks with."""
    _need()
    from diptych.training import run

    typer.echo(run.classifier(data, work, _say()))


@app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="A model of the catalogue.")] = "builtin-flow",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Table, JSON and sheets.")] = Path(
        "evaluation"
    ),
    count: Annotated[int, typer.Option(min=1, help="Held-out compositions, and as many names.")] = 200,
    data: Data = DATA,
    work: Work = WORK,
) -> None:
    """Ask MODEL for held-out compositions and names, and let the classifier say what it drew."""
    _need()
    from diptych.training.classifier import load_classifier
    from diptych.training.evaluate import evaluate
    from diptych.training.library import load_library
    from diptych.training.run import CLASSIFIER

    library = load_library(data, size=256)
    judge = load_classifier(work / CLASSIFIER, library)
    found = evaluate(_draw(model), judge, library, model=model, folder=out, compositions=count, names=count)
    typer.echo(found.as_markdown(), err=True)
    typer.echo(out)


def _draw(model: str) -> Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]:
    """A model of the catalogue as the evaluation asks it: prompts and seeds to pictures."""
    import numpy as np

    from diptych.client import generate_many
    from diptych.images import Request

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        requests = [Request(prompt=prompt, seed=seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        pictures = [np.asarray(one.image.convert("RGB")) for one in generate_many(requests, model=model)]
        return np.stack(pictures)

    return draw


def _train(stage: str, out: Path, data: Path, work: Path, *, smoke: bool) -> None:
    _need()
    from diptych.training import run

    say = _say()
    if smoke:
        run.smoke(data, work, out, say, stage)
    elif stage == "flow":
        run.flow(data, work, out, say)
    else:
        run.tokens(data, work, out, say)
    typer.echo(f"diptych models add {out} --name NAME   makes it a model of yours", err=True)
    typer.echo(out)


def _say() -> Callable[[str], Any]:
    start = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - start:7.0f} s  {line}", err=True)


def _need() -> None:
    try:
        import diptych.training.run  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Training", "train", error.name or "torch") from error
