"""The proof that an adapter computes the reference's function and gradient, layer by layer.

The same calibrated weights and the same input go through the reference and the adapter; every
layer's spikes at every step and every parameter's gradient are compared. Two things make it hard to
pass by accident. In every layer the last neuron (of a convolution: the last feature map) has zero
weights and V_th as its bias, so its potential is exactly the threshold: who fires above it only is
seen. And the adapter is called on another input first: who keeps state between calls is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import isnan, sqrt
from typing import assert_never

import torch
from torch import Tensor, nn

from harness import synapses
from harness.adapter import Adapter, record_spikes
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Network, Precision

DTYPES: Mapping[Precision, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.float32,  # of the weights; the pass runs under autocast
}
STEPS = 4  # at least this many, so that the reset and the carry over time both act
SAMPLES = 2
LOWEST_RATE, HIGHEST_RATE = 0.01, 0.9  # outside, a layer proves nothing: it is silent or stuck
GRADIENT_TOLERANCE: Mapping[Precision, float] = {"fp64": 1e-12, "fp32": 1e-5}
FLIPS_ALLOWED: Mapping[Precision, float] = {"fp64": 0.0, "fp32": 1e-6}  # of all spikes compared
NEAR_TIE = 1e-5  # abs(u - V_th) within which float32 may round to either side
# Inputs tried in float32 before a spike or a gradient that is off counts as such. A wide network
# has millions of potentials, and so a few within rounding of the threshold on any input; one that
# falls to the other side takes hundreds with it. Inputs after the first are of one sample: fewer.
ATTEMPTS = 10


def required(precision: Precision) -> tuple[Precision, ...]:
    """The precisions to prove before a figure in `precision` is shown."""
    match precision:
        case "fp64":
            return ("fp64",)
        case "fp32":
            return ("fp64", "fp32")
        case "bf16":  # the function is proved; what bf16 loses of it is measured
            return ("fp64", "fp32", "bf16")
        case _:
            assert_never(precision)


@dataclass(frozen=True)
class Divergence:
    """The first spike, in time and then in depth, that is not the reference's."""

    step: int  # from 0
    layer: str
    distance: float  # abs(u - V_th) of the reference there


@dataclass(frozen=True)
class LayerProof:
    """What was compared in one layer, and how far apart it was."""

    layer: str
    rate: float  # the reference's spikes per neuron and step
    spikes: int  # neuron-steps compared
    mismatches: int
    gradient_error: float  # largest over its parameters, relative to the gradient's largest entry
    gradient_cosine: float | None  # to the reference's gradients; measured in bf16 alone


@dataclass(frozen=True)
class Certificate:
    """The outcome for one adapter, network and precision."""

    adapter: str
    precision: Precision
    deviations: tuple[str, ...]
    layers: tuple[LayerProof, ...]
    divergence: Divergence | None
    failures: tuple[str, ...]  # each a sentence; empty where everything compared was equal
    attempts: int  # inputs it took; above 1 only where a float32 near-tie got in the way

    @property
    def passed(self) -> bool:
        """Whether it is the paper's function: nothing differs, and it does not say that it does."""
        return not self.failures and not self.deviations

    @property
    def mismatches(self) -> int:
        """Spikes that differ, over all layers."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def spikes(self) -> int:
        """Neuron-steps compared, over all layers."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def spike_rate(self) -> float:
        """The reference's spikes per neuron and step, over all layers."""
        fired = sum(layer.rate * layer.spikes for layer in self.layers)
        return fired / self.spikes if self.spikes else 0.0

    @property
    def gradient_error(self) -> float:
        """The largest over the layers."""
        return max((layer.gradient_error for layer in self.layers), default=float("nan"))


@dataclass(frozen=True)
class _Pass:
    """One forward and backward pass: spikes (T, B, ...) and gradients of each layer."""

    spikes: list[Tensor]
    gradients: list[list[Tensor]]
    potentials: list[Tensor] = field(default_factory=list)  # (T, B, ...), of the reference only


