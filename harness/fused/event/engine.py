"""The event kernels on torch's tensors: memory as they want it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.fused import team
from harness.fused.event import forward, inputs, listing, product, weights
from harness.fused.event.caches import Cut, Rows, block_of, cache_bytes, cut
from harness.fused.event.listing import AREA
from harness.fused.event.vectors import GRADIENT, ROW
from harness.fused.events import MARK, Events, Made

Numbers = dict[int, int | Tensor | None]  # what a kernel is told, by its field
T = TypeVar("T")
LISTED = 2**21  # places of the lists that are held at once
LISTS = Rows(torch.float32, 1)  # of kernels that make lists: they have none

_NUMBERS: dict[torch.dtype, tuple[Any, int]] = {
    torch.float32: (np.float32(0), 4),
    torch.float64: (np.float64(0), 8),
}


@cache
def _kernel(make: Callable[[Any, int], Callable[[], int]], rows: Rows) -> int:
    zero, size = _NUMBERS[rows.dtype]
    return make((zero,) * rows.vectors, size)()


def _run(
    make: Callable[[Any, int], Callable[[], int]],
    rows: Rows,
    numbers: Numbers,
) -> None:
    """Calls a kernel in each thread."""
    call = np.zeros(listing.SIZE, np.int64)
    for field, number in numbers.items():
        if isinstance(number, Tensor):
            call[field] = number.data_ptr()
        elif number is not None:
            call[field] = number
    team.run(_kernel(make, rows), call.ctypes.data, torch.get_num_threads())


def _computed(numbers: Tensor) -> Tensor:
    """A layer's own numbers as they are computed with: bf16 in float32, others as they are."""
    numbers = numbers.detach()
    return numbers.float() if numbers.dtype == torch.bfloat16 else numbers


def _sizes(events: Events, outputs: int, stored: torch.dtype, rows: Rows) -> Numbers:
    images, height, width, maps = events.counts.shape
    return {
        listing.IMAGES: images,
        listing.HEIGHT: height,
        listing.WIDTH: width,
        listing.MAPS: maps,
        listing.OUT_MAPS: outputs,
        listing.VALUED: int(events.most > 1),
        listing.BITS: events.bits,
        listing.STORED: stored.itemsize,
        listing.COUNTS: events.counts,
        listing.BLOCK: block_of(rows),
    }


