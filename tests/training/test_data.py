"""The list of things, the renders, the archive they pack to, and what colour a render is said to have."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from diptych.errors import DiptychError, OutputError
from diptych.training.data import TONES, load_renders, pack, parse_listing, read_things
from diptych.training.library import HUES, Library, dominant_colour, dye, load_library, subset
from tests.training.conftest import LISTING

SHIPPED = resources.files("diptych.training").joinpath("things.txt").read_text("utf-8")
CODES = json.loads((Path(__file__).parent / "codes.json").read_text("utf-8"))
"""Label to code of every render of the published package whose label the list uses: what a listing may name."""


def test_every_label_of_the_list_has_a_render() -> None:
    listed = parse_listing(SHIPPED)
    assert 350 <= len(listed) <= 450
    assert [entry.label for entry in listed if entry.label not in CODES] == []


def test_every_name_is_of_one_thing_and_in_lower_case() -> None:
    names = [name for entry in parse_listing(SHIPPED) for name in entry.names]
    assert sorted(names) == sorted(set(names))
    assert [n for n in names if n != n.lower() or n != n.strip() or not n] == []


@pytest.mark.skipif("DIPTYCH_TRAINING_DATA" not in os.environ, reason="needs the fetched data folder")
def test_the_fetched_data_has_every_thing() -> None:
    things = read_things(Path(os.environ["DIPTYCH_TRAINING_DATA"]))
    assert [thing.key for thing in things] == [CODES[entry.label] for entry in parse_listing(SHIPPED)]


def test_the_forms_of_a_line() -> None:
    listed = parse_listing("# a comment\n\nT-Rex: dinosaur\n*ewe = sheep: ewe, lamb,\nman’s shoe\n")
    assert [(e.label, e.names, e.dyed) for e in listed] == [
        ("T-Rex", ("t-rex", "dinosaur"), False),
        ("ewe", ("sheep", "ewe", "lamb"), True),
        ("man’s shoe", ("man's shoe",), False),
    ]


def test_things_have_their_renders_and_skin_tones(emoji: Path) -> None:
    things = {thing.names[0]: thing for thing in read_things(emoji, LISTING)}
    assert things["ball"].render == "26bd-fe0f.webp"
    assert things["ball"].key == "26bd"
    assert things["box"].names == ("box", "package", "parcel")
    assert len(things["woman"].tones) == len(TONES)
    assert things["apple"].tones == ()


def test_what_is_packed_reads_like_the_folder(emoji: Path, tmp_path: Path) -> None:
    things = read_things(emoji, LISTING)
    archive = tmp_path / "emoji.zip"
    assert pack(emoji, things, archive) == archive.stat().st_size
    assert read_things(archive, LISTING) == things
    files = [thing.render for thing in things]
    np.testing.assert_array_equal(load_renders(archive, files, 64), load_renders(emoji, files, 64))
    again = tmp_path / "again.zip"
    pack(emoji, things, again)
    assert again.read_bytes() == archive.read_bytes()


def test_an_archive_that_cannot_be_written_or_read(emoji: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        pack(emoji, read_things(emoji, LISTING), tmp_path / "nowhere" / "emoji.zip")
    (tmp_path / "broken.zip").write_bytes(b"PK not an archive")
    with pytest.raises(DiptychError, match=r"broken\.zip has no training data"):
        read_things(tmp_path / "broken.zip", LISTING)


def test_colours_are_those_that_are_seen(library: Library) -> None:
    colours = {thing.names[0]: looks[0].colour for thing, looks in zip(library.things, library.looks, strict=True)}
    assert colours == {
        "apple": "red", "ball": "green", "box": "brown", "woman": "yellow", "mouse": "gray", "star": "yellow",
    }  # fmt: skip


def test_dyed_looks_have_the_colour_they_are_said_to_have(library: Library) -> None:
    ball = library.looks[library.index("ball")]
    assert {look.colour for look in ball if look.dyed} == set(HUES) - {"green"}
    for look in ball:
        assert dominant_colour(library.renders[look.render]) == look.colour
    assert not any(look.dyed for look in library.looks[library.index("apple")])


def test_dyeing_keeps_the_shape(library: Library) -> None:
    render = library.renders[library.looks[library.index("ball")][0].render]
    np.testing.assert_array_equal(dye(render, 214)[..., 3], render[..., 3])


def test_an_empty_render_has_no_colour_and_a_subset_keeps_the_order(library: Library) -> None:
    assert dominant_colour(np.zeros((16, 16, 4), np.uint8)) is None
    assert subset(library, ["star", "parcel", "unheard of"]) == [2, 5]


def test_boxes_are_around_what_is_seen(library: Library) -> None:
    x, y, width, height = library.boxes[library.looks[library.index("box")][0].render]
    assert (x, y) == pytest.approx((0.5, 0.5), abs=0.02)
    assert (width, height) == pytest.approx((53 / 64, 37 / 64), abs=0.001)


def test_a_thing_without_a_render_is_named(emoji: Path) -> None:
    with pytest.raises(DiptychError, match="'ghost'"):
        load_library(emoji, listing="ghost\n")
