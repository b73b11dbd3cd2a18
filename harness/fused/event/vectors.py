"""Code of vectors, as LLVM has them: loads, stores and sums, which numba's own loops cannot say.

A width is chosen by what the processor has, as numba sees it: AVX-512, AVX2, else 16 bytes, which
every processor has in some form. `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` force another. All
addresses are plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
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
ROW = 4  # vectors of a row of weights, and of the sums that it is added to, at most
# Of a pixel's gradients, and rows of taps that are summed at once: 18 sums, or 12 in 16 registers.
GRADIENT, TOGETHER = (2, 3) if registers().number == 32 else (4, 1)
TAPS = 3  # of a convolution's side, whose weights' gradients are summed

BYTE, WORD = ir.IntType(8), ir.IntType(64)


@dataclass(frozen=True)
class Code:
    """Writes the code of one inner loop."""

    builder: Any
    vector: ir.VectorType
    row: int  # vectors of one

    @classmethod
    def of(cls, builder: Any, kind: Any) -> Code:
        """For the type of a tuple of zeros, one for each vector of a row."""
        single = kind.dtype == types.float32
        element = ir.FloatType() if single else ir.DoubleType()
        return cls(builder, ir.VectorType(element, BYTES // (4 if single else 8)), kind.count)

    def like(self, element: ir.Type) -> ir.VectorType:
        """As many numbers of another type."""
        return ir.VectorType(element, self.vector.count)

    def pointer(self, address: Any) -> Any:
        """A number as a pointer to bytes."""
        return self.builder.inttoptr(address, BYTE.as_pointer())

    def at(self, pointer: Any, kind: ir.Type, offset: Any) -> Any:
        """What lies so many bytes behind a pointer, of one kind."""
        if isinstance(offset, int):
            offset = WORD(offset)
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

    def times(self, value: Any, factor: Any) -> Any:
        """A product; one operation with the addition that follows, where the processor has it."""
        return self.builder.fmul(value, factor, flags=("contract",))

    def plus(self, total: Any, value: Any) -> Any:
        """A sum; of nothing yet where `total` is None."""
        return value if total is None else self.builder.fadd(total, value, flags=("contract",))

    def add(self, total: Any, value: Any, factor: Any) -> None:
        """Adds a value, times a factor unless that is None, to a sum that lies in memory."""
        if factor is not None:
            value = self.times(value, factor)
        self.builder.store(self.plus(self.builder.load(total), value), total)

    def place(self, places: Any, number: Any) -> Any:
        """The 16-bit place of that number in a list."""
        index = self.builder.shl(number, WORD(1))
        found = self.builder.load(self.at(places, ir.IntType(16), index), align=2)
        return self.builder.zext(found, WORD)

    def factor(self, values: Any, number: Any) -> Any:
        """The 8-bit value of that number in a list, in every lane; None where there are none."""
        if values is None:
            return None
        found = self.builder.load(self.at(values, BYTE, number), align=1)
        return self.everywhere(self.builder.uitofp(found, self.vector.element))

    def everywhere(self, value: Any) -> Any:
        """One number in every lane."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.IntType(32)(0))
        everywhere = ir.Constant(self.like(ir.IntType(32)), [0] * self.vector.count)
        return self.builder.shuffle_vector(first, empty, everywhere)


