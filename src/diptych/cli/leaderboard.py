"""`diptych leaderboard` and `diptych rate`: what votes say of models."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diptych.errors import InvalidRequest

if TYPE_CHECKING:
    from diptych.arena.ratings import Scope
    from diptych.store.database import Store
    from diptych.studies.leaderboard import Leaderboard

ALL = "all"
Reach = Literal["these", "prompts", "judges", "both"]
Judges = Literal["people", "models", "all"]

REACH_HELP = "Of whom intervals speak: these prompts and judges, or beyond these prompts, these judges, or both."
CRITERION_HELP = "What the votes are about: overall, detail, follows the prompt."
CATEGORY_HELP = "Only prompts of this category."
CSV_HELP, JSON_HELP = "The table as CSV.", "Everything as JSON."
PAGE_HELP = "Write a page with an interval plot."


def command(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study, or all; the latest one without it.", show_default=False)
    ] = None,
    criterion: Annotated[str, typer.Option(help=CRITERION_HELP)] = "overall",
    category: Annotated[str | None, typer.Option(help=CATEGORY_HELP)] = None,
    judges: Annotated[Judges, typer.Option(help="Whose votes are counted.")] = "people",
    scope: Annotated[Reach, typer.Option(help=REACH_HELP)] = "these",
    as_csv: Annotated[bool, typer.Option("--csv", help=CSV_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help=PAGE_HELP)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that is there.")] = False,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """Rate the models of a study by its votes: ratings, intervals, ranks."""
    from diptych import store as stores
    from diptych.studies import leaderboard

    _only_one(as_csv, as_json, page)
    opened = stores.open(store)
    try:
        kind = {"people": leaderboard.PEOPLE, "models": leaderboard.MODELS, "all": None}[judges]
        board = leaderboard.leaderboard(
            opened, which(opened, study), criterion=criterion, category=category, scope=reach(scope), kind=kind
        )
    finally:
        opened.close()
    show(board, as_csv, as_json, page, force=force)


def rate(
    file: Annotated[Path, typer.Argument(help="Votes: .csv, .tsv, .jsonl or .json.", show_default=False)],
    criterion: Annotated[
        str | None, typer.Option(help="What the votes are about, where the file tells several apart.")
    ] = None,
    category: Annotated[str | None, typer.Option(help=CATEGORY_HELP)] = None,
    scope: Annotated[Reach, typer.Option(help=REACH_HELP)] = "these",
    as_csv: Annotated[bool, typer.Option("--csv", help=CSV_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help=PAGE_HELP)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that is there.")] = False,
) -> None:
    """Rate the votes of a file, whoever collected them.

    A file has the columns model_a, model_b and winner (model_a, model_b, tie, tie (bothbad), or a model's name), and
    perhaps judge, question_id or prompt, category, criterion and seconds; FastChat's and those of
    `diptych votes export` are such files.
    """
    from diptych.studies import leaderboard

    _only_one(as_csv, as_json, page)
    board = leaderboard.of_file(file, criterion=criterion, category=category, scope=reach(scope))
    show(board, as_csv, as_json, page, force=force)


def which(opened: Store, study: str | None) -> int | None:
    """The id of a study by its name, None for all of them. Raises StudyError."""
    from diptych.studies import results

    return None if study == ALL and ALL not in results.names(opened) else results.find(opened, study)


def reach(scope: Reach) -> Scope:
    return "prompts and judges" if scope == "both" else scope


def _only_one(as_csv: bool, as_json: bool, page: Path | None) -> None:
    asked = [
        name for name, wanted in (("--csv", as_csv), ("--json", as_json), ("--page", page is not None)) if wanted
    ]  # fmt: skip
    if len(asked) > 1:
        raise InvalidRequest(f"{' and '.join(asked)} do not go together: choose one.")


def show(board: Leaderboard, as_csv: bool, as_json: bool, page: Path | None, *, force: bool) -> None:
    from diptych.studies import leaderboard

    if as_json:
        typer.echo(json.dumps(board.to_dict(), ensure_ascii=False, indent=1))
    elif as_csv:
        out = io.StringIO()
        rows = [leaderboard.row(one) for one in board.models]
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["model"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        typer.echo(out.getvalue(), nl=False)
    elif page is not None:
        from diptych.report import leaderboard as pages

        typer.echo(pages.write(board, page, force=force))
    else:
        print_board(board)


def print_board(board: Leaderboard) -> None:
    """The table, and in words what must be said beside it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from diptych.report import words
    from diptych.report.standings import about, counted, facts, interval, ranks

    out = Console()
    out.print(Text(f"Leaderboard of {about(board)}", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rank", no_wrap=True)
    table.add_column("model", overflow="fold")
    headers = ("rating", f"{board.ratings.confidence * 100:.0f} % interval", "wins", "votes", "both bad")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    group = None
    for one in board.models:
        if None not in (group, one.group) and one.group != group:
            table.add_row()
        group = one.group
        table.add_row(
            ranks(one),
            one.model,
            "" if one.rating.value is None else f"{one.rating.value:,.0f}",
            "" if one.rating.value is None else interval(one.rating),
            "" if one.win_rate.value is None else f"{one.win_rate.value * 100:.0f} %",
            f"{one.votes:,}",
            "" if one.both_bad_rate is None else f"{one.both_bad_rate * 100:.0f} %",
        )
    out.print(table)
    for line in (board.headline, words.sentence(counted(board)), *facts(board)):
        out.print(line, highlight=False, markup=False)
