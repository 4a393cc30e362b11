"""A request becomes complete, or it is refused with what is possible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from diptych.catalogue import Settings, Size, load
from diptych.errors import InvalidRequest
from diptych.images import Request


def resolve(model: str, **values: Any) -> Request:
    return load().find(model).resolve(Request(prompt="a fox", **values))


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
    assert resolve("flux-2-pro") == Request(prompt="a fox")


def test_unknown_settings_leave_the_request_alone() -> None:
    request = Request(prompt="a fox", steps=3, guidance=99.0, width=7, height=9)
    assert load().find("gemini-3-pro-image").resolve(request) is request


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("builtin-flow", {"steps": 300}, "steps is 300; builtin-flow takes 1 to 200."),
        ("builtin-flow", {"guidance": 0.5}, "guidance is 0.5; builtin-flow takes 1 to 20."),
        ("builtin-flow", {"width": 512, "height": 512}, "size is 512x512; builtin-flow makes 128x128."),
        (
            "flux-2-klein-4b",
            {"guidance": 3.5},
            "guidance is 3.5, but flux-2-klein-4b has no setting guidance; it has size, steps, seed.",
        ),
        (
            "flux-2-klein-4b",
            {"negative": "blur"},
            "negative is 'blur', but flux-2-klein-4b has no setting negative; it has size, steps, seed.",
        ),
        ("flux-2-pro", {"steps": 20}, "steps is 20, but flux-2-pro has no setting steps; it has size, seed."),
        ("gpt-image-2", {"seed": 5}, "seed is 5, but gpt-image-2 has no setting seed; it has size."),
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
        ("gpt-image-2", (4096, 1000), "Nearest: 3840x1280"),
    ],
)
def test_a_size_that_cannot_be_made(model: str, size: tuple[int, int], nearest: str) -> None:
    assert nearest in refusal(model, width=size[0], height=size[1])


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
)
def test_every_size_that_is_suggested_is_allowed(
    width: int, height: int, multiple: int, max_pixels: int | None, max_side: int | None, max_ratio: float | None
) -> None:
    size = Size(multiple=multiple, min_side=64, max_pixels=max_pixels, max_side=max_side, max_ratio=max_ratio)
    for nearest in size.nearest(width, height):
        assert size.allows(*nearest)
    if size.allows(width, height):
        assert size.nearest(width, height)[0] == (width, height)
