"""Muon for matrices, AdamW for everything else, under one learning-rate schedule.

Muon orthogonalises the momentum of each weight matrix by a Newton-Schulz iteration. Source: Keller Jordan,
"Muon: an optimizer for hidden layers in neural networks" (2024), coefficients (3.4445, -4.7750, 2.0315).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end between about 0.7 and 1.2."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Convolution kernels are treated as matrices of (out, in * height * width)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"]).flatten(1)  # Nesterov
                update = orthogonalise(update)
                update *= max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                p.add_(update.view_as(p), alpha=-group["lr"])


class Optimizers:
    """One Muon and one AdamW, stepped together.

    `factor` scales both learning rates: 1 in the middle, a short warm-up before it, a linear decay to zero over
    the last 40 % of the run.
    """

    def __init__(
        self, modules: Iterable[nn.Module], muon_lr: float, adam_lr: float, skip: Iterable[nn.Module] = ()
    ) -> None:
        parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        outside = {id(p) for m in skip for p in m.parameters()}
        matrices = [p for p in parameters if p.ndim >= 2 and min(p.flatten(1).shape) >= 8 and id(p) not in outside]
        chosen = {id(p) for p in matrices}
        rest = [p for p in parameters if id(p) not in chosen]
        self.muon = Muon(matrices, lr=muon_lr)
        self.adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self._base = (muon_lr, adam_lr)

    def step(self, progress: float) -> None:
        """Update once; `progress` runs from 0 to 1 over the whole training."""
        factor = min(1.0, progress / 0.02 + 0.02, max((1 - progress) / 0.4, 0.01))
        for optimizer, base in zip((self.muon, self.adam), self._base, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