def convolve(events: Events, weight: Tensor, bias: Tensor, made: Made = None) -> Tensor:
    """weight (K, C, 3, 3), bias (K,) -> (N, K, H, W), channels last."""
    stored, weight, bias = weight.dtype, _computed(weight), _computed(bias)
    counts, dtype = events.counts, weight.dtype
    images, height, width, maps = counts.shape
    outputs, rows = len(weight), Rows.of(dtype, len(weight), ROW)
    wide, sizes = rows.sets(outputs) * rows.outputs, _sizes(events, outputs, stored, rows)
    packed = _once(made, "packed", lambda: _packed(weight, events.gain, rows, sizes))
    at_least = 2 * torch.get_num_threads()
    chosen = cut(counts, rows.bytes, 4, cache_bytes(2) * 2 // 5, at_least)
    out = torch.empty(images, height, width, outputs, dtype=stored)
    given = {
        listing.TOGETHER: chosen.together,
        listing.LINES: chosen.lines,
        listing.PACKED: packed,
        listing.BIAS: functional.pad(bias, (0, wide - outputs)),
        listing.OFFSET: _once(made, "offset", lambda: _offset(events, weight, wide)),
        listing.AUXILIARY: events.x,
        listing.OUT: out,
    }
    _run(forward.convolve, rows, {**sizes, **given})
    return out.permute(0, 3, 1, 2)


def _packed(weight: Tensor, gain: float, rows: Rows, sizes: Numbers) -> Tensor:
    """Weights (K, C, 3, 3) times the gain, as `forward.pack` lays them."""
    (outputs, maps), block = weight.shape[:2], block_of(rows)
    kept = weight.mul(gain) if gain != 1 else weight
    kept = kept.permute(0, 2, 3, 1).contiguous()
    wide = rows.sets(outputs) * rows.outputs
    packed = kept.new_empty(wide * -(-maps // block) * AREA * (block + 1))
    _run(forward.pack, rows, {**sizes, listing.WEIGHT: kept, listing.PACKED: packed})
    return packed


def _once(made: Made, name: str, make: Callable[[], T]) -> T:
    """What calls of one layer on the same weights share, made by the first of them."""
    if made is None:
        return make()
    if name not in made:
        made[name] = make()
    return made[name]


def _offset(events: Events, weight: Tensor, wide: int) -> Tensor | None:
    """What each pixel's x takes from the sums around it, (tap, pixel, output): -W U."""
    if events.U is None:
        return None
    outputs, maps = weight.shape[:2]
    around = functional.unfold(events.U.to(weight.dtype)[None], 3, padding=1)  # (1, C 9, pixels)
    around = around.view(maps, AREA, -1).permute(1, 2, 0)
    taps = weight.reshape(outputs, maps, AREA).permute(2, 1, 0)
    return functional.pad(-(around @ taps), (0, wide - outputs)).contiguous()


class _Work(NamedTuple):
    """How a weight gradient's work is cut."""

    cut: Cut
    sets: int  # of outputs
    shares: int  # of the groups, each with sums of its own: with few sets for the threads
    groups: int
    at_once: int  # groups that are listed together

    @classmethod
    def of(cls, counts: Tensor, outputs: int, rows: Rows) -> _Work:
        """For counts (N, H, W, C)."""
        images, height, width, maps = counts.shape
        threads = torch.get_num_threads()
        chosen = cut(counts, rows.bytes, 2, cache_bytes(1) * 7 // 8, threads)
        groups, sets = chosen.groups(images, height), rows.sets(outputs)
        shares = 1 if sets >= 2 * threads else min(groups, -(-2 * threads // sets))
        listed = LISTED // (chosen.together * chosen.lines * width * maps)
        return cls(chosen, sets, shares, groups, max(shares, min(groups, listed)))


def convolution_gradient(dy: Tensor, events: Events, weight: Tensor) -> Tensor:
    """dy (N, K, H, W), channels last -> the weight's gradient, (K, C, 3, 3); no bf16."""
    counts, dtype, x = events.counts, _computed(weight).dtype, events.x
    _, height, width, maps = counts.shape
    rows = Rows.of(dtype, len(weight), GRADIENT)
    work = _Work.of(counts, len(weight), rows)
    sums = torch.zeros(work.shares, work.sets, maps, AREA, rows.outputs, dtype=dtype)
    taken = None
    if x is not None:
        shape = work.shares, work.sets, AREA, height * width, rows.outputs
        taken = torch.zeros(shape, dtype=dtype)
    room = work.at_once * work.cut.together * work.cut.lines * width * maps
    given = {
        **_sizes(events, len(weight), dy.dtype, rows),
        listing.TOGETHER: work.cut.together,
        listing.LINES: work.cut.lines,
        listing.SHARES: work.shares,
        listing.WEIGHT: dy.permute(0, 2, 3, 1).contiguous(),
        listing.PLACES: torch.empty(room, dtype=torch.int16),
        listing.VALUES: torch.empty(room if events.most > 1 else 0, dtype=torch.int8),
        listing.STARTS: torch.empty(work.at_once * (maps + 1), dtype=torch.int32),
        listing.OUT: sums,
        listing.OFFSET: taken,
        listing.AUXILIARY: x,
    }
    for first in range(0, work.groups, work.at_once):
        part = {listing.FIRST: first, listing.LAST: min(work.groups, first + work.at_once)}
        _run(weights.listed, LISTS, {**given, **part})
        _run(weights.summed, rows, {**given, **part})
    total = _total(sums, taken, events)  # (sets, C, 9, k) -> (K, 3, 3, C)
    flat = total.permute(0, 3, 2, 1).reshape(-1, 3, 3, maps)[: len(weight)]
    return flat.permute(0, 3, 1, 2)


def _total(sums: Tensor, taken: Tensor | None, events: Events) -> Tensor:
    """The sum of all shares (shares, sets, C, 9, k), less what NeuNorm takes away."""
    total = sums.sum(0) if len(sums) > 1 else sums[0]
    if events.gain != 1:
        total *= events.gain
    if taken is not None and events.U is not None:
        U = events.U.to(total.dtype).flatten(1)  # (C, pixels)
        total -= torch.einsum("cp,stpk->sctk", U, taken.sum(0))
    return total


def convolution_input(dy: Tensor, events: Events, weight: Tensor) -> Tensor:
    """dy (N, K, H, W), channels last -> (N, C, H, W), 0 where no mark wants it."""
    weight = _computed(weight)
    counts, dtype = events.counts, weight.dtype
    rows = Rows.of(dtype, len(weight), GRADIENT)
    sets, blocks = rows.sets(len(weight)), -(-counts.shape[3] // inputs.AT_ONCE)
    room = min(cache_bytes(1) * 7 // 8, cache_bytes(2) // (2 * sets))
    chosen = cut(counts, rows.bytes, 2, room, 2 * torch.get_num_threads())
    sizes = _sizes(events, len(weight), dy.dtype, rows)
    kept = weight.permute(0, 2, 3, 1).contiguous()
    packed = torch.empty(blocks * inputs.AT_ONCE * sets * AREA * rows.outputs, dtype=dtype)
    _run(inputs.pack, rows, {**sizes, listing.WEIGHT: kept, listing.PACKED: packed})
    out = torch.empty(counts.shape, dtype=dy.dtype)
    given = {
        **sizes,
        listing.BITS: MARK,
        listing.TOGETHER: chosen.together,
        listing.LINES: chosen.lines,
        listing.WEIGHT: dy.permute(0, 2, 3, 1).contiguous(),
        listing.PACKED: packed,
        listing.OUT: out,
    }
    _run(inputs.summed, rows, given)
    return out.permute(0, 3, 1, 2)


def multiply(events: Events, weight: Tensor, bias: Tensor, made: Made = None) -> Tensor:
    """A product: weight (K, C h w), best kept with each input's weights together -> (N, K)."""
    stored, bias, own = weight.dtype, _computed(bias), weight
    weight = _once(made, "computed", lambda: _computed(own))
    counts, dtype = events.counts, weight.dtype
    images, height, width, maps = counts.shape
    outputs, threads, pixels = len(weight), torch.get_num_threads(), height * width
    rows = Rows.of(dtype, outputs, ROW)
    blocks, sets = -(-maps // block_of(rows)), rows.sets(outputs)
    sums = torch.zeros(images, sets * rows.outputs, dtype=dtype)
    at_once = max(1, min(pixels, LISTED // (images * (maps + blocks))))
    given = {
        **_sizes(events, outputs, stored, rows),
        listing.HEIGHT: pixels,
        listing.SHARES: 1 if sets >= threads else min(images, -(-threads // sets)),
        listing.WEIGHT: weight.t().contiguous(),
        listing.PLACES: torch.empty(images * at_once * (maps + blocks), dtype=torch.int16),
        listing.VALUES: torch.empty(images * at_once * (maps + blocks), dtype=torch.int8),
        listing.STARTS: torch.empty(images, at_once, blocks, 2, dtype=torch.int64),
        listing.OUT: sums,
    }
    for first in range(0, pixels, at_once):
        part = {listing.FIRST: first, listing.LAST: min(pixels, first + at_once)}
        _run(product.listed, LISTS, {**given, **part})
        _run(product.forward, rows, {**given, **part})
    y = torch.add(bias, sums[:, :outputs], alpha=events.gain)
    if events.x is not None and events.U is not None:
        by_pixel = weight.view(outputs, maps, pixels)
        taken = torch.einsum("kcp,cp->pk", by_pixel, events.U.to(dtype).flatten(1))
        y.addmm_(events.x.flatten(1), taken, alpha=-1)
    return y.to(stored)


def product_gradient(dy: Tensor, events: Events, weight: Tensor) -> Tensor:
    """dy (N, K) -> the weight's gradient, (K, C h w), with each input's together; no bf16."""
    dy = _computed(dy)
    counts, dtype = events.counts, dy.dtype
    images, height, width, maps = counts.shape
    outputs, pixels = len(weight), height * width
    rows = Rows.of(dtype, outputs, ROW)
    sets = rows.sets(outputs)
    packed = torch.zeros(sets, images + 1, rows.outputs, dtype=dtype)
    padded = functional.pad(dy * events.gain, (0, sets * rows.outputs - outputs))
    packed[:, :images] = padded.view(images, sets, rows.outputs).transpose(0, 1)
    out = torch.empty(pixels * maps, outputs, dtype=dtype)
    given = {
        **_sizes(events, outputs, dtype, rows),
        listing.HEIGHT: pixels,
        listing.PACKED: packed,
        listing.OUT: out,
    }
    _run(product.weight_gradient, rows, given)
    if events.x is not None and events.U is not None:
        taken = events.x.flatten(1).t() @ dy  # (pixels, K)
        U = events.U.to(dtype).flatten(1)[..., None]
        out.view(maps, pixels, outputs).addcmul_(U, taken, value=-1)
    return out.t()


class ByEvents(NamedTuple):
    """How a synapse is computed by events, as `parts.Parts` are computed densely."""

    forward: Callable[[Events, Tensor, Tensor, Made], Tensor]  # events, weight, bias -> y
    weight_gradient: Callable[[Tensor, Events, Tensor], Tensor]  # dy, events, weight -> d_weight
    input_gradient: Callable[[Tensor, Events, Tensor], Tensor] | None  # of what is marked


CONVOLUTION = ByEvents(convolve, convolution_gradient, convolution_input)
PRODUCT = ByEvents(multiply, product_gradient, None)
