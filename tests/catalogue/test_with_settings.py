"""Settings that come as text."""

from __future__ import annotations

import pytest

from diptych.catalogue import load, with_settings
from diptych.errors import InvalidRequest
from diptych.images import Request

PLAIN = Request(prompt="a fox")


def set_(model: str, **values: str) -> Request:
    return with_settings(PLAIN, values, load().find(model))


def test_settings_of_our_own() -> None:
    request = set_("builtin-flow", steps="4", size="128x128", guidance="2.5", seed="7", negative=" blur ")
    assert request == Request(
        prompt="a fox", steps=4, width=128, height=128, guidance=2.5, seed=7, negative="blur", options={}
    )
    shaped = set_("gemini-3-pro-image", aspect_ratio="16:9", image_size="2K")
    assert (shaped.aspect_ratio, shaped.image_size) == ("16:9", "2K")
    assert set_("gpt-image-2", quality="high").quality == "high"


def test_options_by_their_type() -> None:
    request = set_("fake-a", latency="1", price="0.02", jobs="yes")
    assert request.options == {"latency": 1.0, "price": 0.02, "jobs": True}
    assert isinstance(request.options["latency"], float)
    assert set_("fake-a", jobs="Off").options == {"jobs": False}
    assert set_("gpt-image-2", output_compression="80", background="opaque").options == {
        "output_compression": 80,
        "background": "opaque",
    }
    assert set_("flux-2-pro", safety_tolerance="2").options == {"safety_tolerance": 2}


def test_options_of_an_unknown_model_by_their_look() -> None:
    request = set_("replicate/owner/name", a="true", b="3", c="2.5", d="1e3", e="words", f="False", g="inf", h="1.0.0")
    assert request.options == {
        "a": True,
        "b": 3,
        "c": 2.5,
        "d": 1000.0,
        "e": "words",
        "f": False,
        "g": "inf",
        "h": "1.0.0",
    }
    assert [type(value) for value in request.options.values()] == [bool, int, float, float, str, bool, str, str]


def test_what_was_set_before_stays_unless_it_is_set_again() -> None:
    before = Request(prompt="a fox", steps=9, options={"price": 0.5, "jobs": True})
    request = with_settings(before, {"price": "0.1"}, load().find("fake-a"))
    assert (request.steps, request.options) == (9, {"price": 0.1, "jobs": True})
    assert before.options == {"price": 0.5, "jobs": True}


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("builtin-flow", {"steps": "many"}, "steps is 'many'; it is a whole number."),
        ("builtin-flow", {"seed": "1.5"}, "seed is '1.5'; it is a whole number."),
        ("builtin-flow", {"guidance": "nan"}, "guidance is 'nan'; it is a number."),
        ("builtin-flow", {"size": "big"}, "size is 'big'; it is written WIDTHxHEIGHT"),
        ("fake-a", {"jobs": "maybe"}, "jobs is 'maybe'; it is true or false."),
        ("fake-a", {"refusals": "half"}, "refusals is 'half'; it is 0 to 1."),
        ("gpt-image-2", {"output_compression": "9.5"}, "output_compression is '9.5'; it is a whole number, 0 to 100."),
        (
            "fake-a",
            {"latncy": "1"},
            (
                "latncy is '1', but fake-a has no setting latncy; it has size, seed, latency, price, refusals, "
                "failures, jobs. Did you mean latency?"
            ),
        ),
        ("gpt-image-2", {"mask": "mask.png"}, "mask cannot be set as text; set a picture where the request is made."),
        ("replicate/x", {"width": "9"}, "width cannot be set as text; set size=WIDTHxHEIGHT."),
        ("builtin-flow", {"seed": "-1"}, "seed is -1; it must be a whole number from 0"),
    ],
)
def test_refusals_name_the_key_and_what_is_possible(model: str, values: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        set_(model, **values)
    assert message in str(caught.value)


def test_what_is_set_is_not_resolved_yet() -> None:
    assert set_("builtin-flow", steps="300").steps == 300
    with pytest.raises(InvalidRequest, match="steps is 300; builtin-flow takes 1 to 200"):
        load().find("builtin-flow").resolve(set_("builtin-flow", steps="300"))
