"""Calls between functions that are compiled apart.

Numba links the code of a function into all that call it, and optimises it again in each. So the
functions of a step are called by address, and take their arguments by address: `point_at`
stores them, `call` passes them on, `load` reads them in the called function.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_COUNTED = ("meminfo", "parent")  # of an array: who owns its memory


def _point_at_fields(builder: ir.IRBuilder, kind: Any, pointer: Any) -> list[Any]:
    """Return pointers to the fields of a tuple in memory."""
    return [cgutils.gep_inbounds(builder, pointer, 0, i) for i in range(len(kind))]


def _store(builder: ir.IRBuilder, kind: Any, value: Any, pointer: Any) -> None:
    """Store a value number by number, for LLVM is slow with whole structures."""
    if isinstance(kind, types.BaseTuple):
        pointers = _point_at_fields(builder, kind, pointer)
        for i, (part, place) in enumerate(zip(kind, pointers, strict=True)):
            _store(builder, part, builder.extract_value(value, i), place)
    else:
        builder.store(value, pointer)


def _load(context: Any, builder: ir.IRBuilder, kind: Any, pointer: Any) -> Any:
    """Load a value, in which arrays have no owner: the caller keeps them, nobody counts."""
    if isinstance(kind, types.BaseTuple):
        places = _point_at_fields(builder, kind, pointer)
        parts = [_load(context, builder, *one) for one in zip(kind, places, strict=True)]
        return context.make_tuple(builder, kind, parts)
    value = builder.load(pointer)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        for name in _COUNTED:
            setattr(array, name, getattr(array, name).type(None))
        value = array._getvalue()
    return value


@intrinsic  # type: ignore[untyped-decorator]
def point_at(typing: Any, arguments: Any) -> Any:
    """Return a pointer to a copy of `arguments`, a tuple, that lives as long as this call runs."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_value_type(arguments))
        _store(builder, arguments, args[0], place)
        return builder.bitcast(place, context.get_value_type(signature.return_type))

    return types.CPointer(arguments)(arguments), build


@intrinsic  # type: ignore[untyped-decorator]
def number_of(typing: Any, pointer: Any) -> Any:
    """Return the address that a pointer is, for parallel loops take no pointers."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], context.get_value_type(signature.return_type))

    return types.int64(pointer), build


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, pointer: Any) -> Any:
    """Return the arguments at `pointer`, a tuple; arrays as views of the caller's."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del signature
        place = builder.bitcast(args[0], context.get_value_type(pointer.dtype).as_pointer())
        return _load(context, builder, pointer.dtype, place)

    return pointer.dtype(pointer), build


@intrinsic  # type: ignore[untyped-decorator]
def call(typing: Any, address: Any, i: Any, arguments: Any) -> Any:
    """Call the `Kernel` at `address` for number `i` and what lies at the address `arguments`."""
    del typing, address, i, arguments

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del signature
        kinds = (types.none, types.int64, types.voidptr)
        result, number, pointer = map(context.get_value_type, kinds)
        function = ir.FunctionType(result, [number, pointer]).as_pointer()
        address, i, arguments = args
        callee = builder.inttoptr(address, function)
        builder.call(callee, [i, builder.inttoptr(arguments, pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def view_array(typing: Any, address: Any, shape: Any, dtype: Any) -> Any:
    """Return the C-contiguous array of `shape`, a tuple, and `dtype` that lies at `address`."""
    del typing
    kind = types.Array(dtype.dtype, len(shape), "C")

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del signature
        array = context.make_array(kind)(context, builder)
        sizes = cgutils.unpack_tuple(builder, args[1])
        itemsize = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
        strides = [itemsize]
        for size in reversed(sizes[1:]):
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.inttoptr(args[0], array.data.type)
        populate_array(array, data, sizes, strides, itemsize, meminfo=None)
        return array._getvalue()

    return kind(address, shape, dtype), build
