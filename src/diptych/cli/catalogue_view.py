"""How `diptych models` looks: the list, and everything known of one model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from diptych.catalogue import lives

if TYPE_CHECKING:
    from diptych.catalogue import (
        Caps,
        Catalogue,
        Claim,
        Conflict,
        Dates,
        Fact,
        Latency,
        Maker,
        Model,
        Price,
        Rating,
        Settings,
    )

    Row = tuple[str, str, Any]

DISAGREE = "≠"
UNKNOWN = "·"
LOCAL_MAKER = "Added by you"
REHEARSAL = "for rehearsing: they make no real pictures"


def print_list(catalogue: Catalogue, models: Sequence[Model], today: date) -> None:
    """Those of its models: where each runs, its price and its public ratings. Fake ones come last, apart."""
    console = Console()
    console.print(_list_table(catalogue, models, today))
    console.print()
    console.print(_legend())


# The list


def _list_table(catalogue: Catalogue, models: Sequence[Model], today: date) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("runs", no_wrap=True)
    table.add_column("$ at 1 MP", no_wrap=True)
    table.add_column("AA", justify="right", no_wrap=True)
    table.add_column("LM", justify="right", no_wrap=True)
    table.add_column("until", no_wrap=True)
    titles = {maker.name: maker.title for maker in catalogue.makers}
    order = [maker for maker in titles if maker != "fake"]

    def place(model: Model) -> int:
        if model.provider == "fake":
            return len(order) + 1
        return order.index(model.maker) if model.maker in order else len(order)

    group: str | None = None
    for model in sorted(models, key=place):
        title = titles[model.maker] if model.maker else LOCAL_MAKER
        if title != group:
            if group is not None:
                table.add_row()
            table.add_row(Text(title, style="bold cyan"))
            group = title
        if model.provider == "fake":
            table.add_row(Text(f"  {model.name}"), Text("fake"))
            continue
        marked = {conflict.what.split(", ")[0]: conflict for conflict in _shown_conflicts(model)}
        runs = "both" if model.runs_here and model.hosted else "here" if model.runs_here else "hosted"
        table.add_row(
            Text(f"  {model.name}"),
            Text(runs, style="green" if model.runs_here else ""),
            _cell(_price_range(model), "price" in marked),
            *(_cell(_rating_of(model, scale), False) for scale in ("artificial-analysis", "lm-arena")),
            _cell(_until(model), "dates" in marked, "red" if model.retired(today) else ""),
        )
    return table


def _shown_conflicts(model: Model) -> list[Conflict]:
    """The conflicts about what the list shows."""
    return [c for c in model.conflicts() if c.what.startswith(("price, 1K", "dates, shutdown"))]


def _price_range(model: Model) -> str | None:
    """Lowest to highest dollars that any source names for one picture of about a megapixel."""
    prices = [
        dollars
        for price in model.prices
        if price.region is None and price.tier is None
        for what, dollars in price.points().items()
        if what.startswith("1K")
    ]
    if not prices:
        return None
    low, high = min(prices), max(prices)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _rating_of(model: Model, scale: str) -> str | None:
    """The rating that the scale itself publishes, which the files list first; what others quote is in `show`."""
    found = [rating for rating in model.ratings if rating.scale == scale]
    return f"{found[0].value:g}" if found else None


def _until(model: Model) -> str | None:
    return min((str(fact.value) for fact in model.dates.shutdown), default=None)


def _cell(text: str | None, disagree: bool, style: str = "") -> Text:
    if text is None:
        return Text(UNKNOWN, style="dim")
    return Text.assemble((text, style), (f" {DISAGREE}", "bold yellow")) if disagree else Text(text, style=style)


def _legend() -> Table:
    legend = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, style="dim")
    legend.add_column(no_wrap=True, style="bold")
    legend.add_column()
    for term, meaning in (
        (
            "runs",
            "here: open weights (so far builtin-flow and your own are run); hosted: over the network; both: either",
        ),
        ("$ at 1 MP", "dollars for one hosted picture of about 1024x1024; a range where quality or source differ"),
        ("AA, LM", "ratings of Artificial Analysis and of arena.ai: two scales, not to be compared"),
        ("until", "the earliest shutdown that a source names; red: it has passed"),
        ("fake", REHEARSAL),
        (f"{DISAGREE} and {UNKNOWN}", f"{DISAGREE} sources disagree, {UNKNOWN} unknown"),
        ("more", "diptych models show NAME: every fact with its source and date"),
    ):
        legend.add_row(Text(term), Text(meaning))
    return legend


# One model


def print_model(catalogue: Catalogue, model: Model, today: date) -> None:
    """Each fact with its source and date, what is stale, and where sources disagree; first whether the model lives."""
    console = Console()
    maker = catalogue.maker_of(model)
    head = Text(model.title, style="bold")
    if model.title != model.name:
        head.append(f"  {model.name}", style="cyan")
    head.append(
        f"\n{maker.title if maker else LOCAL_MAKER if model.name in catalogue.own else 'in no file'}", style="dim"
    )
    console.print(head)
    for sentence, style in ((model.retired(today), "bold red"), (model.ending(today), "yellow")):
        if sentence is not None:
            console.print(Text(f"\n{sentence}", style=style))

    page = _Page(console, model.conflicts(), today)
    page.wide("runs", [(way, value, None) for way, value in _ways(model)])
    page.settings("settings", model.settings)
    for way in model.routes:
        if way.settings is not None:
            page.settings(f"settings by {way.provider.replace('_', ' ')}", way.settings)
    page.group("price, $", [(_price_label(price), _price_text(price), price) for price in model.prices])
    page.group("rating", [(_rating_label(rating), _rating_text(rating), rating) for rating in model.ratings])
    page.group("dates", _fact_rows(model.dates))
    page.group("caps", _fact_rows(model.caps))
    page.group("latency, claimed", [("one picture", _latency_text(entry), entry) for entry in model.latency])
    page.group("licence", [(fact.variant or "", _fact_text(fact), fact) for fact in model.licence])
    page.wide("about", [(fact.variant or "", _fact_text(fact), fact) for fact in model.about])
    if maker is not None:
        page.wide(f"{maker.title}, by the page itself unless said", _fact_rows(maker))
    page.group(
        "sources disagree",
        [
            (conflict.what, _claim_text(claim), claim.record)
            for conflict in model.conflicts()
            for claim in conflict.claims
        ],
        notes=False,
    )


class _Page:
    """Groups of rows (what, value, record) in columns that line up from group to group."""

    def __init__(self, console: Console, conflicts: tuple[Conflict, ...], today: date) -> None:
        self._console = console
        self._conflicts = conflicts
        self._today = today
        self._what, self._date = (14, 10) if console.width < 100 else (20, 16)
        rest = max(console.width - self._what - self._date - 9, 24)  # 9: the mark, and what is between the columns
        self._value = rest * 3 // 7
        self._source = rest - self._value

    def group(self, title: str, rows: list[Row], *, notes: bool = True) -> None:
        """Each record brings its source, date and note; what repeats the row above is not said twice."""

        table = self._begin(title, rows, (self._what, self._value, self._source, self._date))
        before: tuple[str, str] = ("", "")
        for what, value, record in rows:
            source, date = Text(), Text()
            if record is not None:
                source, date = Text(_broken(record.source, self._source)), self._age(record)
            if notes and record is not None and record.note:
                source.append(("\n" if source else "") + _broken(record.note, self._source), style="dim italic")
            same = (what, value) == before
            table.add_row(
                self._mark(record),
                Text("" if what == before[0] else what),
                Text("the same", style="dim") if same else Text(value),
                source,
                date,
            )
            before = (what, value)
        if rows:
            self._console.print(table)

    def settings(self, title: str, settings: Settings | None) -> None:
        """A setting a line, with what it takes; who says so stands below all of them."""
        rows = _setting_rows(settings)
        name = max(len(row[0]) for row in rows)
        width = self._what + self._value + self._source + self._date + 4 - name
        table = self._begin(title, rows, (name, width))
        for what, value, note in rows:
            table.add_row(Text(), Text(what), Text.assemble(value, (f"; {note}" if note else "", "dim italic")))
        self._console.print(table)
        if settings is not None and settings.source is not None:
            said = Text.assemble(settings.source, ", ", self._age(settings), style="dim")
            if settings.note:
                said.append(f"; {settings.note}", style="italic")
            self._console.print(Padding(said, (0, 0, 0, 3)))

    def wide(self, title: str, rows: list[Row]) -> None:
        """Long values get the room of two columns; a source follows where it is not the address itself."""
        width = self._value + 2 + self._source
        table = self._begin(title, rows, (self._what, width, self._date))
        before = ""
        for what, value, record in rows:
            cell, date = Text(_broken(value, width)), Text()
            if record is not None:
                said = [record.note] if record.note else []
                if record.source != value.removeprefix("https://"):
                    said.append(f"source: {record.source}")
                if said:
                    cell.append("\n" + "; ".join(said), style="dim italic")
                date = self._age(record)
            table.add_row(Text(), Text("" if what == before else what), cell, date)
            before = what
        if rows:
            self._console.print(table)

    def _begin(self, title: str, rows: list[Row], widths: tuple[int, ...]) -> Table:
        if rows:
            self._console.print(Text(f"\n   {title}", style="bold cyan"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for width in (1, *widths):
            table.add_column(width=width, overflow="fold")
        return table

    def _age(self, record: Any) -> Text:
        """The date, and whether it is so long ago that the fact may no longer hold. Without a date nobody can tell."""
        if record.date is None:
            return Text("undated stale", style="dim")
        return Text.assemble(record.date, (" stale" if lives.stale(record.date, self._today) else "", "dim"))

    def _mark(self, record: Any) -> Text:
        disagree = record is not None and any(conflict.concerns(record) for conflict in self._conflicts)
        return Text(DISAGREE if disagree else "", style="bold yellow")


def _broken(text: str, width: int) -> str:
    """Lines of at most `width` where that can be had by breaking after a slash or a space."""
    lines = [""]
    for piece in re.split(r"(?<=[/ ])", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _fact_rows(record: Dates | Caps | Maker) -> list[Row]:
    """A row per fact of every field that holds facts."""
    rows: list[Row] = []
    for kind in type(record).model_fields:
        facts = getattr(record, kind)
        if isinstance(facts, tuple):
            rows += ((_label(kind, fact), _fact_text(fact), fact) for fact in facts)
    return rows


def _ways(model: Model) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for way in model.ways():
        if way.provider != "local":
            rows.append((way.provider.replace("_", " "), way.id or ""))
        elif model.weights is not None:
            rows.append(("here", "weights shipped with diptych" if model.weights == "builtin" else model.weights))
        else:
            rows.append(("here", f"weights of {model.hub_id}" if model.hub_id else "weights unknown"))
    return rows


def _setting_rows(settings: Settings | None) -> list[Row]:
    """Name, what it takes, and the vendor's or our note on it."""
    if settings is None:
        return [("", "unknown: a request is sent as it is", None)]
    rows: list[Row] = []
    for name in settings.names():
        setting = settings.options.get(name) or getattr(settings, name)
        if setting is True:
            rows.append((name, "yes", {"follows": "goes on from an earlier picture of the conversation"}.get(name)))
            continue
        default, rule = _default_text(getattr(setting, "default", None)), setting.rule()
        value = rule if default in ("", rule) else f"{rule}; default {default}"
        rows.append((name, value, getattr(setting, "note", None)))
    if settings.aspect_ratio is not None and settings.size is None:
        rows.append(("size", "in pixels, where it fits a shape and a class of size", None))
    if settings.prompt.max_characters is not None:
        rows.append(("prompt", f"at most {settings.prompt.max_characters:,} characters", None))
    return rows or [("", "the prompt alone", None)]


