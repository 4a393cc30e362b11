"""`diptych generate`: pictures where they were asked for, paths on standard output."""

from __future__ import annotations

import base64
import io
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

import diptych
from diptych.cli import terminal
from diptych.cli.generate import file_names
from diptych.errors import InvalidRequest
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("tiny")

TINY = ("generate", "a red fox", "-m", "tiny")
"""The least that makes a picture."""


def test_help_lists_the_verbs(run_cli: Run) -> None:
    code, out, err = run_cli("--help")
    assert (code, err) == (0, "")
    verbs = re.findall(r"^  ([a-z]+) +\w", out, re.MULTILINE)
    assert {"generate", "demo", "show", "models", "train"} <= set(verbs)


@pytest.mark.parametrize("verb", ["generate", "demo", "show", "models", "train"])
def test_every_verb_has_help(verb: str, run_cli: Run) -> None:
    code, out, _ = run_cli(verb, "--help")
    assert code == 0
    assert f"Usage: diptych {verb}" in out


def test_the_version(run_cli: Run) -> None:
    assert run_cli("--version") == (0, f"diptych {diptych.__version__}\n", "")


def test_without_a_verb_there_is_help(run_cli: Run) -> None:
    _, out, err = run_cli()
    assert "Usage: diptych" in out + err


def test_a_picture_is_named_for_its_prompt_and_seed(run_cli: Run, folder: Path) -> None:
    code, out, err = run_cli(*TINY, "--seed", 7)
    assert (code, out) == (0, "a-red-fox-7.png\n")
    assert "Traceback" not in err
    assert os.listdir(folder) == ["a-red-fox-7.png"]
    assert diptych.read_recipe("a-red-fox-7.png")["request"]["seed"] == 7


def test_a_picture_is_the_one_that_python_makes(run_cli: Run, folder: Path) -> None:
    run_cli(*TINY, "--seed", 7, "--size", "64x32", "--steps", 2, "--guidance", 3, "--negative", "blur")
    made = diptych.generate("a red fox", model="tiny", seed=7, size="64x32", steps=2, guidance=3.0, negative="blur")
    assert (folder / "a-red-fox-7.png").read_bytes() == made.data


def test_a_drawn_seed_is_in_the_name_and_the_recipe(run_cli: Run) -> None:
    _, out, _ = run_cli(*TINY)
    assert out == f"a-red-fox-{diptych.read_recipe(out.strip())['request']['seed']}.png\n"


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (("-o", "fox.png"), ["fox.png"]),
        (("-o", "fox.PNG"), ["fox.PNG"]),
        (("-o", "new/deep/fox.png"), ["new/deep/fox.png"]),
        (("-o", "fox.png", "-n", "3"), ["fox-1.png", "fox-2.png", "fox-3.png"]),
        (("-o", "new"), ["new/a-red-fox-7.png"]),
        (("-o", "there.d"), ["there.d/a-red-fox-7.png"]),
        (("-o", "new/", "-n", "2"), ["new/a-red-fox-7.png", "new/a-red-fox-8.png"]),
        (("-n", "2"), ["a-red-fox-7.png", "a-red-fox-8.png"]),
    ],
)
def test_where_pictures_go(arguments: tuple[str, ...], paths: list[str], run_cli: Run, folder: Path) -> None:
    (folder / "there.d").mkdir()
    code, out, _ = run_cli(*TINY, "--seed", 7, *arguments)
    assert code == 0
    assert out.splitlines() == paths, "standard output has the paths and nothing else"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == paths
    seeds = [diptych.read_recipe(path)["request"]["seed"] for path in paths]
    assert seeds == list(range(7, 7 + len(paths)))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A fox, in  SNOW!", "a-fox-in-snow-1.png"),
        ("../../etc/passwd", "etc-passwd-1.png"),
        ("雪の中の狐", "雪の中の狐-1.png"),
        ("🦊", "picture-1.png"),
        ("--", "picture-1.png"),
        ("a_b\nc\0d", "a-b-c-d-1.png"),
    ],
)
def test_names_of_prompts(prompt: str, name: str) -> None:
    assert file_names(None, prompt, [1]) == [Path(name)]


@pytest.mark.parametrize("prompt", ["fox " * 500, "狐" * 500, "𠮷" * 500])
def test_a_name_is_never_too_long(prompt: str, tmp_path: Path) -> None:
    (path,) = file_names(tmp_path, prompt, [2**63 - 1])
    path.write_bytes(b"")
    assert not path.stem.startswith("-")


def test_a_file_that_is_no_png_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"The output is fox.jpg; pictures are written as .png, or into a folder"):
        file_names(Path("fox.jpg"), "a fox", [1])


