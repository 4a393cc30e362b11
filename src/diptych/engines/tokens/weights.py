"""A token model's folder on disk: `model.json`, two safetensors files and a tokenizer. See `engines.files`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diptych.engines.files import config_from, read_description, write_folder
from diptych.engines.tokens.codec import CodecConfig
from diptych.engines.tokens.network import TokensConfig

NETWORK, CODEC, TOKENIZER = "network.safetensors", "codec.safetensors", "tokenizer.json"


@dataclass(frozen=True)
class ModelFile:
    """What `model.json` says."""

    network: TokensConfig
    codec: CodecConfig
    identity: str
    """SHA-256 of `model.json`."""


def read_model(folder: Path) -> ModelFile:
    """Read `model.json` and check every file it lists. Raises WeightsError: missing, truncated or altered."""
    return read_description(folder, (NETWORK, CODEC, TOKENIZER), _model)


def _model(content: Mapping[str, Any], identity: str) -> ModelFile:
    network, codec = config_from(TokensConfig, content["tokens"]), config_from(CodecConfig, content["codec"])
    if (network.codes, network.groups) != (codec.codes, codec.groups):
        raise ValueError(
            f"the network reads {network.groups} codes of {network.codes} values for each position, "
            f"the codec writes {codec.groups} of {codec.codes}"
        )
    return ModelFile(network, codec, identity)


def write_model(
    folder: Path,
    *,
    network: tuple[TokensConfig, Mapping[str, Tensor]],
    codec: tuple[CodecConfig, Mapping[str, Tensor]],
    tokenizer: str,
    settings: Mapping[str, Any],
    eight_bits: bool = True,
) -> None:
    """Write a model's folder, matrices in 8 bits. settings: what a request may set, in the catalogue's form."""
    write_folder(
        folder,
        {NETWORK: network[1], CODEC: codec[1]},
        {TOKENIZER: tokenizer},
        {
            "engine": "tokens",
            "network": "tokens",
            "tokens": dataclasses.asdict(network[0]),
            "codec": dataclasses.asdict(codec[0]),
            "settings": settings,
        },
        eight_bits=eight_bits,
    )
