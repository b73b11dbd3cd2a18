"""The kernels of `neurons` in Triton: one program computes all maps and steps of a pooled pixel.

    for each step: u and spikes of a window's neurons and all maps; pool; NeuNorm's x; send

Memory is channels-last as on the CPU. The kernels are launched without fusing multiplications and
additions, so that a potential rounds as the reference's does. Constants come as a tensor of the
potential's type, since Triton passes a Python float as float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adapters.fused.form import Form, NeuronGradients
from harness.reference import dropout


@triton.jit
def _dropout_factors(
    keys, draw, place, threshold, kept_factor, FIRST: tl.constexpr, SECOND: tl.constexpr
):
    """Compute dropout's factor of each place (`reference.dropout`): `kept_factor` or 0.

    `draw` numbers the step and sample, whose two keys are read; a place's 32-bit number below
    `threshold` drops it. `kept_factor` is 1 / (1 - p).
    """
    first, second = tl.load(keys + 2 * draw), tl.load(keys + 2 * draw + 1)
    x = (place ^ first).to(tl.uint32)
    x = (x ^ (x >> 16)) * FIRST
    x = (x ^ (x >> 15)) ^ second.to(tl.uint32)
    x = x * SECOND
    x = x ^ (x >> 16)
    return tl.where(x.to(tl.int64) >= threshold, kept_factor, kept_factor * 0)


@triton.jit
def _spikes(
    current,
    U,
    keys,
    out,
    numbers,
    threshold,
    steps,
    stride,
    H,
    W,
    h,
    w,
    maps,
    POOL: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    NORMALISED: tl.constexpr,
    DROPS: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
):
    """Compute one pixel's pooled spikes less NeuNorm's part, eqs. (5)-(6), (9)-(10), at all steps.

    `stride` is that of a step of current. PARTS and BLOCK are POOL**2 and the feature maps, each up
    to the next power of two.
    """
    pixel = tl.program_id(0).to(tl.int64)
    batch = tl.num_programs(0) // (h * w)
    j, i, b = pixel % w, pixel // w % h, pixel // (w * h)
    part, c = tl.arange(0, PARTS), tl.arange(0, BLOCK)
    y, x = i * POOL + part // POOL, j * POOL + part % POOL
    mask = (part < POOL * POOL)[:, None] & (c < maps)[None, :]
    pixels = ((b * H + y) * W + x)[:, None] * maps + c[None, :]
    k, v_th = tl.load(numbers), tl.load(numbers + 1)
    k2, scale, kept_factor = tl.load(numbers + 4), tl.load(numbers + 5), tl.load(numbers + 7)
    v = tl.zeros((PARTS, BLOCK), dtype=numbers.dtype.element_ty)
    auxiliary = k * 0
    weight = tl.zeros((BLOCK,), dtype=numbers.dtype.element_ty)
    if NORMALISED:
        weight = tl.load(U + (i * w + j) * maps + c, mask=c < maps, other=0)
    target = out + pixel * maps + c
    place = (i * w + j) * maps + c
    for t in range(steps):
        u = k * v + tl.load(current + pixels, mask=mask, other=0).to(v.dtype)  # eq. (5)
        fires = (u >= v_th) & mask  # eq. (6)
        v = tl.where(fires, 0, u)
        pooled = tl.sum(fires.to(v.dtype), 0) / (POOL * POOL)
        if NORMALISED:
            auxiliary = k2 * auxiliary + scale * tl.sum(pooled, 0)  # eq. (9)
            pooled = pooled - weight * auxiliary  # eq. (10)
        if DROPS:
            pooled *= _dropout_factors(
                keys, t * batch + b, place, threshold, kept_factor, FIRST, SECOND
            )
        tl.store(target, pooled.to(out.dtype.element_ty), mask=c < maps)  # type: ignore[attr-defined]
        current += stride
        target += batch * h * w * maps


@triton.jit
def _gradients(
    current,
    U,
    keys,
    back,
    u,
    auxiliary,
    d_current,
    d_U,
    numbers,
    threshold,
    steps,
    stride,
    H,
    W,
    h,
    w,
    maps,
    POOL: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    NORMALISED: tl.constexpr,
    DROPS: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
):
    """Run the adjoint of one pixel's neurons over time, eqs. (12)-(14).

    Scratch: u (T, B, H, W, C), auxiliary (T, B, h, w).

    `d_current` may be the memory of `u` where both have its type: each is read before written.
    """
    pixel = tl.program_id(0).to(tl.int64)
    batch = tl.num_programs(0).to(tl.int64) // (h * w)  # a run may have 2^31 numbers and more
    j, i, b = pixel % w, pixel // w % h, pixel // (w * h)
    part, c = tl.arange(0, PARTS), tl.arange(0, BLOCK)
    y, x = i * POOL + part // POOL, j * POOL + part % POOL
    mask = (part < POOL * POOL)[:, None] & (c < maps)[None, :]
    pixels = ((b * H + y) * W + x)[:, None] * maps + c[None, :]
    size = batch * H * W * maps  # of a step
    k, v_th, half = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    steep, k2, scale = tl.load(numbers + 3), tl.load(numbers + 4), tl.load(numbers + 5)
    kept_factor, reset = tl.load(numbers + 7), tl.load(numbers + 11)
    zeros = tl.zeros((PARTS, BLOCK), dtype=numbers.dtype.element_ty)
    v, x_now = zeros, k * 0
    for t in range(steps):
        now = k * v + tl.load(current + pixels, mask=mask, other=0).to(v.dtype)
        fires = (now >= v_th) & mask
        v = tl.where(fires, 0, now)
        tl.store(u + t * size + pixels, now, mask=mask)
        if NORMALISED:
            count = tl.sum(tl.sum(fires.to(v.dtype), 0) / (POOL * POOL), 0)
            x_now = k2 * x_now + scale * count
            tl.store(auxiliary + t * batch * h * w + pixel, x_now)
        current += stride
    weight = tl.zeros((BLOCK,), dtype=numbers.dtype.element_ty)
    if NORMALISED:
        weight = tl.load(U + (i * w + j) * maps + c, mask=c < maps, other=0)
    d_weight, d_x = weight * 0, k * 0
    later, total = zeros, zeros
    place = (i * w + j) * maps + c
    for past in range(steps):
        t = steps - 1 - past
        sent = tl.load(back + (t * batch * h * w + pixel) * maps + c, mask=c < maps, other=0).to(
            v.dtype
        )
        if DROPS:
            sent *= _dropout_factors(
                keys, t * batch + b, place, threshold, kept_factor, FIRST, SECOND
            )
        if NORMALISED:  # eqs. (9)-(10) backward
            d_weight -= tl.load(auxiliary + t * batch * h * w + pixel) * sent
            d_x = k2 * d_x - tl.sum(weight * sent, 0)
            sent += scale * d_x
        now = tl.load(u + t * size + pixels, mask=mask, other=0)
        carry = k * later
        do = sent[None, :] / (POOL * POOL) - reset * (carry * now)  # eq. (12)
        near = tl.abs(now - v_th) < half  # eq. (14)
        later = tl.where(near, do * steep, 0) + tl.where(now >= v_th, 0, carry)  # eq. (13)
        if stride > 0:
            tl.store(d_current + t * size + pixels, later.to(d_current.dtype.element_ty), mask=mask)
        else:
            total += later
    if stride == 0:
        tl.store(d_current + pixels, total.to(d_current.dtype.element_ty), mask=mask)
    if NORMALISED:
        tl.store(d_U + pixel * maps + c, d_weight, mask=c < maps)


NAME = f"triton {triton.__version__}"


def spikes(current: Tensor, U: Tensor | None, form: Form) -> Tensor:
    """Compute a layer's output (T, B, C, h, w) from current (T or 1, B, ...), channels last."""
    last = current.permute(0, 1, 3, 4, 2)
    _, batch, height, width, maps = last.shape
    h, w = height // form.pool, width // form.pool
    out = torch.empty(form.steps, batch, h, w, maps, dtype=last.dtype, device=last.device)
    _spikes[(batch * h * w,)](
        last, _weights(U, form, last), _keys(form, last), out, _numbers(form, last),
        dropout.threshold(form.p), form.steps, _stride(last),
        height, width, h, w, maps, **_sizes(U, form),
    )  # fmt: skip
    return out.permute(0, 1, 4, 2, 3)