def test_the_home_folder_is_an_option(run_cli: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    code, _, err = run_cli("--home", other, *TINY)
    assert code == 2
    assert "no model named 'tiny'" in err, "it was added at home"


def test_nothing_is_drawn_where_nobody_looks(run_cli: Run) -> None:
    code, out, err = run_cli(*TINY, "--preview")
    assert code == 0
    assert not {"▀", "\x1b"} & {*out, *err}


# Pictures in the terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 24-bit colours, and no word of which program it belongs to."""
    for name in ("TMUX", "KITTY_WINDOW_ID", "TERM_PROGRAM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    file = Screen()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=80)
    monkeypatch.setattr(terminal, "console", console)
    return file


def quarters() -> Image.Image:
    image = Image.new("RGB", (40, 40), (255, 0, 0))
    image.paste((0, 255, 0), (20, 0, 40, 20))
    image.paste((0, 0, 255), (0, 20, 20, 40))
    image.paste((255, 255, 255), (20, 20, 40, 40))
    return image


def test_half_blocks_have_two_pixels_a_character() -> None:
    text = terminal.half_blocks(quarters().resize((4, 2), Image.Resampling.NEAREST), 4)
    assert text.plain == "▀▀▀▀"
    left, right = "rgb(255,0,0) on rgb(0,0,255)", "rgb(0,255,0) on rgb(255,255,255)"
    assert [str(span.style) for span in text.spans][::3] == [left, right]


@pytest.mark.parametrize(("size", "rows"), [((128, 128), 8), ((128, 64), 4), ((64, 128), 16), ((999, 1), 1)])
def test_half_blocks_keep_the_shape(size: tuple[int, int], rows: int) -> None:
    lines = terminal.half_blocks(Image.new("RGBA", size), 16).plain.split("\n")
    assert lines == ["▀" * 16] * rows


def same(png: bytes) -> bool:
    with Image.open(io.BytesIO(png)) as image:
        return image.tobytes() == noise().tobytes()


def noise() -> Image.Image:
    """Large enough, as PNG, for several chunks of kitty's protocol."""
    return Image.frombytes("RGB", (80, 80), random.Random(0).randbytes(80 * 80 * 3))  # noqa: S311


@pytest.mark.parametrize("variables", [{"KITTY_WINDOW_ID": "1"}, {"TERM_PROGRAM": "ghostty"}])
def test_kitty_gets_the_picture(variables: dict[str, str], screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal.show_picture(noise())
    chunks = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", screen.getvalue())
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in chunks) + "\n" == screen.getvalue()
    assert len(chunks) > 1
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [keys.split(",")[-1] for keys, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    assert {"a=T", "f=100"} < set(chunks[0][0].split(","))
    assert same(base64.b64decode("".join(data for _, data in chunks)))


@pytest.mark.parametrize("program", ["iTerm.app", "WezTerm"])
def test_iterm_gets_the_picture(program: str, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM_PROGRAM", program)
    terminal.show_picture(noise())
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;width=24;size=(\d+):(.*)\a\n", screen.getvalue())
    assert found
    png = base64.b64decode(found[2])
    assert len(png) == int(found[1])
    assert same(png)


@pytest.mark.parametrize(
    "variables", [{}, {"TMUX": "x", "KITTY_WINDOW_ID": "1"}, {"TERM": "screen", "TERM_PROGRAM": "WezTerm"}]
)
def test_any_other_terminal_gets_half_blocks(
    variables: dict[str, str], screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal.show_picture(quarters())
    assert screen.getvalue().count("▀") == terminal.PICTURE_COLUMNS * terminal.PICTURE_COLUMNS // 2
    assert "\x1b[38;2;255;0;0;48;2;" in screen.getvalue()


def test_a_terminal_of_few_colours_gets_no_picture(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=screen, force_terminal=True, color_system="256")
    monkeypatch.setattr(terminal, "console", console)
    terminal.show_picture(quarters())
    assert screen.getvalue() == ""


def test_no_terminal_gets_no_picture(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_WINDOW_ID", "1")
    terminal.show_picture(quarters())
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize("preview", [True, False])
def test_the_bar_and_the_preview(preview: bool, screen: Screen, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "show_picture", lambda _: None)
    code, out, _ = run_cli(*TINY, "-n", 2, "--seed", 1, *(["--preview"] if preview else []))
    assert (code, out) == (0, "a-red-fox-1.png\na-red-fox-2.png\n")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "a red fox (1/2)" in drawn
    assert "a red fox (2/2)" in drawn
    assert "3/3 steps" in drawn
    assert ("▀" in drawn) == preview


def test_a_bar_of_something_that_failed_is_taken_away(screen: Screen) -> None:
    def fail(progress: terminal.Progress) -> Any:
        progress.start("a [red] fox")
        progress.step(1, 3, quarters)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"), terminal.Progress() as progress:
        fail(progress)
    assert progress._bar.tasks == []
