"""`diptych edit`: change a picture as a prompt says, or make a new one from several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli.generate import make, names_for, pairs, samples_for
from diptych.errors import InvalidRequest
from diptych.images import Input, Request, check_writable, parse_size


def command(
    given: Annotated[
        list[str], typer.Argument(metavar="PICTURE... PROMPT", help="One or more pictures, then what is to be.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A model that takes pictures in.")],
    mask: Annotated[
        Path | None, typer.Option(help="A picture that is transparent, or white, where the first may change.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much of the first picture changes, 0 to 1; for models that run here.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to lead away from.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same picture.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the model.")
    ] = None,
    count: Annotated[int, typer.Option("-n", help="How many pictures.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE|DIR", help="Where to write.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Watch the picture form in the terminal.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Change PICTURE as PROMPT says."""
    if len(given) < 2:
        raise InvalidRequest(
            'An edit needs a picture and a prompt, as in: diptych edit photo.png "make it dusk" -m NAME'
        )
    *files, prompt = given
    width, height = parse_size(size) if size is not None else (None, None)
    request = Request(
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        seed=seed,
        options={} if strength is None else {"strength": strength},
        references=tuple(Input.read(file) for file in files),
        mask=None if mask is None else Input.read(mask),
    )
    if settings:
        from diptych.catalogue import load, with_settings

        request = with_settings(request, pairs(settings, "--set"), load().find(model))
    requests = samples_for(request, count, model)
    paths = names_for(requests, out, prompt, force=force)
    for path in paths:
        check_writable(path, force=force)
    make(requests, paths, model, prompt, preview=preview, force=force)
