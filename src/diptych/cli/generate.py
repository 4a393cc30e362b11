"""`diptych generate`: a prompt becomes pictures on disk."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from diptych.client import DEFAULT_MODEL, generate_many, samples
from diptych.client import improve as better
from diptych.errors import InvalidRequest
from diptych.images import SUFFIXES, Picture, Request, check_writable, parse_size, read_recipe
from diptych.studies.prompts import slug


def command(
    prompt: Annotated[
        str | None, typer.Argument(help="What the picture shows; with --from, the recipe's without it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=f"A name that `diptych models` lists; {DEFAULT_MODEL} without.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to lead away from.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same picture.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the model.")
    ] = None,
    improve: Annotated[bool, typer.Option("--improve", help="Let a text model write the prompt out first.")] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PNG", help="Begin from the recipe in a picture; what else is given changes it."
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", help="How many pictures; seeds count up.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE|DIR", help="Where to write.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Watch the picture form in the terminal.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Make pictures of PROMPT. Settings left out are the model's own defaults."""
    width, height = parse_size(size) if size is not None else (None, None)
    given = {
        "prompt": prompt,
        "negative": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
    }
    known = {} if recipe is None else read_recipe(recipe)
    request = _request(known, {name: value for name, value in given.items() if value is not None})
    model = str(known.get("model", DEFAULT_MODEL)) if model is None else model
    if settings:
        from diptych.catalogue import load, with_settings

        request = with_settings(request, pairs(settings, "--set"), load().find(model))
    requests = samples_for(request, count, model)
    paths = names_for(requests, out, request.prompt, force=force)
    for path in paths:
        check_writable(path, force=force)
    if improve:
        longer = better(request.prompt)
        requests = [dataclasses.replace(one, prompt=longer, original_prompt=request.prompt) for one in requests]
    made = make(requests, paths, model, request.prompt, preview=preview, force=force)
    if (
        recipe is not None
        and model == known["model"]
        and any(known.get("weights") != one.recipe.get("weights") for one in made)
    ):
        typer.echo(
            f"Note: {model} has other weights than when {recipe} was made, so this is another picture.", err=True
        )


def _request(recipe: dict[str, Any], changes: dict[str, Any]) -> Request:
    """What the recipe asks for, with changes; or what is given alone. Raises InvalidRequest."""
    if not recipe:
        if "prompt" not in changes:
            raise InvalidRequest('What shall it show? As in: diptych generate "a fox in snow"')
        return Request(**changes)
    asked = Request.from_dict(recipe["request"])
    if "prompt" in changes:
        asked = dataclasses.replace(asked, original_prompt=None)  # of the prompt that it was
    return dataclasses.replace(asked, **changes)


def make(
    requests: list[Request], paths: list[Path], model: str, title: str, *, preview: bool = False, force: bool = False
) -> list[Picture]:
    """Ask for each picture and write it as soon as it is there; names of what was written go to standard output."""
    from diptych.cli.terminal import Progress, show_picture

    _check_names(paths, model, force=force)
    count = len(requests)
    made: list[tuple[Picture, Path]] = []
    progress = Progress(preview=preview)
    try:
        with progress:
            pictures = generate_many(requests, model=model, on_step=progress.step)
            for i, path in enumerate(paths, start=1):
                progress.start(title if count == 1 else f"{title} ({i}/{count})")
                picture = next(pictures)
                # Each as soon as it is there: stopping later loses none. A vendor's bytes stay as they are, so the
                # name follows what they are.
                suffix = SUFFIXES[picture.media_type]
                written = picture.save(path if path.suffix.lower() == suffix else path.with_suffix(suffix), force=force)
                made.append((picture, written))
    finally:
        for picture, path in made:
            if not progress.previewed:
                show_picture(picture.image)
            typer.echo(path)
    return [picture for picture, _ in made]


def _check_names(paths: list[Path], model: str, *, force: bool) -> None:
    """Raise now for a name that a vendor's picture may turn out to need, before it is paid for."""
    from diptych.catalogue import load

    if load().find(model).provider != "local":
        for path in paths:
            for suffix in SUFFIXES.values():
                check_writable(path.with_suffix(suffix), force=force)


def samples_for(request: Request, count: int, model: str) -> list[Request]:
    """`count` requests: with seeds that count up where the model takes one, else all alike."""
    from diptych.catalogue import load

    if request.seed is not None or load().find(model).takes_seed(request):
        return samples(request, count)
    samples(request, count)  # refuses a count that cannot be
    return [request] * count


def pairs(given: list[str], option: str) -> dict[str, str]:
    """`["steps=4"]` as a table. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InvalidRequest(f"{option} is {text!r}; it is written KEY=VALUE, as in {option} steps=4.")
        if key.strip() in found:
            raise InvalidRequest(f"{option} names {key.strip()} twice.")
        found[key.strip()] = value.strip()
    return found


def names_for(requests: list[Request], out: Path | None, prompt: str, *, force: bool) -> list[Path]:
    """A name for each picture: with its seed, or where the model takes none, with the next numbers that are free."""
    if all(request.seed is not None for request in requests):
        return file_names(out, prompt, [request.seed or 0 for request in requests])
    first = 1
    while True:
        paths = file_names(out, prompt, list(range(first, first + len(requests))))
        taken = any(os.path.lexists(path.with_suffix(suffix)) for path in paths for suffix in SUFFIXES.values())
        if force or not taken or file_names(out, prompt, [0] * len(requests)) == paths:  # names that hold no number
            return paths
        first += 1


def file_names(out: Path | None, prompt: str, seeds: list[int]) -> list[Path]:
    """Where the pictures go: `out` when it names one file, numbered when there are several, else named in a folder."""
    if out is not None and out.suffix and not os.path.isdir(out):  # unlike is_dir() it never raises
        if out.suffix.lower() != ".png":
            raise InvalidRequest(f"The output is {out}; pictures are written as .png, or into a folder.")
        if len(seeds) == 1:
            return [out]
        return [out.with_stem(f"{out.stem}-{i}") for i in range(1, len(seeds) + 1)]
    return [(out or Path()) / f"{slug(prompt)}-{seed}.png" for seed in seeds]
