"""The adapter contract: what a framework must offer, spike taps, and tuned forms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.spec import SGD, Adam, Form, Mode, Network, Precision


class Unsupported(Exception):
    """This adapter cannot build this network; the message says why and what to use instead."""

    status: Literal["unsupported"] = "unsupported"  # of the case's row


@runtime_checkable
class Adapter(Protocol):
    """A module or a `Variant` that builds the paper's networks in one framework.

    A module may say five things more. `REVISION: int`, 0 where there is none, is raised by hand
    when what the adapter computes changes, or how fast it does: rows of an older revision are not
    taken for this one's. No check sees a change of speed alone.
    `computed(module) -> str` describes how the layers of its last call were computed, where it
    chooses by its input; each row of a timing keeps it. `compiles(device) -> bool`: whether kernels
    are still to be compiled there, which takes long and is shown.
    `PACKAGES: tuple[str, ...]` names packages that compute for it, besides the framework's own:
    a result depends on their versions too. `implementation(device) -> str`: which of several
    kernels runs there; then only those of `PACKAGES` that it names count on that device.

    A runtime without a torch module offers `trainer(network, settings) -> Trainer` besides `build`,
    which is then made of it (`adapters.foreign`): the trainer is timed.
    """

    @property
    def DEVIATIONS(self) -> tuple[str, ...]:
        """How the network deviates from the paper's, in words; empty if it claims not to."""
        ...

    @property
    def build(self) -> Callable[[Network], nn.Module]:
        """Builds `network` as a module that maps (T, B, C, H, W) to the voting spikes (T, B, N).

        Every call of the module starts from zero state. Its parameters come in layer order: weight,
        bias, then the layer's U where NeuNorm acts on its output. Raises Unsupported.
        """
        ...


@dataclass(frozen=True)
class TrainerSettings:
    """What a `Trainer` is made for."""

    precision: Precision  # fp32 or fp64, of all that it computes
    mode: Mode  # whether it is asked to `step` or to `infer`
    optimiser: SGD | Adam
    threads: int


class Trainer(Protocol):
    """Whole iterations in a runtime of its own.

    The tensors that it is given and gives are torch's, on the CPU, in the settings' precision; a
    weight or gradient has the reference's shape, and they come in layer order.
    """

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Set the weights, before all else. What the optimiser has gathered stays."""

    def put(self, x: Tensor, labels: Tensor) -> Any:
        """Lay a batch x (T, B, C, H, W) where `step` and `infer` find it, before the clock starts.

        A static image comes expanded over T: `harness.reference.synapses.is_static` tells. What
        sizes like these need to be compiled is compiled here.
        """

    def step(self, batch: Any) -> float:
        """Run one iteration to its end (forward, loss, backward, optimiser); return the loss."""
        ...

    def infer(self, batch: Any) -> None:
        """Run the forward pass alone. All is done when it returns."""

    def out(self) -> Tensor:  # (T, B, N)
        """Return the voting layer's spikes in the last `step` or `infer`."""
        ...

    def gradients(self) -> Sequence[Tensor]:
        """Return the gradients of the last step's loss, at the weights before it."""
        ...

    def parameters(self) -> Sequence[Tensor]:
        """Return the weights as they are now."""
        ...

    def spikes(self, batch: Any) -> Sequence[Tensor]:  # of each layer (T, B, ...)
        """Return all layers' spikes on a batch, at the weights as they are now."""
        ...

    def differentiate(self, batch: Any, back: Tensor) -> Sequence[Tensor]:
        """Return the gradients of the sum of the voting layer's spikes times `back` (T, B, N).

        A loss weighs all steps alike, and would not tell their order: the exam does.
        """
        ...

    def close(self) -> None:
        """Free the trainer's resources, after its last use."""


MakeTrainer = Callable[[Network, TrainerSettings], Trainer]


