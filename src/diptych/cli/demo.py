"""`diptych demo`: see it work, with no key, no GPU and no download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.images import check_writable

if TYPE_CHECKING:
    from diptych.report.ballots import Ballots
    from diptych.store.database import Store
    from diptych.studies.results import Results

MODELS = ("builtin-flow:steps=6", "builtin-flow")
"""The pair that is compared. Until there is a second built-in model: the one there is, in a hurry and with time."""
SAMPLES = 4
SEED = 1
SO_FEW_VOTES = (
    "So few votes can show that those who voted clearly prefer one of the two, for these prompts and these pictures. "
    "They cannot show a small difference, nor what holds for other prompts, other pictures or other people."
)


def command(
    prompts: Annotated[list[str] | None, typer.Argument(help="Other prompts than the demo's own three.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the report goes.")] = Path(
        "diptych-demo.html"
    ),
    seed: Annotated[int, typer.Option(help="Seed of every prompt's first picture.")] = SEED,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open pages when a person is at the terminal.")
    ] = True,
) -> None:
    """See it work: a small study, the blind test in the browser, the report, and which model to pick.

    Three prompts, four pictures each, by two built-in models. No key, no GPU, no download. Without a terminal nobody
    can judge: then it ends by itself, without votes. Running it again goes on, and replaces its own report.
    """
    from diptych import measure, report, store
    from diptych.cli import browser
    from diptych.report import ballots
    from diptych.studies import results

    check_writable(out, force=report.is_report(out))
    opened = store.open()
    try:
        found = results.load(opened, _pilot(opened, prompts or [], seed), measure_version=measure.VERSION)
        watched = sys.stdin.isatty() and sys.stdout.isatty()
        if watched:
            _blind_test(opened, found, open_page=open_page)
        votes = ballots.load(opened, found.id)
        page = report.write(found, opened.pictures, out, votes=votes)
        if open_page:
            browser.show(page)
        typer.echo(page)
        _conclude(opened, found, votes, watched=watched)
    except KeyboardInterrupt:
        _say("\nStopped. What was made is kept: the same command goes on.")
        raise typer.Exit(130) from None
    finally:
        opened.close()


def _pilot(opened: Store, prompts: list[str], seed: int) -> str:
    from diptych.cli import pilot

    try:
        return pilot.study(opened, MODELS, prompts, samples=SAMPLES, seed=seed)
    except typer.Exit:
        raise KeyboardInterrupt from None  # what it ends with after Ctrl-C


def _blind_test(opened: Store, found: Results, *, open_page: bool) -> None:
    """Until a judge ends it on the page, or Ctrl-C."""
    from diptych.cli import browser, judge

    _say("\nNow the blind test: vote on the page, and end it there. Ctrl-C ends it, too, and goes on to the report.")
    window = open_page and browser.is_there()
    if open_page and not window:
        _say("There is no browser here that opens a window. Open this address yourself:")
    judge.run(opened, found, browser=window, once=True)


def _conclude(opened: Store, found: Results, votes: Ballots, *, watched: bool) -> None:
    """The pick, and how far it reaches; without votes, how to get some."""
    from diptych.choose.pick import pick

    name = f'"{found.name}"' if " " in found.name else found.name
    picked = pick(store=opened, studies=[found.name]) if len(votes.people.votes) else None
    if picked is None or picked.basis != "own votes":
        why = "No vote compares them" if watched else "Nobody is at a terminal to judge, so the blind test is left out"
        _say(f"{why}: the report is without votes, and there is no pick.\nTo judge: diptych judge {name}")
        return
    _say("\nThe pick: " + " ".join(one for one in picked.sentences if one not in picked.notes))
    _say(SO_FEW_VOTES)
    _say(f"More: diptych leaderboard {name}, diptych pick --study {name}, diptych judge {name}")


def _say(text: str) -> None:
    """To standard error: standard output is the path of the report."""
    from diptych.cli.terminal import console

    console.print(text, highlight=False, markup=False, soft_wrap=True)