def encoding(x: Tensor, weight: Tensor, bias: Tensor, form: Form) -> None:
    """Return None: the current must be in memory, since no Triton kernel computes it."""


def events(current: Tensor, U: Tensor | None, form: Form) -> None:
    """Return None: no Triton kernel sends counts, so the next layer is sent values."""


def gradients(current: Tensor, U: Tensor | None, back: Tensor, form: Form) -> NeuronGradients:
    """Return the gradients of a layer's current, U and bias; `back` is its output's gradient."""
    last = current.permute(0, 1, 3, 4, 2)
    moving, batch, height, width, maps = last.shape
    h, w = height // form.pool, width // form.pool
    # what fills no window of the pool has no gradient, and no program visits it
    d_current = torch.zeros_like(last, memory_format=torch.contiguous_format)
    shared = d_current.dtype == form.dtype and moving == form.steps
    options = {"dtype": form.dtype, "device": last.device}
    u = d_current if shared else torch.empty(form.steps, *last.shape[1:], **options)
    auxiliary = torch.empty(form.steps if U is not None else 0, batch, h, w, **options)
    d_U = torch.empty(batch if U is not None else 0, h, w, maps, **options)
    _gradients[(batch * h * w,)](
        last, _weights(U, form, last), _keys(form, last), back.permute(0, 1, 3, 4, 2).contiguous(),
        u, auxiliary, d_current, d_U, _numbers(form, last), dropout.threshold(form.p),
        form.steps, _stride(last),
        height, width, h, w, maps, **_sizes(U, form),
    )  # fmt: skip
    summed = None if U is None else d_U.sum(0).permute(2, 0, 1)
    d_bias = d_current.sum((0, 1, 2, 3), dtype=form.dtype)
    return NeuronGradients(d_current.permute(0, 1, 4, 2, 3), summed, d_bias)


