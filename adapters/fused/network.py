"""The paper's network layer by layer over all steps: one convolution, one kernel a layer."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapters.fused import plain
from adapters.fused.form import Encoding, Events, Form, PackedWeights
from adapters.fused.synapse import Synapse
from harness.adapter import SpikeTap, channels_last
from harness.reference import dropout, neunorm, synapses
from harness.spec import Conv, Network, Stage

AT_ONCE = 40  # samples times steps that an inference takes at once; what it holds is in proportion
LARGE = 128 * 32 * 32  # neurons of a layer: a network that has none as large takes more at once


class Pass(NamedTuple):
    """Sizes, precision and kernels that all layers of one call share."""

    steps: int
    batch: int
    precision: torch.dtype  # of the synapses
    kernels: ModuleType  # `neurons`, or `plain` with the same functions
    keeps: bool  # inputs and currents, for the backward pass


@dataclass(frozen=True)
class Call:
    """What one layer is computed with in one call: its synapse, settings and tap."""

    synapse: Synapse
    form: Form
    tap: SpikeTap
    encodes: bool  # try `neurons.encoding`: a current that is not stored
    sends_events: bool  # try `neurons.events`: the next layer takes them
    packs: PackedWeights  # shared with the calls on other samples


# What the backward pass needs of a layer, its input, its current and its weight in the synapses'
# precision: it computes the rest again.
Current = Tensor | Encoding
Saved = tuple[Tensor | Events, Current, Tensor]
LayerParameters = tuple[Tensor, Tensor, Tensor | None]  # weight, bias, U


class NetworkFunction(torch.autograd.Function):
    """All layers over all steps as one autograd function; it saves each layer's input and current.

    The backward pass runs once, since gradients overwrite the currents.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, run: Pass, calls: tuple[Call, ...], *parameters: Tensor | None
    ) -> Tensor:
        """Compute x (T, or 1 if static, B, ...), all layers' weight, bias and U -> (T, B, N)."""
        layers: list[Saved] = []
        sent: Tensor | Events = x.flatten(0, 1)
        with _without_autocast(x):
            for call, (weight, bias, U) in zip(calls, _by_layer(parameters), strict=True):
                saved = _forward(sent, run, call, weight, bias)
                if run.keeps:
                    layers.append(saved)
                sent = _output(saved[1], U, run, call)
        assert isinstance(sent, Tensor)
        ctx.save_for_backward(*parameters)
        ctx.layers, ctx.run, ctx.calls, ctx.shape = layers, run, calls, x.shape
        return sent.unflatten(0, (run.steps, run.batch)).flatten(2)

    @staticmethod
    def backward(ctx, back: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        """Return the gradients of x and of all parameters from `back`, the output's."""
        if not ctx.layers:
            raise RuntimeError(
                "fused cannot go backward twice through one call, since gradients take the memory "
                "of what it kept: call the network again instead of retain_graph=True"
            )
        parameters = list(_by_layer(ctx.saved_tensors))
        gradients: list[Tensor | None] = []
        dx: Tensor | None = back
        with _without_autocast(back):
            for number in reversed(range(len(ctx.calls))):
                wants_dx = number > 0 or ctx.needs_input_grad[0]
                call, (_, _, U) = ctx.calls[number], parameters[number]
                assert dx is not None
                dx, *of_layer = _backward(dx, ctx.layers.pop(), U, ctx.run, call, wants_dx=wants_dx)
                gradients[:0] = of_layer
        of_x = None if dx is None else dx.reshape(ctx.shape)
        return of_x, None, None, *gradients


def _without_autocast(x: Tensor) -> torch.autocast:
    """Switch autocast off.

    It would turn NeuNorm's float32 numbers into bf16, and kernels, which take their addresses,
    would read past their end.
    """
    return torch.autocast(x.device.type, enabled=False)


def _by_layer(parameters: tuple[Any, ...]) -> Iterator[LayerParameters]:
    return zip(*(islice(parameters, start, None, 3) for start in range(3)), strict=True)


def _forward(sent: Tensor | Events, run: Pass, call: Call, weight: Tensor, bias: Tensor) -> Saved:
    """Compute a layer's current (T or 1, B, C, H, W); return its input, current and weight."""
    inputs = call.synapse.inputs(sent, run.precision)
    operands = weight.to(run.precision), bias.to(run.precision)
    current: Current | None = None
    if call.encodes and isinstance(inputs, Tensor):
        current = run.kernels.encoding(inputs.unflatten(0, (-1, run.batch)), *operands, call.form)
    call.synapse.encoded = current is not None
    if current is None:
        current = call.synapse.forward(inputs, *operands, call.packs)
        current = _maps_last(current.unflatten(0, (-1, run.batch)))
    if call.tap.recording:  # the pool leaves no spikes behind, so they are made for the tap
        alone = replace(call.form, pool=1, neunorm=None, keys=None)
        seen = run.kernels.spikes(current, None, alone)
        call.tap(seen.flatten(2) if call.synapse.product else seen)
    return inputs, current, operands[0]


def _output(current: Current, U: Tensor | None, run: Pass, call: Call) -> Tensor | Events:
    """Return what goes to the next layer: events where it takes them, else (N, C, h, w)."""
    events = run.kernels.events(current, U, call.form) if call.sends_events else None
    if events is not None:
        return events
    return run.kernels.spikes(current, U, call.form).flatten(0, 1)


def _backward(
    back: Tensor, layer: Saved, U: Tensor | None, run: Pass, call: Call, *, wants_dx: bool
) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None]:
    """Return the gradients of what was sent to a layer, of its weight, its bias and U."""
    (inputs, current, weight), wide = layer, call.form.dtype
    maps, height, width = current.shape[2:]
    size = maps, height // call.form.pool, width // call.form.pool
    back = back.reshape(run.steps, run.batch, *size)  # a product's is flat
    through = run.kernels.gradients(current, U, back, call.form)
    if through.current is None:
        assert through.weight is not None
        d_weight = through.weight.unflatten(0, (*weight.shape[2:], -1)).permute(3, 2, 0, 1)
        return None, d_weight.to(wide), through.bias.to(wide), through.U
    d_current = through.current.flatten(0, 1)
    d_current = d_current.flatten(1) if call.synapse.product else d_current
    d_weight = call.synapse.weight_gradient(d_current, inputs, weight).to(wide)
    dx = call.synapse.input_gradient(d_current, inputs, weight) if wants_dx else None
    return dx, d_weight, through.bias.to(wide), through.U


