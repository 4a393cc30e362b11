"""Requests that cannot be are refused, pictures carry their recipe, files are written whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diptych.errors import InvalidRequest, OutputError, RecipeError
from diptych.images import (
    LARGEST_SEED,
    LONGEST_PROMPT,
    Picture,
    Request,
    Timing,
    check_writable,
    encode_png,
    parse_size,
    random_seed,
    read_recipe,
    write_file,
)

REQUEST = {"prompt": "a red fox", "width": 64, "height": 32, "steps": 3, "guidance": 2.5, "seed": 7}
RECIPE: dict[str, Any] = {
    "version": 1,
    "model": "tiny",
    "request": REQUEST,
    "weights": "0123456789abcdef" * 4,
    "sampler": "Euler",
    "versions": {"diptych": "0.1.0", "torch": "2.13.0"},
}


def png(recipe: dict[str, Any] = RECIPE) -> bytes:
    return encode_png(Image.new("RGB", (64, 32), (200, 30, 60)), recipe)


def png_with(**texts: str) -> bytes:
    """What another tool, or a damaged disk, might have written."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def texts_of(data: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(data)) as image:
        return {str(key): str(text) for key, text in image.info.items()}


# Requests


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompt": ""}, "The prompt is empty"),
        ({"prompt": " \n\t"}, "The prompt is empty"),
        ({"prompt": None}, "The prompt is empty"),
        ({"prompt": "x" * (LONGEST_PROMPT + 1)}, "The prompt has 32,001 characters; no model takes more than 32,000"),
        ({"negative": "x" * (LONGEST_PROMPT + 1)}, "The negative prompt has 32,001 characters"),
        ({"prompt": "a fox \udcff"}, r"The prompt is not Unicode text: 'a fox \\udcff'"),
        ({"negative": "\ud800"}, "The negative prompt is not Unicode text"),
        ({"negative": 5}, "negative is 5; it must be text"),
        ({"width": 64}, "A size needs both a width and a height"),
        ({"height": 64}, "A size needs both a width and a height"),
        ({"width": 0, "height": 64}, "width is 0; it must be a whole number of at least 1"),
        ({"width": 64, "height": -8}, "height is -8"),
        ({"width": 64.0, "height": 64}, "width is 64.0"),
        ({"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
        ({"steps": True}, "steps is True"),
        ({"steps": "3"}, "steps is '3'"),
        ({"guidance": -1.0}, "guidance is -1.0; it must be a number of at least 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"guidance": float("inf")}, "guidance is inf"),
        ({"guidance": "high"}, "guidance is 'high'"),
        ({"guidance": True}, "guidance is True"),
        ({"seed": -1}, f"seed is -1; it must be a whole number from 0 to {LARGEST_SEED}"),
        ({"seed": LARGEST_SEED + 1}, f"seed is {LARGEST_SEED + 1}"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"seed": False}, "seed is False"),
    ],
)
def test_what_no_model_could_do_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        Request(**{"prompt": "a fox", **values})


@pytest.mark.parametrize("values", [{"seed": 0}, {"seed": LARGEST_SEED}, {"guidance": 0}, {"negative": ""}])
def test_the_edges_are_possible(values: dict[str, Any]) -> None:
    assert Request(prompt="x" * LONGEST_PROMPT, **values).to_dict().items() >= values.items()


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
requests = st.builds(
    lambda size, **others: Request(width=size and size[0], height=size and size[1], **others),
    size=optional(st.tuples(st.integers(1, 9999), st.integers(1, 9999))),
    prompt=prompts,
    negative=optional(prompts),
    steps=optional(st.integers(1, 999)),
    guidance=optional(st.floats(0, 99)),
    seed=optional(st.integers(0, LARGEST_SEED)),
)


@settings(deadline=None)  # a busy machine is not a failure
@given(requests)
def test_a_request_survives_its_dictionary_and_json(request: Request) -> None:
    assert None not in request.to_dict().values()
    assert Request.from_dict(request.to_dict()) == request
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"prompt": "a", "stepz": 3, "hue": 1},
            "unknown settings hue, stepz; what is possible: aspect_ratio, guidance, height",
        ),
        ({"steps": 3}, "A request with no prompt; what is possible"),
    ],
)
def test_a_dictionary_that_is_no_request(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        Request.from_dict(values)


def test_drawn_seeds_are_seeds() -> None:
    drawn = {random_seed() for _ in range(50)}
    assert len(drawn) > 40
    assert all(Request(prompt="a fox", seed=seed) for seed in drawn)


@pytest.mark.parametrize("text", ["512x384", "512X384", "512×384", " 512 x 384 "])
def test_a_size_is_read(text: str) -> None:
    assert parse_size(text) == (512, 384)


@pytest.mark.parametrize(
    "text", ["", "512", "x", "512x", "x384", "-1x5", "5.0x5", "1x2x3", "axb", "²x³", "9" * 5000 + "x1"]
)
def test_a_malformed_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="written WIDTHxHEIGHT in pixels, as in 1024x768") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 200


