"""The Triton kernels on torch's tensors."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from harness.fused import cuda
from harness.fused.form import Form, Gradients
from harness.reference import dropout

NAME = f"triton {triton.__version__}"


def spikes(current: Tensor, U: Tensor | None, form: Form) -> Tensor:
    """current (T or 1, B, C, H, W), channels last -> (T, B, C, h, w), to the next layer."""
    last = current.permute(0, 1, 3, 4, 2)
    _, batch, height, width, maps = last.shape
    h, w = height // form.pool, width // form.pool
    out = torch.empty(form.steps, batch, h, w, maps, dtype=last.dtype, device=last.device)
    cuda.spikes[(batch * h * w,)](
        last, _weights(U, form, last), _keys(form, last), out, _numbers(form, last),
        dropout.threshold(form.p), form.steps, _stride(last),
        height, width, h, w, maps, **_sizes(U, form),
    )  # fmt: skip
    return out.permute(0, 1, 4, 2, 3)


def events(current: Tensor, U: Tensor | None, form: Form) -> None:
    """There are no kernels that take events."""


def gradients(current: Tensor, U: Tensor | None, back: Tensor, form: Form) -> Gradients:
    """The gradients of a layer's current, U and bias."""
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
    cuda.gradients[(batch * h * w,)](
        last, _weights(U, form, last), _keys(form, last), back.permute(0, 1, 3, 4, 2).contiguous(),
        u, auxiliary, d_current, d_U, _numbers(form, last), dropout.threshold(form.p),
        form.steps, _stride(last),
        height, width, h, w, maps, **_sizes(U, form),
    )  # fmt: skip
    summed = None if U is None else d_U.sum(0).permute(2, 0, 1)
    d_bias = d_current.sum((0, 1, 2, 3), dtype=form.dtype)
    return Gradients(d_current.permute(0, 1, 4, 2, 3), summed, d_bias)


def _stride(last: Tensor) -> int:
    """From one step to the next; 0 for a current that stands still."""
    return last[0].numel() if len(last) > 1 else 0


def _numbers(form: Form, like: Tensor) -> Tensor:
    return _on_device(form.numbers, form.dtype, like.device)


@cache  # a copy to the device would wait for it, and cannot be part of a CUDA graph
def _on_device(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=dtype, device=device)


def _weights(U: Tensor | None, form: Form, like: Tensor) -> Tensor:
    """U as (h, w, C); any tensor where NeuNorm is off, since it is not read then."""
    return like if U is None else U.detach().to(form.dtype).permute(1, 2, 0).contiguous()


def _keys(form: Form, like: Tensor) -> Tensor:
    """Dropout's keys; any tensor where nothing is dropped, since it is not read then."""
    return like if form.keys is None else form.keys


def _sizes(U: Tensor | None, form: Form) -> dict[str, Any]:
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
