"""Products that visit what spiked: forward and the weight's gradient.

A product's inputs are maps of pixels, as the layer before sends them, (N, pixels, C) in memory;
its weight is kept with the rows of one input together, (inputs, outputs), where input c pixels + p
is map c of pixel p. Each block of rows is copied into the first cache once, while the lists of all
samples walk along it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.fused.cache import callback, inlined
from harness.fused.event.listing import (
    BITS,
    BLOCK,
    COUNTS,
    FIRST,
    HEIGHT,
    IMAGES,
    LAST,
    LINE,
    MAPS,
    OUT,
    OUT_MAPS,
    PACKED,
    PLACES,
    SHARES,
    STARTS,
    VALUED,
    VALUES,
    WEIGHT,
    add_listed,
    aligned,
    append_to_maps,
    bytes_of,
    keep,
    list_maps,
    told,
)  # fmt: skip
from harness.fused.event.memory import copy_bytes, load, store
from harness.fused.event.vectors import copy_row
from harness.fused.intrinsics import take


def listed(kind: Any, size: int) -> Callable[[], int]:
    """COUNTS of the pixels FIRST to LAST -> PLACES, VALUES and STARTS (N, pixels, blocks, 2).

    A sample's lists have room for all its maps and one place more a list. HEIGHT: all pixels.
    """

    @callback
    def kernel(address):
        call = told(address)
        maps, block, pixels = call[MAPS], call[BLOCK], call[LAST] - call[FIRST]
        blocks = -(-maps // block)
        while True:
            sample = take(call)
            if sample >= call[IMAGES]:
                break
            n = sample * pixels * (maps + blocks)
            start = call[STARTS] + sample * pixels * blocks * 16
            for pixel in range(pixels):
                source = call[COUNTS] + (sample * call[HEIGHT] + call[FIRST] + pixel) * maps
                for b in range(blocks):
                    before, inputs = n, min(block, maps - b * block)
                    places, values, bits = call[PLACES], call[VALUES], call[BITS]
                    n = list_maps(source + b * block, inputs, bits, block, places, values, n)
                    store(start, before)
                    store(start + 8, n - before)
                    start += 16

    return kernel


@inlined
def _copy_block(call, pixel, first, block, inputs, target, size, row):
    """The rows of a block of one pixel's maps, for one set of outputs."""
    outputs, pixels = call[OUT_MAPS], call[HEIGHT]
    wanted = min(row, (outputs - first) * size)
    for c in range(inputs):
        source = ((block + c) * pixels + pixel) * outputs + first
        copy_bytes(target + c * row, call[WEIGHT] + source * size, wanted)


def forward(kind: Any, size: int) -> Callable[[], int]:
    """Adds the pixels FIRST to LAST, as they are listed, to OUT (N, outputs up to whole rows)."""

    @callback
    def kernel(address):
        call = told(address)
        maps, outputs, block = call[MAPS], call[OUT_MAPS], call[BLOCK]
        pixels, shares = call[LAST] - call[FIRST], call[SHARES]
        blocks, wide = -(-maps // block), bytes_of(kind) // size
        sets = -(-outputs // wide)
        memory = np.zeros((block + 1) * bytes_of(kind) + LINE, np.uint8)  # the last row stays zero
        rows = aligned(memory)
        while True:
            part = take(call)
            if part >= sets * shares:
                break
            first, share = part // shares * wide, part % shares
            samples = (call[IMAGES] * share // shares, call[IMAGES] * (share + 1) // shares)
            for pixel in range(pixels):
                for b in range(blocks):
                    inputs = min(block, maps - b * block)
                    at = call[FIRST] + pixel
                    _copy_block(call, at, first, b * block, inputs, rows, size, bytes_of(kind))
                    for n in range(samples[0], samples[1]):
                        at = call[STARTS] + ((n * pixels + pixel) * blocks + b) * 16
                        start, length = load(at, np.int64(0)), load(at + 8, np.int64(0))
                        sums = call[OUT] + (n * sets * wide + first) * size
                        places, values = call[PLACES] + 2 * start, call[VALUES] + start
                        if length > 0:
                            add_listed(sums, rows, places, values, length, call[VALUED], kind)
        keep(memory)

    return kernel


@inlined
def _list_samples(call, pixel, block, inputs, places, values, lengths):
    """For each map of a block, the samples in which it spiked; even many, filled up by zeros."""
    samples, maps = call[IMAGES], call[MAPS]
    room = samples + 1
    for c in range(inputs):
        store(lengths + 4 * c, np.int32(0))
    for n in range(samples):
        counts = call[COUNTS] + (n * call[HEIGHT] + pixel) * maps + block
        append_to_maps(counts, inputs, call[BITS], n, room, places, values, lengths)
    for c in range(inputs):
        length = np.int64(load(lengths + 4 * c, np.int32(0)))
        if length & 1:
            store(places + 2 * (c * room + length), np.uint16(samples))
            store(values + c * room + length, np.uint8(0))
            store(lengths + 4 * c, np.int32(length + 1))


def weight_gradient(kind: Any, size: int) -> Callable[[], int]:
    """COUNTS, PACKED gradients [set of outputs][N and a row of zeros] -> OUT (inputs, outputs)."""

    @callback
    def kernel(address):
        call = told(address)
        maps, outputs, block, samples = call[MAPS], call[OUT_MAPS], call[BLOCK], call[IMAGES]
        blocks, wide = -(-maps // block), bytes_of(kind) // size
        places = np.empty(block * (samples + 1), np.uint16)
        values = np.empty(block * (samples + 1), np.uint8)
        lengths = np.empty(block, np.int32)
        memory = np.zeros(2 * bytes_of(kind) + LINE, np.uint8)
        nothing = aligned(memory)
        sums = nothing + bytes_of(kind)
        lists = (places.ctypes.data, values.ctypes.data, lengths.ctypes.data)
        while True:
            part = take(call)
            if part >= call[HEIGHT] * blocks:
                break
            pixel, b = part // blocks, part % blocks * block
            inputs = min(block, maps - b)
            _list_samples(call, pixel, b, inputs, lists[0], lists[1], lists[2])
            for first in range(0, outputs, wide):
                wanted = min(bytes_of(kind), (outputs - first) * size)
                rows = call[PACKED] + first // wide * (samples + 1) * bytes_of(kind)
                for c in range(inputs):
                    at = c * (samples + 1)
                    length = np.int64(lengths[c])
                    copy_row(sums, nothing, kind)
                    starts = (lists[0] + 2 * at, lists[1] + at)
                    add_listed(sums, rows, starts[0], starts[1], length, call[VALUED], kind)
                    row = (b + c) * call[HEIGHT] + pixel
                    copy_bytes(call[OUT] + (row * outputs + first) * size, sums, wanted)
        keep(memory)
        keep(places)
        keep(values)
        keep(lengths)

    return kernel
