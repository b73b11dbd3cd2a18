"""snnTorch: `Leaky` neurons in a loop over the steps, with the membrane passed explicitly."""

from __future__ import annotations

from functools import partial
from typing import Any

import snntorch
import torch
from snntorch._neurons.neurons import SpikingNeuron
from torch import Tensor, nn

from harness.adapter import Variant
from harness.reference.network import StepNetwork
from harness.reference.neuron import fire
from harness.spec import LIF


class LeakyCell(nn.Module):
    """One step of a `Leaky` neuron; with the defaults (no reset delay, reset to zero) the paper's.

    A callable surrogate decides the spike too, so it fires at V_th; the built-in ones fire above
    it. The constants are float64 tensors because snnTorch keeps a Python float as a float32 buffer,
    which stays rounded when the module is made double.
    """

    def __init__(
        self, lif: LIF, *, reset_delay: bool = False, reset_mechanism: str = "zero"
    ) -> None:
        super().__init__()

        def constant(value: float) -> Any:  # snnTorch annotates floats and takes tensors
            return torch.tensor(value, dtype=torch.float64)

        self.leaky = snntorch.Leaky(
            beta=constant(lif.k_tau),
            threshold=constant(lif.v_th),
            graded_spikes_factor=constant(1.0),
            spike_grad=partial(fire, a=lif.a),
            reset_mechanism=reset_mechanism,
            reset_delay=reset_delay,
        )
        # snnTorch keeps every neuron ever made in a class attribute, and so alive
        SpikingNeuron.init()

    def forward(self, current: Tensor, membrane: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the spikes and the membrane after one step of snnTorch's neuron."""
        if membrane is None:
            membrane = torch.zeros_like(current)
        return self.leaky(current, membrane)


class DefaultCell(LeakyCell):
    """One step of a `Leaky` neuron with this decay and threshold, and snnTorch's other defaults."""

    def __init__(self, lif: LIF) -> None:
        super().__init__(lif)
        self.leaky = snntorch.Leaky(beta=lif.k_tau, threshold=lif.v_th)
        SpikingNeuron.init()

    def forward(self, current: Tensor, membrane: Tensor | None) -> tuple[Tensor, Tensor]:
        spikes, membrane = super().forward(current, membrane)
        return spikes.to(current.dtype), membrane  # its own surrogate gives float32


NEURON = "the framework's own class"
DEVIATIONS: tuple[str, ...] = ()
# it has no multi-step form of this neuron (`LeakyParallel` has no reset), so it is stepped
build = partial(StepNetwork, cell=LeakyCell)
_DETACHED = "the reset carries no gradient (reset_delay=True, snnTorch's default)"
_DelayedCell = partial(LeakyCell, reset_delay=True)
_SUBTRACTS = "the reset subtracts V_th, it does not clear the potential (snnTorch's default)"
VARIANTS = {
    "detached-reset": Variant((_DETACHED,), partial(StepNetwork, cell=_DelayedCell)),
    "subtract": Variant(
        (_SUBTRACTS, _DETACHED),
        partial(StepNetwork, cell=partial(_DelayedCell, reset_mechanism="subtract")),
    ),
    "defaults": Variant(
        (
            _SUBTRACTS,
            _DETACHED,
            "the surrogate is the arctangent's derivative (snnTorch's default), not a rectangle",
            "the neuron fires above the threshold, not at it",
        ),
        partial(StepNetwork, cell=DefaultCell),
    ),
}