def typed(write: Callable[..., Any], numbers: int, kind: Any) -> Any:
    """An intrinsic of that many addresses and numbers, and of what says which rows are meant."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write(Code.of(builder, signature.args[-1]), *arguments[:-1])
        return context.get_dummy_value()

    return types.void(*[types.int64] * numbers, kind), code


def _copied(code: Code, target: Any, source: Any) -> None:
    target, source = code.pointer(target), code.pointer(source)
    for n in range(code.row):
        code.store(code.load(source, n), target, n)


def _typed_copy_row(typing_context: Any, target: Any, source: Any, kind: Any) -> Any:
    return typed(_copied, 2, kind)


copy_row: Any = intrinsic(_typed_copy_row)
"""Copies a row."""


def _widened(code: Code, target: Any, source: Any) -> None:
    """bf16 is the upper half of a float32."""
    builder, lanes = code.builder, code.vector.count
    single, whole, half = map(code.like, (ir.FloatType(), ir.IntType(32), ir.IntType(16)))
    target, source = code.pointer(target), code.pointer(source)
    for n in range(code.row):
        bits = builder.load(code.at(source, half, n * lanes * 2), align=2)
        bits = builder.shl(builder.zext(bits, whole), ir.Constant(whole, [16] * lanes))
        value = builder.bitcast(bits, single)
        value = value if code.vector == single else builder.fpext(value, code.vector)
        code.store(value, target, n)


def _typed_widen_row(typing_context: Any, target: Any, source: Any, kind: Any) -> Any:
    return typed(_widened, 2, kind)


widen_row: Any = intrinsic(_typed_widen_row)
"""Copies a row from numbers in bf16."""


def _narrowed(code: Code, target: Any, source: Any) -> None:
    """Rounds to nearest even; not a number stays none."""
    builder, lanes = code.builder, code.vector.count
    single, whole, half = map(code.like, (ir.FloatType(), ir.IntType(32), ir.IntType(16)))
    target, source = code.pointer(target), code.pointer(source)

    def everywhere(number: int) -> Any:
        return ir.Constant(whole, [number] * lanes)

    for n in range(code.row):
        value = code.load(source, n)
        value = value if code.vector == single else builder.fptrunc(value, single)
        bits = builder.bitcast(value, whole)
        odd = builder.and_(builder.lshr(bits, everywhere(16)), everywhere(1))
        rounded = builder.add(builder.add(bits, odd), everywhere(0x7FFF))
        none = builder.or_(bits, everywhere(0x400000))
        rounded = builder.select(builder.fcmp_unordered("uno", value, value), none, rounded)
        upper = builder.trunc(builder.lshr(rounded, everywhere(16)), half)
        builder.store(upper, code.at(target, half, n * lanes * 2), align=2)


def _typed_narrow_row(typing_context: Any, target: Any, source: Any, kind: Any) -> Any:
    return typed(_narrowed, 2, kind)


narrow_row: Any = intrinsic(_typed_narrow_row)
"""Copies a row to numbers in bf16."""


def _scaled(code: Code, target: Any, source: Any, factor: Any) -> None:
    target, source, factor = code.pointer(target), code.pointer(source), code.everywhere(factor)
    for n in range(code.row):
        product = code.times(code.load(source, n), factor)
        code.store(code.plus(code.load(target, n), product), target, n)


def _typed_add_scaled_row(
    typing_context: Any, target: Any, source: Any, factor: Any, kind: Any
) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _scaled(Code.of(builder, signature.args[-1]), *arguments[:-1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, kind.dtype, kind), code


add_scaled_row: Any = intrinsic(_typed_add_scaled_row)
"""target += factor * source, rows."""


def _summed_lanes(code: Code, source: Any) -> Any:
    """By halves."""
    value, empty = code.load(code.pointer(source), 0), ir.Constant(code.vector, ir.Undefined)
    lanes = code.vector.count
    while lanes > 1:
        lanes //= 2
        upper = [lanes + n if n < lanes else 0 for n in range(code.vector.count)]
        mask = ir.Constant(code.like(ir.IntType(32)), upper)
        value = code.builder.fadd(value, code.builder.shuffle_vector(value, empty, mask))
    return code.builder.extract_element(value, ir.IntType(32)(0))


def _typed_sum_of_lanes(typing_context: Any, source: Any, kind: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _summed_lanes(Code.of(builder, signature.args[-1]), arguments[0])

    return kind.dtype(types.int64, kind), code


sum_of_lanes: Any = intrinsic(_typed_sum_of_lanes)
"""The sum of the vector's numbers at an address."""
