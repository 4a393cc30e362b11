"""`diptych measure`: the vector in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from diptych.measure import QUANTITIES, Measures, measure
from tests.cli.conftest import Run
from tests.measure.pictures import photograph, png


@pytest.fixture
def files(folder: Path) -> list[Path]:
    """A picture, the same one made a little worse, and another one that is larger."""
    picture = photograph("chelsea")
    contents = {
        "cat.png": png(picture),
        "cat again.jpg": png(picture.filter(ImageFilter.GaussianBlur(1)), "JPEG"),
        "cup.png": png(photograph("coffee").resize((1200, 800))),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def test_a_column_a_file(run_cli: Run, files: list[Path]) -> None:
    code, out, err = run_cli("measure", *files)
    assert (code, err) == (0, "")
    lines = rows(out)
    assert lines[0] == ["cat.png", "cat", "again.jpg", "cup.png"]
    assert lines[1] == ["original", "common"] * 3
    assert lines[2] == ["size", "451x300", "451x300", "451x300", "451x300", "1200x800", "627x418"]
    measured = [measure(path.read_bytes()) for path in files]
    for line, quantity in zip(out.splitlines()[3:], QUANTITIES, strict=False):
        values = [getattr(at, quantity.name) for m in measured for at in (m.original, m.common)]
        assert line.startswith(quantity.label)
        assert line.removeprefix(quantity.label).split() == [f"{value:.{quantity.decimals}f}" for value in values]
    assert ["perceptual", "hash", *(f"{m.perceptual_hash:016x}" for m in measured)] in lines


def test_every_measure_is_explained(run_cli: Run, files: list[Path]) -> None:
    _, out, _ = run_cli("measure", files[0])
    for quantity in QUANTITIES:
        assert quantity.reading in out


def test_near_duplicates_are_named(run_cli: Run, files: list[Path]) -> None:
    _, out, _ = run_cli("measure", *files)
    assert out.splitlines()[-3:] == ["Nearly the same picture:", f"  {files[0]}", f"  {files[1]}"]
    _, out, _ = run_cli("measure", files[0], files[2])
    assert "Nearly the same" not in out


def test_in_a_narrow_terminal_the_table_continues_below(
    run_cli: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run_cli("measure", *files)
    assert [line.split()[0] for line in out.splitlines() if line.strip()].count("size") == 2
    paths = tuple(f"  {path}" for path in files)
    assert max(len(line) for line in out.splitlines() if line not in paths) <= 80


def test_long_names_keep_the_end_that_tells_them_apart(run_cli: Run, files: list[Path], folder: Path) -> None:
    names = [f"a fox in snow, painted, sample {i}.png" for i in (1, 2)] + ["雪の中の狐雪の中の狐雪の中の狐.png"]
    for name in names:
        (folder / name).write_bytes(files[0].read_bytes())
    code, out, _ = run_cli("measure", *names)
    assert code == 0
    assert "sample 1.png" in out.splitlines()[0]
    assert "sample 2.png" in out.splitlines()[0]
    assert "の狐.png" in out.splitlines()[0]


def test_what_is_not_defined_is_a_dash(run_cli: Run, folder: Path) -> None:
    (folder / "[dot].png").write_bytes(png(Image.new("RGB", (1, 1))))
    code, out, _ = run_cli("measure", "[dot].png")
    assert code == 0
    assert out.split()[0] == "[dot].png"
    assert ["noise", "-", "-"] in rows(out)
    assert ["RMS", "contrast", "0.000", "0.000"] in rows(out)


def test_as_json(run_cli: Run, files: list[Path]) -> None:
    code, out, err = run_cli("measure", "--json", *files)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert [picture.pop("file") for picture in answer["pictures"]] == [str(path) for path in files]
    measured = [measure(path.read_bytes()) for path in files]
    assert [Measures.from_dict(picture) for picture in answer["pictures"]] == measured
    assert answer["near_duplicates"] == [[str(files[0]), str(files[1])]]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_file_that_cannot_be_read_is_named(run_cli: Run, files: list[Path], folder: Path, as_json: list[str]) -> None:
    (folder / "notes.txt").write_text("no picture")
    (folder / "half.png").write_bytes(files[0].read_bytes()[:5000])
    for name, says in {
        "gone.png": "There is no file gone.png.",
        "notes.txt": "notes.txt: 10 bytes that are no PNG",
        "half.png": "half.png: The picture cannot be decoded",
        ".": ". cannot be read: Is a directory.",
    }.items():
        code, out, err = run_cli("measure", *as_json, files[0], name)
        assert (code, out) == (1, "")
        assert err.startswith(f"diptych: {says}")


def test_without_a_file_it_says_what_is_missing(run_cli: Run) -> None:
    code, _, err = run_cli("measure")
    assert code == 2
    assert "FILE" in err
