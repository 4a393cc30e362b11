"""Prompt to picture, picture to prompt, and both to another picture, with a token model: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from diptych.engines.files import load_into
from diptych.engines.flow.inputs import mask_of, upright
from diptych.engines.tokens.codec import Codec
from diptych.engines.tokens.decode import Conditioning, PassCallback, State, begin, decode, pass_, write
from diptych.engines.tokens.network import Memory, Tokens, TokensConfig
from diptych.engines.tokens.weights import CODEC, NETWORK, TOKENIZER, read_model
from diptych.errors import InvalidRequest, WeightsError

LONGEST_CAPTION = 24
"""Word pieces of a description at most."""


@dataclass(frozen=True)
class _How:
    passes: int
    guidance: float
    temperature: float
    seed: int


@dataclass(frozen=True)
class Drawing:
    """One picture on its way."""

    state: State
    conditioning: Conditioning
    width: int
    height: int
    kept: tuple[Tensor, Tensor] | None = None
    """A picture and the mask outside of which it is kept, pixel for pixel."""


@dataclass(frozen=True)
class Pipeline:
    """A token model, loaded. Every method is deterministic: the same arguments give the same tensors.

    Pictures are made one at a time, so that a picture does not depend on the company it was made in: matrix products
    round differently for different batch sizes. Pictures in and out are (height, width, 3), uint8, on the CPU.
    """

    network: Tokens
    codec: Codec
    tokenizer: Tokenizer
    identity: str
    """SHA-256 that names the weights exactly."""
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Pipeline:
        """Read a model's folder. Raises WeightsError when a file is missing, truncated, altered or does not fit."""
        model = read_model(folder)
        with torch.device("meta"):
            network, codec = Tokens(model.network), Codec(model.codec)
        load_into(network, folder / NETWORK, device, dtype)
        load_into(codec, folder / CODEC, device, dtype)
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
            raise WeightsError(f"{folder / TOKENIZER} is not a tokenizer: {error}.") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        special(tokenizer)
        return cls(network, codec, tokenizer, model.identity, device, dtype)

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, L) each, on the CPU. Raises InvalidRequest for a prompt that is too long."""
        return tokenize(self.tokenizer, self.network.config, prompts)

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str], codes: Tensor | None = None, height: int = 0) -> Memory:
        """What the network reads of prompts, and of one picture's codes beside each of them. Raises as `tokenize`."""
        ids, mask = (x.to(self.device) for x in self.tokenize(prompts))
        beside = None if codes is None else codes.to(self.device).expand(len(prompts), -1, -1)
        return self.network.encode(ids, mask, beside, height)

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        *,
        width: int,
        height: int,
        passes: int,
        guidance: float,
        seed: int,
        temperature: float = 1.0,
        negative: str | None = None,
        picture: Tensor | None = None,
        mask: Tensor | None = None,
        strength: float | None = None,
        on_step: PassCallback | None = None,
    ) -> Tensor:
        """One picture: (height, width, 3), uint8, on the CPU. At guidance 1 the negative prompt has no say.

        picture: what to start from, of the same size, with one of `mask` (height, width; above 0 where it may change:
        inpainting) and `strength` (0 to 1: the share of positions, drawn by the seed, that is made anew), or both.
        Raises InvalidRequest for a size that is not a multiple of 16 pixels, and for a picture or mask of another.
        """
        codes = self._start(width, height, seed, picture, mask, strength)
        how = _How(passes, guidance, temperature, seed)
        drawn = self._draw(prompt, negative, None, codes, width, height, how, on_step)
        return drawn if picture is None or mask is None else blend(picture, drawn, mask)

    @torch.inference_mode()
    def edit(
        self,
        picture: Tensor,
        instruction: str,
        *,
        passes: int,
        guidance: float,
        seed: int,
        temperature: float = 1.0,
        negative: str | None = None,
        mask: Tensor | None = None,
        on_step: PassCallback | None = None,
    ) -> Tensor:
        """`picture` as `instruction` wants it, of the same size. mask: as above; without it all of it may change."""
        height, width = self._size(picture)
        everything = torch.ones(height, width) if mask is None else mask
        codes = self._start(width, height, seed, picture, everything, None)
        how = _How(passes, guidance, temperature, seed)
        drawn = self._draw(instruction, negative, self.codes(picture), codes, width, height, how, on_step)
        return drawn if mask is None else blend(picture, drawn, mask)

    @torch.inference_mode()
    def describe(self, picture: Tensor) -> str:
        """A short caption of `picture`, (height, width, 3), uint8."""
        height, _ = self._size(picture)
        memory = self.encode([""], self.codes(picture), height // self.codec.config.scale)
        _, first, last = special(self.tokenizer)
        return str(self.tokenizer.decode(write(self.network, memory, first, last, LONGEST_CAPTION)))

    @torch.inference_mode()
    def codes(self, picture: Tensor) -> Tensor:
        """A picture's codes, (1, positions, groups), on the CPU."""
        self._size(picture)
        pixels = picture.to(self.device).permute(2, 0, 1)[None].to(self.dtype) / 127.5 - 1
        return self.codec.encode(pixels).cpu()

    @torch.inference_mode()
    def decode(self, codes: Tensor, width: int, height: int) -> Tensor:
        """Codes (1, positions, groups) of a picture of that size to (height, width, 3), uint8, on the CPU."""
        pixels = self.codec.decode(codes.to(self.device), height // self.codec.config.scale)[0].float().clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu()

    @torch.inference_mode()
    def begin(
        self,
        prompt: str,
        *,
        width: int,
        height: int,
        passes: int,
        guidance: float,
        seed: int,
        temperature: float = 1.0,
        negative: str | None = None,
        picture: Tensor | None = None,
        mask: Tensor | None = None,
        strength: float | None = None,
        edited: bool = False,
    ) -> Drawing:
        """Everything before the first pass; see `__call__`. edited: `prompt` says what is to be done to `picture`."""
        how = _How(passes, guidance, temperature, seed)
        if not edited or picture is None:
            codes, source = self._start(width, height, seed, picture, mask, strength), None
        else:
            everything = torch.ones(height, width) if mask is None else mask
            codes, source = self._start(width, height, seed, picture, everything, None), self.codes(picture)
        kept = None if picture is None or mask is None else (picture, mask)
        return self._begun(prompt, negative, source, codes, width, height, how, kept)

    @torch.inference_mode()
    def step(self, drawing: Drawing) -> Drawing:
        """One pass: a pure function."""
        return replace(drawing, state=pass_(self.network, drawing.state, drawing.conditioning))

    @torch.inference_mode()
    def finish(self, drawing: Drawing, *, likely: bool = False) -> Tensor:
        """(height, width, 3), uint8, on the CPU. likely: before the end, with what is thought most likely by now."""
        drawn = self.decode(drawing.state.likely if likely else drawing.state.codes, drawing.width, drawing.height)
        return drawn if drawing.kept is None else blend(drawing.kept[0], drawn, drawing.kept[1])

    def _begun(
        self,
        prompt: str,
        negative: str | None,
        source: Tensor | None,
        codes: Tensor,
        width: int,
        height: int,
        how: _How,
        kept: tuple[Tensor, Tensor] | None,
    ) -> Drawing:
        rows = height // self.codec.config.scale
        # What is read: the prompt, what guidance leads away from, and beside both the picture that is edited.
        guided = how.guidance != 1.0
        memory = self.encode([prompt, negative or ""] if guided else [prompt], source, rows)
        conditioning = Conditioning(
            memory[:1], memory[1:] if guided else None, (how.guidance,), (how.temperature,), rows
        )
        state = begin(codes, self.network.config.mask, [how.passes], [how.seed])
        return Drawing(state, conditioning, width, height, kept)

    def _draw(
        self,
        prompt: str,
        negative: str | None,
        source: Tensor | None,
        codes: Tensor,
        width: int,
        height: int,
        how: _How,
        on_step: PassCallback | None,
    ) -> Tensor:
        drawing = self._begun(prompt, negative, source, codes, width, height, how, None)
        done = decode(self.network, drawing.state, drawing.conditioning, on_step)
        return self.decode(done, width, height)

    def _start(
        self, width: int, height: int, seed: int, picture: Tensor | None, mask: Tensor | None, strength: float | None
    ) -> Tensor:
        """Codes before the first pass, (1, positions, groups): those of `picture` but where it may change."""
        scale, unknown = self.codec.config.scale, self.network.config.mask
        if width % scale or height % scale or min(width, height) < scale:
            raise InvalidRequest(f"The size is {width}x{height}; this model makes multiples of {scale} pixels.")
        rows, columns = height // scale, width // scale
        if picture is None:
            if mask is not None or strength is not None:
                raise InvalidRequest("A mask or a strength needs a picture to start from.")
            return torch.full((1, rows * columns, self.network.config.groups), unknown)
        if self._size(picture) != (height, width):
            raise InvalidRequest(
                f"The picture to start from is {picture.shape[1]}x{picture.shape[0]}, must be {width}x{height}."
            )
        if mask is None and strength is None:
            raise InvalidRequest("A picture to start from needs a mask or a strength: where, or how much, may change.")
        free = torch.ones(rows * columns, dtype=torch.bool)
        if mask is not None:
            if mask.shape != (height, width):
                raise InvalidRequest(
                    f"The mask is {'x'.join(map(str, mask.shape[::-1]))}, must be {width}x{height}, as the picture is."
                )
            free &= F.max_pool2d(mask.float()[None, None], scale).flatten() > 0
        if strength is not None:
            if not 0 <= strength <= 1:
                raise InvalidRequest(
                    f"The strength is {strength}; it goes from 0, nothing changes, to 1, everything may."
                )
            order = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed))
            free &= order < round(strength * rows * columns)
        return torch.where(free[None, :, None], unknown, self.codes(picture))

    def _size(self, picture: Tensor) -> tuple[int, int]:
        """Height and width of a picture that the codec can read."""
        scale = self.codec.config.scale
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != torch.uint8:
            raise InvalidRequest(
                f"A picture is (height, width, 3), uint8; this is {tuple(picture.shape)}, {picture.dtype}."
            )
        height, width = picture.shape[:2]
        if height % scale or width % scale or not height or not width:
            raise InvalidRequest(f"The picture is {width}x{height}; this model reads multiples of {scale} pixels.")
        return height, width


