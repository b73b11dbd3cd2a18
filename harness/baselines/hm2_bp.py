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
(jinyyy666/mm-bp-snn); first weights are uniform there, though called Bernoulli. It makes recordings
stable, so that the digit does not move, weighs samples that were wrong more, and its best figure
is of the best epoch on test samples; nothing of that is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.baselines.contract import Answers, Effort, Recordings, Samples, Say, Window
from harness.baselines.spike_trains import (
    STEP_US,
    Array,
    Neuron,
    Raster,
    Train,
    descend,
    fired,
    summed,
    train_from,
    train_of,
)
from harness.baselines.system import Fidelity
from harness.spec import UsageError

TITLE = "HM2-BP"
PAPER = "Jin et al. 2018"
DATASETS = ("nmnist",)
INPUT = "events"
WINDOWS: tuple[Window, ...] = ("whole", "first")
FIDELITY: Fidelity = "published code's parameters"
DEVIATIONS = (
    "numba kernel",
    "recordings are not stabilised",
    "all samples weigh the same",
    "wanted counts go with the length of recordings",
    "the last epoch instead of the best on test samples",
    "by default 100 hidden units, not 800, and 8 epochs, not 200",
)
RANDOM = True
PACKAGES = ("numba",)
EPOCHS: Mapping[Effort, int] = {"quick": 3, "default": 8, "paper": 200}

LONGEST = 540  # of a recording there; the wanted counts are for so many
HIDDEN = Neuron(v_th=15.0, rest=2, tau_m=64.0, tau_s=8.0, inhibition=0.0)
OUTPUT = HIDDEN._replace(inhibition=1.0)
SILENT_EFFECT = 0.1  # e where the neuron is silent and its input is not
SILENT_RATIO = 0.5  # e / o where the neuron is silent
TOLD = 10  # after so many recordings it says how far it is


@dataclass(frozen=True)
class Parameters:
    """Of the network and its training, all the published code's."""

    hidden: int = 800
    limit: float = 8.0  # of weights
    strength: float = 10.0  # lambda of their decay
    beta: float = 0.01
    wanted: float = 35.0  # spikes of the sample's class in LONGEST steps
    unwanted: float = 5.0  # of the others
    margin: float = 5.0
    lr: float = 1e-3  # over the root of the epoch's number

    @property
    def distance(self) -> int:
        """Steps between wanted spikes."""
        return int(LONGEST / self.wanted)


@dataclass(frozen=True, eq=False)
class Passed:
    """What the spikes of a layer's inputs had to do with its own."""

    e: Array  # (I, O)
    before: Array  # (I,) counts of spikes
    after: Array  # (O,)


def passed(spikes: Train, raster: Raster, inputs: int, neuron: Neuron) -> Passed:
    """Their potentials, silent neurons included."""
    before = np.bincount(spikes.owners, minlength=inputs).astype(np.float64)
    after = raster.sum(0).astype(np.float64)
    e = summed(spikes, raster, inputs, neuron)
    e[:, after == 0] = SILENT_EFFECT * (before > 0)[:, None]
    return Passed(e, before, after)


def by_input(found: Passed) -> Array:  # (I, O)
    """What e changes by with an input's count: e / o, and 1 where one of the two is silent."""
    both = np.outer(found.before > 0, found.after > 0)
    return np.where(both, found.e / np.maximum(found.before, 1)[:, None], 1.0)


def pushed(weights: Array, found: Passed, delta: Array, neuron: Neuron) -> Array:  # (O,)
    """What e is multiplied by in the gradient, for errors `delta` of the counts over V_th."""
    weighted = np.einsum("io,io->o", weights, found.e) / np.maximum(found.after, 1)
    weighted = np.where(found.after > 0, weighted, SILENT_RATIO * weights.sum(0))
    return delta * (1 + weighted / neuron.v_th)


def returned(raster: Raster, label: int, neuron: Neuron) -> Array:  # (O,)
    """What outputs' gradients are multiplied by for the inhibition between them."""
    between = by_input(passed(train_from(raster), raster, raster.shape[1], neuron))
    answers = raster.sum(0) > 0
    answers[label] = True
    both = between * between.T * np.outer(answers, answers) / neuron.v_th**2
    np.fill_diagonal(both, 0.0)
    return 1 / (1 - neuron.inhibition**2 * both.sum(1))


def roused(raster: Raster, label: int, distance: int) -> Raster:
    """With spikes at equal distances where the output of the sample's class is silent."""
    if raster[:, label].any():
        return raster
    changed = raster.copy()
    changed[distance::distance, label] = True
    return changed


def errors(counts: Array, label: int, parameters: Parameters, steps: int) -> Array:  # (O,)
    """Counts less those that are wanted in so many steps; 0 within the margin."""
    wanted = np.full(len(counts), parameters.unwanted)
    wanted[label] = parameters.wanted
    share = steps / LONGEST
    over = counts - share * wanted
    return np.where(np.abs(over) > share * parameters.margin, over, 0.0)


