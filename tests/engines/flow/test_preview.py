"""Previews are judged by what the decoder makes of the same latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import diptych.engines.flow
from diptych.engines.flow.autoencoder import FLUX1, Autoencoder, AutoencoderConfig
from diptych.engines.flow.preview import Preview
from diptych.engines.flow.weights import AUTOENCODER, load_into, read_model

BUILTIN = Path(diptych.engines.flow.__file__).parent / "builtin"


@pytest.fixture(scope="module")
def builtin() -> Autoencoder:
    with torch.device("meta"):
        autoencoder = Autoencoder(read_model(BUILTIN).autoencoder)
    load_into(autoencoder, BUILTIN / AUTOENCODER, torch.device("cpu"), torch.float32)
    return autoencoder


def scene() -> torch.Tensor:
    """A red disc on blue with a yellow floor: (1, 3, 128, 128) in -1..1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    colours = torch.tensor([[0.1, 0.2, 0.8], [0.9, 0.8, 0.2], [0.9, 0.1, 0.1]])
    which = (y > 0.5).long()
    which[x.square() + y.square() < 0.3] = 2
    return (2 * colours[which] - 1).permute(2, 0, 1)[None]


@torch.inference_mode()
def test_a_preview_looks_like_the_picture(builtin: Autoencoder) -> None:
    latents = builtin.encode(scene())
    decoded = F.avg_pool2d(builtin.decode(latents), 16)[0].permute(1, 2, 0)
    found = Preview.fit(builtin)(latents.flatten(2).mT, 4, 4)
    assert found.dtype == torch.uint8
    assert found.shape == (1, 8, 8, 3)
    correlation = torch.corrcoef(torch.stack([decoded.flatten(), found[0].float().flatten()]))[0, 1]
    assert correlation > 0.9
    for channel in range(3):  # the colours are told apart, not only light from dark
        pair = torch.stack([decoded[..., channel].flatten(), found[0, ..., channel].float().flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.85


def test_the_fit_is_always_the_same(builtin: Autoencoder) -> None:
    torch.manual_seed(1)
    first = Preview.fit(builtin)
    torch.manual_seed(2)
    second = Preview.fit(builtin)
    torch.testing.assert_close(first.weights, second.weights, atol=0, rtol=0)
    torch.testing.assert_close(first.bias, second.bias, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_autoencoders(dtype: torch.dtype) -> None:
    """FLUX.1's packing, an oblong picture, a batch; in the network's dtype."""
    config = AutoencoderConfig(
        channels=8, norm_groups=4, latent_channels=FLUX1.latent_channels, quant_convolutions=False, batch_norm=False
    )
    preview = Preview.fit(Autoencoder(config).to(dtype).eval())
    found = preview(torch.randn(2, 15, 64, dtype=dtype), 3, 5)
    assert found.shape == (2, 6, 10, 3)
    assert preview.weights.shape == (16, 3)
    assert preview.weights.isfinite().all()


@torch.inference_mode()
def test_colours_are_taken_where_they_are(builtin: Autoencoder) -> None:
    """A change of one token's latents changes its 2x2 colours and no others."""
    preview = Preview.fit(builtin)
    latents = torch.zeros(1, 12, 128)
    before = preview(latents, 3, 4)
    latents[0, 6] = 3 * torch.randn(128, generator=torch.Generator().manual_seed(0))
    changed = (preview(latents, 3, 4) != before).any(-1)[0]
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[2:4, 4:6] = True
    assert torch.equal(changed, expected)
