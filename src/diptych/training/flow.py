"""Stage 2: the flow network and its text encoder learn to draw scenes as their captions say.

A step draws scenes from a window whose latents are there (see `latents`), captions them anew, mixes latents and noise
at a random time t (logit-normal) as x = (1 - t) picture + t noise, and asks for noise - picture. What it draws is
decided by the step's number and the seed, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import Autoencoder
from diptych.engines.flow.flux2 import Flux2, positions
from diptych.engines.flow.network import Condition, rotary_tables
from diptych.engines.flow.sampling import Course, State, step
from diptych.engines.flow.schedule import schedule
from diptych.engines.flow.text import TableEncoder, tokenize
from diptych.training.autoencoder import set_statistics
from diptych.training.captions import caption
from diptych.training.checkpoint import Checkpoint
from diptych.training.latents import Window
from diptych.training.library import Library
from diptych.training.optim import Optimizers
from diptych.training.plan import Plan
from diptych.training.scenes import Maker

TOWARDS_NOISE = 0.5
"""Mean of the logit of t: above zero, more steps are spent where the prompt decides what the picture shows."""
SHEET = (
    "a red apple on a blue background",
    "two lemons on a pink background",
    "a penguin left of a guitar, yellow background",
    "a rocket on a black background",
    "a puppy",
    "a cupcake on a green background",
    "an automobile, white background",
    "a ghost above a pumpkin on a purple background",
)


class Model(nn.Module):
    """Flow network and text encoder, trained as one."""

    def __init__(self, plan: Plan, table: Tensor) -> None:
        super().__init__()
        self.transformer = Flux2(plan.flow)
        self.text = TableEncoder(plan.text)
        with torch.no_grad():
            self.text.table.weight.copy_(table)
            for name, p in self.transformer.named_parameters():
                # Blocks start as the identity and the output as zero: steadier first steps.
                if "modulation" in name.lower() or name == "final_layer.linear.weight":
                    p.zero_()
        self.text.table.requires_grad_(False)  # only words seen in training would move: synonyms would drift apart


def train_flow(
    autoencoder: Autoencoder,
    library: Library,
    table: Tensor,
    tokenizer: Tokenizer,
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
    *,
    start: Model | None = None,
) -> Model:
    """Train or resume; the averaged weights. Sets the autoencoder's statistics.

    start: what to begin from in place of random weights: a model of the same shape that was trained before.
    """
    torch.manual_seed(plan.seed)
    model = start or Model(plan, table)
    # The first and last layers look like matrices but are an embedding and a head: Muon is for what lies between.
    outside = [model.transformer.img_in, model.transformer.final_layer, model.transformer.time_in, model.text.position]
    optimizers = Optimizers([model], muon_lr=0.02, adam_lr=1.5e-3, skip=outside)
    checkpoint = Checkpoint(folder / "flow.ckpt", model, optimizers, np.random.default_rng(plan.seed), recipe=plan)
    checkpoint.load()
    window = Window(folder, Maker(library, plan.seed), autoencoder, plan.size, plan.window)
    mean, deviation = _normalise(autoencoder, window, plan, say)
    side = plan.size // plan.autoencoder.scale
    tables = {
        length: rotary_tables(positions(length, side, side), plan.flow.axes, plan.flow.theta)
        for length in range(plan.text.pad_multiple, plan.text.longest + 1, plan.text.pad_multiple)
    }
    losses: list[float] = []
    while checkpoint.step < plan.flow_steps:
        step = checkpoint.step
        rng = np.random.default_rng((plan.seed, step))
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        newest = plan.first_window + step * plan.fresh
        oldest = max(0, newest - plan.window)
        window.cover(oldest, newest - oldest, say if not losses else None)
        chosen = rng.integers(oldest, newest, plan.flow_batch)
        captions = [caption(window.maker.scene(int(i)), library, rng) for i in chosen]
        captions = ["" if rng.random() < plan.caption_dropout else c for c in captions]
        ids, mask = tokenize(tokenizer, plan.text, captions)
        picture = torch.from_numpy((window.of(chosen) - mean) / deviation).flatten(2).mT
        noise = torch.randn(picture.shape, generator=generator)  # randn_like would follow the strides
        t = torch.sigmoid(torch.randn(plan.flow_batch, generator=generator) + TOWARDS_NOISE)
        mixed = torch.lerp(picture, noise, t[:, None, None])
        text = model.transformer.project_text(model.text(ids, mask))
        condition = Condition(text, tables[ids.shape[1]])
        velocity = model.transformer(mixed, condition, model.transformer.modulation(t))
        loss = F.mse_loss(velocity, noise - picture)
        loss.backward()
        optimizers.step((step + 1) / plan.flow_steps)
        checkpoint.advance(0.998)
        losses.append(loss.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == plan.flow_steps:
            checkpoint.save()
            averaged = Model(plan, table)
            averaged.load_state_dict(checkpoint.average)
            _sheet(averaged, autoencoder, tokenizer, plan, side, folder / f"flow-{checkpoint.step:06}.png")
            say(f"flow {checkpoint.step}/{plan.flow_steps}, loss {np.mean(losses):.4f}")
            losses.clear()
    trained = Model(plan, table)
    trained.load_state_dict(checkpoint.average)
    return trained.eval()


def _normalise(
    autoencoder: Autoencoder, window: Window, plan: Plan, say: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of every channel over the first window, (C, 1, 1) each, kept in the autoencoder too."""
    path = window.folder / "statistics.npz"
    if not path.exists():
        window.cover(0, plan.first_window, say)
        sample = window.of(np.arange(plan.first_window))
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, mean=sample.mean((0, 2, 3)), variance=sample.var((0, 2, 3)))
        os.replace(temporary, path)
    stored = np.load(path)
    set_statistics(autoencoder, torch.from_numpy(stored["mean"]), torch.from_numpy(stored["variance"]))
    mean: NDArray[np.float32] = stored["mean"][:, None, None]
    deviation: NDArray[np.float32] = np.sqrt(stored["variance"] + np.float32(autoencoder.bn.eps))[:, None, None]
    return mean, deviation


@torch.inference_mode()
def _sheet(model: Model, autoencoder: Autoencoder, tokenizer: Tokenizer, plan: Plan, side: int, path: Path) -> None:
    """The prompts of SHEET, two seeds each: columns are prompts."""
    ids, mask = tokenize(tokenizer, plan.text, [*SHEET, ""])
    text = model.text(ids, mask)
    conditions = [model.transformer.condition(one, side, side) for one in text.split(1)]
    times = tuple(schedule(20, mu=0.0))
    rows = model.transformer.modulation(torch.tensor(times[:-1]))
    courses = [Course(times, rows, condition, conditions[-1], guidance=3.0) for condition in conditions[:-1]]
    sheet = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, side * side, plan.flow.in_channels, generator=generator)
        states = [State(course, noise) for course in courses]
        while not states[0].done:
            states = step(model.transformer, states)
        latents = torch.cat([state.latents for state in states])
        pixels = autoencoder.decode(latents.mT.unflatten(-1, (side, side))).clamp(-1, 1)
        sheet.append(torch.cat(list(pixels), dim=2))
    picture = torch.cat(sheet, dim=1)
    Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
