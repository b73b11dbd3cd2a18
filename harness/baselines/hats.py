"""HATS: histograms of averaged time surfaces and a linear SVM (Sironi et al. 2018).

The sensor is divided in cells of K x K pixels. The local memory time surface of event i is, at each
offset z of up to R pixels, a sum over the events j before it, of its cell and its polarity, that
lie at x_i + z and are not older than dt:

    T_i(z) = sum of exp(-(t_i - t_j) / tau) over j with t_j in [t_i - dt, t_i)

The histogram of a cell and a polarity is the sum of the surfaces of its events, divided by the
number of the cell's events of both polarities. All of them in one vector of L2 norm 1 go to a
linear SVM. Before that, events without a neighbour in the last 10 ms are left out as noise.

The parameters are those of a public reproduction (fabrizio-ottati/HATS), whose author had them from
the paper's supplement; it does not reach the published accuracy. It differs in two ways: there an
event counts as a part of its own surface, and a histogram is divided by the events of its polarity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.baselines import svm
from harness.baselines.contract import Baseline, Labels, Recordings, indices, progress_part, silent
from harness.baselines.events import NEXT_4, Rows, compiled, denoise, rows_of
from harness.baselines.svm import Features
from harness.spec import ProgressCallback


@dataclass(frozen=True)
class HatsParameters:
    """Constants of the time surfaces."""

    cell: int  # K, in pixels
    radius: int  # R, in pixels
    reach_us: int  # dt
    tau_us: float

    @cached_property
    def decay(self) -> NDArray[np.float64]:
        """An event's weight by its age in us, (dt + 1,); 0 at age 0, as [t - dt, t) excludes t."""
        decay = np.exp(-np.arange(self.reach_us + 1) / self.tau_us)
        decay[0] = 0
        return decay

    def cells(self, sensor: tuple[int, int]) -> tuple[int, int]:
        """Return the numbers of rows and columns of cells; the edge may cut the last cells."""
        height, width = sensor
        return -(-height // self.cell), -(-width // self.cell)


NMNIST = HatsParameters(cell=5, radius=2, reach_us=100_000, tau_us=1e11)  # it does not decay
CIFAR10_DVS = HatsParameters(cell=12, radius=4, reach_us=10_000, tau_us=2e5)
DENOISE_US = 10_000
LARGE = 64  # pixels: from here on the parameters for 128 x 128, below those for 34 x 34


@compiled
def _add_surfaces(
    events: Rows,  # with cell and polarity as one number in place of the polarity
    decay: NDArray[np.float64],  # by age
    sums: NDArray[np.float64],  # (memories, 2 R + 1, 2 R + 1); written
) -> None:
    """Add each event's time surface, over the events of its cell's memory, to that memory's sum."""
    size = sums.shape[1]
    newest = np.full(sums.shape[0], -1, np.int64)
    previous = np.empty(len(events), np.int64)  # each event's predecessor in its memory
    for i in range(len(events)):
        x, y, t, memory = events[i, 0], events[i, 1], events[i, 2], events[i, 3]
        j = newest[memory]
        while j >= 0 and t - events[j, 2] < len(decay):
            row, column = events[j, 1] - y + size // 2, events[j, 0] - x + size // 2
            if 0 <= row < size and 0 <= column < size:
                sums[memory, row, column] += decay[t - events[j, 2]]
            j = previous[j]
        previous[i] = newest[memory]
        newest[memory] = i


def histograms(
    rows: Rows, sensor: tuple[int, int], parameters: HatsParameters
) -> NDArray[np.float64]:
    """Compute averaged time surfaces, by [cell, polarity, R + offset in y, R + offset in x]."""
    height, width = parameters.cells(sensor)
    cells, size = height * width, 2 * parameters.radius + 1
    x, y, t, p = rows.T
    cell = y // parameters.cell * width + x // parameters.cell
    sums = np.zeros((cells * 2, size, size))
    _add_surfaces(np.stack([x, y, t, 2 * cell + p], 1), parameters.decay, sums)
    count = np.bincount(cell, minlength=cells)
    return sums.reshape(-1, 2, size, size) / np.maximum(count, 1)[:, None, None, None]


def features(
    recordings: Recordings, parameters: HatsParameters, tell: ProgressCallback
) -> Features:
    """Denoise each recording and compute its histograms as one row, (N, D)."""
    vectors = []
    for n in indices(recordings, tell, "time surfaces, recording"):
        rows = rows_of(recordings[n], recordings.sensor)
        # as in the code that the parameters are from (tonic's Denoise), with an event at 0
        rows = denoise(rows, recordings.sensor, DENOISE_US, NEXT_4, first=0)
        surfaces = histograms(rows, recordings.sensor, parameters)
        vectors.append(surfaces.ravel().astype(np.float32))
    return np.stack(vectors)


class HATS(Baseline[Recordings, None]):
    """Histograms of averaged time surfaces and a linear SVM (Sironi et al. 2018)."""

    TITLE, PAPER = "HATS", "Sironi et al. 2018"
    DATASETS, INPUT = ("dvs-cifar10", "nmnist"), "events"
    FIDELITY = "published code's parameters"
    DEVIATIONS = (
        "parameters from third-party reproduction",
        "numba kernel",
        svm.LOSS,
        "not fitted again with the held-out samples",
    )
    RANDOM = False
    PACKAGES = ("scikit-learn", "numba")
    SIZES = dict.fromkeys(("quick", "default", "paper"))  # the published ones at every effort

    def fit(
        self, train: Recordings, validation: Recordings, seed: int, tell: ProgressCallback
    ) -> None:
        """Fit a linear SVM on the training recordings' histograms of averaged time surfaces."""
        one = self.parameters = CIFAR10_DVS if min(train.sensor) >= LARGE else NMNIST
        # surfaces take about 0.7 of the time
        seen = features(train, one, progress_part(tell, 0, 0.7)), train.labels
        held = features(validation, one, silent), validation.labels
        self.machine = svm.fit_linear_svm(seen, held, progress_part(tell, 0.7, 1))
        self.chosen = f"C = {self.machine.c:g}"
        (rows, columns), size = one.cells(train.sensor), 2 * one.radius + 1
        classes, number = self.machine.weight.shape
        self.structure = (
            f"{columns}x{rows} cells of {one.cell}x{one.cell}, "
            f"2 surfaces of {size}x{size} each: {number}-{classes}"
        )

    def predict(self, test: Recordings) -> Labels:
        return self.machine.predict(features(test, self.parameters, silent))
