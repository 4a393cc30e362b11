"""Encode and decode by strips of rows: the same picture as in one piece, in far less memory.

The autoencoder's convolutions look one row up and one row down, so a strip of rows with one row on either side (its
halo) gives the strip's own rows exactly. Two things look at the whole picture: GroupNorm, whose statistics are gathered
strip by strip in float32 before they are used, and the attention in the middle, whose queries are independent of each
other and are taken in chunks. Nothing is blended and no statistic is local, so there are no seams and no changes of
colour, which is what tiles are known for.

What stays in memory is one map of activations per layer: the input of a residual block and its first convolution. All
else is as large as a strip. `decode_bytes` and `encode_bytes` say how much that is; `rows_for` picks the rows.
The idea, without this code: flux3-mlx 0.1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import AttentionBlock, Autoencoder, AutoencoderConfig, Level, Middle, ResnetBlock
from diptych.errors import InvalidRequest

MOST_SCORES = 2**24
"""Of queries against keys at a time, where the device has no kernel that keeps scores out of memory."""

STRIP_ROWS = (256, 128, 64, 32, 16, 8)
"""What `rows_for` chooses from: the fewer rows, the more of the work is done twice, at the halos (2 / rows)."""
# Copies of a strip's values around a convolution, as input and as output; copies of the widest map when there are no
# strips. Fitted to peak resident memory in float32: 128 channels at 256x256 to 768x768, 64 channels at 512x512.
COPIES_IN, COPIES_OUT = 5.0, 2.5
WHOLE_DECODER, WHOLE_ENCODER = 4.2, 4.8
SLACK = 16_000_000
"""Bytes of freed strips that the C library keeps for the next ones."""

Layer = Callable[[Tensor, int], Tensor]
"""From one map of activations, which is lost, to the next; with the rows of a strip."""
Prepare = Callable[[Tensor], Tensor]
"""What is done to every value before a convolution: GroupNorm and SiLU."""


def decode(autoencoder: Autoencoder, latents: Tensor, rows: int | None) -> Tensor:
    """As `Autoencoder.decode`, `rows` rows at a time at every resolution: equal to it but for rounding.

    rows: see `rows_for`; None decodes in one piece.
    latents: (B, 4 C, h, w), normalised and packed. Returns (B, 3, 16 h, 16 w), about -1..1, not clamped.
    """
    decoder = autoencoder.decoder
    with torch.inference_mode():
        if rows is None:
            return autoencoder.decode(latents)
        z = autoencoder.unpack(latents)
        if hasattr(decoder, "post_quant_conv"):
            z = decoder.post_quant_conv(z)
        x = _convolve(z, decoder.conv_in, rows)
        for layer in chain(_middle(decoder.mid), *(_level(level) for level in reversed(decoder.up))):
            x = layer(x, rows)  # one name for all maps: each is freed as soon as the next is there
        return _convolve(x, decoder.conv_out, rows, _norm_silu(x, decoder.norm_out, rows))


def encode(autoencoder: Autoencoder, pixels: Tensor, rows: int | None) -> Tensor:
    """As `Autoencoder.encode` without noise, `rows` rows at a time at every resolution: equal to it but for rounding.

    rows: see `rows_for`; None encodes in one piece.
    pixels: (B, 3, H, W) in -1..1. Returns (B, 4 C, H/16, W/16), normalised and packed.
    """
    encoder = autoencoder.encoder
    with torch.inference_mode():
        if rows is None:
            return autoencoder.encode(pixels)
        x = _convolve(pixels, encoder.conv_in, rows)
        for layer in chain(*(_level(level) for level in encoder.down), _middle(encoder.mid)):
            x = layer(x, rows)
        z = _convolve(x, encoder.conv_out, rows, _norm_silu(x, encoder.norm_out, rows))
        if hasattr(encoder, "quant_conv"):
            z = encoder.quant_conv(z)
        return autoencoder.pack(z.chunk(2, dim=1)[0])


def decode_bytes(
    config: AutoencoderConfig, height: int, width: int, rows: int | None, dtype: torch.dtype, batch: int = 1
) -> int:
    """What `decode` needs at its peak beside weights and latents, for pictures of `height` x `width` pixels.

    Counted from the layers' sizes, with factors for the copies around a convolution that were measured on a CPU;
    within 10 % there in float32 (tests), an upper estimate on devices whose convolutions make fewer copies.
    """
    widths = [config.channels * m for m in config.multipliers]
    most = 0.0
    for i, (c_in, c_out) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True)):
        fine, wide = (height >> i) * (width >> i), width >> i
        if i + 1 < len(widths):  # what the coarser level's doubling makes is as large as this level
            most = max(most, _layer_size(c_in, c_in, fine / 4, fine, wide, rows))
        most = max(most, _layer_size(c_in, c_out, fine, fine, wide, rows))
    size = batch * dtype.itemsize * most
    return int(WHOLE_DECODER * size if rows is None else size + SLACK)


def encode_bytes(
    config: AutoencoderConfig, height: int, width: int, rows: int | None, dtype: torch.dtype, batch: int = 1
) -> int:
    """What `encode` needs at its peak beside weights and pixels; as `decode_bytes`, but up to a quarter too
    much for strips of 64 rows and more."""
    widths = [config.channels * m for m in config.multipliers]
    most = 0.0
    for i, (c_in, c_out) in enumerate(zip([widths[0], *widths[:-1]], widths, strict=True)):
        fine, wide = (height >> i) * (width >> i), width >> i
        most = max(most, _layer_size(c_in, c_out, fine, fine, wide, rows))
    return int(batch * dtype.itemsize * most * (WHOLE_ENCODER if rows is None else 1))


def _layer_size(c_in: int, c_out: int, area_in: float, area_out: float, width: int, rows: int | None) -> float:
    """Values held while one layer runs: its maps, and what a strip of it takes. Without strips: its widest map."""
    if rows is None:
        return max(c_in, c_out) * area_out
    strip = min(rows + 2, area_out / width) * width
    return c_in * area_in + c_out * area_out + strip * (COPIES_IN * c_in + COPIES_OUT * c_out)


def rows_for(config: AutoencoderConfig, height: int, width: int, limit: int, dtype: torch.dtype) -> int | None:
    """Rows of a strip with which a picture of `height` x `width` pixels decodes in `limit` bytes; None is one piece.

    Raises InvalidRequest when even the thinnest strips need more.
    """
    for rows in (None, *STRIP_ROWS):
        if decode_bytes(config, height, width, rows, dtype) <= limit:
            return rows
    least = decode_bytes(config, height, width, STRIP_ROWS[-1], dtype)
    raise InvalidRequest(
        f"A picture of {width}x{height} pixels takes at least {least / 1e9:.2f} GB to decode in {dtype}; "
        f"{limit / 1e9:.2f} GB are free for it."
    )


def _middle(middle: Middle) -> Iterator[Layer]:
    yield partial(_resnet, middle.block_1)
    yield partial(_attention, middle.attn_1)
    yield partial(_resnet, middle.block_2)


def _level(level: nn.Module) -> Iterator[Layer]:
    assert isinstance(level, Level)
    for block in level.block:
        assert isinstance(block, ResnetBlock)
        yield partial(_resnet, block)
    if level.then == "down":
        yield partial(_downsample, level.downsample.conv)
    elif level.then == "up":
        yield partial(_upsample, level.upsample.conv)


def _resnet(block: ResnetBlock, x: Tensor, rows: int) -> Tensor:
    """Two maps at most: `x`, which is lost, and the first convolution, which the second one overwrites."""
    h = _convolve(x, block.conv1, rows, _norm_silu(x, block.norm1, rows))
    prepare = _norm_silu(h, block.norm2, rows)
    if not hasattr(block, "nin_shortcut"):
        for first, last in _strips(h.shape[2], rows):
            x[:, :, first:last] += _strip(h, block.conv2, first, last, prepare)
        return x
    above = h[:, :, :0]  # the row above the strip, as it was before it was overwritten
    for first, last in _strips(h.shape[2], rows):
        below = h[:, :, first : min(last + 1, h.shape[2])]
        strip = torch.cat([above, below], dim=2)
        above = h[:, :, last - 1 : last].clone()
        edges = (1 - int(first > 0), 1 - int(last < h.shape[2]))
        h[:, :, first:last] = _padded(prepare(strip), block.conv2, edges) + block.nin_shortcut(x[:, :, first:last])
    return h


def _attention(block: AttentionBlock, x: Tensor, rows: int) -> Tensor:
    """Every query still sees every key: only the queries are taken in turn, as many as leave their scores small."""
    batch, channels, height, width = x.shape
    scale, shift = _affine(x, block.norm, rows)
    k, v = (x.new_empty(batch, 1, height * width, channels) for _ in range(2))
    for first, last in _strips(height, rows):
        normed = _apply(x[:, :, first:last], scale, shift)
        for conv, whole in ((block.k, k), (block.v, v)):
            whole[:, 0, first * width : last * width] = conv(normed).flatten(2).mT
    for first, last in _strips(height, max(1, min(rows, MOST_SCORES // (height * width * width)))):
        q = block.q(_apply(x[:, :, first:last], scale, shift)).flatten(2).mT.contiguous().unsqueeze(1)
        attended = F.scaled_dot_product_attention(q, k, v).squeeze(1).mT
        x[:, :, first:last] += block.proj_out(attended.unflatten(2, (last - first, width)))
    return x


def _downsample(conv: nn.Conv2d, x: Tensor, rows: int) -> Tensor:
    """Stride 2, with a row and a column of zeros at the bottom and on the right."""
    height, width = x.shape[2:]
    out = _new(x, conv, height // 2, width // 2)
    for first, last in _strips(height // 2, rows):
        strip = F.pad(x[:, :, 2 * first : 2 * last + 1], (0, 1, 0, 1 if 2 * last == height else 0))
        out[:, :, first:last] = conv(strip)
    return out


def _upsample(conv: nn.Conv2d, x: Tensor, rows: int) -> Tensor:
    """Nearest neighbours at twice the size, then a convolution."""
    height, width = x.shape[2:]
    out = _new(x, conv, 2 * height, 2 * width)
    for first, last in _strips(height, max(1, rows // 2)):
        top, bottom = int(first > 0), int(last < height)
        doubled = F.interpolate(x[:, :, first - top : last + bottom], scale_factor=2.0, mode="nearest")
        # The halo is one row; the neighbour gave two.
        doubled = doubled[:, :, top : doubled.shape[2] - bottom]
        out[:, :, 2 * first : 2 * last] = _padded(doubled, conv, (1 - top, 1 - bottom))
    return out


def _convolve(x: Tensor, conv: nn.Conv2d, rows: int, prepare: Prepare | None = None) -> Tensor:
    """A 3x3 convolution of prepared values into a new map."""
    height, width = x.shape[2:]
    out = _new(x, conv, height, width)
    for first, last in _strips(height, rows):
        out[:, :, first:last] = _strip(x, conv, first, last, prepare)
    return out


def _strip(x: Tensor, conv: nn.Conv2d, first: int, last: int, prepare: Prepare | None) -> Tensor:
    """Rows `first` to `last` of a 3x3 convolution."""
    top, bottom = int(first > 0), int(last < x.shape[2])
    strip = x[:, :, first - top : last + bottom]
    return _padded(strip if prepare is None else prepare(strip), conv, (1 - top, 1 - bottom))


def _padded(strip: Tensor, conv: nn.Conv2d, edges: tuple[int, int]) -> Tensor:
    """The convolution of a strip, with rows of zeros only where the picture ends: above, below."""
    if edges == (1, 1):
        return F.conv2d(strip, conv.weight, conv.bias, padding=1)
    if any(edges):
        strip = F.pad(strip, (0, 0, *edges))
    return F.conv2d(strip, conv.weight, conv.bias, padding=(0, 1))


def _norm_silu(x: Tensor, norm: nn.GroupNorm, rows: int) -> Prepare:
    scale, shift = _affine(x, norm, rows)
    return lambda strip: F.silu(_apply(strip, scale, shift), inplace=True)


def _apply(strip: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, strip, scale).to(strip.dtype)


def _affine(x: Tensor, norm: nn.GroupNorm, rows: int) -> tuple[Tensor, Tensor]:
    """GroupNorm over the whole of `x` as one factor and one shift per channel: (B, C, 1, 1) each, float32 at least.

    Means and squares of strips are joined pairwise (Chan et al. 1979), which loses nothing where a mean is far from 0.
    """
    batch, channels, height, width = x.shape
    wide = torch.promote_types(x.dtype, torch.float32)
    mean = squares = x.new_zeros(batch, norm.num_groups, dtype=wide)
    seen = 0
    for first, last in _strips(height, rows):
        strip = x[:, :, first:last].to(wide)
        # (B, C, rows, W) to groups of channels, without a copy
        here = strip.unflatten(1, (norm.num_groups, -1))
        variance, centre = torch.var_mean(here, dim=(2, 3, 4), correction=0)
        new = (last - first) * width * (channels // norm.num_groups)
        delta = centre - mean
        mean = mean + delta * (new / (seen + new))
        squares = squares + variance * new + delta.square() * (seen * new / (seen + new))
        seen += new
    scale = torch.rsqrt(squares / seen + norm.eps).repeat_interleave(channels // norm.num_groups, 1)
    shift = -mean.repeat_interleave(channels // norm.num_groups, 1) * scale
    weight, bias = norm.weight.to(wide), norm.bias.to(wide)
    return (scale * weight)[..., None, None], (shift * weight + bias)[..., None, None]


def _strips(height: int, rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def _new(like: Tensor, conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """Room for what `conv` makes, with channels last where its weights have them last."""
    last = conv.weight.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    shape = (len(like), conv.out_channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)
