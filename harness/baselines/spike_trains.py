"""Spike trains of leaky neurons with synapses, and the potentials that they leave: HM2-BP's loops.

No system of its own: HM2-BP uses it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.baselines.compiled import compiled
from harness.datasets.events import Events

STEP_US = 600
REACH = 4  # time constants tau_m, after which a spike is forgotten

Array = NDArray[np.float64]
Raster = NDArray[np.bool_]  # (steps, N): who fires when


class Train(NamedTuple):  # numba reads no dataclass
    """Spikes of many neurons, in the order of time."""

    times: NDArray[np.int64]  # (M,) in steps, from 1
    owners: NDArray[np.int64]  # (M,)


class Neuron(NamedTuple):
    """The constants of a layer; times in steps."""

    v_th: float
    rest: int  # after a spike
    tau_m: float  # of the potential
    tau_s: float  # of the synapse
    inhibition: float  # of each other neuron of the layer, by a spike


@compiled
def fired(weights: Array, spikes: Train, steps: int, neuron: Neuron) -> Raster:
    """Who of a layer with `weights` (I, O) fires when; a spike acts in the step after it."""
    raster = np.zeros((steps, weights.shape[1]), np.bool_)
    v, ep = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    given = np.zeros(weights.shape[1])
    resting, last = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    n = 0
    for t in range(1, steps):
        given[:] = -neuron.inhibition * last.sum()
        while n < len(spikes.times) and spikes.times[n] < t:
            given += weights[spikes.owners[n]]
            n += 1
        for i in range(len(v)):
            ep[i] += given[i] + neuron.inhibition * last[i] - ep[i] / neuron.tau_s
            v[i] += ep[i] / neuron.tau_s - v[i] / neuron.tau_m
            if resting[i] > 0:
                v[i] = 0.0
                resting[i] -= 1.0
            last[i] = 0.0
            if v[i] > neuron.v_th:
                raster[t, i] = True
                v[i], last[i], resting[i] = 0.0, 1.0, neuron.rest
    return raster


@compiled
def summed(spikes: Train, raster: Raster, inputs: int, neuron: Neuron) -> Array:
    """The sum e (I, O) of what each input left at the spikes of each neuron of a layer.

    A spike of an input has left nothing but its current where the neuron fired after it.
    """
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
            newest = time - neuron.rest  # a spike at `newest` arrives now: t = 0
            first = np.searchsorted(spikes.times, time - reach)
            fresh = max(first, np.searchsorted(spikes.times, newest - s))
            end = np.searchsorted(spikes.times, min(newest, time - 1) + 1)
            for n in range(first, fresh):  # t > s: its current was there, not its potential
                row[spikes.owners[n]] += fall[newest - s - spikes.times[n]] * rise[s]
            for n in range(fresh, end):
                row[spikes.owners[n]] += rise[newest - spikes.times[n]]
            since = time + neuron.rest
        e[:, i] = row
    return e


@compiled
def descend(
    weights: Array, e: Array, push: Array, shrink: Array, moments: tuple[Array, Array], lr: float
) -> None:
    """A step of Adam in place, against the gradient e push and the weights' decay w shrink.

    `lr` is corrected for what the moments lack at first.
    """
    first, second = moments
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            g = e[i, j] * push[j] + weights[i, j] * shrink[j]
            first[i, j] = 0.9 * first[i, j] + 0.1 * g
            second[i, j] = 0.999 * second[i, j] + 0.001 * g * g
            weights[i, j] -= lr * first[i, j] / (np.sqrt(second[i, j]) + 1e-8)


def train_of(events: Events, sensor: tuple[int, int], steps: int) -> Train:
    """Events as spikes, one a step at most of a pixel and polarity; later than `steps`, none."""
    height, width = sensor
    x, y = events["x"].astype(np.int64), events["y"].astype(np.int64)
    step = events["t"] // STEP_US + 1  # before the first step there is nothing
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (step < steps)
    owner = (events["p"].astype(np.int64) * height + y) * width + x
    inputs = 2 * height * width
    found = np.unique(step[inside] * inputs + owner[inside])
    return Train(found // inputs, found % inputs)


def train_from(raster: Raster) -> Train:
    """The spikes of a layer, as the input of the next."""
    times, owners = np.nonzero(raster)
    return Train(times.astype(np.int64), owners.astype(np.int64))  # astype: one after the other
