"""Spiking LIF neurons in the place of trained soft-LIF units (Hunsberger & Eliasmith 2015).

The network of `soft_lif_ann` is trained without spikes; then each unit becomes a leaky
integrate-and-fire neuron with a refractory time, in steps of 1 ms:

    tau_rc dv/dt = j - v;  at v = 1 a spike, v = 0, and no change during tau_ref

Within a step it is solved exactly, so that a neuron under a constant current fires at the rate
1 / (tau_ref + tau_rc log(1 + 1 / (j - 1))) to which the soft rate tends with sigma. Pixels are
constant currents. Spikes are pooled and pass an alpha synapse, h(t) = t / tau_s^2 exp(-t / tau_s),
before the next layer. The class is that of the largest mean read-out over the last half of the run,
as in the authors' runs of 200 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from harness.baselines import soft_lif_ann
from harness.baselines.contract import Answers, Effort, Samples, Say
from harness.baselines.soft_lif_ann import Neuron, RateNetwork, SoftLIF

TITLE = "Soft-LIF network with spikes"
PAPER = soft_lif_ann.PAPER
DATASETS = soft_lif_ann.DATASETS
INPUT = soft_lif_ann.INPUT
WINDOWS = soft_lif_ann.WINDOWS
FIDELITY = soft_lif_ann.FIDELITY
DEVIATIONS = (
    *soft_lif_ann.DEVIATIONS,
    "each image starts from silence, not from the end of the one before",
)
RANDOM = True
EPOCHS = soft_lif_ann.EPOCHS
STEPS = (25, 50, 100, 200)  # ms

DT = 0.001  # seconds
TAU_S = 0.005  # seconds, of the authors' notebook and runs of 200 ms
BATCH = 50  # images at once: their potentials fit the caches


def hard_rate(j: Tensor, neuron: Neuron) -> Tensor:  # any one shape -> Hz
    """The rate under a constant current j: 0 up to the threshold."""
    over = j - 1
    period = neuron.tau_ref + neuron.tau_rc * torch.log1p(1 / over.clamp(min=1e-30))
    return torch.where(over > 0, 1 / period, 0.0)


def spikes_by(seconds: float, rate: Tensor, neuron: Neuron) -> Tensor:
    """How often neurons that rested have fired by then, under constant currents of these rates."""
    return torch.floor((seconds + neuron.tau_ref) * rate)  # the first has no wait before it


class LIF:
    """Neurons that rest at first, one step after the other; exact while currents are constant."""

    def __init__(self, neuron: Neuron) -> None:
        assert neuron.tau_ref >= DT  # else one might fire twice in a step
        self.neuron = neuron
        self.v = torch.zeros(())  # takes the shape of the first currents
        self.wait = torch.zeros(())  # seconds that are left of the refractory time, below 0: none

    def step(self, j: Tensor) -> Tensor:  # any one shape -> 1 where it fires
        """The spikes of one step under currents j."""
        tau_rc = self.neuron.tau_rc
        free = (DT - self.wait).clamp(0, DT)  # of the step, what is not refractory
        v = j + (self.v - j) * torch.exp(free / -tau_rc)
        fired = v > 1
        late = -tau_rc * torch.log1p((1 - v) / (j - 1))  # seconds since v was 1, where it fired
        self.v = torch.where(fired, 0.0, v.clamp(min=0))  # inhibition does not add up
        self.wait = torch.where(fired, self.neuron.tau_ref - late, self.wait - DT)
        return fired.to(j.dtype)


class Alpha:
    """An alpha synapse: two equal low-passes in a row; exact for an input constant in a step."""

    def __init__(self) -> None:
        self.first = self.second = torch.zeros(())

    def step(self, x: Tensor) -> Tensor:  # any one shape
        """What comes out after one step of x."""
        a = exp(-DT / TAU_S)
        b = DT / TAU_S * a
        self.second = a * self.second + b * self.first + (1 - a - b) * x
        self.first = a * self.first + (1 - a) * x
        return self.second


@dataclass(frozen=True, eq=False)
class Run:
    """What some images caused."""

    outputs: Tensor  # (T, B, N): the read-out after each step
    spikes: float  # of all neurons and images


@torch.inference_mode()
def simulate(network: RateNetwork, x: Tensor, steps: int) -> Run:  # (B, 3, H, W)
    """Runs the trained network with spikes, its input constant."""
    neuron = network.neuron
    first, *others = network.layers
    x = x.contiguous(memory_format=torch.channels_last)  # pools faster
    rate = hard_rate(neuron.current(first(x)), neuron)
    neurons = [LIF(neuron) for _ in others]
    synapses = [Alpha() for _ in network.layers]
    height = neuron.amplitude / DT  # of a spike, which lasts one step
    fired, before, outputs = 0.0, torch.zeros(()), []
    for n in range(1, steps + 1):
        # its currents are constant, so the first layer needs no potentials
        count = network.pooled(0, spikes_by(n * DT, rate, neuron))
        given = height * synapses[0].step(count - before)
        before = count
        for k, layer in enumerate(others):
            spikes = neurons[k].step(neuron.current(layer(given)))
            fired += float(spikes.sum())
            given = height * synapses[k + 1].step(network.pooled(k + 1, spikes))
        outputs.append(network.read(given.flatten(1)))
    fired += float(spikes_by(steps * DT, rate, neuron).double().sum())
    return Run(torch.stack(outputs), fired)


class SpikingSoftLIF:
    """The rate network, answered for by its spiking form."""

    def __init__(self, rates: SoftLIF) -> None:
        self.rates = rates

    @property
    def structure(self) -> str:
        """The rate network's: spikes change no layer."""
        return self.rates.structure

    @property
    def chosen(self) -> str:
        """Nothing is."""
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        """Trains the rate network: the one that `soft_lif_ann` trains from the same seed."""
        self.rates.fit(train, validation, seed, tell)

    def predict(self, test: Samples) -> Answers:
        """The classes after each of STEPS, and the rate network's."""
        x = self.rates.inputs(test)
        runs = [simulate(self.rates.network, part, max(STEPS)) for part in x.split(BATCH)]
        outputs = torch.cat([run.outputs for run in runs], 1)
        at_steps = {n: outputs[n // 2 : n].mean(0).argmax(1).numpy() for n in STEPS}
        spikes = sum(run.spikes for run in runs) / len(test)
        return Answers(at_steps[max(STEPS)], at_steps, spikes, self.rates.predict(test))


def build(effort: Effort, epochs: int) -> SpikingSoftLIF:
    """The system at a size."""
    return SpikingSoftLIF(soft_lif_ann.build(effort, epochs))
