"""`diptych demo` as a person runs it: at a terminal, with a browser and without one, to the end or until Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych import store as stores
from diptych.studies import results, votes
from tests.needs import chromium

PATIENCE = 120
"""Seconds until a terminal that says nothing of what is waited for is given up."""
SOON = 0.26
"""Seconds that a pair is shown before a press counts for it."""
ADDRESS = r"The blind test is at (http://127\.0\.0\.1:\d+/)"
REPORT = "diptych-demo.html"


class Terminal:
    """A command at a terminal of its own, and all that it wrote there."""

    def __init__(self, folder: Path, code: str, **environment: str) -> None:
        self.text = ""
        own, its = pty.openpty()
        kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**kept, "TERM": "xterm", "COLUMNS": "120", **environment},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self.own = own

    def read(self, seconds: float) -> bool:
        """What comes within that time; False at the end."""
        if not select.select([self.own], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.own, 65_536)
        except OSError:  # Linux: the other side is closed
            piece = b""
        self.text += piece.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(piece)

    def until(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, self.text
            assert self.read(1.0), self.text
        return found

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends the signal, to everything that runs in it."""
        os.write(self.own, b"\x03")

    def end(self) -> int:
        end = time.monotonic() + PATIENCE
        while self.read(1.0):
            assert time.monotonic() < end, self.text
        return self.process.wait(timeout=PATIENCE)


Start = Callable[..., Terminal]


@pytest.fixture
def start(tiny: str, home: Path, tmp_path: Path) -> Iterator[Start]:
    """The demo on the tiny model. It is started in a process of its own, as signals and terminals are the process's."""
    folder = tmp_path / "work"
    folder.mkdir()
    opened: list[Terminal] = []

    def started(*arguments: str, models: tuple[str, str] | None = None, **environment: str) -> Terminal:
        code = f"""
import fcntl, sys, termios
from diptych import cli
from diptych.cli import demo
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # from now on Ctrl-C there is one here
demo.MODELS = {models or (f"{tiny}:steps=2", tiny)!r}
sys.argv = ["diptych", "demo", *{arguments!r}]
cli.main()
"""
        opened.append(Terminal(folder, code, DIPTYCH_HOME=str(home), **environment))
        return opened[-1]

    yield started
    for one in opened:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
        os.close(one.own)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


def the_votes() -> tuple[int, int]:
    """How many, and how many judges."""
    opened = stores.open()
    try:
        kept = votes.load(opened, results.find(opened, None), kind="person").votes
        return len(kept), len(kept.judges)
    finally:
        opened.close()


def the_report(tmp_path: Path) -> str:
    return (tmp_path / "work" / REPORT).read_text("utf-8")


def test_judged_in_a_browser_to_the_end(start: Start, browser: Any, tmp_path: Path, tiny: str) -> None:
    terminal = start("a red fox", "--no-open")
    address = terminal.until(ADDRESS)[1]
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#judging[data-pair]")
    for key in ("1", "2", "=", "1", "1", "2"):
        before = page.evaluate("document.getElementById('judging').dataset.pair")
        time.sleep(SOON)
        page.keyboard.press(key)
        page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=before)
    page.click("#end")
    page.click("#ending button[value=end]")
    page.wait_for_selector("#revealed h1")
    assert terminal.end() == 0, terminal.text
    page.close()
    said = " ".join(terminal.text.split())
    assert "6 votes by 1 judge." in said
    assert re.search(r"The pick: tiny.*6 votes by 1 person", said)
    assert "So few votes can show" in said
    assert "They cannot show" in said
    assert REPORT in terminal.text
    assert "Traceback" not in terminal.text
    assert the_votes() == (6, 1)
    assert 'id="tradeoff"' in the_report(tmp_path)
    assert tiny in the_report(tmp_path)