def _stride(last: Tensor) -> int:
    """Return the distance from one step to the next; 0 for a constant current."""
    return last[0].numel() if len(last) > 1 else 0


def _numbers(form: Form, like: Tensor) -> Tensor:
    return _on_device(form.numbers, form.dtype, like.device)


@cache  # a copy to the device would wait for it
def _on_device(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=dtype, device=device)


def _weights(U: Tensor | None, form: Form, like: Tensor) -> Tensor:
    """U as (h, w, C); any tensor where NeuNorm is off, since it is not read then."""
    return like if U is None else U.detach().to(form.dtype).permute(1, 2, 0).contiguous()


def _keys(form: Form, like: Tensor) -> Tensor:
    """Dropout's keys; any tensor where nothing is dropped, since it is not read then."""
    return like if form.keys is None else form.keys


def _sizes(U: Tensor | None, form: Form) -> dict[str, Any]:
    """Return both kernels' compile-time constants and how they are launched."""
    parts = triton.next_power_of_2(form.pool**2)
    block = triton.next_power_of_2(form.maps)
    return {
        "POOL": form.pool,
        "PARTS": parts,
        "BLOCK": block,
        "NORMALISED": U is not None,
        "DROPS": form.keys is not None,
        "FIRST": dropout.FIRST,
        "SECOND": dropout.SECOND,
        "num_warps": max(1, min(8, parts * block // 256)),
        "enable_fp_fusion": False,
    }
