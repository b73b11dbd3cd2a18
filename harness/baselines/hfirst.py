"""HFirst: oriented filters of spiking neurons, of which the first to fire wins (Orchard 2015a).

Events go through a filter against noise and four layers. S1: at each pixel, for ON and for OFF, one
neuron for each of 12 Gabor filters of 7 x 7 pixels. Its potential falls towards 0 by a constant
each millisecond, an event adds the filter's weight, and above the threshold it fires: all
orientations of its place go back to 0 and rest. C1: 4 x 4 pixels are one place; after a spike all
its orientations rest. S2: one neuron for each class sees all of C1. Its weights are the C1 spikes
of the class's training recordings, counted by place and orientation; a spike resets all. C2:
8 x 8 places of S2 are one; as S2 has a single place, as in the authors' code for N-MNIST, all its
spikes pass. The class is that of most C2 spikes, the "hard" one of the two rules published.

Parameters and the order of steps are those of the authors' Matlab code (gorchard/HFIRST). Of the
orientations of a place that one event brings above the threshold at once it lets all fire, and C1
passes the first of them on. Of classes with equally many C2 spikes it takes the first by number. A
recording without C2 spikes is an error there. From S1 on t is in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.baselines import gabor
from harness.baselines.contract import Answers, Baseline, ProgressCallback, Recordings, indices
from harness.baselines.events import NEVER, NEXT_8, Rows, compiled, denoise, rows_of
from harness.datasets.events import Events

# Potentials and weights in whole mV (S1) or 0.1 mV (S2), so that 32 bits are exact.
Voltages: TypeAlias = NDArray[np.float32]
Spike: TypeAlias = tuple[int, int, int, int]  # x, y, t, and k, an orientation or a class
# From HFIRST.m and full_NMINST_example.m of the authors' code.
NOISE_US = 10_000
NORM = 100.0  # mV, of a filter and of a class's weights
# Of a neuron: its threshold, its decay a millisecond, its refractory period in milliseconds.
S1 = (150.0, 25.0, 5)  # in mV
LEAST, SILENT = 1.0, -1.0  # mV: weights of S2 below the first become the second
S2 = (1500.0, 10.0, 5)  # in tenths of a mV, as the code has it
C1_POOL, C2_POOL = 4, 8  # pixels, places
REFRACTORY = 5  # ms, of C1 and C2


def s1_filters() -> Voltages:
    """Return the Gabor filters in whole mV, (y, x, K)."""
    filters = np.rint(NORM * gabor.bank()).transpose(1, 2, 0)
    return np.ascontiguousarray(filters, np.float32)


def s2_weights(counts: NDArray[np.float64]) -> Voltages:
    """Scale counts of C1 spikes (y, x, K, classes) to weights of norm 100 mV, in whole 0.1 mV."""
    norms = np.sqrt((counts**2).sum((0, 1, 2)))
    scaled = NORM * counts / np.maximum(norms, 1)  # without a spike 0 remains 0
    heard = np.where(scaled < LEAST, SILENT, scaled)
    return np.ascontiguousarray(np.rint(10 * heard), np.float32)


def class_of_spikes(spikes: Rows, peak: Voltages) -> int:
    """Return the class of most C2 spikes (ties: first to fire); if none, of the highest peak."""
    if len(spikes) == 0:
        return int(peak.argmax())
    classes, first, counts = np.unique(spikes[:, 3], return_index=True, return_counts=True)
    most = counts == counts.max()
    return int(classes[most][first[most].argmin()])


def without_repeats(events: Rows) -> Rows:
    """Drop events that repeat the pixel and polarity of the event before, as the authors do."""
    same = (np.diff(events[:, [0, 1, 3]], axis=0) == 0).all(1)
    return np.concatenate([events[:1], events[1:][~same]])


@compiled
def integrate(potential: Voltages, weights: Voltages, leak: float, threshold: float) -> int:
    """Move potentials (K,) towards 0 by `leak` and add the weights, in place.

    Returns the first neuron above the threshold and sets all to 0, or returns -1 if there is none.
    """
    fall = np.float32(leak)
    for k in range(len(potential)):
        v = potential[k]
        potential[k] = v - min(max(v, -fall), fall) + weights[k]
    for k in range(len(potential)):
        if potential[k] > threshold:
            potential[:] = 0
            return k
    return -1


def collect(spikes: Iterator[Spike]) -> Rows:
    """Return the spikes of a layer as rows (M, 4)."""
    return np.fromiter(spikes, (np.int64, 4))


@compiled
def s1(events: Rows, filters: Voltages, sensor: tuple[int, int]) -> Iterator[Spike]:
    """Yield the S1 spikes: one neuron at each pixel for each polarity and orientation.

    `filters` (y, x, K) are square with an odd side.
    """
    threshold, decay, refractory = S1
    reach = filters.shape[0] // 2
    height, width = sensor
    # for each neuron: time of its last event, potential then, and time of its last spike
    updated = np.zeros((2, height, width), np.int64)
    potential = np.zeros((2, height, width, filters.shape[2]), np.float32)
    fired = np.full((2, height, width), NEVER)
    for n in range(len(events)):
        x, y, t, p = events[n, 0], events[n, 1], events[n, 2], events[n, 3]
        for row in range(max(0, y - reach), min(height, y + reach + 1)):
            for column in range(max(0, x - reach), min(width, x + reach + 1)):
                if t - fired[p, row, column] <= refractory:
                    continue
                weights = filters[y - row + reach, x - column + reach]
                leak = decay * (t - updated[p, row, column])
                updated[p, row, column] = t
                winner = integrate(potential[p, row, column], weights, leak, threshold)
                if winner >= 0:
                    fired[p, row, column] = t
                    yield column, row, t, winner


@compiled
def pool(spikes: Rows, size: int, places: tuple[int, int]) -> Iterator[Spike]:
    """Pool spikes over size x size places, as C1 and C2 do, onto `places` (rows, columns).

    After a spike a place rests for REFRACTORY ms, whatever the orientation.
    """
    last = np.full(places, NEVER)
    for n in range(len(spikes)):
        x, y, t = spikes[n, 0] // size, spikes[n, 1] // size, spikes[n, 2]
        if t - last[y, x] > REFRACTORY:
            last[y, x] = t
            yield x, y, t, spikes[n, 3]


@compiled
def s2(spikes: Rows, weights: Voltages, peak: Voltages) -> Iterator[Spike]:
    """Yield the S2 spikes of one neuron a class, all at place (0, 0), from C1's spikes.

    `weights` (y, x, K, classes); `peak` (classes,) is raised in place to the highest potentials
    after which no neuron fired.
    """
    threshold, decay, refractory = S2
    potential = np.zeros(len(peak), np.float32)
    updated, fired = 0, NEVER
    for n in range(len(spikes)):
        x, y, t, k = spikes[n, 0], spikes[n, 1], spikes[n, 2], spikes[n, 3]
        if t - fired <= refractory:
            continue
        winner = integrate(potential, weights[y, x, k], decay * (t - updated), threshold)
        updated = t
        if winner < 0:
            peak[:] = np.maximum(peak, potential)
        else:
            fired = t
            yield 0, 0, t, winner


class HFirst(Baseline[Recordings, int | None]):
    """Gabor filters of spiking neurons, of which the first to fire wins (Orchard et al. 2015a)."""

    TITLE, PAPER = "HFirst", "Orchard et al. 2015a"
    DATASETS, INPUT = ("dvs-cifar10", "nmnist"), "events"
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
    SIZES = {"quick": 6000, "default": 20_000, "paper": None}  # events of a recording; None: all

    def fit(
        self, train: Recordings, validation: Recordings, seed: int, tell: ProgressCallback
    ) -> None:
        """Count the C1 spikes of each class: they make the weights of the class's neuron."""
        self.sensor = train.sensor
        c1, c2 = (f"{size}x{size}" for size in (C1_POOL, C2_POOL))
        filters = f"2x{gabor.ORIENTATIONS} Gabors of {gabor.SIZE}x{gabor.SIZE}"
        self.structure = f"{filters}, C1 {c1}, one S2 neuron a class, C2 {c2}"
        self.filters = s1_filters()
        # rows and columns of C1; the sensor's edge may cut the last ones
        self.places = -(-train.sensor[0] // C1_POOL), -(-train.sensor[1] // C1_POOL)
        counts = np.zeros((train.classes, *self.places, gabor.ORIENTATIONS))
        for n in indices(train, tell, "C1 spikes of recording"):
            x, y, _, k = self.c1(train[n])[0].T
            np.add.at(counts[train.labels[n]], (y, x, k), 1)
        self.weights = s2_weights(counts.transpose(1, 2, 3, 0))

    def predict(self, test: Recordings) -> Answers:
        """Predict the class of most C2 spikes; the answers have the mean number of all spikes."""
        labels, spikes = np.zeros(len(test), np.int64), 0
        for n in range(len(test)):
            c1, count = self.c1(test[n])
            peak = np.zeros(self.weights.shape[3], np.float32)
            of_s2 = collect(s2(c1, self.weights, peak))
            c2 = collect(pool(of_s2, C2_POOL, (1, 1)))
            labels[n] = class_of_spikes(c2, peak)
            spikes += count + len(c1) + len(of_s2) + len(c2)
        return Answers(labels, spikes=spikes / len(test))

    def c1(self, events: Events) -> tuple[Rows, int]:
        """Return the C1 spikes of denoised events, and the number of S1 spikes."""
        seen = without_repeats(rows_of(events, self.sensor)[: self.sizes])
        seen = denoise(seen, self.sensor, NOISE_US, NEXT_8)
        seen[:, 2] = (seen[:, 2] + 500) // 1000  # in ms, rounded as the authors' code rounds
        spikes = collect(s1(seen, self.filters, self.sensor))
        return collect(pool(spikes, C1_POOL, self.places)), len(spikes)
