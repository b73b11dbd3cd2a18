"""HM2-BP: spike counts taught through the potentials that spike trains leave (Jin et al. 2018).

Time has steps of 0.6 ms; a pixel and polarity has one spike a step at most. A neuron:

    ep += sum w s - ep / tau_s,  v += ep / tau_s - v / tau_m,  a spike and v = 0 where v > V_th

and v = 0 for two steps after. Output neurons inhibit each other. The spike-train level potential
e_ij is what the spikes of input j have left, unweighted, at each spike of neuron i since that
neuron's last one (micro level):

    e_ij = sum over t_i, t_j of exp(-max(t - s, 0) / tau_s) (exp(-u / tau_m) - exp(-u / tau_s))
           / (1 - tau_s / tau_m),  t = t_i - t_j - rest,  u = min(s, t)

with s the time since the rest after i's last spike, and t_j not more than 4 tau_m before t_i.
Counts follow o_i = sum_j w_ij e_ij / V_th, and e_ij goes with both counts, by e / o each (macro
level). So with delta = (count - wanted) / V_th of an output, 0 within a margin,

    delta_j = sum_i w_ij e_ij / o_j delta_i / V_th  of a hidden neuron
    dE/dw_ij = delta_i e_ij (1 + sum_k w_ik e_ik / o_i / V_th)

An output of the sample's class that was silent is given spikes at equal distances, and outputs'
gradients are multiplied by 1 / (1 - what comes back through the inhibition). Constants and the
rules for silent neurons are those of the authors' code for N-MNIST, read in its log and source
(jinyyy666/mm-bp-snn); first weights are uniform there, though called Bernoulli.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.baselines.contract import Answers, Baseline, ProgressCallback, Recordings
from harness.baselines.events import compiled
from harness.datasets.events import Events, addresses, on_sensor
from harness.spec import UsageError

STEP_US = 600
REACH = 4  # time constants tau_m, after which a spike is forgotten

Array = NDArray[np.float64]
Raster = NDArray[np.bool_]  # (steps, N): [step, neuron]: whether it fires


class SpikeTrain(NamedTuple):  # numba reads no dataclass
    """Spikes of many neurons, sorted by time."""

    times: NDArray[np.int64]  # (M,) in steps, from 1
    owners: NDArray[np.int64]  # (M,): the neuron of each


class NeuronConstants(NamedTuple):
    """The constants of a layer; times in steps."""

    v_th: float
    refractory: int  # steps after a spike
    tau_m: float  # of the potential
    tau_s: float  # of the synapse
    inhibition: float  # what a spike takes from the input of each other neuron of the layer


LIMIT = 8.0  # of weights
STRENGTH, BETA = 10.0, 0.01  # lambda and beta of their decay
LONGEST = 540  # of a recording there, in steps; the wanted counts are for so many
WANTED, UNWANTED = 35.0, 5.0  # spikes of the output of the sample's class, and of the others
MARGIN = 5.0
DISTANCE = int(LONGEST / WANTED)  # steps between wanted spikes
HIDDEN = NeuronConstants(v_th=15.0, refractory=2, tau_m=64.0, tau_s=8.0, inhibition=0.0)
OUTPUT = HIDDEN._replace(inhibition=1.0)
SILENT_EFFECT = 0.1  # e where the neuron is silent and its input is not
SILENT_RATIO = 0.5  # e / o where the neuron is silent
LEARNING_RATE = 1e-3  # over the root of the epoch's number


@compiled
def simulate(weights: Array, spikes: SpikeTrain, steps: int, neuron: NeuronConstants) -> Raster:
    """Return the raster of a layer with `weights` (I, O); an input spike acts one step later."""
    raster = np.zeros((steps, weights.shape[1]), np.bool_)
    v, ep, inputs, resting = np.zeros((4, weights.shape[1]))
    n = 0
    for t in range(1, steps):
        last = raster[t - 1]
        inputs[:] = -neuron.inhibition * last.sum()
        while n < len(spikes.times) and spikes.times[n] < t:
            inputs += weights[spikes.owners[n]]
            n += 1
        for i in range(len(v)):
            ep[i] += inputs[i] + neuron.inhibition * last[i] - ep[i] / neuron.tau_s
            v[i] += ep[i] / neuron.tau_s - v[i] / neuron.tau_m
            resting[i] -= 1.0
            if resting[i] >= 0:
                v[i] = 0.0
            elif v[i] > neuron.v_th:
                raster[t, i] = True
                v[i], resting[i] = 0.0, neuron.refractory
    return raster


@compiled
def sum_potentials(
    spikes: SpikeTrain, raster: Raster, inputs: int, neuron: NeuronConstants
) -> Array:
    """Compute the spike-train level potentials e (I, O), summed over each neuron's spikes."""
    reach = int(REACH * neuron.tau_m)
    ages = np.arange(reach + 1)
    fall = np.exp(-ages / neuron.tau_s)
    rise = (np.exp(-ages / neuron.tau_m) - fall) / (1.0 - neuron.tau_s / neuron.tau_m)
    e, row = np.zeros((inputs, raster.shape[1])), np.zeros(inputs)
    for i in range(raster.shape[1]):
        row[:] = 0.0
        since = 1  # when the neuron last began to gather
        for time in np.nonzero(raster[:, i])[0]:
            s = max(time - since, 0)
            newest = time - neuron.refractory  # a spike at `newest` arrives now: t = 0
            first = np.searchsorted(spikes.times, time - reach)
            fresh = max(first, np.searchsorted(spikes.times, newest - s))
            end = np.searchsorted(spikes.times, min(newest, time - 1) + 1)
            for n in range(first, fresh):  # t > s: its current was there, not its potential
                row[spikes.owners[n]] += fall[newest - s - spikes.times[n]] * rise[s]
            for n in range(fresh, end):
                row[spikes.owners[n]] += rise[newest - spikes.times[n]]
            since = time + neuron.refractory
        e[:, i] = row
    return e


