"""`diptych demo`, on the tiny model."""

from __future__ import annotations

import os
import re
import sys
import webbrowser
from pathlib import Path

import pytest

from diptych import store as stores
from diptych.cli import demo
from diptych.studies import results
from tests.cli.conftest import Run
from tests.voting import a_judge, many_votes


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
    assert (
        "Nobody is at a terminal to judge, so the blind test is left out: the report is without votes, and there is no "
        "pick. To judge: diptych judge basics"
    ) in " ".join(err.split())
    assert os.listdir(folder) == ["diptych-demo.html"]
    made = study()
    assert made.name == "basics"
    assert [sample.state for sample in made.samples] == ["done"] * 24
    page = (folder / "diptych-demo.html").read_text("utf-8")
    for prompt in made.prompts:
        assert prompt.text in page
    assert "nobody has judged yet which looks better" in page
    assert "<code>diptych judge basics</code>" in page


@pytest.mark.parametrize("seen", ["stdin", "stdout"])
def test_half_a_terminal_is_none(run_cli: Run, monkeypatch: pytest.MonkeyPatch, seen: str) -> None:
    """As in `diptych demo | less`, and in `yes | diptych demo`."""
    run = run_cli
    monkeypatch.setattr(getattr(sys, seen), "isatty", lambda: True, raising=False)
    code, out, err = run("demo", "a red fox", "--no-open")
    assert (code, out) == (0, "diptych-demo.html\n")
    assert "the blind test is left out" in err


def test_with_votes_from_before_it_picks(run_cli: Run, tiny: str) -> None:
    assert run_cli("demo", "a red fox")[0] == 0
    opened = stores.open()
    made = results.load(opened)
    slow, quick = (row.label for row in made.contestants)
    many_votes(opened, made.id, [a_judge(opened)], [(slow, quick, "left"), (quick, slow, "right")] * 8)
    opened.close()
    code, out, err = run_cli("demo", "a red fox")
    assert (code, out) == (0, "diptych-demo.html\n")
    said = " ".join(err.split())
    assert f"The pick: {slow}, ranked by own votes, 16 votes by 1 person on 1 prompt" in said
    assert " ".join(demo.SO_FEW_VOTES.split()) in said
    assert demo.SO_FEW_VOTES.count(". ") == 1  # two sentences
    assert "diptych pick --study a-red-fox" in said
    assert "keep to every limit" not in said  # models of the catalogue, of which nothing is asked here


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
