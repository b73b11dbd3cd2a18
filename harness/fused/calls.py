"""How threads enter the numba kernels: by an address, with one array of numbers, a call."""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from harness.fused import cpu
from harness.fused.cache import callback, inlined
from harness.fused.intrinsics import array, take

# Of 64-bit numbers: who is next, how many parts, the sizes, then where the
# arrays are: 0 for none.
SIZE = 18
(
    NEXT, PARTS, STEPS, MOVING, BATCH, HEIGHT, WIDTH, MAPS, POOL, THRESHOLD,
    CURRENT, U_, KEYS, OUT, BACK, D_U, D_BIAS, NUMBERS,
) = range(SIZE)  # fmt: skip


@inlined
def _shapes(call):  # type: ignore[no-untyped-def]
    """Shapes of current, of what goes to the next layer, of U, and of dropout's keys."""
    steps, batch, maps, pool = call[STEPS], call[BATCH], call[MAPS], call[POOL]
    height, width = call[HEIGHT] // pool, call[WIDTH] // pool
    current = (call[MOVING], batch, call[HEIGHT], call[WIDTH], maps)
    out = (steps, batch, height, width, maps)
    some = 1 if call[U_] else 0
    U = (height * some, width * some, maps * some)
    drawn = 1 if call[KEYS] else 0
    return current, out, U, (steps * drawn, batch * drawn, 2)


@inlined
def _spikes_part(address, stored, number):  # type: ignore[no-untyped-def]
    call = carray(address, (SIZE,), np.int64)
    part, parts, pool = take(call), call[PARTS], call[POOL]
    of_current, of_out, of_U, of_keys = _shapes(call)
    rows, width, maps = of_out[1] * of_out[2], of_out[3], of_out[4]
    numbers = array(call[NUMBERS], (10,), number)
    v = np.empty((width * pool, pool, maps), numbers.dtype)
    scratch = np.empty((3, max(width, maps)), numbers.dtype)
    cpu.spikes(
        array(call[CURRENT], of_current, stored), array(call[U_], of_U, number),
        array(call[KEYS], of_keys, np.uint32(0)), array(call[OUT], of_out, stored),
        v, scratch, numbers, pool, np.uint32(call[THRESHOLD]),
        rows * part // parts, rows * (part + 1) // parts,
    )  # fmt: skip


@inlined
def _gradients_part(address, stored, number):  # type: ignore[no-untyped-def]
    call = carray(address, (SIZE,), np.int64)
    part, parts, pool = take(call), call[PARTS], call[POOL]
    of_current, of_out, of_U, of_keys = _shapes(call)
    rows, maps = of_out[1] * of_out[2], of_out[4]
    numbers = array(call[NUMBERS], (10,), number)
    u = np.empty((call[STEPS], pool * pool, maps), numbers.dtype)
    scratch = np.empty((2 * pool * pool + 2, maps), numbers.dtype)
    d_U = array(call[D_U], (parts, of_U[0], of_U[1], of_U[2]), number)
    d_bias = array(call[D_BIAS], (parts, maps), np.float64(0))
    cpu.gradients(
        array(call[CURRENT], of_current, stored), array(call[U_], of_U, number),
        array(call[KEYS], of_keys, np.uint32(0)), array(call[BACK], of_out, stored),
        d_U[part], d_bias[part], u, scratch, np.empty(call[STEPS], numbers.dtype), numbers, pool,
        np.uint32(call[THRESHOLD]), rows * part // parts, rows * (part + 1) // parts,
    )  # fmt: skip


@callback
def spikes_fp32(address):  # type: ignore[no-untyped-def]
    _spikes_part(address, np.float32(0), np.float32(0))


@callback
def spikes_fp64(address):  # type: ignore[no-untyped-def]
    _spikes_part(address, np.float64(0), np.float64(0))


@callback
def spikes_bf16(address):  # type: ignore[no-untyped-def]
    _spikes_part(address, np.uint16(0), np.float32(0))


@callback
def gradients_fp32(address):  # type: ignore[no-untyped-def]
    _gradients_part(address, np.float32(0), np.float32(0))


@callback
def gradients_fp64(address):  # type: ignore[no-untyped-def]
    _gradients_part(address, np.float64(0), np.float64(0))


@callback
def gradients_bf16(address):  # type: ignore[no-untyped-def]
    _gradients_part(address, np.uint16(0), np.float32(0))
