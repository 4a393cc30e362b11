"""Progress and pictures in the terminal, as far as the terminal can.

Everything here goes to standard error: standard output carries results alone.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import TaskID

console = Console(stderr=True)
PREVIEW_COLUMNS = 40
PICTURE_COLUMNS = 48


class Progress:
    """A bar for each picture with steps and time left; with `preview`, the picture as it forms above the bar."""

    def __init__(self, *, preview: bool = False) -> None:
        self.previewed = preview and _true_colour()
        if preview and not self.previewed:
            console.print("No preview here: it needs a terminal with 24-bit colour.", style="dim")
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            console=console,
        )
        self._picture: RenderableType = Text()
        self._live = Live(console=console, get_renderable=lambda: Group(self._picture, self._bar), transient=False)
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None and self._task is not None:
            self._bar.remove_task(self._task)  # no bar that stands still above an error message
        self._live.stop()

    def start(self, what: str) -> None:
        short = what if len(what) <= 48 else what[:47] + "…"
        self._task = self._bar.add_task(short, total=None)

    def step(self, index: int, total: int, preview: Callable[[], Image.Image]) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=index, total=total)
        if self.previewed:
            self._picture = half_blocks(preview(), PREVIEW_COLUMNS)


def show_picture(image: Image.Image) -> None:
    """Show `image` where a person looks at a terminal that can: real pixels, else coloured half blocks."""
    if not console.is_terminal:
        return
    protocol = _protocol()
    if protocol is not None:
        console.file.write(protocol(_png(image)) + "\n")
        console.file.flush()
    elif _true_colour():
        console.print(half_blocks(image, min(PICTURE_COLUMNS, console.width)))


def half_blocks(image: Image.Image, columns: int) -> Text:
    """Two pixels a character: the upper as foreground, the lower as background."""
    rows = max(1, round(image.height / image.width * columns / 2))
    small = image.convert("RGB").resize((columns, rows * 2), Image.Resampling.LANCZOS)
    text = Text(no_wrap=True)
    pixels = small.load()
    assert pixels is not None  # noqa: S101  # Pillow's types allow None for closed images
    for y in range(0, rows * 2, 2):
        for x in range(columns):
            upper, lower = pixels[x, y], pixels[x, y + 1]
            text.append("▀", style=f"rgb{upper} on rgb{lower}".replace(" ", "").replace("onrgb", " on rgb"))
        text.append("\n")
    text.right_crop(1)
    return text


def _true_colour() -> bool:
    return console.is_terminal and console.color_system == "truecolor"


def _protocol() -> Callable[[bytes], str] | None:
    """The picture protocol that this terminal speaks, if any. Inside tmux and screen none passes through."""
    if "TMUX" in os.environ or os.environ.get("TERM", "").startswith("screen"):
        return None
    program = os.environ.get("TERM_PROGRAM", "")
    if "KITTY_WINDOW_ID" in os.environ or program == "ghostty":
        return _kitty
    if program in ("iTerm.app", "WezTerm"):
        return _iterm
    return None


def _kitty(png: bytes) -> str:
    """Source: sw.kovidgoyal.net/kitty/graphics-protocol, chunks of at most 4096 characters."""
    data = base64.b64encode(png).decode()
    chunks = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    head = "a=T,f=100,c=24,"
    return "".join(
        f"\x1b_G{head if i == 0 else ''}m={int(i < len(chunks) - 1)};{chunk}\x1b\\" for i, chunk in enumerate(chunks)
    )


def _iterm(png: bytes) -> str:
    """Source: iterm2.com/documentation-images.html."""
    return f"\x1b]1337;File=inline=1;width=24;size={len(png)}:{base64.b64encode(png).decode()}\a"


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
