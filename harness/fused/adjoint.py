"""The neuron's gradients over all steps as a numba kernel, on memory as `cpu` has it.

It keeps nothing but the current: potentials are computed again.
"""

from __future__ import annotations

from harness.fused.cache import inlined
from harness.fused.cpu import draw, summed
from harness.fused.intrinsics import narrow, prefetch, wide


@inlined
def _potentials(current, u, x, state, place, numbers, sizes, normalised):
    """The potentials of some pooled pixels at all steps, and NeuNorm's x, as `spikes` had them."""
    b, i, begin, end, ahead = place
    k, v_th, _, _, k2, scale, area, _, zero, _, _, _ = numbers
    pool, maps, _ = sizes
    moves = current.shape[0] > 1
    state[:] = zero
    for t in range(u.shape[0]):
        for y in range(pool):
            line = i * pool + y
            arriving = current[t if moves else 0, b, line, begin * pool : end * pool]
            if moves:
                prefetch(current[t, b, line, ahead * pool : (ahead + end - begin) * pool])
            now, after = u[t, y], state[y]
            for e in range((end - begin) * pool):
                potential = k * after[e] + wide(arriving[e])  # eq. (5)
                now[e] = potential
                after[e] = zero if potential >= v_th else potential
        if normalised:
            for pixel in range((end - begin) // maps):
                count = 0
                for y in range(pool):
                    part = u[t, y, pixel * pool * maps : (pixel + 1) * pool * maps]
                    for e in range(pool * maps):
                        count += 1 if part[e] >= v_th else 0
                x[t, pixel] = count
                before = x[t - 1, pixel] if t > 0 else zero
                x[t, pixel] = k2 * before + scale * (x[t, pixel] / area)  # eq. (9)


@inlined
def _repeat(values, over, pixels):
    """A number of each pixel for each of its maps, so that one loop takes all pixels."""
    maps = over.shape[0] // pixels
    for pixel in range(pixels):
        part, value = over[pixel * maps : (pixel + 1) * maps], values[pixel]
        for c in range(maps):
            part[c] = value


@inlined
def _back_to_counts(g, product, over, d_U, U, x, dx, k2, scale):
    """NeuNorm backward, eqs. (9)-(10), of some pixels: g becomes the gradient of pooled spikes."""
    pixels, maps = dx.shape[0], g.shape[0] // dx.shape[0]
    of_each, product = over[: g.shape[0]], product[: g.shape[0]]
    _repeat(x, of_each, pixels)
    for e in range(g.shape[0]):
        d_U[e] -= of_each[e] * g[e]
        product[e] = U[e] * g[e]
    for pixel in range(pixels):
        dx[pixel] = k2 * dx[pixel] - summed(product[pixel * maps : (pixel + 1) * maps])
    _repeat(dx, of_each, pixels)
    for e in range(g.shape[0]):
        g[e] += scale * of_each[e]


@inlined
def _spread(g, over, pool, maps):
    """The same gradient for each neuron of a line of a window."""
    for pixel in range(g.shape[0] // maps):
        for z in range(pool):
            place = (pixel * pool + z) * maps
            for c in range(maps):
                over[place + c] = g[pixel * maps + c]


@inlined
def gradients(
    current, U, keys, back, d_U, d_bias, u, scratch, x, numbers, sizes, threshold, first, last
):
    """The adjoint over time, eqs. (12)-(14), with the potentials computed again from the current.

    back (T, B, h, w C) is the gradient of `out` of `spikes`. The current's gradient takes its
    memory (for one that stands still it is the sum over the steps): a pixel's potentials are in u
    before it is written. d_U, of the shape of U, and d_bias (C,), the sum of the current's gradient
    in float64, are added to. Scratch, of n neurons of a line that are taken together: u
    (T, pool, n), scratch (2 pool + 4, n), x (T, pixels).
    """
    steps, _, height, _ = back.shape
    pool, maps, together = sizes
    width = back.shape[3] // maps
    _, _, _, _, k2, scale, area, grown, zero, _, _, _ = numbers
    moves, normalised, drops = current.shape[0] > 1, U.size > 0, keys.size > 0
    du, total = scratch[:pool], scratch[pool : 2 * pool]
    for row in range(first, last):
        b, i = row // height, row % height
        for j in range(0, width, together):
            pixels = min(together, width - j)
            begin, end = j * maps, (j + pixels) * maps
            ahead = min(j + together, width - pixels) * maps
            place = (b, i, begin, end, ahead)
            _potentials(current, u, x, du, place, numbers, sizes, normalised)
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
                    drawn = (keys[t, b, 0], keys[t, b, 1])
                    factors = product[: end - begin]
                    draw(factors, drawn, (i * width + j) * maps, threshold, grown, zero)
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
                    d_current = current[moment, b, line, begin * pool : end * pool]
                    _adjoint(arriving, u[t, y], du[y], total[y], d_current, numbers, moves)
            _finish(current, d_bias, total, (b, i, begin, end), pool, moves)


@inlined
def _adjoint(g, now, later, total, d_current, numbers, moves):
    """One step back of a line's neurons, by the gradients of their spikes."""
    k, v_th, half, steep, _, _, _, _, zero, _, _, reset = numbers
    for e in range(g.shape[0]):
        carry = k * later[e]
        do = g[e] - reset * (carry * now[e])  # eq. (12)
        near = abs(now[e] - v_th) < half  # eq. (14)
        d = (do * steep if near else zero) + (zero if now[e] >= v_th else carry)
        later[e] = d  # eq. (13)
        total[e] += d
        if moves:
            d_current[e] = narrow(d, d_current[e])


@inlined
def _finish(current, d_bias, total, place, pool, moves):
    """Adds the sums over all steps to the bias's, and to a current's that stands still."""
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
