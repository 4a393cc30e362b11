"""`diptych pick`: which model, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from diptych.choose.records import Candidate, Pick

Licence = Literal["commercial", "open"]
ROWS = 10
"""Models in the table."""


def command(
    for_: Annotated[
        str | None, typer.Option("--for", metavar="CATEGORY", help="What it is for: votes on such prompts rank.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Dollars a picture at most.")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds to a picture at most, in the median.")
    ] = None,
    max_refusals: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="SHARE", help="Share of requests that are refused, at most.")
    ] = None,
    min_size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels that it must make at least.")] = None,
    needs: Annotated[
        str | None, typer.Option(metavar="SETTING,...", help="Settings that it must have, as in steps,guidance.")
    ] = None,
    licence: Annotated[
        Licence | None, typer.Option(help="Of the weights: free for commercial use, or any free licence.")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Keep models of which nobody knows whether they keep to a limit.")
    ] = False,
    study: Annotated[
        list[str] | None, typer.Option(help="A study that counts, once for each; all of them without it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Name every model that is left out, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """Say which model suits the work, and why.

    Limits filter; own votes rank, else one published scale does. What was measured here counts before what is
    published, and every number says where it is from. Where the evidence does not separate two models, it says so.
    """
    from diptych import store as stores
    from diptych.choose.pick import pick

    opened = stores.open(store)
    try:
        found = pick(
            for_=for_,
            max_cost=max_cost,
            max_seconds=max_seconds,
            max_refusals=max_refusals,
            min_size=min_size,
            needs=needs or "",
            licence=licence,
            allow_unknown=allow_unknown,
            store=opened,
            studies=study or None,
        )
    finally:
        opened.close()
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        _print(found, everything=everything)
    if found.choice is None:
        raise typer.Exit(1)


def _print(found: Pick, *, everything: bool) -> None:
    from rich.console import Console

    out = Console()
    answer, *why = found.sentences
    if found.choice is not None:
        _say(out, found.choice.label, "bold")
        answer = answer.removeprefix(f"{found.choice.label}").lstrip(",: ")
    for sentence in (f"{answer[0].upper()}{answer[1:]}", *why):
        _say(out, sentence)
    if found.choice is not None:
        _evidence(out, found.choice)
        if found.runners_up:
            _table(out, found)
    left_out = len(found.excluded)
    if everything:
        for one in found.excluded:
            _say(out, f"Left out, {one.label}: {'; '.join(one.reasons)}.")
    elif left_out:
        _say(out, f"Left out: {left_out} model{'' if left_out == 1 else 's'}; --all says why.", "dim")


def _say(out: Console, text: str, style: str = "") -> None:
    out.print(text, style=style, highlight=False, markup=False)


def _evidence(out: Console, choice: Candidate) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for one in choice.evidence:
        source = ", ".join(part for part in (one.source, one.date or "undated") if part)
        table.add_row(one.what, f"{one.value}\n[{source}] {one.strength}".replace("[", r"\["))
    out.print()
    out.print(table)


def _table(out: Console, found: Pick) -> None:
    """The choice and the runners-up, in the numbers that a Pareto plot has."""
    from rich.table import Table

    from diptych.arena.pareto import pareto

    separated = {one.other: one.separated for one in found.separations}
    best = {point.label for point in pareto(found.points)}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for header in ("quality", "$ a picture", "seconds", "told apart", "unbeaten"):
        table.add_column(header, justify="right")
    for one in found.ranked[:ROWS]:
        table.add_row(
            one.label,
            "" if one.quality is None else f"{one.quality.value:,.0f}",
            "unknown" if one.cost is None else f"{one.cost:.4g}",
            "unknown" if one.seconds is None else f"{one.seconds:.3g}",
            "" if one.label not in separated else "yes" if separated[one.label] else "no",
            "yes" if one.label in best else "",
        )
    out.print()
    out.print(table)
    rest = len(found.ranked) - ROWS
    if rest > 0:
        _say(out, f"and {rest} more", "dim")
    if best:
        _say(out, "Unbeaten: no other one is at least as good in quality, cost and time together.", "dim")
    out.print()
