"""The neuron over all steps as numba kernels: LIF, pool and NeuNorm in one pass over memory.

Arrays are channels-last, (T, B, H, W, C), and the inner loops run over channels. A current that is
the same at every step has one step there. No fastmath: each operation rounds as the reference's
does, so the spikes are the reference's. bf16 arrays come as uint16; potentials are float32 then. A
kernel works on the rows `first` to `last` of B x pooled height, so that threads share the rows.
"""

from __future__ import annotations

import numpy as np

from harness.fused.cache import inlined
from harness.fused.intrinsics import counts_only, narrow, prefetch, put, wide
from harness.reference.dropout import FIRST, SECOND


@inlined
def _draw(kept, keys, place, threshold, grown, zero):
    """Dropout's factors of one pixel's maps, `reference.dropout.kept`: 1 / (1 - p) or 0."""
    first, second = keys
    for c in range(kept.shape[0]):
        x = np.uint32(np.uint32(place + c) ^ first)
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(FIRST))
        x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) ^ second)
        x = np.uint32(x * np.uint32(SECOND))
        x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
        kept[c] = grown if x >= threshold else zero


@inlined
def _sum(values):
    """The sum of a scratch row, which it overwrites: by halves, so that it runs in vectors."""
    rest = values.shape[0]
    while rest > 1:
        half = rest // 2
        for c in range(half):
            values[c] += values[rest - half + c]
        rest -= half
    return values[0]


@inlined
def spikes(
    current, U, keys, out, sent_x, sent_count, v, scratch, numbers, pool, threshold, first, last
):
    """What goes to the next layer: pooled spikes, eqs. (5)-(6), less NeuNorm's part, eqs. (9)-(10).

    current (T or 1, B, H, W, C), U (h, w, C) or empty for no NeuNorm, keys (T, B, 2) or empty for
    no dropout -> out (T, B, h, w, C), where h = H // pool and w = W // pool. Where `out` is of
    bytes, it takes how many of each window's neurons fired (none where dropout drops them), sent_x
    (T, B, h, w) takes NeuNorm's x, and sent_count (1,) how many are not 0. Scratch: potentials v
    (w pool, pool, C), scratch (4, w or C). numbers: `Form.numbers`, of the potential's type.
    """
    steps, _, height, width, maps = out.shape
    k, v_th, _, _, k2, scale, area, grown, zero, one = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    fired, x, kept, hits = scratch[0], scratch[1], scratch[2][:maps], scratch[3][:maps]
    spiking = 0
    for row in range(first, last):
        b, i = row // height, row % height
        v[:] = zero
        x[:] = zero
        hits[:] = zero
        for t in range(steps):
            later = t + 1 if t + 1 < steps else t
            for j in range(width):
                fired[:] = zero
                for part in range(pool * pool):
                    y, z = part // pool, j * pool + part % pool
                    arriving, state = current[t if moves else 0, b, i * pool + y, z], v[z, y]
                    if moves:
                        prefetch(current[later, b, i * pool + y, z])
                    for c in range(maps):
                        u = k * state[c] + wide(arriving[c])  # eq. (5); state is 0 after a spike
                        fires = u >= v_th  # eq. (6)
                        state[c] = zero if fires else u
                        fired[c] += one if fires else zero
                if normalised:
                    count = 0
                    for c in range(maps):
                        count += int(fired[c])
                    kept[0] = count  # in the potential's type: with an integer it would widen
                    x[j] = k2 * x[j] + scale * (kept[0] / area)  # eq. (9)
                    if counts_only(out):
                        sent_x[t, b, i, j] = x[j]
                target = out[t, b, i, j]
                if drops:
                    place = (i * width + j) * maps
                    _draw(kept, (keys[t, b, 0], keys[t, b, 1]), place, threshold, grown, zero)
                if normalised and drops:
                    for c in range(maps):  # eq. (10)
                        value = (fired[c] / area - U[i, j, c] * x[j]) * kept[c]
                        put(target, c, value, fired[c])
                elif normalised:
                    for c in range(maps):
                        put(target, c, fired[c] / area - U[i, j, c] * x[j], fired[c])
                elif drops:
                    for c in range(maps):
                        left = fired[c] if kept[c] > zero else zero
                        put(target, c, fired[c] / area * kept[c], left)
                else:
                    for c in range(maps):
                        put(target, c, fired[c] / area, fired[c])
                if counts_only(out):
                    for c in range(maps):
                        hits[c] += one if target[c] > 0 else zero
        spiking += int(_sum(hits))
    sent_count[0] = spiking


