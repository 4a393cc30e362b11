"""`diptych demo`: see it work, with no key, no GPU and no download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diptych.client import DEFAULT_MODEL, generate_many, samples
from diptych.errors import OutputError
from diptych.images import Picture, Request, check_writable, made_here, write_file

PROMPTS = ("a red apple on a blue background", "a penguin on a yellow background", "a car on a green background")
SAMPLES = 4
SEED = 1


def command(
    prompts: Annotated[list[str] | None, typer.Argument(help="Other prompts than the demo's own three.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the results.")] = Path(
        "diptych-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of every prompt's first picture.")] = SEED,
    open_sheet: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the contact sheet when a person is at the terminal.")
    ] = True,
) -> None:
    """See it work: three prompts, four pictures each, one sheet.

    Runs the built-in model: no key, no GPU, no download. Running it again replaces its own pictures.
    """
    from diptych.cli.generate import file_names
    from diptych.cli.sheet import contact_sheet
    from diptych.cli.terminal import Progress, show_picture

    wanted = [samples(Request(prompt=prompt, seed=seed), SAMPLES) for prompt in prompts or PROMPTS]
    paths = [
        [out / f"{number}-{name}" for name in file_names(None, row[0].prompt, [r.seed or 0 for r in row])]
        for number, row in enumerate(wanted, start=1)
    ]
    sheet = out / "sheet.png"
    for path in (sheet, *(path for row in paths for path in row)):
        check_writable(path, force=True)
        if path.exists() and not made_here(path):
            raise OutputError(f"{path} exists and was not made by diptych. Name another folder with --out.")
    rows: list[list[Picture]] = []
    with Progress() as progress:
        pictures = generate_many([r for row in wanted for r in row], model=DEFAULT_MODEL, on_step=progress.step)
        for requests, names in zip(wanted, paths, strict=True):
            made = []
            for i, path in enumerate(names, start=1):
                progress.start(f"{requests[0].prompt} ({i}/{SAMPLES})")
                picture = next(pictures)
                picture.save(path, force=True)
                made.append(picture)
            rows.append(made)
    write_file(sheet, contact_sheet(rows), force=True)
    if sys.stdout.isatty():
        from PIL import Image

        show_picture(Image.open(sheet))
        if open_sheet:
            import webbrowser

            webbrowser.open(sheet.absolute().as_uri())
    typer.echo(sheet)
