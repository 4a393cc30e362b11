"""Training state on disk: written whole or not at all, so that a killed run goes on where it was.

A checkpoint is a small index (JSON, at the path that was asked for) and parts beside it, each under 16 MiB so that it
can move between machines. New parts are written under new names; then the index is replaced in one step; then the old
parts go. So a run that is killed, or a disk that is full, leaves the checkpoint before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.errors import OutputError, WeightsError

PART = 15 * 2**20
"""Bytes of a part, at most."""
FORMAT = 1


class Checkpoint:
    """Holds the step, the module, its moving average, the optimisers and both random generators.

    recipe: what the run is made of, as a dataclass or JSON values. A checkpoint of another recipe is refused: what
    differs is named. None accepts any.
    """

    def __init__(
        self, path: Path, module: nn.Module, optimizers: Any, rng: np.random.Generator, recipe: Any = None
    ) -> None:
        self.path = path
        self.module = module
        self.optimizers = optimizers
        self.rng = rng
        self.recipe = _plain(recipe)
        self.step = 0
        self.average = {k: v.clone() for k, v in module.state_dict().items()}

    def load(self) -> int:
        """Restore from the file when there is one; the number of steps done.

        Raises WeightsError for a checkpoint of another recipe, or one that is truncated, altered or misses a part.
        """
        if not self.path.exists():
            return 0
        index = self._index()
        self._check_recipe(index)
        data = b"".join(self._part(name, digest) for name, digest in index["parts"].items())
        device = next((v.device for v in self.average.values()), torch.device("cpu"))
        try:
            state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            self.module.load_state_dict(state["module"])
            self.optimizers.load_state_dict(state["optimizers"])
            self.average = state["average"]
            self.rng.bit_generator.state = index["numpy"]
            torch.set_rng_state(state["torch"].cpu())
            self.step = index["step"]
        except Exception as error:
            raise WeightsError(f"The checkpoint {self.path} cannot be resumed: {error}") from error
        return self.step

    def save(self) -> None:
        """Write the state. Raises OutputError when it cannot be written; the checkpoint before stays what it was."""
        stream = io.BytesIO()
        torch.save(
            {
                "module": self.module.state_dict(),
                "average": self.average,
                "optimizers": self.optimizers.state_dict(),
                "torch": torch.get_rng_state(),
            },
            stream,
        )
        data = stream.getbuffer()
        before = set(self._index()["parts"]) if self.path.exists() else set()
        written: list[Path] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            parts = {}
            for number, start in enumerate(range(0, len(data), PART)):
                part = data[start : start + PART]
                name = f"{self.path.name}.{self.step:07}.{number:02}"
                # The same step, saved again after other data: its parts must not be written over while they count.
                if name in before:
                    name += "b"
                written.append(self.path.with_name(name))
                _write(written[-1], part)
                parts[name] = hashlib.sha256(part).hexdigest()
            index = {
                "format": FORMAT,
                "step": self.step,
                "recipe": self.recipe,
                "digest": digest(self.recipe),
                "numpy": self.rng.bit_generator.state,
                "parts": parts,
            }
            written.append(self.path.with_name(self.path.name + ".part"))
            _write(written[-1], json.dumps(index).encode())
            os.replace(written[-1], self.path)
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            kept = "The checkpoint before it is untouched." if before else "There was none before it."
            raise OutputError(f"The checkpoint {self.path} cannot be written: {error.strerror}. {kept}") from None
        self._remove_others(set(parts))

    def _remove_others(self, kept: set[str]) -> None:
        """Parts that no index counts: of the checkpoint before, and of a save that was killed."""
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    @torch.no_grad()
    def advance(self, decay: float) -> None:
        """Count a step and move the average towards the weights; early steps are forgotten faster."""
        self.step += 1
        decay = min(decay, self.step / (self.step + 10))
        for name, value in self.module.state_dict().items():
            average: Tensor = self.average[name]
            if value.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def _index(self) -> dict[str, Any]:
        try:
            index: dict[str, Any] = json.loads(self.path.read_bytes())
            if index["format"] != FORMAT or not isinstance(index["parts"], dict):
                raise ValueError(f"format {index['format']}")
        except OSError as error:
            raise WeightsError(f"The checkpoint {self.path} cannot be read: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{self.path} is not a checkpoint of this version of diptych: {error}.") from None
        return index

    def _check_recipe(self, index: dict[str, Any]) -> None:
        if self.recipe is None or digest(self.recipe) == index["digest"]:
            return
        there, here = _flat(index["recipe"]), _flat(self.recipe)
        changed = [k for k in sorted({*there, *here}) if there.get(k) != here.get(k)]
        different = [f"{k} is {there.get(k)} there and {here.get(k)} here" for k in changed]
        shown = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
        raise WeightsError(
            f"The checkpoint {self.path} is of another recipe ({index['digest'][:12]}, this one is "
            f"{digest(self.recipe)[:12]}): {shown}. Go on with its own recipe, or use another work folder."
        )

    def _part(self, name: str, expected: str) -> bytes:
        path = self.path.with_name(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}, a part of a checkpoint, cannot be read: {error.strerror}.") from None
        if hashlib.sha256(data).hexdigest() != expected:
            raise WeightsError(f"{path}, a part of a checkpoint, was truncated or altered.")
        return data


def digest(recipe: Any) -> str:
    """SHA-256 of a recipe's values, whatever their order."""
    return hashlib.sha256(json.dumps(_plain(recipe), sort_keys=True).encode()).hexdigest()


def _plain(recipe: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    values = dataclasses.asdict(recipe) if dataclasses.is_dataclass(recipe) and not isinstance(recipe, type) else recipe
    return json.loads(json.dumps(values, default=str))


def _flat(recipe: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(recipe, dict):
        return {prefix.rstrip(".") or "recipe": recipe}
    return {k: v for key, value in recipe.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def _write(path: Path, data: bytes | memoryview) -> None:
    """To the disk, not only to the system's memory: a power cut must not keep the index and lose what it names."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
