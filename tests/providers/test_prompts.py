"""What is kept of a text model's answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.providers.prompts import DESCRIBE, IMPROVE, only_prompt

FOX = "A red fox in deep snow, low sun, long blue shadows"


@pytest.mark.parametrize(
    "answer",
    [
        FOX,
        f"  {FOX}\n",
        f'"{FOX}"',
        f"“{FOX}”",
        f"„{FOX}“",
        f"«{FOX}»",
        f"`{FOX}`",
        f"**{FOX}**",
        f"Prompt: {FOX}",
        f"**Prompt:** {FOX}",
        f"**Prompt**: {FOX}",
        f"# Prompt:\n\n{FOX}",
        f"Improved prompt: {FOX}",
        f"Here is the improved prompt:\n\n{FOX}",
        f"Here's a prompt that would recreate this picture:\n\n> {FOX}",
        f"Here’s an enhanced version of your prompt: {FOX}",
        f"Sure! Here is the rewritten prompt:\n{FOX}",
        f"Certainly. Here is a detailed description of the picture:\n\n**“{FOX}”**",
        f"```\n{FOX}\n```",
        f"```text\n{FOX}\n```\n",
        f"Here you go:\n\n```text\n{FOX}\n```\n\nLet me know if I should change it.",
        f'The prompt: "{FOX}"',
    ],
)
def test_the_prompt_alone_is_kept(answer: str) -> None:
    assert only_prompt(answer) == FOX


@pytest.mark.parametrize(
    "prompt",
    [
        'A neon sign that says "OPEN"',
        '"OPEN" in neon, and below it "24 h"',
        "'80s neon sign that says 'OPEN'",
        "Here's Johnny: a poster in the manner of Saul Bass",
        "A man writes: stay",
        "First line\n\nSecond line: a border of leaves",
        "**Bold** letters and **bright** colours",
        "A terminal with `ls`",
        "An image of a promptbook, a description of the sea on its cover",
        "Ein Fuchs im Schnee: Abendlicht",
        '"',
        '""',
        "Prompt:",
    ],
)
def test_what_belongs_to_the_prompt_stays(prompt: str) -> None:
    assert only_prompt(prompt) == prompt


@given(st.text(max_size=80))
def test_any_answer_gives_something_of_itself_and_no_more_the_second_time(answer: str) -> None:
    found = only_prompt(answer)
    assert set(found) <= set(answer) | {"\n"}
    assert bool(found) == bool(answer.strip())
    assert only_prompt(found) == found


def test_a_block_quote_of_several_lines() -> None:
    assert only_prompt("Prompt:\n> A red fox\n>\n> in deep snow") == "A red fox\n\nin deep snow"


def test_a_long_answer_takes_no_long_time() -> None:
    for answer in ("Sure! " * 20_000, "prompt " * 20_000, "```\n" * 20_000, '"' * 60_000, "*" * 60_000):
        assert only_prompt(answer)


@pytest.mark.parametrize("instruction", [DESCRIBE, IMPROVE], ids=["describe", "improve"])
def test_the_instructions_say_that_what_they_are_given_is_material(instruction: str) -> None:
    assert "never" in instruction
    assert "instructions" in instruction
    assert "material" in instruction
    assert "Answer with the prompt alone" in instruction
