"""`diptych models`: what is known of each model, and adding your own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from diptych.catalogue import Model

app = typer.Typer(help="What is known of each model; add your own.", no_args_is_help=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List every model: where it runs, its price and its public ratings."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter("--json goes after the verb, as in: diptych models show NAME --json")
        return
    from diptych.catalogue import load

    catalogue = load()
    if as_json:
        _print_json(
            {
                "models": [_as_dict(model) for model in catalogue.models],
                "makers": [maker.model_dump(mode="json") for maker in catalogue.makers],
            }
        )
        return
    from diptych.cli.catalogue_view import print_list

    print_list(catalogue)


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="The model's name, as `diptych models` lists it.")],
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

    print_model(catalogue, model)


@app.command("add")
def add_model(
    target: Annotated[str, typer.Argument(help="A folder that holds model.json, or the id of a hosted model.")],
    name: Annotated[str | None, typer.Option(help="What you will call it; a hosted id suggests one.")] = None,
    provider: Annotated[
        str, typer.Option(help="Who serves it: google, black_forest_labs, openai, huggingface, replicate, fal.")
    ] = "local",
) -> None:
    """Add a model of your own: a local folder, or any id that a provider serves."""
    from diptych.catalogue import add
    from diptych.settings import user_catalogue

    model = add(target, name=name, provider=provider)
    typer.echo(f"Added {model.name} to {user_catalogue()}")
    if model.settings is None:
        typer.echo("Its settings are unknown here: requests go to it as they are.")


@app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="A model that you added.")]) -> None:
    """Take a model that you added out of the catalogue; its weights and pictures stay."""
    from diptych.catalogue import remove

    path = remove(name)
    typer.echo(f"Removed {name} from {path}")


def _as_dict(model: Model) -> dict[str, Any]:
    return {**model.model_dump(mode="json"), "conflicts": [conflict.to_dict() for conflict in model.conflicts()]}


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
