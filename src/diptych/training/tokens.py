"""The token network learns to draw, to describe and to edit, all of it on codes that were computed once.

Drawing and editing are masked modelling: a share of a picture's codes is hidden, cos(pi/2 u) of them for an even u, and
the network names those from what is left and from what it reads. Describing is naming the next word of a caption.
Most steps draw; the weights are the same for all three, and each helps the others to tell the things apart.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.tokens.codec import Codec
from diptych.engines.tokens.decode import Conditioning, begin, decode, write
from diptych.engines.tokens.network import Tokens, TokensConfig
from diptych.engines.tokens.pipeline import special, tokenize
from diptych.errors import WeightsError
from diptych.training.checkpoint import Checkpoint
from diptych.training.codec import to_pixels
from diptych.training.edits import Edited, Shown
from diptych.training.optim import Optimizers

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


class Source(Protocol):
    """Where pictures come from. Both are functions of the random generator alone."""

    def show(self, rng: np.random.Generator, size: int) -> Shown: ...

    def edit(self, rng: np.random.Generator, size: int) -> Edited: ...


@dataclass(frozen=True)
class TokensPlan:
    """What is trained and for how long."""

    network: TokensConfig = field(default_factory=TokensConfig)
    size: int = 128
    """Pixels along a side."""
    large: int = 256
    """Of the pictures that the last part of the training is also about."""
    pictures: int = 40_000
    """Whose codes are computed once, of `size`; of `large` there are an eighth."""
    edits: int = 8_000
    """Pairs, of `size` and of `large` in the same proportion."""
    shard: int = 1000
    """Pictures in one file of codes."""
    steps: int = 4000
    batch: int = 128
    large_steps: int = 400
    """After `steps`: every other one is about large pictures."""
    large_batch: int = 32
    describing: float = 0.12
    """Share of the steps; as is `editing`. The rest draws."""
    editing: float = 0.13
    caption_dropout: float = 0.1
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    save_every: int = 100
    """Steps between checkpoints and sheets."""
    seed: int = 0


SMOKE = TokensPlan(
    network=TokensConfig(
        vocabulary=64,
        table_width=8,
        codes=16,
        groups=2,
        hidden=16,
        heads=2,
        encoder_layers=1,
        decoder_layers=1,
        axes=(4, 2, 2),
    ),
    size=32,
    large=64,
    pictures=8,
    edits=8,
    shard=4,
    steps=8,
    batch=2,
    large_steps=4,
    large_batch=2,
    describing=0.3,
    editing=0.3,
    save_every=2,
)


@dataclass(frozen=True)
class Cached:
    """Codes and words of one size, in memory."""

    codes: NDArray[np.int16]
    """(N, positions, groups)."""
    captions: list[list[str]]
    descriptions: list[str]
    before: NDArray[np.int16]
    """(M, positions, groups), as `after`."""
    after: NDArray[np.int16]
    instructions: list[list[str]]


def cache_codes(
    codec: Codec, source: Source, plan: TokensPlan, size: int, folder: Path, say: Callable[[str], None]
) -> Cached:
    """Codes of pictures of `size`, computed once, shard after shard: killed, it goes on with the next one.

    Raises WeightsError for shards of another codec or plan.
    """
    part = 1 if size == plan.size else 8
    folder = folder / f"codes-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for kind, total in (("shown", plan.pictures // part), ("edited", plan.edits // part)):
        for index in range(-(-total // plan.shard)):
            path = folder / f"{kind}-{index:04}.npz"
            count = min(plan.shard, total - index * plan.shard)
            if not path.exists():
                rng = np.random.default_rng([plan.seed, size, kind == "edited", index])
                _write_shard(codec, source, kind, rng, size, count, path)
                say(f"codes of {size}x{size}, {kind} {index * plan.shard + count}/{total}")
            shards.append((kind, _read_shard(path, count, codec, size)))
    shown = [s for kind, s in shards if kind == "shown"]
    edited = [s for kind, s in shards if kind == "edited"]
    return Cached(
        np.concatenate([s[0][:, 0] for s in shown]),
        [words[1:] for s in shown for words in s[1]],
        [words[0] for s in shown for words in s[1]],
        np.concatenate([s[0][:, 0] for s in edited]),
        np.concatenate([s[0][:, 1] for s in edited]),
        [words for s in edited for words in s[1]],
    )


def _write_shard(
    codec: Codec, source: Source, kind: str, rng: np.random.Generator, size: int, count: int, path: Path
) -> None:
    pictures: list[NDArray[np.uint8]] = []
    words: list[list[str]] = []
    for _ in range(count):
        if kind == "shown":
            shown = source.show(rng, size)
            pictures.append(shown.picture)
            words.append([shown.description, *shown.captions])
        else:
            edited = source.edit(rng, size)
            pictures += [edited.before, edited.after]
            words.append(list(edited.instructions))
    with torch.inference_mode():
        batches = (np.stack(pictures[i : i + 16]) for i in range(0, len(pictures), 16))
        codes = torch.cat([codec.encode(to_pixels(batch)) for batch in batches]).to(torch.int16)
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary,
        codes=codes.unflatten(0, (count, -1)).numpy(),
        words=np.array(json.dumps(words)),
        codec=np.array(_fingerprint(codec)),
    )
    os.replace(temporary, path)


def _read_shard(path: Path, count: int, codec: Codec, size: int) -> tuple[NDArray[np.int16], list[list[str]]]:
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            codes, words, fingerprint = file["codes"], json.loads(str(file["words"])), str(file["codec"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"The codes in {path} cannot be read: {error}. Remove the file.") from None
    positions = (size // codec.config.scale) ** 2
    if fingerprint != _fingerprint(codec) or codes.shape[0] != count or codes.shape[2] != positions:
        raise WeightsError(f"The codes in {path} are of another codec or plan. Remove the folder to compute them anew.")
    return codes, words


def _fingerprint(codec: Codec) -> str:
    """The encoder decides what codes mean; the decoder may be polished meanwhile."""
    return " ".join(f"{p.double().abs().sum().item():.9e}" for p in codec.encoder.parameters())


class TokensTraining:
    """Everything of a step; `train_tokens` runs it."""

    def __init__(
        self, table: Tensor, tokenizer: Tokenizer, plan: TokensPlan, sizes: dict[int, Cached], folder: Path
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.tokenizer, self.sizes = plan, tokenizer, sizes
        self.pad, self.first, self.last = special(tokenizer)
        self.rng = np.random.default_rng(plan.seed)
        self.network = new_network(plan, table)
        n = self.network
        # What turns codes and places to vectors and back looks like matrices but is embeddings and a head.
        self.optimizers = Optimizers([n], plan.muon_lr, plan.adam_lr, skip=[n.codes, n.place, n.head, n.weigh])
        self.checkpoint = Checkpoint(folder / "tokens.ckpt", n, self.optimizers, self.rng, plan)

    @property
    def total(self) -> int:
        return self.plan.steps + self.plan.large_steps

    def step(self) -> tuple[str, float]:
        """One step; which task it was of, and its loss."""
        plan, rng = self.plan, self.rng
        done = self.checkpoint.step
        large = done >= plan.steps and done % 2 == 0
        cached = self.sizes[plan.large if large else plan.size]
        count = plan.large_batch if large else plan.batch
        chance = rng.random()
        if chance < plan.describing:
            task, loss = "describing", self.describing(cached, count)
        elif chance < plan.describing + plan.editing:
            task, loss = "editing", self.editing(cached, count)
        else:
            task, loss = "drawing", self.drawing(cached, count)
        loss.backward()
        self.optimizers.step((done + 1) / self.total)
        self.checkpoint.advance(0.998)
        return task, loss.item()

    def drawing(self, cached: Cached, count: int) -> Tensor:
        chosen = self.rng.integers(len(cached.codes), size=count)
        prompts = [self._one_of(cached.captions[i]) for i in chosen]
        return self._masked(_tensor(cached.codes[chosen]), prompts, None)

    def editing(self, cached: Cached, count: int) -> Tensor:
        chosen = self.rng.integers(len(cached.after), size=count)
        prompts = [self._one_of(cached.instructions[i]) for i in chosen]
        return self._masked(_tensor(cached.after[chosen]), prompts, _tensor(cached.before[chosen]))

    def describing(self, cached: Cached, count: int) -> Tensor:
        """Cross-entropy of every next word of the description, the end included."""
        chosen = self.rng.integers(len(cached.codes), size=count)
        codes = _tensor(cached.codes[chosen])
        ids, mask = tokenize(self.tokenizer, self.plan.network, [""] * count)
        memory = self.network.encode(ids, mask, codes, math.isqrt(codes.shape[1]))
        words, _ = tokenize(self.tokenizer, self.plan.network, [cached.descriptions[i] for i in chosen])
        words = words[:, : int(words.ne(self.pad).sum(1).max())]
        logits = self.network.next_words(words[:, :-1], memory)
        return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=self.pad)

    def _masked(self, codes: Tensor, prompts: Sequence[str], beside: Tensor | None) -> Tensor:
        """Cross-entropy of the codes that are hidden."""
        prompts = ["" if self.rng.random() < self.plan.caption_dropout else prompt for prompt in prompts]
        ids, mask = tokenize(self.tokenizer, self.plan.network, prompts)
        height = math.isqrt(codes.shape[1])
        share = torch.cos(math.pi / 2 * torch.rand(len(codes), 1, 1))
        hidden = torch.rand(codes.shape) < share
        memory = self.network.encode(ids, mask, beside, height)
        logits = self.network(codes.masked_fill(hidden, self.plan.network.mask), memory, height)
        losses = F.cross_entropy(logits[hidden], codes[hidden], reduction="sum")
        return losses / hidden.sum().clamp_min(1)

    def _one_of(self, ways: Sequence[str]) -> str:
        return ways[int(self.rng.integers(len(ways)))]


def train_tokens(
    codec: Codec,
    source: Source,
    table: Tensor,
    tokenizer: Tokenizer,
    plan: TokensPlan,
    folder: Path,
    say: Callable[[str], None],
) -> Tokens:
    """Compute codes and train, or resume both; the averaged weights. table: (vocabulary, width), see `words.distil`."""
    sizes = {size: cache_codes(codec, source, plan, size, folder, say) for size in (plan.size, plan.large)}
    training = TokensTraining(table, tokenizer, plan, sizes, folder)
    checkpoint = training.checkpoint
    checkpoint.load()
    losses: dict[str, list[float]] = {}
    while checkpoint.step < training.total:
        task, loss = training.step()
        losses.setdefault(task, []).append(loss)
        if checkpoint.step % plan.save_every == 0 or checkpoint.step == training.total:
            checkpoint.save()
            averaged = _averaged(checkpoint, plan, table)
            sheet(averaged, codec, tokenizer, sizes[plan.size], plan, folder / f"tokens-{checkpoint.step:06}.png")
            means = ", ".join(f"{name} {np.mean(values):.4f}" for name, values in sorted(losses.items()))
            caption = describe(averaged, tokenizer, _tensor(sizes[plan.size].codes[:1]))
            said = f"{sizes[plan.size].descriptions[0]!r} described as {caption!r}"
            say(f"tokens {checkpoint.step}/{training.total}, loss of {means}; {said}")
            losses.clear()
    return _averaged(checkpoint, plan, table)


def new_network(plan: TokensPlan, table: Tensor) -> Tokens:
    """Random weights and the distilled words; every layer starts as the identity and the heads say nothing."""
    network = Tokens(plan.network)
    with torch.no_grad():
        network.table.weight.copy_(table)
        for name, p in network.named_parameters():
            if name.endswith(("proj.weight", "down.weight")) or name.startswith(("head.", "word.")):
                p.zero_()
    network.table.requires_grad_(False)  # only words seen in training would move: synonyms would drift apart
    return network


def _averaged(checkpoint: Checkpoint, plan: TokensPlan, table: Tensor) -> Tokens:
    with torch.random.fork_rng():  # a new network draws from the random numbers that are kept
        network = new_network(plan, table)
    network.load_state_dict(checkpoint.average)
    return network.eval()


def _tensor(codes: NDArray[np.int16]) -> Tensor:
    return torch.from_numpy(codes.astype(np.int64))


@torch.inference_mode()
def describe(network: Tokens, tokenizer: Tokenizer, codes: Tensor) -> str:
    """What the network says of one picture's codes (1, positions, groups)."""
    _, first, last = special(tokenizer)
    ids, mask = tokenize(tokenizer, network.config, [""])
    memory = network.encode(ids, mask, codes, math.isqrt(codes.shape[1]))
    return str(tokenizer.decode(write(network, memory, first, last, 24)))


