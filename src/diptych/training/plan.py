"""The sizes of a training run: one record that says everything."""

from __future__ import annotations

from dataclasses import dataclass, field

from diptych.engines.flow.autoencoder import AutoencoderConfig
from diptych.engines.flow.flux2 import Flux2Config
from diptych.engines.flow.text import TableEncoderConfig


@dataclass(frozen=True)
class Plan:
    """What is trained and for how long.

    The defaults are those of the next built-in model, of scenes at 256x256. docs/builtin-model.md tells how the one
    that is shipped was made, from single things at 128x128.
    """

    size: int = 256
    """Pixels along a side of the finished pictures."""
    crop: int = 128
    """The autoencoder learns most of what it knows on crops of this size, four times cheaper than whole pictures."""
    autoencoder: AutoencoderConfig = field(
        default_factory=lambda: AutoencoderConfig(
            # One normalisation group: with more, a plain background's colour is normalised away (docs/log.md).
            channels=16,
            multipliers=(1, 2, 4, 8, 8),
            blocks_per_level=1,
            latent_channels=32,
            norm_groups=1,
        )
    )
    crop_steps: int = 2800
    crop_batch: int = 8
    whole_steps: int = 200
    whole_batch: int = 4
    polish_steps: int = 400
    """Of the decoder alone, at the end, on whole pictures of the things that are drawn."""
    text: TableEncoderConfig = field(default_factory=TableEncoderConfig)
    flow: Flux2Config = field(
        default_factory=lambda: Flux2Config(
            in_channels=128,
            text_width=192,
            hidden=256,
            heads=4,
            double_blocks=1,
            single_blocks=8,
            axes=(16, 16, 16, 16),
            guidance_embedding=False,
        )
    )
    window: int = 6144
    """Scenes whose latents are at hand at once."""
    first_window: int = 2048
    """Of these, how many are there before the first step."""
    fresh: int = 6
    """Scenes that come with every step; when the window is full the oldest go."""
    flow_steps: int = 6000
    flow_batch: int = 64
    caption_dropout: float = 0.1
    save_every: int = 200
    """Steps between checkpoints and sample sheets."""
    seed: int = 0


SMOKE = Plan(
    size=32,
    crop=16,
    autoencoder=AutoencoderConfig(
        channels=8, multipliers=(1, 1, 1), blocks_per_level=1, latent_channels=4, norm_groups=1
    ),
    crop_steps=4,
    crop_batch=2,
    whole_steps=4,
    whole_batch=2,
    polish_steps=4,
    text=TableEncoderConfig(vocabulary=64, table_width=8, hidden=16, heads=2, layers=1),
    flow=Flux2Config(
        in_channels=16,
        text_width=16,
        hidden=32,
        heads=2,
        double_blocks=1,
        single_blocks=1,
        axes=(4, 4, 4, 4),
        guidance_embedding=False,
    ),
    window=12,
    first_window=8,
    fresh=2,
    flow_steps=6,
    flow_batch=4,
    save_every=2,
)
"""Everything of a training in a few seconds; it learns nothing. The text table is cut to the teacher's vocabulary."""
