"""`diptych doctor`: what this machine can do, what is broken, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from diptych.studies.doctor import Checkup, LocalModel

    Rows = Sequence[tuple[str, str | Text]]

STATES = {
    "ready": ("ready", "green"),
    "fits": ("weights would fit", ""),
    "tight": ("weights would fit, and hardly more", ""),
    "too large": ("too large", "dim"),
    "unknown": ("unknown", "dim"),
}
MODELS = "Models that run here"
SIZES = "Sizes are of the weights alone, in bfloat16: text encoders and the picture come on top."


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """Look at this machine, the models that fit, keys, the store and the extras; say what to do next.

    Asks no vendor anything. Ends with 1 when something is broken; a missing key is not.
    """
    from diptych.studies.doctor import check

    checkup = check(store)
    if as_json:
        typer.echo(json.dumps(asdict(checkup), ensure_ascii=False, indent=2))
    else:
        _print(checkup)
    if checkup.problems:
        raise typer.Exit(1)


def _print(checkup: Checkup) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(f"diptych {checkup.version}", style="bold"))
    console.print(_grid([("python", f"{checkup.python} on {checkup.system}"), ("home", checkup.home)]))
    sections: tuple[tuple[str, Rows], ...] = (
        ("This machine", _machine(checkup)),
        (MODELS, [(one.name, _fit(one)) for one in checkup.models]),
        ("Keys", [(key.provider, Text(key.source or "-", style="" if key.source else "dim")) for key in checkup.keys]),
        ("Store", _store(checkup)),
        ("Extras", [(e.package, Text(e.version or f"- ({e.purpose})")) for e in checkup.extras]),
    )
    for title, rows in sections:
        if rows:
            console.print(Text(f"\n{title}", style="bold"))
            console.print(_grid(rows))
        if title == MODELS and any(model.weights for model in checkup.models):
            console.print(Text(SIZES, style="dim"))
    for problem in checkup.problems:
        console.print(Text(f"\nBroken: {problem}", style="red"))
    if checkup.next_steps:
        console.print(Text("\nNext", style="bold"))
        steps = [(f"{number}.", step) for number, step in enumerate(checkup.next_steps, start=1)]
        console.print(_grid(steps, width=3))


def _grid(rows: Rows, width: int = 22) -> Table:
    """Labels beside what is said of them, which is wrapped under itself."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(width=width, overflow="fold", style="" if width < 5 else "dim")
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(value) if isinstance(value, str) else value)
    return table


def _machine(checkup: Checkup) -> Rows:
    machine = checkup.machine
    rate = checkup.dollars_per_hour
    rows: list[tuple[str, str | Text]] = [
        ("device", f"{machine.device}: {machine.name}" if machine.device else f"{machine.name}; torch is not installed")
    ]
    if machine.dtype:
        rows.append(("computes in", f"{machine.dtype}, the faster one here"))
    rows.append(("memory", _of(machine.memory_free, machine.memory)))
    if machine.device_memory is not None:
        rows.append(("memory of the card", _of(machine.device_memory_free, machine.device_memory)))
    rows.append(
        ("dollars an hour", "not set: what pictures made here cost is unknown" if rate is None else f"{rate:g}")
    )
    return rows


def _store(checkup: Checkup) -> Rows:
    store = checkup.store
    if store.problem is not None:
        return [("database", "does not answer: see below")]
    free = f"; {_size(store.disk_free)} free on the disk" if store.disk_free is not None else ""
    return [
        ("database", store.name),
        ("pictures", f"{store.pictures_at}{free}"),
        ("holds", f"{_count(store.studies, 'study', 'studies')}, {_count(store.pictures, 'picture', 'pictures')}"),
    ]


def _fit(model: LocalModel) -> Text:
    from rich.text import Text

    said, style = STATES[model.state]
    size = f"{_size(model.weights)}, " if model.weights is not None and model.state != "ready" else ""
    return Text(f"{size}{said}", style=style)


def _of(free: int | None, total: int | None) -> str:
    if total is None:
        return "unknown"
    return _size(total) if free is None else f"{_size(free)} free of {_size(total)}"


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