@torch.inference_mode()
def sheet(network: Tokens, codec: Codec, tokenizer: Tokenizer, cached: Cached, plan: TokensPlan, path: Path) -> None:
    """Two rows of drawings, a column for each prompt of SHEET; then eight pairs, before above and edited below."""
    height = plan.size // codec.config.scale
    start = torch.full((len(SHEET), height * height, plan.network.groups), plan.network.mask)

    def drawn(prompts: Sequence[str], beside: Tensor | None, seed: int) -> Tensor:
        ids, mask = tokenize(tokenizer, plan.network, [*prompts, *[""] * len(prompts)])
        memory = network.encode(ids, mask, None if beside is None else beside.repeat(2, 1, 1), height)
        n = len(prompts)
        conditioning = Conditioning(memory[:n], memory[n:], (3.0,) * n, (1.0,) * n, height)
        return decode(network, begin(start[:n], plan.network.mask, [12] * n, [seed] * n), conditioning)

    n = min(len(SHEET), len(cached.before))
    before = _tensor(cached.before[:n])
    rows = [*(drawn(SHEET, None, seed) for seed in range(2)), before]
    rows.append(drawn([ways[0] for ways in cached.instructions[:n]], before, 0))
    pixels = [codec.decode(codes, height).clamp(-1, 1) for codes in rows]
    widest = max(len(p) for p in pixels)
    picture = torch.cat([torch.cat([*p, *[p[0] * 0] * (widest - len(p))], dim=2) for p in pixels], dim=1)
    Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
