"""LLVM code for the numba kernels.

bf16, addresses, bits and bytes, prefetching, atomics, and sums that stay in vector registers while
a kernel walks along a list.

A vector's width is chosen by what the processor has, as numba sees it: AVX-512, AVX2, else 16
bytes, which every processor has in some form. `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` force
another. All addresses are plain numbers, and places in lists 16-bit numbers. A row is a few
vectors; `kind` stands for rows: a tuple of zeros of the numbers' type, one for each vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, Signature
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils, config
from numba.extending import intrinsic, overload
from numba.np.numpy_support import as_dtype

BYTE, WORD = ir.IntType(8), ir.IntType(64)


def _intrinsic(count: int, signature: Callable[..., Any], write: Callable[..., Any]) -> Any:
    """Return a function for kernels, of `count` arguments, whose LLVM code `write` emits.

    `signature` takes the types of the arguments and gives the function's type. `write` takes
    numba's context, LLVM's builder, the signature and the values; where it gives nothing, the
    function returns nothing.
    """

    def typed(_: Any, *arguments: Any) -> Any:
        """Return the signature and what writes the code, as numba's `intrinsic` asks."""

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = write(context, builder, signature, values)
            return context.get_dummy_value() if value is None else value

        return signature(*arguments), code

    named = [Parameter(f"p{n}", Parameter.POSITIONAL_OR_KEYWORD) for n in range(count + 1)]
    typed.__signature__ = Signature(named)  # numba counts them
    return intrinsic(typed)


def _bitcast(to: ir.Type) -> Any:
    return lambda context, builder, signature, values: builder.bitcast(values[0], to)


_float_of_bits = _intrinsic(1, lambda _: types.float32(types.uint32), _bitcast(ir.FloatType()))
_bits_of_float = _intrinsic(1, lambda _: types.uint32(types.float32), _bitcast(ir.IntType(32)))


def wide(value) -> Any:
    """Convert a stored value to the type computed with: bf16 bits become float32."""


