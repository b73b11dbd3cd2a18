"""Frames of 5 ms for fully connected layers of spiking neurons, and what such layers answer.

No system of its own: STBP and Lee et al. use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.baselines.contract import Answers, Recordings
from harness.datasets.events import BIN_US
from harness.spec import UsageError

MOST_BINS = 70  # 350 ms: recordings of N-MNIST last about 308 ms
TOGETHER = 100  # recordings that are asked about at once


@dataclass(frozen=True)
class Binning:
    """How recordings of a sensor become frames."""

    sensor: tuple[int, int]  # (H, W)
    bins: int

    @classmethod
    def of(cls, recordings: Recordings) -> Binning:
        """As many frames as the longest of them has, cut where N-MNIST's recordings have ended."""
        return cls(recordings.sensor, min(-(-recordings.longest_us // BIN_US), MOST_BINS))

    @property
    def inputs(self) -> int:
        """Pixels of both polarities."""
        height, width = self.sensor
        return 2 * height * width

    def frames(self, recordings: Recordings, chosen: Tensor) -> Tensor:  # -> (B, T, 2, H, W)
        """Of the chosen ones, when they are needed: all at once may not fit in memory.

        Raises UsageError for recordings of another sensor.
        """
        if recordings.sensor != self.sensor:
            learned, asked = ("{}x{}".format(*each) for each in (self.sensor, recordings.sensor))
            raise UsageError(
                f"it learned from recordings of {learned} pixels and is asked about {asked}: "
                "use one sensor"
            )
        return torch.from_numpy(recordings.part(chosen.numpy()).frames(self.bins)).float()


@torch.inference_mode()
def answers(
    layers: Callable[[Tensor], Sequence[Tensor]], binning: Binning, test: Recordings
) -> Answers:
    """The output neurons that fire most; `layers` says the spikes (T, B, N) of each layer."""
    counts, fired = [], 0.0
    for chosen in torch.arange(len(test)).split(TOGETHER):
        spikes = layers(binning.frames(test, chosen))
        counts.append(spikes[-1].sum(0))
        fired += sum(float(each.sum()) for each in spikes)
    return Answers(torch.cat(counts).argmax(1).numpy(), spikes=fired / len(test))
