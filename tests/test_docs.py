"""README and guide, taken at their word: commands and scripts run, links lead somewhere, and nothing is left unnamed.

A page is read from top to bottom, as a person would who starts in an empty folder. Of its blocks

    diptych ...             each line is called, and must end well; "not-run" behind the language leaves that out
    pip install ./...       likewise, into a folder of the test's own
    python                  is executed
    csv, toml, python NAME  becomes the file of that name; diptych.toml and models.toml in the home folder
    text                    each of its lines is among what the commands before it printed

Vendors are stand-ins behind the variables that the guide names, and the person at the terminal agrees to what is asked.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer

from diptych import cli, errors, measure, settings
from diptych.catalogue.prices import FORMS, Price
from diptych.providers import OWN
from diptych.settings import HOME_VARIABLE, KEYS
from diptych.store.schema import STATES
from diptych.studies.prompts import PROMPT_SETS
from tests.cli.conftest import Run, folder, run_cli
from tests.standins.black_forest_labs import BlackForestLabs
from tests.standins.fal import Fal
from tests.standins.fixtures import no_client_settings, one_certificate
from tests.standins.google import Google
from tests.standins.openai import OpenAI
from tests.standins.replicate import Replicate
from tests.standins.vendor import Vendor

__all__ = ["folder", "no_client_settings", "one_certificate", "run_cli"]  # fixtures that hold here too

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
NOT_RUN = "not-run"
AT_HOME = ("diptych.toml", "models.toml")
ADDRESSES: dict[type[Vendor], tuple[str, str]] = {
    Google: ("GOOGLE_GEMINI_BASE_URL", ""),
    OpenAI: ("OPENAI_BASE_URL", "/v1"),
    BlackForestLabs: ("BFL_BASE_URL", ""),
    Replicate: ("REPLICATE_BASE_URL", ""),
    Fal: ("FAL_QUEUE_RUN_HOST", ""),
}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    """What stands behind the language."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        return next((word for word in self.words if "." in word), None)

    @property
    def commands(self) -> list[list[str]]:
        """Lines of a block of commands, as words; none where no line calls diptych."""
        lines = [shlex.split(line, comments=True) for line in self.text.splitlines()] if self.is_shell else []
        return [line for line in lines if line]

    @property
    def is_shell(self) -> bool:
        return self.language in ("", "sh") and re.search(r"^diptych ", self.text, re.MULTILINE) is not None


def blocks_of(page: Path) -> list[Block]:
    found, start, info, lines = [], 0, "", list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if not line.startswith("```"):
            lines.append(line)
        elif start:
            language, *words = info.split(" ")
            found.append(Block(page, start, language, tuple(words), "\n".join(lines) + "\n"))
            start = 0
        else:
            start, info, lines = number, line.removeprefix("```"), []
    assert not start, f"{page}:{start}: a block that is never closed"
    return found


BLOCKS = {page: blocks_of(page) for page in PAGES}


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


# Commands and scripts


class Person(io.StringIO):
    """Sits at the terminal, and agrees."""

    def __init__(self) -> None:
        super().__init__("y\n" * 10)

    def isatty(self) -> bool:
        return True


class Piped:
    """Standard input with a key."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO(b"test-key\n")

    def isatty(self) -> bool:
        return False


@pytest.fixture
def vendors(no_client_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Vendor]]:
    """Every vendor that has a variable for its address, and its key."""
    with ExitStack() as stack:
        opened = []
        for kind, (variable, path) in ADDRESSES.items():
            opened.append(stack.enter_context(kind()))
            monkeypatch.setenv(variable, opened[-1].url + path)
        for source in KEYS.values():
            monkeypatch.setenv(source.variables[0], "test-key")
        yield opened


class Reader:
    """Does what a page says, in one folder and home."""

    def __init__(self, home: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.run_cli, self.monkeypatch = home, run_cli, monkeypatch
        self.printed = ""

    def read(self, block: Block) -> None:
        if block.file is not None:
            path = (self.home if block.file in AT_HOME else Path()) / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif NOT_RUN in block.words:
            return
        elif block.is_shell:
            self.printed = ""
            for words in block.commands:
                self.call(words, block.place)
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})  # noqa: S102  # it is our own
        elif block.language == "text":
            for line in block.text.splitlines():
                assert plain(line) in self.printed, f"{block.place}: {line!r} was not printed:\n{self.printed}"
        elif block.language == "toml":
            values = tomllib.loads(block.text)
            assert set(values) <= {one.name for one in fields(settings.Config)}, block.place

    def call(self, words: list[str], place: str) -> None:
        if words[:2] == ["pip", "install"] and words[2].startswith("./"):
            self.install(words[2])
            return
        assert words[0] == "diptych", f"{place}: {words[0]} is not called here; mark the block {NOT_RUN}"
        self.monkeypatch.setenv(HOME_VARIABLE, str(self.home))
        self.monkeypatch.setattr(sys, "stdin", Piped() if words[1:3] == ["keys", "set"] else Person())
        code, out, err = self.run_cli(*words[1:])
        assert code == 0, f"{place}: {shlex.join(words)} ended with {code}:\n{out}{err}"
        self.printed += plain(f"{out}\n{err}\n")

    def install(self, folder: str) -> None:
        target = Path("installed").absolute()
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
        subprocess.run([*pip, *offline, folder], check=True, capture_output=True)
        self.monkeypatch.syspath_prepend(str(target))
        importlib.invalidate_caches()


def plain(text: str) -> str:
    """With single spaces: tables are as wide as they need to be."""
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed(
    page: Path, vendors: list[Vendor], home: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(home, run_cli, monkeypatch)
    own = {block.file for block in BLOCKS[page]}
    for block in (one for blocks in BLOCKS.values() for one in blocks):
        if block.language == "csv" and block.file not in own:  # a table that another page shows
            reader.read(block)
    for block in BLOCKS[page]:
        reader.read(block)


# Names


def verbs(command: Any, name: str = "diptych") -> Iterator[tuple[str, set[str]]]:
    """Every verb in full, with its options."""
    yield name, {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    for inner, one in getattr(command, "commands", {}).items():
        yield from verbs(one, f"{name} {inner}")


VERBS = dict(verbs(typer.main.get_command(cli.app)))


def called(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every call of diptych on the page, run or not: where it stands, and its words."""
    for block in BLOCKS[page]:
        yield from ((block.place, words) for words in block.commands if words[0] == "diptych")
    for code in re.findall(r"`(diptych [^`\n]+)`", prose(page)):
        yield page.name, shlex.split(code)


