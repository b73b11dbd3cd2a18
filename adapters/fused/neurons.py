"""The neurons' kernels on the CPU, with numba.

LIF, pool and NeuNorm take one pass over memory forward, and one back.

    for a line of pooled pixels of a sample, shared among threads:
        for each step (back: from the last one):
            for a few pixels together: for the lines of their windows: for each neuron: u, spike
                pool; NeuNorm's x; send

An encoding layer of moving input has no current in memory: it has few input maps, and most of what
they hold is 0, so that its convolution costs less than to write and read what comes of it. It is
computed before each step of a line, in both directions, and the way back adds up its weights'
gradient.

Arrays are channels-last, (T, B, H, W C), so a line's pixels and maps are one row. A few pixels are
taken together, so that the inner loops are long where maps are few, and their steps stay in the
caches. A current that is the same at every step has one step there. No fastmath: each
operation rounds as the reference's does, so the spikes are the reference's. bf16 arrays come as
uint16; potentials are float32 then. The way back keeps nothing but the current: potentials are
computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from adapters.fused import compiled
from adapters.fused.compiled import as_call, callback, fields, inlined
from adapters.fused.form import MARK, MOST, Encoding, Events, Form, NeuronGradients
from adapters.fused.intrinsics import (
    BYTES, TAPS, array, counts_only, in_whole_vectors, narrow, number, prefetch, put, sum_of_lanes,
    take, wide, with_bits,
)  # fmt: skip
from harness.reference import dropout
from harness.reference.dropout import FIRST, SECOND
from harness.reference.precision import SYNAPSE_DTYPES
from harness.spec import Precision


@inlined
def draw(factors, keys, place, threshold, kept_factor, zero):
    """Fill `factors` with dropout's factors, `kept_factor` or 0, of the neurons from `place` on.

    They are those of `reference.dropout`; `kept_factor` is 1 / (1 - p).
    """
    in_whole_vectors()
    first, second = keys
    for c in range(factors.shape[0]):
        x = np.uint32(np.uint32(place + c) ^ first)
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(FIRST))
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) ^ second)
        x = np.uint32(x * np.uint32(SECOND))
        x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
        factors[c] = kept_factor if x >= threshold else zero


@inlined
def sum_row(values):
    """Sum a scratch row by halves, so that it runs in vectors; the row is overwritten.

    A row of one vector is summed in its register, in the same order.
    """
    size, lanes = values.shape[0], BYTES // values.itemsize
    while size > 1:
        if size == lanes:
            return sum_of_lanes(values.ctypes.data, (values[0],))
        half = size // 2
        low, high = values[:half], values[size - half : size]
        for c in range(half):
            low[c] += high[c]
        size -= half
    return values[0]


@inlined
def _pool(fired, total, pixels, pool, maps):
    """Add one line of neurons' spikes to the pooled pixels of `total`."""
    for pixel in range(pixels):
        whole = total[pixel * maps : (pixel + 1) * maps]
        for z in range(pool):
            place = (pixel * pool + z) * maps
            part = fired[place : place + maps]
            for c in range(maps):
                whole[c] += part[c]