# Recipes


def test_the_same_picture_and_recipe_give_the_same_bytes() -> None:
    assert png() == png()
    assert png() == png(dict(reversed(RECIPE.items()))), "the order of keys is no part of a recipe"
    assert png() != png({**RECIPE, "model": "other"})


def test_the_recipe_is_in_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png())
    assert read_recipe(path) == RECIPE
    assert read_recipe(str(path)) == RECIPE
    assert json.loads(texts_of(png())["diptych"]) == RECIPE


def test_other_tools_find_their_parameters() -> None:
    recipe = {**RECIPE, "request": {**REQUEST, "negative": "blur"}}
    assert texts_of(png(recipe))["parameters"] == (
        "a red fox\n"
        "Negative prompt: blur\n"
        "Steps: 3, Sampler: Euler, CFG scale: 2.5, Seed: 7, Size: 64x32, Model hash: 0123456789, Model: tiny, "
        "Version: diptych 0.1.0"
    )


def test_what_is_unknown_is_left_out_of_the_parameters() -> None:
    recipe = {"version": 1, "model": "hosted", "request": {"prompt": "a fox"}, "versions": {"diptych": "0.1.0"}}
    assert texts_of(png(recipe))["parameters"] == "a fox\nModel: hosted, Version: diptych 0.1.0"


@settings(deadline=None)
@given(prompt=prompts, negative=prompts)
def test_any_prompt_comes_back(prompt: str, negative: str) -> None:
    texts = texts_of(png({**RECIPE, "request": {"prompt": prompt, "negative": negative}}))
    assert json.loads(texts["diptych"])["request"] == {"prompt": prompt, "negative": negative}
    assert texts["parameters"].startswith(f"{prompt}\nNegative prompt: {negative}\nSampler: ")


@pytest.mark.parametrize(
    "prompt", ["ein Fuchs im Schnee, Gemälde", "雪の中の狐 🦊", "two\nlines\r\nand more", "a" * 32_000]
)
def test_unusual_prompts_come_back_from_a_file(prompt: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png({**RECIPE, "request": {"prompt": prompt}}))
    assert Request.from_dict(read_recipe(path)["request"]).prompt == prompt


