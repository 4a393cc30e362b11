"""`diptych import`: pictures made anywhere become samples of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diptych.studies.importing import Imported

LEARNED = {
    "table": "the table",
    "list": "the list of prompts",
    "recipe": "the recipes inside",
    "parameters": "the parameters inside",
    "name": "the files' names",
}


def command(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures.", metavar="DIR", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="What made them: a name of the catalogue, or any.", show_default=False)
    ],
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A table with the columns file and prompt, or a list of prompts that the files' names tell apart.",
        ),
    ] = None,
    study: Annotated[str | None, typer.Option(help="The study they join; a new name makes a new one.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that are no pictures.")
    ] = False,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """Make samples of the pictures in DIR, to be measured, judged and reported beside others.

    Without --prompts, what a picture shows is read from the recipe inside it, else from its name.
    """
    from diptych import store as stores
    from diptych.studies.importing import import_pictures

    opened = stores.open(store)
    done = import_pictures(opened, folder, model, prompts=prompts, study=study, skip_unreadable=skip_unreadable)
    if done.added:
        import asyncio

        from diptych.measure import Pool
        from diptych.studies import results
        from diptych.studies.measuring import measure_missing

        with Pool() as pool:
            asyncio.run(measure_missing(opened, results.find(opened, done.study), pool))
    for line in _lines(done):
        typer.echo(line)


def _lines(done: Imported) -> list[str]:
    where = f"the {'new ' if done.new_study else ''}study {done.study}"
    if done.added:
        said = f"{_count(done.added, 'picture')} of {_count(done.prompts, 'prompt')} by {done.label} joined {where}"
        said += f"; {done.already} were there already." if done.already else "."
    else:
        said = (
            f"Nothing new: {_count(done.already, 'picture')} by {done.label} {_was(done.already)} in {where} already."
        )
    lines = [said]
    if done.added:
        ways = [LEARNED[way] for way in LEARNED if way in done.learned]
        learned = f"The prompts are from {' and '.join(ways)}"
        if done.texts:
            shown = [f'"{text if len(text) <= 60 else text[:59] + "…"}"' for text in done.texts[:3]]
            more = f" and {len(done.texts) - 3} more" if len(done.texts) > 3 else ""
            new = "" if done.new_study else "; new in the study"
            learned += f"{new}: {', '.join(shown)}{more}"
        lines.append(f"{learned}.")
    for what, names in (("no pictures", done.skipped), ("not in the table", done.left_out)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"Left out, {what}: {', '.join(names[:3])}{more}.")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
