"""The neuron over all steps as a numba kernel: LIF, pool and NeuNorm in one pass over memory.

Arrays are channels-last, (T, B, H, W C), so a line's pixels and maps are one row. A few pixels are
taken together, so that the inner loops are long where maps are few, and their steps stay in the
caches. A current that is the same at every step has one step there. No fastmath: each
operation rounds as the reference's does, so the spikes are the reference's. bf16 arrays come as
uint16; potentials are float32 then. A kernel works on the rows `first` to `last` of B x pooled
height, so that threads share the rows.
"""

from __future__ import annotations

import numpy as np

from harness.fused.cache import inlined
from harness.fused.event.vectors import BYTES, sum_of_lanes
from harness.fused.events import MARK, MOST
from harness.fused.intrinsics import counts_only, narrow, number, prefetch, put, wide, with_bits
from harness.reference.dropout import FIRST, SECOND


@inlined
def draw(kept, keys, place, threshold, grown, zero):
    """Dropout's factors of some pixels' maps, `reference.dropout.kept`: 1 / (1 - p) or 0."""
    first, second = keys
    for c in range(kept.shape[0]):
        x = np.uint32(np.uint32(place + c) ^ first)
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(FIRST))
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) ^ second)
        x = np.uint32(x * np.uint32(SECOND))
        x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
        kept[c] = grown if x >= threshold else zero


@inlined
def summed(values):
    """The sum of a scratch row, which it overwrites: by halves, so that it runs in vectors.

    A row of one vector is summed in its register, in the same order.
    """
    rest, lanes = values.shape[0], BYTES // values.itemsize
    while rest > 1:
        if rest == lanes:
            return sum_of_lanes(values.ctypes.data, (values[0],))
        half = rest // 2
        low, high = values[:half], values[rest - half : rest]
        for c in range(half):
            low[c] += high[c]
        rest -= half
    return values[0]


@inlined
def _pool(fired, total, pixels, pool, maps):
    """The sum over a line of each pixel's window."""
    for pixel in range(pixels):
        whole = total[pixel * maps : (pixel + 1) * maps]
        for z in range(pool):
            place = (pixel * pool + z) * maps
            part = fired[place : place + maps]
            for c in range(maps):
                whole[c] += part[c]


@inlined
def _fire(arriving, state, fired, numbers, out):
    """One step of a line's neurons, eqs. (5)-(6): spikes, and marks, are added to `fired`."""
    k, v_th, half, _, _, _, _, _, zero, one, mark, _ = numbers
    for e in range(fired.shape[0]):
        u = k * state[e] + wide(arriving[e])  # state is 0 after a spike
        fires = u >= v_th
        state[e] = zero if fires else u
        fired[e] += one if fires else zero
        if counts_only(out):  # eq. (14)
            fired[e] += mark if abs(u - v_th) < half else zero


@inlined
def _normalise(total, x, scratch, k2, scale, area):
    """NeuNorm's x of some pixels at the next step, eq. (9)."""
    maps = total.shape[0] // x.shape[0]
    for pixel in range(x.shape[0]):
        part, count = total[pixel * maps : (pixel + 1) * maps], 0
        for c in range(maps):
            count += int(part[c])
        scratch[0] = count  # in the potential's type: with an integer it would widen
        x[pixel] = k2 * x[pixel] + scale * (scratch[0] / area)


@inlined
def _send(target, total, U, x, kept, drops, area, zero):
    """What some pixels send of their windows' spikes, eq. (10) where U is not empty."""
    if U.size > 0 and not counts_only(target):  # counts go as they are, and x with them
        maps = total.shape[0] // x.shape[0]
        for pixel in range(x.shape[0]):
            begin, end, inhibition = pixel * maps, (pixel + 1) * maps, x[pixel]
            part, of_U, to = total[begin:end], U[begin:end], target[begin:end]
            factor = kept[begin:end]
            for c in range(maps):
                value = part[c] / area - of_U[c] * inhibition
                put(to, c, value * factor[c] if drops else value, part[c])
    elif drops:
        for c in range(total.shape[0]):
            left = total[c] if kept[c] > zero else zero
            put(target, c, total[c] / area * kept[c], left)
    else:
        for c in range(total.shape[0]):
            put(target, c, total[c] / area, total[c])


@inlined
def spikes(
    current, U, keys, out, sent_x, sent_count, v, scratch, numbers, sizes, threshold, first, last
):
    """What goes to the next layer: pooled spikes, eqs. (5)-(6), less NeuNorm's part, eqs. (9)-(10).

    current (T or 1, B, H, W C), U (h, w C) or empty for no NeuNorm, keys (T, B, 2) or empty for no
    dropout -> out (T, B, h, w C), where h = H // pool and w = W // pool. Where `out` is of bytes,
    it takes how many of each window's neurons fired (none where dropout drops them), sent_x
    (T, B, h, w) takes NeuNorm's x, and sent_count (2,) how many counts are not 0 and how many bytes
    are marked (`Form.marks`). Scratch: potentials v (pool, w pool C), scratch (4, w or as many
    neurons as are taken together). numbers: `Form.numbers`, of the potential's type; sizes: pool,
    maps, pixels taken together.
    """
    steps, _, height, _ = out.shape
    pool, maps, together = sizes
    width = sent_x.shape[3]
    _, _, _, _, k2, scale, area, grown, zero, _, mark, _ = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    x, kept = scratch[1], scratch[2]
    bits, spiking, marked = 1 if mark > zero else MOST, 0, 0
    for row in range(first, last):
        b, i = row // height, row % height
        v[:] = zero
        x[:] = zero
        for t in range(steps):
            later = t + 1 if t + 1 < steps else t
            for j in range(0, width, together):
                pixels = min(together, width - j)
                begin, end = j * maps, (j + pixels) * maps
                fired = scratch[0][: (end - begin) * pool]
                fired[:] = zero
                for y in range(i * pool, (i + 1) * pool):
                    if moves:
                        prefetch(current[later, b, y, begin * pool : end * pool])
                    arriving = current[t if moves else 0, b, y, begin * pool : end * pool]
                    _fire(arriving, v[y - i * pool, begin * pool : end * pool], fired, numbers, out)
                total = fired
                if pool > 1:
                    total = scratch[3][: end - begin]
                    total[:] = zero
                    _pool(fired, total, pixels, pool, maps)
                weights, of_x = U[:0, 0], x[j : j + pixels]
                if normalised:
                    weights = U[i, begin:end]
                    _normalise(total, of_x, kept, k2, scale, area)
                    if counts_only(out):
                        sent_x[t, b, i, j : j + pixels] = of_x
                if drops:
                    drawn = (keys[t, b, 0], keys[t, b, 1])
                    place = (i * width + j) * maps
                    draw(kept[: end - begin], drawn, place, threshold, grown, zero)
                target = out[t, b, i, begin:end]
                _send(target, total, weights, of_x, kept, drops, area, zero)
                if counts_only(out):
                    spiking += with_bits(target, bits)
                    marked += with_bits(target, MARK)
    sent_count[0], sent_count[1] = spiking, marked


@inlined
def values(counts, x, U, out, gain, bits, first, last):
    """What counts (1, N, h, w C) stand for, less U x where U (h, w C) is not empty, eq. (10).

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