def damaged(**changes: Any) -> bytes:
    return png_with(diptych=json.dumps({**RECIPE, **changes}))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a fox\n", "is not a picture"),
        (b"", "is not a picture"),
        (png()[:20], "is not a picture"),
        (png()[:-30], "is not a picture that can be read"),
        (png_with(), "carries no recipe: it was not made here by diptych"),
        (png_with(parameters="a fox\nSteps: 3"), "carries no recipe: it was not made here by diptych"),
        (png_with(diptych='{"version": 1,'), "carries a damaged recipe: JSONDecodeError"),
        (png_with(diptych="[" * 100_000), "carries a damaged recipe: RecursionError"),
        (png_with(diptych="[1]"), "carries a damaged recipe"),
        (png_with(diptych="{}"), "carries a damaged recipe: KeyError: 'version'"),
        (damaged(version=2), "carries a recipe of version 2; this diptych reads version 1"),
        (damaged(request={**REQUEST, "hue": 3}), "carries a damaged recipe: .*unknown settings hue"),
        (damaged(request={"steps": 3}), "carries a damaged recipe: .*no prompt"),
        (damaged(request=["prompt"]), "carries a damaged recipe"),
        (damaged(request={**REQUEST, "steps": -1}), "carries a damaged recipe: .*steps is -1"),
        (damaged(model=None), "carries a damaged recipe: .*model is not a name"),
        (damaged(versions=[]), "carries a damaged recipe: .*versions is not a table"),
    ],
)
def test_a_file_without_a_recipe_that_can_be_read(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(data)
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_wherever_a_picture_is_cut_it_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    whole = png()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        try:
            assert read_recipe(path) == RECIPE
        except RecipeError:
            continue


@pytest.mark.parametrize(("name", "said"), [("missing.png", "There is no file"), (".", "directory")])
def test_no_file_to_read(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe(tmp_path / name)


def test_a_picture_shows_and_saves_itself(tmp_path: Path) -> None:
    request = Request.from_dict(REQUEST)
    picture = Picture(
        request=request, model="tiny", data=png(), width=64, height=32, timing=Timing(total=0.5), recipe=RECIPE
    )
    assert picture.image.size == (64, 32)
    assert picture._repr_png_() == picture.data
    assert picture.save(tmp_path / "fox.png") == tmp_path / "fox.png"
    assert picture.save(str(tmp_path / "fox.png"), force=True).read_bytes() == picture.data
    with pytest.raises(OutputError, match="exists already"):
        picture.save(tmp_path / "fox.png")
    assert "PNG" not in repr(picture), "the bytes are no part of what a person reads"


# Files


@pytest.fixture(params=["hard links", "no hard links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, on a file system that has hard links and on one that, like exFAT, has none."""
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    path = tmp_path / "out"
    path.mkdir()
    return path


def refuse(number: int) -> Any:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def test_a_file_is_written_with_its_folders(folder: Path) -> None:
    path = folder / "deep" / "er" / "fox.png"
    assert write_file(path, b"fox") == path
    assert path.read_bytes() == b"fox"
    assert os.listdir(path.parent) == ["fox.png"]


def test_an_existing_file_is_kept_without_force(folder: Path) -> None:
    path = write_file(folder / "fox.png", b"first")
    for refusing in (lambda: write_file(path, b"second"), lambda: check_writable(path)):
        with pytest.raises(OutputError, match=r"fox.png exists already.*--force"):
            refusing()
    assert path.read_bytes() == b"first"
    assert os.listdir(folder) == ["fox.png"]


def test_force_replaces(folder: Path) -> None:
    path = write_file(folder / "fox.png", b"first")
    check_writable(path, force=True)
    write_file(path, b"second", force=True)
    assert path.read_bytes() == b"second"
    assert os.listdir(folder) == ["fox.png"]


def test_a_link_to_nowhere_is_a_name_that_is_taken(folder: Path) -> None:
    (folder / "fox.png").symlink_to("nowhere")
    for refusing in (lambda: write_file(folder / "fox.png", b"fox"), lambda: check_writable(folder / "fox.png")):
        with pytest.raises(OutputError, match="exists already"):
            refusing()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_mode_is_that_of_an_ordinary_file(umask: int, folder: Path) -> None:
    before = os.umask(umask)
    try:
        path = write_file(folder / "fox.png", b"fox")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_umask_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", refuse(errno.EPERM))  # to ask for it is to change it, for every thread
    write_file(folder / "fox.png", b"fox")


def test_of_many_writers_one_wins(folder: Path) -> None:
    path = folder / "fox.png"
    texts = [str(i).encode() * 1000 for i in range(8)]
    won: list[bytes] = []
    lost: list[str] = []
    start = threading.Barrier(len(texts))

    def write(text: bytes) -> None:
        start.wait()
        try:
            write_file(path, text)
            won.append(text)
        except OutputError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes()] == won
    assert len(lost) == len(texts) - 1
    assert all("exists already" in said for said in lost)
    assert os.listdir(folder) == ["fox.png"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_is_left(
    stop: BaseException, force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise stop

    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(os, "replace", fail)
    expected = OutputError if isinstance(stop, OSError) else KeyboardInterrupt
    out = tmp_path / "out"
    with pytest.raises(expected):
        write_file(out / "fox.png", b"fox", force=force)
    assert os.listdir(out) == []


UNWRITABLE = [
    pytest.param("file/fox.png", "{tmp}/file is not a folder", id="below a file"),
    pytest.param("file/deep/er/fox.png", "directory|not a folder", id="far below a file"),
    pytest.param("/proc/fox.png", "cannot be written", id="a folder that takes no files"),
    pytest.param("x" * 300 + ".png", "File name too long", id="a long name"),
    pytest.param("🦊" * 70 + ".png", "File name too long", id="a long name in bytes"),
    pytest.param("folder", "folder|exists|directory", id="a folder"),
]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("name", "said"), UNWRITABLE)
def test_where_nothing_can_be_written(name: str, said: str, force: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match=said.format(tmp=tmp_path)) as caught:
        write_file(tmp_path / name, b"fox", force=force)
    assert str(tmp_path / name) in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file/fox.png", "{tmp}/file is not a folder"),
        ("file/deep/er/fox.png", "{tmp}/file is not a folder"),
        ("x" * 300 + ".png", "File name too long"),
        ("folder", "folder is a folder"),
    ],
)
def test_it_is_known_before_anything_is_spent(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=said.format(tmp=tmp_path)):
        check_writable(tmp_path / name, force=True)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the administrator may write anywhere
    with pytest.raises(OutputError, match=f"no permission to write in {tmp_path}"):
        check_writable(tmp_path / "new" / "fox.png")


def test_a_name_as_long_as_possible(folder: Path) -> None:
    path = folder / ("🦊" * 62 + ".png")
    check_writable(path)
    assert write_file(path, b"fox").read_bytes() == b"fox"
