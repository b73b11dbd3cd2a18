"""The event kernels' inner loops: sums that stay in vector registers while a list is walked along.

numba's own loops would keep them in memory. A list is of 16-bit places; all addresses are plain
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numba.core import cgutils
from numba.extending import intrinsic

from harness.fused.event.vectors import (
    BYTES,
    TAPS,
    TOGETHER,
    WORD,
    Code,
    typed,
)


def _rows(code: Code, sums: Any, rows: Any, places: Any, count: Any, values: Any = None) -> None:
    """Two rows at a time, each in sums of its own: one would wait for the other."""
    builder = code.builder
    sums, rows, places = code.pointer(sums), code.pointer(rows), code.pointer(places)
    values = None if values is None else code.pointer(values)
    totals = code.zeros(2 * code.row)
    for n in range(code.row):
        builder.store(code.load(sums, n), totals[n])
    with cgutils.for_range(builder, builder.lshr(count, WORD(1)), intp=WORD) as loop:
        first = builder.shl(loop.index, WORD(1))
        for half in range(2):
            number = builder.add(first, WORD(half))
            offset = builder.mul(code.place(places, number), WORD(code.row * BYTES))
            row, factor = builder.gep(rows, [offset]), code.factor(values, number)
            for n in range(code.row):
                code.add(totals[half * code.row + n], code.load(row, n), factor)
    for n in range(code.row):
        both = builder.fadd(builder.load(totals[n]), builder.load(totals[code.row + n]))
        code.store(both, sums, n)


def _taps(
    code: Code, sums: Any, block: Any, places: Any, count: Any, pitch: Any, values: Any = None
) -> None:
    """As many rows of taps at once as there are registers for."""
    builder = code.builder
    sums, block, places = code.pointer(sums), code.pointer(block), code.pointer(places)
    values = None if values is None else code.pointer(values)
    pixel = code.row * BYTES
    for start in range(0, TAPS, TOGETHER):
        together = range(start, start + TOGETHER)
        totals = code.zeros(TOGETHER * TAPS * code.row)
        with cgutils.for_range(builder, count, intp=WORD) as loop:
            place = builder.mul(code.place(places, loop.index), WORD(pixel))
            middle, factor = builder.gep(block, [place]), code.factor(values, loop.index)
            for n, tap in enumerate(_taps_of(together)):
                line, right = _around(code, middle, tap, pitch)
                for m in range(code.row):
                    value = code.load(line, right * code.row + m)
                    code.add(totals[n * code.row + m], value, factor)
        for n, tap in enumerate(_taps_of(together)):
            for m in range(code.row):
                at, total = tap * code.row + m, builder.load(totals[n * code.row + m])
                code.store(builder.fadd(total, code.load(sums, at)), sums, at)


def _around(code: Code, middle: Any, tap: int, pitch: Any) -> tuple[Any, int]:
    """Where the line lies that a tap reads around a pixel, and how many pixels to the right."""
    down, right = 1 - tap // TAPS, 1 - tap % TAPS
    if not down:
        return middle, right
    offset = code.builder.mul(pitch, WORD(down * code.row * BYTES))
    return code.builder.gep(middle, [offset]), right


def _taps_of(rows: Sequence[int]) -> list[int]:
    return [row * TAPS + column for row in rows for column in range(TAPS)]


def _typed_add_rows(
    typing_context: Any, sums: Any, rows: Any, places: Any, count: Any, kind: Any
) -> Any:
    return typed(_rows, 4, kind)


add_rows: Any = intrinsic(_typed_add_rows)
"""sums (a row) += the rows at `places`, 16-bit numbers; `count` of them, and even."""


def _typed_add_valued_rows(
    typing_context: Any, sums: Any, rows: Any, places: Any, count: Any, values: Any, kind: Any
) -> Any:
    return typed(_rows, 5, kind)


add_valued_rows: Any = intrinsic(_typed_add_valued_rows)
"""The same, each row times its 8-bit value."""


def _typed_add_taps(
    typing_context: Any, sums: Any, block: Any, places: Any, count: Any, pitch: Any, kind: Any
) -> Any:
    return typed(_taps, 5, kind)


add_taps: Any = intrinsic(_typed_add_taps)
"""sums (3, 3, a row) += what lies around the pixels at `places` in `block`.

The block has `pitch` pixels of a row each in a line; tap (y, x) reads the pixel that is
y - 1 lines above and x - 1 pixels to the left.
"""


def _typed_add_valued_taps(
    typing_context: Any,
    sums: Any,
    block: Any,
    places: Any,
    count: Any,
    pitch: Any,
    values: Any,
    kind: Any,
) -> Any:
    return typed(_taps, 6, kind)


add_valued_taps: Any = intrinsic(_typed_add_valued_taps)
"""The same, each place times its 8-bit value."""


def _products(
    code: Code, sums: Any, block: Any, places: Any, count: Any, pitch: Any, weights: Any
) -> None:
    """A pass for as many rows of taps as there are registers for their weights."""
    builder = code.builder
    sums, block, places = code.pointer(sums), code.pointer(block), code.pointer(places)
    weights, pixel = code.pointer(weights), code.row * BYTES
    for start in range(0, TAPS, TOGETHER):
        taps = _taps_of(range(start, start + TOGETHER))
        held = [[code.load(weights, tap * code.row + m) for m in range(code.row)] for tap in taps]
        with cgutils.for_range(builder, count, intp=WORD) as loop:
            place = builder.mul(code.place(places, loop.index), WORD(pixel))
            middle = builder.gep(block, [place])
            target = builder.gep(sums, [builder.mul(loop.index, WORD(BYTES))])
            totals = [code.load(target, 0), None]  # two: each addition waits for the one before
            for n, tap in enumerate(taps):
                line, right = _around(code, middle, tap, pitch)
                for m in range(code.row):
                    product = code.times(code.load(line, right * code.row + m), held[n][m])
                    chain = (n * code.row + m) % len(totals)
                    totals[chain] = code.plus(totals[chain], product)
            code.store(code.plus(*totals), target, 0)


def _typed_add_products(
    typing_context: Any,
    sums: Any,
    block: Any,
    places: Any,
    count: Any,
    pitch: Any,
    weights: Any,
    kind: Any,
) -> Any:
    return typed(_products, 6, kind)


add_products: Any = intrinsic(_typed_add_products)
"""sums (count, one vector) += what lies around each of `places` in `block`, times `weights`.

The block is that of `add_taps`, weights are (3, 3, a row). The sum of a vector's lanes
is what is meant.
"""
