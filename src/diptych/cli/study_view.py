"""How a study looks in the terminal: its plan, its progress, and what came of it."""

from __future__ import annotations

import statistics
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from diptych.cli.terminal import console
from diptych.store import schema
from diptych.studies import results

if TYPE_CHECKING:
    from diptych.store.database import Store
    from diptych.studies.attempt import Event
    from diptych.studies.forecast import Forecast
    from diptych.studies.prompts import Prompts
    from diptych.studies.run import Outcome

EVERY = 10.0
"""Seconds between lines of progress where no person watches."""


def dollars(amount: float | None) -> str:
    """As exact as the amount is small: a picture may cost a tenth of a cent."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    return (
        f"${amount:,.2f}"
        if amount >= 1
        else f"${amount:.4f}".rstrip("0").rstrip(".")
        if amount >= 0.0001
        else "<$0.0001"
    )


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def print_plan(
    prompts: Prompts | None,
    coming: Forecast,
    budget: float | None,
    *,
    name: str = "",
    new: bool = True,
    to_stdout: bool = False,
) -> None:
    """Samples, cost and time, model by model."""
    out = Console() if to_stdout else console
    title = Text(f"Study {name}" if name else "Plan", style="bold")
    if prompts is not None:
        count = len(prompts.prompts)
        title.append(f"   {count} prompt{'s' if count != 1 else ''} from {prompts.source}", style="not bold dim")
        if prompts.merged:
            title.append(f", {prompts.merged} double one{'s' * (prompts.merged > 1)} merged", style="not bold dim")
    elif not new:
        there = sum(line.there for line in coming.lines)
        title.append(f"   going on: {there} there, {coming.left} left", style="not bold dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for header in ("samples", "a picture", "in all", "seconds each"):
        table.add_column(header, justify="right")
    for line in coming.lines:
        free = line.provider == "local" and line.per_picture is None
        table.add_row(
            line.label,
            f"{line.left:,}",
            "this machine" if free else dollars(line.per_picture),
            "" if free else dollars(line.total),
            "" if line.seconds is None else f"{line.seconds:.2f}",
        )
    out.print(title)
    out.print(table)
    sources = {
        line.label: ", ".join(part for part in (line.source, line.date) if part) for line in coming.lines if line.source
    }
    for label, source in sources.items():
        out.print(f"Price of {label}: {source}", style="dim", highlight=False, markup=False)
    summary = f"To pay: {dollars(coming.total)}"
    if coming.spent:
        summary += f", beside {dollars(coming.spent)} that counts already"
    if budget is not None:
        summary += f", of a budget of {dollars(budget)}"
    time_needed = duration(coming.seconds) if coming.seconds is not None else "unknown until the first samples"
    out.print(f"{summary}.  Expected time: {time_needed}.", highlight=False)


class StudyProgress:
    """A line for each contestant, while a study runs; without a terminal, a line now and then."""

    def __init__(self, store: Store, study_id: int) -> None:
        tallies = results.tallies(store, study_id)
        self._labels = {one.contestant_id: one.label for one in tallies}
        self._counts = {one.contestant_id: dict(one.states) for one in tallies}
        self._totals = {i: sum(counts.values()) for i, counts in self._counts.items()}
        self._flying = dict.fromkeys(self._labels, 0)
        self._seconds: dict[int, list[float]] = {i: [] for i in self._labels}
        self._cost = dict.fromkeys(self._labels, 0.0)
        self._spent = 0.0
        self._said = ""
        self._last = time.monotonic()
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8, transient=True)

    def __enter__(self) -> StudyProgress:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._said = text
        if not console.is_terminal:
            console.print(text, highlight=False)

    def event(self, event: Event) -> None:
        i = event.contestant_id
        if event.state == "sent":
            self._flying[i] += 1
        elif event.state in ("done", "refused", "failed", "unknown", "planned"):
            self._flying[i] = max(0, self._flying[i] - 1)
            self._counts[i][event.state] = self._counts[i].get(event.state, 0) + 1
        if event.seconds is not None:
            recent = self._seconds[i]
            recent.append(event.seconds)
            del recent[:-200]
        self._cost[i] += event.cost or 0.0
        self._spent = event.spent
        if not console.is_terminal and time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            console.print(self._line(), highlight=False)

    def _line(self) -> str:
        parts = [f"{label}: {self._counts[i].get('done', 0)}/{self._totals[i]}" for i, label in self._labels.items()]
        return f"{'  '.join(parts)}  {dollars(self._spent)}"

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", caption=self._said or None, caption_justify="left")
        table.add_column("model", overflow="fold")
        for header in ("", "done", "refused", "failed", "unknown", "under way", "seconds", "cost"):
            table.add_column(header, justify="right")
        for i, label in self._labels.items():
            counts, total = self._counts[i], self._totals[i]
            done = counts.get("done", 0)
            seconds = self._seconds[i]
            table.add_row(
                label,
                _bar(done, total),
                f"{done}/{total}",
                *(f"{counts[state]}" if counts.get(state) else "" for state in ("refused", "failed", "unknown")),
                f"{self._flying[i]}" if self._flying[i] else "",
                f"{statistics.median(seconds):.2f}" if seconds else "",
                dollars(self._cost[i]) if self._cost[i] else "",
            )
        return table


def _bar(done: int, total: int, width: int = 16) -> Text:
    full = round(width * done / total) if total else width
    return Text("━" * full, style="green") + Text("━" * (width - full), style="bright_black")


def print_results(store: Store, name: str, outcome: Outcome) -> None:
    """What a study holds, model by model, and what to do next."""
    study = results.load(store, name)
    out = Console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for header in ("done", "refused", "failed", "unknown", "left", "median s", "a picture"):
        table.add_column(header, justify="right")
    for contestant in study.contestants:
        of_it = [sample for sample in study.samples if sample.contestant_id == contestant.id]
        number = {state: sum(sample.state == state for sample in of_it) for state in schema.STATES}
        seconds = [sample.seconds for sample in of_it if sample.seconds is not None]
        costs = [sample.cost for sample in of_it if sample.state == "done" and sample.cost is not None]
        left = number["planned"] + number["sent"] + number["waiting"]
        table.add_row(
            contestant.label,
            f"{number['done']}/{len(of_it)}",
            *(f"{number[state] or ''}" for state in ("refused", "failed", "unknown")),
            f"{left or ''}",
            f"{statistics.median(seconds):.2f}" if seconds else "",
            dollars(statistics.fmean(costs)) if costs else "unknown",
        )
    out.print(Text(f"Study {study.name}", style="bold"))
    out.print(table)
    for line in _remarks(study, outcome):
        out.print(line, highlight=False, soft_wrap=True, markup=False)


def _remarks(study: results.Results, outcome: Outcome) -> list[str]:
    remarks = []
    if study.spent:
        unsure = f", of which {dollars(study.unsure)} may not have been charged" if study.unsure else ""
        remarks.append(f"Spent: {dollars(study.spent)}{unsure}.")
    states = [sample.state for sample in study.samples]
    again = f"diptych pilot --name {study.name}" if " " not in study.name else f'diptych pilot --name "{study.name}"'
    remarks += [
        f"{label}: the budget does not reach the rest. A larger one goes on: {again} --budget DOLLARS"
        for label in outcome.over_budget
    ]
    remarks += [f"{label} was not asked further. {said}" for label, said in outcome.hopeless.items()]
    if "unknown" in states:
        remarks.append(
            f"{states.count('unknown')} sent, never answered, possibly charged: {again} --retry-unknown repeats them."
        )
    if "failed" in states:
        failed = [sample for sample in study.samples if sample.state == "failed"]
        said = str(failed[0].error).rstrip(".")
        remarks.append(f"{len(failed)} failed, the first with: {said}. {again} --retry-failed repeats them.")
    if "waiting" in states:
        remarks.append(f"{states.count('waiting')} still at the vendor: {again} asks for them.")
    if "done" in states:
        remarks.append(
            f"Look at them: diptych report {study.name!r}"
            if " " in study.name
            else f"Look at them: diptych report {study.name}"
        )
    return remarks
