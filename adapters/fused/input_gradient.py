"""A convolution's input gradient that visits the neurons inside the surrogate's window.

No other neuron's gradient is read: the adjoint multiplies it by a surrogate of zero, eq. (14). For
each input map a list says where in a group of images or lines such neurons are:

    for a group, shared among threads: copy its gradients
        for some input maps, for a row of outputs, for each map, for each place in its list:
            a vector of partial sums += the gradients around it times the weights of nine taps

The weights stay in registers; a vector's lanes are summed once, when all outputs are through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapters.fused.compiled import callback, inlined
from adapters.fused.form import MARK, Events
from adapters.fused.intrinsics import (
    BYTES, GRADIENT, add_products, load, store, sum_of_lanes, take, zero_bytes,
)  # fmt: skip
from adapters.fused.lists import (
    AREA, LINE, RowSize, aligned, append_to_maps, bytes_of, cache_bytes, cut, group_of,
    keep, put_numbers, run, sizes_of, call_at, to_compute_dtype,
)  # fmt: skip
from adapters.fused.weight_gradient import fill_block

AT_ONCE = 16  # maps whose lists and partial sums lie in the second cache, while all outputs pass


@inlined
def _list_group(call, images, lines, first, inputs, room, lists, targets):
    """List, for each of some maps, where in a group a gradient is wanted; set all of them to 0.

    `targets` takes, for each place, the address of the first map's gradient.
    """
    height, width, maps = call.height, call.width, call.maps
    places, values, lengths = lists
    for c in range(inputs):
        store(lengths + 4 * c, np.int32(0))
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            row = ((image - images[0]) * (call.lines + 2) + line - lines[0] + 1) * (width + 2) + 1
            source = (image * height + line) * width * maps + first
            for column in range(width):
                place, at = row + column, source + column * maps
                target = call.out + at * call.stored
                zero_bytes(target, inputs * call.stored)
                targets[place] = target
                counts = call.counts + at
                append_to_maps(counts, inputs, call.bits, place, room, places, values, lengths)


@inlined
def _multiply(call, first, inputs, block, pixels, partial, lists, room, sets, kind):
    """Compute the gradients at the listed places, over all outputs, each as a vector of sums."""
    places, _, lengths = lists
    pitch = call.width + 2
    for c in range(inputs):
        length = np.int64(load(lengths + 4 * c, np.int32(0)))
        zero_bytes(partial + c * room * BYTES, length * BYTES)
    for which in range(sets):
        weights = call.packed + (first * sets + which * AT_ONCE) * AREA * bytes_of(kind)
        gradients = block + which * pixels * bytes_of(kind)
        for c in range(inputs):
            length = np.int64(load(lengths + 4 * c, np.int32(0)))
            sums, listed = partial + c * room * BYTES, places + 2 * c * room
            of_map = weights + c * AREA * bytes_of(kind)
            add_products(sums, gradients, listed, length, pitch, of_map, kind)


@inlined
def _write_gradients(inputs, partial, lists, room, targets, size, stored, kind):
    """Add up each vector of sums and write it to the address of its gradient."""
    places, _, lengths = lists
    for c in range(inputs):
        for n in range(np.int64(load(lengths + 4 * c, np.int32(0)))):
            place = np.int64(load(places + 2 * (c * room + n), np.uint16(0)))
            sums = partial + (c * room + n) * BYTES
            store(sums, sum_of_lanes(sums, kind))
            put_numbers(targets[place] + c * stored, sums, 1, size, stored, kind[0])


def _input_gradient_kernel(kind: Any, size: int) -> Callable[[], int]:
    """Return a kernel that computes a convolution's input gradient where `counts` has a mark.

    The callable gives its address. `weight` holds the outputs' gradients (N, H, W, K), `packed` the
    weights; `out` (N, H, W, C) is 0 without a mark.
    """

    @callback
    def kernel(address):
        """Compute the gradient of the groups of images or lines that this thread takes."""
        call = call_at(address)[0]
        maps, outputs = call.maps, bytes_of(kind) // size
        sets = -(-call.outputs // outputs)
        strips = -(-call.height // call.lines)
        parts = strips * -(-call.images // call.together)
        pixels = call.together * (call.lines + 2) * (call.width + 2)
        room = call.together * call.lines * call.width
        memory = np.zeros(sets * pixels * bytes_of(kind) + LINE, np.uint8)
        sums = np.empty(AT_ONCE * room * BYTES + LINE, np.uint8)
        block, partial = aligned(memory), aligned(sums)
        places, values = np.empty(AT_ONCE * room, np.uint16), np.empty(AT_ONCE * room, np.uint8)
        lengths, targets = np.empty(AT_ONCE, np.int32), np.empty(pixels, np.int64)
        lists = (places.ctypes.data, values.ctypes.data, lengths.ctypes.data)
        part = take(address)
        while part < parts:
            images, lines = group_of(call, part)
            for which in range(sets):
                target = block + which * pixels * bytes_of(kind)
                fill_block(call, images, lines, which * outputs, target, kind, size)
            for first in range(0, maps, AT_ONCE):
                inputs = min(AT_ONCE, maps - first)
                _list_group(call, images, lines, first, inputs, room, lists, targets)
                _multiply(call, first, inputs, block, pixels, partial, lists, room, sets, kind)
                _write_gradients(inputs, partial, lists, room, targets, size, call.stored, kind)
            part = take(address)
        keep(memory, sums, places, values, lengths)

    return kernel


def compute(dy: Tensor, events: Events, weight: Tensor) -> Tensor:
    """Compute dy (N, K, H, W) -> dx (N, C, H, W), channels last: 0 for inputs without a mark."""
    weight = to_compute_dtype(weight)
    counts, dtype = events.counts, weight.dtype
    rows = RowSize.for_outputs(dtype, len(weight), GRADIENT)
    room = min(cache_bytes(1) * 7 // 8, cache_bytes(2) // (2 * rows.sets(len(weight))))
    grouping = cut(counts, rows.bytes, 2, room, 2 * torch.get_num_threads())
    sizes = sizes_of(events, len(weight), dy.dtype, rows)
    out = torch.empty(counts.shape, dtype=dy.dtype)
    numbers = {
        **sizes,
        "bits": MARK,
        "together": grouping.together,
        "lines": grouping.lines,
        "weight": dy.permute(0, 2, 3, 1).contiguous(),
        "packed": _pack(weight, rows),
        "out": out,
    }
    run(_input_gradient_kernel, rows, numbers)
    return out.permute(0, 3, 1, 2)


def _pack(weight: Tensor, rows: RowSize) -> Tensor:
    """Return weights (K, C, 3, 3) as [block of AT_ONCE maps][set][map][tap][output].

    Maps and outputs that are not there are 0.
    """
    (outputs, maps), sets, taps = weight.shape[:2], rows.sets(len(weight)), weight.flatten(2)
    missing = -maps % AT_ONCE, sets * rows.outputs - outputs
    if any(missing):
        taps = functional.pad(taps, (0, 0, 0, missing[0], 0, missing[1]))
    taps = taps.view(sets, rows.outputs, -1, AT_ONCE, AREA)
    return taps.permute(2, 0, 3, 4, 1).contiguous()
