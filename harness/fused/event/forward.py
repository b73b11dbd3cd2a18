"""Forward passes that visit what spiked: a convolution's by images, a product's by outputs.

A block of inputs' rows of weights, [input][output], lies in the first cache while the lists of all
pixels walk along it. Sums have two levels, within a block and over blocks: one running sum would be
less exact than a dense convolution's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.fused.cache import callback, inlined
from harness.fused.event.listing import (
    AREA,
    AUXILIARY,
    BIAS,
    BITS,
    BLOCK,
    COUNTS,
    HEIGHT,
    IMAGES,
    LINE,
    LINES,
    MAPS,
    OFFSET,
    OUT,
    OUT_MAPS,
    PACKED,
    STORED,
    TOGETHER,
    VALUED,
    WEIGHT,
    WIDTH,
    add_listed,
    aligned,
    bytes_of,
    group_of,
    keep,
    list_maps,
    put_numbers,
    told,
)  # fmt: skip
from harness.fused.event.memory import load, store
from harness.fused.event.vectors import TAPS, add_scaled_row, copy_row, narrow_row
from harness.fused.intrinsics import take


@inlined
def _pack_block(weight, packed, outputs, inputs, block, strides, size, kind):
    """The rows of one block, and a row of zeros behind them; outputs that are not there are 0.

    The weight of output k and input c is k, c times `strides` bytes behind `weight`.
    """
    of_output, of_input = strides
    for k in range(bytes_of(kind) // size):
        target = packed + k * size
        if k < outputs:
            source = weight + k * of_output
            for c in range(inputs):
                store(target + c * bytes_of(kind), load(source + c * of_input, kind[0]))
        else:
            for c in range(inputs):
                store(target + c * bytes_of(kind), kind[0])
        store(target + block * bytes_of(kind), kind[0])


def pack(kind: Any, size: int) -> Callable[[], int]:
    """Weights (K, 3, 3, C), contiguous -> PACKED [set of outputs][block of inputs][tap][row]."""

    @callback
    def kernel(address):
        call = told(address)
        maps, outputs, block = call[MAPS], call[OUT_MAPS], call[BLOCK]
        blocks, wide = -(-maps // block), bytes_of(kind) // size
        parts = -(-outputs // wide) * blocks * AREA
        while True:
            part = take(call)
            if part >= parts:
                break
            tap, rest = part % AREA, part // AREA
            b, first = rest % blocks, rest // blocks * wide
            weight = call[WEIGHT] + ((first * AREA + tap) * maps + b * block) * size
            strides = (AREA * maps * size, size)
            inputs = min(block, maps - b * block)
            packed = call[PACKED] + part * (block + 1) * bytes_of(kind)
            _pack_block(weight, packed, outputs - first, inputs, block, strides, size, kind)

    return kernel


@inlined
def _sorted_by_length(found, count, entries, ends):
    """Entries (start, length, pixel) by length, the longest first and none that is empty.

    So the processor foresees where each list ends. Gives how many there are.
    """
    ends[:] = 0
    for n in range(count):
        ends[found[n, 1] >> 1] += 1
    before = 0
    for half in range(ends.shape[0] - 1, 0, -1):
        here = ends[half]
        ends[half] = before
        before += here
    for n in range(count):
        half = found[n, 1] >> 1
        if half:
            at = ends[half]
            ends[half] = at + 1
            for field in range(3):
                entries[at, field] = found[n, field]
    return before


@inlined
def _list_group(call, images, lines, lists, entries, ends, sizes):
    """The lists of a group's pixels, by block of maps; `sizes` takes how many entries a block has.

    A tile has a line more above and below than an image's taps reach, and a pixel at either side.
    """
    height, width, maps, block = call[HEIGHT], call[WIDTH], call[MAPS], call[BLOCK]
    first, last = max(np.int64(0), lines[0] - 1), min(height, lines[1] + 1)
    (places, values, found), bits = lists, call[BITS]
    n = np.int64(0)
    for b in range(entries.shape[0]):
        pixels = 0
        inputs = min(block, maps - b * block)
        for image in range(images[0], images[1]):
            for line in range(first, last):
                row = ((image - images[0]) * (call[LINES] + 4) + line - lines[0] + 2) * (width + 2)
                source = call[COUNTS] + ((image * height + line) * width) * maps + b * block
                for column in range(width):
                    start = n
                    n = list_maps(source + column * maps, inputs, bits, block, places, values, n)
                    found[pixels, 0] = start
                    found[pixels, 1] = n - start
                    found[pixels, 2] = row + column + 1
                    pixels += 1
        sizes[b] = _sorted_by_length(found, pixels, entries[b], ends)


@inlined
def _walk(entries, count, tile, weights, shift, lists, valued, kind):
    """Adds one tap of one block to a tile: to what lies `shift` pixels behind each pixel."""
    places, values, _ = lists
    for n in range(count):
        start, length = np.int64(entries[n, 0]), np.int64(entries[n, 1])
        sums = tile + (np.int64(entries[n, 2]) + shift) * bytes_of(kind)
        add_listed(sums, weights, places + 2 * start, values + start, length, valued, kind)


@inlined
def _walk_blocks(call, entries, sizes, tile, which, lists, kind):
    """Adds all taps of all blocks to a tile, for one set of outputs."""
    blocks, pitch, row = entries.shape[0], call[WIDTH] + 2, bytes_of(kind)
    for b in range(blocks):
        for tap in range(AREA):
            packed = ((which * blocks + b) * AREA + tap) * (call[BLOCK] + 1) * row
            # y(p) = sum of w(tap) x(p + tap): an event at q goes to q - tap
            shift = (1 - tap // TAPS) * pitch + 1 - tap % TAPS
            weights = call[PACKED] + packed
            _walk(entries[b], sizes[b], tile, weights, shift, lists, call[VALUED], kind)


@inlined
def _offset(call, sums, place, first, outputs, size, kind):
    """Adds NeuNorm's part to a pixel's sums: OFFSET (tap, pixel, output) times AUXILIARY there."""
    image, line, column = place
    height, width = call[HEIGHT], call[WIDTH]
    for tap in range(AREA):
        i, j = line + tap // TAPS - 1, column + tap % TAPS - 1
        if 0 <= i < height and 0 <= j < width:
            x = load(call[AUXILIARY] + ((image * height + i) * width + j) * size, kind[0])
            if x != 0:
                pixel = (tap * height + line) * width + column
                add_scaled_row(sums, call[OFFSET] + (pixel * outputs + first) * size, x, kind)


@inlined
def _begin(call, images, lines, tile, first, size, kind):
    """Sets a group's sums to the bias."""
    width = call[WIDTH]
    for image in range(images[1] - images[0]):
        for line in range(lines[1] - lines[0]):
            row = tile + ((image * (call[LINES] + 4) + line + 2) * (width + 2) + 1) * bytes_of(kind)
            for column in range(width):
                copy_row(row + column * bytes_of(kind), call[BIAS] + first * size, kind)


