"""A convolution's forward pass that visits what spiked.

A block of inputs' rows of weights, [input][output], lies in the first cache while the lists of all
pixels walk along it:

    for a group of images, or lines of one, shared among threads:
        list what spiked at each pixel
        for a row of outputs, for a block of inputs, for each of nine taps:
            for each pixel: sums at pixel - tap += the weights' rows that its list names

Sums have two levels, within a block and over blocks: one running sum would be less exact than a
dense convolution's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapters.fused.compiled import callback, inlined
from adapters.fused.form import Events, PackedWeights
from adapters.fused.intrinsics import (
    ROW, TAPS, add_scaled_row, copy_row, load, narrow_row, take,
)  # fmt: skip
from adapters.fused.lists import (
    AREA, LINE, RowSize, add_listed, aligned, block_of, bytes_of, cache_bytes,
    to_compute_dtype, cut, group_of, keep, list_maps, put_numbers, run, sizes_of, call_at,
)  # fmt: skip

T = TypeVar("T")


@inlined
def _sort_by_length(unsorted, count, entries, ends):
    """Sort entries (start, length, pixel) by length, longest first; return how many are not empty.

    So the processor foresees where each list ends. Empty ones are left out.
    """
    ends[:] = 0
    for n in range(count):
        ends[unsorted[n, 1] >> 1] += 1
    place = 0
    for half in range(ends.shape[0] - 1, 0, -1):
        length = ends[half]
        ends[half] = place
        place += length
    for n in range(count):
        half = unsorted[n, 1] >> 1
        if half:
            at = ends[half]
            ends[half] = at + 1
            for field in range(3):
                entries[at, field] = unsorted[n, field]
    return place


@inlined
def _list_group(call, images, lines, lists, entries, ends, sizes):
    """List what spiked at each pixel of a group, by block of maps, longest lists first.

    An entry is (start, length, pixel); `sizes` takes the number of entries of each block.
    A tile has a line more above and below than an image's taps reach, and a pixel at either side.
    """
    height, width, maps, block = call.height, call.width, call.maps, call.block
    first, last = max(np.int64(0), lines[0] - 1), min(height, lines[1] + 1)
    (places, values, unsorted), bits = lists, call.bits
    n = np.int64(0)
    for b in range(entries.shape[0]):
        pixels = 0
        inputs = min(block, maps - b * block)
        for image in range(images[0], images[1]):
            for line in range(first, last):
                row = ((image - images[0]) * (call.lines + 4) + line - lines[0] + 2) * (width + 2)
                source = call.counts + ((image * height + line) * width) * maps + b * block
                for column in range(width):
                    start = n
                    n = list_maps(source + column * maps, inputs, bits, block, places, values, n)
                    unsorted[pixels, 0] = start
                    unsorted[pixels, 1] = n - start
                    unsorted[pixels, 2] = row + column + 1
                    pixels += 1
        sizes[b] = _sort_by_length(unsorted, pixels, entries[b], ends)


@inlined
def _add_tap(entries, count, tile, weights, shift, lists, valued, kind):
    """Add one tap's weights to a tile: those of a pixel's spikes to the sums at pixel + `shift`.

    An entry is a pixel's list of spikes: (start, length, pixel).
    """
    places, values, _ = lists
    for n in range(count):
        start, length = np.int64(entries[n, 0]), np.int64(entries[n, 1])
        sums = tile + (np.int64(entries[n, 2]) + shift) * bytes_of(kind)
        add_listed(sums, weights, places + 2 * start, values + start, length, valued, kind)


@inlined
def _add_all_taps(call, entries, sizes, tile, which, lists, kind):
    """Add the weights of all taps and all blocks of inputs to a tile, for one set of outputs."""
    blocks, pitch, row = entries.shape[0], call.width + 2, bytes_of(kind)
    for b in range(blocks):
        for tap in range(AREA):
            packed = ((which * blocks + b) * AREA + tap) * (call.block + 1) * row
            # y(p) = sum of w(tap) x(p + tap): an event at q goes to q - tap
            shift = (1 - tap // TAPS) * pitch + 1 - tap % TAPS
            weights = call.packed + packed
            _add_tap(entries[b], sizes[b], tile, weights, shift, lists, call.valued, kind)


@inlined
def _offset(call, sums, place, first, outputs, size, kind):
    """Add NeuNorm's part to a pixel's sums: `offset` (tap, pixel, output) times `x` there."""
    image, line, column = place
    height, width = call.height, call.width
    for tap in range(AREA):
        i, j = line + tap // TAPS - 1, column + tap % TAPS - 1
        if 0 <= i < height and 0 <= j < width:
            x = load(call.x + ((image * height + i) * width + j) * size, kind[0])
            if x != 0:
                pixel = (tap * height + line) * width + column
                add_scaled_row(sums, call.offset + (pixel * outputs + first) * size, x, kind)


@inlined
def _set_to_bias(call, images, lines, tile, first, size, kind):
    """Set a tile's sums, for these images and lines, to the bias of the outputs from `first` on."""
    width = call.width
    for image in range(images[1] - images[0]):
        for line in range(lines[1] - lines[0]):
            row = tile + ((image * (call.lines + 4) + line + 2) * (width + 2) + 1) * bytes_of(kind)
            for column in range(width):
                copy_row(row + column * bytes_of(kind), call.bias + first * size, kind)