@inlined
def _encode(x, weight, bias, line, first, row, zero):
    """Compute `row`, the current of some pixels of a line of x (H, W, I), by weight (9 I, C)."""
    maps = bias.shape[0]
    for pixel in range(row.shape[0] // maps):
        part = row[pixel * maps : (pixel + 1) * maps]
        for c in range(maps):
            part[c] = bias[c]
    _convolve(x, weight, line, first, row, False, zero)


@inlined
def _convolve(x, weight, line, first, row, back, zero):
    """Add x's convolution with `weight` to `row`, some pixels of a line, passing over x's zeros.

    With `back`, `row` is a gradient, and the weight's gradient is added to `weight`.
    """
    in_whole_vectors()
    (height, width, inputs), maps = x.shape, weight.shape[1]
    pixels = row.shape[0] // maps
    for y in range(max(0, line - 1), min(height, line + 2)):
        for z in range(max(0, first - 1), min(width, first + pixels + 1)):
            for i in range(inputs):
                value = wide(x[y, z, i])
                if value != zero:
                    for right in range(max(0, z + 2 - first - pixels), min(TAPS, z + 2 - first)):
                        of_tap = weight[((y - line + 1) * TAPS + right) * inputs + i]
                        begin = (z + 1 - right - first) * maps
                        part = row[begin : begin + maps]
                        if back:
                            for c in range(maps):
                                of_tap[c] += value * part[c]
                        else:
                            for c in range(maps):
                                part[c] += value * of_tap[c]


@inlined
def _fire(currents, state, fired, numbers, out):
    """Advance a line's neurons by one step, eqs. (5)-(6); add their spikes and marks to `fired`."""
    in_whole_vectors()
    k, v_th, half, _, _, _, _, _, zero, one, mark, _ = numbers
    for e in range(fired.shape[0]):
        u = k * state[e] + wide(currents[e])  # state is 0 after a spike
        fires = u >= v_th
        state[e] = zero if fires else u
        fired[e] += one if fires else zero
        if counts_only(out):  # eq. (14)
            fired[e] += mark if abs(u - v_th) < half else zero


@inlined
def _normalise(total, x, scratch, k2, scale, area):
    """Advance NeuNorm's x of some pixels by one step, eq. (9)."""
    maps = total.shape[0] // x.shape[0]
    for pixel in range(x.shape[0]):
        part, count = total[pixel * maps : (pixel + 1) * maps], 0
        for c in range(maps):
            count += int(part[c])
        scratch[0] = count  # in the potential's type: with an integer it would widen
        x[pixel] = k2 * x[pixel] + scale * (scratch[0] / area)


@inlined
def _send(target, total, U, x, factors, drops, area, zero):
    """Write the outputs of some pixels from their windows' spikes, eq. (10) if U is not empty."""
    in_whole_vectors()
    if U.size > 0 and not counts_only(target):  # counts go as they are, and x with them
        maps = total.shape[0] // x.shape[0]
        for pixel in range(x.shape[0]):
            begin, end, inhibition = pixel * maps, (pixel + 1) * maps, x[pixel]
            part, of_U, to = total[begin:end], U[begin:end], target[begin:end]
            factor = factors[begin:end]
            for c in range(maps):
                value = part[c] / area - of_U[c] * inhibition
                put(to, c, value * factor[c] if drops else value, part[c])
    elif drops:
        for c in range(total.shape[0]):
            count = total[c] if factors[c] > zero else zero
            put(target, c, total[c] / area * factors[c], count)
    else:
        for c in range(total.shape[0]):
            put(target, c, total[c] / area, total[c])


@inlined
def _neurons(
    current, encoding, U, keys, out, sent_x, sent_count, v, scratch, numbers, sizes, threshold,
    first, last,
):  # fmt: skip
    """Compute the output: pooled spikes, eqs. (5)-(6), less NeuNorm's part, eqs. (9)-(10).

    current (T or 1, B, H, W C), U (h, w C) or empty for no NeuNorm, keys (T, B, 2) or empty for no
    dropout -> out (T, B, h, w C), where h = H // pool and w = W // pool. Where `out` is of bytes,
    it takes how many of each window's neurons fired (none where dropout drops them), sent_x
    (T, B, h, w) takes NeuNorm's x, and sent_count (2,) how many counts are not 0 and how many bytes
    are marked (`Form.marks`). An encoding's x (T, B, H, W, I), weight and bias are empty where
    there is a current. Scratch: potentials v (pool, w pool C), scratch (5, w or as many neurons as
    are taken together). numbers: `Form.numbers`, of the potential's type; sizes: pool, maps, pixels
    taken together.
    """
    steps, _, height, _ = out.shape
    pool, maps, together = sizes
    width = sent_x.shape[3]
    _, _, _, _, k2, scale, area, kept_factor, zero, _, mark, _ = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    (of_x, weight, bias), encodes = encoding, encoding[0].size > 0
    x, factors = scratch[1], scratch[2]
    bits, spiking, marked = 1 if mark > zero else MOST, 0, 0
    for row in range(first, last):
        b, i = row // height, row % height
        v[:] = zero
        x[:] = zero
        for t in range(steps):
            next_step = t + 1 if t + 1 < steps else t
            for j in range(0, width, together):
                pixels = min(together, width - j)
                begin, end = j * maps, (j + pixels) * maps
                fired = scratch[0][: (end - begin) * pool]
                fired[:] = zero
                for y in range(i * pool, (i + 1) * pool):
                    state = v[y - i * pool, begin * pool : end * pool]
                    if encodes:
                        convolution = scratch[4][: (end - begin) * pool]
                        _encode(of_x[t, b], weight, bias, y, j * pool, convolution, zero)
                        _fire(convolution, state, fired, numbers, out)
                        continue
                    if moves:
                        prefetch(current[next_step, b, y, begin * pool : end * pool])
                    currents = current[t if moves else 0, b, y, begin * pool : end * pool]
                    _fire(currents, state, fired, numbers, out)
                total = fired
                if pool > 1:
                    total = scratch[3][: end - begin]
                    total[:] = zero
                    _pool(fired, total, pixels, pool, maps)
                weights, inhibition = U[:0, 0], x[j : j + pixels]
                if normalised:
                    weights = U[i, begin:end]
                    _normalise(total, inhibition, factors, k2, scale, area)
                    if counts_only(out):
                        sent_x[t, b, i, j : j + pixels] = inhibition
                if drops:
                    pair = (keys[t, b, 0], keys[t, b, 1])
                    place = (i * width + j) * maps
                    draw(factors[: end - begin], pair, place, threshold, kept_factor, zero)
                target = out[t, b, i, begin:end]
                _send(target, total, weights, inhibition, factors, drops, area, zero)
                if counts_only(out):
                    spiking += with_bits(target, bits)
                    marked += with_bits(target, MARK)
    sent_count[0], sent_count[1] = spiking, marked


@inlined
def _values_of_counts(counts, x, U, out, gain, bits, first, last):
    """Turn counts (1, N, h, w C) into values, less U x if U (h, w C) is not empty, eq. (10).

    x (1, N, h, w); out is of counts' shape. `bits` are those of a byte that are its count.
    """
    height, width = counts.shape[2], x.shape[3]
    maps = counts.shape[3] // max(1, width)
    for row in range(first, last):
        n, i = row // height, row % height
        line, target = counts[0, n, i], out[0, n, i]
        if U.size > 0:
            for pixel in range(width):
                begin, end, inhibition = pixel * maps, (pixel + 1) * maps, x[0, n, i, pixel]
                part, of_U, to = line[begin:end], U[i, begin:end], target[begin:end]
                for c in range(maps):
                    value = number(part[c] & bits, gain) * gain - of_U[c] * inhibition
                    to[c] = narrow(value, to[c])
        else:
            for c in range(line.shape[0]):
                target[c] = narrow(number(line[c] & bits, gain) * gain, target[c])


@inlined
def _step_potentials(currents, u, state, k, v_th, zero):
    """Advance a line's neurons by one step, eq. (5): potentials to u, after the reset to state."""
    in_whole_vectors()
    for e in range(currents.shape[0]):
        potential = k * state[e] + wide(currents[e])
        u[e] = potential
        state[e] = zero if potential >= v_th else potential


@inlined
def _potentials(current, encoding, u, x, state, convolution, place, numbers, sizes, normalised):
    """Compute again, for the way back, the potentials and NeuNorm's x of some pooled pixels."""
    b, i, begin, end, ahead = place
    k, v_th, _, _, k2, scale, area, _, zero, _, _, _ = numbers
    pool, maps, _ = sizes
    moves = current.shape[0] > 1
    (of_x, weight, bias), encodes = encoding, encoding[0].size > 0
    state[:] = zero
    for t in range(u.shape[0]):
        for y in range(pool):
            line = i * pool + y
            if encodes:
                _encode(of_x[t, b], weight, bias, line, begin // maps * pool, convolution, zero)
                _step_potentials(convolution, u[t, y], state[y], k, v_th, zero)
                continue
            currents = current[t if moves else 0, b, line, begin * pool : end * pool]
            if moves:
                prefetch(current[t, b, line, ahead * pool : (ahead + end - begin) * pool])
            _step_potentials(currents, u[t, y], state[y], k, v_th, zero)
        if normalised:
            for pixel in range((end - begin) // maps):
                count = 0
                for y in range(pool):
                    part = u[t, y, pixel * pool * maps : (pixel + 1) * pool * maps]
                    for e in range(pool * maps):
                        count += 1 if part[e] >= v_th else 0
                x[t, pixel] = count
                last = x[t - 1, pixel] if t > 0 else zero
                x[t, pixel] = k2 * last + scale * (x[t, pixel] / area)  # eq. (9)


@inlined
def _repeat(values, over, pixels):
    """Repeat each pixel's number for all its maps, so that one loop takes all pixels."""
    maps = over.shape[0] // pixels
    for pixel in range(pixels):
        part, value = over[pixel * maps : (pixel + 1) * maps], values[pixel]
        for c in range(maps):
            part[c] = value


@inlined
def _back_to_counts(g, product, over, d_U, U, x, dx, k2, scale):
    """Go back through NeuNorm, eqs. (9)-(10), at some pixels: g becomes that of pooled spikes."""
    pixels, maps = dx.shape[0], g.shape[0] // dx.shape[0]
    of_each, product = over[: g.shape[0]], product[: g.shape[0]]
    _repeat(x, of_each, pixels)
    for e in range(g.shape[0]):
        d_U[e] -= of_each[e] * g[e]
        product[e] = U[e] * g[e]
    for pixel in range(pixels):
        dx[pixel] = k2 * dx[pixel] - sum_row(product[pixel * maps : (pixel + 1) * maps])
    _repeat(dx, of_each, pixels)
    for e in range(g.shape[0]):
        g[e] += scale * of_each[e]


@inlined
def _spread(g, over, pool, maps):
    """Copy each pooled pixel's gradient to `over`, the neurons of one line of its window."""
    for pixel in range(g.shape[0] // maps):
        for z in range(pool):
            place = (pixel * pool + z) * maps
            for c in range(maps):
                over[place + c] = g[pixel * maps + c]


@inlined
def _adjoint_of_neurons(
    current, encoding, U, keys, back, d_U, d_bias, d_weight, u, scratch, x, numbers, sizes,
    threshold, first, last,
):  # fmt: skip
    """Run the adjoint over time, eqs. (12)-(14); potentials are computed again from the current.

    back (T, B, h, w C) is the gradient of `out` of `spikes`. The current's gradient takes its
    memory (for one that stands still it is the sum over the steps): a pixel's potentials are in u
    before it is written. d_U, of the shape of U, and d_bias (C,), the sum of the current's gradient
    in float64, are added to. So is d_weight (2, 9 I, C) of an encoding: a line's, and that of all.
    Scratch, of n neurons of a line that are taken together: u (T, pool, n), scratch (2 pool + 5,
    n), x (T, pixels).
    """
    steps, _, height, _ = back.shape
    pool, maps, together = sizes
    width = back.shape[3] // maps
    _, _, _, _, k2, scale, area, kept_factor, zero, _, _, _ = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    encodes = encoding[0].size > 0
    du, total = scratch[:pool], scratch[pool : 2 * pool]
    of_line, of_all = d_weight
    for row in range(first, last):
        b, i = row // height, row % height
        of_line[:] = zero
        for j in range(0, width, together):
            pixels = min(together, width - j)
            begin, end = j * maps, (j + pixels) * maps
            ahead = min(j + together, width - pixels) * maps
            place = (b, i, begin, end, ahead)
            convolution = scratch[2 * pool + 4][: (end - begin) * pool]
            _potentials(current, encoding, u, x, du, convolution, place, numbers, sizes, normalised)
            g, product = scratch[2 * pool][: end - begin], scratch[2 * pool + 1]
            over, dx = scratch[2 * pool + 2][: (end - begin) * pool], scratch[2 * pool + 3][:pixels]
            du[:] = zero
            total[:] = zero
            dx[:] = zero
            for t in range(steps - 1, -1, -1):
                sent = back[t, b, i, begin:end]
                prefetch(back[t, b, i, ahead : ahead + end - begin])
                for c in range(end - begin):
                    g[c] = wide(sent[c])
                if drops:
                    pair = (keys[t, b, 0], keys[t, b, 1])
                    factors = product[: end - begin]
                    draw(factors, pair, (i * width + j) * maps, threshold, kept_factor, zero)
                    for c in range(end - begin):
                        g[c] *= factors[c]
                if normalised:
                    of_U = (d_U[i, begin:end], U[i, begin:end])
                    _back_to_counts(g, product, over, of_U[0], of_U[1], x[t], dx, k2, scale)
                arriving = g
                if pool > 1:  # without one the area is 1, and dividing is slow
                    for c in range(end - begin):
                        g[c] /= area
                    _spread(g, over, pool, maps)
                    arriving = over
                for y in range(pool):
                    moment, line = t if moves else 0, i * pool + y
                    if encodes:
                        _step_adjoint(
                            arriving, u[t, y], du[y], total[y], convolution, numbers, False
                        )
                        d_row = du[y][: convolution.shape[0]]
                        _convolve(encoding[0][t, b], of_line, line, j * pool, d_row, True, zero)
                        continue
                    d_current = current[moment, b, line, begin * pool : end * pool]
                    _step_adjoint(arriving, u[t, y], du[y], total[y], d_current, numbers, moves)
            _add_totals(current, d_bias, total, (b, i, begin, end), pool, moves or encodes)
        for n in range(of_line.shape[0]):
            for c in range(of_line.shape[1]):
                of_all[n, c] += of_line[n, c]


@inlined
def _step_adjoint(g, u, du, total, d_current, numbers, moves):
    """Take a line's neurons one step back, eqs. (12)-(14): g, their spikes' gradient, updates du.

    du is added to `total`; where the current differs by step (`moves`) it is `d_current` too.
    """
    in_whole_vectors()
    k, v_th, half, steep, _, _, _, _, zero, _, _, reset = numbers
    for e in range(g.shape[0]):
        carry = k * du[e]
        do = g[e] - reset * (carry * u[e])  # eq. (12)
        near = abs(u[e] - v_th) < half  # eq. (14)
        d = (do * steep if near else zero) + (zero if u[e] >= v_th else carry)
        du[e] = d  # eq. (13)
        total[e] += d
        if moves:
            d_current[e] = narrow(d, d_current[e])


@inlined
def _add_totals(current, d_bias, total, place, pool, moves):
    """Add `total`, sums over all steps, to the bias's gradient.

    Where the current is the same at every step (not `moves`) they are its gradient.
    """
    b, i, begin, end = place
    maps = d_bias.shape[0]
    for pixel in range((end - begin) // maps):
        for y in range(pool):
            for e in range(pixel * pool * maps, (pixel + 1) * pool * maps, maps):
                part = total[y, e : e + maps]
                for c in range(maps):
                    d_bias[c] += part[c]
    if not moves:
        for y in range(pool):
            d_current = current[0, b, i * pool + y, begin * pool : end * pool]
            for e in range((end - begin) * pool):
                d_current[e] = narrow(total[y, e], d_current[e])


# A kernel's argument: the next part, how many there are, sizes, addresses of arrays (0: none).
FIELDS = (
    "next", "parts", "steps", "moving", "batch", "height", "width", "maps", "pool", "threshold",
    "current", "U", "keys", "out", "back", "d_U", "d_bias", "numbers", "x", "spiking", "inputs",
    "encoded", "weight", "bias", "d_weight",
)  # fmt: skip
CALL = fields(FIELDS)
NUMBERED = 12  # `Form.numbers`
NEURONS = 2048  # of a line that are taken together, if its pixels have fewer


@inlined
def _shapes(call):
    """Return the shapes of current, of what goes to the next layer, of U, and of dropout's keys."""
    steps, batch, maps, pool = call.steps, call.batch, call.maps, call.pool
    height, width = call.height // pool, call.width // pool
    current = (call.moving, batch, call.height, call.width * maps)
    out = (steps, batch, height, width * maps)
    some = 1 if call.U else 0
    drawn = 1 if call.keys else 0
    return current, out, (height * some, width * some * maps), (steps * drawn, batch * drawn, 2)


@inlined
def _sizes(call):
    """Return the pool's size, the maps, and how many pooled pixels are taken together."""
    pool, maps = call.pool, call.maps
    return pool, maps, max(1, min(call.width // pool, NEURONS // (pool * maps)))


@inlined
def _part(address, stored, number):
    """Take the next part of the call at an address.

    Returns the call, the part, its first and last row, and the arrays that both kernels read.
    """
    record = carray(address, (1,), CALL)
    call = record[0]
    part, parts = take(address), call.parts
    of_current, of_out, of_U, of_keys = _shapes(call)
    rows = of_out[1] * of_out[2]
    current = array(call.current, of_current, stored)
    U, keys = array(call.U, of_U, number), array(call.keys, of_keys, np.uint32(0))
    numbers = array(call.numbers, (NUMBERED,), number)
    of_x = (call.steps, call.batch, call.height, call.width, call.inputs)
    encoding = (
        array(call.encoded, of_x, stored),
        array(call.weight, (TAPS * TAPS * call.inputs, call.maps), number),
        array(call.bias, (call.maps,), number),
    )
    share = rows * part // parts, rows * (part + 1) // parts
    return record, part, share, current, encoding, U, keys, numbers


def _spikes(stored: Any, number: Any, sent: Any) -> Callable[[], int]:
    """Return the forward kernel for stored arrays, potentials, and outputs of these types."""

    @callback
    def spikes(address):
        """Compute the outputs of the rows of pixels that this thread takes."""
        record, part, share, current, encoding, U, keys, numbers = _part(address, stored, number)
        call = record[0]
        _, of_out, _, _ = _shapes(call)
        sizes = _sizes(call)
        pool, maps, together = sizes
        width = of_out[3] // maps
        v = np.empty((pool, of_out[3] * pool), numbers.dtype)
        scratch = np.empty((5, max(width, together * pool * maps)), numbers.dtype)
        out = array(call.out, of_out, sent)
        x = array(call.x, (of_out[0], of_out[1], of_out[2], width), number)
        # a kernel's to fill: numba drops values put into an array here, as if they were never read
        spiking = array(call.spiking, (call.parts, 2), np.int64(0))
        threshold = np.uint32(call.threshold)
        _neurons(
            current, encoding, U, keys, out, x, spiking[part], v, scratch, numbers, sizes,
            threshold, share[0], share[1],
        )  # fmt: skip

    return spikes


def _gradients(stored: Any, number: Any) -> Callable[[], int]:
    """Return the backward kernel for stored arrays and potentials of these types."""

    @callback
    def gradients(address):
        """Compute the gradients of the rows of pixels that this thread takes."""
        record, part, share, current, encoding, U, keys, numbers = _part(address, stored, number)
        call = record[0]
        _, of_out, of_U, _ = _shapes(call)
        steps, parts, sizes = call.steps, call.parts, _sizes(call)
        pool, maps, together = sizes
        u = np.empty((steps, pool, together * pool * maps), numbers.dtype)
        scratch = np.empty((2 * pool + 5, together * pool * maps), numbers.dtype)
        d_U = array(call.d_U, (parts, of_U[0], of_U[1]), number)
        d_bias = array(call.d_bias, (parts, maps), np.float64(0))
        taps = TAPS * TAPS * call.inputs
        d_weight = array(call.d_weight, (parts, taps, maps), np.float64(0))
        of_line = np.zeros((taps, maps), numbers.dtype)
        _adjoint_of_neurons(
            current, encoding, U, keys, array(call.back, of_out, stored), d_U[part], d_bias[part],
            (of_line, d_weight[part]), u, scratch, np.empty((steps, together), numbers.dtype),
            numbers, sizes, np.uint32(call.threshold), share[0], share[1],
        )  # fmt: skip

    return gradients


def _values(stored: Any, number: Any) -> Callable[[], int]:
    """Return the kernel that turns counts into values of type `stored`, computed in `number`'s."""

    @callback
    def values(address):
        """Turn the rows of pixels that this thread takes."""
        call = carray(address, (1,), CALL)[0]
        part, parts = take(address), call.parts
        _, of_out, of_U, _ = _shapes(call)
        rows = of_out[1] * of_out[2]
        _values_of_counts(
            array(call.back, of_out, np.uint8(0)),
            array(call.x, (1, of_out[1], of_out[2], call.width), number),
            array(call.U, of_U, number), array(call.out, of_out, stored),
            array(call.numbers, (1,), number)[0], np.uint8(call.threshold),
            rows * part // parts, rows * (part + 1) // parts,
        )  # fmt: skip

    return values


# As what arrays are stored, and in what is computed: bf16 comes as its bits.
_TYPES: Mapping[Precision, tuple[Any, Any]] = {
    "fp32": (np.float32(0), np.float32(0)),
    "fp64": (np.float64(0), np.float64(0)),
    "bf16": (np.uint16(0), np.float32(0)),
}
# By what the synapses compute in, as the current comes from them.
_SPIKES, _COUNTS, _GRADIENTS, _VALUES = (
    {SYNAPSE_DTYPES[precision]: make(*types) for precision, types in _TYPES.items()}
    for make in (
        lambda stored, number: _spikes(stored, number, stored),
        lambda stored, number: _spikes(stored, number, np.uint8(0)),
        _gradients,
        _values,
    )
)
NAME = f"numba {numba.__version__}"


# Maps of an encoding layer that is computed where it is needed: with fewer outputs it takes longer
# to find what is not 0.
MOST_INPUTS, LEAST_OUTPUTS = 3, 32


def encoding(x: Tensor, weight: Tensor, bias: Tensor, form: Form) -> Encoding | None:
    """Return a stand-in for the current of moving x (T, B, I, H, W); None if storing is faster."""
    outputs, inputs, *taps = weight.shape
    worth_it = inputs <= MOST_INPUTS and outputs >= LEAST_OUTPUTS
    if taps != [TAPS, TAPS] or not worth_it or len(x) == 1:
        return None
    rows = weight.detach().permute(2, 3, 1, 0).reshape(-1, outputs)
    return Encoding(
        x.detach().permute(0, 1, 3, 4, 2).contiguous(),
        rows.to(form.dtype).contiguous(),
        bias.detach().to(form.dtype).contiguous(),
    )


def spikes(current: Tensor | Encoding, U: Tensor | None, form: Form) -> Tensor:
    """Compute a layer's output (T, B, C, h, w) from current (T or 1, B, ...), channels last."""
    out, _, _ = _run_spikes(_SPIKES, None, current, U, form)
    return out.permute(0, 1, 4, 2, 3)


def events(current: Tensor | Encoding, U: Tensor | None, form: Form) -> Events | None:
    """Compute the layer's pooled output as spike counts (T B, h, w, C), with NeuNorm's weights U.

    None where the pool has more than MOST neurons, or NeuNorm and dropout both act.
    """
    most = form.pool**2
    if most > MOST or (U is not None and form.keys is not None):
        return None  # what NeuNorm takes away is dropped too: no number of a pixel tells it
    out, x, spiking = _run_spikes(_COUNTS, torch.uint8, current, U, form)
    gain = 1 / (most * (1 - form.p if form.keys is not None else 1))
    of_x = None if U is None else x.flatten(0, 1)
    taken = None if U is None else U.detach()
    spiked, marked = spiking.sum(0).tolist()
    return Events(
        out.flatten(0, 1), gain, most, spiked, of_x, taken, marked if form.marks else None
    )


def _run_spikes(
    kernels: dict[torch.dtype, Callable[[], int]],
    dtype: torch.dtype | None,
    current: Tensor | Encoding,
    U: Tensor | None,
    form: Form,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a kernel of spikes sends, NeuNorm's x, and how many counts and marks, by thread.

    What it sends is of type `dtype`, or, if that is None, of the type of what the layer is sent.
    """
    last = current if isinstance(current, Encoding) else _maps_last(current)
    stored, (_, batch, maps, height, width) = _layout(current)
    h, w = height // form.pool, width // form.pool
    out = torch.empty(form.steps, batch, h, w, maps, dtype=dtype or stored)
    x = torch.empty(form.steps, batch, h, w, dtype=form.dtype)
    spiking = torch.zeros(threads(batch * h), 2, dtype=torch.int64)
    arrays = {"out": out, "x": x, "spiking": spiking, "U": _weights(U, form)}
    _run(kernels[stored](), form, last, arrays)
    return out, x, spiking


def values(events: Events, dtype: torch.dtype) -> Tensor:
    """Convert counts to values (N, C, h, w), channels last, in one pass over memory."""
    images, height, width, maps = events.counts.shape
    of_x = torch.float64 if dtype == torch.float64 else torch.float32
    counts, gain = events.counts.contiguous(), torch.tensor([events.gain], dtype=of_x)
    x = None if events.x is None else events.x.to(of_x).contiguous()
    U = None if events.U is None else events.U.to(of_x).permute(1, 2, 0).contiguous()
    out, parts = torch.empty(counts.shape, dtype=dtype), threads(images * height)
    sizes = {"parts": parts, "steps": 1, "batch": images, "pool": 1, "threshold": events.bits}
    of_pixels = {"height": height, "width": width, "maps": maps}
    arrays = {"back": counts, "out": out, "numbers": gain, "x": x, "U": U}
    call = as_call(FIELDS, {**sizes, **of_pixels, **arrays})
    compiled.run(_VALUES[dtype](), call.ctypes.data, parts)
    return out.permute(0, 3, 1, 2)


def gradients(
    current: Tensor | Encoding, U: Tensor | None, back: Tensor, form: Form
) -> NeuronGradients:
    """Compute the gradients of a layer's U, bias, and current, or the weight of an `Encoding`.

    The current's gradient overwrites the current.
    """
    last = current if isinstance(current, Encoding) else _maps_last(current)
    (stored, shape), weights = _layout(current), _weights(U, form)
    h, w = shape[3] // form.pool, shape[4] // form.pool
    parts = threads(shape[1] * h)
    d_U = None if weights is None else torch.zeros(parts, *weights.shape, dtype=form.dtype)
    d_bias = torch.zeros(parts, shape[2], dtype=torch.float64)
    d_weight = None
    if isinstance(last, Encoding):
        d_weight = torch.zeros(parts, *last.weight.shape, dtype=torch.float64)
    arrays = {"U": weights, "d_U": d_U, "d_bias": d_bias, "d_weight": d_weight}
    _run(_GRADIENTS[stored](), form, last, {"back": _maps_last(back), **arrays})
    sum_dU = None if d_U is None else d_U.sum(0).permute(2, 0, 1)
    if isinstance(last, Encoding):
        assert d_weight is not None
        return NeuronGradients(None, sum_dU, d_bias.sum(0), d_weight.sum(0))
    # what fills no window of the pool has no gradient, and the kernel does not visit it
    last[:, :, h * form.pool :] = 0
    last[:, :, :, w * form.pool :] = 0
    return NeuronGradients(last.permute(0, 1, 4, 2, 3), sum_dU, d_bias.sum(0))


def _layout(current: Tensor | Encoding) -> tuple[torch.dtype, tuple[int, ...]]:
    """Return the type of stored arrays, and the current's shape, (T or 1, B, C, H, W)."""
    return (current.x if isinstance(current, Encoding) else current).dtype, tuple(current.shape)


def _run(
    kernel: int, form: Form, current: Tensor | Encoding, arrays: dict[str, Tensor | None]
) -> None:
    """Call a kernel on `current` (T or 1, B, H, W, C) and other arrays, by their names."""
    if isinstance(current, Encoding):
        moving, batch, maps, height, width = current.shape
    else:
        moving, batch, height, width, maps = current.shape
    numbers = torch.tensor(form.numbers, dtype=form.dtype)
    keys = None if form.keys is None else torch.from_numpy(form.keys.numpy().astype(np.uint32))
    parts = threads(batch * (height // form.pool))
    sizes = {"parts": parts, "steps": form.steps, "moving": moving, "batch": batch}
    of_maps = {"height": height, "width": width, "maps": maps, "pool": form.pool}
    arguments: dict[str, int | Tensor | None] = {"numbers": numbers, "keys": keys, **arrays}
    if isinstance(current, Encoding):
        x, weight, bias = current
        arguments |= {"encoded": x, "inputs": x.shape[4], "weight": weight, "bias": bias}
    else:
        arguments["current"] = current
    threshold = dropout.threshold(form.p)
    call = as_call(FIELDS, {**sizes, **of_maps, "threshold": threshold, **arguments})
    compiled.run(kernel, call.ctypes.data, parts)


def _maps_last(maps: Tensor) -> Tensor:
    """Return (T, B, C, H, W) as (T, B, H, W, C), contiguous; a view where it is channels last."""
    return maps.detach().permute(0, 1, 3, 4, 2).contiguous()


def _weights(U: Tensor | None, form: Form) -> Tensor | None:
    """Return U as (h, w, C)."""
    return None if U is None else U.detach().to(form.dtype).permute(1, 2, 0).contiguous()


def threads(rows: int) -> int:
    """Return how many threads share `rows` rows: torch's number, at most one a row."""
    return max(1, min(torch.get_num_threads(), rows))
