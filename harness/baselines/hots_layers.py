"""Time surfaces, their prototypes, and a layer of HOTS, as compiled loops over events.

Events are rows x, y, t in microseconds, polarity. A layer's memory (H + 2 R, W + 2 R, P) has the
time of the newest event of each polarity at each pixel, with a margin; it comes full of NEVER.
Entry ((R + dy) (2 R + 1) + R + dx) P + p of a surface is what polarity p has at the offset dx, dy.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.baselines.compiled import compiled
from harness.baselines.rows import Rows

NEVER = -(2**62)  # a time before all others
OLDEST = 5.0  # in tau: what is older adds nothing
RATE, SLOWER = 0.01, 20_000  # alpha = RATE / (1 + n / SLOWER)

Memory: TypeAlias = NDArray[np.int64]
Entries: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]
# Of a layer: R in pixels, tau in microseconds, and that every so many-th event makes a surface.
Reach: TypeAlias = tuple[int, float, int]


@compiled
def surface(
    event: NDArray[np.int64], memory: Memory, reach: Reach, entries: Entries, values: Values
) -> int:
    """S = exp(-(t - t_last) / tau) around an event that is in the memory: how many are not 0.

    They and their values are written at the beginning of `entries` and `values`.
    """
    radius, tau, _ = reach
    x, y, t = event[0], event[1], event[2]
    polarities, width, found = memory.shape[2], 2 * radius + 1, 0
    for row in range(width):
        for column in range(width):
            for p in range(polarities):
                age = t - memory[y + row, x + column, p]
                if age <= OLDEST * tau:
                    entries[found] = (row * width + column) * polarities + p
                    values[found] = np.exp(-age / tau)
                    found += 1
    return found


@compiled
def normalised(values: Values, radius: int) -> bool:
    """Scales a surface to norm 1. False, and it is skipped, where its sum is not above 2 R."""
    total, square = 0.0, 0.0
    for n in range(len(values)):
        total += values[n]
        square += values[n] * values[n]
    if total <= 2 * radius:
        return False
    values /= np.sqrt(square)
    return True


@compiled
def nearest(
    entries: Entries, values: Values, prototypes: Values, norms: Values
) -> tuple[int, float]:
    """The prototype nearest in direction to a surface of norm 1, and their cosine.

    `prototypes` (E, N) have `norms` (N,). The first of equal ones wins.
    """
    cosines = np.zeros(prototypes.shape[1])
    for n in range(len(entries)):
        row, value = prototypes[entries[n]], values[n]
        for k in range(len(cosines)):
            cosines[k] += value * row[k]
    cosines /= norms
    winner = int(np.argmax(cosines))
    return winner, cosines[winner]


@compiled
def moved(prototypes: Values, k: int, step: float, entries: Entries, values: Values) -> float:
    """C += step (S - C) for the k-th prototype; its norm afterwards."""
    for e in range(len(prototypes)):
        prototypes[e, k] -= step * prototypes[e, k]
    for n in range(len(entries)):
        prototypes[entries[n], k] += step * values[n]
    square = 0.0
    for e in range(len(prototypes)):
        square += prototypes[e, k] ** 2
    return np.sqrt(square)


@compiled
def clustered(
    events: Rows, memory: Memory, reach: Reach, prototypes: Values, wins: NDArray[np.int64]
) -> None:
    """C += alpha beta (S - C) for each surface S, of norm 1, and the prototype C nearest to it.

    beta is their cosine; alpha falls with the number n of surfaces that the prototype has won.
    Both arrays change.
    """
    radius, _, every = reach
    entries, values = np.empty(len(prototypes), np.int64), np.empty(len(prototypes))
    norms = np.sqrt((prototypes**2).sum(0))
    for n in range(len(events)):
        event = events[n]
        memory[event[1] + radius, event[0] + radius, event[3]] = event[2]
        if n % every:
            continue
        found = surface(event, memory, reach, entries, values)
        if not normalised(values[:found], radius):
            continue
        k, beta = nearest(entries[:found], values[:found], prototypes, norms)
        alpha = RATE / (1 + wins[k] / SLOWER)
        norms[k] = moved(prototypes, k, alpha * beta, entries[:found], values[:found])
        wins[k] += 1


@compiled
def passed_on(events: Rows, memory: Memory, reach: Reach, prototypes: Values) -> Rows:
    """The events whose surface is not skipped, with its nearest prototype as their polarity."""
    radius, _, every = reach
    entries, values = np.empty(len(prototypes), np.int64), np.empty(len(prototypes))
    norms = np.sqrt((prototypes**2).sum(0))
    passed = np.empty_like(events)
    count = 0
    for n in range(len(events)):
        event = events[n]
        memory[event[1] + radius, event[0] + radius, event[3]] = event[2]
        if n % every:
            continue
        found = surface(event, memory, reach, entries, values)
        if not normalised(values[:found], radius):
            continue
        k, _ = nearest(entries[:found], values[:found], prototypes, norms)
        passed[count] = event
        passed[count, 3] = k
        count += 1
    return passed[:count]


@compiled
def example(events: Rows, memory: Memory, reach: Reach, start: int, dense: Values) -> bool:
    """Writes the first surface from event `start` on that is not skipped to `dense` (E,).

    False where there is none.
    """
    radius, _, every = reach
    entries, values = np.empty(len(dense), np.int64), np.empty(len(dense))
    for n in range(len(events)):
        event = events[n]
        memory[event[1] + radius, event[0] + radius, event[3]] = event[2]
        if n < start or n % every:
            continue
        found = surface(event, memory, reach, entries, values)
        if normalised(values[:found], radius):
            for i in range(found):
                dense[entries[i]] = values[i]
            return True
    return False
