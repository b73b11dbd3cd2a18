"""A convolution's weight gradient that visits what spiked.

Images, or strips of one, are taken in groups whose gradients of some outputs, with a margin of
zeros, lie in the first cache. For each input map a list says where in the group it spiked; per
spike the gradients around it are added to nine taps' sums in registers:

    for a row of outputs, and a share of the groups, shared among threads:
        for a group: copy its gradients
            for each input map: for each place where it spiked: nine sums += the gradients around it

Sums have two levels, within a group and over groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adapters.fused.compiled import callback, inlined
from adapters.fused.form import Events
from adapters.fused.intrinsics import (
    GRADIENT, TAPS, add_scaled_row, add_taps, add_valued_taps, copy_bytes, copy_row, load,
    store, take, widen_row,
)  # fmt: skip
from adapters.fused.lists import (
    AREA, LINE, LISTED, LISTS, Cut, RowSize, aligned, append_to_maps, bytes_of,
    cache_bytes, to_compute_dtype, copy_numbers, cut, group_of, keep, run, sizes_of, call_at,
)  # fmt: skip


@inlined
def _list_group(call, images, lines, room, places, values, lengths):
    """List, for each map, where in a group's block it spiked."""
    height, width, maps = call.height, call.width, call.maps
    for c in range(maps):
        store(lengths + 4 * c, np.int32(0))
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            row = ((image - images[0]) * (call.lines + 2) + line - lines[0] + 1) * (width + 2) + 1
            source = call.counts + (image * height + line) * width * maps
            for column in range(width):
                place, counts = row + column, source + column * maps
                append_to_maps(counts, maps, call.bits, place, room, places, values, lengths)


def _list_kernel(kind: Any, size: int) -> Callable[[], int]:
    """Return a kernel that lists where each map of the groups `first` to `last` spiked.

    `starts` (groups, C + 1) takes where each map's list begins and ends.
    """

    @callback
    def kernel(address):
        """List the groups that this thread takes."""
        call = call_at(address)[0]
        maps = call.maps
        room = call.together * call.lines * call.width
        places, values = np.empty(maps * room, np.uint16), np.empty(maps * room, np.uint8)
        lengths = np.empty(maps, np.int32)
        number = take(address)
        while number < call.last - call.first:
            images, lines = group_of(call, call.first + number)
            at = places.ctypes.data, values.ctypes.data, lengths.ctypes.data
            _list_group(call, images, lines, room, at[0], at[1], at[2])
            starts, offset = call.starts + number * (maps + 1) * 4, np.int64(0)
            base = number * room * maps
            for c in range(maps):
                length = np.int64(lengths[c])
                store(starts + 4 * c, np.int32(offset))
                copy_bytes(call.places + 2 * (base + offset), at[0] + 2 * c * room, 2 * length)
                if call.valued:
                    copy_bytes(call.values + base + offset, at[1] + c * room, length)
                offset += length
            store(starts + 4 * maps, np.int32(offset))
            number = take(address)
        keep(places, values, lengths)

    return kernel


@inlined
def fill_block(call, images, lines, first, block, kind, size):
    """Copy dy of one row of outputs and a group's pixels into `block`, with a margin of zeros."""
    height, width, outputs, stored = call.height, call.width, call.outputs, call.stored
    row = bytes_of(kind)
    count, whole = min(row // size, outputs - first), row // size
    for image in range(images[0], images[1]):
        for line in range(lines[0] - 1, lines[1] + 1):
            above = (image - images[0]) * (call.lines + 2) + line - lines[0] + 1
            target = block + (above * (width + 2) + 1) * row
            if line < 0 or line >= height:
                for column in range(width):
                    copy_row(target + column * row, block, kind)
                continue
            source = call.weight + ((image * height + line) * width * outputs + first) * stored
            for column in range(width):
                if count < whole:
                    copy_numbers(target + column * row, source, count, size, stored, kind[0])
                elif stored == size:
                    copy_row(target + column * row, source, kind)
                else:
                    widen_row(target + column * row, source, kind)
                source += outputs * stored


@inlined
def _add_group(call, number, block, sums, pitch, kind):
    """Add the gradients around a group's spikes to the sums (C, 3, 3, outputs of a set)."""
    maps, room = call.maps, call.together * call.lines * call.width
    starts, base = call.starts + number * (maps + 1) * 4, number * room * maps
    start = np.int64(0)
    for c in range(maps):
        end = np.int64(load(starts + 4 * (c + 1), np.int32(0)))
        if end > start:
            places, values = call.places + 2 * (base + start), call.values + base + start
            target = sums + c * AREA * bytes_of(kind)
            if call.valued:
                add_valued_taps(target, block, places, end - start, pitch, values, kind)
            else:
                add_taps(target, block, places, end - start, pitch, kind)
        start = end


@inlined
def _offsets(call, images, lines, block, sums, kind, size):
    """Sum what NeuNorm's x takes from a group's gradient, (tap, pixel, outputs of a set)."""
    height, width = call.height, call.width
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1]):
            row = (image - images[0]) * (call.lines + 2) + line - lines[0] + 1
            for column in range(width):
                pixel = line * width + column
                x = load(call.x + (image * height * width + pixel) * size, kind[0])
                if x == 0:
                    continue
                for tap in range(AREA):
                    i, j = row + 1 - tap // TAPS, column + 2 - tap % TAPS
                    source = block + (i * (width + 2) + j) * bytes_of(kind)
                    target = sums + (tap * height * width + pixel) * bytes_of(kind)
                    add_scaled_row(target, source, x, kind)


