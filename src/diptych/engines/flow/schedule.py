"""Times at which the flow network is asked, from 1 (noise) to 0 (picture): pure numbers.

Times are evenly spaced and then shifted towards noise by a factor s = e^mu: t' = s t / (1 + (s - 1) t). The models
differ in mu alone. Sources: black-forest-labs/flux at 802fb47, ``src/flux/sampling.py``; black-forest-labs/flux2 at
ab7cca6, ``src/flux2/sampling.py``; diffusers 0.42.1, ``modular_pipelines/flux3/before_denoise.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from diptych.errors import InvalidRequest

# FLUX.1 (dev and what was made of it): mu grows linearly with the number of image tokens, through these two points.
FLUX1_POINTS = ((256, 0.5), (4096, 1.15))
# FLUX.2: the same, but two lines were fitted, for 10 and for 200 steps.
SLOPE_10, OFFSET_10 = 8.73809524e-05, 1.89833333
SLOPE_200, OFFSET_200 = 0.00016927, 0.45666666
FLUX3_SHIFT = 6.93
"""The factor of FLUX 3, for every size and number of steps."""
RULES = ("even", "flux1", "flux2", "flux3")


def mu_of(rule: str, tokens: int, steps: int) -> float:
    """How far a model's schedule is shifted towards noise.

    rule: "even" (not shifted: FLUX.1 schnell), "flux1", "flux2" or "flux3". tokens: of the picture that is made;
    references do not count.
    """
    if rule == "even":
        return 0.0
    if rule == "flux1":
        return flux1_mu(tokens)
    if rule == "flux2":
        return flux2_mu(tokens, steps)
    if rule == "flux3":
        return math.log(FLUX3_SHIFT)
    raise ValueError(f"rule is {rule!r}; it must be one of {', '.join(RULES)}")


def flux1_mu(tokens: int) -> float:
    """FLUX.1 dev's, for `tokens` target image tokens."""
    (x1, y1), (x2, y2) = FLUX1_POINTS
    return y1 + (tokens - x1) * (y2 - y1) / (x2 - x1)


def flux2_mu(tokens: int, steps: int) -> float:
    """How far FLUX.2's schedule is shifted towards noise, for `tokens` target image tokens and `steps` steps."""
    mu_200 = SLOPE_200 * tokens + OFFSET_200
    if tokens > 4300:
        return mu_200
    mu_10 = SLOPE_10 * tokens + OFFSET_10
    slope = (mu_200 - mu_10) / 190
    return slope * steps + mu_200 - 200 * slope


def shift_to_mu(shift: float) -> float:
    """mu for a factor that a person chose: 1 spaces times evenly, more spends more steps near noise.

    Raises InvalidRequest for what is no factor.
    """
    if not 0 < shift < math.inf:
        raise InvalidRequest(f"shift is {shift!r}; it must be a number above 0. 1 means evenly spaced times.")
    return math.log(shift)


def schedule(steps: int, mu: float) -> list[float]:
    """`steps` + 1 times from 1 to 0, evenly spaced and then shifted: t' = e^mu / (e^mu + 1/t - 1)."""
    even = [1 - i / steps for i in range(steps)]
    return [1 / (1 + (1 / t - 1) * math.exp(-mu)) for t in even] + [0.0]


def from_strength(times: Sequence[float], strength: float) -> list[float]:
    """The part of a schedule that changes a given picture by `strength`: 1 is all of it, from pure noise.

    The first time of the answer is how noisy the picture is made to begin with. Which steps are kept is diffusers'
    rule: the last min(n strength, n) of n, a part of a step counting whole. Raises InvalidRequest for a strength
    outside 0..1 and for one that leaves no step.
    """
    if not 0 <= strength <= 1:
        raise InvalidRequest(f"strength is {strength!r}; it must be from 0 (unchanged) to 1 (made anew).")
    steps = len(times) - 1
    first = int(max(steps - min(steps * strength, steps), 0))
    if first == steps:
        raise InvalidRequest(f"strength is {strength!r}: of {steps} steps none is left, so nothing would change.")
    return list(times[first:])
