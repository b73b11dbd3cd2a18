"""What is timed: one iteration of a contender on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.proof.answer import Answer, Question
from harness.reference.precision import DTYPES
from harness.spec import Case, paper


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


class Ready(Protocol):
    """A contender's network, ready: one iteration is `run()`, on memory that `load` writes to."""

    @property
    def subject(self) -> object:
        """What the adapter has built."""
        ...

    @property
    def layout(self) -> str | None:
        """How the weights of its convolutions lie in memory; None where that is not known."""
        ...

    @property
    def compile_seconds(self) -> float | None:
        """What laying out the first batch took, of who compiles for its size then; else None."""
        ...

    def load(self, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> None:
        """Other weights and another batch. Raises ValueError where they do not fit."""
        ...

    def run(self) -> None:
        """One iteration, done when it returns or the device is synchronised."""
        ...

    @property
    def came(self) -> Came:
        """What the last iteration came to."""
        ...

    def gradients(self) -> list[Tensor]:
        """Of the last iteration, zeros where there is none; in training alone."""
        ...

    def updated(self) -> list[Tensor]:
        """The weights after the last iteration, of who has an optimiser of its own; else none."""
        ...

    def tapped(self, asked: Question) -> Answer:
        """The answer to a question with every layer's spikes."""
        ...

    def close(self) -> None:
        """It is not asked again."""
        ...