def verb_of(words: list[str]) -> tuple[str, list[str]]:
    """The verb, and what follows it."""
    rest = words[3:] if words[1] == "--home" else words[1:]
    verb = "diptych"
    while rest and f"{verb} {rest[0]}" in VERBS:
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    return verb, rest


def test_every_command_has_its_verb_and_options() -> None:
    wrong = []
    for page in PAGES:
        for place, words in called(page):
            verb, rest = verb_of(words)
            has_verbs = any(name.startswith(f"{verb} ") for name in VERBS)
            if has_verbs and rest and not rest[0].startswith("-") and rest[0] != "VERB":
                wrong.append(f"{place}: {verb} has no verb {rest[0]}")
            given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
            wrong += [f"{place}: {verb} has no {one}" for one in given - VERBS[verb]]
    assert not wrong


def test_every_option_that_is_named_exists() -> None:
    known = set[str]().union(*VERBS.values())
    named = {
        (page.name, code.split()[0].partition("=")[0])
        for page in PAGES
        for code in re.findall(r"`(--?[a-z][^`\n]*)`", prose(page))
    }
    assert named
    assert {(page, option) for page, option in named if option not in known} == set()


def test_every_verb_is_mentioned() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [verb for verb in VERBS if not re.search(rf"\b{verb}\b", text)] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("pilots.md", PROMPT_SETS),
        ("pilots.md", STATES),
        ("pilots.md", ["latency=", "price=", "refusals=", "failures=", "jobs="]),
        ("hosted.md", [name for name in OWN if name not in ("local", "fake")]),
        ("hosted.md", [variable for source in KEYS.values() for variable in source.variables]),
        ("hosted.md", [variable for variable, _ in ADDRESSES.values()]),
        ("hosted.md", [kind.__name__ for kind in errors.ProviderError.__subclasses__()]),
    ],
    ids=["sets", "states", "fakes", "providers", "keys", "addresses", "errors"],
)
def test_the_guide_names_them_all(page: str, names: list[str]) -> None:
    text = (GUIDE / page).read_text("utf-8")
    assert [name for name in names if f"`{name}" not in text] == []


def test_everything_that_can_be_set_is_explained() -> None:
    names = [one.name for one in fields(settings.Config)]
    text = (GUIDE / "pilots.md").read_text("utf-8")
    assert [name for name in names if not re.search(rf"^{name} = ", text, re.MULTILINE)] == []


def test_the_pages_where_keys_are_made_are_those_that_errors_name() -> None:
    text = (GUIDE / "hosted.md").read_text("utf-8")
    assert [source.page for source in KEYS.values() if f"<{source.page}>" not in text] == []


def test_every_form_of_a_price_has_an_example_that_is_one() -> None:
    table = (GUIDE / "hosted.md").read_text("utf-8").partition("| form | example |")[2].partition("\n\n")[0]
    examples = re.findall(r"`(.+?)`", table)
    prices = [tomllib.loads(f"price = {{ {example}, source = 'a test' }}")["price"] for example in examples]
    assert sorted(Price.model_validate(price).form for price in prices) == sorted(FORMS)


def test_every_measure_is_explained() -> None:
    text = (GUIDE / "measures.md").read_text("utf-8")
    labels = [*(quantity.label for quantity in measure.QUANTITIES), "bits per pixel", "perceptual hash"]
    assert [label for label in labels if f"| {label} |" not in text] == []
    assert f"{measure.COMMON_PIXELS:,}".replace(",", " ") in text
    assert f"at most {measure.NEAR} of the 64 bits" in text


# Links


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = Path(os.path.normpath(page.parent / path)) if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert not broken
