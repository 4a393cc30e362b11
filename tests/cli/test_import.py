"""`diptych import`: one or two lines that say what was done, or one that says why nothing was."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from diptych import store as stores
from diptych.studies import results
from tests.cli.conftest import Run


@pytest.fixture
def made(folder: Path) -> Path:
    """A folder with three pictures of two prompts."""
    path = folder / "made"
    path.mkdir()
    for number, name in enumerate(("a-fox-1", "a-fox-2", "an apple")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path / f"{name}.png")
    return path


def test_it_says_what_it_did(run_cli: Run, made: Path) -> None:
    code, out, err = run_cli("import", "made", "--model", "elsewhere")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "3 pictures of 2 prompts by elsewhere joined the new study made.",
        'The prompts are from the files\' names: "a fox", "an apple".',
    ]
    code, out, err = run_cli("import", "made", "-m", "elsewhere")
    assert (code, err) == (0, "")
    assert out == "Nothing new: 3 pictures by elsewhere were in the study made already.\n"


def test_a_second_model_joins_the_study(run_cli: Run, made: Path) -> None:
    run_cli("import", "made", "-m", "A", "--study", "trial")
    (made / "a pear.png").write_bytes((made / "an apple.png").read_bytes())
    code, out, _ = run_cli("import", "made", "-m", "B", "--study", "trial")
    assert code == 0
    assert out.splitlines() == [
        "4 pictures of 3 prompts by B joined the study trial.",
        'The prompts are from the files\' names; new in the study: "a pear".',
    ]
    code, out, _ = run_cli("import", "made", "-m", "A", "--study", "trial")
    assert out.startswith("1 picture of 1 prompt by A joined the study trial; 3 were there already.")
    study = results.load(stores.open(), "trial")
    assert [one.label for one in study.contestants] == ["A", "B"]
    assert len(study.samples) == 8


def test_a_table_and_what_it_does_not_name(run_cli: Run, made: Path) -> None:
    Path("t.csv").write_text("file,prompt,seed\na-fox-1.png,a wolf,4\n", "utf-8")
    code, out, _ = run_cli("import", "made", "-m", "m", "--prompts", "t.csv")
    assert code == 0
    assert out.splitlines() == [
        "1 picture of 1 prompt by m joined the new study made.",
        'The prompts are from the table: "a wolf".',
        "Left out, not in the table: a-fox-2.png, an apple.png.",
    ]


def test_what_is_no_picture_ends_it_or_is_named(run_cli: Run, made: Path) -> None:
    (made / "notes.txt").write_text("hello", "utf-8")
    code, out, err = run_cli("import", "made", "-m", "m")
    assert (code, out) == (1, "")
    assert err.startswith("diptych: 1 of 4 files in made is no picture: notes.txt (")
    assert "--skip-unreadable leaves it out." in err
    code, out, err = run_cli("import", "made", "-m", "m", "--skip-unreadable")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("Left out, no pictures: notes.txt (")


def test_another_store(run_cli: Run, made: Path, home: Path) -> None:
    code, _, _ = run_cli("import", "made", "-m", "m", "--store", "sqlite:///other.sqlite")
    assert code == 0
    assert Path("other.sqlite").exists()
    assert not (home / "diptych.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("made",), 2, "--model"),
        (("nowhere", "-m", "m"), 2, "nowhere does not exist; pictures are imported from a folder."),
        (("made", "-m", ""), 2, "The model is ''"),
        (("made", "-m", "m", "--study", "a/b"), 2, "A study cannot be named 'a/b'"),
        (("made", "-m", "m", "--prompts", "no.csv"), 2, "There is no file no.csv."),
        (("made", "-m", "m", "--prompts", "broken.csv"), 2, "broken.csv, line 2: the row that begins here is broken"),
        (("made", "-m", "m", "--prompts", "empty.txt"), 2, "empty.txt holds no prompt."),
        (("made", "-m", "m", "--prompts", "portraits"), 2, "Which of the 11 prompts of portraits do these show"),
        (("made", "-m", "m", "--store", "nonsense"), 1, "nonsense"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[str, ...], code: int, said: str, run_cli: Run, made: Path) -> None:
    Path("broken.csv").write_text('prompt\n"a fox\n', "utf-8")
    Path("empty.txt").write_text("\n", "utf-8")
    found, out, err = run_cli("import", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
