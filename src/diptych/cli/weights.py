"""`diptych weights`: weights from the Hugging Face hub, on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.errors import InvalidRequest, UnknownModel

if TYPE_CHECKING:
    from diptych.providers.weights import Plan, Progress, Pulled

app = typer.Typer(help="Weights from the Hugging Face hub: pull, list, check and remove them.", no_args_is_help=True)


class Layout(StrEnum):
    AUTO = "auto"
    DIFFUSERS = "diffusers"
    SINGLE = "single"


Name = Annotated[str, typer.Argument(help="A repository, OWNER/NAME; or a model of the catalogue.")]
Revision = Annotated[str | None, typer.Option(help="A branch, a tag or a commit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("pull")
def pull_weights(
    name: Name,
    revision: Annotated[str, typer.Option(help="A branch, a tag or a commit.")] = "main",
    layout: Annotated[
        Layout,
        typer.Option(help="Where a repository holds the same weights twice: the folders (auto), or the single file."),
    ] = Layout.AUTO,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only files like this; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come, and stop.")] = False,
) -> None:
    """Bring weights here. A pull that was stopped goes on where it stopped; what is here already is not brought."""
    from diptych.providers import weights

    repo = _repository(name)
    plan = weights.plan(repo, revision, layout.value, include or ())
    _print_plan(plan)
    if dry_run:
        return
    with _progress(sum(file.size for file in plan.files)) as watch:
        pulled = weights.pull(plan, watch)
    typer.echo(str(pulled.folder))


@app.command("list")
def list_weights(as_json: AsJson = False) -> None:
    """List what was pulled: its size, revision and folder, and whether it is whole."""
    from diptych.providers import weights

    found = weights.pulled()
    if as_json:
        typer.echo(json.dumps([_as_dict(one) for one in found], ensure_ascii=False, indent=2))
        return
    if not found:
        typer.echo("No weights were pulled yet. Call: diptych weights pull OWNER/NAME")
        return
    for one in found:
        missing = one.missing
        state = f"  {len(missing)} of {len(one.files)} files missing" if missing else ""
        typer.echo(f"{one.repo}  {weights.shown(one.size)}  {one.revision} ({one.commit[:12]}){state}")
        typer.echo(f"    {one.folder}")


@app.command("check")
def check_weights(
    name: Annotated[str | None, typer.Argument(help="As `diptych weights list` says; left out: all.")] = None,
    revision: Revision = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete the files that are wrong, so that a pull brings them again.")
    ] = False,
) -> None:
    """Read every file and compare size and digest with the hub's. Ends with 1 when something is wrong."""
    from diptych.providers import weights

    found = weights.pulled() if name is None else [weights.find(_repository(name), revision)]
    bad = False
    for one in found:
        with _progress(one.size) as watch:
            wrong = weights.check(one, watch)
        state = f"{len(wrong)} {'file is' if len(wrong) == 1 else 'files are'} wrong" if wrong else "whole"
        typer.echo(f"{one.repo} ({one.commit[:12]}): {state}")
        for complaint in wrong:
            typer.echo(f"    {complaint.what}")
        if wrong and drop:
            weights.drop(one, [complaint.file for complaint in wrong])
        if wrong:
            typer.echo(f"    Bring them again with: diptych weights pull {one.repo} --revision {one.revision}")
            if not drop:
                typer.echo("    Files that were altered must be deleted first: diptych weights check --drop")
        bad = bad or bool(wrong)
    if bad:
        raise typer.Exit(1)


@app.command("rm")
def remove_weights(
    name: Annotated[str, typer.Argument(help="As `diptych weights list` says.")],
    revision: Revision = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take weights off the disk. Other programs that use the hub's cache lose them too."""
    from diptych.providers import weights

    one = weights.find(_repository(name), revision)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidRequest("This deletes files, so it asks at a terminal; --yes goes without.")
        typer.confirm(
            f"Delete {one.repo} ({one.commit[:12]}, {weights.shown(one.size)}) in {one.folder}?", abort=True, err=True
        )
    typer.echo(f"Freed {weights.shown(weights.remove(one))}.")


def _repository(name: str) -> str:
    """The repository of a model of the catalogue, or `name` itself, which then must look like one."""
    from diptych.catalogue import load

    if "/" in name:
        return name
    catalogue = load()
    model = next((model for model in catalogue.models if model.name == name), None)
    if model is None:
        raise UnknownModel(name, [model.name for model in catalogue.models if model.hub_id])
    if model.hub_id is None:
        raise InvalidRequest(f"{name} has no open weights on the hub, as far as the catalogue knows.")
    return model.hub_id


def _print_plan(plan: Plan) -> None:
    from diptych.providers import weights

    listing = plan.listing
    whole = weights.shown(sum(file.size for file in plan.files))
    rest = (
        "all of it here" if not plan.missing else f"{weights.shown(plan.left)} to come; {weights.shown(plan.free)} free"
    )
    typer.echo(f"{listing.repo} at {listing.commit[:12]}: {len(plan.files)} files, {whole}; {rest}", err=True)
    for file in plan.missing:
        typer.echo(f"    {weights.shown(file.size):>10}  {file.name}", err=True)


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """A bar for all files together, at a terminal; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    done: dict[str, int] = {}
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)

        def watch(name: str, here: int, size: int) -> None:
            done[name] = here
            bar.update(task, completed=sum(done.values()), description=name if len(name) <= 40 else f"...{name[-37:]}")

        yield watch


def _as_dict(one: Pulled) -> dict[str, Any]:
    return {**asdict(one), "folder": str(one.folder), "size": one.size, "missing": one.missing}
