"""Latents of scenes, computed once: a window that slides over the scenes of a maker, kept on disk.

Encoding a picture costs as much as several steps of training on it, so each is used many times, and a few new ones come
with every step. Scene `i` lies in slot `i` modulo the capacity; what a slot holds is written beside it, so a run that
was killed finds again what it had.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from diptych.engines.flow.autoencoder import Autoencoder
from diptych.training.scenes import Maker

AT_ONCE = 8
"""Pictures that are encoded in one batch."""


class Window:
    """Raw (not yet normalised) packed latents of `capacity` scenes of `size` pixels: (capacity, C, h, w), float16."""

    def __init__(self, folder: Path, maker: Maker, autoencoder: Autoencoder, size: int, capacity: int) -> None:
        config = autoencoder.config
        side = size // config.scale
        self.folder = folder
        self.maker, self.autoencoder, self.size, self.capacity = maker, autoencoder, size, capacity
        shape = (capacity, config.packed_channels, side, side)
        self._values = _mapped(folder / "latents.npy", shape, np.float16)
        self._scene = _mapped(folder / "latents-scenes.npy", (capacity,), np.int64)  # one more than the number; 0: none

    def cover(self, first: int, count: int, say: Callable[[str], None] | None = None) -> None:
        """Compute what is missing of scenes `first` to `first + count - 1`. say: told now and then how far it is."""
        missing = [i for i in range(first, first + count) if self._scene[i % self.capacity] != i + 1]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            pictures = np.concatenate([self.maker.batch(i, 1, self.size).normalised() for i in part])
            for i, latents in zip(part, encode(self.autoencoder, pictures), strict=True):
                slot = i % self.capacity
                self._scene[slot] = 0  # killed between the two lines below, the slot is empty, not wrong
                self._values[slot] = latents
                self._scene[slot] = i + 1
            if say is not None and start and start % 1024 == 0:
                say(f"latents of {start}/{len(missing)} scenes")

    def of(self, scenes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Latents of scenes that were covered: (B, C, h, w), float32."""
        return self._values[scenes % self.capacity].astype(np.float32)


@torch.inference_mode()
def encode(autoencoder: Autoencoder, pictures: NDArray[np.float32]) -> NDArray[np.float16]:
    """(B, 3, S, S) in -1..1 to packed latents that are not normalised: (B, C, h, w)."""
    pixels = torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)
    mean, _ = autoencoder.moments(pixels)
    packed: NDArray[np.float16] = F.pixel_unshuffle(mean, autoencoder.config.patch_size).numpy().astype(np.float16)
    return packed


def _mapped(path: Path, shape: tuple[int, ...], dtype: type) -> NDArray[np.generic]:
    """An array on disk, of zeros at first. One of another shape is of another recipe, and made anew."""
    if path.exists():
        try:
            found = np.lib.format.open_memmap(path, "r+")
            if found.shape == shape and found.dtype == dtype:
                return found
        except ValueError:  # cut short when it was made
            pass
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, "w+", dtype, shape)
