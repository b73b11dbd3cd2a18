"""A certificate: each layer's comparison, the verdict, and its bounds, versioned by `EXAM`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import isfinite, isnan, sqrt

from torch import Tensor

from harness.records import CertificateResult
from harness.records.identity import EXAM
from harness.records.run import shortened
from harness.spec import Precision


@dataclass(frozen=True)
class Allowed:
    """How far from the reference an adapter may be in one precision."""

    gradient_error: float  # of the gradient's largest entry
    flips: float  # of all spikes compared, where the first that differs is a near-tie


@dataclass(frozen=True)
class Rules:
    """The sizes of an exam, and the bounds of the verdict on it."""

    steps: int = 4  # at least this many, so that the reset and the carry over time both act
    samples: int = 2
    # Inputs tried in float32 before a spike or a gradient that is off counts as such. A wide
    # network has millions of potentials, and so a few within rounding of the threshold on any
    # input; one that falls to the other side takes hundreds with it. Inputs after the first are of
    # one sample: fewer.
    attempts: int = 10
    # Rates outside make a test void: the layer is silent or stuck. Then other weights are drawn.
    lowest_rate: float = 0.01
    highest_rate: float = 0.9
    fp64: Allowed = Allowed(gradient_error=1e-12, flips=0.0)
    fp32: Allowed = Allowed(gradient_error=1e-5, flips=1e-6)
    # abs(u - V_th) within which float32 may round to either side, as a multiple of the layer's
    # typical potential (`typical`): a sum is rounded by its own size.
    near_tie: float = 1e-5
    # The weights of the input that drives potentials are so many times those of the exam: they go
    # beyond 100 V_th to either side, as late in a training of a network that grows.
    driven: float = 100.0
    # Of a replay, where each layer has the contender's own spikes below it:
    replayed_fp64: float = 1e-10  # near-ties and gradients in float64; in float32 as above
    fp32_rounding: float = 2.0**-24  # relative, of one sum
    # In a row, float32 sums a map's 350,000 gradients into its bias's no better than this.
    bias_fp32: float = 1e-4
    turned: float = 1e-3  # of a layer's spikes, the most that rounding may turn
    bf16_rounding: float = 2.0**-8  # relative, of a current and of the potential carried along
    bf16_turned: float = 0.02  # as `turned`
    # Between each parameter's gradients, unless another rounding of the potentials at the
    # surrogate's edge explains less: a small network has few neurons, and each is a large share.
    bf16_cosine: float = 0.999
    bf16_most: float = 0.3  # of a gradient's length, the most that may be explained so

    def allowed(self, precision: Precision) -> Allowed:
        """Return the bounds of float64 or float32; not of bf16, which a replay judges."""
        return self.fp64 if precision == "fp64" else self.fp32

    def gradient_bound(self, precision: Precision, products: int) -> float:
        """Return how far a gradient may be from its replay, relative to the largest entry.

        In float64 it is constant; in float32 it grows as the root of the products that an entry
        sums, since roundings have either sign. bf16 is judged otherwise.
        """
        if precision == "fp64":
            return self.replayed_fp64
        return max(self.fp32.gradient_error, self.fp32_rounding * sqrt(products))


RULES = Rules()


def typical(u: Tensor, v_th: float) -> float:
    """Return the root mean square of a layer's potentials (T, B, ...), but at least V_th."""
    return max(v_th, u.double().square().mean().sqrt().item())


def beyond(error: float, bound: float) -> str:
    """Describe an error beyond its bound, with digits enough to tell the two apart."""
    digits = next((n for n in range(3, 9) if f"{error:.{n}g}" != f"{bound:.{n}g}"), 9)
    return f"{error:.{digits}g} of the largest entry, allowed is {bound:.3g}"


def required(precision: Precision) -> tuple[Precision, ...]:
    """Return the precisions to certify before a result in `precision` is shown."""
    # bf16 is judged by replays; float64 and float32 prove the function
    order: tuple[Precision, ...] = ("fp64", "fp32", "bf16")
    return order[: order.index(precision) + 1]


@dataclass(frozen=True)
class Divergence:
    """The first spike, in time and then in depth, that is not the reference's."""

    step: int  # from 0
    layer: str
    distance: float  # abs(u - V_th) of the reference there
    is_far: bool  # farther from V_th than rounding explains


