"""Of what, and for whom: the words."""

from __future__ import annotations

import pytest

from diptych.arena.claims import scope


@pytest.mark.parametrize(
    ("prompts", "judges", "how", "said"),
    [
        (3, 2, {}, "on these prompts and pictures, for these judges"),
        (1, 1, {}, "on this prompt and its pictures, for this judge"),
        (0, 0, {}, "on these prompts and pictures, for these judges"),
        (9, 1, {"beyond_prompts": True}, "on prompts like these, for this judge"),
        (1, 9, {"beyond_judges": True}, "on this prompt and its pictures, for judges like these"),
        (9, 9, {"beyond_prompts": True, "beyond_judges": True}, "on prompts and for judges like these"),
        (1, 1, {"drawn": False}, "on the pairs that were shown, for this judge"),
        (3, None, {"drawn": False}, "on the pairs that were shown, for those who judged"),
        (3, 9, {"drawn": False, "beyond_judges": True}, "on the pairs that were shown, for judges like these"),
        (
            *(9, None, {"drawn": False, "beyond_prompts": True}),
            "on prompts like these, paired as these were, for those who judged",
        ),
    ],
)
def test_no_words_are_wider_than_the_votes(prompts: int, judges: int | None, how: dict[str, bool], said: str) -> None:
    assert scope(prompts, judges, **how) == said
