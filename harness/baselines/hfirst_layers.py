"""The layers of HFirst and its filter against noise, as compiled loops over events or spikes.

Events are rows x, y, t, polarity; spikes are rows x, y, t, k, where k is an orientation or a class.
From S1 on t is in milliseconds.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.baselines.compiled import compiled
from harness.baselines.rows import Rows

NEVER = -(2**62)  # a time before all others

# In whole numbers, so that 32 bits are exact.
Potentials: TypeAlias = NDArray[np.float32]
Times: TypeAlias = NDArray[np.int64]
# Of a neuron: its threshold, its decay a millisecond, its refractory period in milliseconds.
Neuron: TypeAlias = tuple[float, float, int]


@compiled
def denoised(events: Rows, window: int, last: Times) -> Rows:
    """Events with another at one of the eight pixels around them less than `window` before.

    An event that repeats the one before it, of the same pixel and polarity, is left out too, as in
    the authors' code. `last` (H + 2, W + 2) comes full of NEVER.
    """
    kept = np.empty_like(events)
    found = 0
    x0, y0, p0 = -1, -1, -1
    for n in range(len(events)):
        x, y, t, p = events[n, 0], events[n, 1], events[n, 2], events[n, 3]
        if x == x0 and y == y0 and p == p0:
            continue
        last[y + 1, x + 1] = NEVER  # its own pixel does not count
        near = 0
        for row in range(y, y + 3):
            for column in range(x, x + 3):
                near += t - last[row, column] < window
        if near:
            kept[found] = events[n]
            found += 1
        last[y + 1, x + 1] = t
        x0, y0, p0 = x, y, p
    return kept[:found]


@compiled
def integrated(potential: Potentials, weights: Potentials, leak: float, threshold: float) -> int:
    """Potentials fall by `leak` towards 0, weights are added; which neuron fires, -1 for none.

    It is the first of those above the threshold, and sets them all to 0.
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


@compiled
def s1(events: Rows, filters: Potentials, neuron: Neuron, potential: Potentials) -> Rows:
    """Spikes of a neuron at each pixel for each polarity and orientation.

    `filters` (y, x, K) is of odd size; `potential` (2, H, W, K) comes as 0, and holds at the end
    what each neuron had when it was last sent an event.
    """
    threshold, decay, refractory = neuron
    reach = filters.shape[0] // 2
    height, width = potential.shape[1], potential.shape[2]
    updated = np.zeros(potential.shape[:3], np.int64)
    fired = np.full(potential.shape[:3], NEVER, np.int64)
    spikes = np.empty((len(events) + 1, 4), np.int64)
    found = 0
    for n in range(len(events)):
        x, y, t, p = events[n, 0], events[n, 1], events[n, 2], events[n, 3]
        for row in range(max(0, y - reach), min(height, y + reach + 1)):
            for column in range(max(0, x - reach), min(width, x + reach + 1)):
                if t - fired[p, row, column] <= refractory:
                    continue
                weights = filters[y - row + reach, x - column + reach]
                leak = decay * (t - updated[p, row, column])
                updated[p, row, column] = t
                winner = integrated(potential[p, row, column], weights, leak, threshold)
                if winner < 0:
                    continue
                fired[p, row, column] = t
                if found == len(spikes):
                    spikes = np.concatenate((spikes, np.empty_like(spikes)))
                spikes[found, 0], spikes[found, 1] = column, row
                spikes[found, 2], spikes[found, 3] = t, winner
                found += 1
    return spikes[:found]


@compiled
def pooled(spikes: Rows, size: int, refractory: int, last: Times) -> Rows:
    """C1 and C2: spikes of size x size places as one place's; after one, all its neurons rest.

    `last` (rows, columns of places) comes full of NEVER.
    """
    passed = np.empty_like(spikes)
    found = 0
    for n in range(len(spikes)):
        x, y, t = spikes[n, 0] // size, spikes[n, 1] // size, spikes[n, 2]
        if t - last[y, x] <= refractory:
            continue
        last[y, x] = t
        passed[found, 0], passed[found, 1] = x, y
        passed[found, 2], passed[found, 3] = t, spikes[n, 3]
        found += 1
    return passed[:found]


@compiled
def s2(spikes: Rows, weights: Potentials, neuron: Neuron, peak: Potentials) -> Rows:
    """Spikes of one neuron for each class, all at the place 0, 0, from those of C1.

    `weights` (y, x, K, classes); `peak` (classes,) is raised to the highest potentials that did
    not make one of them fire.
    """
    threshold, decay, refractory = neuron
    potential = np.zeros(len(peak), np.float32)
    out = np.zeros_like(spikes)
    found, updated, fired = 0, 0, NEVER
    for n in range(len(spikes)):
        x, y, t, k = spikes[n, 0], spikes[n, 1], spikes[n, 2], spikes[n, 3]
        if t - fired <= refractory:
            continue
        winner = integrated(potential, weights[y, x, k], decay * (t - updated), threshold)
        updated = t
        if winner < 0:
            peak[:] = np.maximum(peak, potential)
            continue
        fired = t
        out[found, 2], out[found, 3] = t, winner
        found += 1
    return out[:found]
