"""Arrays to run a module on: random inputs that fit its signature, under a binding of its symbols that its checks allow.

Floats are standard normal. Integers that end up as positions in a table stay inside of it; others are 0 or 1, as masks are, or small.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def random_inputs(module: Module, binding: Mapping[str, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    """One array per input. The same seed gives the same arrays."""
    rng = np.random.default_rng(seed)
    sizes = sample_binding(module) if binding is None else binding
    bounds = index_bounds(module)
    ranges = [] if module.is_program else index_ranges(module)
    arrays = []
    for name, (shape, dtype) in zip(module.input_names, module.input_types, strict=True):
        found = tuple(dims.evaluate(e, sizes) for e in shape)
        if TABLE[dtype].kind == "float":
            arrays.append(rng.standard_normal(found).astype(numpy_dtype(dtype)))
            continue
        small = _MASK if dtype in ("bool", "i32", "i64") else SMALL
        limit = max(1, dims.evaluate(bounds.get(name, small), sizes))
        if dtype != "bool":
            limit = min(limit, int(highest(dtype)))
        drawn = rng.integers(0, limit, found)
        for each in ranges:
            if each.input == name:
                low, high = dims.evaluate(each.low, sizes), dims.evaluate(each.high, sizes)
                drawn = np.clip(drawn, low, max(low, high))
        arrays.append(drawn.astype(numpy_dtype(dtype)))
    return arrays


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
