"""Stage 1: the autoencoder learns to give back every render on any plain colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diptych.engines.flow.autoencoder import Autoencoder
from diptych.training.checkpoint import Checkpoint
from diptych.training.data import COLOURS, compose, place
from diptych.training.optim import Optimizers
from diptych.training.plan import Plan

NOISE = 0.3
"""The decoder learns on latents disturbed by up to this much, so that it forgives what the flow network gets wrong."""
SMALLNESS = 5e-4
"""Weight of the latents' mean square: without it the encoder would outgrow the noise."""
EDGES = 0.5
"""Weight of the error between neighbouring pixels: outlines count more than flat areas."""


def train_autoencoder(renders: NDArray[np.uint8], plan: Plan, folder: Path, say: Callable[[str], None]) -> Autoencoder:
    """Train on `renders` (N, size, size, 4) or resume; the averaged weights, with latent statistics not yet set."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    module = Autoencoder(plan.autoencoder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = Optimizers([module], muon_lr=0.03, adam_lr=2e-3)
    checkpoint = Checkpoint(folder / "autoencoder.ckpt", module, optimizers, rng, recipe=plan)

    def batch(step: int) -> Tensor:
        if step < plan.crop_steps:
            return _batch(rng, renders, plan.crop_batch, plan.crop)
        return _batch(rng, renders, plan.whole_batch, plan.size)

    trained = _run(checkpoint, module, batch, plan, plan.crop_steps + plan.whole_steps, "autoencoder", say)
    _sheet(trained, _batch(np.random.default_rng(1), renders, 12, plan.size), folder / "autoencoder.png")
    return trained


def polish_decoder(
    autoencoder: Autoencoder, renders: NDArray[np.uint8], plan: Plan, folder: Path, say: Callable[[str], None]
) -> Autoencoder:
    """Train the decoder on, on the things that are drawn and nothing else. Latents stay what they are.

    Independent of the flow network: the encoder is frozen, and with it everything that the flow network knows.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    module = Autoencoder(plan.autoencoder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.load_state_dict(autoencoder.state_dict())
    module.encoder.requires_grad_(False)
    optimizers = Optimizers([module.decoder], muon_lr=0.01, adam_lr=1e-3)
    checkpoint = Checkpoint(folder / "decoder.ckpt", module, optimizers, rng, recipe=plan)

    def batch(step: int) -> Tensor:
        return _batch(rng, renders, plan.whole_batch, plan.size, placed=True)

    polished = _run(checkpoint, module, batch, plan, plan.polish_steps, "decoder", say)
    _sheet(polished, _batch(np.random.default_rng(1), renders, 12, plan.size, placed=True), folder / "decoder.png")
    return polished


def _run(
    checkpoint: Checkpoint,
    module: Autoencoder,
    batch: Callable[[int], Tensor],
    plan: Plan,
    total: int,
    stage: str,
    say: Callable[[str], None],
) -> Autoencoder:
    """Train to step `total`, from the checkpoint where there is one; the averaged weights."""
    checkpoint.load()
    errors: list[float] = []
    while checkpoint.step < total:
        pixels = batch(checkpoint.step)
        mean, _ = module.moments(pixels)
        noise = NOISE * torch.rand(len(pixels), 1, 1, 1) * torch.randn_like(mean)
        decoded = module.decoder(mean + noise)
        error = (decoded - pixels).abs().mean()
        edges = sum((a - b).abs().mean() for a, b in zip(_slopes(decoded), _slopes(pixels), strict=True))
        (error + EDGES * edges + SMALLNESS * mean.square().mean()).backward()
        checkpoint.optimizers.step((checkpoint.step + 1) / total)
        checkpoint.advance(0.998)
        errors.append(error.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == total:
            checkpoint.save()
            say(f"{stage} {checkpoint.step}/{total}, mean error {np.mean(errors):.4f} of a range of 2")
            errors.clear()
    trained = Autoencoder(plan.autoencoder)
    trained.load_state_dict(checkpoint.average)
    return trained.eval()


@torch.inference_mode()
def set_statistics(module: Autoencoder, mean: Tensor, variance: Tensor) -> None:
    """Keep mean and variance of packed, not yet normalised latents, (C,) each, where `encode` looks for them."""
    assert module.bn.running_mean is not None
    assert module.bn.running_var is not None
    module.bn.running_mean.copy_(mean)
    module.bn.running_var.copy_(variance)


def _batch(
    rng: np.random.Generator, renders: NDArray[np.uint8], count: int, size: int, *, placed: bool = False
) -> Tensor:
    """Random renders, mirrored or not, random crops, mostly on the colours of the captions: (count, 3, size, size).

    placed: as the flow network sees them, smaller and off centre.
    """
    palette = np.array(list(COLOURS.values()), np.float32) / 255
    out = np.empty((count, size, size, 3), np.float32)
    for i in range(count):
        render = renders[rng.integers(len(renders))]
        y, x = rng.integers(0, renders.shape[1] - size + 1, 2)
        crop = place(rng, render) if placed else render[y : y + size, x : x + size]
        named = palette[rng.integers(len(palette))] + rng.normal(0, 0.02, 3)
        colour = named if rng.random() < 0.7 else rng.random(3)
        out[i] = compose(crop[:, ::-1] if rng.random() < 0.5 else crop, colour.clip(0, 1).astype(np.float32))
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


@torch.inference_mode()
def _sheet(module: Autoencoder, pixels: Tensor, path: Path) -> None:
    """Originals above, reconstructions below."""
    decoded = module.decoder(module.moments(pixels)[0]).clamp(-1, 1)
    rows = torch.cat([torch.cat(list(x), dim=2) for x in (pixels, decoded)], dim=1)
    Image.fromarray(((rows + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
