"""Arrays to run a module on: random inputs that fit its signature, under a binding of its symbols that its checks allow.

Floats are standard normal. Integers that end up as positions in a table stay inside of it; others are 0 or 1, as masks are, or small.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.control import GroupOp, YieldOp
from mlc.ir.graph.index import GatherOp, ScatterOp
from mlc.ir.graph.indexed import index_ranges
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.types import dtype_of, highest, is_integer, numpy_dtype, shape_of

SMALL = 10  # integers that index nothing are below it
_MASK = 2  # those of 32 and 64 bits are mostly masks
_PIECE = 1 << 20  # elements that are drawn at once, in f64 or i64: beside an array lies no other of its size


def random_inputs(module: Module, binding: Mapping[str, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    """One array per input. The same seed gives the same arrays."""
    return [array for _, array in samples(module, sample_binding(module) if binding is None else binding, seed)]


def samples(
    module: Module, sizes: Mapping[str, int], seed: int = 0, left_out: Collection[str] = ()
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of one input after the other; nothing is kept of those that are left out, and the others are what they are with them."""
    rng = np.random.default_rng(seed)
    bounds = index_bounds(module)
    ranges = [] if module.is_program else index_ranges(module)
    for name, (shape, dtype) in zip(module.input_names, module.input_types, strict=True):
        found = tuple(dims.evaluate(e, sizes) for e in shape)
        if TABLE[dtype].kind == "float":
            draw: Callable[[int], np.ndarray] = rng.standard_normal
        else:
            small = _MASK if dtype in ("bool", "i32", "i64") else SMALL
            limit = max(1, dims.evaluate(bounds.get(name, small), sizes))
            limit = limit if dtype == "bool" else min(limit, int(highest(dtype)))
            mine = [each for each in ranges if each.input == name]
            ends = [(dims.evaluate(each.low, sizes), dims.evaluate(each.high, sizes)) for each in mine]
            draw = partial(_integers, rng, limit, ends)
        if name in left_out:
            for start in range(0, prod(found), _PIECE):
                draw(min(_PIECE, prod(found) - start))
            continue
        array = np.empty(prod(found), numpy_dtype(dtype))
        for start in range(0, array.size, _PIECE):
            piece = array[start : start + _PIECE]
            piece[:] = draw(piece.size).astype(array.dtype)
        yield name, array.reshape(found)


def _integers(rng: np.random.Generator, limit: int, ends: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """Below a limit, and within each of the ranges."""
    drawn = rng.integers(0, limit, count)
    for low, high in ends:
        drawn = np.clip(drawn, low, max(low, high))
    return drawn


def index_bounds(module: Module) -> dict[str, Extent]:
    """Input -> the extent that its values index, for integer inputs that reach the indices of a gather or scatter."""
    found: dict[str, Extent] = {}
    if module.is_program:
        return found
    for name, argument, (_, dtype) in zip(module.input_names, module.main.args, module.input_types, strict=True):
        limits = _limits(argument) if is_integer(dtype) else []
        if limits:
            fixed = [limit for limit in limits if isinstance(limit, int)]
            found[name] = min(fixed) if fixed else limits[0]
    return found


def _limits(start: SSAValue) -> list[Extent]:
    limits: list[Extent] = []
    seen, pending = {start}, [start]
    while pending:
        for use in pending.pop().uses:
            op = use.operation
            if isinstance(op, GatherOp | ScatterOp):
                if use.index == 1:
                    axes, shape = op.axes.get_values(), shape_of(op.operands[0])
                    limits += [extent for extent, axis in zip(shape, axes, strict=True) if axis == -1]
                continue
            following: list[SSAValue] = list(op.results)
            if isinstance(op, GroupOp):
                following = [op.body.block.args[use.index]]
            elif isinstance(op, YieldOp) and isinstance(group := op.parent_op(), GroupOp):
                following = [group.results[use.index]]
            for value in following:
                if value not in seen and is_integer(dtype_of(value)):
                    seen.add(value)
                    pending.append(value)
    return limits
