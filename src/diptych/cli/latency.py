"""`diptych latency`: seconds to a picture from here, per model and region, with what it cost."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diptych.errors import StudyError

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.studies.latency import Latency, LatencyPlan

SHOWN = 3
"""Different errors of a model that are shown in full."""


def command(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Once for each model; settings of its own: NAME:steps=4"),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Requests to each model; from 20 on there is a p95.")] = 5,
    region: Annotated[str | None, typer.Option(metavar="A,B", help="Each model that has regions, in each.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What is asked for, the same of all.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend without asking.")] = False,
) -> None:
    """Measure the time to a picture from here: one request at a time, the models in turn.

    Nothing is kept. A local model's first picture is not counted.
    """
    from diptych.cli.terminal import console
    from diptych.studies import latency

    asked = latency.plan(
        model or [], n=n, prompt=prompt or latency.PROMPT, size=size, regions=region.split(",") if region else ()
    )
    _print_plan(console, asked)
    _confirm(asked, yes)
    rows: list[Latency] = []
    stopped = False
    try:
        with console.status("") as status:
            total, done = asked.n * len(asked.ways), 0

            def event(place: int) -> None:
                nonlocal done
                done += 1
                status.update(f"{done} of {total} requests")

            asyncio.run(latency.measure(asked, event, rows=rows))
    except KeyboardInterrupt:
        stopped = True
    if as_json:
        typer.echo(json.dumps([_as_dict(row) for row in rows], ensure_ascii=False, indent=2))
    else:
        _print(asked, rows)
    if stopped:
        raise KeyboardInterrupt
    if not any(row.seconds for row in rows):
        raise typer.Exit(1)


def _print_plan(console: Console, asked: LatencyPlan) -> None:
    from rich.table import Table
    from rich.text import Text

    from diptych.cli.study_view import dollars

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for header in ("region", "requests", "a picture", "in all"):
        table.add_column(header, justify="right")
    for way in asked.ways:
        here = way.contestant.model.provider == "local"
        table.add_row(
            Text(way.contestant.label),
            way.region or "",
            f"{asked.n:,}" + (" + 1" if here else ""),
            "this machine" if here else dollars(None if way.estimate is None else way.estimate.dollars),
            "" if here else dollars(way.total),
        )
    console.print(table)
    notes = [f"To pay: {dollars(asked.total)}."]
    if any(way.contestant.model.provider == "local" for way in asked.ways):
        notes.append("The first picture of a local model, after loading, is not counted.")
    if asked.without_regions:
        notes.append(f"Without regions, so measured once: {', '.join(asked.without_regions)}.")
    console.print(Text(" ".join(notes)))


def _confirm(asked: LatencyPlan, yes: bool) -> None:
    if yes or asked.total == 0:
        return
    what = "an unknown amount" if asked.total is None else f"about ${asked.total:,.2f}"
    if not sys.stdin.isatty():
        raise StudyError(f"This costs {what}, and nobody is here to agree: say --yes to spend it.")
    if not typer.confirm(f"Spend {what}?", err=True):
        raise typer.Exit(1)


def _print(asked: LatencyPlan, rows: list[Latency]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from diptych.studies.latency import ENOUGH_FOR_P95

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    regions = any(row.region for row in rows)
    p95 = any(row.p95 is not None for row in rows)
    headers = [*(["region"] if regions else []), "n", "p50", *(["p95"] if p95 else []), "min", "max", "spread"]
    for header in (*headers, "errors", "cost"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.label),
            *([row.region or ""] if regions else []),
            str(len(row.seconds)),
            _seconds(row.p50),
            *([_seconds(row.p95)] if p95 else []),
            _seconds(min(row.seconds, default=None)),
            _seconds(max(row.seconds, default=None)),
            _seconds(row.spread),
            str(len(row.errors)) if row.errors else "",
            _cost(row),
        )
    console = Console()
    console.print(table)
    explained = "Seconds from asking to having the picture; spread: the middle half lies within so many."
    if not p95:
        explained += f" A p95 needs {ENOUGH_FOR_P95} pictures: -n {ENOUGH_FOR_P95}."
    console.print(Text(explained, style="dim"))
    for row in rows:
        place = f"{row.label} ({row.region})" if row.region else row.label
        for line in _remarks(row):
            console.print(Text(f"{place}: {line}"))


def _remarks(row: Latency) -> list[str]:
    remarks = []
    if row.warm_up is not None:
        remarks.append(f"the first picture took {row.warm_up:.2f} s and is not counted.")
    different = list(dict.fromkeys(row.errors))
    for said in different[:SHOWN]:
        times = row.errors.count(said)
        remarks.append(f"{said}" + (f" ({times} times)" if times > 1 else ""))
    if len(different) > SHOWN:
        remarks.append(f"and {len(different) - SHOWN} other errors.")
    if row.unasked:
        remarks.append(f"{row.unasked} more requests were left out: the answer would be the same.")
    if row.perhaps_charged:
        one = row.perhaps_charged == 1
        remarks.append(
            f"{row.perhaps_charged} request{'' if one else 's'} without a picture may have been charged: "
            "this is not in the cost."
        )
    return remarks


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cost(row: Latency) -> str:
    from diptych.cli.study_view import dollars

    known = len(row.seconds) - row.unknown_costs
    if not row.seconds:
        return ""
    if row.unknown_costs == 0:
        return dollars(row.cost)
    return f"{dollars(row.cost)} + unknown" if known else "unknown"


def _as_dict(row: Latency) -> dict[str, Any]:
    return {
        "model": row.label,
        "region": row.region,
        "n": len(row.seconds),
        "p50": row.p50,
        "p95": row.p95,
        "min": min(row.seconds, default=None),
        "max": max(row.seconds, default=None),
        "spread": row.spread,
        "seconds": row.seconds,
        "first_byte": row.first_byte,
        "warm_up": row.warm_up,
        "errors": row.errors,
        "unasked": row.unasked,
        "cost": None if row.unknown_costs else row.cost,
        "perhaps_charged": row.perhaps_charged,
    }
