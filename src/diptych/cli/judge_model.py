"""`diptych judge --judge MODEL`: the blind test put to a vision model; its cost first, and what it agrees on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from diptych.errors import InvalidRequest, StudyError

if TYPE_CHECKING:
    from diptych.judging.models import Event, ModelJudging
    from diptych.store.database import Store
    from diptych.studies.results import Results

PAIRS = 50
"""Where nobody says how many."""


def refuse(of_page: Mapping[str, object]) -> None:
    """Raise InvalidRequest for options that only the page has."""
    given = [name for name, value in of_page.items() if value]
    if given:
        raise InvalidRequest(f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} of the page, not of --judge.")


def run(
    opened: Store,
    found: Results,
    model: str,
    *,
    criterion: str = "overall",
    pairs: int | None = None,
    yes: bool = False,
) -> None:
    """Say what it will cost, ask, let the model judge, and say what came of it. pairs: earlier ones included."""
    from diptych.cli.terminal import console
    from diptych.judging import models
    from diptych.studies.run import AT_ONCE, limits

    entry = models.check(model, criterion)
    wanted = PAIRS if pairs is None else pairs
    left = models.left_to_ask(opened, found.id, entry.name, criterion, wanted)
    if left:
        _confirm(entry.name, left, models.estimate(entry.name, left), yes)
    done = 0

    def progress(event: Event) -> None:
        nonlocal done
        done = event.done
        if console.is_terminal:
            cost = f", ${event.cost:.4f}" if event.cost else ""
            console.print(f"{event.done} of {left} pairs{cost}: {event.outcome}", end="\r", highlight=False)
        elif event.said is not None:
            console.print(event.said, highlight=False, markup=False)

    try:
        outcome = asyncio.run(
            models.judge_with_model(
                opened,
                found.id,
                entry.name,
                votes=wanted,
                criterion=criterion,
                concurrency=limits().get(entry.provider, AT_ONCE),
                on_event=progress,
            )
        )
    except KeyboardInterrupt:
        typer.echo(f"\nStopped; {done} pairs are kept, and the same command goes on.", err=True)
        raise typer.Exit(130) from None
    for line in lines(outcome, found.name):
        typer.echo(line)
    if outcome.stopped is not None:
        raise typer.Exit(1)


def _confirm(model: str, pairs: int, expected: tuple[float, int] | None, yes: bool) -> None:
    asked = f"{model} is asked about {pairs} pair{'' if pairs == 1 else 's'}, each in both orders: {2 * pairs} answers."
    cost = (
        "What that costs is unknown: no answer of it with a known price has been kept"
        if expected is None
        else f"Cost: about ${expected[0]:,.2f}, by {expected[1]:,} earlier answers"
    )
    typer.echo(f"{asked} {cost}.", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise StudyError("This costs money, and nobody is here to agree: say --yes to spend it.")
    if not typer.confirm("Ask?", err=True):
        raise typer.Exit(1)


def lines(outcome: ModelJudging, study: str) -> list[str]:
    """What came of it, as it is printed."""
    name = f'"{study}"' if " " in study else study
    failed = sum(outcome.failed.values())
    came = f"{outcome.votes} votes, {outcome.inconsistent} inconsistent{f', {failed} failed' if failed else ''}"
    said = [f"{outcome.model} on {outcome.criterion}: {came}; {outcome.there} in all."]
    if outcome.decided:
        share = outcome.first / outcome.decided
        said.append(f"It chose the first picture in {share:.0%} of its answers; without a favourite side it is half.")
    said += [f"Failed {times} time{'' if times == 1 else 's'}: {why}." for why, times in outcome.failed.items()]
    said.append(_cost(outcome))
    said.append(_agreement(outcome))
    if outcome.stopped is not None:
        said.append(f"It ended early. {outcome.stopped}")
    if outcome.there:
        said.append(f"Next: diptych leaderboard {name} --judges models")
    return said


def _cost(outcome: ModelJudging) -> str:
    known = outcome.answers - outcome.unknown
    cost = f"Cost: ${outcome.cost:.4f} for {known} answers" if known else "Cost: unknown"
    if known and outcome.unknown:
        cost += f", unknown for {outcome.unknown}"
    if outcome.possibly_charged:
        times = f"{outcome.possibly_charged} request{'' if outcome.possibly_charged == 1 else 's'}"
        cost += f"; {times} failed and may have been charged"
    return f"{cost}."


def _agreement(outcome: ModelJudging) -> str:
    found = outcome.agreement
    if found.share is None:
        return "No pair was judged both by it and by a person: whether it judges as people do is unknown."
    kappa = "" if found.kappa is None else f", Cohen's kappa {found.kappa:.2f}"
    return (
        f"It agrees with people in {found.same} of {found.compared} votes ({found.share:.0%}{kappa}), "
        f"on {found.pictures} pairs that both judged."
    )
