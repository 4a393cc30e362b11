"""Training state on disk: written whole or not at all, so that a killed run goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.errors import WeightsError


class Checkpoint:
    """One file that holds the step, the module, its moving average, the optimisers and both random generators."""

    def __init__(self, path: Path, module: nn.Module, optimizers: Any, rng: np.random.Generator) -> None:
        self.path = path
        self.module = module
        self.optimizers = optimizers
        self.rng = rng
        self.step = 0
        self.average = {k: v.clone() for k, v in module.state_dict().items()}

    def load(self) -> int:
        """Restore from the file when there is one; the number of steps done."""
        if not self.path.exists():
            return 0
        try:
            state = torch.load(self.path, weights_only=False)  # our own file: it holds a random generator too
            self.module.load_state_dict(state["module"])
            self.optimizers.load_state_dict(state["optimizers"])
        except Exception as error:
            raise WeightsError(f"The checkpoint {self.path} cannot be resumed: {error}") from error
        self.average = state["average"]
        self.rng.bit_generator.state = state["numpy"]
        torch.set_rng_state(state["torch"])
        self.step = state["step"]
        return self.step

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "module": self.module.state_dict(),
                "average": self.average,
                "optimizers": self.optimizers.state_dict(),
                "numpy": self.rng.bit_generator.state,
                "torch": torch.get_rng_state(),
            },
            temporary,
        )
        os.replace(temporary, self.path)

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
