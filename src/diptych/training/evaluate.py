"""How well a model draws what it is asked for, as the classifier reads its pictures.

Asked for are held-out compositions (a third single things on a colour, a third one to three of a thing, a third two
things in a relation) and bare names. What the classifier itself reads rightly on real composites of the same
compositions stands beside every number: no model can be seen to do better than that.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.errors import DiptychError, OutputError
from diptych.images import write_file
from diptych.training.captions import caption
from diptych.training.classifier import COLOUR_NAMES, Classifier, Reading, read
from diptych.training.grammar import bare_plural, counted
from diptych.training.library import Library
from diptych.training.scenes import Group, Maker, Scene, paint

Draw = Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]
"""Prompts and as many seeds to pictures, (N, H, W, 3), RGB."""
Describe = Callable[[NDArray[np.uint8]], Sequence[str]]
"""Pictures, (N, H, W, 3), to as many captions."""
SEED = 90_210
DIVERSITY_PROMPTS, DIVERSITY_SEEDS = 12, 4
SHEET_COLUMNS = 8


@dataclass(frozen=True)
class Question:
    """A prompt and what its picture should show."""

    prompt: str
    scene: Scene
    kind: str
    """colour, count, relation or name."""
    seed: int


@dataclass(frozen=True)
class Answer:
    """What the classifier read in a picture; None where the question does not ask."""

    prompt: str
    kind: str
    seed: int
    ranks: tuple[int, ...]
    """Of each thing that was asked for, among all things; 0 is the best."""
    seen: tuple[str, ...]
    """The things read with the highest scores."""
    colour: bool | None
    count: bool | None
    position: bool | None

    @property
    def top1(self) -> float:
        """Share of the things asked for that are read before any other."""
        return float(np.mean([rank < len(self.ranks) for rank in self.ranks]))

    @property
    def top5(self) -> float:
        return float(np.mean([rank < 5 for rank in self.ranks]))


@dataclass(frozen=True)
class Evaluation:
    """Shares of 0 to 1, with how many questions each is taken over."""

    model: str
    things: int
    """How many different things could be asked for."""
    scores: dict[str, tuple[float, int]]
    ceiling: dict[str, tuple[float, int]]
    """The same, for composites of the same scenes in place of the model's pictures."""
    frechet: float
    """Distance of features to those of held-out composites; lower is nearer."""
    frechet_ceiling: float
    """Of other composites, as many."""
    diversity: float
    """Mean distance of features between seeds of a prompt, as a part of that between composites of a prompt."""
    answers: tuple[Answer, ...]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def as_markdown(self) -> str:
        """A table: what was asked, the model's share, the ceiling, over how many."""
        rows = [f"| | {self.model} | real composites | asked |", "|---|---|---|---|"]
        for name, (share, asked) in self.scores.items():
            rows.append(f"| {name} | {share:.1%} | {self.ceiling[name][0]:.1%} | {asked} |")
        rows.append(f"| Frechet distance (lower is nearer) | {self.frechet:.1f} | {self.frechet_ceiling:.1f} | |")
        rows.append(f"| diversity over seeds | {self.diversity:.2f} | 1 | {DIVERSITY_PROMPTS} x {DIVERSITY_SEEDS} |")
        return "\n".join(rows) + "\n"


