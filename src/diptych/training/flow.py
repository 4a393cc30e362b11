"""Stage 2: the flow network and its text encoder learn to draw every thing on every colour.

The autoencoder's latents are computed once for all placements. A step draws random pictures, captions them anew, mixes
latents and noise at a random time t (logit-normal) as x = (1 - t) picture + t noise, and asks for noise - picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
from diptych.training.checkpoint import Checkpoint
from diptych.training.data import COLOURS, Thing, caption, compose, place
from diptych.training.optim import Optimizers
from diptych.training.plan import Plan

TOWARDS_NOISE = 0.5
"""Mean of the logit of t: above zero, more steps are spent where the prompt decides what the picture shows."""
SHEET = (
    "a red apple on a blue background",
    "a penguin on a yellow background",
    "a rocket on a black background",
    "a cupcake on a pink background",
    "a house on a green background",
    "a guitar, white background",
    "an owl on a purple background",
    "a sailboat",
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


@torch.inference_mode()
def cache_latents(
    autoencoder: Autoencoder, renders: NDArray[np.uint8], plan: Plan, folder: Path, say: Callable[[str], None]
) -> NDArray[np.float16]:
    """Normalised packed latents of every placement, (things, colours, variants, C, h, w), in half precision.

    Computed once and read back later; sets the autoencoder's statistics either way.
    """
    path = folder / "latents.npz"
    if path.exists():
        stored = np.load(path)
        set_statistics(autoencoder, torch.from_numpy(stored["sample"]))
        values: NDArray[np.float16] = stored["values"]
        return values
    rng = np.random.default_rng(plan.seed)
    palette = np.array(list(COLOURS.values()), np.float32) / 255
    encoded: list[NDArray[np.float16]] = []
    for i, render in enumerate(renders):
        pictures = [
            compose(place(rng, render), (colour + rng.normal(0, 0.01, 3)).clip(0, 1).astype(np.float32))
            for colour in palette
            for _ in range(plan.variants)
        ]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        mean, _ = autoencoder.moments(pixels)
        encoded.append(F.pixel_unshuffle(mean, plan.autoencoder.patch_size).numpy().astype(np.float16))
        if i % 100 == 99:
            say(f"latents of {i + 1}/{len(renders)} things")
    raw = np.concatenate(encoded)
    sample = raw[rng.permutation(len(raw))[:4096]].astype(np.float32)
    set_statistics(autoencoder, torch.from_numpy(sample))
    mean, deviation = sample.mean((0, 2, 3)), np.sqrt(sample.var((0, 2, 3)) + autoencoder.bn.eps)
    values = ((raw - mean[:, None, None]) / deviation[:, None, None]).astype(np.float16)
    values = values.reshape(len(renders), len(palette), plan.variants, *values.shape[1:])
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, values=values, sample=sample)
    os.replace(temporary, path)
    return values


def train_flow(
    autoencoder: Autoencoder,
    latents: NDArray[np.float16],
    things: Sequence[Thing],
    table: Tensor,
    tokenizer: Tokenizer,
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
) -> Model:
    """Train or resume; the averaged weights."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    model = Model(plan, table)
    # The first and last layers look like matrices but are an embedding and a head: Muon is for what lies between.
    outside = [model.transformer.img_in, model.transformer.final_layer, model.transformer.time_in, model.text.position]
    optimizers = Optimizers([model], muon_lr=0.02, adam_lr=1.5e-3, skip=outside)
    checkpoint = Checkpoint(folder / "flow.ckpt", model, optimizers, rng)
    checkpoint.load()
    side = latents.shape[-1]
    colours = list(COLOURS)
    tables = {
        length: rotary_tables(positions(length, side, side), plan.flow.axes, plan.flow.theta)
        for length in range(plan.text.pad_multiple, plan.text.longest + 1, plan.text.pad_multiple)
    }
    losses: list[float] = []
    while checkpoint.step < plan.flow_steps:
        thing, colour, variant = (rng.integers(n, size=plan.flow_batch) for n in latents.shape[:3])
        long = rng.random() < 0.1
        captions = [caption(rng, things[i], colours[c], long=long) for i, c in zip(thing, colour, strict=True)]
        captions = ["" if rng.random() < plan.caption_dropout else c for c in captions]
        ids, mask = tokenize(tokenizer, plan.text, captions)
        picture = torch.from_numpy(latents[thing, colour, variant].astype(np.float32)).flatten(2).mT
        noise = torch.randn(picture.shape)  # randn_like would follow the strides, which say nothing
        t = torch.sigmoid(torch.randn(plan.flow_batch) + TOWARDS_NOISE)
        mixed = torch.lerp(picture, noise, t[:, None, None])
        text = model.transformer.project_text(model.text(ids, mask))
        condition = Condition(text, tables[ids.shape[1]])
        velocity = model.transformer(mixed, condition, model.transformer.modulation(t))
        loss = F.mse_loss(velocity, noise - picture)
        loss.backward()
        optimizers.step((checkpoint.step + 1) / plan.flow_steps)
        checkpoint.advance(0.998)
        losses.append(loss.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == plan.flow_steps:
            averaged = Model(plan, table)
            averaged.load_state_dict(checkpoint.average)
            _sheet(averaged, autoencoder, tokenizer, plan, side, folder / f"flow-{checkpoint.step:06}.png")
            checkpoint.save()  # after the sheet: a new network draws from the random numbers that are kept
            say(f"flow {checkpoint.step}/{plan.flow_steps}, loss {np.mean(losses):.4f}")
            losses.clear()
    trained = Model(plan, table)
    trained.load_state_dict(checkpoint.average)
    return trained.eval()


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
