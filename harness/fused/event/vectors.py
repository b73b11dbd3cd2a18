"""Sums of rows in vector registers: the event kernels' inner loops, as LLVM's vectors.

numba's own loops keep their sums in memory; these keep them in registers. A width is chosen by what
the processor has, as numba sees it: AVX-512, AVX2, else 16 bytes, which every processor has in some
form. `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` force another. All addresses are plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic


@dataclass(frozen=True)
class Registers:
    """What a processor computes in."""

    bytes: int  # of one
    number: int


@cache
def registers() -> Registers:
    """Of the processor that numba compiles for."""
    forced: str | None = getattr(config, "CPU_FEATURES", None)
    has = set((forced or binding.get_host_cpu_features().flatten()).split(","))
    if {"+avx512f", "+avx512bw", "+avx512vl"} <= has:
        return Registers(64, 32)
    if "+avx2" in has:
        return Registers(32, 16)
    return Registers(16, 32 if "+neon" in has else 16)


BYTES = registers().bytes
ROW = 4  # vectors of a row of weights, and of the sums that it is added to
# Of a pixel's gradients, and rows of taps that are summed at once: 18 sums, or 12 in 16 registers.
GRADIENT, TOGETHER = (2, 3) if registers().number == 32 else (4, 1)
TAPS = 3  # of a convolution's side, whose weights' gradients are summed

_BYTE, _WORD = ir.IntType(8), ir.IntType(64)


@dataclass(frozen=True)
class _Code:
    """Writes the code of one inner loop."""

    builder: Any
    vector: ir.VectorType

    @classmethod
    def of(cls, builder: Any, like: Any) -> _Code:
        """For numbers of the type of `like`."""
        single = like == types.float32
        element = ir.FloatType() if single else ir.DoubleType()
        return cls(builder, ir.VectorType(element, BYTES // (4 if single else 8)))

    def pointer(self, address: Any) -> Any:
        """A number as a pointer to bytes."""
        return self.builder.inttoptr(address, _BYTE.as_pointer())

    def at(self, pointer: Any, kind: ir.Type, offset: Any) -> Any:
        """What lies so many bytes behind a pointer, of one kind."""
        if isinstance(offset, int):
            offset = _WORD(offset)
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), kind.as_pointer())

    def load(self, pointer: Any, vectors: int) -> Any:
        """The vector that lies so many vectors behind a pointer."""
        place = self.at(pointer, self.vector, vectors * BYTES)
        return self.builder.load(place, align=self._alignment)

    def store(self, value: Any, pointer: Any, vectors: int) -> None:
        """Puts a vector there."""
        place = self.at(pointer, self.vector, vectors * BYTES)
        self.builder.store(value, place, align=self._alignment)

    @property
    def _alignment(self) -> int:
        return 4 if isinstance(self.vector.element, ir.FloatType) else 8

    def zeros(self, count: int) -> list[Any]:
        """So many sums, of nothing yet."""
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        return [cgutils.alloca_once_value(self.builder, zero) for _ in range(count)]

    def add(self, total: Any, value: Any, factor: Any) -> None:
        """Adds a value, times a factor unless that is None, to a sum."""
        if factor is not None:
            value = self.builder.fmul(value, factor, flags=("contract",))
        summed = self.builder.fadd(self.builder.load(total), value, flags=("contract",))
        self.builder.store(summed, total)

    def place(self, places: Any, number: Any) -> Any:
        """The 16-bit place of that number in a list."""
        index = self.builder.shl(number, _WORD(1))
        found = self.builder.load(self.at(places, ir.IntType(16), index), align=2)
        return self.builder.zext(found, _WORD)

    def factor(self, values: Any, number: Any) -> Any:
        """The 8-bit value of that number in a list, in every lane; None where there are none."""
        if values is None:
            return None
        found = self.builder.load(self.at(values, _BYTE, number), align=1)
        return self.everywhere(self.builder.uitofp(found, self.vector.element))

    def everywhere(self, value: Any) -> Any:
        """One number in every lane."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.IntType(32)(0))
        everywhere = ir.Constant(
            ir.VectorType(ir.IntType(32), self.vector.count), [0] * self.vector.count
        )
        return self.builder.shuffle_vector(first, empty, everywhere)


def _rows(code: _Code, sums: Any, rows: Any, places: Any, count: Any, values: Any = None) -> None:
    """Two rows at a time, each in sums of its own: one would wait for the other."""
    builder = code.builder
    sums, rows, places = code.pointer(sums), code.pointer(rows), code.pointer(places)
    values = None if values is None else code.pointer(values)
    totals = code.zeros(2 * ROW)
    for n in range(ROW):
        builder.store(code.load(sums, n), totals[n])
    with cgutils.for_range(builder, builder.lshr(count, _WORD(1)), intp=_WORD) as loop:
        first = builder.shl(loop.index, _WORD(1))
        for half in range(2):
            number = builder.add(first, _WORD(half))
            offset = builder.mul(code.place(places, number), _WORD(ROW * BYTES))
            row, factor = builder.gep(rows, [offset]), code.factor(values, number)
            for n in range(ROW):
                code.add(totals[half * ROW + n], code.load(row, n), factor)
    for n in range(ROW):
        both = builder.fadd(builder.load(totals[n]), builder.load(totals[ROW + n]))
        code.store(both, sums, n)