def _default_text(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, tuple):
        return "x".join(str(side) for side in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _price_label(price: Price) -> str:
    where = ", ".join(part for part in (price.region, price.tier) if part)
    seller = f"from {price.seller.replace('_', ' ')}" if price.seller else "a picture"
    return f"{seller} ({where})" if where else seller


def _price_text(price: Price) -> str:
    if price.per_image is not None:
        return f"{price.per_image:g} an image"
    if price.per_size is not None:
        return "\n".join(f"{dollars:g} at {size}" for size, dollars in price.per_size.items())
    if price.per_quality is not None:
        lines = [f"{dollars:g} {quality}" for quality, dollars in price.per_quality.items()]
        return "\n".join([*lines, f"at {price.at}"] if price.at else lines)
    if price.per_megapixel is not None:
        return f"{price.per_megapixel:g} a megapixel" + (f" x steps / {price.at_steps}" if price.at_steps else "")
    if price.per_million_tokens is not None:
        rates = price.per_million_tokens.model_dump(exclude_none=True)
        lines = [f"{dollars:g} {kind.replace('_', ' ')}" for kind, dollars in rates.items()]
        each = [f"{price.tokens_per_image:,} image out a picture"] if price.tokens_per_image else []
        return "\n".join(["a million tokens:", *lines, *each])
    parts = [f"{price.first_megapixel:g} first megapixel"]
    if price.further_megapixel is not None:
        parts.append(f"+ {price.further_megapixel:g} each further")
    if price.input_megapixel is not None:
        parts.append(f"+ {price.input_megapixel:g} each of input")
    return "\n".join(parts)


def _rating_label(rating: Rating) -> str:
    return {"artificial-analysis": "Artificial Analysis", "lm-arena": "LM Arena"}[rating.scale]


def _rating_text(rating: Rating) -> str:
    interval = f" ±{rating.interval:g}" if rating.interval is not None else ""
    return f"{rating.value:g}{interval}" + (f" ({rating.variant})" if rating.variant else "")


def _label(kind: str, fact: Fact) -> str:
    return kind.replace("_", " ") + (f" ({fact.variant})" if fact.variant else "")


def _fact_text(fact: Fact) -> str:
    value = ", ".join(str(v) for v in fact.value) if isinstance(fact.value, tuple) else str(fact.value)
    return f"{value} {fact.unit}" if fact.unit else value


def _latency_text(latency: Latency) -> str:
    if latency.at_least is not None and latency.at_most is not None:
        return f"{latency.at_least:g} to {latency.at_most:g} s"
    return f"under {latency.at_most:g} s" if latency.at_most is not None else f"over {latency.at_least:g} s"


def _claim_text(claim: Claim) -> str:
    from diptych.catalogue import Latency

    if isinstance(claim.record, Latency):
        return _latency_text(claim.record)
    return f"{claim.value:g}" if isinstance(claim.value, float) else str(claim.value)