@dataclass(frozen=True)
class Variant:
    """Another form of a framework's network, loaded as `framework:variant`."""

    DEVIATIONS: tuple[str, ...]
    build: Callable[[Network], nn.Module]
    compiled: bool = False  # on the first call of each shape, which then takes minutes
    captured: bool = False  # its iteration is captured as one CUDA graph
    # Builds the exam's module, where it is not the timed one: that before it is compiled, since
    # each shape and each precision would be compiled separately. The audit proves the very object.
    build_uncompiled: Callable[[Network], nn.Module] | None = None
    trainer: MakeTrainer | None = None  # of a runtime without a torch module


def trainer_of(adapter: Adapter) -> MakeTrainer | None:
    """Return the function that makes an adapter's trainer; None if it builds torch modules."""
    return getattr(adapter, "trainer", None)


def exam_builder(adapter: Adapter) -> Callable[[Network], nn.Module]:
    """Return the function that builds the exam's module: `build`, unless that compiles it."""
    return getattr(adapter, "build_uncompiled", None) or adapter.build


class SpikeTap(nn.Module):
    """Marks a layer's spikes so that the certificate can see them; otherwise the identity.

    `multi_step`: the layer hands over all its steps in one call (T, B, ...), not one call a step.
    """

    def __init__(self, *, multi_step: bool = False) -> None:
        super().__init__()
        self.multi_step = multi_step
        self.kept: list[Tensor] | None = None

    @property
    def recording(self) -> bool:
        """Whether spikes are being recorded; a fused layer emits its spikes only then."""
        return self.kept is not None

    def forward(self, spikes: Tensor) -> Tensor:  # (B, ...) -> (B, ...), or (T, B, ...) -> the same
        if self.kept is not None:
            self.kept.append(spikes.detach())
        return spikes

    def collected(self) -> Tensor:  # (T, B, ...)
        """Return the spikes of the last call, over all steps."""
        assert self.kept, "no call was recorded"
        return self.kept[-1] if self.multi_step else torch.stack(self.kept)


@contextmanager
def record_spikes(module: nn.Module) -> Iterator[list[SpikeTap]]:
    """Record spikes in the block; yield the taps in layer order, to be read by `collected()`."""
    taps = [child for child in module.modules() if isinstance(child, SpikeTap)]
    for tap in taps:
        tap.kept = []
    try:
        yield taps
    finally:
        for tap in taps:
            tap.kept = None


# Each network, shape and precision is compiled separately; past its limit torch silently runs in
# eager mode, which would be timed as compiled.
RECOMPILE_LIMIT = 4096
DISABLING = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")  # with either it runs eagerly


def channels_last(module: nn.Module) -> nn.Module:
    """Return the same module, its four-dimensional weights laid out with the maps last."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def tuned(adapter: Adapter, form: Form) -> Variant:
    """Return the adapter with weights channels-last; `compiled` under torch.compile as well.

    `cuda-graph`: the whole step is captured by `speed/iteration.py`. The exam of
    `compiled` is of the module before it is compiled; the audit proves the compiled one.
    """

    def laid_out(network: Network) -> nn.Module:
        if trainer_of(adapter) is not None:
            raise Unsupported(f"{form} is a form of torch modules: use the plain form")
        return channels_last(adapter.build(network))

    def build(network: Network) -> nn.Module:
        module = laid_out(network)
        if form == "compiled":
            config = torch._dynamo.config  # imported here, since it takes a second
            if config.disable or any(os.environ.get(each) == "1" for each in DISABLING):
                names = " or ".join(DISABLING)
                raise Unsupported(f"torch.compile is switched off here: unset {names}")
            config.recompile_limit = config.accumulated_recompile_limit = RECOMPILE_LIMIT
            config.fail_on_recompile_limit_hit = True
            module.compile(dynamic=False)
        return module

    compiles, captured = form == "compiled", form == "cuda-graph"
    before = laid_out if compiles else None
    return Variant(adapter.DEVIATIONS, build, compiles, captured, build_uncompiled=before)