def _weight_gradient_kernel(kind: Any, size: int) -> Callable[[], int]:
    """Return a kernel that adds listed groups times gradients (N, H, W, K) to `out` and `offset`.

    `out` is (shares, sets of outputs, C, 3, 3, outputs of a set), `offset` (shares, sets, 3, 3,
    pixels, outputs of a set): each share of the groups, and each set, is one thread's.
    """

    @callback
    def kernel(address):
        """Add the sets of outputs and shares of the groups that this thread takes."""
        call = call_at(address)[0]
        maps, shares, pitch = call.maps, call.shares, call.width + 2
        outputs = bytes_of(kind) // size
        sets, groups = -(-call.outputs // outputs), call.last - call.first
        pixels = call.together * (call.lines + 2) * pitch
        memory = np.zeros(pixels * bytes_of(kind) + LINE, np.uint8)
        block = aligned(memory)
        part = take(address)
        while part < sets * shares:
            share, which = part // sets, part % sets
            sums = call.out + part * maps * AREA * bytes_of(kind)
            offsets = call.offset + part * AREA * call.height * call.width * bytes_of(kind)
            for number in range(groups * share // shares, groups * (share + 1) // shares):
                images, lines = group_of(call, call.first + number)
                fill_block(call, images, lines, which * outputs, block, kind, size)
                _add_group(call, number, block, sums, pitch, kind)
                if call.offset:
                    _offsets(call, images, lines, block, offsets, kind, size)
            part = take(address)
        keep(memory)

    return kernel


class _Work(NamedTuple):
    """How a weight gradient's work is cut."""

    cut: Cut
    sets: int  # of outputs
    shares: int  # of the groups, each with sums of its own: with few sets for the threads
    groups: int
    at_once: int  # groups that are listed together

    @classmethod
    def for_counts(cls, counts: Tensor, outputs: int, rows: RowSize) -> _Work:
        """Return how the work for counts (N, H, W, C) and so many outputs is cut."""
        images, height, width, maps = counts.shape
        threads = torch.get_num_threads()
        grouping = cut(counts, rows.bytes, 2, cache_bytes(1) * 7 // 8, threads)
        groups, sets = grouping.groups(images, height), rows.sets(outputs)
        shares = 1 if sets >= 2 * threads else min(groups, -(-2 * threads // sets))
        listed = LISTED // (grouping.together * grouping.lines * width * maps)
        return cls(grouping, sets, shares, groups, max(shares, min(groups, listed)))


def compute(dy: Tensor, events: Events, weight: Tensor) -> Tensor:
    """Compute dy (N, K, H, W), channels last -> d_weight (K, C, 3, 3), in float32 for bf16."""
    counts, dtype, x = events.counts, to_compute_dtype(weight).dtype, events.x
    _, height, width, maps = counts.shape
    rows = RowSize.for_outputs(dtype, len(weight), GRADIENT)
    work = _Work.for_counts(counts, len(weight), rows)
    sums = torch.zeros(work.shares, work.sets, maps, AREA, rows.outputs, dtype=dtype)
    offsets = None
    if x is not None:
        shape = work.shares, work.sets, AREA, height * width, rows.outputs
        offsets = torch.zeros(shape, dtype=dtype)
    room = work.at_once * work.cut.together * work.cut.lines * width * maps
    numbers = {
        **sizes_of(events, len(weight), dy.dtype, rows),
        "together": work.cut.together,
        "lines": work.cut.lines,
        "shares": work.shares,
        "weight": dy.permute(0, 2, 3, 1).contiguous(),
        "places": torch.empty(room, dtype=torch.int16),
        "values": torch.empty(room if events.most > 1 else 0, dtype=torch.int8),
        "starts": torch.empty(work.at_once * (maps + 1), dtype=torch.int32),
        "out": sums,
        "offset": offsets,
        "x": x,
    }
    for first in range(0, work.groups, work.at_once):
        part = {"first": first, "last": min(work.groups, first + work.at_once)}
        run(_list_kernel, LISTS, {**numbers, **part})
        run(_weight_gradient_kernel, rows, {**numbers, **part})
    total = _total(sums, offsets, events)  # (sets, C, 9, k) -> (K, 3, 3, C)
    flat = total.permute(0, 3, 2, 1).reshape(-1, 3, 3, maps)[: len(weight)]
    return flat.permute(0, 3, 1, 2)


def _total(sums: Tensor, offsets: Tensor | None, events: Events) -> Tensor:
    """Return the sum of all shares (shares, sets, C, 9, k), less what NeuNorm takes away."""
    total = sums.sum(0) if len(sums) > 1 else sums[0]
    if events.gain != 1:
        total *= events.gain
    if offsets is not None and events.U is not None:
        U = events.U.to(total.dtype).flatten(1)  # (C, pixels)
        total -= torch.einsum("cp,stpk->sctk", U, offsets.sum(0))
    return total
