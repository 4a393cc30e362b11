"""Strips must give the picture that one piece gives, in the memory that the plan says."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diptych.engines.flow import strips
from diptych.engines.flow.autoencoder import FLUX2, Autoencoder, AutoencoderConfig
from diptych.errors import InvalidRequest

SHAPE = {"channels": 8, "multipliers": (1, 2, 4, 4), "latent_channels": 4, "norm_groups": 4}
CONFIGS = [AutoencoderConfig(**SHAPE), AutoencoderConfig(**SHAPE, quant_convolutions=False, batch_norm=False)]


def module(config: AutoencoderConfig) -> Autoencoder:
    """Random weights; norms and statistics too, as ones and zeros would hide a mix-up."""
    torch.manual_seed(0)
    made = Autoencoder(config)
    for name, parameter in made.named_parameters():
        if "norm" in name and name.endswith("weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    if config.batch_norm:
        made.bn.running_mean.normal_()
        made.bn.running_var.uniform_(0.5, 2)
    return made.eval()


MODULES = [module(config) for config in CONFIGS]
EXACT = [module(config).double() for config in CONFIGS]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 90))
@torch.inference_mode()
def test_every_height_and_strip_gives_the_same(which: int, height: int, width: int, rows: int) -> None:
    """In float64, where what is left of a difference is not rounding."""
    made = EXACT[which]
    latents = torch.randn(2, 16, height, width, dtype=torch.float64)
    assert relative(strips.decode(made, latents, rows), made.decode(latents)) < 1e-12
    pixels = torch.rand(2, 3, 16 * height, 16 * width, dtype=torch.float64) * 2 - 1
    assert relative(strips.encode(made, pixels, rows), made.encode(pixels)) < 1e-12


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("which", [0, 1])
@torch.inference_mode()
def test_equal_to_rounding_in_float32(which: int, order: torch.memory_format) -> None:
    """Channels last, one piece itself is 9e-6 from the exact answer; otherwise 2e-6."""
    made = module(CONFIGS[which]).to(memory_format=order)
    tolerance = 1e-5 if order is torch.contiguous_format else 3e-5
    latents, pixels = torch.randn(1, 16, 6, 5), torch.rand(1, 3, 96, 80) * 2 - 1
    for rows in (1, 7, 16, 96):
        assert relative(strips.decode(made, latents, rows), made.decode(latents)) < tolerance
        assert relative(strips.encode(made, pixels, rows), made.encode(pixels)) < tolerance


@torch.inference_mode()
def test_bfloat16_is_as_near_as_one_piece() -> None:
    made, exact = module(CONFIGS[0]).to(torch.bfloat16), module(CONFIGS[0]).to(torch.bfloat16).double()
    latents = torch.randn(1, 16, 4, 4).to(torch.bfloat16)
    expected = exact.decode(latents.double())
    whole, parts = (relative(x.double(), expected) for x in (made.decode(latents), strips.decode(made, latents, 8)))
    assert parts < 1.5 * whole


@torch.inference_mode()
def test_queries_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "MOST_SCORES", 1)  # one row of queries at a time
    latents = torch.randn(1, 16, 3, 4, dtype=torch.float64)
    assert relative(strips.decode(EXACT[0], latents, 64), EXACT[0].decode(latents)) < 1e-12


@torch.inference_mode()
def test_the_input_is_left_alone() -> None:
    latents, pixels = torch.randn(1, 16, 3, 4), torch.rand(1, 3, 48, 64)
    before = latents.clone(), pixels.clone()
    strips.decode(MODULES[1], latents, 8)
    strips.encode(MODULES[1], pixels, 8)
    assert torch.equal(latents, before[0])
    assert torch.equal(pixels, before[1])


@torch.inference_mode()
def test_no_rows_is_one_piece() -> None:
    latents, pixels = torch.randn(1, 16, 2, 2), torch.rand(1, 3, 32, 32)
    assert torch.equal(strips.decode(MODULES[0], latents, None), MODULES[0].decode(latents))
    assert torch.equal(strips.encode(MODULES[0], pixels, None), MODULES[0].encode(pixels))


def test_rows_are_as_many_as_fit() -> None:
    need = {r: strips.decode_bytes(FLUX2, 1024, 1024, r, torch.bfloat16) for r in (None, *strips.STRIP_ROWS)}
    assert sorted(need.values(), reverse=True) == list(need.values())
    assert need[8] < need[None] / 2
    for rows, size in need.items():
        assert strips.rows_for(FLUX2, 1024, 1024, size, torch.bfloat16) == rows
    with pytest.raises(InvalidRequest, match=r"1024x1024 pixels takes at least \d+\.\d+ GB"):
        strips.rows_for(FLUX2, 1024, 1024, need[8] - 1, torch.bfloat16)


MEASURED = """
import ctypes, sys, torch
from diptych.engines.compute import forget_peak, peak_memory
from diptych.engines.flow import strips
from diptych.engines.flow.autoencoder import Autoencoder, AutoencoderConfig

name, side, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None
torch.set_num_threads(1)
config = AutoencoderConfig(channels=64, multipliers=(1, 2, 4), blocks_per_level=1)
made = Autoencoder(config).eval().requires_grad_(False)
shape = (lambda s: (1, 128, s // 8, s // 8)) if name == "decode" else (lambda s: (1, 3, s, s))
run, plan = getattr(strips, name), getattr(strips, f"{name}_bytes")
run(made, torch.zeros(shape(64)), rows)  # what torch sets up once
given = torch.randn(shape(side))
ctypes.CDLL(None).malloc_trim(0)  # what was freed and is still resident would be used again, uncounted
cpu = torch.device("cpu")
forget_peak(cpu)
before = peak_memory(cpu)
run(made, given, rows)
print((peak_memory(cpu) - before) / plan(config, side, side, rows, torch.float32))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is only reset on Linux")
@pytest.mark.parametrize(
    ("name", "side", "rows"),
    # Strips on a larger picture: the C library keeps up to 32 MB of freed strips, which must be small beside the rest.
    [("decode", 1024, 32), ("decode", 512, 0), ("encode", 512, 16), ("encode", 512, 0)],
)
def test_memory_is_what_the_plan_says(name: str, side: int, rows: int) -> None:
    command = [sys.executable, "-c", MEASURED, name, str(side), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1, abs=0.1)
