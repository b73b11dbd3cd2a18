"""The event kernels by shape and density, beside what they replace."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

# maps, outputs, height and width of convolutions of Table 1's networks, and images
SHAPES = ((128, 256, 16, 40), (512, 1024, 8, 40), (128, 128, 34, 20))
DENSITIES = (0.05, 0.15, 0.3, 0.6)
WORK = ("forward", "weight gradient")


class Convolution:
    """One layer's work on random counts of a pool's windows."""

    params = (SHAPES, DENSITIES, WORK)
    param_names = ("maps, outputs, side, images", "density", "work")
    timeout = 120

    def setup(self, shape: tuple[int, int, int, int], density: float, work: str) -> None:
        """Events and weights; skipped where there are no kernels."""
        if find_spec("numba") is None:
            raise NotImplementedError("numba is missing")
        from harness.fused.event import choice, engine
        from harness.fused.parts import DENSE_CONVOLUTION

        maps, outputs, side, images = shape
        threads = torch.get_num_threads()
        of = choice.Shape("convolution", maps, side, side, outputs, True, "float32", threads)
        events = choice.random_events(of, images, density, torch.float32)
        weight, bias, dy = choice.random_tensors(of, images, torch.float32)
        values = events.values(torch.float32)
        self.run: Callable[[], object]
        self.dense: Callable[[], object]
        if work == "forward":
            self.run = lambda: engine.convolve(events, weight, bias)
            self.dense = lambda: DENSE_CONVOLUTION.forward(values, weight, bias)
        else:
            self.run = lambda: engine.convolution_gradient(dy, events, weight)
            self.dense = lambda: DENSE_CONVOLUTION.weight_gradient(dy, values, weight)
        self.run()

    def time_events(self, shape: tuple[int, int, int, int], density: float, work: str) -> None:
        """Seconds by events."""
        self.run()

    def track_ratio_to_dense(
        self, shape: tuple[int, int, int, int], density: float, work: str
    ) -> float:
        """Seconds by events over those of the dense form, the shortest of each."""
        from harness.fused.event import choice

        return choice.shortest(self.run) / choice.shortest(self.dense)


Convolution.track_ratio_to_dense.unit = "x dense"  # type: ignore[attr-defined]