@overload(wide, inline="always")
def _(value) -> Any:
    if isinstance(value, types.Integer):
        return lambda value: _float_of_bits(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


def narrow(value, stored) -> Any:
    """Round a computed number to the type of `stored`: to bf16 to nearest even."""


@overload(narrow, inline="always")
def _(value, stored) -> Any:
    """Give numba the code of `narrow` for the type of `stored`."""
    if isinstance(stored, types.Integer):

        def rounded(value, stored):
            bits = _bits_of_float(value)
            odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, stored: value


def counts_only(out) -> Any:
    """Return whether a layer's output array is of bytes, which are counts and not values."""


@overload(counts_only, inline="always")
def _(out) -> Any:
    if out.dtype == types.uint8:
        return lambda out: True
    return lambda out: False


def number(count, like) -> Any:
    """Convert a count to the type of `like`, float32 or float64."""


@overload(number, inline="always")
def _(count, like) -> Any:
    if like == types.float32:
        return lambda count, like: np.float32(count)
    return lambda count, like: np.float64(count)


def put(target, place, value, count) -> Any:
    """Store `count` at an index if `target` is an array of bytes, else `value`."""


@overload(put, inline="always")
def _(target, place, value, count) -> Any:
    """Give numba the code of `put` for the type of `target`."""
    if target.dtype == types.uint8:

        def counted(target, place, value, count):
            target[place] = np.uint8(count)

        return counted

    def stored(target, place, value, count):
        target[place] = narrow(value, target[place])

    return stored


def _prefetch(context: Any, builder: Any, signature: Any, values: Any) -> None:
    """Emit a prefetch of each cache line of a row."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    size = builder.mul(builder.extract_value(array.shape, 0), array.itemsize)
    i8, i32 = BYTE.as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    start, zero = builder.bitcast(array.data, i8), ir.Constant(size.type, 0)
    line = ir.Constant(size.type, 64)
    with cgutils.for_range_slice(builder, zero, size, line, intp=size.type) as (offset, _):
        builder.call(fetch, [builder.gep(start, [offset]), i32(0), i32(3), i32(1)])


prefetch = _intrinsic(1, lambda row: types.void(row), _prefetch)
"""Asks for a row of memory that is read soon, where the processor does not foresee the jump."""


def with_bits(row, bits) -> Any:
    """Return how many bytes of a row have one of these bits set; 0 if it is not of bytes."""


@overload(with_bits, inline="always")
def _(row, bits) -> Any:
    if row.dtype == types.uint8:
        return lambda row, bits: _with_bits(row, np.uint8(bits))
    return lambda row, bits: 0


def _count_bytes_with_bits(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Emit code that counts the bytes of a row that have a bit of a mask set, 64 at a time."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    lanes = 64  # so a word holds the answers of one step
    size, zero = builder.extract_value(array.shape, 0), WORD(0)
    total = cgutils.alloca_once_value(builder, zero)

    def add_count(at: Any, kind: Any, mask: Any) -> None:
        """Emit code that adds to `total` how many bytes at offset `at` have a bit of `mask`."""
        place = builder.bitcast(builder.gep(array.data, [at]), kind.as_pointer())
        some = builder.and_(builder.load(place, align=1), mask)
        has = builder.icmp_unsigned("!=", some, kind(None))
        answers = builder.bitcast(has, ir.IntType(getattr(kind, "count", 1)))
        number = builder.zext(builder.ctpop(answers), WORD)
        builder.store(builder.add(builder.load(total), number), total)

    bytes_, whole = ir.VectorType(BYTE, lanes), builder.and_(size, WORD(-lanes))
    mask = _broadcast(builder, bytes_, values[1])
    with cgutils.for_range_slice(builder, zero, whole, WORD(lanes)) as (at, _):
        add_count(at, bytes_, mask)
    with cgutils.for_range_slice(builder, whole, size, WORD(1)) as (at, _):
        add_count(at, BYTE, values[1])
    return builder.load(total)


def _broadcast(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    """Emit a vector that has one number in every lane."""
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, empty, zeros)


_with_bits = _intrinsic(2, lambda row, _: types.int64(row, types.uint8), _count_bytes_with_bits)


def _to_pointer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.inttoptr(values[0], BYTE.as_pointer())


_pointer = _intrinsic(1, lambda _: types.voidptr(types.int64), _to_pointer)


def array(address, shape, like) -> Any:
    """Return the C-contiguous array at an address, of the type of `like`, without a copy."""


@overload(array, inline="always")
def _(address, shape, like) -> Any:
    dtype = as_dtype(like)
    return lambda address, shape, like: carray(_pointer(address), shape, dtype)


def _take(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    first = builder.bitcast(values[0], WORD.as_pointer())
    return builder.atomic_rmw("add", first, WORD(1), "monotonic")


take = _intrinsic(1, lambda address: types.int64(address), _take)
"""Adds one to the 64-bit number at an address, atomically, and gives what it was."""


def _widen_loops(context: Any, builder: Any, signature: Any, values: Any) -> None:
    set.add(builder.function.attributes, f'"prefer-vector-width"="{BYTES * 8}"')


in_whole_vectors = _intrinsic(0, lambda: types.void(), _widen_loops)
"""In a kernel's own body: its loops run in whole vectors; LLVM takes halves of AVX-512 else."""


def _copy_bytes(context: Any, builder: Any, signature: Any, values: Any) -> None:
    target, source = (builder.inttoptr(address, BYTE.as_pointer()) for address in values[:2])
    cgutils.raw_memcpy(builder, target, source, values[2], 1)


copy_bytes = _intrinsic(3, lambda *_: types.void(*[types.int64] * 3), _copy_bytes)
"""copy_bytes(target, source, count)"""


def _zero_bytes(context: Any, builder: Any, signature: Any, values: Any) -> None:
    cgutils.memset(builder, builder.inttoptr(values[0], BYTE.as_pointer()), values[1], 0)


zero_bytes = _intrinsic(2, lambda *_: types.void(*[types.int64] * 2), _zero_bytes)
"""zero_bytes(target, count)"""


def _nonzero(lanes: int) -> Any:
    """Return what writes code that finds which of `lanes` bytes have one of some bits set."""

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Emit that code: the bytes at an address become one bit each."""
        kind = ir.VectorType(BYTE, lanes)
        pointer = builder.inttoptr(values[0], kind.as_pointer())
        bits = _broadcast(builder, kind, builder.trunc(values[1], BYTE))
        common = builder.and_(builder.load(pointer, align=1), bits)
        set_ = builder.icmp_unsigned("!=", common, kind([0] * lanes))
        return builder.zext(builder.bitcast(set_, ir.IntType(lanes)), WORD)

    return write


nonzero_64, nonzero_16 = (
    _intrinsic(2, lambda *_: types.int64(types.int64, types.int64), _nonzero(lanes))
    for lanes in (64, 16)
)
"""Which of the 64, or 16, bytes at an address have one of some bits set, one bit each."""


def _lowest(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))


lowest = _intrinsic(1, lambda _: types.int64(types.int64), _lowest)
"""The place of the lowest bit that is set; not of zero."""


def _load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    kind = context.get_data_type(signature.return_type).as_pointer()
    return builder.load(builder.inttoptr(values[0], kind))


load = _intrinsic(2, lambda _, like: like(types.int64, like), _load)
"""The number at an address, of the type of `like`."""


def _store(context: Any, builder: Any, signature: Any, values: Any) -> None:
    kind = context.get_data_type(signature.args[1]).as_pointer()
    builder.store(values[1], builder.inttoptr(values[0], kind))


store = _intrinsic(2, lambda _, value: types.void(types.int64, value), _store)
"""Puts a number at an address, in its own type."""


@dataclass(frozen=True)
class Registers:
    """The size and number of a processor's vector registers."""

    bytes: int  # of one
    number: int


@cache
def registers() -> Registers:
    """Return the vector registers of the processor that numba compiles for."""
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
TILE = 4  # pixels of the side of a tile of Winograd's F(2x2, 3x3)
TILES, COLUMNS = (6, 4) if registers().number == 32 else (6, 2)  # of a block of products: its sums


@dataclass(frozen=True)
class Code:
    """Writer of the LLVM code of one inner loop over vectors."""

    builder: Any
    vector: ir.VectorType
    row: int  # vectors of one

    @classmethod
    def for_rows(cls, builder: Any, kind: Any) -> Code:
        """Return the writer for a row's type, `kind`: a tuple with a zero for each vector."""
        single = kind.dtype == types.float32
        element = ir.FloatType() if single else ir.DoubleType()
        return cls(builder, ir.VectorType(element, BYTES // (4 if single else 8)), kind.count)

    def like(self, element: ir.Type) -> ir.VectorType:
        """Return the type of a vector with as many numbers of another type."""
        return ir.VectorType(element, self.vector.count)

    def pointer(self, address: Any) -> Any:
        """Convert an address to a pointer to bytes."""
        return self.builder.inttoptr(address, BYTE.as_pointer())

    def at(self, pointer: Any, kind: ir.Type, offset: Any) -> Any:
        """Return a pointer to a value of type `kind`, `offset` bytes behind a pointer."""
        if isinstance(offset, int):
            offset = WORD(offset)
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), kind.as_pointer())

    def load(self, pointer: Any, vectors: int) -> Any:
        """Load the vector that is `vectors` vectors behind a pointer."""
        place = self.at(pointer, self.vector, vectors * BYTES)
        return self.builder.load(place, align=self._alignment)

    def store(self, value: Any, pointer: Any, vectors: int) -> None:
        """Store a vector `vectors` vectors behind a pointer."""
        place = self.at(pointer, self.vector, vectors * BYTES)
        self.builder.store(value, place, align=self._alignment)

    @property
    def _alignment(self) -> int:
        return 4 if isinstance(self.vector.element, ir.FloatType) else 8

    def zeros(self, count: int) -> list[Any]:
        """Return `count` sums, all 0: stack variables, which LLVM moves into registers."""
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        return [cgutils.alloca_once_value(self.builder, zero) for _ in range(count)]

    def times(self, value: Any, factor: Any) -> Any:
        """Multiply; LLVM may fuse it with a following `plus` into one operation (FMA)."""
        return self.builder.fmul(value, factor, flags=("contract",))

    def plus(self, total: Any, value: Any) -> Any:
        """Add a value to a sum, or begin one where `total` is None."""
        return value if total is None else self.builder.fadd(total, value, flags=("contract",))

    def add(self, total: Any, value: Any, factor: Any) -> None:
        """Add a value, times a factor unless that is None, to a sum of `zeros`."""
        if factor is not None:
            value = self.times(value, factor)
        self.builder.store(self.plus(self.builder.load(total), value), total)

    def place(self, places: Any, number: Any) -> Any:
        """Load entry `number` of a list of 16-bit places, as a 64-bit number."""
        index = self.builder.shl(number, WORD(1))
        entry = self.builder.load(self.at(places, ir.IntType(16), index), align=2)
        return self.builder.zext(entry, WORD)

    def factor(self, values: Any, number: Any) -> Any:
        """Load entry `number` of a list of 8-bit values into every lane; None without a list."""
        if values is None:
            return None
        entry = self.builder.load(self.at(values, BYTE, number), align=1)
        return self.broadcast(self.builder.uitofp(entry, self.vector.element))

    def broadcast(self, value: Any) -> Any:
        """Return a vector with one number in every lane."""
        return _broadcast(self.builder, self.vector, value)


def _row_function(count: int, write: Callable[..., Any]) -> Any:
    """Return a function for kernels whose LLVM code `write` emits.

    It takes `count` addresses or numbers, and `kind`, which says what a row is. A float among them
    is of the rows' type; what comes back, if anything, too.
    """

    def signature(*arguments: Any) -> Any:
        """Return the function's types, from those of its arguments: numbers, then the row."""
        *numbers, kind = arguments
        parameters = [types.int64 if isinstance(n, types.Integer) else kind.dtype for n in numbers]
        returned = kind.dtype if write is _sum_lanes else types.void
        return returned(*parameters, kind)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return write(Code.for_rows(builder, signature.args[-1]), *values[:-1])

    return _intrinsic(count + 1, signature, code)


def _copy(code: Code, target: Any, source: Any) -> None:
    """Emit code that copies a row."""
    target, source = code.pointer(target), code.pointer(source)
    for n in range(code.row):
        code.store(code.load(source, n), target, n)


def _widen(code: Code, target: Any, source: Any) -> None:
    """Write bf16 values as float32 or wider: a bf16 is the upper half of a float32."""
    builder, lanes = code.builder, code.vector.count
    single, whole, half = map(code.like, (ir.FloatType(), ir.IntType(32), ir.IntType(16)))
    target, source = code.pointer(target), code.pointer(source)
    for n in range(code.row):
        bits = builder.load(code.at(source, half, n * lanes * 2), align=2)
        bits = builder.shl(builder.zext(bits, whole), ir.Constant(whole, [16] * lanes))
        value = builder.bitcast(bits, single)
        value = value if code.vector == single else builder.fpext(value, code.vector)
        code.store(value, target, n)


def _narrow(code: Code, target: Any, source: Any) -> None:
    """Write float32 values as bf16, rounded to nearest even; NaN stays NaN."""
    builder, lanes = code.builder, code.vector.count
    single, whole, half = map(code.like, (ir.FloatType(), ir.IntType(32), ir.IntType(16)))
    target, source = code.pointer(target), code.pointer(source)

    def constant(number: int) -> Any:
        return ir.Constant(whole, [number] * lanes)

    for n in range(code.row):
        value = code.load(source, n)
        value = value if code.vector == single else builder.fptrunc(value, single)
        bits = builder.bitcast(value, whole)
        odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
        rounded = builder.add(builder.add(bits, odd), constant(0x7FFF))
        none = builder.or_(bits, constant(0x400000))
        rounded = builder.select(builder.fcmp_unordered("uno", value, value), none, rounded)
        upper = builder.trunc(builder.lshr(rounded, constant(16)), half)
        builder.store(upper, code.at(target, half, n * lanes * 2), align=2)


def _scale(code: Code, target: Any, source: Any, factor: Any) -> None:
    """Emit code that adds to a row `factor` times another."""
    target, source, factor = code.pointer(target), code.pointer(source), code.broadcast(factor)
    for n in range(code.row):
        product = code.times(code.load(source, n), factor)
        code.store(code.plus(code.load(target, n), product), target, n)


def _sum_lanes(code: Code, source: Any) -> Any:
    """Return the sum of a vector, by halves."""
    value, empty = code.load(code.pointer(source), 0), ir.Constant(code.vector, ir.Undefined)
    lanes = code.vector.count
    while lanes > 1:
        lanes //= 2
        upper = [lanes + n if n < lanes else 0 for n in range(code.vector.count)]
        mask = ir.Constant(code.like(ir.IntType(32)), upper)
        value = code.builder.fadd(value, code.builder.shuffle_vector(value, empty, mask))
    return code.builder.extract_element(value, ir.IntType(32)(0))


def _add_rows(
    code: Code, sums: Any, rows: Any, places: Any, count: Any, values: Any = None
) -> None:
    """Emit `add_rows`, two rows at a time, each in its own sums: one would wait for the other."""
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


def _add_taps(
    code: Code, sums: Any, block: Any, places: Any, count: Any, pitch: Any, values: Any = None
) -> None:
    """Emit `add_taps`, with as many rows of taps at once as there are registers for."""
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
                line, right = _tap_line(code, middle, tap, pitch)
                for m in range(code.row):
                    value = code.load(line, right * code.row + m)
                    code.add(totals[n * code.row + m], value, factor)
        for n, tap in enumerate(_taps_of(together)):
            for m in range(code.row):
                at, total = tap * code.row + m, builder.load(totals[n * code.row + m])
                code.store(builder.fadd(total, code.load(sums, at)), sums, at)


def _tap_line(code: Code, middle: Any, tap: int, pitch: Any) -> tuple[Any, int]:
    """Return the line that a tap reads around a pixel, and how many pixels to the right."""
    down, right = 1 - tap // TAPS, 1 - tap % TAPS
    if not down:
        return middle, right
    offset = code.builder.mul(pitch, WORD(down * code.row * BYTES))
    return code.builder.gep(middle, [offset]), right


def _taps_of(rows: Sequence[int]) -> list[int]:
    return [row * TAPS + column for row in rows for column in range(TAPS)]


def _add_products(
    code: Code, sums: Any, block: Any, places: Any, count: Any, pitch: Any, weights: Any
) -> None:
    """Emit `add_products`, a pass for as many rows of taps as have registers for their weights."""
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
                line, right = _tap_line(code, middle, tap, pitch)
                for m in range(code.row):
                    product = code.times(code.load(line, right * code.row + m), held[n][m])
                    chain = (n * code.row + m) % len(totals)
                    totals[chain] = code.plus(totals[chain], product)
            code.store(code.plus(*totals), target, 0)


def _to_tile(
    code: Code, target: Any, step: Any, source: Any, pixel: Any, line: Any, count: Any
) -> None:
    """Emit B^T d B of F(2x2, 3x3): sums and differences of two, over lines and over pixels."""
    builder = code.builder

    def differences(d: list[Any]) -> list[Any]:
        inner = builder.fadd(d[1], d[2]), builder.fsub(d[2], d[1])
        return [builder.fsub(d[0], d[2]), *inner, builder.fsub(d[1], d[3])]

    with cgutils.for_range(builder, count, intp=WORD) as loop:
        offset = builder.mul(loop.index, WORD(BYTES))
        corner, target_row = builder.add(source, offset), builder.add(target, offset)
        lines = []
        for y in range(TILE):
            begin = builder.add(corner, builder.mul(line, WORD(y)))
            places = [builder.add(begin, builder.mul(pixel, WORD(x))) for x in range(TILE)]
            lines.append(differences([code.load(code.pointer(place), 0) for place in places]))
        columns = [differences([d[x] for d in lines]) for x in range(TILE)]
        for n in range(TILE * TILE):
            place = builder.add(target_row, builder.mul(step, WORD(n)))
            code.store(columns[n % TILE][n // TILE], code.pointer(place), 0)


def _of_tile(code: Code, target: Any, source: Any, step: Any) -> None:
    """Emit A^T m A of F(2x2, 3x3): four pixels, a row each."""
    builder = code.builder

    def sums(m: list[Any]) -> list[Any]:
        inner = builder.fadd(m[1], m[2]), builder.fsub(m[1], m[2])
        return [builder.fadd(m[0], inner[0]), builder.fsub(inner[1], m[3])]

    starts = [builder.add(source, builder.mul(step, WORD(n))) for n in range(TILE * TILE)]
    for vector in range(code.row):
        vectors = [code.load(code.pointer(start), vector) for start in starts]
        lines = [sums(vectors[y * TILE : (y + 1) * TILE]) for y in range(TILE)]
        columns = [sums([m[x] for m in lines]) for x in range(2)]
        for n in range(4):
            code.store(columns[n % 2][n // 2], code.pointer(target), n * code.row + vector)


def _block(rows: int) -> Callable[..., None]:
    """Return what writes the product of `rows` rows with weights: their sums stay in registers."""

    def write(code: Code, sums: Any, step: Any, values: Any, pitch: Any, weights: Any, count: Any):
        """Emit that product, as `multiply_block` says."""
        builder, element = code.builder, code.vector.element
        totals = code.zeros(rows * code.row)
        starts = [builder.add(values, builder.mul(pitch, WORD(n))) for n in range(rows)]
        pointers = [builder.inttoptr(start, element.as_pointer()) for start in starts]
        weights = code.pointer(weights)
        with cgutils.for_range(builder, count, intp=WORD) as loop:
            offset = builder.mul(loop.index, WORD(code.row * BYTES))
            row = builder.gep(weights, [offset])
            held = [code.load(row, m) for m in range(code.row)]
            for n, pointer in enumerate(pointers):
                value = builder.load(builder.gep(pointer, [loop.index]))
                for m in range(code.row):
                    code.add(totals[n * code.row + m], held[m], code.broadcast(value))
        for n in range(rows):
            place = code.pointer(builder.add(sums, builder.mul(step, WORD(n))))
            for m in range(code.row):
                code.store(builder.load(totals[n * code.row + m]), place, m)

    return write


copy_row = _row_function(2, _copy)
"""copy_row(target, source, kind)"""
widen_row = _row_function(2, _widen)
"""The same from numbers in bf16."""
narrow_row = _row_function(2, _narrow)
"""The same to numbers in bf16."""
add_scaled_row = _row_function(3, _scale)
"""add_scaled_row(target, source, factor, kind): target += factor * source, rows."""
sum_of_lanes = _row_function(1, _sum_lanes)
"""The sum of the vector's numbers at an address."""
add_rows = _row_function(4, _add_rows)
"""add_rows(sums, rows, places, count, kind): sums, a row, += the rows at `places`; `count` of them,
and even."""
add_valued_rows = _row_function(5, _add_rows)
"""add_valued_rows(sums, rows, places, count, values, kind): each row times its 8-bit value."""
add_taps = _row_function(5, _add_taps)
"""add_taps(sums, block, places, count, pitch, kind): sums (3, 3, a row) += what lies around the
pixels at `places` in `block`.

The block has `pitch` pixels of a row each in a line; tap (y, x) reads the pixel that is
y - 1 lines above and x - 1 pixels to the left.
"""
add_valued_taps = _row_function(6, _add_taps)
"""add_valued_taps(sums, block, places, count, pitch, values, kind): each times its 8-bit value."""
add_products = _row_function(6, _add_products)
"""add_products(sums, block, places, count, pitch, weights, kind): sums (count, one vector) += what
lies around each of `places` in `block`, times `weights`.

The block is that of `add_taps`, weights are (3, 3, a row). The sum of a vector's lanes
is what is meant.
"""
to_tile = _row_function(6, _to_tile)
"""to_tile(target, step, source, pixel, line, count, kind): 4 x 4 pixels, `pixel` and `line` bytes
apart, become 16 rows, `step` bytes apart, of `count` vectors."""
of_tile = _row_function(3, _of_tile)
"""of_tile(target, source, step, kind): 16 rows, `step` bytes apart, become 4, of 2 x 2 pixels."""
multiply_block = _row_function(6, _block(TILES))
"""multiply_block(sums, step, values, pitch, weights, count, kind): sums (TILES, a row) = values
(TILES, count) times weights (count, a row); `step` and `pitch` are bytes between rows."""
