"""What differs between the members of the FLUX family beside their networks: text, schedule, guidance, inputs.

Read off the network's shape, which is what the files say. Sources: the pipelines of black-forest-labs/flux at 802fb47,
black-forest-labs/flux2 at ab7cca6, and diffusers 0.42.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image

from diptych.engines.flow import inputs
from diptych.engines.flow.detection import TransformerConfig
from diptych.engines.flow.flux1 import Flux1Config
from diptych.engines.flow.flux2 import Flux2Config
from diptych.engines.flow.inputs import Reference
from diptych.engines.flow.latents import NoiseOrder
from diptych.engines.text import encoders
from diptych.engines.text.encoders import Kind


@dataclass(frozen=True)
class Family:
    """How pictures are made with a network."""

    title: str
    schedule: str
    """A rule of `schedule.mu_of`."""
    embedded_guidance: bool
    """The network is told how strongly to follow the prompt; else guidance takes a second pass for what is unwanted."""
    text: Kind
    longest: int | None
    """Tokens of a prompt, where fewer than the text encoder's kind reads."""
    noise: NoiseOrder
    noise_dtype: torch.dtype
    """That noise is drawn in: the same seed in another dtype is another noise."""
    references: Callable[[Sequence[Image.Image]], list[Reference]] | None
    """How reference pictures are sized and placed; None: it takes none beside the picture that is changed."""
    most_references: int = 0
    control: Literal["fill", "picture"] | None = None
    """What it reads beside every image token: a masked picture with its mask, or a picture of edges or depth."""


def _one(images: Sequence[Image.Image]) -> list[Reference]:
    return [inputs.kontext_reference(image) for image in images]


def family_of(config: TransformerConfig) -> Family:
    """The family of a network of the released kinds."""
    if isinstance(config, Flux1Config):
        extra = config.in_channels - config.out_channels
        control: Literal["fill", "picture"] | None = None
        if extra:
            control = "picture" if extra == config.out_channels else "fill"
        return Family(
            title="FLUX.1",
            schedule="flux1" if config.guidance_embedding else "even",
            embedded_guidance=config.guidance_embedding,
            text=encoders.FLUX1,
            longest=None if config.guidance_embedding else 256,
            noise="unpacked",
            noise_dtype=torch.bfloat16,
            references=_one if control is None and config.guidance_embedding else None,
            most_references=1 if control is None and config.guidance_embedding else 0,
            control=control,
        )
    newer = isinstance(config, Flux2Config)
    embedded = isinstance(config, Flux2Config) and config.guidance_embedding
    takes_references = newer or (not isinstance(config, Flux2Config) and config.reference_branch)
    return Family(
        title="FLUX.2" if newer else "FLUX 3",
        schedule="flux2" if newer else "flux3",
        embedded_guidance=embedded,
        text=(encoders.FLUX2_DEV if embedded else encoders.FLUX2_KLEIN) if newer else encoders.FLUX3,
        longest=None,
        noise="packed",
        noise_dtype=torch.bfloat16,
        references=(inputs.flux2_references if newer else inputs.flux3_references) if takes_references else None,
        most_references=10 if takes_references else 0,
    )
