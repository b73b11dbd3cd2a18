"""The paper's network layer by layer over all steps: one convolution, one kernel a layer."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap, channels_last
from harness.fused import plain
from harness.fused.convolution import DENSE_CONVOLUTION, DENSE_PRODUCT, Parts
from harness.fused.form import Form, Gradients
from harness.reference import dropout, synapses
from harness.reference.neunorm import NeuNorm
from harness.spec import Conv, Network, Stage


@dataclass(frozen=True)
class Call:
    """How one layer is computed in one call."""

    parts: Parts
    kernels: Kernels
    form: Form
    precision: torch.dtype  # of the synapse
    tap: SpikeTap


class LayerFunction(torch.autograd.Function):
    """One layer over all steps. Kept are its input and its current.

    The backward pass computes the rest again, and runs once: gradients take the current's memory.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, U: Tensor | None, call: Call
    ) -> Tensor:
        """x (T or 1, B, ...) -> (T, B, C, h, w), to the next layer."""
        inputs = _inputs(x, call)
        weight = weight.to(call.precision)
        current = call.parts.forward(inputs, weight, bias.to(call.precision))
        current = _current(current.unflatten(0, x.shape[:2]))
        if call.tap.recording:  # the pool leaves no spikes behind, so they are made for who looks
            alone = replace(call.form, pool=1, neunorm=None, keys=None)
            seen = call.kernels.spikes(current, None, alone)
            call.tap(seen.flatten(2) if call.parts is DENSE_PRODUCT else seen)
        ctx.save_for_backward(inputs, weight, current, U)
        ctx.call, ctx.shape, ctx.spent = call, x.shape, False
        return call.kernels.spikes(current, U, call.form)

    @staticmethod
    def backward(ctx, back: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        if ctx.spent:
            raise RuntimeError(
                "fused cannot go backward twice through one call, since gradients take the memory "
                "of what it kept: call the network again instead of retain_graph=True"
            )
        ctx.spent = True
        inputs, weight, current, U = ctx.saved_tensors
        call: Call = ctx.call
        through = call.kernels.gradients(current, U, back, call.form)
        d_current = through.current.flatten(0, 1)
        if call.parts is DENSE_PRODUCT:
            d_current = d_current.flatten(1)
        wide = call.form.dtype
        d_weight = call.parts.weight_gradient(d_current, inputs, weight).to(wide)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = call.parts.input_gradient(d_current, inputs, weight).reshape(ctx.shape)
        return dx, d_weight, through.bias.to(wide), through.U, None


def _inputs(x: Tensor, call: Call) -> Tensor:
    """The steps folded into the batch: channels last for a convolution, flat for a product."""
    folded = x.flatten(0, 1).to(call.precision)
    if call.parts is DENSE_PRODUCT:
        return folded.flatten(1)
    return folded.contiguous(memory_format=torch.channels_last)


def _current(current: Tensor) -> Tensor:
    """(T, B, C, H, W), channels last; a product's with maps of one pixel."""
    if current.dim() == 3:
        return current[..., None, None]
    last = current.permute(0, 1, 3, 4, 2).contiguous()
    return last.permute(0, 1, 4, 2, 3)


class Run(NamedTuple):
    """What all layers share in one call."""

    steps: int
    precision: torch.dtype  # of the synapses


class Layer(nn.Module):
    """One layer of neurons over all steps: synapse, then one kernel for all that follows."""

    def __init__(self, stage: Stage, network: Network) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.tap = SpikeTap(multi_step=True)
        self.neunorm = None
        if network.neunorm is not None and stage.neunorm_shape is not None:
            self.neunorm = NeuNorm(network.neunorm, stage.neunorm_shape)
        self.parts = DENSE_PRODUCT
        if isinstance(stage.synapse, Conv):
            self.parts = DENSE_CONVOLUTION
            channels_last(self.synapse)
        self.form = Form(
            steps=0,
            lif=network.lif,
            pool=stage.pool.size if stage.pool else 1,
            neunorm=network.neunorm if stage.neunorm_shape else None,
            maps=stage.output_shape[0],
            dtype=torch.float32,
        )
        self.p = network.dropout

    def forward(self, x: Tensor, run: Run, keys: Tensor | None) -> Tensor:
        """x (T, B, ...), or (1, B, ...) where it stands still -> (T, B, C, h, w).

        `keys` (T, B, 2) are of dropout's masks; None: nothing is dropped.
        """
        potential = torch.float64 if run.precision == torch.float64 else torch.float32
        form = replace(self.form, steps=run.steps, dtype=potential, p=self.p, keys=keys)
        call = Call(self.parts, kernels_for(x.device.type), form, run.precision, self.tap)
        U = self.neunorm.U if self.neunorm is not None else None
        return LayerFunction.apply(x, self.synapse.weight, self.synapse.bias, U, call)


class FusedNetwork(nn.Module):
    """The reference's function, layer by layer. Keeps nothing between calls."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(Layer(stage, network) for stage in network.stages)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        out = x[:1] if synapses.is_static(x) else x
        run = Run(len(x), _precision(x))
        keys = dropout.stage_keys(self.network, x, training=self.training)
        for layer, layer_keys in zip(self.layers, keys, strict=True):
            out = layer(out, run, layer_keys)
        return out.flatten(2)


def _precision(x: Tensor) -> torch.dtype:
    """What the synapses compute in: x's own, or autocast's where that is on."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


class Kernels(Protocol):
    """Two functions of (T, B, C, H, W) tensors, as `plain` writes them out."""

    NAME: str

    def spikes(self, current: Tensor, U: Tensor | None, form: Form) -> Tensor:
        """What goes to the next layer, (T, B, C, h, w); a current that stands still has T = 1."""
        ...

    def gradients(self, current: Tensor, U: Tensor | None, back: Tensor, form: Form) -> Gradients:
        """The gradients of the current, U and the bias, by `back`, that of the spikes."""
        ...


@cache
def kernels_for(device_type: str) -> Kernels:
    """The kernels for a kind of device; where there are none the plain form, and a warning."""
    match device_type:
        case "cpu":
            module, remedy = "on_cpu", "numba is missing: pip install 'snn-harness[fused]'"
        case "cuda":
            module, remedy = "on_cuda", "Triton is missing: pip install triton"
        case _:
            module, remedy = "", "there are no kernels for it: use --device cpu"
    try:
        return cast(Kernels, importlib.import_module(f"harness.fused.{module}"))
    except ImportError as error:
        reason = f"fused runs in plain torch on {device_type}, several times slower: "
        warnings.warn(f"{reason}{remedy} ({error})", RuntimeWarning, stacklevel=2)
        return cast(Kernels, plain)