def _maps_last(current: Tensor) -> Tensor:
    """Return a current as (T, B, C, H, W), channels last; a product's has maps of one pixel."""
    if current.dim() == 3:
        return current[..., None, None]
    last = current.permute(0, 1, 3, 4, 2).contiguous()
    return last.permute(0, 1, 4, 2, 3)


class FusedLayer(nn.Module):
    """One layer of neurons over all steps: synapse, then one kernel for all that follows."""

    def __init__(self, stage: Stage, network: Network, *, detached: bool) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.tap = SpikeTap(multi_step=True)
        self.neunorm = neunorm.for_stage(stage, network)
        kernel = stage.synapse.kernel if isinstance(stage.synapse, Conv) else 0
        self.work = Synapse(product=kernel == 0, kernel=kernel)
        if not self.work.product:
            channels_last(self.synapse)
        self.form = Form(
            steps=0,
            lif=network.lif,
            pool=stage.pool.size if stage.pool else 1,
            neunorm=network.neunorm if stage.neunorm_shape else None,
            maps=stage.output_shape[0],
            dtype=torch.float32,
            p=network.dropout,
            detached=detached,
        )

    @property
    def own_parameters(self) -> LayerParameters:
        """The layer's weight, bias, and U or None."""
        weight, bias = self.synapse.weight, self.synapse.bias
        assert bias is not None
        return weight, bias, self.neunorm.U if self.neunorm is not None else None


