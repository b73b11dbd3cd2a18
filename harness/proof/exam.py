"""The proof that an adapter computes the reference's function and gradient, layer by layer.

The same calibrated weights and the same input go through the reference and the adapter; every
layer's spikes at every step and every parameter's gradient are compared. Two things make it hard to
pass by accident. In every layer the last neuron (of a convolution: the last feature map) has zero
weights and V_th as its bias, so its potential is exactly the threshold: who fires above it only is
seen. And the adapter is called on another input first: who keeps state between calls is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor, nn

from harness.adapter import Adapter, record_spikes
from harness.proof.certificate import Certificate, Divergence, LayerProof, failures
from harness.proof.rules import RULES
from harness.reference import synapses
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES, autocast
from harness.spec import Network, Precision


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
    steps: int = RULES.steps
    _answers: dict[int, tuple[Tensor, ReferenceNetwork, _Pass]] = field(default_factory=dict)

    def certify(self, name: str, adapter: Adapter) -> Certificate:
        """Compares the adapter with the reference. Raises what its `build` raises: Unsupported."""
        module = adapter.build(self.network)
        certificate = self._compare(name, adapter, module, 0)
        for attempt in range(1, RULES.attempts):
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
            broken = (str(reason),)
            return Certificate(
                name, self.precision, adapter.DEVIATIONS, (), None, broken, attempt + 1
            )
        proofs = tuple(_proofs(self, answer, given))
        divergence = _first_divergence(self.network, answer, given)
        found = tuple(failures(proofs, divergence, self.precision))
        return Certificate(
            name, self.precision, adapter.DEVIATIONS, proofs, divergence, found, attempt + 1
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
    batch: Tensor, attempt: int = 0, count: int = RULES.steps
) -> Tensor:  # (T, B, C, H, W) -> (count, 2 or 1, C, H, W)
    """The part of the batch that the certificate runs on; another part for each attempt.

    Of event frames those spread over the recording are taken, since the first can be empty.
    """
    T, B = batch.shape[:2]
    size = RULES.samples if attempt == 0 else 1
    steps = torch.linspace(0, T - 1, count).round().long()
    first = attempt + RULES.samples - 1 if attempt else 0
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


def _run(module: nn.Module, reference: ReferenceNetwork, x: Tensor, precision: Precision) -> _Pass:
    module.zero_grad(set_to_none=True)
    with (
        record_spikes(module) as taps,
        autocast(precision, x.device),
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
