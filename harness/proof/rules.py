"""What an exam holds an adapter to: all numbers that decide a proof. `EXAM` stands for them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from harness.spec import Precision


@dataclass(frozen=True)
class Allowed:
    """How far from the reference an adapter may be in one precision."""

    gradient_error: float  # of the gradient's largest entry
    flips: float  # of all spikes compared, where the first that differs is a near-tie


@dataclass(frozen=True)
class Rules:
    """The numbers of an exam and of the verdict on it."""

    steps: int = 4  # at least this many, so that the reset and the carry over time both act
    samples: int = 2
    # Inputs tried in float32 before a spike or a gradient that is off counts as such. A wide
    # network has millions of potentials, and so a few within rounding of the threshold on any
    # input; one that falls to the other side takes hundreds with it. Inputs after the first are of
    # one sample: fewer.
    attempts: int = 10
    # Rates outside prove nothing: the layer is silent or stuck.
    lowest_rate: float = 0.01
    highest_rate: float = 0.9
    fp64: Allowed = Allowed(gradient_error=1e-12, flips=0.0)
    fp32: Allowed = Allowed(gradient_error=1e-5, flips=1e-6)
    near_tie: float = 1e-5  # abs(u - V_th) within which float32 may round to either side
    # Of a replay, where each layer has the contender's own spikes below it:
    replayed_fp64: float = 1e-10  # near-ties and gradients in float64; in float32 as above
    fp32_rounding: float = 2.0**-24  # relative, of one sum
    # In a row, float32 sums a map's 350,000 gradients into its bias's no better than this.
    bias_fp32: float = 1e-4
    turned: float = 1e-3  # of a layer's spikes, the most that rounding may turn
    bf16_rounding: float = 2.0**-8  # relative, of a current and of what is carried along
    bf16_turned: float = 0.02  # as `turned`
    # Between each parameter's gradients, unless another rounding of the potentials at the
    # surrogate's edge explains less: a small network has few neurons, and each is a large share.
    bf16_cosine: float = 0.999
    bf16_most: float = 0.3  # of a gradient's length, the most that may be explained so

    def allowed(self, precision: Literal["fp64", "fp32"]) -> Allowed:
        """What is allowed in a precision that is judged; bf16 is measured alone."""
        return self.fp64 if precision == "fp64" else self.fp32

    def replayed(self, precision: Precision, products: int) -> float:
        """What is allowed of the largest entry at full size, where so many products make one.

        Roundings of either sign add up as the root of their number: one sum over 200 images of
        34x34 is 1.1e-5 off in a right framework that takes all steps at once.
        """
        if precision == "fp64":
            return self.replayed_fp64
        return max(self.fp32.gradient_error, self.fp32_rounding * sqrt(products))

    def replayed_bias(self, precision: Precision) -> float:
        """The same of a bias."""
        return self.replayed_fp64 if precision == "fp64" else self.bias_fp32


RULES = Rules()


def beyond(error: float, bound: float) -> str:
    """An error beyond its bound, in digits that tell the two apart."""
    digits = next((n for n in range(1, 9) if f"{error:.{n}e}" != f"{bound:.{n}e}"), 9)
    return f"{error:.{digits}e} of the largest entry, allowed is {bound:.2g}"