def read_picture(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """As this engine takes it, (height, width, 3), uint8; stretched to `size` (width, height) where it differs."""
    image = upright(image)
    fitted = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted))


def read_mask(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """(height, width): 1 where the picture may change; see `mask_of`."""
    return mask_of(image, size)[0, 0]


def blend(picture: Tensor, drawn: Tensor, mask: Tensor) -> Tensor:
    """`drawn` where the mask is 1, `picture` where it is 0, and between the two where it is soft; all uint8."""
    return torch.lerp(picture.float(), drawn.float(), mask.float().clamp(0, 1)[..., None]).round().to(torch.uint8)


def special(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Ids of padding, begin and end. Raises WeightsError for a tokenizer that lacks one."""
    pad, first, last = (tokenizer.token_to_id(piece) for piece in ("[PAD]", "[CLS]", "[SEP]"))
    if pad is None or first is None or last is None:
        raise WeightsError("The tokenizer has not all of the pieces [PAD], [CLS] and [SEP].")
    return pad, first, last


def tokenize(tokenizer: Tokenizer, config: TokensConfig, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (B, L) each, L the smallest multiple of `pad_multiple` that holds every prompt.

    Raises InvalidRequest for a prompt of more than `longest` tokens: it is never cut in silence.
    """
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
    for ids, prompt in zip(encoded, prompts, strict=True):
        if len(ids) > config.longest:
            raise InvalidRequest(
                f"The prompt {prompt[:40]!r}... has {len(ids) - 2} word pieces; this model reads at most "
                f"{config.longest - 2} (about {(config.longest - 2) * 3 // 4} words)."
            )
    pad, _, _ = special(tokenizer)
    length = max(-(-len(ids) // config.pad_multiple) * config.pad_multiple for ids in encoded)
    padded = torch.tensor([ids + [pad] * (length - len(ids)) for ids in encoded])
    return padded, padded.ne(pad)
