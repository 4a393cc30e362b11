"""The image tokenizer learns to give back pictures; then its decoder alone learns to draw sharp edges.

The first stage trains encoder and decoder together: mean error, the error between neighbouring pixels at two
resolutions, and, where there is a network that knows the things (that of the evaluation), the error of its features.
The second, `polish_codec`, freezes the encoder, and with it what every code means, so that the network that predicts
codes can be trained meanwhile: the decoder learns on, from codes some of which are wrong, against a critic of patches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.engines.tokens.codec import Codec, CodecConfig, codebook_use
from diptych.training.checkpoint import Checkpoint
from diptych.training.optim import Optimizers
from diptych.training.scenes import Maker, paint

EDGES = 1.0
"""Weight of the error between neighbouring pixels, at full and at half resolution: outlines count more than areas."""
FEATURES = 0.1
"""Weight of the error of the features, each level normalised to unit length."""
WIDEST, OUTSIDE = 2.0, 0.05
"""What the encoder says beyond +-WIDEST, where tanh is flat and the gradient gone, costs OUTSIDE times its square."""
ADVERSARIAL = 0.03
WRONG = 0.02
"""Share of the codes that are drawn at random while the decoder is polished: it shall forgive wrong predictions."""
LARGE = 0.35
"""Share of the pictures that are crops of pictures of twice the size."""

Draw = Callable[[np.random.Generator, int, int], NDArray[np.uint8]]
"""(random generator, count, size) to pictures (count, size, size, 3)."""
Features = Callable[[Tensor], Sequence[Tensor]]
"""(B, 3, H, W) in -1..1 to maps of features (B, C, h, w), with gradients."""


@dataclass(frozen=True)
class CodecPlan:
    """What is trained and for how long."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    size: int = 128
    """Pixels along a side of what is trained on: whole pictures, and crops of larger ones."""
    batch: int = 8
    steps: int = 4000
    polish_steps: int = 1000
    critic_width: int = 32
    muon_lr: float = 0.01
    adam_lr: float = 1e-3
    save_every: int = 50
    """Steps between checkpoints and sheets."""
    seed: int = 0


SMOKE = CodecPlan(
    codec=CodecConfig(widths=(8, 8, 8, 8), decoder_blocks=1, levels=4, channels=4, groups=2),
    size=32,
    batch=2,
    steps=4,
    polish_steps=4,
    critic_width=8,
    muon_lr=0.02,
    adam_lr=2e-3,
    save_every=2,
)


def every_render(source: Path) -> str:
    """Everything that has a render, in the form of ``things.txt``. source: the folder that `data.fetch` filled.

    The tokenizer learns on more things than are drawn: it shall also read pictures of others.
    """
    entries = json.loads((source / "emojibase-data" / "en" / "data.json").read_text("utf-8"))
    rendered = {p.stem.replace("-fe0f", "") for p in (source / "fluent-emoji-3d" / "assets").glob("*.webp")}
    # Not couples, who have two skin tones each, nor labels that the form of things.txt cannot hold.
    single = [e for e in entries if not any(isinstance(skin["tone"], list) for skin in e.get("skins", ()))]
    codes = {entry["label"]: entry["hexcode"].lower().replace("-fe0f", "") for entry in single}
    return "\n".join(label for label, code in codes.items() if code in rendered and not set(label) & set(":*=#"))


def draw_scenes(makers: Sequence[Maker]) -> Draw:
    """Random scenes, of each of `makers` as often, and some of them as crops of pictures of twice the size."""

    def one(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
        maker = makers[int(rng.integers(len(makers)))]
        scene = maker.scene(int(rng.integers(2**40)))
        if rng.random() >= LARGE:
            return paint(scene, maker.library, size)
        y, x = rng.integers(0, size + 1, 2)
        return paint(scene, maker.library, 2 * size)[y : y + size, x : x + size]

    cv2.setNumThreads(1)  # the cores are busy with the network
    return lambda rng, count, size: np.stack([one(rng, size) for _ in range(count)])


def train_codec(
    draw: Draw, plan: CodecPlan, folder: Path, say: Callable[[str], None], features: Features | None = None
) -> Codec:
    """Train on what `draw` draws, or resume from `folder`; the averaged weights."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    codec = Codec(plan.codec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = Optimizers([codec], plan.muon_lr, plan.adam_lr)
    checkpoint = Checkpoint(folder / "codec.ckpt", codec, optimizers, rng, plan)
    checkpoint.load()
    errors: list[float] = []
    while checkpoint.step < plan.steps:
        pixels = to_pixels(draw(rng, plan.batch, plan.size))
        raw = codec.encoder(pixels)
        decoded = codec.decoder(codec.quantise(codec.bound(raw)))
        outside = F.relu(raw.abs() - WIDEST).square().mean()
        error = (decoded - pixels).abs().mean()
        likeness = EDGES * edges(decoded, pixels) + FEATURES * unlike(features, decoded, pixels)
        (error + likeness + OUTSIDE * outside).backward()
        optimizers.step((checkpoint.step + 1) / plan.steps)
        checkpoint.advance(0.998)
        errors.append(error.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == plan.steps:
            checkpoint.save()
            held = _held(_averaged(checkpoint, plan), draw, plan, folder / "codec.png")
            say(f"codec {checkpoint.step}/{plan.steps}, mean error {np.mean(errors):.4f} of a range of 2, {held}")
            errors.clear()
    return _averaged(checkpoint, plan)


class Critic(nn.Module):
    """Real or decoded? One answer for each 8x8 pixels, from what is near it. Source: Isola et al. 2017, PatchGAN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3 * 4, width, 3, padding=1)  # of 2x2 pixels
        self.body = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(self.patch(F.pixel_unshuffle(pixels, 2)))


