"""Norse: its cells in a `SequentialState`, stepped by an outer loop (its `Lift` loops as well)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap, Variant
from harness.reference import dropout, neunorm, synapses
from harness.reference.dropout import StepDropout
from harness.reference.neuron import fire
from harness.spec import LIF, Network, Stage

with warnings.catch_warnings():
    # Norse 1.1.0 compiles with torch.jit.script at import, which torch has deprecated
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState
    from norse.torch.functional.reset import reset_value
    from norse.torch.module.snn import SNNCell


class Potential(NamedTuple):
    """A cell's state between steps: the potential after the reset, (B, ...)."""

    v: Tensor


class NorseParameters(NamedTuple):
    """What the activation reads: the paper's constants, Norse's reset potential and threshold."""

    lif: LIF
    v_reset: Tensor  # ()
    v_th: Tensor  # ()


def activation(
    current: Tensor, state: Potential, p: NorseParameters, dt: float
) -> tuple[Tensor, Potential]:
    """Compute one step, eqs. (5)-(6), with our rectangular surrogate: Norse has none."""
    v = p.lif.k_tau * state.v + current
    spikes = fire(v - p.lif.v_th, p.lif.a)
    return spikes, Potential(reset_value(spikes, v, p.v_reset, p.v_th))


def zero_state(current: Tensor) -> Potential:
    """Return the state before the first step."""
    return Potential(torch.zeros_like(current))


def faithful(lif: LIF) -> SNNCell:
    """Return the paper's neuron as a Norse cell."""
    parameters = NorseParameters(lif, torch.tensor(0.0), torch.tensor(lif.v_th))
    # Norse's annotations admit one bare tensor of state; its own cells pass named tuples as here
    step, start = cast(Any, activation), cast(Any, zero_state)
    return SNNCell(activation=step, state_fallback=start, p=parameters, dt=1.0)


class ScaledBoxCell(nn.Module):
    """`LIFBoxCell` with the paper's decay; its scaling of the input by 1 - k_tau is undone."""

    def __init__(self, lif: LIF) -> None:
        super().__init__()

        def constant(value: float) -> Tensor:
            return torch.tensor(value, dtype=torch.float64)

        parameters = LIFBoxParameters(
            tau_mem_inv=constant(1 - lif.k_tau),
            v_leak=constant(0.0),
            v_th=constant(lif.v_th),
            v_reset=constant(0.0),
            method="super",
            alpha=constant(100.0),
        )
        self.cell = LIFBoxCell(parameters, dt=1.0)
        self.gain = 1 / (1 - lif.k_tau)

    def forward(self, current: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.cell(current * self.gain, state)


Neuron = Callable[[LIF], nn.Module]


def _modules(stage: Stage, network: Network, neuron: Neuron) -> list[nn.Module]:
    """Return a layer's modules: synapse, neuron, tap, pool, NeuNorm, dropout."""
    modules = [synapses.synapse(stage), neuron(network.lif), SpikeTap()]
    modules += [synapses.pool(stage), neunorm.for_stage(stage, network)]
    modules += [StepDropout(network.dropout)] if network.dropout > 0 and stage.drops else []
    return [module for module in modules if module is not None]


class NorseNetwork(nn.Module):
    """The paper's network: first synapse (once for a static image), then a SequentialState."""

    def __init__(self, network: Network, neuron: Neuron) -> None:
        super().__init__()
        self.network = network
        modules = [m for stage in network.stages for m in _modules(stage, network, neuron)]
        self.encoding = modules[0]
        self.sequence = SequentialState(*modules[1:])

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Run Norse's sequence step by step; return the last layer's spikes (T, B, N)."""
        keys = dropout.stage_keys(self.network, x, training=self.training)
        drops = [module for module in self.sequence if isinstance(module, StepDropout)]
        for module, layer_keys in zip(drops, keys, strict=False):  # the last layers drop nothing
            module.start(layer_keys)
        state, votes = None, []
        for current in synapses.encoding_steps(self.encoding, x):
            out, state = self.sequence(current, state)
            votes.append(out)
        return torch.stack(votes)


NEURON = "our function in the framework's cell"
DEVIATIONS: tuple[str, ...] = ()
build = partial(NorseNetwork, neuron=faithful)
VARIANTS = {
    "super": Variant(
        (
            "the surrogate is SuperSpike (LIFBoxCell's default), not a rectangle",
            "the neuron fires above the threshold, not at it",
        ),
        partial(NorseNetwork, neuron=ScaledBoxCell),
        NEURON="the framework's own class",
    ),
}