@dataclass(frozen=True)
class Exam:
    """The reference's answers for one network and precision, to hold adapters against."""

    network: Network
    batch: Tensor  # (T, B, C, H, W), real data; its first steps and samples are used
    precision: Precision
    seed: int = 0
    steps: int = STEPS
    _answers: dict[int, tuple[Tensor, ReferenceNetwork, _Pass]] = field(default_factory=dict)

    def certify(self, name: str, adapter: Adapter) -> Certificate:
        """Compares the adapter with the reference. Raises what its `build` raises: Unsupported."""
        module = adapter.build(self.network)
        certificate = self._compare(name, adapter, module, 0)
        for attempt in range(1, ATTEMPTS):
            # A near-tie in float32 can part two equal networks: another input decides. A fault
            # is there on every input.
            if self.precision != "fp32" or not certificate.failures:
                break
            certificate = self._compare(name, adapter, module, attempt)
        return certificate

    def _compare(self, name: str, adapter: Adapter, module: nn.Module, attempt: int) -> Certificate:
        x, reference, answer = self._answer(attempt)
        try:
            given = _answer_of(module, reference, x, self)
        except _Incomparable as reason:
            failures = (str(reason),)
            return Certificate(
                name, self.precision, adapter.DEVIATIONS, (), None, failures, attempt + 1
            )
        proofs = tuple(_proofs(self, answer, given))
        divergence = _first_divergence(self.network, answer, given)
        failures = tuple(_failures(proofs, divergence, self.precision))
        return Certificate(
            name, self.precision, adapter.DEVIATIONS, proofs, divergence, failures, attempt + 1
        )

    def _answer(self, attempt: int) -> tuple[Tensor, ReferenceNetwork, _Pass]:
        if attempt not in self._answers:
            x = exam_input(self.batch, attempt, self.steps).to(DTYPES[self.precision])
            x = x[:1].expand_as(x) if synapses.is_static(self.batch) else x
            reference = exam_weights(self.network, x, self.seed)
            potentials, handles = _record_potentials(reference)
            # the yardstick of bf16 is float32: what it loses is what is stated
            exact: Precision = "fp32" if self.precision == "bf16" else self.precision
            answer = _run(reference, reference, x, exact)
            for handle in handles:
                handle.remove()
            answer.potentials.extend(torch.stack(layer) for layer in potentials)
            self._answers[attempt] = x, reference, answer
        return self._answers[attempt]


class _Incomparable(Exception):
    """The adapter breaks its contract in a way that leaves nothing to compare."""


def exam_input(
    batch: Tensor, attempt: int = 0, count: int = STEPS
) -> Tensor:  # (T, B, C, H, W) -> (count, 2 or 1, C, H, W)
    """The part of the batch that the certificate runs on; another part for each attempt.

    Of event frames those spread over the recording are taken, since the first can be empty.
    """
    T, B = batch.shape[:2]
    size = SAMPLES if attempt == 0 else 1
    steps = torch.linspace(0, T - 1, count).round().long()
    first = attempt + SAMPLES - 1 if attempt else 0
    samples = torch.arange(first, first + min(size, B)) % B
    return batch[steps.to(batch.device)][:, samples.to(batch.device)]


@torch.no_grad()
def exam_weights(network: Network, x: Tensor, seed: int) -> ReferenceNetwork:
    """The reference calibrated on `x`, with one neuron of each layer exactly at the threshold."""
    reference = initialised(network, x, seed=seed)
    for layer in reference.layers:
        bias = layer.synapse.bias
        assert bias is not None
        if len(bias) > 1:  # a single neuron is the layer's whole signal
            layer.synapse.weight[-1] = 0
            bias[-1] = network.lif.v_th
    return reference


def _record_potentials(
    reference: ReferenceNetwork,
) -> tuple[list[list[Tensor]], list[torch.utils.hooks.RemovableHandle]]:
    kept: list[list[Tensor]] = [[] for _ in reference.layers]

    def keep(into: list[Tensor]) -> Callable[..., None]:
        return lambda cell, inputs, output: into.append(output[1][0].detach())

    pairs = zip(reference.layers, kept, strict=True)
    return kept, [layer.cell.register_forward_hook(keep(into)) for layer, into in pairs]


