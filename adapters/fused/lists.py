"""How the event kernels' work is cut to fit registers and caches, passed to a kernel, and listed.

Counts come channels-last as bytes, (N, H, W, C): how many spikes of a pool's window, 0 where none.
Where there is no pool a byte may hold a mark and its count (`Events.marked`): lists are told
which bits are meant. A list names the bytes that have one of these bits:

    for each byte of a row: if byte & bits: append its place, and its value
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba.np.numpy_support import carray
from torch import Tensor

from adapters.fused import compiled
from adapters.fused.compiled import as_call, fields, inlined
from adapters.fused.form import Events
from adapters.fused.intrinsics import (
    BYTES, TAPS, add_rows, add_valued_rows, copy_bytes, load, lowest, narrow, nonzero_16,
    nonzero_64, store, wide,
)  # fmt: skip

# A kernel's argument: the next part; sizes, `stored` the bytes of a number of the layers' own
# tensors, 2 in bf16, which is computed with in float32; then where the arrays are: 0 for none.
FIELDS = (
    "next", "images", "height", "width", "maps", "outputs", "lines", "together", "block", "valued",
    "first", "last", "shares", "bits", "stored", "counts", "weight", "packed", "bias", "out",
    "offset", "x", "places", "values", "starts",
)  # fmt: skip
CALL = fields(FIELDS)
LINE = 64  # bytes of a cache line
AREA = TAPS * TAPS


@inlined
def call_at(address):
    """Return the kernel's argument at an address, as an array of one record."""
    return carray(address, (1,), CALL)


@inlined
def aligned(memory):
    """Return the address of the first whole cache line in an array of bytes."""
    return (memory.ctypes.data + LINE - 1) // LINE * LINE


