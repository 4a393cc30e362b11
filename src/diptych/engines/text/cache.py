"""Embeddings of prompts on disk: what was encoded once need not be encoded again, nor the encoder be loaded.

One safetensors file per prompt, written whole under the digest of everything that decides its content: the encoder's
identity (weights, tokenizer, template, layers, length), the prompt, the dtype, and the kind of device, as processors
and cards round differently. The prompt itself is not kept. The empty prompt, which guidance needs, is one like others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diptych.engines.text.encoders import TextEncoder, TextStates, joined

FORMAT = "1"
LIMIT = 2 * 2**30
"""Bytes. A prompt takes about 4 MB with FLUX.1, 8 MB with klein 4B, 16 MB with FLUX.2 dev, 3 MB or more with FLUX 3."""
ABANDONED = 3600
"""Seconds after which a file that was not finished belongs to nobody."""


@dataclass(frozen=True)
class EmbeddingCache:
    """A folder of embeddings of at most `limit` bytes; what was not used for longest goes first.

    Several processes may use one folder. A folder that cannot be written is a cache that keeps nothing.
    """

    folder: Path
    limit: int = LIMIT

    def path(self, encoder: TextEncoder, prompt: str) -> Path:
        content = [
            FORMAT,
            encoder.identity,
            encoder.longest,
            str(encoder.dtype),
            encoder.device.type,
            prompt,
        ]
        return self.folder / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()}.safetensors"

    def read(self, encoder: TextEncoder, prompt: str) -> TextStates | None:
        """What is kept, on the encoder's device; None where nothing is, or where it was damaged and is now gone."""
        path = self.path(encoder, prompt)
        try:
            with safe_open(path, framework="pt") as file:
                said = (file.metadata() or {}).get("sha256")
                tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            self._drop(path)
            return None
        hidden, pooled = tensors.get("hidden"), tensors.get("pooled")
        whole = (
            said == _digest(tensors)
            and hidden is not None
            and hidden.shape[-1] == encoder.width
            and hidden.dtype == encoder.dtype
            and (pooled is None) == (encoder.pooled_width is None)
        )
        if not whole:
            self._drop(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used just now
        assert hidden is not None
        device = encoder.device
        return TextStates(hidden.to(device), None if pooled is None else pooled.to(device))

    def write(self, encoder: TextEncoder, prompt: str, states: TextStates) -> None:
        """Keep what one prompt became, and let go of what is over the limit."""
        tensors = {"hidden": states.hidden, "pooled": states.pooled}
        kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items() if value is not None}
        if sum(value.numel() * value.element_size() for value in kept.values()) > self.limit:
            return
        path = self.path(encoder, prompt)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(kept, temporary, metadata={"sha256": _digest(kept)})
            os.replace(temporary, path)
            self._shrink(path)
        except (SafetensorError, OSError):  # a full disk, a folder of somebody else's: encoded again the next time
            self._drop(temporary)

    def clear(self) -> int:
        """Remove everything; the bytes that were freed."""
        freed = 0
        for path, size, _ in self._entries():
            self._drop(path)
            freed += size
        return freed

    def _shrink(self, newest: Path) -> None:
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        total = sum(size for _, size, _ in entries)
        for path, size, _ in entries:
            if total <= self.limit:
                break
            if path != newest:
                self._drop(path)
                total -= size
        for path in self.folder.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    self._drop(path)

    def _entries(self) -> list[tuple[Path, int, int]]:
        """Files, their bytes, and when each was last used."""
        found = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(OSError):  # another process removed it
                status = path.stat()
                found.append((path, status.st_size, status.st_mtime_ns))
        return found

    def _drop(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


@dataclass(frozen=True)
class CachedEncoder:
    """A text encoder that looks into the cache first. Its weights are read only when a prompt is not there."""

    encoder: TextEncoder
    cache: EmbeddingCache | None = None
    """None: nothing is kept."""

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """As `TextEncoder.encode`: hidden (B, L, width), and pooled (B, width) with CLIP."""
        return joined(self.encode_each(prompts))

    def encode_each(self, prompts: Sequence[str]) -> list[TextStates]:
        """The same, one by one, for prompts that may differ in length; each is encoded once."""
        self.encoder.check(prompts)
        known: dict[str, TextStates] = {}
        for prompt in prompts:
            if prompt in known:
                continue
            kept = self.cache.read(self.encoder, prompt) if self.cache else None
            if kept is None:
                kept = self.encoder.encode_one(prompt)
                if self.cache:
                    self.cache.write(self.encoder, prompt, kept)
            known[prompt] = kept
        return [known[prompt] for prompt in prompts]

    def missing(self, prompts: Sequence[str]) -> list[str]:
        """The prompts that the encoder has to be loaded for."""
        if self.cache is None:
            return list(prompts)
        return [prompt for prompt in prompts if not self.cache.path(self.encoder, prompt).is_file()]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(torch.uint8).numpy().data)
    return digest.hexdigest()