@dataclass(frozen=True)
class LayerProof:
    """The comparison of one layer, and how much differed."""

    layer: str
    rate: float  # the reference's spikes per neuron and step, without the planted neurons'
    spikes: int  # neuron-steps compared
    mismatches: int
    gradient_error: float  # largest over its parameters, relative to the gradient's largest entry
    gradient_cosine: float | None  # to float32's, both free-running; only in bf16


@dataclass(frozen=True)
class Certificate:
    """The outcome of the exam of one adapter on one network in one precision."""

    precision: Precision
    deviations: tuple[str, ...]
    layers: tuple[LayerProof, ...]
    divergence: Divergence | None
    failures: tuple[str, ...]  # each a sentence; empty where everything compared was equal
    attempts: int  # inputs it took; above 1 only where a float32 near-tie got in the way

    @property
    def passed(self) -> bool:
        """Whether the adapter computes the paper's function, and declares no deviation from it."""
        return not self.failures and not self.deviations

    @property
    def mismatches(self) -> int:
        """Neuron-steps whose spikes differ, over all layers."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def spikes(self) -> int:
        """Neuron-steps compared, whether they fire or not, over all layers."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def spike_rate(self) -> float:
        """The reference's spikes per neuron and step, over all layers."""
        fired = sum(layer.rate * layer.spikes for layer in self.layers)
        return fired / self.spikes if self.spikes else 0.0

    @property
    def gradient_error(self) -> float:
        """The largest gradient error over the layers."""
        return max((layer.gradient_error for layer in self.layers), default=float("nan"))


def void(proofs: Iterable[LayerProof]) -> Iterator[str]:
    """Yield each reason why the test shows nothing: layers silent, stuck or without gradient."""
    for proof in proofs:
        if not RULES.lowest_rate < proof.rate < RULES.highest_rate:
            yield (
                f"the test is void: layer {proof.layer} fires at a rate of {proof.rate:.4f}, "
                f"outside {RULES.lowest_rate} to {RULES.highest_rate}"
            )
        elif isnan(proof.gradient_error):
            yield f"the test is void: no gradient reaches layer {proof.layer}"


def failures(
    proofs: tuple[LayerProof, ...], first: Divergence | None, precision: Precision
) -> list[str]:
    """Return why layers are not equal, a sentence each; in bf16 only why the test is void."""
    failures = [*void(proofs)]
    if precision == "bf16":
        return failures
    spikes, flips = sum(p.spikes for p in proofs), sum(p.mismatches for p in proofs)
    allowed = RULES.allowed(precision)
    if first is not None and (first.is_far or flips > allowed.flips * spikes):
        failures.append(
            f"{flips:,} of {spikes:,} spikes differ, first at step {first.step + 1} in layer "
            f"{first.layer}, abs(u - V_th) = {first.distance:.1e}"
        )
    compared = (proof for proof in proofs if not isnan(proof.gradient_error))
    worst = max(compared, key=lambda proof: proof.gradient_error, default=None)
    if worst and worst.gradient_error > allowed.gradient_error:
        excess = beyond(worst.gradient_error, allowed.gradient_error)
        failures.append(f"in layer {worst.layer} gradients differ by {excess}")
    return failures


def results_of(proof: Certificate, narrower: str | None = None) -> Iterator[CertificateResult]:
    """Yield a certificate as results: the outcome, then one for each layer.

    `narrower`: the network that was examined, where it was not the case's own.
    """
    outcome = CertificateResult(
        exam=EXAM, examined_network=narrower, certified=proof.passed,
        certificate_precision=proof.precision,
        spike_rate=proof.spike_rate, spikes=proof.spikes, mismatches=proof.mismatches,
        gradient_error=_finite(proof.gradient_error),
    )  # fmt: skip
    first = proof.divergence
    yield replace(
        outcome,
        reason=shortened("; ".join(proof.failures)) or None,
        first_step=first.step if first else None,
        first_layer=first.layer if first else None,
        threshold_distance=first.distance if first else None,
        attempts=proof.attempts,
    )
    for layer in proof.layers:
        yield replace(
            outcome, layer=layer.layer, spike_rate=layer.rate, spikes=layer.spikes,
            mismatches=layer.mismatches, gradient_error=_finite(layer.gradient_error),
            gradient_cosine=_finite(layer.gradient_cosine),
        )  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None  # JSON has no NaN
