"""What is timed of a contender in a runtime of its own: whole iterations of its trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters import foreign
from harness.adapter import MakeTrainer, Trainer, TrainerSettings
from harness.proof.answer import Answer, Question, as_spikes
from harness.speed.iteration import Came, Workload
from harness.system import clock


@dataclass(eq=False)
class OfTrainer:
    """A trainer, ready. Batches are laid out before the clock starts, as other devices' are."""

    subject: Trainer
    work: Workload
    _batch: Any = None
    _loss: float | None = None
    compile_seconds: float | None = None  # of the first batch, for whose size it may compile

    @property
    def layout(self) -> None:
        """It is the runtime's own."""
        return

    def load(self, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> None:
        """Other weights and another batch."""
        work = self.work
        self.subject.load(parameters)
        x = inputs.to(work.dtype)
        watch = clock.Stopwatch.started(work.device)
        self._batch = self.subject.put(x.expand(work.case.T, *x.shape[1:]), labels)
        self.compile_seconds = self.compile_seconds or watch.seconds

    def run(self) -> None:
        """One iteration."""
        if self.work.case.mode == "training":
            self._loss = self.subject.step(self._batch)
        else:
            self.subject.infer(self._batch)

    @property
    def came(self) -> Came:
        """What the last iteration came to."""
        loss = None if self._loss is None else torch.tensor(self._loss)
        return Came(self.subject.out(), loss)

    def gradients(self) -> list[Tensor]:
        """Of the last iteration."""
        return list(self.subject.gradients())

    def updated(self) -> list[Tensor]:
        """The weights after the last iteration."""
        return list(self.subject.parameters()) if self.work.case.mode == "training" else []

    def tapped(self, asked: Question) -> Answer:
        """The answer to a question with every layer's spikes, by a step of the trainer itself."""
        assert asked.labels is not None
        self.load(asked.parameters, asked.x, asked.labels)
        kept = self.subject.spikes(self._batch)
        spikes = tuple(as_spikes(each, f"layer {n}") for n, each in enumerate(kept, 1))
        self.run()
        gradients = self.gradients() if asked.mode == "training" else []
        return Answer(self.subject.out(), tuple(gradients), spikes)

    def close(self) -> None:
        """It is not asked again."""
        self.subject.close()


def of_trainer(make: MakeTrainer, work: Workload) -> OfTrainer:
    """Makes it. Raises Unsupported."""
    case = work.case
    foreign.check(case.network, case.precision)
    settings = TrainerSettings(case.precision, case.mode, case.optimiser, torch.get_num_threads())
    return OfTrainer(make(case.network, settings), work)
