"""`diptych demo`, on the tiny model."""

from __future__ import annotations

import os
import re
import webbrowser
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.cli import demo
from diptych.studies import results
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _tiny_and_no_browser(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(url: str) -> bool:
        raise AssertionError(f"a browser was opened where nobody is: {url}")

    monkeypatch.setattr(demo, "MODELS", (f"{tiny}:steps=2", tiny))
    monkeypatch.setattr(webbrowser, "open", opened)


def study() -> results.Results:
    store = stores.open()
    try:
        return results.load(store)
    finally:
        store.close()


def test_a_study_and_its_report(run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli("demo")
    assert (code, out) == (0, "diptych-demo.html\n")
    assert "Traceback" not in err
    assert os.listdir(folder) == ["diptych-demo.html"]
    made = study()
    assert made.name == "basics"
    assert [sample.state for sample in made.samples] == ["done"] * 24
    page = (folder / "diptych-demo.html").read_text("utf-8")
    for prompt in made.prompts:
        assert prompt.text in page


def test_again_it_makes_nothing_and_replaces_its_report(run_cli: Run, folder: Path) -> None:
    assert run_cli("demo", "a red fox")[0] == 0
    before, page = study(), (folder / "diptych-demo.html").read_bytes()
    code, out, err = run_cli("demo", "a red fox")
    assert (code, out) == (0, "diptych-demo.html\n")
    assert "going on: 8 there, 0 left" in err
    assert study() == before
    assert (folder / "diptych-demo.html").read_bytes() == page


def test_other_prompts_another_seed_another_file(run_cli: Run, folder: Path) -> None:
    code, out, _ = run_cli("demo", "a red fox", "a rocket", "--seed", 9, "-o", "mine.html")
    assert (code, out) == (0, "mine.html\n")
    assert os.listdir(folder) == ["mine.html"]
    assert {sample.request["seed"] for sample in study().samples} == {9, 10, 11, 12}


def test_somebody_elses_file_is_not_replaced(run_cli: Run, folder: Path) -> None:
    (folder / "mine.html").write_bytes(b"<title>kept</title>")
    code, out, err = run_cli("demo", "a fox", "-o", "mine.html")
    assert (code, out) == (1, "")
    assert "mine.html exists already" in err
    assert (folder / "mine.html").read_bytes() == b"<title>kept</title>"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("",), 2, "prompt"),
        (("a fox", "--seed", "-1"), 2, "seed is -1"),
        (("a fox", "-o", "file/report.html"), 1, "file is not a folder"),
    ],
)
def test_what_cannot_be(arguments: tuple[str, ...], code: int, said: str, run_cli: Run, folder: Path) -> None:
    (folder / "file").write_bytes(b"kept")
    found, out, err = run_cli("demo", *arguments)
    assert (found, out) == (code, "")
    assert re.search(said, err)
    assert "Traceback" not in err
    assert os.listdir(folder) == ["file"]
    assert (folder / "file").read_bytes() == b"kept"
