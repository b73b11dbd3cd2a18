"""What is timed of a torch module: one iteration on memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.adapter import Adapter, Unsupported, Variant
from harness.proof.answer import Answer, Question, tapped_pass
from harness.spec import Case
from harness.speed.iteration import Came, Workload
from harness.training import step


@dataclass(eq=False)
class Built:
    """A torch module, ready."""

    subject: nn.Module
    inputs: Tensor  # (T, B, C, H, W); a static image as (1, B, C, H, W)
    labels: Tensor  # (B,)
    iterate: Callable[[], Came]
    _came: Came | None = None

    @property
    def came(self) -> Came:
        """What the last iteration came to."""
        assert self._came is not None, "nothing has run"
        return self._came

    @property
    def layout(self) -> str | None:
        """How the weights of its convolutions lie in memory; None where it has none."""
        kernels = [p for p in self.subject.parameters() if p.dim() == 4 and p.shape[1] > 1]
        if not kernels:
            return None
        last = all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)
        return "channels_last" if last else "contiguous"

    @property
    def compile_seconds(self) -> None:
        """What torch compiles, it compiles in the first iteration."""
        return

    def run(self) -> None:
        """One iteration."""
        self._came = self.iterate()

    def gradients(self) -> list[Tensor]:
        """Of the last iteration, zeros where there is none."""
        parameters = self.subject.parameters()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    def updated(self) -> list[Tensor]:
        """Nothing: torch's own optimiser is not in question."""
        return []

    def tapped(self, asked: Question) -> Answer:
        """The answer to a question with every layer's spikes."""
        assert asked.labels is not None
        self.load(asked.parameters, asked.x, asked.labels)
        return tapped_pass(self.subject, asked)

    def close(self) -> None:
        """There is nothing to end."""

    @torch.no_grad()
    def load(self, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> None:
        """Other weights and another batch, written into the same memory.

        Raises ValueError where the parameters are not the module's.
        """
        ours = list(self.subject.parameters())
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


def of_module(adapter: Adapter, work: Workload) -> Built:
    """Builds it, with the weights that the module drew. Raises Unsupported."""
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
            objective=step.Objective(case.network.classes),
            precision=case.precision,
        )
        return Came(came.spikes, came.loss)

    return once
