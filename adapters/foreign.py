"""A `Trainer`, whose runtime is not torch, as a torch module: for exams and trainings.

Each call copies weights and batch to the runtime; so what is timed is the trainer itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.adapter import MakeTrainer, SpikeTap, Trainer, TrainerSettings, Unsupported, Variant
from harness.reference import neunorm, synapses
from harness.spec import SGD, Network, Precision, Stage

PRECISIONS: dict[torch.dtype, Precision] = {torch.float64: "fp64", torch.float32: "fp32"}


class _Spikes(torch.autograd.Function):
    """The voting layer's spikes as a function of the weights."""

    @staticmethod
    def forward(ctx: Any, trainer: Trainer, x: Tensor, batch: Any, *parameters: Tensor) -> Tensor:
        ctx.trainer = trainer
        ctx.save_for_backward(x, *parameters)  # which the trainer has loaded
        trainer.infer(batch)
        return trainer.out()

    @staticmethod
    def backward(ctx: Any, *back: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        ctx.trainer.load(parameters)  # meanwhile others may have been loaded
        batch = _put(ctx.trainer, x)  # and another batch laid there
        return None, None, None, *ctx.trainer.differentiate(batch, back[0])


def _put(trainer: Trainer, x: Tensor) -> Any:
    """Put x, with labels of 0, into the trainer; return its batch."""
    return trainer.put(x, torch.zeros(x.shape[1], dtype=torch.int64))


class ForeignLayer(nn.Module):
    """A layer's spike tap and parameters: weight, bias, and U where NeuNorm acts on its output."""

    def __init__(self, stage: Stage, network: Network) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.tap = SpikeTap(multi_step=True)
        self.neunorm = neunorm.for_stage(stage, network)


class ForeignNetwork(nn.Module):
    """A torch module that holds the weights and has a `Trainer` compute spikes and gradients."""

    def __init__(self, network: Network, make: MakeTrainer) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(ForeignLayer(stage, network) for stage in network.stages)
        self._make = make
        self._trainers: dict[Precision, Trainer] = {}
        weakref.finalize(self, _close, self._trainers)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Return the spikes (T, B, N) that the trainer computes, in a runtime of its own."""
        if torch.is_autocast_enabled(x.device.type):
            raise Unsupported("it computes in a runtime of its own, not under torch's autocast")
        precision = PRECISIONS[x.dtype]
        check(self.network, precision, x.device.type)
        if precision not in self._trainers:
            # a derivative outside of a step needs no optimiser
            settings = TrainerSettings(precision, "inference", SGD(), torch.get_num_threads())
            with torch.inference_mode(False):  # it outlives the pass that first asks for it
                self._trainers[precision] = self._make(self.network, settings)
        trainer = self._trainers[precision]
        trainer.load(list(self.parameters()))
        batch = _put(trainer, x)
        out = _Spikes.apply(trainer, x, batch, *self.parameters())
        taps = [module for module in self.modules() if isinstance(module, SpikeTap)]
        if any(tap.recording for tap in taps):
            for tap, spikes in zip(taps, trainer.spikes(batch), strict=True):
                tap(spikes)
        return out


def _close(trainers: dict[Precision, Trainer]) -> None:
    for trainer in trainers.values():
        trainer.close()


def built_of(make: MakeTrainer) -> Callable[[Network], nn.Module]:
    """Return the `build(network)` of an adapter with this trainer; it raises Unsupported."""

    def build(network: Network) -> nn.Module:
        check(network)
        return ForeignNetwork(network, make)

    return build


def check(network: Network, precision: Precision = "fp64", device: str = "cpu") -> None:
    """Raise Unsupported for dropout, bf16 or tensors on a GPU: foreign runtimes take neither.

    Only torch draws dropout's masks and runs under autocast.
    """
    if network.dropout:
        raise Unsupported("it has no dropout: use the adapter reference, or a network without")
    if precision not in PRECISIONS.values():
        raise Unsupported(f"it computes in fp32 and fp64, not in {precision}")
    if device != "cpu":
        raise Unsupported(f"it takes tensors of the CPU, not of {device}: use --device cpu")


def variant(make: MakeTrainer, deviations: tuple[str, ...] = ()) -> Variant:
    """Build a variant of a framework that runs whole iterations in a runtime of its own.

    `make` creates its trainer; `deviations` say where it is not the paper's function.
    """
    return Variant(deviations, built_of(make), trainer=make)
