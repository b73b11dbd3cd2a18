"""The numba kernels on torch's tensors: memory as they want it, rows shared among the threads."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.fused import calls, team
from harness.fused.events import MOST, Events
from harness.fused.form import Form, Gradients
from harness.reference import dropout
from harness.reference.precision import SYNAPSE_DTYPES

NAME = f"numba {numba.__version__}"
# by what the synapses compute in, as the current comes from them
_SPIKES, _COUNTS, _GRADIENTS, _VALUES = (
    {SYNAPSE_DTYPES[precision]: kernel for precision, kernel in kernels.items()}
    for kernels in (calls.SPIKES, calls.COUNTS, calls.GRADIENTS, calls.VALUES)
)


def spikes(current: Tensor, U: Tensor | None, form: Form) -> Tensor:
    """current (T or 1, B, C, H, W), channels last -> (T, B, C, h, w), to the next layer."""
    out, _, _ = _sent(_SPIKES, current.dtype, current, U, form)
    return out.permute(0, 1, 4, 2, 3)


def events(current: Tensor, U: Tensor | None, form: Form) -> Events | None:
    """The same as counts, (T B, h, w, C), where the next layer can take them; else None."""
    most = form.pool**2
    if most > MOST or (U is not None and form.keys is not None):
        return None  # what NeuNorm takes away is dropped too: no number of a pixel tells it
    out, x, spiking = _sent(_COUNTS, torch.uint8, current, U, form)
    gain = 1 / (most * (1 - form.p if form.keys is not None else 1))
    of_x = None if U is None else x.flatten(0, 1)
    taken = None if U is None else U.detach()
    spiked, marked = spiking.sum(0).tolist()
    return Events(
        out.flatten(0, 1), gain, most, spiked, of_x, taken, marked if form.marks else None
    )


def _sent(
    kernels: dict[torch.dtype, Callable[[], int]],
    dtype: torch.dtype,
    current: Tensor,
    U: Tensor | None,
    form: Form,
) -> tuple[Tensor, Tensor, Tensor]:
    """What a kernel of spikes sends, NeuNorm's x, and how many counts and marks, by thread."""
    last = _last(current)
    _, batch, height, width, maps = last.shape
    h, w = height // form.pool, width // form.pool
    out = torch.empty(form.steps, batch, h, w, maps, dtype=dtype)
    x = torch.empty(form.steps, batch, h, w, dtype=form.dtype)
    spiking = torch.zeros(threads(batch * h), 2, dtype=torch.int64)
    arrays = {calls.OUT: out, calls.X: x, calls.SPIKING: spiking, calls.U_: _weights(U, form)}
    _run(kernels[current.dtype](), form, last, arrays)
    return out, x, spiking


def values(events: Events, dtype: torch.dtype) -> Tensor:
    """What counts stand for, (N, C, h, w), channels last: one pass over memory."""
    images, height, width, maps = events.counts.shape
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x = None if events.x is None else events.x.to(wide).contiguous()
    U = None if events.U is None else events.U.to(wide).permute(1, 2, 0).contiguous()
    out = torch.empty(events.counts.shape, dtype=dtype)
    call = np.zeros(calls.SIZE, np.int64)
    call[calls.PARTS] = parts = threads(images * height)
    call[calls.STEPS], call[calls.BATCH], call[calls.POOL] = 1, images, 1
    call[calls.HEIGHT], call[calls.WIDTH], call[calls.MAPS] = height, width, maps
    call[calls.THRESHOLD] = events.bits
    gain = torch.tensor([events.gain], dtype=wide)
    arrays = {calls.BACK: events.counts.contiguous(), calls.OUT: out, calls.NUMBERS: gain}
    _point(call, {**arrays, calls.X: x, calls.U_: U})
    team.run(_VALUES[dtype](), call.ctypes.data, parts)
    return out.permute(0, 3, 1, 2)


def gradients(current: Tensor, U: Tensor | None, back: Tensor, form: Form) -> Gradients:
    """The gradients of a layer's current, which takes the current's memory, U and bias."""
    last, weights = _last(current), _weights(U, form)
    h, w = last.shape[2] // form.pool, last.shape[3] // form.pool
    parts = threads(last.shape[1] * h)
    d_U = None if weights is None else torch.zeros(parts, *weights.shape, dtype=form.dtype)
    d_bias = torch.zeros(parts, last.shape[4], dtype=torch.float64)
    arrays = {calls.BACK: _last(back), calls.U_: weights, calls.D_U: d_U, calls.D_BIAS: d_bias}
    _run(_GRADIENTS[current.dtype](), form, last, arrays)
    # what fills no window of the pool has no gradient, and the kernel does not visit it
    last[:, :, h * form.pool :] = 0
    last[:, :, :, w * form.pool :] = 0
    summed = None if d_U is None else d_U.sum(0).permute(2, 0, 1)
    return Gradients(last.permute(0, 1, 4, 2, 3), summed, d_bias.sum(0))


def _run(kernel: int, form: Form, current: Tensor, arrays: dict[int, Tensor | None]) -> None:
    """Calls a kernel on `current` (T or 1, B, H, W, C) and other arrays, by their fields."""
    moving, batch, height, width, maps = current.shape
    numbers = torch.tensor(form.numbers, dtype=form.dtype)
    keys = None if form.keys is None else torch.from_numpy(form.keys.numpy().astype(np.uint32))
    arrays = {**arrays, calls.CURRENT: current, calls.NUMBERS: numbers, calls.KEYS: keys}
    call = np.zeros(calls.SIZE, np.int64)
    call[calls.PARTS] = parts = threads(batch * (height // form.pool))
    call[calls.STEPS], call[calls.MOVING], call[calls.BATCH] = form.steps, moving, batch
    call[calls.HEIGHT], call[calls.WIDTH], call[calls.MAPS] = height, width, maps
    call[calls.POOL], call[calls.THRESHOLD] = form.pool, dropout.threshold(form.p)
    _point(call, arrays)
    team.run(kernel, call.ctypes.data, parts)


def _point(call: NDArray[np.int64], arrays: dict[int, Tensor | None]) -> None:
    """Says in a call where its arrays are; who calls keeps them."""
    for field, array in arrays.items():
        call[field] = 0 if array is None else array.data_ptr()


def _last(maps: Tensor) -> Tensor:
    """(T, B, C, H, W) -> (T, B, H, W, C), contiguous; a view where it is channels last."""
    return maps.detach().permute(0, 1, 3, 4, 2).contiguous()


def _weights(U: Tensor | None, form: Form) -> Tensor | None:
    """U as (h, w, C)."""
    return None if U is None else U.detach().to(form.dtype).permute(1, 2, 0).contiguous()


def threads(rows: int) -> int:
    """How many threads share that many rows: torch's number, at most one a row."""
    return max(1, min(torch.get_num_threads(), rows))
