"""The built-in model's text encoder: a table of word vectors and a few transformer layers.

The table holds one vector per piece of BERT's uncased vocabulary: what a sentence encoder (all-MiniLM-L6-v2) says of
that piece alone, reduced to its principal components. Synonyms therefore start out close. Every position, padding
too, also starts from a summary of the whole prompt, so that no token of the picture has to find the one that matters
among many. What stands above the table is trained together with the flow network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.errors import InvalidRequest, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer


@dataclass(frozen=True)
class TableEncoderConfig:
    vocabulary: int = 30522
    table_width: int = 96
    hidden: int = 192
    heads: int = 3
    layers: int = 2
    summaries: int = 3
    """Weighted means of the prompt's word vectors; each learns which words weigh."""
    pad_multiple: int = 16
    """Prompts are padded to a multiple of this many tokens; the flow network attends to the padding."""
    longest: int = 32

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"heads, {self.heads}, must divide hidden, {self.hidden}")
        if self.longest % self.pad_multiple:
            raise ValueError(f"longest, {self.longest}, must be a multiple of pad_multiple, {self.pad_multiple}")


class Layer(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.proj = nn.Linear(hidden, hidden, bias=False)
        self.up = nn.Linear(hidden, 4 * hidden, bias=False)
        self.down = nn.Linear(4 * hidden, hidden, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        qkv = self.qkv(F.layer_norm(x, x.shape[-1:])).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, L, width)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(F.layer_norm(x, x.shape[-1:]))))


class TableEncoder(nn.Module):
    def __init__(self, config: TableEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.vocabulary, config.table_width)
        self.project = nn.Linear(config.table_width, config.hidden, bias=False)
        self.position = nn.Embedding(config.longest, config.hidden)
        self.weigh = nn.Linear(config.table_width, config.summaries, bias=False)
        self.summarise = nn.Linear(config.summaries * config.table_width, config.hidden, bias=False)
        self.layers = nn.ModuleList(Layer(config.hidden, config.heads) for _ in range(config.layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask: (B, L), mask true for words and false for padding. Returns (B, L, hidden)."""
        words = self.table(ids)
        weights = self.weigh(words).masked_fill(~mask[..., None], float("-inf")).softmax(dim=1)  # (B, L, summaries)
        summary = self.summarise((weights.mT @ words).flatten(1))
        x = self.project(words) + self.position.weight[: ids.shape[1]] + summary[:, None]
        keys = mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, keys)
        return F.layer_norm(x, x.shape[-1:])


def tokenize(tokenizer: Tokenizer, config: TableEncoderConfig, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
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
    multiple = config.pad_multiple
    length = max(-(-len(ids) // multiple) * multiple for ids in encoded)
    pad = tokenizer.token_to_id("[PAD]")
    if pad is None:
        raise WeightsError("The tokenizer has no piece [PAD], which shorter prompts are filled with.")
    padded = torch.tensor([ids + [pad] * (length - len(ids)) for ids in encoded])
    return padded, padded.ne(pad)
