"""A small network that says what a picture shows: which things and where, how many, on which colour.

It judges the built-in models (`evaluate`), and its features serve where others use a pretrained network. Trained here,
on composites that are blurred, noisy and off in brightness, as generated pictures are; never on held-out compositions.

The last features are a grid of cells. Each cell has a score for every thing; the score of the picture is their sum in
the exponent, and where a thing is follows from which cells speak for it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.errors import OutputError, WeightsError
from diptych.training.checkpoint import Checkpoint
from diptych.training.data import COLOURS
from diptych.training.library import Library
from diptych.training.optim import Optimizers
from diptych.training.scenes import Batch, Maker, Scene

COLOUR_NAMES = tuple(COLOURS)
COUNTS = (1, 2, 3)
WHERE_WEIGHT = 4.0
WEIGHTS, DESCRIPTION = "classifier.safetensors", "classifier.json"


@dataclass(frozen=True)
class ClassifierPlan:
    """Size and training of the classifier; the defaults take ten minutes of one core."""

    size: int = 64
    """Pixels along a side; pictures of other sizes are resized."""
    widths: tuple[int, int, int] = (40, 96, 192)
    steps: int = 2400
    batch: int = 64
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    save_every: int = 100
    seed: int = 0


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class Output(NamedTuple):
    """Of a batch of B pictures."""

    things: Tensor
    """Scores, (B, things)."""
    where: Tensor
    """Centre of each thing if it is there, x and y as fractions of the side, (B, things, 2)."""
    colours: Tensor
    """Scores of `COLOUR_NAMES` for the background, (B, 12)."""
    counts: Tensor
    """Scores of one, two, three things, (B, 3)."""
    features: Tensor
    """Mean of the last features over the picture, (B, widths[-1])."""


class Classifier(nn.Module):
    """Pixels in -1..1, (B, 3, size, size), size a multiple of 16, to `Output`."""

    def __init__(self, plan: ClassifierPlan, keys: Sequence[str]) -> None:
        super().__init__()
        self.plan = plan
        self.keys = tuple(keys)
        """`Thing.key` of every thing, in the order of the scores."""
        first, second, third = plan.widths
        self.stem = nn.Conv2d(3, first // 2, 5, stride=2, padding=2)
        self.down1 = nn.Conv2d(first // 2, first, 3, stride=2, padding=1)
        self.block1 = Block(first)
        self.down2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.block2 = Block(second)
        self.down3 = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.block3 = Block(third)
        self.norm = nn.BatchNorm2d(third)
        self.cells = nn.Conv2d(third, len(self.keys), 1)
        self.colours = nn.Linear(third, len(COLOURS))
        self.counts = nn.Linear(2 * third, len(COUNTS))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Features at a quarter, an eighth and a sixteenth of the size: what a perceptual loss compares."""
        quarter = self.block1(self.down1(F.relu(self.stem(pixels))))
        eighth = self.block2(self.down2(F.relu(quarter)))
        sixteenth = self.block3(self.down3(F.relu(eighth)))
        return [quarter, eighth, F.relu(self.norm(sixteenth))]

    def forward(self, pixels: Tensor) -> Output:
        last = self.maps(pixels)[-1]
        mean = last.mean(dim=(2, 3))
        cells = self.cells(last)
        flat = cells.flatten(2)  # (B, things, cells)
        rows, columns = cells.shape[2:]
        y = (torch.arange(rows, device=cells.device) + 0.5).repeat_interleave(columns) / rows
        x = (torch.arange(columns, device=cells.device) + 0.5).repeat(rows) / columns
        where = flat.softmax(dim=-1) @ torch.stack([x, y], dim=-1)
        counts = self.counts(torch.cat([mean, last.amax(dim=(2, 3))], dim=1))
        return Output(flat.logsumexp(dim=-1), where, self.colours(mean), counts, mean)


