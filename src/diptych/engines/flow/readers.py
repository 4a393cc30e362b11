"""What reads prompts for a flow model: the built-in table encoder, or the released text encoders with their cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer

from diptych.engines.flow.text import TableEncoder, TableEncoderConfig, tokenize
from diptych.engines.flow.weights import TEXT, TOKENIZER, load_into
from diptych.engines.text.cache import CachedEncoder, EmbeddingCache
from diptych.engines.text.encoders import TextEncoder, TextStates
from diptych.errors import WeightsError


class Text(Protocol):
    """Prompts to hidden states."""

    def check(self, prompts: Sequence[str]) -> None:
        """Raise InvalidRequest for a prompt that is too long. Needs no weights."""
        ...

    def encode_each(self, prompts: Sequence[str]) -> list[TextStates]:
        """Hidden states (1, L, width) of each prompt, and what is pooled (1, width), where there is such a thing."""
        ...

    def release(self) -> None:
        """Let the weights go; the next prompt reads them again."""
        ...


@dataclass(frozen=True)
class TableText:
    """The encoder with its tokenizer: prompts to hidden states."""

    encoder: TableEncoder
    tokenizer: Tokenizer
    device: torch.device

    @classmethod
    def load(cls, folder: Path, config: TableEncoderConfig, device: torch.device, dtype: torch.dtype) -> TableText:
        """From a model's folder of our own. Raises WeightsError."""
        with torch.device("meta"):
            encoder = TableEncoder(config)
        load_into(encoder, folder / TEXT, device, dtype)
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
            raise WeightsError(f"{folder / TOKENIZER} is not a tokenizer: {error}.") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(encoder, tokenizer, device)

    def check(self, prompts: Sequence[str]) -> None:
        """Raise InvalidRequest for a prompt that is too long."""
        tokenize(self.tokenizer, self.encoder.config, prompts)

    def encode_each(self, prompts: Sequence[str]) -> list[TextStates]:
        """Hidden states (1, L, width) of each; padded to a common length."""
        ids, mask = tokenize(self.tokenizer, self.encoder.config, prompts)
        hidden = self.encoder(ids.to(self.device), mask.to(self.device))
        return [TextStates(one) for one in hidden.split(1)]

    def release(self) -> None:
        """It is small, and stays."""


@dataclass(frozen=True)
class CachedText:
    """A text encoder with its cache."""

    encoder: TextEncoder
    cache: EmbeddingCache | None

    def check(self, prompts: Sequence[str]) -> None:
        self.encoder.check(prompts)

    def encode_each(self, prompts: Sequence[str]) -> list[TextStates]:
        return CachedEncoder(self.encoder, self.cache).encode_each(prompts)

    def release(self) -> None:
        self.encoder.release()
