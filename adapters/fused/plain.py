"""Dense convolutions and products in plain torch, and the neurons where there are no kernels.

The bias's gradient is not among the dense: the neurons sum it on their way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional

from adapters.fused.form import Form, NeuronGradients
from harness.machine import host
from harness.reference import dropout, neunorm, neuron
from harness.reference.neuron import potential_gradient, spike_gradient

NAME = "plain torch"


def _currents(current: Tensor, steps: int) -> Tensor:
    return current.expand(steps, *current.shape[1:])


def _forward(current: Tensor, form: Form) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return the potentials and spikes of each step, and NeuNorm's x where it is on."""
    potentials, fired, auxiliaries = [], [], []
    u = o = x = None
    for now in _currents(current, form.steps):
        u = now if u is None or o is None else neuron.potential(u, o, now, form.lif.k_tau)
        o = (u - form.lif.v_th >= 0).to(u.dtype)
        potentials.append(u)
        fired.append(o)
        if form.neunorm is not None:
            pooled = _pool(o, form)
            x = torch.zeros_like(pooled[:, :1]) if x is None else x
            x = neunorm.auxiliary(x, pooled, form.neunorm.k_tau2, form.scale)
            auxiliaries.append(x)
    return potentials, fired, auxiliaries


def _pool(o: Tensor, form: Form) -> Tensor:
    return o if form.pool == 1 else functional.avg_pool2d(o, form.pool)


def spikes(current: Tensor, U: Tensor | None, form: Form) -> Tensor:
    """Compute a layer's output (T, B, C, h, w) from current (T or 1, B, C, H, W)."""
    _, fired, auxiliaries = _forward(current.to(form.dtype), form)
    out = [_pool(o, form) for o in fired]
    if U is not None:
        pairs = zip(out, auxiliaries, strict=True)
        out = [neunorm.normalise(o, x, U.to(o.dtype)) for o, x in pairs]
    if form.keys is not None:
        out = [dropout.drop(o, key, form.p) for o, key in zip(out, form.keys, strict=True)]
    return torch.stack(out).to(current.dtype)


def encoding(x: Tensor, weight: Tensor, bias: Tensor, form: Form) -> None:
    """Return None: plain torch computes and stores the current."""


def events(current: Tensor, U: Tensor | None, form: Form) -> None:
    """Return None: plain torch sends values, not counts."""


def gradients(current: Tensor, U: Tensor | None, back: Tensor, form: Form) -> NeuronGradients:
    """Return the gradients of a layer's current, U and bias; `back` is its output's gradient."""
    potentials, fired, auxiliaries = _forward(current.to(form.dtype), form)
    sent = back.to(form.dtype)
    if form.keys is not None:
        pairs = zip(sent, form.keys, strict=True)
        sent = torch.stack([dropout.drop(g, key, form.p) for g, key in pairs])
    d_u = torch.zeros_like(potentials[0])
    d_current = torch.zeros(current.shape, dtype=form.dtype, device=current.device)
    d_U = None if U is None else torch.zeros_like(U, dtype=form.dtype)
    d_x = 0
    for t in reversed(range(form.steps)):
        g = sent[t]
        if U is not None and d_U is not None and form.neunorm is not None:
            d_U -= (auxiliaries[t] * g).sum(0)
            d_x = form.neunorm.k_tau2 * d_x - (U * g).sum(1, keepdim=True)
            g = g + form.scale * d_x
        g = _unpool(g, potentials[t], form)
        do = g if form.detached else spike_gradient(g, d_u, potentials[t], form.lif)
        d_u = potential_gradient(do, d_u, potentials[t], fired[t], form.lif)
        if len(current) == 1:
            d_current[0] += d_u
        else:
            d_current[t] = d_u
    return NeuronGradients(d_current.to(current.dtype), d_U, d_current.sum((0, 1, 3, 4)))


def _unpool(g: Tensor, like: Tensor, form: Form) -> Tensor:
    """Return the gradient of the spikes before the pool; zero for those that fill no window."""
    if form.pool == 1:
        return g
    spread = g.repeat_interleave(form.pool, -1).repeat_interleave(form.pool, -2) / form.pool**2
    margins = (0, like.shape[-1] - spread.shape[-1], 0, like.shape[-2] - spread.shape[-2])
    return functional.pad(spread, margins)


@dataclass(frozen=True)
class Parts:
    """The functions of a synapse: forward, and both gradients.

    x and y are (N, C, H, W) and (N, K, H, W) of a convolution, (N, C) and (N, K) of a product.
    """

    forward: Callable[[Tensor, Tensor, Tensor], Tensor]  # x, weight, bias -> y
    weight_gradient: Callable[[Tensor, Tensor, Tensor], Tensor]  # dy, x, weight -> d_weight
    input_gradient: Callable[[Tensor, torch.Size, Tensor], Tensor]  # dy, x's shape, weight -> dx


def _widened(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute bf16 in float32, and round what comes out, on a device without bf16 instructions.

    There torch's own bf16 takes five to fourteen times as long. Products of bf16 numbers are exact
    in float32, so that only the order of a sum may differ, as it does between processors.
    """

    @wraps(part)
    def compute(*operands: Tensor | torch.Size) -> Tensor:
        """Compute the part, in float32 where bf16 has no instructions."""
        first = operands[0]
        assert isinstance(first, Tensor)
        if first.dtype != torch.bfloat16 or host.has_bf16(first.device):
            return part(*operands)
        wide = (operand.float() if isinstance(operand, Tensor) else operand for operand in operands)
        return part(*wide).to(first.dtype)

    return compute


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
    """Return torch's gradients of a convolution for `mask`'s of input, weight and bias."""
    margin = weight.shape[-1] // 2
    return torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], [1, 1], [margin] * 2, [1, 1], False, [0, 0], 1, mask
    )


def _convolution_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _backward(dy, x, weight, [False, True, False])[1]


def _convolution_input(dy: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
    """Return a convolution's gradient by its input, of which only the shape is known."""
    # only its shape and layout are read: its memory is never touched
    last = torch.channels_last
    x = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=last)
    return _backward(dy, x, weight, [True, False, False])[0]


def _product_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return dy.t() @ x


def _product_input(dy: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
    return dy @ weight


DENSE_CONVOLUTION = Parts(*map(_widened, (_convolve, _convolution_weight, _convolution_input)))
DENSE_PRODUCT = Parts(*map(_widened, (functional.linear, _product_weight, _product_input)))
