"""What a kernel is told, and the lists of what spiked that the kernels walk along.

Counts come channels-last as bytes, (N, H, W, C): how many spikes of a pool's window, 0 where none.
"""

from __future__ import annotations

import numpy as np
from numba.np.numpy_support import carray

from harness.fused.cache import inlined
from harness.fused.event.memory import load, lowest, nonzero_16, nonzero_64, store
from harness.fused.event.vectors import BYTES, GRADIENT, ROW, TAPS, add_rows, add_valued_rows

# Of 64-bit numbers: who is next; sizes; then where the arrays are: 0 for none.
SIZE = 23
(
    NEXT, IMAGES, HEIGHT, WIDTH, MAPS, OUT_MAPS, LINES, TOGETHER, BLOCK, VALUED, FIRST, LAST,
    SHARES, COUNTS, WEIGHT, PACKED, BIAS, OUT, OFFSET, AUXILIARY, PLACES, VALUES, STARTS,
) = range(SIZE)  # fmt: skip
WIDE, NARROW = ROW * BYTES, GRADIENT * BYTES  # bytes of a row of sums, and of a pixel's gradients
LINE = 64  # bytes of a cache line
AREA = TAPS * TAPS


@inlined
def told(address):
    """The numbers at an address."""
    return carray(address, (SIZE,), np.int64)


@inlined
def aligned(memory):
    """Where the first whole cache line of an array of bytes begins."""
    return (memory.ctypes.data + LINE - 1) // LINE * LINE


@inlined
def group_of(call, number):
    """Which images and lines are of a group."""
    strips = -(-call[HEIGHT] // call[LINES])
    image, line = number // strips * call[TOGETHER], number % strips * call[LINES]
    images = (image, min(call[IMAGES], image + call[TOGETHER]))
    return images, (line, min(call[HEIGHT], line + call[LINES]))


@inlined
def keep(memory):
    """Called behind the last use of arrays' addresses: numba frees an array behind its own."""
    return len(memory)


@inlined
def _list_bits(bits, first, counts, places, values, n):
    while bits != 0:
        c = first + lowest(bits)
        bits &= bits - 1
        store(places + 2 * n, np.uint16(c))
        store(values + n, load(counts + c, np.uint8(0)))
        n += 1
    return n


@inlined
def list_maps(counts, maps, nothing, places, values, n):
    """Lists which of the bytes at `counts` are not zero, and what they are, from place n on.

    The list's length is even: a last place `nothing`, of value 0, fills it up. Gives the next n.
    """
    start, c = n, 0
    while c + 64 <= maps:
        n = _list_bits(nonzero_64(counts + c), c, counts, places, values, n)
        c += 64
    while c + 16 <= maps:
        n = _list_bits(nonzero_16(counts + c), c, counts, places, values, n)
        c += 16
    while c < maps:
        value = load(counts + c, np.uint8(0))
        if value != 0:
            store(places + 2 * n, np.uint16(c))
            store(values + n, value)
            n += 1
        c += 1
    if (n - start) & 1:
        store(places + 2 * n, np.uint16(nothing))
        store(values + n, np.uint8(0))
        n += 1
    return n


@inlined
def _append(c, place, value, room, places, values, lengths):
    n = np.int64(load(lengths + 4 * c, np.int32(0)))
    store(lengths + 4 * c, np.int32(n + 1))
    store(places + 2 * (c * room + n), np.uint16(place))
    store(values + c * room + n, value)


@inlined
def _append_bits(bits, first, place, counts, room, places, values, lengths):
    while bits != 0:
        c = first + lowest(bits)
        bits &= bits - 1
        _append(c, place, load(counts + c, np.uint8(0)), room, places, values, lengths)


@inlined
def append_to_maps(counts, maps, place, room, places, values, lengths):
    """Adds `place` to the list of each map whose byte at `counts` is not zero.

    The lists have room for `room` places each; `lengths` are 32-bit numbers.
    """
    c = 0
    while c + 64 <= maps:
        bits = nonzero_64(counts + c)
        _append_bits(bits, c, place, counts, room, places, values, lengths)
        c += 64
    while c + 16 <= maps:
        bits = nonzero_16(counts + c)
        _append_bits(bits, c, place, counts, room, places, values, lengths)
        c += 16
    while c < maps:
        value = load(counts + c, np.uint8(0))
        if value != 0:
            _append(c, place, value, room, places, values, lengths)
        c += 1


@inlined
def add_listed(sums, rows, places, values, length, valued, zero):
    """Adds the rows of a list to sums, each times its value unless all are 1."""
    if valued:
        add_valued_rows(sums, rows, places, length, values, zero)
    else:
        add_rows(sums, rows, places, length, zero)
