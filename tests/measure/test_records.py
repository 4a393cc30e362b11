"""The vector as a record."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from diptych.errors import DiptychError
from diptych.measure import QUANTITIES, VERSION, AtSize, Measures, measure
from tests.measure.pictures import photograph, png, white_noise


@pytest.fixture(scope="module")
def measures() -> Measures:
    return measure(png(photograph("coffee").resize((900, 600))))


def test_through_json_and_back(measures: Measures) -> None:
    assert Measures.from_dict(json.loads(json.dumps(measures.to_dict(), allow_nan=False))) == measures


def test_what_is_not_defined_comes_back_too() -> None:
    tiny = measure(png(white_noise(9, 8)))
    assert tiny.original.noise is None
    assert Measures.from_dict(json.loads(json.dumps(tiny.to_dict()))) == tiny


def test_the_hash_is_written_with_all_its_digits(measures: Measures) -> None:
    assert dataclasses.replace(measures, perceptual_hash=10).to_dict()["perceptual_hash"] == "000000000000000a"


def test_the_version_is_stored_and_another_is_refused(measures: Measures) -> None:
    values = measures.to_dict()
    assert values["version"] == VERSION
    with pytest.raises(DiptychError, match=rf"of version {VERSION + 1}; this diptych computes version {VERSION}"):
        Measures.from_dict({**values, "version": VERSION + 1})


@pytest.mark.parametrize(
    "change",
    [
        {"perceptual_hash": 10},
        {"perceptual_hash": "picture"},
        {"original": {"width": 3}},
        {"original": None},
        {"beauty": 9.5},
    ],
)
def test_what_is_no_vector_of_measures(measures: Measures, change: dict[str, Any]) -> None:
    with pytest.raises(DiptychError, match="These are no measures"):
        Measures.from_dict({**measures.to_dict(), **change})


def test_it_is_frozen(measures: Measures) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        measures.perceptual_hash = 0  # type: ignore[misc]


def test_every_number_is_described() -> None:
    fields = [field.name for field in dataclasses.fields(AtSize)]
    assert fields == ["width", "height", *(quantity.name for quantity in QUANTITIES)]
    assert all(quantity.label and quantity.reading for quantity in QUANTITIES)


def test_importing_the_room_is_cheap() -> None:
    code = "import sys, diptych.cli, diptych.measure; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "diptych.measure.pool" in loaded
    assert not {"cv2", "numpy", "scipy"} & set(loaded)
