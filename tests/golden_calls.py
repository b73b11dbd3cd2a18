"""What is called, in order, as short lines: for goldens of what is timed and what is examined."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.adapter import SpikeTap


class Calls:
    """Calls of modules (not those that a module makes itself), backward passes, optimiser steps."""

    def __init__(self, about: Callable[[Tensor], str] | None = None) -> None:
        self.lines: list[str] = []
        self.about = about  # says more of a module's input
        self._depth = 0
        self._silent = 0

    def say(self, line: str) -> None:
        """Adds a line, unless it is within `silence`."""
        if not self._silent:
            self.lines.append(line)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """What is called in the block adds no line."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._depth += 1
        if self._depth == 1:
            self.say(_called(module, inputs[0], self.about))

    def _leave(self, module: nn.Module, inputs: object, output: object) -> None:
        self._depth -= 1

    @contextmanager
    def recorded(self) -> Iterator[Calls]:
        """Records in the block. Memory that is tidied up counts too: it costs time."""
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
            register_optimizer_step_post_hook(lambda *of: self.say(_stepped(of[0]))),
        ]
        with pytest.MonkeyPatch.context() as patch:
            spied(patch, torch.Tensor, "backward", self.say, "backward")
            spied(patch, torch.optim.Optimizer, "zero_grad", self.say, "zero_grad")
            patch.setattr(torch.autograd, "grad", self._grad(torch.autograd.grad))
            for name in ("collect", "disable", "enable"):  # said, and not done: it takes long
                patch.setattr(gc, name, lambda name=name: self.say(f"gc.{name}"))
            try:
                yield self
            finally:
                for handle in handles:
                    handle.remove()

    def _grad(self, grad: Callable[..., Any]) -> Callable[..., Any]:
        def said(
            outputs: Tensor, inputs: Any, grad_outputs: Tensor, retain_graph: bool | None = None
        ) -> Any:
            wanted = ", ".join(_layout(each) for each in inputs)
            self.say(f"gradients of {wanted} from {_layout(grad_outputs)}")
            return grad(outputs, inputs, grad_outputs, retain_graph)

        return said


def spied(
    patch: pytest.MonkeyPatch, of: Any, name: str, say: Callable[[str], None], line: str
) -> None:
    """Has every call of `of.name` say the line first."""
    real = getattr(of, name)

    def call(*given: Any, **named: Any) -> Any:
        arguments = [f"{key}={value}" for key, value in named.items()]
        say(" ".join([line, *arguments]))
        return real(*given, **named)

    patch.setattr(of, name, call)


def _called(module: nn.Module, x: Tensor, about: Callable[[Tensor], str] | None) -> str:
    words = [type(module).__name__, _layout(x)]
    weights = next(module.parameters(), None)
    if weights is not None:
        words.append(f"weights {_layout(weights)}")
    words.append("training" if module.training else "evaluating")
    if torch.is_inference_mode_enabled():
        words.append("in inference mode")
    elif not torch.is_grad_enabled():
        words.append("without gradients")
    if torch.is_autocast_enabled("cpu"):
        words.append(f"under autocast to {torch.get_autocast_dtype('cpu')}")
    if any(isinstance(each, SpikeTap) and each.recording for each in module.modules()):
        words.append("taps on")
    return ", ".join(words + ([about(x)] if about else []))


def _layout(x: Tensor) -> str:
    """Type, shape and how it lies in memory, where that is not in the order of its shape."""
    text = f"{str(x.dtype).removeprefix('torch.')} {'x'.join(map(str, x.shape))}"
    if x.is_contiguous():
        return text
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return f"{text} channels last"
    return f"{text} by {'x'.join(map(str, x.stride()))}"


def _stepped(optimiser: torch.optim.Optimizer) -> str:
    group = optimiser.param_groups[0]
    chosen = ("lr", "momentum", "betas", "fused")
    said = [f"{name}={group[name]}" for name in chosen if name in group]
    return " ".join([type(optimiser).__name__, "step", *said])
