"""A request becomes complete, or it is refused with what is possible."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from diptych.catalogue import Settings, Size, load, shapes
from diptych.catalogue.reading import load_packaged
from diptych.errors import InvalidRequest
from diptych.images import Input, Picture, Request, Timing, encode_png

NAMES = load_packaged().names  # known before a test has its own home folder


def resolve(model: str, **values: Any) -> Request:
    return load().find(model).resolve(Request(prompt="a fox", **values))


ENGINE = (
    "references, mask, sampler, shift, strength, true_guidance, guidance_from, guidance_until, blend, blend_weight, "
    "walk_seed, walk, lora."
)
"""What every model of the flow engine has."""


def refusal(model: str, **values: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        resolve(model, **values)
    return str(caught.value)


def test_defaults_are_filled_in_but_not_the_seed() -> None:
    assert resolve("builtin-flow") == Request(prompt="a fox", width=128, height=128, steps=25, guidance=3.0)
    assert resolve("flux-2-klein-4b") == Request(prompt="a fox", width=1024, height=1024, steps=4)


def test_what_is_set_stays() -> None:
    sent = resolve("builtin-flow", steps=9, guidance=1.5, seed=7, negative="blur", width=128, height=128)
    assert (sent.steps, sent.guidance, sent.seed, sent.negative) == (9, 1.5, 7, "blur")


def test_an_unknown_default_is_left_to_the_model() -> None:
    assert resolve("flux-2-pro") == Request(prompt="a fox", options={"output_format": "png"})


def test_unknown_settings_leave_the_request_alone() -> None:
    request = Request(prompt="a fox", steps=3, guidance=99.0, width=7, height=9, options={"anything": True})
    assert load().find("replicate/owner/name").resolve(request) is request


@pytest.mark.parametrize("name", NAMES)
def test_resolving_twice_is_resolving_once(name: str) -> None:
    model = load().find(name)
    once = model.resolve(Request(prompt="a fox"))
    assert model.resolve(once) == once


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("builtin-flow", {"steps": 300}, "steps is 300; builtin-flow takes 1 to 200."),
        ("builtin-flow", {"guidance": 0.5}, "guidance is 0.5; builtin-flow takes 1 to 20."),
        ("builtin-flow", {"width": 512, "height": 512}, "size is 512x512; builtin-flow makes 128x128."),
        (
            "flux-2-klein-4b",
            {"guidance": 3.5},
            f"guidance is 3.5, but flux-2-klein-4b has no setting guidance; it has size, steps, seed, {ENGINE}",
        ),
        (
            "flux-2-klein-4b",
            {"negative": "blur"},
            f"negative is 'blur', but flux-2-klein-4b has no setting negative; it has size, steps, seed, {ENGINE}",
        ),
        (
            "flux-2-pro",
            {"steps": 20},
            (
                "steps is 20, but flux-2-pro has no setting steps; it has size, seed, references, prompt_upsampling, "
                "safety_tolerance, output_format, region."
            ),
        ),
        (
            "gpt-image-2",
            {"seed": 5},
            (
                "seed is 5, but gpt-image-2 has no setting seed; it has size, quality, references, mask, background, "
                "output_format, output_compression, moderation, partial_images."
            ),
        ),
        (
            "gpt-image-2",
            {"quality": "hihg"},
            "quality is 'hihg'; gpt-image-2 takes low, medium, high or auto. Did you mean high?",
        ),
        (
            "gemini-3-pro-image",
            {"image_size": "2k"},
            "image_size is '2k'; gemini-3-pro-image takes 1K, 2K or 4K. Did you mean 2K?",
        ),
        (
            "fake-a",
            {"options": {"latncy": 1}},
            (
                "latncy is 1, but fake-a has no setting latncy; it has size, seed, latency, price, refusals, failures, "
                "jobs. Did you mean latency?"
            ),
        ),
        ("fake-a", {"options": {"refusals": 1.5}}, "refusals is 1.5; fake-a takes 0 to 1."),
        ("fake-a", {"options": {"jobs": "true"}}, "jobs is 'true'; fake-a takes true or false."),
        ("fake-a", {"options": {"price": True}}, "price is true; fake-a takes at least 0."),
        (
            "gpt-image-2",
            {"options": {"output_format": "jpg"}},
            "output_format is 'jpg'; gpt-image-2 takes png, webp or jpeg. Did you mean jpeg?",
        ),
        (
            "gpt-image-2",
            {"options": {"output_compression": 101}},
            "output_compression is 101; gpt-image-2 takes a whole number, 0 to 100.",
        ),
        (
            "imagen-4.0-ultra",
            {"seed": 5},
            "seed does not go with addWatermark=true for imagen-4.0-ultra; leave it out, or set addWatermark=false.",
        ),
    ],
)
def test_refusals_say_what_is_possible(model: str, values: dict[str, Any], message: str) -> None:
    assert refusal(model, **values) == message


@pytest.mark.parametrize(
    ("model", "size", "nearest"),
    [
        ("flux-2-klein-4b", (1000, 1000), "Nearest: 992x992 or 1008x1008."),
        ("flux-2-klein-4b", (32, 2000), "Nearest: 64x2000 or"),
        ("flux-2-klein-4b", (4096, 2048), "at most 4,194,304 pixels"),
        ("gpt-image-2", (512, 512), "Nearest: 816x816."),
        ("gemini-3-pro-image", (1920, 1080), "Nearest: 16:9 at 1K or 2K."),
        ("gemini-3-pro-image", (1000, 700), "Nearest: 3:2 at 1K."),
        ("gemini-3-pro-image", (512, 512), "Nearest: 1:1 at 1K."),
        ("gemini-2.5-flash-image", (2048, 2048), "Nearest: 1:1 at 1K."),
        ("gpt-image-2", (4096, 1000), "Nearest: 3840x1280"),
    ],
)
def test_a_size_that_cannot_be_made(model: str, size: tuple[int, int], nearest: str) -> None:
    assert nearest in refusal(model, width=size[0], height=size[1])


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("gemini-3-pro-image", (1024, 1024), ("1:1", "1K")),
        ("gemini-3-pro-image", (2752, 1536), ("16:9", "2K")),  # what the vendor itself makes of 16:9 at 2K
        ("gemini-3-pro-image", (1344, 768), ("16:9", "1K")),
        ("gemini-3-pro-image", (3072, 5504), ("9:16", "4K")),
        ("gemini-3.1-flash-image", (512, 512), ("1:1", "512")),
        ("gemini-3.1-flash-image", (3072, 384), ("8:1", "1K")),
        ("gemini-2.5-flash-image", (832, 1248), ("2:3", None)),
        ("imagen-4.0-ultra", (2048, 2048), ("1:1", "2K")),
        ("nano-banana-2.1", (1280, 720), ("16:9", "1K")),  # its shapes are unknown: the very one goes through
        ("flux-pro-1.1-ultra", (2048, 2048), ("1:1", None)),
    ],
)
def test_pixels_become_a_shape_and_a_class_of_size(
    model: str, size: tuple[int, int], sent: tuple[str, str | None]
) -> None:
    resolved = resolve(model, width=size[0], height=size[1])
    assert (resolved.aspect_ratio, resolved.image_size) == sent
    assert (resolved.width, resolved.height) == size, "what was asked stays"
    assert load().find(model).resolve(resolved) == resolved


def test_pixels_beside_a_shape_must_say_the_same() -> None:
    assert resolve("gemini-3-pro-image", width=1024, height=1024, image_size="1K").aspect_ratio == "1:1"
    wrong = refusal("gemini-3-pro-image", width=1024, height=1024, aspect_ratio="16:9")
    assert wrong == "size is 1024x1024, which is not aspect_ratio 16:9; leave one of them out."
    assert "not image_size 4K" in refusal("gemini-3-pro-image", width=1024, height=1024, image_size="4K")


def test_a_shape_in_place_of_pixels_is_not_overruled_by_a_default_size() -> None:
    model = load_settings(size={"default": [64, 64]}, aspect_ratio={"choices": ["1:1", "2:1"]})
    sent = model.resolve(Request(prompt="a fox", aspect_ratio="2:1"))
    assert (sent.aspect_ratio, sent.width) == ("2:1", None)


def test_defaults_of_words_and_options() -> None:
    assert resolve("gemini-3-pro-image").image_size == "1K"
    assert resolve("fake-a", options={"price": 0.02}).options == {
        "latency": 0.0,
        "price": 0.02,
        "refusals": 0.0,
        "failures": 0.0,
        "jobs": False,
    }
    assert resolve("gpt-image-2").options == {}, "the vendor's own defaults are left to the vendor"


def test_an_option_that_excludes_a_setting() -> None:
    imagen = load().find("imagen-4.0-ultra")
    plain = Request(prompt="a fox")
    assert imagen.resolve(plain).options == {"addWatermark": True}
    unmarked = dataclasses.replace(plain, seed=5, options={"addWatermark": False})
    assert imagen.resolve(unmarked).seed == 5
    assert not imagen.takes_seed(plain)
    assert imagen.takes_seed(unmarked)
    assert load().find("flux-2-pro").takes_seed(plain)
    assert not load().find("gpt-image-2").takes_seed(plain)
    assert not load().find("replicate/owner/name").takes_seed(plain), "unknown settings: nobody knows"


def test_pictures_that_go_in(tiny_picture: Picture) -> None:
    one = Input(tiny_picture.data)
    model = load_settings(references={"max": 2}, mask=True, follows=True)
    request = Request(prompt="a fox", references=(one, one), mask=one, follows=tiny_picture)
    assert model.resolve(request) == request
    with pytest.raises(InvalidRequest, match=r"references are 3 pictures; m takes at most 2 pictures\."):
        model.resolve(Request(prompt="a fox", references=(one,) * 3))
    assert load_settings(references={}).resolve(Request(prompt="a fox", references=(one,) * 40))
    for values, message in (
        ({"references": (one,)}, "references is 1 picture, but flux-pro-1.1 has no setting references"),
        ({"follows": tiny_picture}, "follows is a picture of somebody, but flux-pro-1.1 has no setting follows"),
    ):
        assert message in refusal("flux-pro-1.1", **values)
    with pytest.raises(InvalidRequest, match="mask is a picture, but m has no setting mask"):
        load_settings(references={}).resolve(Request(prompt="x", references=(one,), mask=one))


@pytest.fixture
def tiny_picture() -> Picture:
    data = encode_png(
        Image.new("RGB", (8, 8)), {"model": "x", "request": {"prompt": "x"}, "versions": {"diptych": "0"}}
    )
    return Picture(
        request=Request(prompt="before"),
        model="somebody",
        data=data,
        width=8,
        height=8,
        timing=Timing(total=1.0),
        recipe={},
    )


def test_a_negative_prompt_that_could_do_nothing_is_refused() -> None:
    assert "no effect at guidance 1" in refusal("builtin-flow", negative="blur", guidance=1.0)
    assert resolve("builtin-flow", negative="", guidance=1.0).negative == "", "an empty one asks for nothing"


def test_a_long_prompt() -> None:
    with pytest.raises(InvalidRequest, match=r"has 5 characters; m takes at most 4\."):
        load_settings(prompt={"max_characters": 4}).resolve(Request(prompt="a fox"))


def test_a_model_of_prompts_alone() -> None:
    with pytest.raises(InvalidRequest, match="size is 64x64, but m has no setting size; it takes a prompt alone"):
        load_settings().resolve(Request(prompt="a fox", width=64, height=64))


def load_settings(**settings: Any) -> Any:
    from diptych.catalogue import Model

    entry = {"name": "m", "title": "M", "provider": "fal", "remote_id": "m", "settings": settings}
    return Model.model_validate(entry)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"steps": {"default": 300, "max": 200}}, "the default 300 is not at most 200"),
        ({"steps": {"min": 9, "max": 3}}, r"min \(9\) is more than max \(3\)"),
        ({"guidance": {"default": float("nan")}}, "finite"),
        ({"size": {"default": [100, 100], "multiple": 16}}, "the default 100x100 is not a size it allows"),
        ({"size": {"choices": [[64, 64]], "multiple": 16}}, "choices already say everything"),
        ({"size": {"min_side": 64, "max_side": 32}}, "min_side"),
        ({"size": {"default": [64]}}, "size.default"),
        ({"stepz": {}}, "stepz"),
        ({"quality": {"choices": ["low"], "default": "high"}}, "the default 'high' is none of low"),
        ({"aspect_ratio": {"choices": ["16x9"]}}, "'16x9' is no aspect ratio"),
        ({"aspect_ratio": {"at": "1K"}, "image_size": {}}, "at goes with a model that takes no image_size"),
        ({"mask": True}, "a mask belongs to a reference"),
        ({"size": {"min_pixels": 9, "max_pixels": 3}}, "min_pixels"),
        ({"options": {"a": {"type": "text", "min": 1}}}, "min and max go with numbers"),
        ({"options": {"a": {"type": "number", "choices": [1], "min": 1}}}, "choices already say everything"),
        ({"options": {"a": {"type": "whole number", "choices": [1.5]}}}, "the choice 1.5 is not of type"),
        ({"options": {"a": {"type": "yes/no", "default": 1}}}, "the default 1 is not what it allows: true or false"),
        ({"options": {"a": {"type": "number", "default": float("inf")}}}, "inf is not a text, a number"),
        ({"options": {"a": {"type": "text", "excludes": ["seed"]}}}, "excludes goes with yes/no"),
        ({"options": {"a": {"type": "yes/no", "excludes": ["seed"]}}}, "excludes seed, which is not a setting"),
        ({"options": {"steps": {"type": "number"}}}, "has the name of a setting of ours"),
        ({"options": {"two words": {"type": "number"}}}, "two words"),
        ({"seed": "yes"}, "seed"),
    ],
)
def test_settings_that_contradict_themselves(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(settings)


@settings(deadline=None)  # a busy machine is not a failure
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    multiple=st.sampled_from([1, 8, 16, 32]),
    max_pixels=st.sampled_from([None, 2_097_152, 4_194_304]),
    max_side=st.sampled_from([None, 1440, 4096]),
    max_ratio=st.sampled_from([None, 3, 1.5]),
    min_pixels=st.sampled_from([None, 655_360]),
)
def test_every_size_that_is_suggested_is_allowed(
    width: int,
    height: int,
    multiple: int,
    max_pixels: int | None,
    max_side: int | None,
    max_ratio: float | None,
    min_pixels: int | None,
) -> None:
    size = Size(
        multiple=multiple,
        min_side=64,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_side=max_side,
        max_ratio=max_ratio,
    )
    for nearest in size.nearest(width, height):
        assert size.allows(*nearest)
    if size.allows(width, height):
        assert size.nearest(width, height)[0] == (width, height)


RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "16:9", "9:16", "21:9", "8:1", "1:8")


@settings(deadline=None)
@given(
    ratio=st.sampled_from(RATIOS),
    name=st.sampled_from(list(shapes.SIDES)),
    stretch=st.floats(0.985, 1.015),
    more=st.floats(0.7, 1.4),
)
def test_a_size_near_a_shape_and_a_class_is_of_both(ratio: str, name: str, stretch: float, more: float) -> None:
    pixels = shapes.SIDES[name] ** 2 * more
    height = round((pixels / shapes.ratio_of(ratio)) ** 0.5)
    width = round(height * shapes.ratio_of(ratio) * stretch)
    assert shapes.class_of(width, height) == name
    assert shapes.nearest_shape(width, height, RATIOS) == ratio
    assert [one for one in RATIOS if shapes.is_shape(width, height, one)] == [ratio]


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_no_picture_is_of_two_classes(width: int, height: int) -> None:
    found = [name for name in shapes.SIDES if shapes.in_class(width, height, name)]
    assert found == ([shapes.class_of(width, height)] if found else [])
    near = shapes.nearest_classes(width, height, shapes.SIDES)
    assert near
    assert not found or found[0] in near
    assert shapes.is_shape(width, height, shapes.exact_shape(width, height))