def test_without_a_browser_the_address_is_printed_and_ctrl_c_goes_on(start: Start, tmp_path: Path) -> None:
    terminal = start("a red fox")
    terminal.until("There is no browser here that opens a window. Open this address yourself:")
    with httpx.Client() as client:
        assert "Blind test" in client.get(terminal.until(ADDRESS)[1]).text
    terminal.interrupt()
    assert terminal.end() == 0, terminal.text
    assert "No votes yet. Go on with: diptych judge a-red-fox" in terminal.text
    assert "No vote compares them: the report is without votes, and there is no pick." in terminal.text
    assert "To judge: diptych judge a-red-fox" in terminal.text
    assert "So few votes" not in terminal.text
    assert "Traceback" not in terminal.text
    assert "diptych judge a-red-fox" in the_report(tmp_path)


def test_a_browser_is_opened_on_the_test_and_on_the_report(start: Start, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    script = tmp_path / "browser.py"
    script.write_text(f"import sys; open({str(opened)!r}, 'a').write(sys.argv[1] + '\\n')")
    terminal = start("a red fox", BROWSER=shlex.join([sys.executable, str(script), "%s", "&"]).replace("'&'", "&"))
    address = terminal.until(ADDRESS)[1]
    waited = time.monotonic() + PATIENCE
    while not opened.exists() and time.monotonic() < waited:
        terminal.read(0.1)
    terminal.interrupt()
    assert terminal.end() == 0, terminal.text
    while len(opened.read_text("utf-8").splitlines()) < 2 and time.monotonic() < waited:
        time.sleep(0.1)
    assert opened.read_text("utf-8").splitlines() == [address, (tmp_path / "work" / REPORT).as_uri()]
    assert "There is no browser" not in terminal.text


def test_ctrl_c_while_pictures_are_made_and_again(start: Start, tmp_path: Path) -> None:
    models = "fake-a:latency=1", "fake-b:latency=1"
    terminal = start("--no-open", models=models)
    terminal.until("under way")
    terminal.interrupt()
    assert terminal.end() == 130, terminal.text
    assert "Stopped. What was made is kept: the same command goes on." in terminal.text
    assert "Traceback" not in terminal.text
    assert not (tmp_path / "work" / REPORT).exists()
    again = start("--no-open", models=models)
    again.until(ADDRESS)
    assert re.search(r"going on: \d+ there", again.text)
    again.interrupt()
    assert again.end() == 0, again.text
    assert (tmp_path / "work" / REPORT).exists()


def test_votes_stay_and_the_next_sitting_adds_to_them(start: Start, browser: Any) -> None:
    for times in (1, 2):
        terminal = start("a red fox", "--no-open")
        page = browser.new_page()
        page.goto(terminal.until(ADDRESS)[1])
        page.wait_for_selector("#judging[data-pair]")
        time.sleep(SOON)
        page.keyboard.press("1")
        page.wait_for_function("() => document.querySelector('#progress').innerText.includes('vote')")
        page.wait_for_timeout(300)
        terminal.interrupt()
        assert terminal.end() == 0, terminal.text
        assert the_votes() == (times, times)  # a new browser is a new judge
        assert "Go on with: diptych judge a-red-fox" in terminal.text
        page.close()


def test_the_end_is_whole_though_the_demo_goes_on(start: Start, browser: Any) -> None:
    """Its pictures are asked for after the end, and take a while where they are not tiny."""
    terminal = start("a red fox", "--no-open", models=("fake-a", "fake-b"))
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(terminal.until(ADDRESS)[1])
    page.wait_for_selector("#judging[data-pair]")
    for key in "121212121212":
        before = page.evaluate("document.getElementById('judging').dataset.pair")
        time.sleep(SOON)
        page.keyboard.press(key)
        page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=before)
    page.click("#end")
    page.click("#ending button[value=end]")
    page.wait_for_selector("#revealed h1")
    assert terminal.end() == 0, terminal.text
    seen = page.eval_on_selector_all("#revealed .review img", "all => all.map(one => one.complete && one.naturalWidth)")
    assert len(seen) == 24
    assert all(seen)
    assert complaints == []
    page.close()
