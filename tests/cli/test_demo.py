"""`diptych demo`, on the tiny model."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.cli import demo
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _tiny_and_no_browser(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(url: str) -> bool:
        raise AssertionError(f"a browser was opened where nobody is: {url}")

    monkeypatch.setattr(demo, "DEFAULT_MODEL", tiny)
    monkeypatch.setattr(webbrowser, "open", opened)


def test_twelve_pictures_and_a_sheet(run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli("demo")
    assert (code, out) == (0, "diptych-demo/sheet.png\n")
    assert "Traceback" not in err
    names = {path.name for path in (folder / "diptych-demo").iterdir()}
    slugs = [f"{i}-{prompt.replace(' ', '-')}" for i, prompt in enumerate(demo.PROMPTS, start=1)]
    assert names == {f"{slug}-{seed}.png" for slug in slugs for seed in (1, 2, 3, 4)} | {"sheet.png"}
    with Image.open("diptych-demo/sheet.png") as sheet:
        assert sheet.width > 4 * 256
        assert sheet.height > 3 * 256


def test_again_it_gives_the_same_pictures(run_cli: Run, folder: Path) -> None:
    def pictures() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (folder / "diptych-demo").iterdir() if p.name != "sheet.png"}

    assert run_cli("demo", "a red fox")[0] == 0
    before = pictures()
    code, out, _ = run_cli("demo", "a red fox")
    assert (code, out) == (0, "diptych-demo/sheet.png\n")
    assert pictures() == before


def test_other_prompts_another_seed_another_folder(run_cli: Run, folder: Path) -> None:
    code, out, _ = run_cli("demo", "a red fox", "a rocket", "--seed", 9, "-o", "mine")
    assert (code, out) == (0, "mine/sheet.png\n")
    assert len(os.listdir("mine")) == 9
    assert diptych.read_recipe("mine/2-a-rocket-12.png")["request"]["seed"] == 12
    assert os.listdir(folder) == ["mine"]


def test_prompts_that_read_alike_keep_their_own_files(run_cli: Run, folder: Path) -> None:
    assert run_cli("demo", "a fox!", "a fox?")[0] == 0
    assert len(os.listdir("diptych-demo")) == 9


@pytest.mark.parametrize("name", ["sheet.png", "1-a-fox-2.png"])
def test_somebody_elses_file_is_not_replaced(name: str, run_cli: Run, folder: Path) -> None:
    (folder / name).write_bytes(b"kept")
    code, out, err = run_cli("demo", "a fox", "-o", ".")
    assert (code, out) == (1, "")
    assert f"{name} exists and was not made by diptych" in err
    assert os.listdir(folder) == [name]
    assert (folder / name).read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("",), 2, "The prompt is empty"),
        (("a fox", "--seed", "-1"), 2, "seed is -1"),
        (("a fox", "-o", "file"), 1, "file is not a folder"),
    ],
)
def test_what_cannot_be(arguments: tuple[str, ...], code: int, said: str, run_cli: Run, folder: Path) -> None:
    (folder / "file").write_bytes(b"kept")
    found, out, err = run_cli("demo", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert os.listdir(folder) == ["file"]
    assert (folder / "file").read_bytes() == b"kept"
