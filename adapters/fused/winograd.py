"""A convolution's input gradient by Winograd's F(2x2, 3x3): 16 multiplications for 36.

It is for layers most or all of whose gradients are read: behind a pool or NeuNorm, or where the
surrogate's window holds many neurons. Lavin and Gray, arXiv:1509.09308:

    for a group of images or lines, shared among threads: copy its gradients
        for each tile of 2x2 pixels: B^T d B of the 4x4 gradients around it, for all outputs
        for a row of input maps:
            for each of 16 places in a tile: tiles x outputs times outputs x maps
            for each tile: A^T m A

The more tiles a group has, the less often weights come from memory; with too many, the tiles leave
the caches. Transforms only add and subtract, so the error is that of a dense form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapters.fused.compiled import callback, inlined
from adapters.fused.intrinsics import (
    BYTES, COLUMNS, TILE, TILES, multiply_block, of_tile, take, to_tile, zero_bytes,
)  # fmt: skip
from adapters.fused.lists import (
    LINE, RowSize, aligned, bytes_of, to_compute_dtype, copy_numbers, cut, group_of, keep,
    put_numbers, run, call_at,
)  # fmt: skip

PLACES = TILE * TILE
TOGETHER = 256  # tiles of a group, about
# G of the paper: what a kernel's three taps become in a tile of four.
G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


@inlined
def _fill(call, images, lines, block, pixel, zero, size):
    """Copy a group's gradients to `block` with a margin of zeros; what follows may be anything."""
    width, line_bytes = call.width, (call.width + 2) * pixel
    of_pixel = call.outputs * call.stored
    for image in range(images[0], images[1]):
        for line in range(lines[0] - 1, lines[1] + 1):
            above = (image - images[0]) * (call.lines + 2) + line - lines[0] + 1
            target = block + above * line_bytes + pixel
            if line < 0 or line >= call.height:
                zero_bytes(target, width * pixel)
                continue
            source = call.weight + (image * call.height + line) * width * of_pixel
            for column in range(width):
                copy_numbers(
                    target + column * pixel, source + column * of_pixel, call.outputs, size,
                    call.stored, zero,
                )  # fmt: skip


@inlined
def _transform(call, images, lines, block, tiles, step, pixel, kind):
    """Transform a group's tiles, B^T d B, to [place][tile][output]; return how many there are."""
    pitch, number = (call.width + 2) * pixel, 0
    for image in range(images[1] - images[0]):
        for line in range(0, lines[1] - lines[0], 2):
            begin = block + (image * (call.lines + 2) + line) * pitch
            for column in range(0, call.width, 2):
                source, target = begin + column * pixel, tiles + number * pixel
                to_tile(target, step, source, pixel, pitch, pixel // BYTES, kind)
                number += 1
    return number


@inlined
def _put(call, images, lines, first, sums, step, square, kind, size):
    """Transform sums [place][tile][map] back, A^T m A, and write them as maps' gradients."""
    number, row = 0, bytes_of(kind)
    count = min(row // size, call.maps - first)
    for image in range(images[0], images[1]):
        for line in range(lines[0], lines[1], 2):
            for column in range(0, call.width, 2):
                of_tile(square, sums + number * row, step, kind)
                number += 1
                for n in range(4):
                    y, x = line + n // 2, column + n % 2
                    if y < lines[1] and x < call.width:
                        place = ((image * call.height + y) * call.width + x) * call.maps + first
                        target = call.out + place * call.stored
                        put_numbers(target, square + n * row, count, size, call.stored, kind[0])


def _input_gradient_kernel(kind: Any, size: int) -> Callable[[], int]:
    """Return a kernel that computes a convolution's input gradient by tiles of F(2x2, 3x3).

    The callable gives its address. `weight` holds the outputs' gradients (N, H, W, K), `packed` the
    transformed weights [set][place][output][map]; `out` is (N, H, W, C).
    """

    @callback
    def kernel(address):
        """Compute the gradient of the groups of images or lines that this thread takes."""
        call = call_at(address)[0]
        row, whole = bytes_of(kind), BYTES // size
        pixel = -(-call.outputs // whole) * BYTES
        sets = -(-call.maps * size // row)
        parts = -(-call.height // call.lines) * -(-call.images // call.together)
        most = call.together * ((call.lines + 1) // 2) * ((call.width + 1) // 2)
        most = -(-most // TILES) * TILES
        lines_bytes = (call.lines + 2) * (call.width + 2) * pixel
        # windows of odd lines end a line and a pixel later
        memory = np.zeros(call.together * lines_bytes + (call.width + 4) * pixel + LINE, np.uint8)
        room = np.zeros(PLACES * most * pixel + LINE, np.uint8)
        products = np.empty(PLACES * most * row + 4 * row + LINE, np.uint8)
        block, tiles, square = aligned(memory), aligned(room), aligned(products)
        sums = square + 4 * row
        part = take(address)
        while part < parts:
            images, lines = group_of(call, part)
            _fill(call, images, lines, block, pixel, kind[0], size)
            step = most * pixel
            number = _transform(call, images, lines, block, tiles, step, pixel, kind)
            for which in range(sets):
                for place in range(PLACES):
                    weights = call.packed + (which * PLACES + place) * call.outputs * row
                    for tile in range(0, number, TILES):
                        values = tiles + place * step + tile * pixel
                        target = sums + (place * most + tile) * row
                        multiply_block(target, row, values, pixel, weights, call.outputs, kind)
                first = which * (row // size)
                _put(call, images, lines, first, sums, most * row, square, kind, size)
            part = take(address)
        keep(memory, room, products)

    return kernel


def input_gradient(dy: Tensor, weight: Tensor) -> Tensor:
    """Compute dy (N, K, H, W), weight (K, C, 3, 3) -> dx (N, C, H, W), all channels last."""
    weight = to_compute_dtype(weight)
    outputs, maps = weight.shape[:2]
    images, _, height, width = dy.shape
    rows = RowSize.for_outputs(weight.dtype, maps, COLUMNS)
    last = dy.permute(0, 2, 3, 1).contiguous()
    # of the tiles and their sums, a pixel's part
    pixel = PLACES // 4 * (outputs * weight.element_size() + rows.bytes)
    grouping = cut(last, pixel, 2, TOGETHER * 4 * pixel, 2 * torch.get_num_threads())
    out = torch.empty(images, height, width, maps, dtype=dy.dtype)
    numbers = {
        "images": images,
        "height": height,
        "width": width,
        "maps": maps,
        "outputs": outputs,
        "stored": dy.element_size(),
        "together": grouping.together,
        "lines": grouping.lines + grouping.lines % 2,
        "weight": last,
        "packed": _pack(weight, rows),
        "out": out,
    }
    run(_input_gradient_kernel, rows, numbers)
    return out.permute(0, 3, 1, 2)


def _pack(weight: Tensor, rows: RowSize) -> Tensor:
    """Return G g G^T of each 3x3 kernel g, turned round: [set of maps][place][output][map]."""
    outputs, maps = weight.shape[:2]
    sets = rows.sets(maps)
    taps = weight.permute(2, 3, 0, 1)
    if maps < sets * rows.outputs:
        taps = functional.pad(taps, (0, sets * rows.outputs - maps))
    taps = taps.unflatten(3, (sets, rows.outputs)).permute(3, 0, 1, 2, 4)
    of_side = torch.tensor(G, dtype=weight.dtype).flip(1)
    return torch.kron(of_side, of_side) @ taps.reshape(sets, -1, outputs * rows.outputs)
