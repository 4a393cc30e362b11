"""Of what, and for whom, a claim holds: the words that stand beside every number and verdict.

No words are wider than the votes. What was voted on are pictures: that others of the same prompts, by the same models,
would fare alike is a claim of its own. It is made only where prompts are taken for a random draw, since every prompt
that is drawn brings its pictures. And that a prompt has its share of the votes is so only where trials were drawn by
`pairs`; of votes from elsewhere, a claim is about the pairs that somebody chose to show.
"""

from __future__ import annotations


def scope(
    prompts: int,
    judges: int | None,
    *,
    beyond_prompts: bool = False,
    beyond_judges: bool = False,
    drawn: bool = True,
) -> str:
    """Such as "on these prompts and pictures, for these judges".

    prompts, judges: how many the votes come from; None is unknown. drawn: whether trials were drawn at random.
    """
    if drawn and beyond_prompts and beyond_judges:
        return "on prompts and for judges like these"
    these = "on this prompt and its pictures" if prompts == 1 else "on these prompts and pictures"
    where = these if drawn else "on the pairs that were shown"
    if beyond_prompts:
        where = "on prompts like these" if drawn else "on prompts like these, paired as these were"
    if beyond_judges:
        return f"{where}, for judges like these"
    return f"{where}, for {'those who judged' if judges is None else 'this judge' if judges == 1 else 'these judges'}"
