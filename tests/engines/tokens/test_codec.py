"""Pixels to codes and back: what rounding, spelling and sizes promise."""

from __future__ import annotations

import pytest
import torch

from diptych.engines.tokens.codec import Codec, CodecConfig, codebook_use
from tests.engines.tokens.conftest import CODEC, codec


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 16), (64, 96)])
@torch.inference_mode()
def test_any_multiple_of_sixteen_goes_to_codes_and_back(height: int, width: int) -> None:
    made = codec()
    codes = made.encode(torch.rand(2, 3, height, width) * 2 - 1)
    assert codes.shape == (2, height // 16 * (width // 16), CODEC.groups)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < CODEC.codes
    assert made.decode(codes, height // 16).shape == (2, 3, height, width)


@torch.inference_mode()
def test_decoding_the_codes_is_what_training_sees() -> None:
    made, pixels = codec(), torch.rand(2, 3, 48, 32) * 2 - 1
    torch.testing.assert_close(made.decode(made.encode(pixels), 3), made(pixels))


@pytest.mark.parametrize("config", [CODEC, CodecConfig(widths=(4, 4), levels=5, channels=6, groups=3)])
@torch.inference_mode()
def test_every_code_is_what_its_values_round_to(config: CodecConfig) -> None:
    made = Codec(config)
    codes = torch.arange(config.codes).repeat(config.groups, 1).T[None]  # (1, codes, groups)
    values = made.values(codes, 1)
    assert values.abs().max() == 1
    made.encoder = torch.nn.Identity()  # type: ignore[assignment]  # which says the values themselves
    made.bound = lambda raw: raw  # type: ignore[method-assign]
    assert torch.equal(made.encode(values), codes)
    torch.testing.assert_close(made.quantise(values), values)
    assert len(values[0].flatten(1).mT.unique(dim=0)) == config.codes


def test_the_gradient_passes_the_rounding() -> None:
    made = Codec(CODEC)
    made(torch.rand(1, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.encoder.conv_in.parameters())


def test_use_counts_codes() -> None:
    codes = torch.stack([torch.arange(16), torch.zeros(16, dtype=torch.long)], dim=-1)[None]
    use = codebook_use(codes, CODEC)
    assert use.share == (1, 1 / 16)
    assert use.bits == pytest.approx((4, 0))


def test_a_shape_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="groups, 3, must divide channels, 8"):
        CodecConfig(groups=3)
    with pytest.raises(ValueError, match="at least 2"):
        CodecConfig(levels=1)
    assert CodecConfig().scale == 16
