"""A convolution's weight gradient that visits what spiked.

Images, or strips of one, are taken in groups whose gradients of some outputs, with a margin of
zeros, lie in the first cache. For each input map a list says where in the group it spiked; per
spike the gradients around it are added to nine taps' sums in registers. Sums have two levels,
within a group and over groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.fused.cache import callback, inlined
from harness.fused.event.listing import (
    AREA,
    AUXILIARY,
    BITS,
    COUNTS,
    FIRST,
    HEIGHT,
    LAST,
    LINE,
    LINES,
    MAPS,
    OFFSET,
    OUT,
    OUT_MAPS,
    PLACES,
    SHARES,
    STARTS,
    STORED,
    TOGETHER,
    VALUED,
    VALUES,
    WEIGHT,
    WIDTH,
    aligned,
    append_to_maps,
    bytes_of,
    copy_numbers,
    group_of,
    keep,
    told,
)  # fmt: skip
from harness.fused.event.memory import copy_bytes, load, store
from harness.fused.event.sums import add_taps, add_valued_taps
from harness.fused.event.vectors import (
    TAPS,
    add_scaled_row,
    copy_row,
    widen_row,
)
from harness.fused.intrinsics import take


@inlined
def _list_group(call, images, lines, room, places, values, lengths):
    """For each map, where in a group's block it spiked."""
    height, width, maps = call[HEIGHT], call[WIDTH], call[MAPS]
    for c in range(maps):
        store(lengths + 4 * c, np.int32(0))
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            row = ((image - images[0]) * (call[LINES] + 2) + line - lines[0] + 1) * (width + 2) + 1
            source = call[COUNTS] + (image * height + line) * width * maps
            for column in range(width):
                place, counts = row + column, source + column * maps
                append_to_maps(counts, maps, call[BITS], place, room, places, values, lengths)


def listed(kind: Any, size: int) -> Callable[[], int]:
    """COUNTS of the groups FIRST to LAST -> PLACES, VALUES, STARTS (groups, C + 1) of lists."""

    @callback
    def kernel(address):
        call = told(address)
        maps = call[MAPS]
        room = call[TOGETHER] * call[LINES] * call[WIDTH]
        places, values = np.empty(maps * room, np.uint16), np.empty(maps * room, np.uint8)
        lengths = np.empty(maps, np.int32)
        while True:
            number = take(call)
            if number >= call[LAST] - call[FIRST]:
                break
            images, lines = group_of(call, call[FIRST] + number)
            at = places.ctypes.data, values.ctypes.data, lengths.ctypes.data
            _list_group(call, images, lines, room, at[0], at[1], at[2])
            starts, before = call[STARTS] + number * (maps + 1) * 4, np.int64(0)
            base = number * room * maps
            for c in range(maps):
                length = np.int64(lengths[c])
                store(starts + 4 * c, np.int32(before))
                copy_bytes(call[PLACES] + 2 * (base + before), at[0] + 2 * c * room, 2 * length)
                if call[VALUED]:
                    copy_bytes(call[VALUES] + base + before, at[1] + c * room, length)
                before += length
            store(starts + 4 * maps, np.int32(before))
        keep(places)
        keep(values)
        keep(lengths)

    return kernel


@inlined
def fill_block(call, images, lines, first, block, kind, size):
    """The gradients of a set of outputs in a group, with a margin of zeros."""
    height, width, outputs, stored = call[HEIGHT], call[WIDTH], call[OUT_MAPS], call[STORED]
    row = bytes_of(kind)
    wanted, whole = min(row // size, outputs - first), row // size
    for image in range(images[0], images[1]):
        for line in range(lines[0] - 1, lines[1] + 1):
            above = (image - images[0]) * (call[LINES] + 2) + line - lines[0] + 1
            target = block + (above * (width + 2) + 1) * row
            if line < 0 or line >= height:
                for column in range(width):
                    copy_row(target + column * row, block, kind)
                continue
            source = call[WEIGHT] + ((image * height + line) * width * outputs + first) * stored
            for column in range(width):
                if wanted < whole:
                    copy_numbers(target + column * row, source, wanted, size, stored, kind[0])
                elif stored == size:
                    copy_row(target + column * row, source, kind)
                else:
                    widen_row(target + column * row, source, kind)
                source += outputs * stored


@inlined
def _walk(call, number, block, sums, pitch, kind):
    """Adds a group's spikes to the sums (C, 3, 3, outputs of a set)."""
    maps, room = call[MAPS], call[TOGETHER] * call[LINES] * call[WIDTH]
    starts, base = call[STARTS] + number * (maps + 1) * 4, number * room * maps
    start = np.int64(0)
    for c in range(maps):
        end = np.int64(load(starts + 4 * (c + 1), np.int32(0)))
        if end > start:
            places, values = call[PLACES] + 2 * (base + start), call[VALUES] + base + start
            target = sums + c * AREA * bytes_of(kind)
            if call[VALUED]:
                add_valued_taps(target, block, places, end - start, pitch, values, kind)
            else:
                add_taps(target, block, places, end - start, pitch, kind)
        start = end


@inlined
def _offsets(call, images, lines, block, sums, kind, size):
    """What NeuNorm's x takes from the gradient, (tap, pixel, outputs of a set), of one group."""
    height, width = call[HEIGHT], call[WIDTH]
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            row = (image - images[0]) * (call[LINES] + 2) + line - lines[0] + 1
            for column in range(width):
                pixel = line * width + column
                x = load(call[AUXILIARY] + (image * height * width + pixel) * size, kind[0])
                if x == 0:
                    continue
                for tap in range(AREA):
                    i, j = row + 1 - tap // TAPS, column + 2 - tap % TAPS
                    source = block + (i * (width + 2) + j) * bytes_of(kind)
                    target = sums + (tap * height * width + pixel) * bytes_of(kind)
                    add_scaled_row(target, source, x, kind)


def summed(kind: Any, size: int) -> Callable[[], int]:
    """The listed groups and gradients WEIGHT (N, H, W, K) -> added to OUT, and to OFFSET.

    OUT is (shares, sets of outputs, C, 3, 3, outputs of a set), OFFSET (shares, sets, 3, 3, pixels,
    outputs of a set): each share of the groups, and each set, is one thread's.
    """

    @callback
    def kernel(address):
        call = told(address)
        maps, shares, pitch = call[MAPS], call[SHARES], call[WIDTH] + 2
        outputs = bytes_of(kind) // size
        sets, groups = -(-call[OUT_MAPS] // outputs), call[LAST] - call[FIRST]
        pixels = call[TOGETHER] * (call[LINES] + 2) * pitch
        memory = np.zeros(pixels * bytes_of(kind) + LINE, np.uint8)
        block = aligned(memory)
        while True:
            part = take(call)
            if part >= sets * shares:
                break
            share, which = part // sets, part % sets
            sums = call[OUT] + part * maps * AREA * bytes_of(kind)
            offsets = call[OFFSET] + part * AREA * call[HEIGHT] * call[WIDTH] * bytes_of(kind)
            for number in range(groups * share // shares, groups * (share + 1) // shares):
                images, lines = group_of(call, call[FIRST] + number)
                fill_block(call, images, lines, which * outputs, block, kind, size)
                _walk(call, number, block, sums, pitch, kind)
                if call[OFFSET]:
                    _offsets(call, images, lines, block, offsets, kind, size)
        keep(memory)

    return kernel
