"""`diptych generate`: a prompt becomes pictures on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from diptych.client import DEFAULT_MODEL, generate_many, samples
from diptych.errors import InvalidRequest
from diptych.images import Request, check_writable, parse_size


def command(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="A name that `diptych models` lists.")] = DEFAULT_MODEL,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to lead away from.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same picture.")] = None,
    count: Annotated[int, typer.Option("-n", help="How many pictures; seeds count up.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE|DIR", help="Where to write.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Watch the picture form in the terminal.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Make pictures of PROMPT. Settings left out are the model's own defaults."""
    width, height = parse_size(size) if size is not None else (None, None)
    request = Request(
        prompt=prompt, negative=negative, width=width, height=height, steps=steps, guidance=guidance, seed=seed
    )
    requests = samples(request, count)
    paths = file_names(out, prompt, [r.seed or 0 for r in requests])
    for path in paths:
        check_writable(path, force=force)

    from diptych.cli.terminal import Progress, show_picture

    made = []
    progress = Progress(preview=preview)
    try:
        with progress:
            pictures = generate_many(requests, model=model, on_step=progress.step)
            for i, path in enumerate(paths, start=1):
                progress.start(prompt if count == 1 else f"{prompt} ({i}/{count})")
                picture = next(pictures)
                picture.save(path, force=force)  # each as soon as it is there: stopping later loses none
                made.append(picture)
    finally:
        for picture, path in zip(made, paths, strict=False):
            if not progress.previewed:
                show_picture(picture.image)
            typer.echo(path)


def file_names(out: Path | None, prompt: str, seeds: list[int]) -> list[Path]:
    """Where the pictures go: `out` when it names one file, numbered when there are several, else named in a folder."""
    if out is not None and out.suffix and not os.path.isdir(out):  # unlike is_dir() it never raises
        if out.suffix.lower() != ".png":
            raise InvalidRequest(f"The output is {out}; pictures are written as .png, or into a folder.")
        if len(seeds) == 1:
            return [out]
        return [out.with_stem(f"{out.stem}-{i}") for i in range(1, len(seeds) + 1)]
    slug = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:48].rstrip("-") or "picture"
    return [(out or Path()) / f"{slug}-{seed}.png" for seed in seeds]
