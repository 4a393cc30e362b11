"""Pictures and words of hosted models through the public calls, over real HTTP against stand-ins of their vendors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import diptych
from diptych import settings
from diptych.errors import BadPicture, InvalidRequest, NotAvailable, Refused
from diptych.images import Input
from tests.standins import faults
from tests.standins.google import Google
from tests.standins.openai import OpenAI

GEMINI = "gemini-3.1-flash-image"
TEXT = "openai/some-text-model"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    for variable in ("GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(variable, raising=False)
    with Google() as vendor:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", vendor.url)
        monkeypatch.setenv("GEMINI_API_KEY", vendor.key)
        yield vendor


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    with OpenAI() as vendor:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{vendor.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", vendor.key)
        yield vendor


def test_a_picture_with_its_cost_time_and_recipe(google: Google) -> None:
    picture = diptych.generate("a fox in snow", model=GEMINI, aspect_ratio="16:9", image_size="1K", seed=3)
    assert (picture.model, picture.request.seed, picture.request.aspect_ratio) == (GEMINI, 3, "16:9")
    assert picture.image.size == (picture.width, picture.height)
    assert picture.width > picture.height
    assert picture.cost is not None
    assert picture.cost.basis == "usage"
    assert picture.timing.first_byte is not None
    assert 0 < picture.timing.first_byte <= picture.seconds
    assert picture.recipe["request"]["prompt"] == "a fox in snow"
    assert google.key not in repr(picture) + repr(picture.recipe)


def test_the_chain_describe_improve_generate_edit(google: Google, openai: OpenAI, tmp_path: Path) -> None:
    first = diptych.generate("a fox in snow", model=GEMINI)
    described = diptych.describe(first, model=TEXT)
    improved = diptych.improve(described, model=TEXT)
    assert described
    assert improved
    second = diptych.generate(improved, model=GEMINI)
    path = second.save(tmp_path / "second.png")
    third = diptych.edit(path, "make it dusk", model=GEMINI)
    sent = google.requests[-1].body["contents"][0]["parts"]
    assert [sorted(part)[0] for part in sent] == ["text", "inlineData"]
    assert third.request.references[0].data == second.data
    # A picture that the model made itself is gone on with, as a conversation.
    fourth = diptych.edit(third, "and add a moon", model=GEMINI)
    assert fourth.request.follows is third
    roles = [content["role"] for content in google.requests[-1].body["contents"]]
    assert roles == ["user", "model", "user"]
    assert len(google.charges) == 4


def test_an_improved_prompt_is_kept_beside_the_own_one(google: Google, openai: OpenAI, home: Path) -> None:
    home.mkdir()
    settings.config_file().write_text(f'text_model = "{TEXT}"', "utf-8")
    picture = diptych.generate("a fox", model=GEMINI, improve=True)
    assert picture.request.original_prompt == "a fox"
    assert picture.request.prompt == diptych.improve("a fox")
    assert picture.recipe["request"]["original_prompt"] == "a fox"


def test_words_with_what_they_cost(openai: OpenAI) -> None:
    written = diptych.write("What is a diptych?", model=TEXT)
    assert str(written) == written.text
    assert written.seconds > 0
    assert written.usage


def test_no_text_model_is_an_error_that_says_how_to_name_one() -> None:
    with pytest.raises(NotAvailable, match=r"Which text model\? .*text_model in .*diptych\.toml"):
        diptych.write("hello")
    with pytest.raises(NotAvailable, match="fake-a writes no text"):
        diptych.write("hello", model="fake-a")


def test_a_refusal_is_raised_and_saves_no_black_picture(google: Google) -> None:
    google.next(faults.Refused())
    with pytest.raises(Refused) as refused:
        diptych.generate("a fox", model=GEMINI)
    assert refused.value.provider == "google"


def test_what_is_no_picture_is_refused_before_anything_is_sent(google: Google, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    for source, said in ((text, "notes.txt"), (tmp_path / "missing.png", "missing.png"), (b"", "empty")):
        with pytest.raises(BadPicture, match=said):
            diptych.edit(source, "make it dusk", model=GEMINI)
    with pytest.raises(InvalidRequest, match="A mask needs a picture"):
        diptych.Request(prompt="x", mask=Input(diptych.generate("a fox", model="fake-a", size="64x64").data))
    assert google.requests == []


def test_several_requests_over_one_connection(openai: OpenAI) -> None:
    requests = [diptych.Request(prompt=f"a fox {i}", quality="low", width=1024, height=1024) for i in range(3)]
    pictures = list(diptych.generate_many(requests, model="gpt-image-2"))
    assert [picture.request.prompt for picture in pictures] == [request.prompt for request in requests]
    assert len({picture.data for picture in pictures}) == 3


def test_inside_a_running_loop_as_in_a_notebook(google: Google) -> None:
    async def cell() -> diptych.Picture:
        return diptych.generate("a fox", model=GEMINI)

    assert asyncio.run(cell()).model == GEMINI


def test_awaited(google: Google, openai: OpenAI) -> None:
    async def both() -> tuple[diptych.Picture, diptych.Picture]:
        first = await diptych.agenerate("a fox", model=GEMINI)
        second = await diptych.aedit([first, first.data], "two foxes", model=GEMINI)
        assert await diptych.adescribe(second, model=TEXT)
        assert await diptych.aimprove("a fox", model=TEXT)
        assert (await diptych.awrite("hello", model=TEXT, pictures=[first])).text
        return first, second

    first, second = asyncio.run(both())
    assert [one.data for one in second.request.references] == [first.data, first.data]
