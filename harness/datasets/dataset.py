"""What the file of a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import Bins, Events
from harness.datasets.recordings import Camera
from harness.datasets.samples import Samples, Split


class DataSet(Protocol):
    """What the file of a data set holds."""

    TITLE: str
    DOWNLOAD_MIB: int  # of the archives
    LAYOUT: str  # expected under the data root
    HOW: str  # to get it
    WHOLE: dict[Split, int]

    def inputs(self, root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]] | None:
        """The samples found: pixels (C, H, W), or event counts (T, C, H, W).

        Raises MissingReader where they cannot be read.
        """
        ...

    def stand_in(self, root: Path | None, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
        """What takes their place: from other data under `root`, else what packages embed."""
        ...

    def download(self, root: Path, split: Split) -> None:
        """Fetches them into `root`."""
        ...


class EventDataSet(DataSet, Protocol):
    """What the file of a data set of recordings holds too."""

    CAMERA: Camera

    def recordings(self, root: Path, split: Split) -> Samples[Events] | None:
        """The recordings found. Raises MissingReader where they cannot be read."""
        ...

    def simulated(self, root: Path | None, split: Split) -> Samples[Events]:
        """What takes their place, each as long as a whole recording."""
        ...

    def unrecorded(self, root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
        """Simulated events as frames; to train on, of images alone that no recording is of.

        Raises UsageError where they cannot be made.
        """
        ...
