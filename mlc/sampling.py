"""Inputs for a module that somebody wants to run without having any: random values that its operators can take.

Floats are standard normal. Integers that end up as positions in a table stay inside of it; others are small. Sizes of symbols are
chosen within their bounds and so that the module's checks hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.graph.index import GatherOp, ScatterOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, is_integer, numpy_dtype, shape_of

DEFAULT_SIZE = 3  # of a symbol that nobody fixes: not 1, which hides mistakes in strides
SMALL = 8  # integers that index nothing are below it
_TRIED = (DEFAULT_SIZE, 1, 2, 4, 8, 16, 32, 64, 224, 0)


def sizes(module: Module, given: Mapping[str, int] | None = None, preferred: int = DEFAULT_SIZE) -> dict[str, int]:
    """A size for every symbol, with no empty tensor anywhere if that can be had.

    Raises ShapeError where none of the sizes tried passes the module's checks.
    """
    given = {name: size for name, size in (given or {}).items() if name in module.symbols}
    symbols = [symbol for symbol in module.symbols if symbol not in given]
    candidates = [[size] * len(symbols) for size in (preferred, *_TRIED)]
    if 1 < len(symbols) <= 3:
        candidates += [[preferred, *choice] for choice in itertools.product(_TRIED, repeat=len(symbols) - 1)]
        candidates += [list(choice) for choice in itertools.product(_TRIED, repeat=len(symbols))]
    inside = {e for value in _values(module) for e in shape_of(value) if isinstance(e, dims.Dim)}
    allowed = None
    for choice in candidates:
        binding = {**given, **{s: _within(module, s, size) for s, size in zip(symbols, choice, strict=True)}}
        if not _allowed(module, binding):
            continue
        allowed = allowed or binding
        if all(dims.evaluate(e, binding) > 0 for e in inside):
            return binding
    if allowed is not None:
        return allowed
    raise ShapeError(
        f"no sizes were found that the model's checks allow (of {', '.join(symbols) or 'the sizes given'})",
        remedy=f"Give them: {' '.join(f'--dim {symbol}=SIZE' for symbol in symbols)}." if symbols else None,
    )


def _values(module: Module) -> list[SSAValue]:
    block = module.main.body.block
    found = [*block.args, *(result for op in block.ops for result in op.results)]
    return [value for value in found if isinstance(value.type, TensorType)]


def _within(module: Module, symbol: str, size: int) -> int:
    low, high = module.symbols[symbol]
    size = max(low, size)
    return size if high is None else min(high, size)


def _allowed(module: Module, binding: Mapping[str, int]) -> bool:
    for check in module.checks:
        if dims.evaluate(check.lhs, binding) != dims.evaluate(check.rhs, binding):
            return False
    extents = [e for shape, _ in module.input_types for e in shape]
    return all(dims.evaluate(e, binding) >= 0 for e in extents)


def arrays(module: Module, binding: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Input -> random array of the shape that the binding gives. The same seed gives the same values for the same input."""
    bounds = index_bounds(module)
    found = {}
    for position, (name, (shape, dtype)) in enumerate(zip(module.input_names, module.input_types, strict=True)):
        size = tuple(dims.evaluate(e, binding) for e in shape)
        found[name] = random_array(size, dtype, seed + position, bounds.get(name), binding)
    return found


def random_array(
    shape: tuple[int, ...],
    dtype: str,
    seed: int,
    below: dims.Extent | None = None,
    binding: Mapping[str, int] | None = None,
) -> np.ndarray:
    """One random input; integers are at least 0 and less than `below`."""
    rng = np.random.default_rng(seed)
    if is_float(dtype):
        return rng.standard_normal(shape, np.float32).astype(numpy_dtype(dtype))
    if is_integer(dtype):
        limit = SMALL if below is None else max(1, dims.evaluate(below, binding or {}))
        return rng.integers(0, min(limit, int(np.iinfo(numpy_dtype(dtype)).max)), shape).astype(numpy_dtype(dtype))
    return rng.integers(0, 2, shape).astype(np.bool_)


def index_bounds(module: Module) -> dict[str, dims.Extent]:
    """Input -> the extent that its values index, for integer inputs that reach the indices of a gather or scatter."""
    found: dict[str, dims.Extent] = {}
    for name, argument, (_, dtype) in zip(module.input_names, module.main.args, module.input_types, strict=True):
        if is_integer(dtype):
            limits = _limits(argument)
            fixed = [limit for limit in limits if isinstance(limit, int)]
            if limits:
                found[name] = min(fixed) if fixed else limits[0]
    return found


def _limits(start: SSAValue) -> list[dims.Extent]:
    limits: list[dims.Extent] = []
    seen, pending = {start}, [start]
    while pending:
        value = pending.pop()
        for use in value.uses:
            op = use.operation
            if isinstance(op, GatherOp | ScatterOp):
                if use.index == 1:
                    axes, shape = op.axes.get_values(), shape_of(op.operands[0])
                    limits += [extent for extent, axis in zip(shape, axes, strict=True) if axis == -1]
                continue
            for result in op.results:
                if result not in seen and is_integer(dtype_of(result)):
                    seen.add(result)
                    pending.append(result)
    return limits
