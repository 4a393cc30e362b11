"""`diptych judge`: the blind test in the browser."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.errors import InvalidRequest, UnknownModel

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from diptych.judging.serving import Listening
    from diptych.judging.sitting import Sitting
    from diptych.store.database import Store
    from diptych.studies.results import Results

LINGERS = 1.0
"""Seconds without a request, once a judge has ended a sitting, after which the page has all of its end."""


def command(
    study: Annotated[str | None, typer.Argument(help="Name of the study; the latest one without it.")] = None,
    criterion: Annotated[str, typer.Option(help="overall, detail, or 'follows the prompt'.")] = "overall",
    votes: Annotated[
        int | None, typer.Option("--votes", min=1, metavar="N", help="Votes of all judges after which it is enough.")
    ] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Name both models after each vote.")] = False,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Every pair of models as often, instead of those that tell most.")
    ] = False,
    watermarked: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A model whose pictures carry a mark that can be seen.")
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address of this machine for colleagues; 0.0.0.0 is all of them.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one.")] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page when a person is at the terminal.")
    ] = True,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Ask a vision model, both orders of each pair, in place of people."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --judge: spend without asking.")] = False,
    store_url: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="Database of the study, when not your own store.")
    ] = None,
) -> None:
    """Judge the pictures of STUDY in the browser, two at a time, without knowing which model made which.

    Keys: 1 left, 2 right, = tie, 0 both bad, space skips, Z takes back. Ctrl-C ends it; the votes are kept.
    With --judge a model judges instead, until it has --votes N of its own; its cost is told first.
    """
    from diptych import measure, store
    from diptych.arena.votes import CRITERIA
    from diptych.studies import results

    if criterion not in CRITERIA:
        raise InvalidRequest(f"--criterion is {criterion!r}; it is {', '.join(CRITERIA)}.")
    opened = store.open(store_url)
    try:
        found = results.load(opened, study, measure_version=measure.VERSION)
        if judge is not None:
            from diptych.cli import judge_model

            of_page = {
                "--reveal": reveal,
                "--uniform": uniform,
                "--watermarked": watermarked,
                "--port": port is not None,
            }
            judge_model.refuse(of_page | {"--host": host != "127.0.0.1"})
            judge_model.run(opened, found, judge, criterion=criterion, pairs=votes, yes=yes)
            return
        if yes:
            raise InvalidRequest("--yes goes with --judge MODEL: people cost nothing.")
        run(
            opened,
            found,
            criterion=criterion,
            budget=votes,
            reveal=reveal,
            uniform=uniform,
            watermarked=watermarked or [],
            host=host,
            port=port,
            browser=open_page and sys.stdout.isatty(),
        )
    finally:
        opened.close()


def run(
    opened: Store,
    found: Results,
    *,
    criterion: str = "overall",
    budget: int | None = None,
    reveal: bool = False,
    uniform: bool = False,
    watermarked: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
    once: bool = False,
) -> None:
    """Serve a sitting until Ctrl-C, then say what is known. once: also until a judge has ended it on the page."""
    from diptych.arena.stopping import Rule
    from diptych.judging import marks, serving
    from diptych.judging.sitting import Sitting

    labels = [row.label for row in found.contestants]
    for name in watermarked or []:
        if name not in labels:
            raise UnknownModel(name, labels)
    listening = serving.listen(host, port)
    try:
        seen = marks.find(found, opened.pictures)
        sitting = Sitting(
            opened,
            found,
            criterion=criterion,
            rule=Rule(budget=budget),
            uniform=uniform,
            reveals=reveal,
            marked=[label for label in labels if label in seen or label in (watermarked or [])],
        )
        for corners in seen.values():
            _warn(corners)
        interrupted = False
        try:
            asyncio.run(_serve(sitting, listening, browser=browser, once=once))
        except KeyboardInterrupt:
            interrupted = True
        _sum_up(sitting, found, interrupted=interrupted)
    finally:
        listening.socket.close()


async def _serve(sitting: Sitting, listening: Listening, *, browser: bool, once: bool) -> None:
    from diptych.judging import doors, serving
    from diptych.judging.app import make_app

    code = doors.new_code() if listening.public else None
    ended, over = asyncio.Event(), asyncio.Event()

    def started() -> None:
        _say(listening, code)
        if browser:
            import webbrowser

            # In a thread: some browsers are waited for, and this one waits for the server.
            threading.Thread(target=webbrowser.open, args=(listening.addresses[0],), daemon=True).start()

    async with sitting:
        app = _Asked(make_app(sitting, code=code, ended=ended.set if once else lambda: None))
        shown = asyncio.ensure_future(_when_shown(ended, app, over))
        try:
            await serving.serve(app, listening, started, over)
        finally:
            shown.cancel()
        await sitting.look_again()


class _Asked:
    """An application that knows when it was last asked for something."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.under_way = 0
        self.last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.under_way -= 1
            self.last = time.monotonic()


async def _when_shown(ended: asyncio.Event, app: _Asked, over: asyncio.Event) -> None:
    """The end shows pictures, which the page asks for after it: they are waited for."""
    await ended.wait()
    while app.under_way or time.monotonic() - app.last < LINGERS:
        await asyncio.sleep(0.1)
    over.set()


def _say(listening: Listening, code: str | None) -> None:
    typer.echo(f"The blind test is at {listening.addresses[0]}")
    for address in listening.addresses[1:]:
        typer.echo(f"For colleagues:       {address}")
    if code is not None:
        typer.echo(f"Join code:            {code}")
    typer.echo("Ctrl-C ends it. Every vote is kept at once.", err=True)


def _warn(corners: tuple[str, ...]) -> None:
    """Without the name: whoever reads this may be a judge."""
    where = f"{' and '.join(corners)} corner{'s' if len(corners) > 1 else ''}"
    typer.echo(
        f"Careful: the pictures of one model carry what looks like a mark in the {where}. Who knows the mark is not "
        "blind to it. Which model it is, the end says.",
        err=True,
    )


def _sum_up(sitting: Sitting, found: Results, *, interrupted: bool) -> None:
    from diptych.judging import known

    if interrupted:
        typer.echo("", err=True)  # after the ^C that the terminal shows
    now = sitting.known
    name = f'"{found.name}"' if " " in found.name else found.name
    if not now.votes:
        typer.echo(f"No votes yet. Go on with: diptych judge {name}")
        return
    votes = f"{now.votes:,} vote{'s' if now.votes != 1 else ''}"
    typer.echo(f"{votes} by {now.judges} judge{'s' if now.judges != 1 else ''}. {known.headline(now.standing)}")
    typer.echo(known.scope(now.standing))
    if len(now.standing.verdicts) == 1:
        typer.echo(now.standing.verdicts[0].reason)
    for said in sitting.unreadable:
        typer.echo(f"Not shown: {said}", err=True)
    if sitting.marked:
        typer.echo(f"With a mark that can be seen: {', '.join(sitting.marked)}. Votes on them may not be blind.")
    typer.echo(f"Next: diptych leaderboard {name}, diptych report {name}")
    if not now.enough:
        typer.echo(f"Go on with: diptych judge {name}")