def _taps(
    code: _Code, sums: Any, block: Any, places: Any, count: Any, pitch: Any, values: Any = None
) -> None:
    """As many rows of taps at once as there are registers for."""
    builder = code.builder
    sums, block, places = code.pointer(sums), code.pointer(block), code.pointer(places)
    values = None if values is None else code.pointer(values)
    pixel = GRADIENT * BYTES
    for start in range(0, TAPS, TOGETHER):
        together = range(start, start + TOGETHER)
        totals = code.zeros(TOGETHER * TAPS * GRADIENT)
        with cgutils.for_range(builder, count, intp=_WORD) as loop:
            place = builder.mul(code.place(places, loop.index), _WORD(pixel))
            middle, factor = builder.gep(block, [place]), code.factor(values, loop.index)
            for n, tap in enumerate(_taps_of(together)):
                down, right = 1 - tap // TAPS, 1 - tap % TAPS
                line = middle
                if down:
                    line = builder.gep(middle, [builder.mul(pitch, _WORD(down * pixel))])
                for m in range(GRADIENT):
                    value = code.load(line, right * GRADIENT + m)
                    code.add(totals[n * GRADIENT + m], value, factor)
        for n, tap in enumerate(_taps_of(together)):
            for m in range(GRADIENT):
                at, total = tap * GRADIENT + m, builder.load(totals[n * GRADIENT + m])
                code.store(builder.fadd(total, code.load(sums, at)), sums, at)


def _taps_of(rows: Sequence[int]) -> list[int]:
    return [row * TAPS + column for row in rows for column in range(TAPS)]


def _typed(write: Callable[..., None], numbers: int, like: Any) -> Any:
    """An intrinsic of that many addresses and numbers, and of one that says which type is meant."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write(_Code.of(builder, signature.args[-1]), *arguments[:-1])
        return context.get_dummy_value()

    return types.void(*[types.int64] * numbers, like), code


def _typed_add_rows(
    typing_context: Any, sums: Any, rows: Any, places: Any, count: Any, like: Any
) -> Any:
    return _typed(_rows, 4, like)


add_rows: Any = intrinsic(_typed_add_rows)
"""sums (ROW vectors) += the rows at `places`, 16-bit numbers; `count` of them, and even."""


def _typed_add_valued_rows(
    typing_context: Any, sums: Any, rows: Any, places: Any, count: Any, values: Any, like: Any
) -> Any:
    return _typed(_rows, 5, like)


add_valued_rows: Any = intrinsic(_typed_add_valued_rows)
"""The same, each row times its 8-bit value."""


def _typed_add_taps(
    typing_context: Any, sums: Any, block: Any, places: Any, count: Any, pitch: Any, like: Any
) -> Any:
    return _typed(_taps, 5, like)


add_taps: Any = intrinsic(_typed_add_taps)
"""sums (3, 3, GRADIENT vectors) += what lies around the pixels at `places` in `block`.

The block has `pitch` pixels of GRADIENT vectors in a line; tap (y, x) reads the pixel that is
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
    like: Any,
) -> Any:
    return _typed(_taps, 6, like)


add_valued_taps: Any = intrinsic(_typed_add_valued_taps)
"""The same, each place times its 8-bit value."""


def _copied(vectors: int, code: _Code, target: Any, source: Any) -> None:
    target, source = code.pointer(target), code.pointer(source)
    for n in range(vectors):
        code.store(code.load(source, n), target, n)


def _typed_copy_row(typing_context: Any, target: Any, source: Any, like: Any) -> Any:
    return _typed(partial(_copied, ROW), 2, like)


copy_row: Any = intrinsic(_typed_copy_row)
"""Copies a row of ROW vectors."""


def _typed_copy_gradient(typing_context: Any, target: Any, source: Any, like: Any) -> Any:
    return _typed(partial(_copied, GRADIENT), 2, like)


copy_gradient: Any = intrinsic(_typed_copy_gradient)
"""Copies GRADIENT vectors."""


def _scaled(vectors: int) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        writer = _Code.of(builder, signature.args[-1])
        target, source = writer.pointer(arguments[0]), writer.pointer(arguments[1])
        factor = writer.everywhere(arguments[2])
        for n in range(vectors):
            product = builder.fmul(writer.load(source, n), factor, flags=("contract",))
            total = builder.fadd(writer.load(target, n), product, flags=("contract",))
            writer.store(total, target, n)
        return context.get_dummy_value()

    return code


def _typed_add_scaled_row(typing_context: Any, target: Any, source: Any, factor: Any) -> Any:
    return types.void(types.int64, types.int64, factor), _scaled(ROW)


add_scaled_row: Any = intrinsic(_typed_add_scaled_row)
"""target += factor * source, rows of ROW vectors of the factor's type."""


def _typed_add_scaled_gradient(typing_context: Any, target: Any, source: Any, factor: Any) -> Any:
    return types.void(types.int64, types.int64, factor), _scaled(GRADIENT)


add_scaled_gradient: Any = intrinsic(_typed_add_scaled_gradient)
"""The same of GRADIENT vectors."""
