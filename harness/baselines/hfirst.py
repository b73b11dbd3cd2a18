"""HFirst: oriented filters of spiking neurons, of which the first to fire wins (Orchard 2015a).

Table 4 has a row "Random Forest (Orchard et al. 2015a)". What it cites is this paper, whose method
is no random forest; where the row's number comes from is not known.

Events go through a filter against noise and four layers. S1: at each pixel, for ON and for OFF, one
neuron for each of 12 Gabor filters of 7 x 7 pixels. Its potential falls towards 0 by a constant
each millisecond, an event adds the filter's weight, and above the threshold it fires: all
orientations of its place go back to 0 and rest. C1: 4 x 4 pixels are one place; after a spike all
its orientations rest. S2: one neuron for each class sees all of C1. Its weights are the C1 spikes
of the class's training recordings, counted by place and orientation; who fires sets all back. C2:
8 x 8 places of S2 are one; as S2 has a single place, as in the authors' code for N-MNIST, all its
spikes pass. The class is that of most C2 spikes, the "hard" one of the two rules published.

Parameters and the order of steps are those of the authors' Matlab code (gorchard/HFIRST). Of the
orientations of a place that one event brings above the threshold at once it lets all fire, and C1
passes the first of them on; here only the first fires. Of classes with equally many C2 spikes the
one that fired first is taken, there the first by number. A recording without C2 spikes is an error
there; here it gets the class whose S2 potential rose highest (if none rose above 0, class 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.baselines import gabor
from harness.baselines.contract import Answers, Effort, Recordings, Samples, Say
from harness.baselines.hfirst_layers import NEVER, Neuron, Potentials, denoised, pooled, s1, s2
from harness.baselines.rows import Rows, rows_of
from harness.datasets.events import Events
from harness.spec import UsageError

TITLE = "HFirst"
PAPER = "Orchard et al. 2015a"
DATASETS = ("dvs-cifar10", "nmnist")
INPUT = "events"
WINDOWS = ("whole", "first")
FIDELITY = "published code's parameters"
DEVIATIONS = (
    "numba instead of Matlab",
    "the parameters for N-MNIST on DVS-CIFAR10 too",
    "of orientations that one event makes fire only the first",
    "of equal classes the first to fire; without C2 spikes the highest S2 potential",
    "by default the first 20,000 events of a recording, in quick runs 6,000",
)
RANDOM = False
PACKAGES = ("numba",)

EVENTS: dict[Effort, int | None] = {"quick": 6000, "default": 20_000, "paper": None}
TOLD = 20  # after so many recordings it says how far it is


@dataclass(frozen=True)
class Parameters:
    """After HFIRST.m and full_NMINST_example.m of the authors' code."""

    noise_us: int = 10_000
    s1_norm: float = 100.0  # mV, of a filter
    s1: Neuron = (150.0, 25.0, 5)  # in mV
    c1_pool: int = 4  # pixels
    c1_refractory: int = 5  # ms
    s2_norm: float = 100.0  # mV, of a class's weights
    s2_least: float = 1.0  # mV: smaller weights are `s2_silent`
    s2_silent: float = -1.0  # mV
    s2: Neuron = (1500.0, 10.0, 5)  # in tenths of a mV, as the code has it
    c2_pool: int = 8  # places
    c2_refractory: int = 5  # ms


PUBLISHED = Parameters()


def in_milliseconds(rows: Rows) -> Rows:
    """With times rounded from microseconds, as the authors' code rounds them."""
    rounded = rows.copy()
    rounded[:, 2] = (rows[:, 2] + 500) // 1000
    return rounded


def s1_filters(parameters: Parameters) -> Potentials:
    """The bank in whole mV, (y, x, K)."""
    filters = np.rint(parameters.s1_norm * gabor.bank()).transpose(1, 2, 0)
    return np.ascontiguousarray(filters, np.float32)


def s2_weights(counts: NDArray[np.float64], parameters: Parameters) -> Potentials:
    """Weights in whole tenths of a mV of counted C1 spikes, both (y, x, K, classes)."""
    norms = np.sqrt((counts**2).sum((0, 1, 2)))
    scaled = parameters.s2_norm * counts / np.maximum(norms, 1)  # without a spike 0 remains 0
    heard = np.where(scaled < parameters.s2_least, parameters.s2_silent, scaled)
    return np.ascontiguousarray(np.rint(10 * heard), np.float32)


