"""The event kernels by shape and density, beside what they replace."""

from __future__ import annotations

from importlib.util import find_spec

import torch

# maps, outputs, height and width of convolutions of Table 1's networks, and images
Sizes = tuple[int, int, int, int]
SHAPES: tuple[Sizes, ...] = ((128, 256, 16, 40), (512, 1024, 8, 40), (128, 128, 34, 20))
DENSITIES = (0.05, 0.15, 0.3, 0.6)
WORK = ("forward", "weight gradient", "input gradient")


class Convolution:
    """One layer's work: on random counts of a pool's windows, or on marks where there is none."""

    params = (SHAPES, DENSITIES, WORK)
    param_names = ("maps, outputs, side, images", "density", "work")
    timeout = 120

    def setup(self, shape: Sizes, density: float, work: str) -> None:
        """Events and weights; skipped where there are no kernels."""
        if find_spec("numba") is None:
            raise NotImplementedError("numba is missing")
        from adapters.fused import choice

        maps, outputs, side, images = shape
        threads = torch.get_num_threads()
        pooled = work != "input gradient"  # a pool leaves no marks
        of = choice.Shape("convolution", maps, side, side, outputs, pooled, "float32", threads)
        self.run, self.dense = choice.parts_of(of, images, density)[work]
        self.run()

    def time_events(self, shape: Sizes, density: float, work: str) -> None:
        """Seconds by events."""
        self.run()

    def track_ratio_to_dense(self, shape: Sizes, density: float, work: str) -> float:
        """Seconds by events over those of the dense form, the median of rounds."""
        from adapters.fused import choice

        return choice.over([self.run], self.dense)[0]


Convolution.track_ratio_to_dense.unit = "x dense"  # type: ignore[attr-defined]