def _answer_of(module: nn.Module, reference: ReferenceNetwork, x: Tensor, exam: Exam) -> _Pass:
    module.to(device=x.device, dtype=x.dtype)
    try:
        copy_parameters(reference, module)
    except ValueError as error:
        raise _Incomparable(str(error)) from error
    with torch.no_grad():
        module(x.flip(-1).contiguous())  # state left over from another input must not matter
    given = _run(module, reference, x, exam.precision)
    expected = [(len(x), x.shape[1], *stage.output_shape) for stage in exam.network.stages]
    found = [tuple(spikes.shape) for spikes in given.spikes]
    if found != expected:
        raise _Incomparable(
            f"spikes of shapes {found} were exposed, expected one tap a layer: {expected}"
        )
    return given


def _autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _run(module: nn.Module, reference: ReferenceNetwork, x: Tensor, precision: Precision) -> _Pass:
    module.zero_grad(set_to_none=True)
    with (
        record_spikes(module) as taps,
        _autocast(precision, x.device),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(0)  # dropout's masks, where there are any, are the same for both
        out = module(x)
        spikes = [tap.collected() for tap in taps]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (out * weights.to(out)).sum().backward()
    parameters = iter(module.parameters())
    gradients = []
    for layer in reference.layers:
        owned = [next(parameters) for _ in layer.parameters()]
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in owned])
    module.zero_grad(set_to_none=True)
    return _Pass(spikes, gradients)


def _proofs(exam: Exam, answer: _Pass, given: _Pass) -> list[LayerProof]:
    proofs = []
    for n, stage in enumerate(exam.network.stages):
        pairs = list(zip(given.gradients[n], answer.gradients[n], strict=True))
        proofs.append(
            LayerProof(
                layer=stage.name,
                rate=answer.spikes[n].double().mean().item(),
                spikes=answer.spikes[n].numel(),
                mismatches=int((answer.spikes[n] != given.spikes[n]).sum().item()),
                gradient_error=max(_relative(a, b) for a, b in pairs),
                gradient_cosine=_cosine(pairs) if exam.precision == "bf16" else None,
            )
        )
    return proofs


def _cosine(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Between two gradients, each of several parameters; NaN where one is zero."""
    dot, ours, theirs = (
        sum(float(torch.dot(a.flatten(), b.flatten())) for a, b in chosen)
        for chosen in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    norms = sqrt(ours * theirs)
    return dot / norms if norms > 0 else float("nan")


def _relative(given: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest entry; NaN where there is no gradient to compare."""
    scale = expected.abs().max().item()
    return (given - expected).abs().max().item() / scale if scale > 0 else float("nan")


def _first_divergence(network: Network, answer: _Pass, given: _Pass) -> Divergence | None:
    for step in range(len(answer.spikes[0])):
        for n, stage in enumerate(network.stages):
            differ = answer.spikes[n][step] != given.spikes[n][step]
            if differ.any():
                distances = (answer.potentials[n][step][differ] - network.lif.v_th).abs()
                return Divergence(step, stage.name, distances.max().item())
    return None


def _failures(
    proofs: tuple[LayerProof, ...], divergence: Divergence | None, precision: Precision
) -> list[str]:
    failures = []
    for proof in proofs:
        if not LOWEST_RATE < proof.rate < HIGHEST_RATE:
            failures.append(
                f"silent: layer {proof.layer} fires at a rate of {proof.rate:.4f}, "
                f"outside {LOWEST_RATE} to {HIGHEST_RATE}, and proves nothing"
            )
        elif isnan(proof.gradient_error):
            failures.append(f"silent: layer {proof.layer} has no gradient, and proves nothing")
    if precision == "bf16":  # its deviation is stated, not judged
        return failures
    spikes, flips = sum(p.spikes for p in proofs), sum(p.mismatches for p in proofs)
    near_tie = divergence is not None and divergence.distance < NEAR_TIE
    if divergence is not None and not (near_tie and flips <= FLIPS_ALLOWED[precision] * spikes):
        failures.append(
            f"{flips:,} of {spikes:,} spikes differ, first at step {divergence.step + 1} in layer "
            f"{divergence.layer}, abs(u - V_th) = {divergence.distance:.1e}"
        )
    worst = max(
        proofs, key=lambda proof: -1.0 if isnan(proof.gradient_error) else proof.gradient_error
    )
    if worst.gradient_error > GRADIENT_TOLERANCE[precision]:
        failures.append(
            f"gradients differ by {worst.gradient_error:.1e} of the largest entry in layer "
            f"{worst.layer}, allowed is {GRADIENT_TOLERANCE[precision]:.0e}"
        )
    return failures
