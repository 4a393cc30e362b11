"""`diptych walk`: from one picture to another, frame by frame."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Annotated

import typer

from diptych.client import DEFAULT_MODEL, generate_many
from diptych.errors import InvalidRequest
from diptych.images import Picture, Request, check_writable, parse_size, random_seed, write_file

MOST_FRAMES = 1000


def command(
    prompt: Annotated[str, typer.Argument(help="What the first frame shows.", show_default=False)],
    to: Annotated[int | None, typer.Option(metavar="SEED", help="Seed of the last frame.")] = None,
    blend: Annotated[str | None, typer.Option(metavar="PROMPT", help="Prompt of the last frame.")] = None,
    frames: Annotated[int, typer.Option(help="How many, both ends included.")] = 12,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the flow engine.")] = DEFAULT_MODEL,
    seed: Annotated[int | None, typer.Option(help="Seed of the first frame.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    milliseconds: Annotated[int, typer.Option("--ms", min=10, help="That each frame is shown.")] = 120,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.webp|DIR", help="An animation, or a folder of frames.")
    ] = Path("walk.webp"),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Walk from PROMPT to another seed (--to), another prompt (--blend), or both; there and back in an animation.

    Between two seeds the noise moves along a sphere, so every frame is a picture of its own.
    """
    if to is None and blend is None:
        raise InvalidRequest("Walk where to? Name another seed with --to, another prompt with --blend, or both.")
    if not 2 <= frames <= MOST_FRAMES:
        raise InvalidRequest(f"--frames is {frames}; a walk has 2 to {MOST_FRAMES}.")
    animated = out.suffix.lower() == ".webp"
    if out.suffix and not animated and not out.is_dir():
        raise InvalidRequest(f"The output is {out}; a walk is written as .webp, or as frames into a folder.")
    width, height = parse_size(size) if size is not None else (None, None)
    first = Request(
        prompt=prompt,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        seed=random_seed() if seed is None else seed,
    )
    requests = [_between(first, to, blend, i / (frames - 1)) for i in range(frames)]
    names = [out] if animated else [out / f"frame-{i:04}.png" for i in range(1, frames + 1)]
    for name in names:
        check_writable(name, force=force)
    made = _make(requests, model, prompt, [] if animated else names, force=force)
    if animated:
        write_file(out, _animation([*made, *made[-2:0:-1]], milliseconds), force=force)
        typer.echo(out)


def _between(first: Request, to: int | None, blend: str | None, share: float) -> Request:
    options: dict[str, str | int | float] = {}
    if to is not None:
        options |= {"walk_seed": to, "walk": share}
    if blend is not None:
        options |= {"blend": blend, "blend_weight": share}
    return dataclasses.replace(first, options=options)


def _make(requests: list[Request], model: str, title: str, names: list[Path], *, force: bool) -> list[Picture]:
    """Every frame, written as soon as it is there where it has a name."""
    from diptych.cli.terminal import Progress

    made: list[Picture] = []
    progress = Progress(preview=False)
    with progress:
        pictures = generate_many(requests, model=model, on_step=progress.step)
        for i in range(len(requests)):
            progress.start(f"{title} ({i + 1}/{len(requests)})")
            made.append(next(pictures))
            if names:
                typer.echo(made[-1].save(names[i], force=force))
    return made


def _animation(pictures: list[Picture], milliseconds: int) -> bytes:
    first, *others = (picture.image.convert("RGB") for picture in pictures)
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=90)
    return stream.getvalue()
