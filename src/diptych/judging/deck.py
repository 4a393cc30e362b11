"""Which pictures of a study can be shown against each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from diptych.arena import pairs
from diptych.errors import StudyError
from diptych.studies.results import Results


@dataclass(frozen=True, eq=False)
class Deck:
    """The pictures of a study, as `arena.pairs` numbers them: models and prompts by their place in the study."""

    study_id: int
    labels: tuple[str, ...]
    """Of the contestants. None of them goes to a browser before the end."""
    prompts: tuple[str, ...]
    pictures: pairs.Pictures
    hashes: dict[int, str]
    """SHA-256 by sample."""
    contestants: dict[int, int]
    """Place in `labels` by sample."""
    prompt_of: dict[int, int]
    """Place in `prompts` by sample."""

    @classmethod
    def of(cls, results: Results) -> Deck:
        """Raises StudyError where no two models have a picture of the same prompt."""
        at = {row.id: i for i, row in enumerate(results.contestants)}
        prompt = {row.id: i for i, row in enumerate(results.prompts)}
        done = [sample for sample in results.samples if sample.state == "done" and sample.picture is not None]
        table = pairs.Pictures(
            prompt=np.array([prompt[sample.prompt_id] for sample in done], np.int64),
            model=np.array([at[sample.contestant_id] for sample in done], np.int64),
            sample=np.array([sample.id for sample in done], np.int64),
            models=len(at),
        )
        deck = cls(
            study_id=results.id,
            labels=tuple(row.label for row in results.contestants),
            prompts=tuple(row.text for row in results.prompts),
            pictures=table,
            hashes={sample.id: sample.picture for sample in done if sample.picture is not None},
            contestants={sample.id: at[sample.contestant_id] for sample in done},
            prompt_of={sample.id: prompt[sample.prompt_id] for sample in done},
        )
        if not deck.trials:
            raise StudyError(_too_few(results, len(set(deck.contestants.values()))))
        return deck

    @property
    def trials(self) -> int:
        """Different pairs that one judge can be shown."""
        return int(self.pictures.trials.sum())

    def first_pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of samples in which every picture comes once at least, the first of each cell first."""
        counts = self.pictures.counts
        models, prompts = counts.shape
        for number in range(int(counts.max(initial=0))):
            for prompt in range(prompts):
                there = [self.pictures.of(model, prompt) for model in range(models) if counts[model, prompt]]
                shown = [rows[min(number, len(rows) - 1)] for rows in there]
                for one, other in itertools.pairwise(shown):
                    yield int(self.pictures.sample[one]), int(self.pictures.sample[other])

    def without(self, sample: int) -> Deck:
        """Less one picture, which cannot be read."""
        keep = self.pictures.sample != sample
        left = replace(
            self.pictures,
            prompt=self.pictures.prompt[keep],
            model=self.pictures.model[keep],
            sample=self.pictures.sample[keep],
        )
        return replace(self, pictures=left)

    def __contains__(self, sample: int) -> bool:
        return bool((self.pictures.sample == sample).any())


def _too_few(results: Results, with_pictures: int) -> str:
    if len(results.contestants) < 2:
        return f"The study {results.name} has one model: a blind test takes two. `diptych pilot` makes such a study."
    if with_pictures < 2:
        models = "no model" if not with_pictures else "one model only"
        return (
            f"The study {results.name} has pictures of {models}, and a blind test takes two. "
            f'`diptych pilot --name "{results.name}"` goes on with it.'
        )
    return f"The study {results.name} has no two models with a picture of the same prompt: there is nothing to compare."