@inlined
def _potentials(current, u, x, state, place, numbers, pool, normalised):
    """The potentials of one pooled pixel at all steps, and NeuNorm's x, as `spikes` had them."""
    b, i, j, ahead = place
    k, v_th, _, _, k2, scale, area, _, zero, _ = numbers
    steps, parts, maps = u.shape
    moves = current.shape[0] > 1
    state[:] = zero
    before = zero
    for t in range(steps):
        count = 0
        for part in range(parts):
            arriving = current[
                t if moves else 0, b, i * pool + part // pool, j * pool + part % pool
            ]
            now, after = u[t, part], state[part]
            if moves:
                prefetch(current[t, b, i * pool + part // pool, ahead * pool + part % pool])
            for c in range(maps):
                potential = k * after[c] + wide(arriving[c])  # eq. (5)
                now[c] = potential
                after[c] = zero if potential >= v_th else potential
        if normalised:
            for part in range(parts):
                for c in range(maps):
                    count += 1 if u[t, part, c] >= v_th else 0
            x[t] = count
            x[t] = k2 * before + scale * (x[t] / area)  # eq. (9)
            before = x[t]


@inlined
def gradients(
    current, U, keys, back, d_U, d_bias, u, scratch, x, numbers, pool, threshold, first, last
):
    """The adjoint over time, eqs. (12)-(14), with the potentials computed again from the current.

    back (T, B, h, w, C) is the gradient of `out` of `spikes`. The current's gradient takes its
    memory (for one that stands still it is the sum over the steps): a pixel's potentials are in u
    before it is written. d_U, of the shape of U, and d_bias (C,), the sum of the current's gradient
    in float64, are added to. Scratch: u (T, pool pool, C), scratch (2 pool pool + 2, C), x (T,).
    """
    steps, _, height, width, maps = back.shape
    k, v_th, half, steep, k2, scale, area, grown, zero, _ = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    parts = pool * pool
    du, total = scratch[:parts], scratch[parts : 2 * parts]
    g, product = scratch[2 * parts], scratch[2 * parts + 1]
    for row in range(first, last):
        b, i = row // height, row % height
        for j in range(width):
            ahead = j + 1 if j + 1 < width else j
            _potentials(current, u, x, du, (b, i, j, ahead), numbers, pool, normalised)
            du[:] = zero
            total[:] = zero
            dx = zero
            for t in range(steps - 1, -1, -1):
                sent = back[t, b, i, j]
                prefetch(back[t, b, i, ahead])
                for c in range(maps):
                    g[c] = wide(sent[c])
                if drops:
                    place = (i * width + j) * maps
                    _draw(product, (keys[t, b, 0], keys[t, b, 1]), place, threshold, grown, zero)
                    for c in range(maps):
                        g[c] *= product[c]
                if normalised:  # eqs. (9)-(10) backward
                    for c in range(maps):
                        d_U[i, j, c] -= x[t] * g[c]
                        product[c] = U[i, j, c] * g[c]
                    dx = k2 * dx - _sum(product)
                    for c in range(maps):
                        g[c] += scale * dx
                for c in range(maps):
                    g[c] /= area
                for part in range(parts):
                    now, later, summed = u[t, part], du[part], total[part]
                    d_current = current[
                        t if moves else 0, b, i * pool + part // pool, j * pool + part % pool
                    ]
                    for c in range(maps):
                        carry = k * later[c]
                        do = g[c] - carry * now[c]  # eq. (12)
                        near = abs(now[c] - v_th) < half  # eq. (14)
                        d = (do * steep if near else zero) + (zero if now[c] >= v_th else carry)
                        later[c] = d  # eq. (13)
                        summed[c] += d
                        if moves:
                            d_current[c] = narrow(d, d_current[c])
            for part in range(parts):
                summed = total[part]
                for c in range(maps):
                    d_bias[c] += summed[c]
                if not moves:
                    d_current = current[0, b, i * pool + part // pool, j * pool + part % pool]
                    for c in range(maps):
                        d_current[c] = narrow(summed[c], d_current[c])
