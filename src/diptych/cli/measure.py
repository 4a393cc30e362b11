"""`diptych measure`: numbers read off any picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.errors import BadPicture

if TYPE_CHECKING:
    from rich.table import Table

    from diptych.measure import AtSize, Measures

NUMBER = 10
"""Characters of one number; a picture has two side by side."""
COLUMN = 2 * NUMBER + 1
LABELS = 18


def command(
    files: Annotated[list[Path], typer.Argument(help="Pictures, of any origin.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure pictures: sharpness, noise, contrast, colour; and which of them are nearly the same."""
    from diptych.measure import near_duplicates

    measured = [_measure(path) for path in files]
    groups = near_duplicates([m.perceptual_hash for m in measured])
    if as_json:
        import json

        answer = {
            "pictures": [{"file": str(path), **m.to_dict()} for path, m in zip(files, measured, strict=True)],
            "near_duplicates": [[str(files[i]) for i in group] for group in groups],
        }
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    _print(files, measured, groups)


def _measure(path: Path) -> Measures:
    from diptych.measure import measure

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadPicture(f"There is no file {path}.") from None
    except OSError as error:
        raise BadPicture(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        return measure(data)
    except BadPicture as error:
        raise BadPicture(f"{path}: {error}") from None


def _print(files: list[Path], measured: list[Measures], groups: list[tuple[int, ...]]) -> None:
    """Tables of as many pictures as fit side by side, what the rows mean, and the groups of near duplicates."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from diptych.measure import QUANTITIES

    console = Console()
    across = max(1, (console.width - LABELS) // (COLUMN + 2))
    for first in range(0, len(files), across):
        console.print(_table(files[first : first + across], measured[first : first + across]))
        console.print()
    legend = Table.grid(padding=(0, 2))
    for quantity in QUANTITIES:
        unit = f" ({quantity.unit})" if quantity.unit else ""
        legend.add_row(Text(quantity.label, style="dim"), Text(f"{quantity.reading}{unit}", style="dim"))
    console.print(legend)
    for group in groups:
        console.print()
        console.print(Text("Nearly the same picture:", style="bold"))
        for index in group:
            console.print(Text(f"  {files[index]}"), soft_wrap=True)


def _table(files: list[Path], measured: list[Measures]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from diptych.measure import QUANTITIES

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(Text("\n"), style="dim", no_wrap=True, min_width=LABELS)
    for path in files:
        header = Text.assemble((_end_of(path.name), "bold"), "\n", (_two("original", "common"), "dim"))
        table.add_column(header, no_wrap=True, width=COLUMN)
    table.add_row("size", *(_two(_size(m.original), _size(m.common)) for m in measured))
    for quantity in QUANTITIES:
        pairs = ((getattr(m.original, quantity.name), getattr(m.common, quantity.name)) for m in measured)
        table.add_row(quantity.label, *(_two(*(_number(value, quantity.decimals) for value in pair)) for pair in pairs))
    table.add_row("bits per pixel", *(_two(_number(m.bits_per_pixel, 2), "") for m in measured))
    table.add_row("perceptual hash", *(f"{m.perceptual_hash:016x}".rjust(COLUMN) for m in measured))
    return table


def _end_of(name: str) -> str:
    """As much of a file's name as fits, to the right; of long names it is the end that tells them apart."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) > COLUMN:
        name = "…" + set_cell_size(name[::-1], COLUMN - 1)[::-1].strip()
    return " " * (COLUMN - cell_len(name)) + name


def _two(original: str, common: str) -> str:
    return f"{original:>{NUMBER}} {common:>{NUMBER}}"


def _size(at: AtSize) -> str:
    return f"{at.width}x{at.height}"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