class FusedNetwork(nn.Module):
    """The paper's network, layer by layer over all steps; nothing is kept between calls.

    `detached`: no gradient through the reset, which is not the paper's function.
    """

    def __init__(self, network: Network, *, detached: bool = False) -> None:
        super().__init__()
        self.network = network
        largest = max(stage.neurons for stage in network.stages)
        self.at_once = AT_ONCE * max(1, LARGE // largest)
        self.layers = nn.ModuleList(
            FusedLayer(stage, network, detached=detached) for stage in network.stages
        )

    @property
    def _layers(self) -> list[FusedLayer]:
        return [layer for layer in self.layers if isinstance(layer, FusedLayer)]

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Return the spikes (T, B, N), in parts of the batch where no gradient is kept."""
        keys = dropout.stage_keys(self.network, x, training=self.training)
        parameters = [tensor for layer in self._layers for tensor in layer.own_parameters]
        keeps = torch.is_grad_enabled() and any(
            tensor is not None and tensor.requires_grad for tensor in (x, *parameters)
        )
        recording = any(layer.tap.recording for layer in self._layers)
        samples = x.shape[1]
        at_once = samples if keeps or recording else max(1, self.at_once // len(x))
        parts = [slice(start, start + at_once) for start in range(0, samples, at_once)]
        packs: list[PackedWeights] = [{} if len(parts) > 1 else None for _ in self._layers]
        outs = []
        for part in parts:
            part_keys = [None if key is None else key[:, part] for key in keys]
            run, calls = self._plan(x[:, part], part_keys, packs, keeps)
            still = x[:1, part] if synapses.is_static(x[:, part]) else x[:, part]
            outs.append(NetworkFunction.apply(still, run, calls, *parameters))
        return outs[0] if len(outs) == 1 else torch.cat(outs, 1)

    def _plan(
        self, x: Tensor, keys: list[Tensor | None], packs: list[PackedWeights], keeps: bool
    ) -> tuple[Pass, tuple[Call, ...]]:
        """Return how some samples x (T, b, ...) are computed."""
        # the synapses' precision is x's own, or autocast's where that is on
        on = torch.is_autocast_enabled(x.device.type)
        precision = torch.get_autocast_dtype(x.device.type) if on else x.dtype
        run = Pass(len(x), x.shape[1], precision, kernels_for(x.device.type), keeps)
        potential = torch.float64 if precision == torch.float64 else torch.float32
        calls, layers = [], self._layers
        along = zip(layers, [*layers[1:], None], keys, packs, strict=True)
        for layer, next_layer, of_run, of_weights in along:
            next_work = None if next_layer is None else next_layer.work
            sends = next_work is not None and next_work.takes_events
            # NeuNorm and a pool read the gradient of what is sent everywhere
            alone = layer.form.pool == 1 and layer.neunorm is None
            marks = keeps and alone and sends
            form = replace(layer.form, steps=run.steps, dtype=potential, keys=of_run, marks=marks)
            encodes = layer is layers[0] and layer.work.takes_events and not x.requires_grad
            calls.append(Call(layer.work, form, layer.tap, encodes, sends, of_weights))
        return run, tuple(calls)


def computed(module: nn.Module) -> str:
    """Describe which layers worked by events in the last call, and their inputs' densities."""
    works = [layer.work for layer in module.modules() if isinstance(layer, FusedLayer)]
    return "; ".join(f"layer {n}: {work.in_words}" for n, work in enumerate(works, 1))


@cache
def kernels_for(device_type: str) -> ModuleType:
    """Return the kernels for a type of device, else plain torch, with a RuntimeWarning."""
    match device_type:
        case "cpu":
            module, remedy = "neurons", "numba is missing: pip install 'snn-harness[fused]'"
        case "cuda":
            module, remedy = "cuda", "Triton is missing: pip install triton"
        case _:
            module, remedy = "", "there are no kernels for it: use --device cpu"
    try:
        return importlib.import_module(f"adapters.fused.{module}")
    except ImportError as error:
        reason = f"fused runs in plain torch on {device_type}, several times slower: "
        warnings.warn(f"{reason}{remedy} ({error})", RuntimeWarning, stacklevel=2)
        return plain
