"""What a kernel is told, and the lists of what spiked that the kernels walk along.

Counts come channels-last as bytes, (N, H, W, C): how many spikes of a pool's window, 0 where none.
Where there is no pool a byte may hold a mark beside its count (`Events.marked`): lists are told
which bits are meant.
"""

from __future__ import annotations

import numpy as np
from numba.np.numpy_support import carray

from harness.fused.cache import inlined
from harness.fused.event.memory import copy_bytes, load, lowest, nonzero_16, nonzero_64, store
from harness.fused.event.sums import add_rows, add_valued_rows
from harness.fused.event.vectors import BYTES, TAPS
from harness.fused.intrinsics import narrow, wide

# Of 64-bit numbers: who is next; sizes, the last one the bytes of a number of the layers' own
# tensors, 2 in bf16, which is computed with in float32; then where the arrays are: 0 for none.
SIZE = 25
(
    NEXT, IMAGES, HEIGHT, WIDTH, MAPS, OUT_MAPS, LINES, TOGETHER, BLOCK, VALUED, FIRST, LAST,
    SHARES, BITS, STORED, COUNTS, WEIGHT, PACKED, BIAS, OUT, OFFSET, AUXILIARY, PLACES,
    VALUES, STARTS,
) = range(SIZE)  # fmt: skip
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
def bytes_of(kind):
    """Of a row of sums or weights, or of a pixel's gradients.

    `kind` stands for rows: a tuple of zeros of the numbers' type, one for each vector of a row.
    """
    return len(kind) * BYTES


@inlined
def copy_numbers(target, source, count, size, stored, zero):
    """Copies some of a layer's own numbers to such as are computed with."""
    if stored == size:
        copy_bytes(target, source, count * size)
        return
    for n in range(count):
        store(target + n * size, zero + wide(load(source + n * stored, np.uint16(0))))


@inlined
def put_numbers(target, source, count, size, stored, zero):
    """The other way."""
    if stored == size:
        copy_bytes(target, source, count * size)
        return
    for n in range(count):
        value = np.float32(load(source + n * size, zero))
        store(target + n * stored, narrow(value, np.uint16(0)))


@inlined
def keep(memory):
    """Called behind the last use of arrays' addresses: numba frees an array behind its own."""
    return len(memory)


@inlined
def _value(counts, c, bits):
    return np.uint8(load(counts + c, np.uint8(0)) & np.uint8(bits))


@inlined
def _list_set(found, first, counts, bits, places, values, n):
    while found != 0:
        c = first + lowest(found)
        found &= found - 1
        store(places + 2 * n, np.uint16(c))
        store(values + n, _value(counts, c, bits))
        n += 1
    return n


@inlined
def list_maps(counts, maps, bits, nothing, places, values, n):
    """Lists in which of the bytes at `counts` one of `bits` is set, and these, from place n on.

    The list's length is even: a last place `nothing`, of value 0, fills it up. Gives the next n.
    """
    start, c = n, 0
    while c + 64 <= maps:
        n = _list_set(nonzero_64(counts + c, bits), c, counts, bits, places, values, n)
        c += 64
    while c + 16 <= maps:
        n = _list_set(nonzero_16(counts + c, bits), c, counts, bits, places, values, n)
        c += 16
    while c < maps:
        value = _value(counts, c, bits)
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
def _append_set(found, first, place, counts, bits, room, places, values, lengths):
    while found != 0:
        c = first + lowest(found)
        found &= found - 1
        _append(c, place, _value(counts, c, bits), room, places, values, lengths)


@inlined
def append_to_maps(counts, maps, bits, place, room, places, values, lengths):
    """Adds `place` to the list of each map whose byte at `counts` has one of `bits` set.

    The lists have room for `room` places each; `lengths` are 32-bit numbers.
    """
    c = 0
    while c + 64 <= maps:
        found = nonzero_64(counts + c, bits)
        _append_set(found, c, place, counts, bits, room, places, values, lengths)
        c += 64
    while c + 16 <= maps:
        found = nonzero_16(counts + c, bits)
        _append_set(found, c, place, counts, bits, room, places, values, lengths)
        c += 16
    while c < maps:
        value = _value(counts, c, bits)
        if value != 0:
            _append(c, place, value, room, places, values, lengths)
        c += 1


@inlined
def add_listed(sums, rows, places, values, length, valued, kind):
    """Adds the rows of a list to sums, each times its value unless all are 1."""
    if valued:
        add_valued_rows(sums, rows, places, length, values, kind)
    else:
        add_rows(sums, rows, places, length, kind)