@inlined
def _write_outputs(call, images, lines, tile, first, padded, size, kind):
    """Write a tile's sums, with NeuNorm's part, to `out` as the outputs from `first` on."""
    height, width, outputs, stored = call.height, call.width, call.outputs, call.stored
    count, whole = min(bytes_of(kind) // size, outputs - first), bytes_of(kind) // size
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            above = (image - images[0]) * (call.lines + 4) + line - lines[0] + 2
            row = tile + (above * (width + 2) + 1) * bytes_of(kind)
            out = ((image * height + line) * width * outputs + first) * stored + call.out
            for column in range(width):
                sums, target = row + column * bytes_of(kind), out + column * outputs * stored
                if call.offset:
                    _offset(call, sums, (image, line, column), first, padded, size, kind)
                if count < whole:
                    put_numbers(target, sums, count, size, stored, kind[0])
                elif stored == size:
                    copy_row(target, sums, kind)
                else:
                    narrow_row(target, sums, kind)


def _convolve(kind: Any, size: int) -> Callable[[], int]:
    """Return a kernel that convolves `counts` (N, H, W, C) with `packed` weights to `out`.

    The callable gives its address. `out` is (N, H, W, K), with the bias.
    """

    @callback
    def kernel(address):
        """Convolve the groups of images or lines that this thread takes."""
        call = call_at(address)[0]
        maps, outputs, block = call.maps, call.outputs, call.block
        blocks, wide = -(-maps // block), bytes_of(kind) // size
        strips = -(-call.height // call.lines)
        parts = strips * -(-call.images // call.together)
        pixels = call.together * (call.lines + 2) * call.width
        pitch = call.width + 2
        room = call.together * (call.lines + 4) * pitch * bytes_of(kind)
        memory = np.zeros(room + LINE, np.uint8)
        tile = aligned(memory)
        places = np.empty(pixels * (maps + blocks), np.uint16)
        values = np.empty(pixels * (maps + blocks), np.uint8)
        entries = np.empty((blocks, pixels, 3), np.int32)
        unsorted = np.empty((pixels, 3), np.int32)
        ends, sizes = np.empty(block // 2 + 2, np.int64), np.empty(blocks, np.int64)
        lists = (places.ctypes.data, values.ctypes.data, unsorted)
        part = take(address)
        while part < parts:
            images, lines = group_of(call, part)
            _list_group(call, images, lines, lists, entries, ends, sizes)
            for first in range(0, outputs, wide):
                _set_to_bias(call, images, lines, tile, first, size, kind)
                _add_all_taps(call, entries, sizes, tile, first // wide, lists, kind)
                padded = -(-outputs // wide) * wide
                _write_outputs(call, images, lines, tile, first, padded, size, kind)
            part = take(address)
        keep(memory, places, values)

    return kernel


def convolve(events: Events, weight: Tensor, bias: Tensor, packs: PackedWeights = None) -> Tensor:
    """Convolve events with weight (K, C, 3, 3), bias (K,) -> (N, K, H, W), channels last."""
    stored, weight, bias = weight.dtype, to_compute_dtype(weight), to_compute_dtype(bias)
    counts, dtype = events.counts, weight.dtype
    images, height, width, maps = counts.shape
    outputs, rows = len(weight), RowSize.for_outputs(dtype, len(weight), ROW)
    wide, sizes = rows.sets(outputs) * rows.outputs, sizes_of(events, outputs, stored, rows)
    packed = _cached(packs, "packed", lambda: _pack(weight, events.gain, rows))
    at_least = 2 * torch.get_num_threads()
    grouping = cut(counts, rows.bytes, 4, cache_bytes(2) * 2 // 5, at_least)
    out = torch.empty(images, height, width, outputs, dtype=stored)
    numbers = {
        "together": grouping.together,
        "lines": grouping.lines,
        "packed": packed,
        "bias": functional.pad(bias, (0, wide - outputs)),
        "offset": _cached(packs, "offset", lambda: _offsets(events, weight, wide)),
        "x": events.x,
        "out": out,
    }
    run(_convolve, rows, {**sizes, **numbers})
    return out.permute(0, 3, 1, 2)


def _pack(weight: Tensor, gain: float, rows: RowSize) -> Tensor:
    """Return weights times the gain: [set of outputs][block of inputs][tap][input][output].

    A row of zeros lies behind each block's; outputs that are not there are 0.
    """
    block, sets = block_of(rows), rows.sets(len(weight))
    blocks = -(-weight.shape[1] // block)
    packed = weight.new_zeros(sets, blocks, TAPS, TAPS, block + 1, rows.outputs)
    for n, of_set in enumerate(weight.split(rows.outputs)):
        for b, part in enumerate(of_set.split(block, 1)):
            outputs, inputs = part.shape[:2]
            torch.mul(part.permute(2, 3, 1, 0), gain, out=packed[n, b, ..., :inputs, :outputs])
    return packed


def _cached(packs: PackedWeights, name: str, make: Callable[[], T]) -> T:
    """Return what calls of one layer on the same weights share, made by the first of them."""
    if packs is None:
        return make()
    if name not in packs:
        packs[name] = make()
    return packs[name]


def _offsets(events: Events, weight: Tensor, wide: int) -> Tensor | None:
    """Return what each pixel's x takes from the sums around it, (tap, pixel, output): -W U."""
    if events.U is None:
        return None
    outputs, maps = weight.shape[:2]
    windows = functional.unfold(events.U.to(weight.dtype)[None], 3, padding=1)  # (1, C 9, pixels)
    windows = windows.view(maps, AREA, -1).permute(1, 2, 0)
    taps = weight.reshape(outputs, maps, AREA).permute(2, 1, 0)
    return functional.pad(-(windows @ taps), (0, wide - outputs)).contiguous()
