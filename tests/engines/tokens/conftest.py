"""A tiny token model of the real classes with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from diptych.engines.tokens.codec import Codec, CodecConfig
from diptych.engines.tokens.network import Tokens, TokensConfig
from diptych.engines.tokens.pipeline import Pipeline
from diptych.engines.tokens.weights import write_model

CODEC = CodecConfig(widths=(4, 4, 8, 8), decoder_blocks=1, levels=4, channels=4, groups=2)
NETWORK = TokensConfig(
    vocabulary=16,
    table_width=8,
    pad_multiple=4,
    longest=8,
    codes=16,
    groups=2,
    hidden=16,
    heads=2,
    encoder_layers=1,
    decoder_layers=2,
    axes=(4, 2, 2),
)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "apple", "ball", "on", "background", "make", "it"]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))  # noqa: S106
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def network() -> Tokens:
    torch.manual_seed(0)
    made = Tokens(NETWORK).eval()
    made.head.weight.data.mul_(10)  # opinions, so that a choice does not hang by the last bits
    return made


def codec() -> Codec:
    torch.manual_seed(1)
    made = Codec(CODEC).eval()
    made.encoder.conv_out.weight.data.mul_(4)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Written in half precision: what is read back is close to what was written, not equal."""
    made = (NETWORK, network().state_dict()), (CODEC, codec().state_dict())
    write_model(
        tmp_path / "model",
        network=made[0],
        codec=made[1],
        tokenizer=tokenizer().to_str(),
        settings={"size": {"default": [64, 64]}},
        eight_bits=False,
    )
    return tmp_path / "model"


@pytest.fixture
def pipeline(folder: Path) -> Pipeline:
    return Pipeline.load(folder, torch.device("cpu"), torch.float32)


@pytest.fixture
def picture() -> torch.Tensor:
    """Half one colour, half another, with a square in the middle."""
    made = torch.full((64, 64, 3), 200, dtype=torch.uint8)
    made[:, 32:] = torch.tensor([40, 90, 160], dtype=torch.uint8)
    made[20:44, 20:44] = torch.tensor([230, 40, 30], dtype=torch.uint8)
    return made