def questions(
    library: Library,
    *,
    compositions: int = 200,
    names: int = 200,
    things: Sequence[int] | None = None,
    seed: int = SEED,
) -> list[Question]:
    """Held-out compositions of `things` (all when None), then bare names; always the same for a seed.

    Things look as they are in the data: skin tones and dyed colours are not asked for, sizes neither.
    """
    rng = np.random.default_rng(seed)
    chosen = tuple(range(len(library.things))) if things is None else tuple(things)
    if len(chosen) < 2 and compositions >= 3:
        raise DiptychError(f"An evaluation needs two things or more to put beside each other; {len(chosen)} given.")
    plain = replace(library, looks=tuple((looks[0],) for looks in library.looks))
    asked = []
    for i in range(compositions):
        kind = ("colour", "count", "relation")[i % 3]
        single = "one" if kind == "colour" or (i // 3) % 3 == 0 else "several"
        maker = Maker(plain, seed, held_out=True, kind="pair" if kind == "relation" else single, things=chosen)
        scene = maker.scene(i)
        scene = replace(scene, groups=tuple(replace(group, size=None) for group in scene.groups))
        asked.append(Question(caption(scene, plain, rng, complete=True), scene, kind, i))
    order = rng.permutation(len(chosen))
    for i in range(names):
        thing = chosen[order[i % len(chosen)]]
        known = library.things[thing].names
        name = known[(i // len(chosen)) % len(known)]
        asked.append(Question(name, _alone(plain, thing, seed + i), "name", compositions + i))
    return asked


def _alone(library: Library, thing: int, index: int) -> Scene:
    """The thing alone on any background: what a bare name may give."""
    return replace(Maker(library, SEED, kind="one", things=(thing,)).scene(index), groups=(Group(thing, 0),))


def evaluate(
    draw: Draw,
    classifier: Classifier,
    library: Library,
    *,
    model: str,
    folder: Path | None = None,
    compositions: int = 200,
    names: int = 200,
    things: Sequence[int] | None = None,
    batch: int = 16,
    seed: int = SEED,
) -> Evaluation:
    """Ask `draw` for held-out compositions and for names, and read its pictures.

    folder: where ``evaluation.json``, ``evaluation.md`` and sheets of the best and worst cases go, if anywhere.
    things: only these are asked for (a model that knows fewer); the classifier reads among all the same.
    Raises DiptychError for pictures that are not what was asked for in number or form, OutputError for the folder.
    """
    asked = questions(library, compositions=compositions, names=names, things=things, seed=seed)
    if not asked:
        raise DiptychError("An evaluation needs at least one composition or name to ask for.")
    pictures = _drawn(draw, [q.prompt for q in asked], [q.seed for q in asked], batch)
    size = pictures.shape[1]
    real = np.stack([paint(q.scene, library, size) for q in asked])
    reading, reference = read(classifier, pictures), read(classifier, real)
    answers, ideal = judge(asked, reading, library), judge(asked, reference, library)
    chosen = tuple(range(len(library.things))) if things is None else tuple(things)
    others = Maker(library, seed + 2, held_out=True, things=chosen)
    many = read(classifier, others.batch(0, max(2 * len(asked), 64), classifier.plan.size).pictures)
    evaluation = Evaluation(
        model,
        len(chosen),
        summary(answers),
        summary(ideal),
        frechet_distance(reading.features, many.features),
        frechet_distance(reference.features, many.features),
        _diversity(draw, classifier, library, asked, batch, size),
        tuple(answers),
    )
    if folder is not None:
        write_evaluation(evaluation, pictures, folder)
    return evaluation


def _drawn(draw: Draw, prompts: Sequence[str], seeds: Sequence[int], batch: int) -> NDArray[np.uint8]:
    drawn = []
    for start in range(0, len(prompts), batch):
        some, theirs = prompts[start : start + batch], seeds[start : start + batch]
        pictures = np.asarray(draw(some, theirs))
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3 or len(pictures) != len(some):
            raise DiptychError(
                f"For {len(some)} prompts the model gave {pictures.dtype} {pictures.shape}; "
                f"wanted is uint8 ({len(some)}, height, width, 3)."
            )
        drawn.append(pictures)
    return np.concatenate(drawn)


def judge(asked: Sequence[Question], reading: Reading, library: Library) -> list[Answer]:
    """Each question answered by what was read of its picture."""
    order = np.argsort(-reading.things, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1)
    answers = []
    for i, question in enumerate(asked):
        scene, bare = question.scene, question.kind == "name"
        wanted = [group.thing for group in scene.groups]
        position = None
        if scene.relation is not None:
            there = max(int(ranks[i, thing]) for thing in wanted) < 5
            position = there and _holds(scene.relation, reading.where[i, wanted[0]], reading.where[i, wanted[1]])
        answers.append(
            Answer(
                question.prompt,
                question.kind,
                question.seed,
                tuple(int(ranks[i, thing]) for thing in wanted),
                tuple(library.things[thing].names[0] for thing in order[i, :3]),
                None if bare else COLOUR_NAMES[int(reading.colours[i].argmax())] == scene.background.colour,
                int(reading.counts[i].argmax()) + 1 == scene.count if question.kind == "count" else None,
                position,
            )
        )
    return answers


def _holds(relation: str, first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    axis = 0 if relation in ("left of", "right of") else 1
    before, after = (first, second) if relation in ("left of", "above") else (second, first)
    return bool(before[axis] < after[axis])


def summary(answers: Sequence[Answer]) -> dict[str, tuple[float, int]]:
    """Shares by what was asked, each with over how many questions; what nobody asked is left out."""
    one = [a for a in answers if a.kind in ("colour", "count")]
    two = [a for a in answers if a.kind == "relation"]
    bare = [a for a in answers if a.kind == "name"]
    shares: dict[str, list[float]] = {
        "thing, top-1": [a.top1 for a in one],
        "thing, top-5": [a.top5 for a in one],
        "thing by its name alone, top-1": [a.top1 for a in bare],
        "thing by its name alone, top-5": [a.top5 for a in bare],
        "two things, each in the top-5": [a.top5 for a in two],
        "background colour": [a.colour for a in answers if a.colour is not None],
        "count of one to three": [a.count for a in answers if a.count is not None],
        "position (both in the top-5 and in place)": [a.position for a in answers if a.position is not None],
    }
    return {name: (float(np.mean(values)), len(values)) for name, values in shares.items() if values}


def judge_scenes(classifier: Classifier, library: Library, count: int = 600, size: int = 128) -> dict[str, Any]:
    """The classifier's own accuracy: held-out composites at `size`, read; shares with over how many."""
    asked = questions(library, compositions=count, names=0, seed=SEED + 7)
    pictures = np.stack([paint(q.scene, library, size) for q in asked])
    return summary(judge(asked, read(classifier, pictures), library))


def frechet_distance(features: NDArray[Any], others: NDArray[Any]) -> float:
    """Between two sets of features as if both were normal: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    Source: Heusel and others, "GANs Trained by a Two Time-Scale Update Rule", 2017, equation 6. Few pictures make it
    larger than many would: compare only distances over the same number.
    """
    a, b = np.asarray(features, np.float64), np.asarray(others, np.float64)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr (C1 C2)^(1/2) by the eigenvalues of a symmetric matrix that has the same ones.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(max(0.0, gap @ gap + np.trace(first) + np.trace(second) - 2 * mixed))


def _diversity(
    draw: Draw, classifier: Classifier, library: Library, asked: Sequence[Question], batch: int, size: int
) -> float:
    """Several seeds of a few prompts, against several composites that the same prompts could mean."""
    some = [q for q in asked if q.kind == "colour"][:DIVERSITY_PROMPTS] or list(asked[:DIVERSITY_PROMPTS])
    prompts = [q.prompt for q in some for _ in range(DIVERSITY_SEEDS)]
    seeds = [10_000 + s for _ in some for s in range(DIVERSITY_SEEDS)]
    scenes = []
    for question in some:
        maker = Maker(library, SEED + 3, held_out=True, kind="one", things=(question.scene.groups[0].thing,))
        for i in range(DIVERSITY_SEEDS):
            scene = maker.scene(i)
            scenes.append(
                replace(scene, groups=(Group(scene.groups[0].thing, 0),), background=question.scene.background)
            )
    real = np.stack([paint(scene, library, size) for scene in scenes])
    drawn = _drawn(draw, prompts, seeds, batch)
    return _spread(read(classifier, drawn)) / max(_spread(read(classifier, real)), 1e-9)


def _spread(reading: Reading) -> float:
    groups = reading.features.reshape(-1, DIVERSITY_SEEDS, reading.features.shape[-1])
    gaps = np.linalg.norm(groups[:, :, None] - groups[:, None], axis=-1)
    return float(gaps.sum(axis=(1, 2)).mean() / (DIVERSITY_SEEDS * (DIVERSITY_SEEDS - 1)))


def write_evaluation(evaluation: Evaluation, pictures: NDArray[np.uint8], folder: Path) -> None:
    """``evaluation.json``, ``evaluation.md``, ``best.png`` and ``worst.png`` in `folder`. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}.") from None
    goodness = [_goodness(answer) for answer in evaluation.answers]
    order = np.argsort(goodness, kind="stable")
    lines = [evaluation.as_markdown()]
    for name, chosen in (("best", order[::-1][: 3 * SHEET_COLUMNS]), ("worst", order[: 3 * SHEET_COLUMNS])):
        sheet(pictures[chosen], folder / f"{name}.png")
        lines.append(f"`{name}.png`, row by row, with what was read:\n")
        lines += [f"- {evaluation.answers[i].prompt} ({', '.join(evaluation.answers[i].seen)})" for i in chosen]
        lines.append("")
    write_file(folder / "evaluation.md", "\n".join(lines).encode(), force=True)
    write_file(folder / "evaluation.json", json.dumps(evaluation.as_json(), indent=1).encode(), force=True)


def _goodness(answer: Answer) -> float:
    """For sheets: the share of what was asked for that is read, then how near the wrong ones were."""
    said = [float(v) for v in (answer.colour, answer.count, answer.position) if v is not None]
    return float(np.mean([answer.top1, answer.top5, *said])) - 0.0001 * float(np.mean(answer.ranks))


def sheet(pictures: NDArray[np.uint8], path: Path) -> None:
    """Pictures side by side, SHEET_COLUMNS in a row."""
    n, height, width, _ = pictures.shape
    columns = min(SHEET_COLUMNS, n)
    canvas = np.full((-(-n // columns) * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        canvas[y : y + height, x : x + width] = picture
    try:
        Image.fromarray(canvas).save(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from None


def names_thing(text: str, names: Sequence[str]) -> bool:
    """Whether `text` has one of the names in it, as whole words, in singular or plural."""
    words = f" {re.sub('[^a-z0-9]+', ' ', text.lower())} "
    for name in names:
        for form in {name, bare_plural(name), counted(name, 1)}:
            if f" {re.sub('[^a-z0-9]+', ' ', form.lower()).strip()} " in words:
                return True
    return False


def evaluate_describe(
    describe: Describe, library: Library, *, count: int = 200, size: int = 128, things: Sequence[int] | None = None
) -> dict[str, Any]:
    """How often a model's caption of one thing alone, on a colour held out for it, names the thing.

    The share, how many, and every caption with what was shown; any of the thing's names counts, in any number.
    Raises DiptychError when the model gives another number of captions.
    """
    plain = replace(library, looks=tuple((looks[0],) for looks in library.looks))
    chosen = tuple(range(len(library.things))) if things is None else tuple(things)
    batch = Maker(plain, SEED + 5, held_out=True, kind="one", things=chosen).batch(0, count, size)
    said = list(describe(batch.pictures))
    if len(said) != count:
        raise DiptychError(f"For {count} pictures the model gave {len(said)} captions.")
    cases: list[dict[str, Any]] = []
    for scene, text in zip(batch.scenes, said, strict=True):
        thing = library.things[scene.groups[0].thing]
        cases.append({"shown": thing.names[0], "said": text, "named": names_thing(text, thing.names)})
    return {"named": sum(case["named"] for case in cases) / count, "asked": count, "cases": cases}
