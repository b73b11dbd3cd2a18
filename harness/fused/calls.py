"""How threads enter the numba kernels: by an address, with one array of numbers, a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from harness.fused import adjoint, cpu
from harness.fused.cache import callback, inlined
from harness.fused.intrinsics import array, take
from harness.spec import Precision

# Of 64-bit numbers: who is next, how many parts, the sizes, then where the
# arrays are: 0 for none.
SIZE = 20
(
    NEXT, PARTS, STEPS, MOVING, BATCH, HEIGHT, WIDTH, MAPS, POOL, THRESHOLD,
    CURRENT, U_, KEYS, OUT, BACK, D_U, D_BIAS, NUMBERS, X, SPIKING,
) = range(SIZE)  # fmt: skip
NUMBERED = 12  # `Form.numbers`
NEURONS = 512  # of a line that are taken together, if its pixels have fewer


@inlined
def _shapes(call):
    """Shapes of current, of what goes to the next layer, of U, and of dropout's keys."""
    steps, batch, maps, pool = call[STEPS], call[BATCH], call[MAPS], call[POOL]
    height, width = call[HEIGHT] // pool, call[WIDTH] // pool
    current = (call[MOVING], batch, call[HEIGHT], call[WIDTH] * maps)
    out = (steps, batch, height, width * maps)
    some = 1 if call[U_] else 0
    drawn = 1 if call[KEYS] else 0
    return current, out, (height * some, width * some * maps), (steps * drawn, batch * drawn, 2)


@inlined
def _sizes(call):
    """Pool, maps, and how many pooled pixels are taken together."""
    pool, maps = call[POOL], call[MAPS]
    return pool, maps, max(1, min(call[WIDTH] // pool, NEURONS // (pool * maps)))


@inlined
def _part(address, stored, number):
    """The call at an address, which part of it is this thread's, from and to which row, and what
    both kernels read: current, U, keys, numbers."""
    call = carray(address, (SIZE,), np.int64)
    part, parts = take(call), call[PARTS]
    of_current, of_out, of_U, of_keys = _shapes(call)
    rows = of_out[1] * of_out[2]
    current = array(call[CURRENT], of_current, stored)
    U, keys = array(call[U_], of_U, number), array(call[KEYS], of_keys, np.uint32(0))
    numbers = array(call[NUMBERS], (NUMBERED,), number)
    return call, part, rows * part // parts, rows * (part + 1) // parts, current, U, keys, numbers


def _spikes(stored: Any, number: Any, sent: Any) -> Callable[[], int]:
    """The kernel for arrays stored as one type, potentials of another, and what is sent."""

    @callback
    def spikes(address):
        call, part, first, last, current, U, keys, numbers = _part(address, stored, number)
        _, of_out, _, _ = _shapes(call)
        sizes = _sizes(call)
        pool, maps, together = sizes
        width = of_out[3] // maps
        v = np.empty((pool, of_out[3] * pool), numbers.dtype)
        scratch = np.empty((4, max(width, together * pool * maps)), numbers.dtype)
        out = array(call[OUT], of_out, sent)
        x = array(call[X], (of_out[0], of_out[1], of_out[2], width), number)
        # a kernel's to fill: numba drops what is put into an array here, as if nobody read it
        spiking = array(call[SPIKING], (call[PARTS], 2), np.int64(0))
        threshold = np.uint32(call[THRESHOLD])
        cpu.spikes(
            current, U, keys, out, x, spiking[part], v, scratch, numbers, sizes, threshold,
            first, last,
        )  # fmt: skip

    return spikes


def _gradients(stored: Any, number: Any) -> Callable[[], int]:
    """The same for what goes back."""

    @callback
    def gradients(address):
        call, part, first, last, current, U, keys, numbers = _part(address, stored, number)
        _, of_out, of_U, _ = _shapes(call)
        steps, parts, sizes = call[STEPS], call[PARTS], _sizes(call)
        pool, maps, together = sizes
        u = np.empty((steps, pool, together * pool * maps), numbers.dtype)
        scratch = np.empty((2 * pool + 4, together * pool * maps), numbers.dtype)
        d_U = array(call[D_U], (parts, of_U[0], of_U[1]), number)
        d_bias = array(call[D_BIAS], (parts, maps), np.float64(0))
        adjoint.gradients(
            current, U, keys, array(call[BACK], of_out, stored), d_U[part], d_bias[part],
            u, scratch, np.empty((steps, together), numbers.dtype), numbers, sizes,
            np.uint32(call[THRESHOLD]), first, last,
        )  # fmt: skip

    return gradients


def _values(stored: Any, number: Any) -> Callable[[], int]:
    """What counts stand for, for arrays stored as one type and NeuNorm's numbers of another."""

    @callback
    def values(address):
        call = carray(address, (SIZE,), np.int64)
        part, parts = take(call), call[PARTS]
        _, of_out, of_U, _ = _shapes(call)
        rows = of_out[1] * of_out[2]
        cpu.values(
            array(call[BACK], of_out, np.uint8(0)),
            array(call[X], (1, of_out[1], of_out[2], call[WIDTH]), number),
            array(call[U_], of_U, number), array(call[OUT], of_out, stored),
            array(call[NUMBERS], (1,), number)[0], np.uint8(call[THRESHOLD]),
            rows * part // parts, rows * (part + 1) // parts,
        )  # fmt: skip

    return values


# As what arrays are stored, and in what is computed: bf16 comes as its bits.
_TYPES: Mapping[Precision, tuple[Any, Any]] = {
    "fp32": (np.float32(0), np.float32(0)),
    "fp64": (np.float64(0), np.float64(0)),
    "bf16": (np.uint16(0), np.float32(0)),
}
_Kernels = Mapping[Precision, Callable[[], int]]
SPIKES: _Kernels = {precision: _spikes(*types, types[0]) for precision, types in _TYPES.items()}
COUNTS: _Kernels = {precision: _spikes(*types, np.uint8(0)) for precision, types in _TYPES.items()}
GRADIENTS: _Kernels = {precision: _gradients(*types) for precision, types in _TYPES.items()}
VALUES: _Kernels = {precision: _values(*types) for precision, types in _TYPES.items()}
