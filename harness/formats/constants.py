"""The paper's neuron and NeuNorm's auxiliary neuron as constants of NIR, and back.

NIR's neuron is `tau dv/dt = (v_leak - v) + r I`. Over a step of `dt` by Euler's rule that is
`v = (1 - dt / tau) v + (dt / tau) r I`: eq. (5) with `k = 1 - dt / tau` and `r = tau / dt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from harness.spec import UsageError

DT = 1e-4  # seconds a step, where a file does not say: what snnTorch and SpikingJelly take it for
NEAR = 1e-6  # relative: constants are often kept in float32


@dataclass(frozen=True)
class Leak:
    """A leak as NIR has it."""

    tau: float  # seconds
    gain: float  # tau / dt: the resistance with which the input is not scaled


def leak_of(k: float, dt: float = DT) -> Leak:
    """The leak whose potential decays by the factor `k` in a step.

    Raises UsageError for k = 1: nothing leaks, and tau would be infinite.
    """
    if k == 1:
        raise UsageError("a neuron with a decay of 1 does not leak: NIR's LIF and LI cannot say it")
    return Leak(dt / (1 - k), 1 / (1 - k))


def decay_of(tau: float, dt: float, digits: int, said: float | None) -> float:
    """The factor k by which a potential with time constant `tau` decays in a step.

    `said`: the one that a file names, taken where it comes to that tau. Else the one of `digits`
    digits, where it does. Raises UsageError where there is none from 0 to 1.
    """
    if not (isfinite(tau) and tau > 0) or dt / tau > 1 + NEAR:
        raise UsageError(f"tau is {tau:.6g} s, expected {dt:.6g} s, which a step takes, or more")
    k = max(0.0, 1 - dt / tau)
    for candidate in (said, round(k, digits)):
        if candidate is not None and 0 <= candidate < 1 and _comes_to(candidate, tau, dt, digits):
            return candidate
    return k


def _comes_to(k: float, tau: float, dt: float, digits: int) -> bool:
    return abs(dt / (1 - k) - tau) <= 10.0**-digits * tau


def near(value: float, expected: float) -> bool:
    """Whether a constant is what it should be, but for how it was rounded."""
    return isfinite(value) and abs(value - expected) <= NEAR * max(abs(expected), NEAR)


def below(v_th: float) -> float:
    """The float32 number below a threshold: `u > below(v_th)` is `u >= v_th` for u in float32."""
    return float(np.nextafter(np.float32(v_th), np.float32(-np.inf)))


def above(v_th: float) -> float:
    """The float32 number above a threshold: `u >= above(v_th)` is `u > v_th` for u in float32."""
    return float(np.nextafter(np.float32(v_th), np.float32(np.inf)))