@compiled
def adam_step(
    weights: Array, e: Array, push: Array, shrink: Array, moments: tuple[Array, Array], lr: float
) -> None:
    """Update weights (I, O) in place by Adam with gradient e push + w shrink, both factors (O,).

    `lr` includes the bias correction of the moments.
    """
    first, second = moments
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            g = e[i, j] * push[j] + weights[i, j] * shrink[j]
            first[i, j] = 0.9 * first[i, j] + 0.1 * g
            second[i, j] = 0.999 * second[i, j] + 0.001 * g * g
            weights[i, j] -= lr * first[i, j] / (np.sqrt(second[i, j]) + 1e-8)


def events_to_spikes(events: Events, sensor: tuple[int, int], steps: int) -> SpikeTrain:
    """Convert events before step `steps` to spikes, at most one per step, pixel and polarity."""
    seen = on_sensor(events, sensor)
    step = seen["t"] // STEP_US + 1  # before the first step there is nothing
    inputs = 2 * sensor[0] * sensor[1]
    spikes = np.unique((step * inputs + addresses(seen, sensor))[step < steps])
    return SpikeTrain(spikes // inputs, spikes % inputs)


def raster_to_spikes(raster: Raster) -> SpikeTrain:
    """Convert a layer's raster to the input spikes of the next layer."""
    return SpikeTrain(*map(np.ascontiguousarray, np.nonzero(raster)))


@dataclass(frozen=True, eq=False)
class Potentials:
    """Spike-train level potentials of a layer, and the spike counts of its inputs and neurons."""

    e: Array  # (I, O)
    input_counts: Array  # (I,) of spikes
    counts: Array  # (O,)

    @classmethod
    def of_layer(
        cls, spikes: SpikeTrain, raster: Raster, inputs: int, neuron: NeuronConstants
    ) -> Potentials:
        """Compute a layer's potentials; of silent neurons SILENT_EFFECT where the input fired."""
        input_counts = np.bincount(spikes.owners, minlength=inputs).astype(np.float64)
        counts = raster.sum(0).astype(np.float64)
        e = sum_potentials(spikes, raster, inputs, neuron)
        e[:, counts == 0] = SILENT_EFFECT * (input_counts > 0)[:, None]
        return cls(e, input_counts, counts)

    def per_spike(self) -> Array:  # (I, O)
        """Return e over the input's spike count; 1 if the input or the neuron is silent."""
        both = np.outer(self.input_counts > 0, self.counts > 0)
        return np.where(both, self.e / np.maximum(self.input_counts, 1)[:, None], 1.0)

    def gradient_factor(self, weights: Array, delta: Array, v_th: float) -> Array:  # (O,)
        """Return each neuron's factor of e in the gradient; `delta` (O,) is its error over V_th."""
        weighted = np.einsum("io,io->o", weights, self.e) / np.maximum(self.counts, 1)
        weighted = np.where(self.counts > 0, weighted, SILENT_RATIO * weights.sum(0))
        return delta * (1 + weighted / v_th)


def inhibition_factor(raster: Raster, label: int) -> Array:  # (O,)
    """Return the factors by which mutual inhibition multiplies the outputs' gradients."""
    spikes = raster_to_spikes(raster)
    between = Potentials.of_layer(spikes, raster, raster.shape[1], OUTPUT).per_spike()
    answers = raster.sum(0) > 0
    answers[label] = True
    both = between * between.T * np.outer(answers, answers) / OUTPUT.v_th**2
    np.fill_diagonal(both, 0.0)
    return 1 / (1 - OUTPUT.inhibition**2 * both.sum(1))


def with_target_spikes(raster: Raster, label: int) -> Raster:
    """Return the raster, with evenly spaced spikes for the sample's class if it is silent."""
    if raster[:, label].any():
        return raster
    changed = raster.copy()
    changed[DISTANCE::DISTANCE, label] = True
    return changed


def count_errors(counts: Array, label: int, steps: int) -> Array:  # (O,)
    """Return counts minus the targets for `steps` steps; 0 where within the margin."""
    targets = np.full(len(counts), UNWANTED)
    targets[label] = WANTED
    share = steps / LONGEST
    over = counts - share * targets
    return np.where(np.abs(over) > share * MARGIN, over, 0.0)


class Hm2BpLayer:
    """A layer's weights (I, O) and its optimiser."""

    def __init__(self, weights: Array, neuron: NeuronConstants) -> None:
        self.weights, self.neuron = weights, neuron
        self._moments = np.zeros_like(weights), np.zeros_like(weights)
        self._number = 0

    def update(self, potentials: Potentials, delta: Array, lr: float) -> None:
        """Take one step of Adam, weight decay included; `delta` (O,) are errors over V_th."""
        size = len(self.weights) * LIMIT**2
        squares = np.einsum("io,io->o", self.weights, self.weights) / size
        shrink = STRENGTH * BETA / LIMIT * np.exp(BETA * (squares - 1))
        push = potentials.gradient_factor(self.weights, delta, self.neuron.v_th)
        self._number += 1
        lr *= sqrt(1 - 0.999**self._number) / (1 - 0.9**self._number)
        adam_step(self.weights, potentials.e, push, shrink, self._moments, lr)


class HM2BP(Baseline[Recordings, int]):
    """Backpropagation through spike-train level potentials (Jin et al. 2018)."""

    TITLE, PAPER = "HM2-BP", "Jin et al. 2018"
    DATASETS, INPUT = ("nmnist",), "events"
    FIDELITY = "published code's parameters"
    DEVIATIONS = (
        "numba kernel",
        "recordings are not stabilised",
        "all samples weigh the same",
        "wanted counts go with the length of recordings",
        "the last epoch instead of the best on test samples",
        "by default 100 hidden units, not 800, and 8 epochs, not 200",
    )
    PACKAGES = ("numba",)
    EPOCHS = {"quick": 3, "default": 8, "paper": 200}
    SIZES = {"quick": 32, "default": 100, "paper": 800}  # hidden units

    def fit(
        self, train: Recordings, validation: Recordings, seed: int, tell: ProgressCallback
    ) -> None:
        """Train both layers, sample by sample, with a rate that falls from epoch to epoch.

        `validation` is not used. Raises UsageError where recordings are too short for an output's
        spikes, or where weights diverge.
        """
        self.steps = min(LONGEST, train.longest_us // STEP_US + 2)
        if self.steps <= DISTANCE:  # a silent output would be taught nothing
            raise UsageError(
                f"recordings of {train.longest_us / 1000:.1f} ms are too short for the spikes that "
                "an output is to have: use longer ones"
            )
        inputs, hidden, classes = self.layer_sizes(train, self.sizes)
        tell(0.0, "compiling its loops")
        random = np.random.default_rng(seed)
        self.hidden = Hm2BpLayer(random.uniform(-1, 1, (inputs, hidden)), HIDDEN)
        self.output = Hm2BpLayer(random.uniform(-1, 1, (hidden, classes)), OUTPUT)
        for epoch in range(1, self.epochs + 1):
            lr = LEARNING_RATE / sqrt(max(1, epoch - 1))  # the first two are alike there
            order = np.random.default_rng((seed, epoch)).permutation(len(train))
            for n, chosen in enumerate(order):
                spikes = events_to_spikes(train[int(chosen)], train.sensor, self.steps)
                self._learn(spikes, int(train.labels[chosen]), lr)
                done = (epoch - 1 + n / len(order)) / self.epochs
                tell(done, f"epoch {epoch}/{self.epochs}")
            if not np.isfinite(self.hidden.weights).all():
                raise UsageError(f"weights are no numbers any more in epoch {epoch}: use fewer")

    def predict(self, test: Recordings) -> Answers:
        """Predict the output that fires most; the answers have the mean number of spikes."""
        trains = (events_to_spikes(test[n], test.sensor, self.steps) for n in range(len(test)))
        rasters = [self._simulate(spikes) for spikes in trains]
        labels = np.array([last.sum(0).argmax() for _, last in rasters], np.int64)
        total = sum(int(first.sum() + last.sum()) for first, last in rasters)
        return Answers(labels, spikes=total / len(test))

    def _simulate(self, spikes: SpikeTrain) -> tuple[Raster, Raster]:
        first = simulate(self.hidden.weights, spikes, self.steps, HIDDEN)
        return first, simulate(self.output.weights, raster_to_spikes(first), self.steps, OUTPUT)

    def _learn(self, spikes: SpikeTrain, label: int, lr: float) -> None:
        """Update both layers' weights from one sample, by back-propagation over spike trains."""
        hidden, output = self.hidden, self.output
        first, last = self._simulate(spikes)
        delta = count_errors(last.sum(0, dtype=np.float64), label, self.steps) / OUTPUT.v_th
        factor = inhibition_factor(last, label)
        seen = with_target_spikes(last, label)
        potentials = Potentials.of_layer(raster_to_spikes(first), seen, len(output.weights), OUTPUT)
        # before the output's weights are moved
        back = (output.weights * potentials.per_spike()) @ delta / HIDDEN.v_th
        output.update(potentials, delta * factor, lr)
        potentials = Potentials.of_layer(spikes, first, len(hidden.weights), HIDDEN)
        hidden.update(potentials, back, lr)