class _Two:
    """Two optimisers that a checkpoint keeps as one."""

    def __init__(self, decoder: Optimizers, critic: torch.optim.Optimizer) -> None:
        self.decoder, self.critic = decoder, critic

    def state_dict(self) -> dict[str, Any]:
        return {"decoder": self.decoder.state_dict(), "critic": self.critic.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.decoder.load_state_dict(state["decoder"])
        self.critic.load_state_dict(state["critic"])


def polish_codec(
    codec: Codec,
    draw: Draw,
    plan: CodecPlan,
    folder: Path,
    say: Callable[[str], None],
    features: Features | None = None,
) -> Codec:
    """Train the decoder of `codec` on, or resume; codes stay what they are. The averaged weights."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    both = nn.ModuleDict({"codec": Codec(plan.codec), "critic": Critic(plan.critic_width)})
    both = both.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ours, critic = both["codec"], both["critic"]
    assert isinstance(ours, Codec)
    ours.load_state_dict(codec.state_dict())
    ours.encoder.requires_grad_(False)
    two = _Two(
        Optimizers([ours.decoder], muon_lr=0.005, adam_lr=5e-4),
        torch.optim.AdamW(critic.parameters(), lr=3e-4, betas=(0.5, 0.9)),
    )
    checkpoint = Checkpoint(folder / "polish.ckpt", both, two, rng, plan)
    checkpoint.load()
    errors: list[float] = []
    while checkpoint.step < plan.polish_steps:
        pixels = to_pixels(draw(rng, plan.batch, plan.size))
        with torch.no_grad():
            codes = ours.encode(pixels)
            wrong = torch.rand(codes.shape) < WRONG * torch.rand(len(codes), 1, 1) * 2
            values = ours.values(
                codes.where(~wrong, torch.randint(plan.codec.codes, codes.shape)), plan.size // plan.codec.scale
            )
        decoded = ours.decoder(values)
        # The critic first, on what the decoder has just drawn; then the decoder against it (hinge loss).
        told = F.relu(1 - critic(pixels)).mean() + F.relu(1 + critic(decoded.detach())).mean()
        told.backward()
        two.critic.step()
        critic.requires_grad_(False)
        error = (decoded - pixels).abs().mean()
        # Until the critic knows something, it is not listened to.
        weight = ADVERSARIAL * min(1.0, checkpoint.step / (plan.polish_steps / 10))
        fooled = -critic(decoded).mean()
        (
            error + EDGES * edges(decoded, pixels) + FEATURES * unlike(features, decoded, pixels) + weight * fooled
        ).backward()
        critic.requires_grad_(True)
        two.critic.zero_grad(set_to_none=True)
        two.decoder.step((checkpoint.step + 1) / plan.polish_steps)
        checkpoint.advance(0.998)
        errors.append(error.item())
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == plan.polish_steps:
            checkpoint.save()
            held = _held(_averaged(checkpoint, plan, "codec."), draw, plan, folder / "polish.png")
            of = f"{checkpoint.step}/{plan.polish_steps}"
            say(f"polish {of}, mean error {np.mean(errors):.4f} of a range of 2, {held}")
            errors.clear()
    return _averaged(checkpoint, plan, "codec.")


def to_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) in 0..255 to (B, 3, H, W) in -1..1, channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def edges(a: Tensor, b: Tensor) -> Tensor:
    """Mean error between the differences of neighbouring pixels, at full and at half resolution."""
    difference = a - b
    total = torch.zeros(())
    for x in (difference, F.avg_pool2d(difference, 2)):
        total = total + (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()
    return total / 2


def unlike(features: Features | None, a: Tensor, b: Tensor) -> Tensor:
    """How far apart the features of `a` are from those of `b`; 0 without a network that has some."""
    if features is None:
        return torch.zeros(())
    with torch.no_grad():
        wanted = [F.normalize(x, dim=1) for x in features(b)]
    found = [F.normalize(x, dim=1) for x in features(a)]
    return torch.stack([(x - y).square().sum(1).mean() for x, y in zip(found, wanted, strict=True)]).mean()


def _averaged(checkpoint: Checkpoint, plan: CodecPlan, prefix: str = "") -> Codec:
    with torch.random.fork_rng():  # a new network draws from the random numbers that are kept
        codec = Codec(plan.codec)
    state = {k.removeprefix(prefix): v for k, v in checkpoint.average.items() if k.startswith(prefix)}
    codec.load_state_dict(state)
    return codec.eval()


@torch.inference_mode()
def _held(codec: Codec, draw: Draw, plan: CodecPlan, path: Path) -> str:
    """Always the same pictures: what is measured on them, and a sheet of the first twelve, originals above."""
    pixels = to_pixels(draw(np.random.default_rng(1), 24, plan.size))
    codes = codec.encode(pixels)
    decoded = codec.decode(codes, plan.size // plan.codec.scale).clamp(-1, 1)
    use = codebook_use(codes, plan.codec)
    rows = torch.cat([torch.cat(list(x[:12]), dim=2) for x in (pixels, decoded)], dim=1)
    Image.fromarray(((rows + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
    most = plan.codec.groups * np.log2(plan.codec.codes)
    signal = 10 * torch.log10(4 / (decoded - pixels).square().mean((1, 2, 3))).mean()
    return (
        f"held out {(decoded - pixels).abs().mean():.4f}, {signal:.1f} dB, "
        f"codes used {min(use.share):.0%}, {sum(use.bits):.1f} of {most:.0f} bits"
    )
