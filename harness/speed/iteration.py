"""What is timed: one iteration of a contender, or of the floor, on a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.adapter import Adapter, Unsupported, Variant
from harness.reference.initialise import copy_parameters
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Case, paper
from harness.speed import floor
from harness.training import step


@dataclass(frozen=True)
class Workload:
    """A case and its batch. `layout` is the floor's; None for an adapter."""

    case: Case
    inputs: Tensor  # (T, B, C, H, W), on the CPU; a static image as (1, B, C, H, W)
    labels: Tensor  # (B,)
    static: bool
    layout: floor.Layout | None = None

    @classmethod
    def of(cls, case: Case, inputs: Tensor, labels: Tensor) -> Workload:
        """The workload of a batch (T, B, C, H, W); a static image is kept once."""
        static = paper.settings(case.dataset).static
        return cls(case, inputs[:1] if static else inputs, labels, static)

    def first(self, steps: int, samples: int | None = None) -> Workload:
        """The same over its first steps, and first samples."""
        samples = min(samples or self.case.batch_size, self.case.batch_size)
        steps = min(steps, self.case.T)
        case = replace(self.case, T=steps, batch_size=samples)
        inputs = self.inputs[:steps, :samples]
        return replace(self, case=case, inputs=inputs, labels=self.labels[:samples])

    @property
    def device(self) -> torch.device:
        """Where the iteration runs."""
        return torch.device(self.case.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return DTYPES[self.case.precision]

    def batch(self) -> Tensor:  # (T, B, C, H, W)
        """The inputs on the device; a static image expanded over the steps."""
        x = self.inputs.to(device=self.device, dtype=self.dtype)
        return x.expand(self.case.T, *x.shape[1:]) if self.static else x


def floor_iteration(work: Workload) -> Callable[[], object]:
    """One iteration of the floor in the workload's layout."""
    assert work.layout is not None
    case = work.case
    shape = floor.Shape(case.T, case.batch_size, work.static)
    products = floor.products(
        case.network, shape, work.layout, precision=case.precision, device=work.device
    )

    def iteration() -> None:
        for product in products:
            if case.mode == "training":
                product.train()
            else:
                product.infer()

    return iteration


Iteration = Callable[[], Tensor]
Make = Callable[[Workload], Iteration]


def iteration(adapter: Adapter, work: Workload, weights: ReferenceNetwork | None = None) -> Make:
    """Builds the adapter's module; what comes back makes its iteration on a workload.

    `weights` are copied in; None leaves what the module drew, which is enough for its memory.
    """
    module = adapter.build(work.case.network).to(device=work.device, dtype=work.dtype)
    if weights is not None:
        copy_parameters(weights, module)
    make = _training(module, work) if work.case.mode == "training" else _inference(module)
    if not (isinstance(adapter, Variant) and adapter.captured):
        return make
    if work.device.type != "cuda":
        raise Unsupported("CUDA graphs need a CUDA device: use another form")
    return lambda part: step.captured(make(part))


def _inference(module: nn.Module) -> Make:
    module.eval()

    def on(part: Workload) -> Iteration:
        x, precision = part.batch(), part.case.precision
        return lambda: step.inference(module, x, precision)

    return on


def _training(module: nn.Module, work: Workload) -> Make:
    case = work.case
    optimise = step.optimiser(module.parameters(), case.optimiser)

    def on(part: Workload) -> Iteration:
        x, labels = part.batch(), part.labels.to(part.device)

        def once() -> Tensor:
            return step.iteration(
                module,
                optimise,
                x,
                labels,
                classes=case.network.classes,
                precision=case.precision,
            ).loss

        return once

    return on
