"""What the numba kernels need and numba does not offer: bf16, addresses, prefetching, atomics."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.numpy_support import as_dtype


def _bitcast(to: ir.Type) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], to)

    return code


def _typed_float_of_bits(typing_context: Any, bits: Any) -> Any:
    return types.float32(types.uint32), _bitcast(ir.FloatType())


def _typed_bits_of_float(typing_context: Any, value: Any) -> Any:
    return types.uint32(types.float32), _bitcast(ir.IntType(32))


_float_of_bits: Any = intrinsic(_typed_float_of_bits)
_bits_of_float: Any = intrinsic(_typed_bits_of_float)


def wide(value) -> Any:
    """A stored value as the number that is computed with: bf16 bits become float32."""


@overload(wide, inline="always")
def _(value) -> Any:
    if isinstance(value, types.Integer):
        return lambda value: _float_of_bits(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


def narrow(value, stored) -> Any:
    """A computed number as it is stored beside `stored`: to bf16 by rounding to nearest even."""


@overload(narrow, inline="always")
def _(value, stored) -> Any:
    if isinstance(stored, types.Integer):

        def rounded(value, stored):
            bits = _bits_of_float(value)
            odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, stored: value


def counts_only(out) -> Any:
    """Whether what a layer sends is counts, bytes, and not values."""


@overload(counts_only, inline="always")
def _(out) -> Any:
    if out.dtype == types.uint8:
        return lambda out: True
    return lambda out: False


def number(count, like) -> Any:
    """A count as a number of the type of `like`."""


@overload(number, inline="always")
def _(count, like) -> Any:
    if like == types.float32:
        return lambda count, like: np.float32(count)
    return lambda count, like: np.float64(count)


def put(target, place, value, count) -> Any:
    """Stores a value, or the count that it stands for where `target` is of bytes."""


@overload(put, inline="always")
def _(target, place, value, count) -> Any:
    if target.dtype == types.uint8:

        def counted(target, place, value, count):
            target[place] = np.uint8(count)

        return counted

    def stored(target, place, value, count):
        target[place] = narrow(value, target[place])

    return stored


def _typed_prefetch(typing_context: Any, row: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        size = builder.mul(builder.extract_value(array.shape, 0), array.itemsize)
        i8, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        start, zero = builder.bitcast(array.data, i8), ir.Constant(size.type, 0)
        line = ir.Constant(size.type, 64)
        with cgutils.for_range_slice(builder, zero, size, line, intp=size.type) as (offset, _):
            builder.call(fetch, [builder.gep(start, [offset]), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(row), code


prefetch: Any = intrinsic(_typed_prefetch)
"""Asks for a row of memory that is read soon, where the processor does not foresee the jump."""


def with_bits(row, bits) -> Any:
    """How many of a row's counts have one of these bits; values are no counts and have none."""


@overload(with_bits, inline="always")
def _(row, bits) -> Any:
    if row.dtype == types.uint8:
        return lambda row, bits: _with_bits(row, np.uint8(bits))
    return lambda row, bits: 0


def _typed_with_bits(typing_context: Any, row: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word, lanes = ir.IntType(64), 64  # so a word holds the answers of one step
        size, zero = builder.extract_value(array.shape, 0), word(0)
        found = cgutils.alloca_once_value(builder, zero)

        def look(at: Any, kind: Any, wanted: Any) -> None:
            place = builder.bitcast(builder.gep(array.data, [at]), kind.as_pointer())
            some = builder.and_(builder.load(place, align=1), wanted)
            has = builder.icmp_unsigned("!=", some, kind(None))
            answers = builder.bitcast(has, ir.IntType(getattr(kind, "count", 1)))
            number = builder.zext(builder.ctpop(answers), word)
            builder.store(builder.add(builder.load(found), number), found)

        byte = ir.IntType(8)
        bytes_, whole = ir.VectorType(byte, lanes), builder.and_(size, word(-lanes))
        first = builder.insert_element(bytes_(ir.Undefined), arguments[1], ir.IntType(32)(0))
        everywhere = ir.VectorType(ir.IntType(32), lanes)(None)
        wanted = builder.shuffle_vector(first, bytes_(ir.Undefined), everywhere)
        with cgutils.for_range_slice(builder, zero, whole, word(lanes)) as (at, _):
            look(at, bytes_, wanted)
        with cgutils.for_range_slice(builder, whole, size, word(1)) as (at, _):
            look(at, byte, arguments[1])
        return builder.load(found)

    return types.int64(row, types.uint8), code


_with_bits: Any = intrinsic(_typed_with_bits)


def _typed_pointer(typing_context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), code


_pointer: Any = intrinsic(_typed_pointer)


def array(address, shape, like) -> Any:
    """The C array at an address, of the type of `like`."""


@overload(array, inline="always")
def _(address, shape, like) -> Any:
    dtype = as_dtype(like)
    return lambda address, shape, like: carray(_pointer(address), shape, dtype)


def _typed_take(typing_context: Any, numbers: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", held.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(numbers), code


take: Any = intrinsic(_typed_take)
"""Adds one to the first of an array of 64-bit numbers, atomically, and gives what it was."""
