"""What is timed: one iteration of a contender on a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.adapter import Adapter, Unsupported, Variant
from harness.reference.precision import DTYPES
from harness.spec import Case, paper
from harness.training import step


@dataclass(frozen=True)
class Workload:
    """A case and its batch."""

    case: Case
    inputs: Tensor  # (T, B, C, H, W), on the CPU; a static image as (1, B, C, H, W)
    labels: Tensor  # (B,)
    static: bool

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


class Came(NamedTuple):
    """What an iteration came to, still on the device."""

    spikes: Tensor  # (T, B, N), of the voting layer
    loss: Tensor | None  # (); None in inference


@dataclass(eq=False)
class Built:
    """A contender's network, ready: one iteration is `run()`, on memory that `load` writes to."""

    module: nn.Module
    inputs: Tensor  # (T, B, C, H, W); a static image as (1, B, C, H, W)
    labels: Tensor  # (B,)
    run: Callable[[], Came]

    @torch.no_grad()
    def load(self, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> None:
        """Other weights and another batch, written into the same memory.

        Raises ValueError where the parameters are not the module's.
        """
        ours = list(self.module.parameters())
        found, wanted = [tuple(p.shape) for p in ours], [tuple(p.shape) for p in parameters]
        if found != wanted:
            raise ValueError(
                "parameters are not the reference's in layer order (weight, bias, U): "
                f"expected shapes {wanted}, found {found}"
            )
        for parameter, given in zip(ours, parameters, strict=True):
            parameter.copy_(given)
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)


def built(adapter: Adapter, work: Workload) -> Built:
    """Builds what is timed, with the weights that the module drew. Raises Unsupported."""
    case = work.case
    module = adapter.build(case.network).to(device=work.device, dtype=work.dtype)
    held = work.inputs.to(device=work.device, dtype=work.dtype, copy=True)
    x = held.expand(case.T, *held.shape[1:]) if work.static else held
    labels = work.labels.to(work.device, copy=True)
    run = (
        _training(module, case, x, labels)
        if case.mode == "training"
        else _inference(module, case, x)
    )
    if isinstance(adapter, Variant) and adapter.captured:
        if work.device.type != "cuda":
            raise Unsupported("CUDA graphs need a CUDA device: use another form")
        run = step.captured(run)
    return Built(module, held, labels, run)


def _inference(module: nn.Module, case: Case, x: Tensor) -> Callable[[], Came]:
    module.eval()
    return lambda: Came(step.inference(module, x, case.precision), None)


def _training(module: nn.Module, case: Case, x: Tensor, labels: Tensor) -> Callable[[], Came]:
    optimise = step.optimiser(module.parameters(), case.optimiser)

    def once() -> Came:
        came = step.iteration(
            module,
            optimise,
            x,
            labels,
            classes=case.network.classes,
            precision=case.precision,
        )
        return Came(came.spikes, came.loss)

    return once