class Layer:
    """Weights (I, O), and how they are moved."""

    def __init__(self, weights: Array, neuron: Neuron) -> None:
        self.weights, self.neuron = weights, neuron
        self._moments = np.zeros_like(weights), np.zeros_like(weights)
        self._number = 0

    def fired(self, spikes: Train, steps: int) -> Raster:
        return fired(self.weights, spikes, steps, self.neuron)

    def passed(self, spikes: Train, raster: Raster) -> Passed:
        return passed(spikes, raster, len(self.weights), self.neuron)

    def move(self, found: Passed, delta: Array, parameters: Parameters, lr: float) -> None:
        """A step of Adam against the gradient and the weight decay."""
        inputs, limit = len(self.weights), parameters.limit
        squares = np.einsum("io,io->o", self.weights, self.weights) / (inputs * limit**2)
        shrink = parameters.strength * parameters.beta / limit
        shrink = shrink * np.exp(parameters.beta * (squares - 1))
        push = pushed(self.weights, found, delta, self.neuron)
        self._number += 1
        lr *= sqrt(1 - 0.999**self._number) / (1 - 0.9**self._number)
        descend(self.weights, found.e, push, shrink, self._moments, lr)


class Network:
    """Two layers, taught by one recording at a time."""

    def __init__(self, sizes: tuple[int, int, int], seed: int) -> None:
        inputs, hidden, classes = sizes
        random = np.random.default_rng(seed)
        self.hidden = Layer(random.uniform(-1, 1, (inputs, hidden)), HIDDEN)
        self.output = Layer(random.uniform(-1, 1, (hidden, classes)), OUTPUT)

    def fired(self, spikes: Train, steps: int) -> tuple[Raster, Raster]:
        """The spikes of both layers."""
        first = self.hidden.fired(spikes, steps)
        return first, self.output.fired(train_from(first), steps)

    def learn(
        self, spikes: Train, label: int, steps: int, parameters: Parameters, lr: float
    ) -> None:
        """One step."""
        hidden, output = self.hidden, self.output
        first, last = self.fired(spikes, steps)
        delta = errors(last.sum(0), label, parameters, steps) / output.neuron.v_th
        factor = returned(last, label, output.neuron)
        found = output.passed(train_from(first), roused(last, label, parameters.distance))
        # before the output's weights are moved
        back = (output.weights * by_input(found)) @ delta / hidden.neuron.v_th
        output.move(found, delta * factor, parameters, lr)
        hidden.move(hidden.passed(spikes, first), back, parameters, lr)


class HM2BP:
    """Fitted on the events of recordings."""

    def __init__(self, parameters: Parameters, epochs: int) -> None:
        self._parameters, self._epochs = parameters, epochs
        self._sizes = (2312, parameters.hidden, 10)  # N-MNIST's, until it is fitted
        self._sensor, self._steps = (34, 34), LONGEST
        self._network: Network | None = None

    @property
    def structure(self) -> str:
        return "-".join(map(str, self._sizes))

    @property
    def chosen(self) -> str:
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        parameters, self._sensor = self._parameters, train.sensor
        self._steps = min(LONGEST, train.longest_us // STEP_US + 2)
        if self._steps <= parameters.distance:
            least = parameters.distance * STEP_US / 1000
            raise UsageError(
                f"recordings of {train.longest_us / 1000:.1f} ms are too short for the spikes that "
                f"an output is to have: use longer ones, of {least:g} ms at least"
            )
        self._sizes = (2 * train.sensor[0] * train.sensor[1], parameters.hidden, train.classes)
        tell(0.0, "compiling its loops")
        self._network = Network(self._sizes, seed)
        for epoch in range(1, self._epochs + 1):
            self._pass_over(train, epoch, seed, tell)

    def _pass_over(self, train: Recordings, epoch: int, seed: int, tell: Say) -> None:
        network = self._network
        assert network is not None
        lr = self._parameters.lr / sqrt(max(1, epoch - 1))  # the first two are alike there
        order = np.random.default_rng((seed, epoch)).permutation(len(train))
        for n, chosen in enumerate(order):
            spikes = train_of(train[int(chosen)], self._sensor, self._steps)
            label = int(train.labels[chosen])
            network.learn(spikes, label, self._steps, self._parameters, lr)
            if n % TOLD == 0:
                done = (epoch - 1 + n / len(order)) / self._epochs
                tell(done, f"epoch {epoch}/{self._epochs}")
        if not np.isfinite(network.hidden.weights).all():
            raise UsageError(f"weights are no numbers any more in epoch {epoch}: use fewer epochs")

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Recordings)
        network = self._network
        assert network is not None, "it is asked before it is fitted"
        if test.sensor != self._sensor:
            raise UsageError("it is asked about another sensor than it learned from: use one")
        labels, total = [], 0.0
        for n in range(len(test)):
            spikes = train_of(test[n], self._sensor, self._steps)
            first, last = network.fired(spikes, self._steps)
            labels.append(int(last.sum(0).argmax()))
            total += float(first.sum() + last.sum())
        return Answers(np.array(labels, np.int64), spikes=total / len(test))


_HIDDEN: Mapping[Effort, int] = {"quick": 32, "default": 100, "paper": 800}


def build(effort: Effort, epochs: int) -> HM2BP:
    return HM2BP(Parameters(hidden=_HIDDEN[effort]), epochs)