def decided(spikes: Rows, peak: Potentials) -> int:
    """The class of most C2 spikes, of equal ones the first to fire; without spikes, of the peak."""
    if len(spikes) == 0:
        return int(peak.argmax())
    classes, first, counts = np.unique(spikes[:, 3], return_index=True, return_counts=True)
    most = counts == counts.max()
    return int(classes[most][first[most].argmin()])


@dataclass(frozen=True, eq=False)
class _Fitted:
    sensor: tuple[int, int]
    weights: Potentials  # of S2: (y, x, K, classes)


@dataclass(eq=False)
class HFirst:
    """Four layers of spiking neurons; nothing of it is random, and nothing has to be chosen."""

    events: int | None  # of a recording, its first; None: all
    parameters: Parameters = PUBLISHED
    chosen: str = field(default="", init=False)
    _fitted: _Fitted | None = field(default=None, init=False)

    @property
    def structure(self) -> str:
        one = self.parameters
        filters = f"2x{gabor.ORIENTATIONS} Gabors of {gabor.SIZE}x{gabor.SIZE}"
        pools = f"C1 {one.c1_pool}x{one.c1_pool}", f"C2 {one.c2_pool}x{one.c2_pool}"
        return f"{filters}, {pools[0]}, one S2 neuron a class, {pools[1]}"

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        """Counts each class's C1 spikes. Raises UsageError for a sensor smaller than a filter."""
        assert isinstance(train, Recordings)
        height, width = train.sensor
        if min(height, width) < gabor.SIZE:
            raise UsageError(
                f"HFirst has filters of {gabor.SIZE}x{gabor.SIZE} pixels, and the sensor has "
                f"{width}x{height}: use recordings of a larger one"
            )
        filters = s1_filters(self.parameters)
        rows, columns = self._places(train.sensor)
        counts = np.zeros((train.classes, rows, columns, gabor.ORIENTATIONS))
        for n in range(len(train)):
            if n % TOLD == 0:
                tell(n / len(train), f"C1 spikes of recording {n:,} of {len(train):,}")
            x, y, _, k = self._to_c1(train[n], train.sensor, filters)[0].T
            np.add.at(counts[train.labels[n]], (y, x, k), 1)
        weights = s2_weights(counts.transpose(1, 2, 3, 0), self.parameters)
        self._fitted = _Fitted(train.sensor, weights)

    def predict(self, test: Samples) -> Answers:
        """The classes, and the mean number of spikes of all layers."""
        assert isinstance(test, Recordings) and self._fitted is not None
        filters = s1_filters(self.parameters)
        labels, spikes = np.zeros(len(test), np.int64), np.zeros(len(test), np.int64)
        for n in range(len(test)):
            c1, count = self._to_c1(test[n], self._fitted.sensor, filters)
            labels[n], later = self._of_c1(c1, self._fitted.weights)
            spikes[n] = count + len(c1) + later
        return Answers(labels, spikes=float(spikes.mean()))

    def _places(self, sensor: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of C1; the last ones may be cut by the sensor's edge."""
        height, width = sensor
        return -(-height // self.parameters.c1_pool), -(-width // self.parameters.c1_pool)

    def _to_c1(
        self, events: Events, sensor: tuple[int, int], filters: Potentials
    ) -> tuple[Rows, int]:
        """C1's spikes, and how many S1 had."""
        one, (height, width) = self.parameters, sensor
        rows = rows_of(events, sensor)[: self.events]
        rows = denoised(rows, one.noise_us, np.full((height + 2, width + 2), NEVER))
        potential = np.zeros((2, height, width, gabor.ORIENTATIONS), np.float32)
        spikes = s1(in_milliseconds(rows), filters, one.s1, potential)
        last = np.full(self._places(sensor), NEVER)
        return pooled(spikes, one.c1_pool, one.c1_refractory, last), len(spikes)

    def _of_c1(self, c1: Rows, weights: Potentials) -> tuple[int, int]:
        """The class, and how many spikes S2 and C2 had."""
        one = self.parameters
        peak = np.zeros(weights.shape[3], np.float32)
        spikes = s2(c1, weights, one.s2, peak)
        c2 = pooled(spikes, one.c2_pool, one.c2_refractory, np.full((1, 1), NEVER))
        return decided(c2, peak), len(spikes) + len(c2)


def build(effort: Effort, epochs: int) -> HFirst:
    """The published sizes at every effort; "paper" takes all events of a recording."""
    return HFirst(EVENTS[effort])