@inlined
def _finish(call, images, lines, tile, first, padded, size, kind):
    """Moves a group's sums to where they belong."""
    height, width, outputs, stored = call[HEIGHT], call[WIDTH], call[OUT_MAPS], call[STORED]
    wanted, whole = min(bytes_of(kind) // size, outputs - first), bytes_of(kind) // size
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            above = (image - images[0]) * (call[LINES] + 4) + line - lines[0] + 2
            row = tile + (above * (width + 2) + 1) * bytes_of(kind)
            out = ((image * height + line) * width * outputs + first) * stored + call[OUT]
            for column in range(width):
                sums, target = row + column * bytes_of(kind), out + column * outputs * stored
                if call[OFFSET]:
                    _offset(call, sums, (image, line, column), first, padded, size, kind)
                if wanted < whole:
                    put_numbers(target, sums, wanted, size, stored, kind[0])
                elif stored == size:
                    copy_row(target, sums, kind)
                else:
                    narrow_row(target, sums, kind)


def convolve(kind: Any, size: int) -> Callable[[], int]:
    """COUNTS (N, H, W, C) and PACKED weights -> OUT (N, H, W, K), from the bias on."""

    @callback
    def kernel(address):
        call = told(address)
        maps, outputs, block = call[MAPS], call[OUT_MAPS], call[BLOCK]
        blocks, wide = -(-maps // block), bytes_of(kind) // size
        strips = -(-call[HEIGHT] // call[LINES])
        parts = strips * -(-call[IMAGES] // call[TOGETHER])
        pixels = call[TOGETHER] * (call[LINES] + 2) * call[WIDTH]
        pitch = call[WIDTH] + 2
        room = call[TOGETHER] * (call[LINES] + 4) * pitch * bytes_of(kind)
        memory = np.zeros(room + LINE, np.uint8)
        tile = aligned(memory)
        places = np.empty(pixels * (maps + blocks), np.uint16)
        values = np.empty(pixels * (maps + blocks), np.uint8)
        entries = np.empty((blocks, pixels, 3), np.int32)
        found = np.empty((pixels, 3), np.int32)
        ends, sizes = np.empty(block // 2 + 2, np.int64), np.empty(blocks, np.int64)
        lists = (places.ctypes.data, values.ctypes.data, found)
        while True:
            part = take(call)
            if part >= parts:
                break
            images, lines = group_of(call, part)
            _list_group(call, images, lines, lists, entries, ends, sizes)
            for first in range(0, outputs, wide):
                _begin(call, images, lines, tile, first, size, kind)
                _walk_blocks(call, entries, sizes, tile, first // wide, lists, kind)
                _finish(call, images, lines, tile, first, -(-outputs // wide) * wide, size, kind)
        keep(memory)
        keep(places)
        keep(values)

    return kernel
