"""`diptych show`: the recipe inside a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diptych.images import read_recipe


def command(
    picture: Annotated[Path, typer.Argument(help="A PNG that diptych made.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the recipe inside PICTURE, which makes it again."""
    recipe = read_recipe(picture)
    if as_json:
        import json

        typer.echo(json.dumps(recipe, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in _rows(recipe):
        table.add_row(Text(name, style="dim"), Text(value))
    Console().print(table)


def _rows(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    request = recipe["request"]
    size = f"{request['width']} x {request['height']}" if "width" in request else None
    rows = {
        "prompt": request["prompt"],
        "negative": request.get("negative"),
        "model": recipe.get("model"),
        "seed": request.get("seed"),
        "size": size,
        "steps": request.get("steps"),
        "guidance": request.get("guidance"),
        "sampler": recipe.get("sampler"),
        "weights": recipe.get("weights"),
        "computed on": " ".join(str(recipe[k]) for k in ("device", "dtype") if k in recipe) or None,
        "made with": ", ".join(f"{name} {version}" for name, version in recipe.get("versions", {}).items()) or None,
    }
    return [(name, str(value)) for name, value in rows.items() if value is not None]