def train_classifier(library: Library, plan: ClassifierPlan, folder: Path, say: Callable[[str], None]) -> Classifier:
    """Train on composites, or go on from the checkpoint in `folder`; the averaged weights, written there too."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    keys = [thing.key for thing in library.things]
    module = Classifier(plan, keys).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ends = [module.stem, module.cells, module.colours, module.counts]
    optimizers = Optimizers([module], plan.muon_lr, plan.adam_lr, skip=ends)
    recipe = {**dataclasses.asdict(plan), "things": list(keys)}
    del recipe["save_every"]  # which changes nothing that is learned
    checkpoint = Checkpoint(folder / "classifier.ckpt", module, optimizers, rng, recipe)
    checkpoint.load()
    maker = Maker(library, plan.seed)
    losses: list[float] = []
    while checkpoint.step < plan.steps:
        batch = maker.batch(checkpoint.step * plan.batch, plan.batch, plan.size)
        pixels = torch.from_numpy(Batch(disturb(rng, batch.pictures), batch.scenes).normalised())
        loss = _loss(module(pixels.contiguous(memory_format=torch.channels_last)), batch.scenes)
        loss.backward()
        optimizers.step((checkpoint.step + 1) / plan.steps)
        checkpoint.advance(0.998)
        losses.append(loss.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == plan.steps:
            checkpoint.save()
            say(f"classifier {checkpoint.step}/{plan.steps}, loss {np.mean(losses):.3f}")
            losses.clear()
    trained = Classifier(plan, keys)
    trained.load_state_dict(checkpoint.average)
    trained.eval()
    save_classifier(trained, folder)
    return trained


def _loss(output: Output, scenes: Sequence[Scene]) -> Tensor:
    """Cross-entropy of things, colour and count, and the distance from where the things are."""
    wanted = torch.zeros_like(output.things)
    rows, things, places = [], [], []
    for i, scene in enumerate(scenes):
        for g, group in enumerate(scene.groups):
            wanted[i, group.thing] = 1 / len(scene.groups)
            own = [(p.x, p.y) for p in scene.placed if p.group == g]
            rows.append(i)
            things.append(group.thing)
            places.append(np.mean(own, axis=0))
    colours = torch.tensor([COLOUR_NAMES.index(scene.background.colour) for scene in scenes])
    counts = torch.tensor([scene.count - 1 for scene in scenes])
    found = output.where[rows, things]
    distance = F.smooth_l1_loss(found, torch.tensor(np.array(places), dtype=found.dtype), beta=0.05)
    return (
        F.cross_entropy(output.things, wanted)
        + 0.5 * F.cross_entropy(output.colours, colours)
        + 0.5 * F.cross_entropy(output.counts, counts)
        + WHERE_WEIGHT * distance
    )


def disturb(rng: np.random.Generator, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures a little worse, as a small model draws them: blurred, noisy, too dark or too bright; some untouched."""
    out = np.empty_like(pictures)
    size = pictures.shape[1]
    for i, picture in enumerate(pictures):
        worse = picture.astype(np.float32)
        if rng.random() < 0.45:
            small = round(size / rng.uniform(1.2, 3))
            worse = cv2.resize(worse, (small, small), interpolation=cv2.INTER_AREA)
            worse = cv2.resize(worse, (size, size), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.4:
            worse = (worse - 128) * rng.uniform(0.8, 1.15) + 128 + rng.normal(0, 6)
        if rng.random() < 0.3:
            coarse = rng.normal(0, rng.uniform(2, 12), (size // 4, size // 4, 3)).astype(np.float32)
            worse = worse + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
        out[i] = worse.clip(0, 255)
    return out


@dataclass(frozen=True)
class Reading:
    """What the classifier says of N pictures; the fields are those of `Output`."""

    things: NDArray[np.float32]
    where: NDArray[np.float32]
    colours: NDArray[np.float32]
    counts: NDArray[np.float32]
    features: NDArray[np.float32]

    def best(self, count: int) -> NDArray[np.int64]:
        """The things with the highest scores, (N, count), best first."""
        return np.argsort(-self.things, axis=1, kind="stable")[:, :count]


@torch.inference_mode()
def read(classifier: Classifier, pictures: NDArray[np.uint8], *, batch: int = 64) -> Reading:
    """Pictures of any size, (N, H, W, 3), resized to the classifier's."""
    outputs: list[Output] = []
    side = (classifier.plan.size, classifier.plan.size)
    for start in range(0, len(pictures), batch):
        resized = [cv2.resize(p, side, interpolation=cv2.INTER_AREA) for p in pictures[start : start + batch]]
        outputs.append(classifier(torch.from_numpy(Batch(np.stack(resized), ()).normalised())))
    return Reading(*(torch.cat(field).numpy() for field in zip(*outputs, strict=True)))


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write weights and description to `folder`. Raises OutputError."""
    from safetensors.torch import save_file

    description = {"plan": dataclasses.asdict(classifier.plan), "things": list(classifier.keys)}
    weights, part = folder / WEIGHTS, folder / (WEIGHTS + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in classifier.state_dict().items()}, part)
        os.replace(part, weights)
        (folder / DESCRIPTION).write_text(json.dumps(description) + "\n", "utf-8")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"The classifier cannot be written to {folder}: {error.strerror}.") from None


def load_classifier(folder: Path, library: Library | None = None) -> Classifier:
    """The classifier in `folder`. Raises WeightsError: missing, damaged, or not trained on the things of `library`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        plan: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in description["plan"].items()}
        classifier = Classifier(ClassifierPlan(**plan), description["things"])
        classifier.load_state_dict(load_file(folder / WEIGHTS))
    except OSError as error:
        raise WeightsError(f"There is no classifier in {folder}: {error.strerror or error}. Train one first.") from None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"The classifier in {folder} cannot be read: {error}") from None
    if library is not None and classifier.keys != tuple(thing.key for thing in library.things):
        raise WeightsError(
            f"The classifier in {folder} knows {len(classifier.keys)} things, which are not the "
            f"{len(library.things)} of this list. Train it again in another folder."
        )
    return classifier.eval()
