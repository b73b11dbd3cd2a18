"""The adapter contract: what a framework must offer, spike taps, and tuned forms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.spec import SGD, Adam, Form, Mode, Network, NeuronSource, Precision

# The number of this contract. An adapter of another package may name the one that it was written
# for, `CONTRACT = 1`: where the numbers differ it is refused. It rises when adapters must change.
CONTRACT = 1


class Unsupported(Exception):
    """An adapter cannot build a network; the message says why and what to use instead."""

    status: Literal["unsupported"] = "unsupported"  # of the case's row


@runtime_checkable
class Adapter(Protocol):
    """A module or a `Variant` that builds the paper's networks in one framework.

    A module may have more names: `NEURON`, `CONTRACT`, `VARIANTS`, `REVISION`, `version`,
    `PACKAGES`, `implementation`, `compiles`, `computed` and, of a runtime without a torch module,
    `trainer`, from which `adapters.foreign` makes `build`. `adapters/README.md` says what each is.
    """

    @property
    def DEVIATIONS(self) -> tuple[str, ...]:
        """How the network deviates from the paper's, in words; empty if it claims not to."""
        ...

    @property
    def build(self) -> Callable[[Network], nn.Module]:
        """Builder of `network` as a module: (T, B, C, H, W) to the voting layer's spikes (T, B, N).

        Every call of the module starts from zero state. Its parameters come in layer order: weight,
        bias, then the layer's U where NeuNorm acts on its output. Raises Unsupported.
        """
        ...


@dataclass(frozen=True)
class TrainerSettings:
    """The settings of one `Trainer`, fixed when it is made."""

    precision: Precision  # fp32 or fp64, of all that it computes
    mode: Mode  # whether it is asked to `step` or to `infer`
    optimiser: SGD | Adam
    threads: int


class Trainer(Protocol):
    """A network in a runtime that is not torch: whole iterations, on torch tensors.

    The tensors that it takes and returns are on the CPU, in the settings' precision; weights and
    gradients have the reference's shapes, in layer order.
    """

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Set the weights; called before anything else. The optimiser keeps its state."""

    def put(self, x: Tensor, labels: Tensor) -> Any:
        """Return x (T, B, C, H, W) and labels as a batch for `step` and `infer`; this is not timed.

        A static image comes expanded over T: `harness.reference.synapses.is_static` tells. What
        must be compiled for a size is compiled here.
        """

    def step(self, batch: Any) -> float:
        """Run one iteration to its end (forward, loss, backward, optimiser); return the loss."""
        ...

    def infer(self, batch: Any) -> None:
        """Run the forward pass alone, to its end: nothing is deferred when it returns."""

    def out(self) -> Tensor:  # (T, B, N)
        """Return the voting layer's spikes of the last `step` or `infer`."""
        ...

    def gradients(self) -> Sequence[Tensor]:
        """Return the gradients of the last step's loss, at the weights before the step."""
        ...

    def parameters(self) -> Sequence[Tensor]:
        """Return the current weights."""
        ...

    def spikes(self, batch: Any) -> Sequence[Tensor]:  # of each layer (T, B, ...)
        """Return all layers' spikes on a batch, with the current weights."""
        ...

    def differentiate(self, batch: Any, back: Tensor) -> Sequence[Tensor]:
        """Return the gradients of the sum of the voting layer's spikes times `back` (T, B, N).

        The exam needs it: the loss weighs all steps alike, and would not show a wrong order.
        """
        ...

    def close(self) -> None:
        """Free the trainer's resources; it is not used afterwards."""


MakeTrainer = Callable[[Network, TrainerSettings], Trainer]


@dataclass(frozen=True)
class Variant:
    """An adapter of another form of a framework's network, loaded as `framework:variant`."""

    DEVIATIONS: tuple[str, ...]
    build: Callable[[Network], nn.Module]
    compiled: bool = False  # on the first call of each shape, which then takes minutes
    # Builds the exam's module, where it is not the timed one: that before it is compiled, since
    # each shape and each precision would be compiled separately. The audit proves the very object.
    build_uncompiled: Callable[[Network], nn.Module] | None = None
    trainer: MakeTrainer | None = None  # of a runtime without a torch module
    NEURON: NeuronSource | None = None  # whose code its neuron is; None: as the adapter's


def trainer_of(adapter: Adapter) -> MakeTrainer | None:
    """Return the function that makes an adapter's trainer; None if it builds torch modules."""
    return getattr(adapter, "trainer", None)


def exam_builder(adapter: Adapter) -> Callable[[Network], nn.Module]:
    """Return the function that builds the exam's module: `build`, unless that compiles it."""
    return getattr(adapter, "build_uncompiled", None) or adapter.build


class SpikeTap(nn.Module):
    """An identity through which a layer passes its spikes, so that an exam can record them.

    `multi_step`: the layer passes all steps in one call, (T, B, ...), not one call a step.
    """

    def __init__(self, *, multi_step: bool = False) -> None:
        super().__init__()
        self.multi_step = multi_step
        self.kept: list[Tensor] | None = None

    @property
    def recording(self) -> bool:
        """Whether spikes are being recorded; a layer that fuses steps may emit them only then."""
        return self.kept is not None

    def forward(self, spikes: Tensor) -> Tensor:  # (B, ...) -> (B, ...), or (T, B, ...) -> the same
        if self.kept is not None:
            self.kept.append(spikes.detach())
        return spikes

    def collected(self) -> Tensor:  # (T, B, ...)
        """Return the recorded spikes of the last call, (T, B, ...)."""
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
    """Return the module itself, its convolutions' weights laid out as channels-last."""
    layout: Any = {"memory_format": torch.channels_last}  # not every torch types this argument
    return module.to(**layout)


def tuned(adapter: Adapter, form: Form) -> Variant:
    """Return an adapter's tuned form: weights channels-last, and more by `form`.

    `compiled` is under torch.compile; its exam is of the module before that, and the audit proves
    the compiled one.
    """

    def laid_out(network: Network) -> nn.Module:
        if trainer_of(adapter) is not None:
            raise Unsupported(f"{form} is a form of torch modules: use the plain form")
        return channels_last(adapter.build(network))

    def build(network: Network) -> nn.Module:
        """Build the adapter's module in the form's layout, and compile it if that is the form."""
        module = laid_out(network)
        if form == "compiled":
            config = torch._dynamo.config  # imported here, since it takes a second
            if config.disable or any(os.environ.get(name) == "1" for name in DISABLING):
                names = " or ".join(DISABLING)
                raise Unsupported(f"torch.compile is switched off here: unset {names}")
            config.recompile_limit = config.accumulated_recompile_limit = RECOMPILE_LIMIT
            config.fail_on_recompile_limit_hit = True
            module.compile(dynamic=False)
        return module

    compiled = form == "compiled"
    return Variant(adapter.DEVIATIONS, build, compiled, laid_out if compiled else None)
