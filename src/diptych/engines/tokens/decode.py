"""From masked codes to a picture's codes: one plain loop of parallel passes.

A pass guesses every code that is not known, keeps the guesses it trusts most, and leaves the rest to later passes;
how many are left follows a cosine. It is a pure function of a state on a batch whose members may be at different
passes: what a member draws depends on its seed and its pass alone.
Source: Chang et al., "MaskGIT", 2022, arXiv 2202.04200, section 3.2; guidance as in "Muse", 2023, arXiv 2301.00704.

What is promised of a batch: every member has its own random numbers, and of equally trusted guesses the first in
reading order is kept, so a member's choice depends on nothing but its own logits and seed. Logits themselves are
products of matrices, which round differently for different batch sizes: a choice that hangs by the last bits may fall
otherwise in company. A picture made alone is always the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diptych.engines.tokens.network import Memory, Tokens, join

CHOICE = 4.5
"""Noise added to confidence in the first pass, at temperature 1; it falls to 0 in the last. Source: MaskGIT's code."""


@dataclass(frozen=True)
class State:
    """Where a batch of pictures is. Tuples have one entry per member."""

    codes: Tensor
    """(B, positions, groups), int64, on the CPU; the network's `config.mask` where a code is not known."""
    likely: Tensor
    """The same, with every code that is not known as the last pass thought most likely: what a preview shows."""
    start: tuple[int, ...]
    """How many codes were not known before the first pass."""
    done: tuple[int, ...]
    """Passes that were made."""
    passes: tuple[int, ...]
    """Passes that will have been made in the end."""
    seeds: tuple[int, ...]

    @property
    def finished(self) -> bool:
        return all(done >= passes for done, passes in zip(self.done, self.passes, strict=True))


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over all passes of a batch. Sequences and memories have one entry per member."""

    memory: Memory
    negative: Memory | None
    """What guidance leads away from: logits = l_negative + guidance (l - l_negative). None: one branch a pass."""
    guidance: tuple[float, ...]
    temperature: tuple[float, ...]
    """How much chance has a say; 0 takes the most likely code every time."""
    height: int
    """Positions."""


@dataclass(frozen=True)
class Pass:
    """What a callback sees after a pass."""

    index: int
    """Counts from 1 to `total`."""
    total: int
    codes: Tensor
    """(B, positions, groups); the mask where a code is not known."""
    estimate: Tensor
    """The same with the most likely codes in place of those that are not known."""


PassCallback = Callable[[Pass], Tensor | None]
"""Called after every pass; codes that it returns take the place of the pass's own."""


def begin(codes: Tensor, mask: int, passes: Sequence[int], seeds: Sequence[int]) -> State:
    """The state before the first pass. codes: (B, positions, groups), `mask` where a code shall be drawn."""
    start = tuple(int(n) for n in codes.eq(mask).flatten(1).sum(1))
    return State(codes, codes, start, (0,) * len(codes), tuple(passes), tuple(seeds))


def left(start: int, done: int, passes: int) -> int:
    """How many of `start` codes are still not known after `done` of `passes` passes: a cosine, and none at the end."""
    return math.floor(start * math.cos(math.pi / 2 * done / passes)) if done < passes else 0


def logits_of(network: Tokens, codes: Tensor, conditioning: Conditioning) -> Tensor:
    """Guided logits (B, positions, groups, codes), float32, on the CPU; both branches go through in one batch."""
    c = conditioning
    codes = codes.to(c.memory.states.device)
    if c.negative is None:
        return network(codes, c.memory, c.height).float().cpu()
    both = network(codes.repeat(2, 1, 1), join([c.memory, c.negative]), c.height).float().cpu()
    wanted, unwanted = both.chunk(2)
    return torch.lerp(unwanted, wanted, torch.tensor(c.guidance)[:, None, None, None])


@torch.inference_mode()
def pass_(network: Tokens, state: State, conditioning: Conditioning) -> State:
    """One pass. Nothing is changed in place; members that are finished stay as they are."""
    mask = network.config.mask
    logits = logits_of(network, state.codes, conditioning)
    codes, likely = state.codes.clone(), state.likely.clone()
    for i, (done, passes) in enumerate(zip(state.done, state.passes, strict=True)):
        if done >= passes:
            continue
        codes[i], likely[i] = _choose(
            logits[i],
            state.codes[i],
            mask,
            keep=left(state.start[i], done + 1, passes),
            temperature=conditioning.temperature[i],
            noise=CHOICE * (1 - (done + 1) / passes),
            generator=_generator(state.seeds[i], done),
        )
    advanced = tuple(min(done + 1, passes) for done, passes in zip(state.done, state.passes, strict=True))
    return replace(state, codes=codes, likely=likely, done=advanced)


def _choose(
    logits: Tensor, codes: Tensor, mask: int, *, keep: int, temperature: float, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one member's unknown codes, mask `keep` of them again; the codes, and the most likely ones."""
    unknown = codes.eq(mask)
    chances = logits.log_softmax(-1)
    drawn = (logits + temperature * gumbel(logits.shape, generator)).argmax(-1)
    trust = chances.gather(-1, drawn[..., None])[..., 0] + temperature * noise * gumbel(codes.shape, generator)
    trust = trust.masked_fill(~unknown, math.inf)  # what is known stays
    order = trust.flatten().argsort(descending=True, stable=True)  # of equals the first in reading order
    again = torch.zeros(codes.numel(), dtype=torch.bool)
    again[order[len(order) - keep :]] = keep > 0
    again = again.view_as(codes) & unknown
    filled = torch.where(unknown, drawn, codes)
    likely = torch.where(again, chances.argmax(-1), filled)
    return filled.masked_fill(again, mask), likely


def gumbel(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise that makes the largest of noisy log probabilities a draw from them."""
    uniform = torch.rand(tuple(shape), generator=generator).clamp_(1e-9, 1 - 1e-7)
    return uniform.log_().neg_().log_().neg_()


def _generator(seed: int, done: int) -> torch.Generator:
    """Random numbers of one member's pass, drawn on the CPU: every device starts alike."""
    # A generator of its own for each pass: a pass can be made again, and a picture gone on with, from its state alone.
    mixed = (seed * 0x9E3779B97F4A7C15 + (done + 1) * 0xBF58476D1CE4E5B9) & 0x7FFF_FFFF_FFFF_FFFF
    return torch.Generator().manual_seed(mixed)


def decode(network: Tokens, state: State, conditioning: Conditioning, on_pass: PassCallback | None = None) -> Tensor:
    """All passes: the codes of the finished pictures, (B, positions, groups)."""
    while not state.finished:
        state = pass_(network, state, conditioning)
        if on_pass is not None:
            changed = on_pass(Pass(max(state.done), max(state.passes), state.codes, state.likely))
            state = state if changed is None else replace(state, codes=changed)
    return state.codes


@torch.inference_mode()
def write(network: Tokens, memory: Memory, first: int, last: int, longest: int) -> list[int]:
    """The likeliest caption of one picture, word piece by word piece, without the marks `first` and `last`."""
    ids = [first]
    while len(ids) <= longest:
        word = int(network.next_words(torch.tensor([ids], device=memory.states.device), memory)[0, -1].argmax())
        if word == last:
            break
        ids.append(word)
    return ids[1:]
