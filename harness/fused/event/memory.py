"""Single numbers, bits and bytes at plain addresses."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _WORD = ir.IntType(8), ir.IntType(64)


def _typed_copy_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = _BYTE.as_pointer()
        target, source = (builder.inttoptr(each, kind) for each in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


copy_bytes: Any = intrinsic(_typed_copy_bytes)
"""Copies so many bytes."""


def _typed_zero_bytes(typing_context: Any, target: Any, count: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = builder.inttoptr(arguments[0], _BYTE.as_pointer())
        cgutils.memset(builder, target, arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


zero_bytes: Any = intrinsic(_typed_zero_bytes)
"""Sets so many bytes to zero."""


def _mask(lanes: int) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, i32 = ir.VectorType(_BYTE, lanes), ir.IntType(32)
        pointer = builder.inttoptr(arguments[0], kind.as_pointer())
        asked, empty = builder.trunc(arguments[1], _BYTE), ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(empty, asked, i32(0))
        everywhere = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
        asked = builder.shuffle_vector(first, empty, everywhere)
        found = builder.and_(builder.load(pointer, align=1), asked)
        set_ = builder.icmp_unsigned("!=", found, kind([0] * lanes))
        return builder.zext(builder.bitcast(set_, ir.IntType(lanes)), _WORD)

    return code


def _typed_nonzero_64(typing_context: Any, address: Any, bits: Any) -> Any:
    return types.int64(types.int64, types.int64), _mask(64)


nonzero_64: Any = intrinsic(_typed_nonzero_64)
"""Which of the 64 bytes at an address have one of some bits set, one bit each."""


def _typed_nonzero_16(typing_context: Any, address: Any, bits: Any) -> Any:
    return types.int64(types.int64, types.int64), _mask(16)


nonzero_16: Any = intrinsic(_typed_nonzero_16)
"""The same of 16 bytes."""


def _typed_lowest(typing_context: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


lowest: Any = intrinsic(_typed_lowest)
"""The place of the lowest bit that is set; not of zero."""


def _typed_load(typing_context: Any, address: Any, like: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_data_type(signature.return_type).as_pointer()
        return builder.load(builder.inttoptr(arguments[0], kind))

    return like(types.int64, like), code


load: Any = intrinsic(_typed_load)
"""The number at an address, of the type of `like`."""


def _typed_store(typing_context: Any, address: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_data_type(signature.args[1]).as_pointer()
        builder.store(arguments[1], builder.inttoptr(arguments[0], kind))
        return context.get_dummy_value()

    return types.void(types.int64, value), code


store: Any = intrinsic(_typed_store)
"""Puts a number at an address, in its own type."""
