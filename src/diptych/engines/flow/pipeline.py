"""Prompt to picture with a flow model: tensors in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from diptych.engines.flow.autoencoder import Autoencoder
from diptych.engines.flow.flux2 import Flux2, positions, rotary_tables
from diptych.engines.flow.sampling import Conditioning, StepCallback, denoise
from diptych.engines.flow.schedule import schedule
from diptych.engines.flow.text import TableEncoder, tokenize
from diptych.engines.flow.weights import AUTOENCODER, TEXT, TOKENIZER, TRANSFORMER, load_into, read_model
from diptych.errors import WeightsError


@dataclass(frozen=True)
class Pipeline:
    """A flow model, loaded. Every method is deterministic: the same arguments give the same tensors.

    Pictures are made one at a time, so that a picture does not depend on the company it was made in: matrix products
    round differently for different batch sizes.
    """

    transformer: Flux2
    autoencoder: Autoencoder
    text: TableEncoder
    tokenizer: Tokenizer
    mu: float
    identity: str
    """SHA-256 that names the weights exactly."""
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Pipeline:
        """Read a model's folder. Raises WeightsError when a file is missing, truncated, altered or does not fit."""
        model = read_model(folder)
        with torch.device("meta"):
            transformer = Flux2(model.transformer)
            autoencoder = Autoencoder(model.autoencoder)
            text = TableEncoder(model.text)
        for module, name in ((transformer, TRANSFORMER), (autoencoder, AUTOENCODER), (text, TEXT)):
            load_into(module, folder / name, device, dtype)
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
            raise WeightsError(f"{folder / TOKENIZER} is not a tokenizer: {error}.") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(transformer, autoencoder, text, tokenizer, model.mu, model.identity, device, dtype)

    def noise(self, seed: int, width: int, height: int) -> Tensor:
        """What a picture starts from: (1, tokens, channels), float32, drawn on the CPU: every device starts alike."""
        scale = self.autoencoder.config.scale
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(
            1, self.autoencoder.config.packed_channels, height // scale, width // scale, generator=generator
        )
        return drawn.flatten(2).mT.to(self.device)

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, L) each, on the CPU. Raises InvalidRequest for a prompt that is too long."""
        return tokenize(self.tokenizer, self.text.config, prompts)

    @torch.inference_mode()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Projected text, (B, L, hidden); padded to a common length. Raises as `tokenize` does."""
        ids, mask = self.tokenize(prompts)
        return self.transformer.project_text(self.text(ids.to(self.device), mask.to(self.device)))

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        *,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        seed: int,
        negative: str | None = None,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """One picture: (height, width, 3), uint8, on the CPU. At guidance 1 the negative prompt has no say."""
        config = self.transformer.config
        scale = self.autoencoder.config.scale
        # 1. Text: the prompt, and what guidance leads away from.
        guided = guidance != 1.0
        text = self.encode_text([prompt, negative or ""] if guided else [prompt])
        # 2. Positions of [text, image] and their rotations: once for all steps.
        at = positions(text.shape[1], height // scale, width // scale).to(self.device)
        rotary = rotary_tables(at, config.axes, config.theta)
        conditioning = Conditioning(text[:1], text[1:] if guided else None, rotary, guidance)
        # 3. From noise to latents.
        times = schedule(steps, self.mu)
        latents = denoise(self.transformer, self.noise(seed, width, height), times, conditioning, on_step)
        # 4. Latents to pixels.
        return self.decode(latents, width, height)

    @torch.inference_mode()
    def decode(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Packed latents (1, tokens, channels) to (height, width, 3), uint8, on the CPU."""
        scale = self.autoencoder.config.scale
        grid = latents.to(self.dtype).mT.unflatten(-1, (height // scale, width // scale))
        pixels = self.autoencoder.decode(grid)[0].float().clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu()
