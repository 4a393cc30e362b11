"""The person's browser, where there is one that opens a window of its own."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def is_there() -> bool:
    """Whether a page can be opened without taking the terminal away from the program that runs in it.

    Without a display Python falls back on browsers that draw in the terminal, as lynx does, and waits until they end.
    """
    if sys.platform not in ("darwin", "win32") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return False
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    return isinstance(found, webbrowser.BackgroundBrowser) or not isinstance(found, webbrowser.GenericBrowser)


def show(page: Path) -> None:
    """Open a file, where a person is at the terminal and a browser is there."""
    if sys.stdout.isatty() and is_there():
        webbrowser.open(page.absolute().as_uri())
