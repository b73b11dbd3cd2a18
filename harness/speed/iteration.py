"""What is timed: one iteration of a contender on a batch, on memory that is its own.

A contender is a torch module with torch's optimiser, or a trainer in a runtime of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapters import foreign
from harness import adapter as contract
from harness.adapter import Adapter, Unsupported, Variant
from harness.proof.answer import Answer, Question, as_spikes, tapped_pass
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Timed, paper
from harness.system import clock
from harness.training import step


def question(case: Timed, weights: tuple[Tensor, ...], x: Tensor, labels: Tensor) -> Question:
    """The iteration of a case: x is (T, B, C, H, W), a static image (1, B, C, H, W)."""
    return Question(
        weights,
        x,
        steps=case.T,
        static=paper.settings(case.dataset).static,
        precision=case.precision,
        classes=case.network.classes,
        population=case.network.population,
        seed=case.seed,
        labels=labels,
        mode=case.mode,
    )


class Result(NamedTuple):
    """What an iteration came to, still on the device."""

    spikes: Tensor  # (T, B, N), of the voting layer
    loss: Tensor | None  # (); None in inference


class OfModule:
    """A torch module, ready: `run` is one iteration, on memory that `load` writes to."""

    compile_seconds = None  # what torch compiles, it compiles in the first iteration
    result: Result  # of the last iteration

    def __init__(self, adapter: Adapter, case: Timed, asked: Question) -> None:
        device, dtype = torch.device(case.device), DTYPES[case.precision]
        self.case = case
        self.subject = adapter.build(case.network).to(device=device, dtype=dtype)
        self._held = asked.x.to(device=device, dtype=dtype, copy=True)
        self._labels = labels_of(asked).to(device, copy=True)
        self._iterate = self._iteration()
        if isinstance(adapter, Variant) and adapter.captured:
            if device.type != "cuda":
                raise Unsupported("CUDA graphs need a CUDA device: use another form")
            self._iterate = step.captured(self._iterate)
        self.load(asked)

    def _iteration(self) -> Callable[[], Result]:
        case, module, labels = self.case, self.subject, self._labels
        x = self._held.expand(case.T, *self._held.shape[1:])
        if case.mode == "inference":
            module.eval()
            return lambda: Result(step.inference(module, x, case.precision), None)
        optimise = step.optimiser(module.parameters(), case.optimiser)
        objective, precision = step.Objective(case.network.classes), case.precision

        def once() -> Result:
            came = step.iteration(
                module, optimise, x, labels, objective=objective, precision=precision
            )
            return Result(came.spikes, came.loss)

        return once

    @property
    def layout(self) -> str | None:
        """How the weights of its convolutions lie in memory; None where it has none."""
        kernels = [p for p in self.subject.parameters() if p.dim() == 4 and p.shape[1] > 1]
        if not kernels:
            return None
        last = all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)
        return "channels_last" if last else "contiguous"

    @torch.no_grad()
    def load(self, asked: Question) -> None:
        """Other weights and another batch, written into the same memory.

        Raises ValueError where the parameters are not the module's.
        """
        ours = list(self.subject.parameters())
        found, wanted = ([tuple(p.shape) for p in each] for each in (ours, asked.parameters))
        if found != wanted:
            raise ValueError(
                "parameters are not the reference's in layer order (weight, bias, U): "
                f"expected shapes {wanted}, found {found}"
            )
        for parameter, given in zip(ours, asked.parameters, strict=True):
            parameter.copy_(given)
        self._held.copy_(asked.x)
        self._labels.copy_(labels_of(asked))

    def run(self) -> None:
        """One iteration, done when the device is synchronised."""
        self.result = self._iterate()

    def gradients(self) -> list[Tensor]:
        """Of the last iteration, zeros where there is none."""
        parameters = self.subject.parameters()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    def updated(self) -> list[Tensor]:
        """The weights after it, where the optimiser is the contender's own: torch's is not."""
        return []

    def tapped(self, asked: Question) -> Answer:
        """The answer to a question with every layer's spikes."""
        self.load(asked)
        return tapped_pass(self.subject, asked)

    def close(self) -> None: ...


class OfTrainer:
    """A trainer, ready. Batches are laid out before the clock starts, as other devices' are."""

    layout = None  # it is the runtime's own

    def __init__(self, make: contract.MakeTrainer, case: Timed, asked: Question) -> None:
        foreign.check(case.network, case.precision)
        settings = contract.TrainerSettings(
            case.precision, case.mode, case.optimiser, torch.get_num_threads()
        )
        self.case = case
        self.compile_seconds: float | None = None  # of the first batch, for whose size it may
        self.subject = make(case.network, settings)
        self._batch: Any = None
        self._loss: float | None = None
        self.load(asked)

    def load(self, asked: Question) -> None:
        self.subject.load(asked.parameters)
        x = asked.x.to(DTYPES[self.case.precision])
        watch = clock.Stopwatch(torch.device(self.case.device))
        self._batch = self.subject.put(x.expand(self.case.T, *x.shape[1:]), labels_of(asked))
        self.compile_seconds = self.compile_seconds or watch.seconds

    def run(self) -> None:
        if self.case.mode == "training":
            self._loss = self.subject.step(self._batch)
        else:
            self.subject.infer(self._batch)

    @property
    def result(self) -> Result:
        loss = None if self._loss is None else torch.tensor(self._loss)
        return Result(self.subject.out(), loss)

    def gradients(self) -> list[Tensor]:
        return list(self.subject.gradients())

    def updated(self) -> list[Tensor]:
        return list(self.subject.parameters()) if self.case.mode == "training" else []

    def tapped(self, asked: Question) -> Answer:
        """The answer to a question with every layer's spikes, by a step of the trainer itself."""
        self.load(asked)
        spikes = tuple(
            as_spikes(each, f"layer {n}")
            for n, each in enumerate(self.subject.spikes(self._batch), 1)
        )
        self.run()
        gradients = self.gradients() if asked.mode == "training" else []
        return Answer(self.subject.out(), tuple(gradients), spikes)

    def close(self) -> None:
        self.subject.close()


Ready = OfModule | OfTrainer


def built(adapter: Adapter, case: Timed, asked: Question) -> Ready:
    """What is timed, with what it is asked in its memory. Raises Unsupported."""
    make = contract.trainer_of(adapter)
    return OfModule(adapter, case, asked) if make is None else OfTrainer(make, case, asked)


def built_to_try(adapter: Adapter, case: Timed, x: Tensor, labels: Tensor) -> Ready:
    """The same with weights as the reference draws them: whose answers nobody judges."""
    dtype = DTYPES[case.precision]
    reference = ReferenceNetwork(case.network).to(dtype)
    weights = tuple(each.detach() for each in reference.parameters())
    return built(adapter, case, question(case, weights, x.to(dtype), labels))


def labels_of(asked: Question) -> Tensor:  # (B,)
    assert asked.labels is not None
    return asked.labels
