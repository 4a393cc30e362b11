"""`diptych keys`: which vendors' keys are set, and keeping one. A key's value is never shown, whatever goes wrong."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from diptych.errors import InvalidRequest, near
from diptych.settings import KEYS, forget_key, keys_file, store_key

PROVIDER_NAME = r"[a-z][a-z0-9_-]{0,30}"
"""Shorter than any key, so that a key typed in its place is not taken for a name."""
LONGEST_KEY = 4096


class Group(TyperGroup):
    """Repeats nothing that was typed in the place of a verb: it may be a key."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise InvalidRequest("There are `diptych keys`, `diptych keys set PROVIDER` and `... remove PROVIDER`.")
        return super().resolve_command(ctx, args)


app = typer.Typer(help="Keys of vendors: which are set; keep or remove one.", cls=Group)
# What is typed too much may be a key, so it is taken and refused unseen.
UNSEEN = {"allow_extra_args": True, "ignore_unknown_options": True}

Provider = Annotated[str, typer.Argument(help="google, openai, ...; a plugin's name is possible.", show_default=False)]


@app.callback(invoke_without_command=True)
def list_keys(context: typer.Context) -> None:
    """List the providers: which keys are set, and from where. Values are never shown."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from diptych.studies.doctor import find_keys

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("provider", no_wrap=True)
    table.add_column("key")
    table.add_column("from, or where one is had", overflow="fold")
    keys = find_keys()
    for key in keys:
        page = f", made at {key.page}" if key.page else ""
        source = Text(f"{' or '.join(key.variables)}{page}", style="dim") if key.source is None else Text(key.source)
        table.add_row(Text(key.provider), "-" if key.source is None else "set", source)
    console = Console()
    console.print(table)
    if any(key.source is None for key in keys):
        hint = f"\nSet the variable, or call `diptych keys set PROVIDER`, which keeps the key in {keys_file()}."
        console.print(Text(hint))


@app.command("set", context_settings=UNSEEN)
def set_key(context: typer.Context, provider: Provider) -> None:
    """Keep the key of PROVIDER in a file that only you can read.

    It is asked for at a terminal, or read as one line from standard input: never given as an argument.
    """
    if context.args:
        raise InvalidRequest(
            "A key is not given as an argument, where others can see it and the shell remembers it: call "
            "`diptych keys set PROVIDER`, and it is asked for. Replace a key that was typed in the open."
        )
    _check_name(provider)
    path = store_key(provider, _ask(provider))
    typer.echo(f"The key of {provider} is kept in {path}.")
    _warn_of_variable(provider)


@app.command("remove", context_settings=UNSEEN)
def remove_key(context: typer.Context, provider: Provider) -> None:
    """Take the key of PROVIDER out of the file."""
    from diptych.studies.doctor import set_variable

    if context.args:
        raise InvalidRequest("Name one provider, as `diptych keys` lists it.")
    if not re.fullmatch(PROVIDER_NAME, provider):
        raise _no_name()
    if not forget_key(provider):
        variable = set_variable(provider)
        hint = f" It comes from the variable {variable}; unset that." if variable else ""
        raise InvalidRequest(f"There is no key of {provider} in {keys_file()}.{hint}")
    typer.echo(f"The key of {provider} was removed from {keys_file()}.")
    _warn_of_variable(provider)


def _check_name(provider: str) -> None:
    """Raise for a name that takes no key; a stranger's is allowed, as its plugin may come later."""
    from diptych.studies.doctor import WITHOUT_KEYS, providers_with_keys

    if not re.fullmatch(PROVIDER_NAME, provider):
        raise _no_name()
    if provider in WITHOUT_KEYS:
        raise InvalidRequest(f"{provider} needs no key: its models run on this machine.")
    known = providers_with_keys()
    if provider not in known and near(provider, known):
        raise InvalidRequest(f"There is no provider named {provider!r}. Did you mean {near(provider, known)[0]}?")


def _no_name() -> InvalidRequest:
    return InvalidRequest(f"That is no name of a provider; there are {', '.join(KEYS)}, and those of plugins.")


def _ask(provider: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Key of {provider} (not shown)", hide_input=True, err=True))
    try:
        line = sys.stdin.buffer.readline(LONGEST_KEY).decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"That is no key for {provider}: a key is one word of plain characters.") from None
    if not line:
        raise InvalidRequest(
            f"No key came: standard input is empty. Type it at a terminal: diptych keys set {provider}"
        )
    return line


def _warn_of_variable(provider: str) -> None:
    from diptych.studies.doctor import set_variable

    variable = set_variable(provider)
    if variable is not None:
        typer.echo(f"The variable {variable} is set too, and comes before {keys_file().name}.", err=True)