@inlined
def group_of(call, number):
    """Return the images and the lines of a group, each as its first and the one after its last."""
    strips = -(-call.height // call.lines)
    image, line = number // strips * call.together, number % strips * call.lines
    images = (image, min(call.images, image + call.together))
    return images, (line, min(call.height, line + call.lines))


@inlined
def bytes_of(kind):
    """Return the bytes of a row: of sums, of weights, or of a pixel's gradients.

    `kind` stands for rows: a tuple of zeros of the numbers' type, one for each vector of a row.
    """
    return len(kind) * BYTES


@inlined
def copy_numbers(target, source, count, size, stored, zero):
    """Copy `count` numbers; bf16 becomes float32 where `stored` and `size`, in bytes, differ.

    `zero` is a 0 of the target's type.
    """
    if stored == size:
        copy_bytes(target, source, count * size)
        return
    for n in range(count):
        store(target + n * size, zero + wide(load(source + n * stored, np.uint16(0))))


@inlined
def put_numbers(target, source, count, size, stored, zero):
    """Copy `count` numbers of `size` bytes to ones of `stored` bytes: float32 becomes bf16."""
    if stored == size:
        copy_bytes(target, source, count * size)
        return
    for n in range(count):
        value = np.float32(load(source + n * size, zero))
        store(target + n * stored, narrow(value, np.uint16(0)))


@inlined
def keep(*memory):
    """Keep arrays alive up to here: numba frees an array after its own last use."""
    return len(memory)


@inlined
def _value(counts, c, bits):
    return np.uint8(load(counts + c, np.uint8(0)) & np.uint8(bits))


@inlined
def _find_bits(counts, count, bits):
    """Return which of the next bytes have one of `bits` set, one bit each, and how many bytes.

    They are 64, 16 or 1 of the `count` bytes that are left.
    """
    if count >= 64:
        return nonzero_64(counts, bits), 64
    if count >= 16:
        return nonzero_16(counts, bits), 16
    return (1 if _value(counts, 0, bits) else 0), 1


@inlined
def list_maps(counts, maps, bits, nothing, places, values, n):
    """List the maps whose byte at `counts` has one of `bits`, and their values, from entry n on.

    An odd list is filled up by a place `nothing` of value 0. Returns the first free entry.
    """
    start, first = n, 0
    while first < maps:
        hits, size = _find_bits(counts + first, maps - first, bits)
        while hits != 0:
            c = first + lowest(hits)
            hits &= hits - 1
            store(places + 2 * n, np.uint16(c))
            store(values + n, _value(counts, c, bits))
            n += 1
        first += size
    if (n - start) & 1:
        store(places + 2 * n, np.uint16(nothing))
        store(values + n, np.uint8(0))
        n += 1
    return n


@inlined
def append_to_maps(counts, maps, bits, place, room, places, values, lengths):
    """Add `place` to the list of each map whose byte at `counts` has one of `bits` set.

    The lists have room for `room` places each; `lengths`, 32-bit numbers, are counted up.
    """
    first = 0
    while first < maps:
        hits, size = _find_bits(counts + first, maps - first, bits)
        while hits != 0:
            c = first + lowest(hits)
            hits &= hits - 1
            n = np.int64(load(lengths + 4 * c, np.int32(0)))
            store(lengths + 4 * c, np.int32(n + 1))
            store(places + 2 * (c * room + n), np.uint16(place))
            store(values + c * room + n, _value(counts, c, bits))
        first += size


@inlined
def add_listed(sums, rows, places, values, length, valued, kind):
    """Add the rows at `places` to the row `sums`; if `valued`, each times its listed value.

    `length` is the number of places; `kind` as in `bytes_of`.
    """
    if valued:
        add_valued_rows(sums, rows, places, length, values, kind)
    else:
        add_rows(sums, rows, places, length, kind)


class RowSize(NamedTuple):
    """Size of a row of sums, weights or gradients: so many vector registers of a type."""

    dtype: torch.dtype
    vectors: int

    @classmethod
    def for_outputs(cls, dtype: torch.dtype, outputs: int, most: int) -> RowSize:
        """Return a row just long enough for all outputs, cut off at `most` vectors."""
        vectors = 1
        while vectors < most and vectors * BYTES < outputs * dtype.itemsize:
            vectors *= 2
        return cls(dtype, vectors)

    @property
    def bytes(self) -> int:
        """Bytes of one row."""
        return self.vectors * BYTES

    @property
    def outputs(self) -> int:
        """Outputs that fit into one row."""
        return self.bytes // self.dtype.itemsize

    def sets(self, outputs: int) -> int:
        """Return into how many rows, the last perhaps not full, outputs are split."""
        return -(-outputs // self.outputs)


class Cut(NamedTuple):
    """How images are cut into groups: `together` whole images, or `lines` lines of one."""

    together: int
    lines: int

    def groups(self, images: int, height: int) -> int:
        """Return the number of groups that images of a height are cut into."""
        return -(-images // self.together) * -(-height // self.lines)


@cache
def cache_bytes(level: int) -> int:
    """Return the bytes of a core's L1 or L2 data cache; a usual size if the system does not say."""
    name = {1: "SC_LEVEL1_DCACHE_SIZE", 2: "SC_LEVEL2_CACHE_SIZE"}[level]
    try:
        size = os.sysconf(name)
    except (AttributeError, OSError, ValueError):
        size = 0
    return size if size > 0 else {1: 2**15, 2: 2**19}[level]


def cut(counts: Tensor, pixel: int, margin: int, room: int, at_least: int) -> Cut:
    """Cut images into groups that fit `room` bytes, at `pixel` bytes a pixel, `margin` lines more.

    There are at least `at_least` groups, if there are lines enough.
    """
    images, height, width, _ = counts.shape
    line = (width + 2) * pixel
    lines = max(1, min(height, room // line - margin))
    if images < at_least:
        lines = min(lines, max(1, height * images // at_least))
    lines = -(-height // -(-height // lines))
    if lines < height:
        return Cut(1, lines)
    fitting = max(1, room // ((height + margin) * line))
    return Cut(max(1, min(fitting, -(-images // at_least))), lines)


def block_of(rows: RowSize) -> int:
    """Return how many rows of weights fit two thirds of the L1 cache, a multiple of 64, not 0."""
    return max(64, cache_bytes(1) * 2 // 3 // rows.bytes // 64 * 64)


Numbers = dict[str, int | Tensor | None]  # a kernel's argument, by its field
LISTED = 2**21  # places of the lists that are held at once
LISTS = RowSize(torch.float32, 1)  # of kernels that make lists: they have none

_NUMBERS: dict[torch.dtype, tuple[Any, int]] = {
    torch.float32: (np.float32(0), 4),
    torch.float64: (np.float64(0), 8),
}


@cache
def _kernel(make: Callable[[Any, int], Callable[[], int]], rows: RowSize) -> int:
    zero, size = _NUMBERS[rows.dtype]
    return make((zero,) * rows.vectors, size)()


def run(
    make: Callable[[Any, int], Callable[[], int]],
    rows: RowSize,
    numbers: Numbers,
) -> None:
    """Run the kernel that `make` compiles for such rows in torch's threads, given `numbers`."""
    call = as_call(FIELDS, numbers)
    compiled.run(_kernel(make, rows), call.ctypes.data, torch.get_num_threads())


def to_compute_dtype(numbers: Tensor) -> Tensor:
    """Return a parameter, detached, in the type that kernels compute in: bf16 becomes float32."""
    numbers = numbers.detach()
    return numbers.float() if numbers.dtype == torch.bfloat16 else numbers


def sizes_of(events: Events, outputs: int, stored: torch.dtype, rows: RowSize) -> Numbers:
    """Return the argument's fields that all kernels which read events have in common."""
    images, height, width, maps = events.counts.shape
    return {
        "images": images,
        "height": height,
        "width": width,
        "maps": maps,
        "outputs": outputs,
        "valued": int(events.most > 1),
        "bits": events.bits,
        "stored": stored.itemsize,
        "counts": events.counts,
        "block": block_of(rows),
    }
