"""Times at which the flow network is asked, from 1 (noise) to 0 (picture): pure numbers.

Source of FLUX.2's constants: black-forest-labs/flux2 at ab7cca6, ``src/flux2/sampling.py``.
"""

from __future__ import annotations

import math

# mu grows linearly with the number of image tokens; two lines were fitted, for 10 and for 200 steps.
SLOPE_10, OFFSET_10 = 8.73809524e-05, 1.89833333
SLOPE_200, OFFSET_200 = 0.00016927, 0.45666666


def flux2_mu(tokens: int, steps: int) -> float:
    """How far FLUX.2's schedule is shifted towards noise, for `tokens` target image tokens and `steps` steps."""
    mu_200 = SLOPE_200 * tokens + OFFSET_200
    if tokens > 4300:
        return mu_200
    mu_10 = SLOPE_10 * tokens + OFFSET_10
    slope = (mu_200 - mu_10) / 190
    return slope * steps + mu_200 - 200 * slope


def schedule(steps: int, mu: float) -> list[float]:
    """`steps` + 1 times from 1 to 0, evenly spaced and then shifted: t' = e^mu / (e^mu + 1/t - 1)."""
    even = [1 - i / steps for i in range(steps)]
    return [1 / (1 + (1 / t - 1) * math.exp(-mu)) for t in even] + [0.0]
