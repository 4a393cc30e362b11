"""A folder of anyone's pictures: every form of captions, everything that can be wrong with it, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import DiptychError, InvalidRequest, OutputError
from diptych.training.folder import decode, load_packed, pack_folder, read_captions


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def said(folder: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    entries, complaints = read_captions(folder)
    return {entry.picture: entry.captions for entry in entries}, [str(complaint) for complaint in complaints]


def test_captions_beside_the_pictures(folder: Path) -> None:
    picture(folder / "a.png")
    picture(folder / "deep" / "b.JPG")
    (folder / "a.txt").write_text("a red   card\n\na card\n", "utf-8")
    (folder / "deep" / "b.txt").write_text("\ufeffan old card", "utf-8")
    assert said(folder) == ({"a.png": ("a red card", "a card"), "deep/b.JPG": ("an old card",)}, [])


def test_lists_of_every_kind_add_up(folder: Path) -> None:
    for name in "abc":
        picture(folder / f"{name}.png")
    (folder / "captions.csv").write_text('File_Name,text\na.png,"a card, red"\n"b.png","two\nlines"\n', "utf-8")
    (folder / "captions.jsonl").write_text('{"image": "b.png", "caption": "b"}\n', "utf-8")
    (folder / "metadata.jsonl").write_text('{"file_name": "c.png", "captions": ["c", "see", "c"]}\n', "utf-8")
    assert said(folder) == ({"c.png": ("c", "see"), "b.png": ("b", "two lines"), "a.png": ("a card, red",)}, [])


def test_broken_lines_are_named_and_the_rest_is_used(folder: Path) -> None:
    picture(folder / "a.png")
    (folder / "captions.jsonl").write_text(
        '{"file": "a.png", "text": "good"}\n{"file": "a.png"\n[1]\n{"file": "a.png"}\n'
        '{"file": "gone.png", "text": "x"}\n{"file": "../a.png", "text": "x"}\n{"file": "a.png", "text": "  "}\n'
        '{"file": 3, "text": "x"}\n{"file": "a.png", "text": ["also good", 5]}\n',
        "utf-8",
    )
    found, complaints = said(folder)
    assert found == {"a.png": ("good", "also good")}
    assert [line.split(":")[0] for line in complaints] == [f"captions.jsonl line {n}" for n in range(2, 9)]
    words = ("is not JSON", "is list; wanted is one object", "has file; wanted", "no picture gone.png", "outside")
    for line, word in zip(complaints, (*words, "is empty", "has file, text; wanted"), strict=True):
        assert word in line


def test_broken_lines_of_a_table(folder: Path) -> None:
    picture(folder / "a.png")
    table = 'file,caption\na.png,good\na.png,one,two\na.png,"bad"quote\na.png,also good\n'
    (folder / "captions.csv").write_text(table, "utf-8")
    found, complaints = said(folder)
    assert found == {"a.png": ("good", "also good")}
    assert complaints[0].startswith("captions.csv line 3: has 3 fields, the first line 2; put quotes")
    assert complaints[1].startswith("captions.csv line 4: is not CSV")
    (folder / "captions.csv").write_text("a.png;good\n", "utf-8")
    assert "names the columns a.png;good; wanted is one of file_name" in said(folder)[1][0]


def test_text_that_is_no_text_and_pictures_without_captions(folder: Path) -> None:
    picture(folder / "a.png")
    picture(folder / "b.png")
    (folder / "a.txt").write_bytes(b"\xff\xfe\x00")
    found, complaints = said(folder)
    assert found == {}
    assert complaints == [
        "a.txt: is not text in UTF-8; save it so.",
        "a.png: has no caption. Put one into a text file of the same name, or a list.",
        "b.png: has no caption. Put one into a text file of the same name, or a list.",
    ]


def test_packed_and_read_again(folder: Path, tmp_path: Path) -> None:
    picture(folder / "red.png")
    picture(folder / "blue.png", (30, 60, 200), (64, 128))
    (folder / "broken.png").write_bytes((folder / "red.png").read_bytes()[:50])
    for name in ("red", "blue", "broken"):
        (folder / f"{name}.txt").write_text(f"a {name} card\n{name}", "utf-8")
    out = tmp_path / "packed.zip"
    summary = pack_folder(folder, out, size=32)
    assert (summary.pictures, summary.captions, summary.bytes) == (2, 4, out.stat().st_size)
    assert str(summary).startswith("2 pictures with 4 captions at 32x32")
    assert len(summary.complaints) == 1
    assert summary.complaints[0].where == "broken.png"
    assert "cannot be decoded" in summary.complaints[0].what
    assert "Its 2 captions (broken.txt line 1) are left out" in summary.complaints[0].what
    packed = load_packed(out)
    pictures, captions = packed.batch(np.random.default_rng(0), 12, 16)
    assert pictures.shape == (12, 16, 16, 3)
    for shown, caption in zip(pictures, captions, strict=True):
        assert ("red" in caption) == (shown[8, 8, 0] > shown[8, 8, 2])
    assert not out.with_name("packed.zip.part").exists()


def test_a_pack_that_fails_leaves_the_one_before(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed.zip"
    picture(folder / "a.png")
    (folder / "a.txt").write_text("a card")
    pack_folder(folder, out, size=32)
    before = out.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    with pytest.raises(InvalidRequest, match="More than 500 bytes after 1 of 1 pictures"):
        pack_folder(folder, out, size=64, limit=500)
    assert out.read_bytes() == before
    assert list(tmp_path.glob("*.part")) == []
    with pytest.raises(OutputError, match="cannot be written"):
        pack_folder(folder, tmp_path / "nowhere" / "packed.zip")
    with pytest.raises(OutputError, match="No space left on device"):
        pack_folder(folder, _full(tmp_path), size=64)


def _full(tmp_path: Path) -> Path:
    """A path whose temporary file is the device that is always full."""
    (tmp_path / "disk.zip.part").symlink_to("/dev/full")
    return tmp_path / "disk.zip"


def test_folders_of_which_nothing_can_be_used(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is not a folder"):
        read_captions(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match="holds no picture with a caption"):
        pack_folder(folder, tmp_path / "packed.zip")
    assert list(tmp_path.glob("packed*")) == []


def test_pictures_are_cut_to_their_middle_upright_and_opaque(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste((0, 0, 255), (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    assert (decode((tmp_path / "wide.png").read_bytes(), 30)[:, 3:-3] == (0, 0, 255)).all()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode((tmp_path / "clear.png").read_bytes(), 20) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    tall = Image.new("RGB", (32, 32), "white")
    tall.paste((0, 0, 0), (0, 0, 32, 16))
    tall.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert decode((tmp_path / "turned.jpg").read_bytes(), 32)[4].mean() > 200


def test_pictures_too_large_to_decode_are_refused(tmp_path: Path) -> None:
    Image.new("1", (8001, 8001)).save(tmp_path / "large.png")
    with pytest.raises(DiptychError, match="is 8001x8001; at most 64,000,000 pixels"):
        decode((tmp_path / "large.png").read_bytes(), 32)


def test_what_is_no_packed_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text(json.dumps({}))
    with pytest.raises(DiptychError, match=r"x\.zip is not a packed folder"):
        load_packed(tmp_path / "x.zip")
