"""`diptych models`: what is known of each model, and adding your own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from diptych.catalogue import Catalogue, Maker, Model

app = typer.Typer(help="What is known of each model; add your own.", no_args_is_help=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    search: Annotated[
        str, typer.Option(help="Only models in whose name, title, maker or ways all these words are.")
    ] = "",
    here: Annotated[
        bool | None, typer.Option("--local/--hosted", help="Only models that can run here, or only hosted ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every model: where it runs, its price and its public ratings."""
    if context.invoked_subcommand is not None:
        for name, given in (("--json", as_json), ("--search", search), ("--local, --hosted", here is not None)):
            if given:
                hint = ": diptych models show NAME --json" if name == "--json" else " alone"
                raise typer.BadParameter(f"{name} does not go before a verb; it is for the list{hint}")
        return
    from diptych.catalogue import load

    catalogue = load()
    found = _matching(catalogue, search, here)
    if as_json:
        makers = {model.maker for model in found}
        _print_json(
            {
                "models": [_as_dict(model) for model in found],
                "makers": [_plain(maker) for maker in catalogue.makers if maker.name in makers],
            }
        )
        return
    if not found:
        typer.echo(f"No model of the catalogue matches{f' {search!r}' if search else ''}; `diptych models` lists all.")
        return
    from diptych.cli.catalogue_view import print_list

    print_list(catalogue, found, _today())


@app.command("show")
def show_model(
    name: Annotated[
        str, typer.Argument(help="As `diptych models` lists it; NAME@PROVIDER; or PROVIDER/ID of a hosted model.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show everything known of one model: each fact with its source and date, and where sources disagree."""
    from diptych.catalogue import load

    catalogue = load()
    model = catalogue.find(name)
    if as_json:
        _print_json(_as_dict(model))
        return
    from diptych.cli.catalogue_view import print_model

    print_model(catalogue, model, _today())


@app.command("add")
def add_model(
    target: Annotated[str, typer.Argument(help="A folder of weights, or the id of a hosted model.")],
    name: Annotated[str | None, typer.Option(help="What you will call it; a hosted id suggests one.")] = None,
    provider: Annotated[
        str,
        typer.Option(
            help="Who serves it: google, black_forest_labs, openai, huggingface, replicate, fal, or a plugin."
        ),
    ] = "local",
    like: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which FLUX model a folder of its weights is like.")
    ] = None,
) -> None:
    """Add a model of your own: a local folder, or any id that a provider serves."""
    from diptych.catalogue import add
    from diptych.settings import user_catalogue

    model = add(target, name=name, provider=provider, like=like)
    typer.echo(f"Added {model.name} to {user_catalogue()}")
    if model.settings is None:
        typer.echo("Its settings are unknown here: requests go to it as they are.")


@app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="A model that you added.")]) -> None:
    """Take a model that you added out of the catalogue; its weights and pictures stay."""
    from diptych.catalogue import remove

    path = remove(name)
    typer.echo(f"Removed {name} from {path}")


def _matching(catalogue: Catalogue, search: str, here: bool | None) -> list[Model]:
    titles = {maker.name: maker.title for maker in catalogue.makers}
    found = []
    for model in catalogue.models:
        ways = " ".join(f"{way.provider} {way.id or ''}" for way in model.ways())
        text = f"{model.name} {model.title} {titles.get(model.maker or '', '')} {ways}".lower()
        if all(word in text for word in search.lower().split()) and (
            here is None or (model.runs_here if here else model.hosted)
        ):
            found.append(model)
    return found


def _as_dict(model: Model) -> dict[str, Any]:
    today = _today()
    return {
        **_plain(model),
        "conflicts": [_marked(conflict.to_dict(), today) for conflict in model.conflicts()],
        "retired": model.retired(today),
        "ending": model.ending(today),
    }


def _plain(record: Model | Maker) -> dict[str, Any]:
    marked: dict[str, Any] = _marked(record.model_dump(mode="json"), _today())
    return marked


def _marked(value: Any, today: date) -> Any:
    """`value` with `stale` beside every source and date: true for what is old or undated."""
    from diptych.catalogue import lives

    if isinstance(value, list):
        return [_marked(item, today) for item in value]
    if not isinstance(value, dict):
        return value
    marked = {key: _marked(item, today) for key, item in value.items()}
    return {**marked, "stale": lives.stale(value["date"], today)} if value.get("source") else marked


def _today() -> date:
    return datetime.now(UTC).date()


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
