"""The reference interpreter: runs a graph module with NumPy, op by op, through each op's own `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from mlc.errors import MlcError, ShapeError, UnsupportedOp
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Check, GraphOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.types import Shape, numpy_dtype, shape_text
from mlc.ir.weights import WeightStore


class Runnable(Protocol):
    """What is read of a module (mlc.ir.module) to run it."""

    weights: WeightStore
    symbols: dict[str, tuple[int, int | None]]
    checks: list[Check]

    @property
    def main(self) -> FuncOp: ...
    @property
    def input_names(self) -> list[str]: ...
    @property
    def input_types(self) -> list[tuple[Shape, str]]: ...
    @property
    def aliases(self) -> dict[int, int]: ...


def run(
    module: Runnable,
    inputs: Sequence[np.ndarray],
    observe: Callable[[Operation, tuple[np.ndarray, ...]], None] | None = None,
) -> list[np.ndarray]:
    """The outputs of @main. `observe(op, results)` sees every op's results. A result that lives in an argument overwrites that array, and is
    it. Raises ShapeError where inputs do not fit the signature, MlcError where one that is overwritten is read-only."""
    main = module.main
    arrays = [np.asarray(x) for x in inputs]
    binding = bind(module, arrays)
    aliases = module.aliases
    for argument in aliases.values():
        require_writable(arrays[argument], module.input_names[argument])
    with np.errstate(all="ignore"):
        return overwrite(evaluate(main, module, arrays, binding, observe), arrays, aliases)


def overwrite(
    results: Sequence[np.ndarray], arrays: Sequence[np.ndarray], aliases: Mapping[int, int]
) -> list[np.ndarray]:
    """The results, those that live in an argument written there, all at once: none sees what another has overwritten."""
    targets = [arrays[argument] for argument in aliases.values()]
    found = [r.copy() if any(np.may_share_memory(r, target) for target in targets) else r for r in results]
    for result, argument in aliases.items():
        arrays[argument][...] = found[result]
        found[result] = arrays[argument]
    return found


def require_writable(array: np.ndarray, name: str) -> None:
    if not array.flags.writeable:
        raise MlcError(f"input '{name}' is overwritten, and the array is read-only", remedy=f"Give {name}.copy().")


def unshared(module: Runnable, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The inputs for a run after which they are what they were: copies of those that a run overwrites."""
    written = set(module.aliases.values())
    return [np.array(x) if number in written else x for number, x in enumerate(inputs)]


def evaluate(
    function: FuncOp,
    module: Runnable,
    arrays: Sequence[np.ndarray],
    binding: Mapping[str, int],
    observe: Callable[[Operation, tuple[np.ndarray, ...]], None] | None = None,
) -> list[np.ndarray]:
    binding = dict(binding)  # grows by what is counted
    cache: dict[Extent, int] = {}

    def at(extent: Extent) -> int:
        if isinstance(extent, int):
            return extent
        if extent not in cache:
            cache[extent] = dims.evaluate(extent, binding)
        return cache[extent]

    block = function.body.block
    values: dict[SSAValue, np.ndarray] = dict(zip(block.args, arrays, strict=True))
    ops = [(op, tuple(op.operands)) for op in block.ops]
    last_use: dict[SSAValue, Operation] = {operand: op for op, operands in ops for operand in operands}
    for op, operands in ops:
        if isinstance(op, ReturnOp):
            return [values[operand] for operand in operands]
        if isinstance(op, WeightOp):
            found: tuple[np.ndarray, ...] = (module.weights.get(op.weight_key),)
        elif isinstance(op, GraphOp):
            result = op.evaluator(at)(*[values[operand] for operand in operands])
            found = result if isinstance(result, tuple) else (result,)
        else:
            raise UnsupportedOp(f"the graph interpreter does not run {op.name}")
        if isinstance(op, PrefixOp):
            binding[op.symbol.data] = len(found[0])
            require([check for check in module.checks if check.needs((op.symbol.data,))], binding)
        if observe is not None:
            observe(op, found)
        values.update(zip(op.results, found, strict=True))
        for operand in operands:
            if last_use[operand] is op:
                values.pop(operand, None)  # it may be there twice
    return []


def bind(module: Runnable, arrays: Sequence[np.ndarray]) -> dict[str, int]:
    """The value of every symbol, from the shapes of the inputs; checks dtypes, ranks, extents, bounds and the module's checks."""
    names = module.input_names
    if len(arrays) != len(names):
        raise ShapeError(f"the module takes {len(names)} inputs ({', '.join(names)}), {len(arrays)} were given")
    types = module.input_types
    for name, (_, kind), array in zip(names, types, arrays, strict=True):
        dtype = numpy_dtype(kind)
        if array.dtype != dtype:
            raise ShapeError(f"{name}: dtype is {array.dtype}, the module takes {dtype}")
    shapes = {name: shape for name, (shape, _) in zip(names, types, strict=True)}
    binding = solve_symbols(shapes, [array.shape for array in arrays])
    for symbol, (low, high) in module.symbols.items():
        value = binding.get(symbol)
        if value is not None and (value < low or (high is not None and value > high)):
            raise ShapeError(f"{symbol} is {value}, outside {low}..{'' if high is None else high}")
    require(module.checks, binding)
    return binding


def require(checks: Iterable[Check], binding: Mapping[str, int]) -> None:
    """Raises ShapeError for a check that fails. Those with a size that is not counted yet are left out."""
    for check in checks:
        if check.symbols <= binding.keys():
            lhs, rhs = dims.evaluate(check.lhs, binding), dims.evaluate(check.rhs, binding)
            if lhs != rhs:
                raise ShapeError(f"{check.message}: {check.lhs} is {lhs} and {check.rhs} is {rhs}")


def solve_symbols(shapes: Mapping[str, Shape], sizes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The values of the symbols in the shapes of named inputs, from the sizes of their axes. Raises ShapeError where they disagree."""
    binding: dict[str, int] = {}
    equations: list[tuple[str, int, Extent, int]] = []
    for (name, shape), found_shape in zip(shapes.items(), sizes, strict=True):
        if len(found_shape) != len(shape):
            raise ShapeError(
                f"{name}: has {len(found_shape)} {'axis' if len(found_shape) == 1 else 'axes'}, the module takes {shape_text(shape)}"
            )
        for axis, (extent, size) in enumerate(zip(shape, found_shape, strict=True)):
            if isinstance(extent, dims.Dim) and str(extent) in extent.symbols() and str(extent) not in binding:
                binding[str(extent)] = size
            equations.append((name, axis, extent, size))
    for name, axis, extent, size in equations:
        missing = [] if isinstance(extent, int) else sorted(set(extent.symbols()) - binding.keys())
        if len(missing) == 1:
            binding[missing[0]] = _solve(extent, missing[0], size, binding)
        found = dims.evaluate(extent, binding)
        if found != size:
            raise ShapeError(f"{name}: axis {axis} is {size}, but {extent} is {found}")
    return binding


def _solve(extent: Extent, symbol: str, size: int, binding: Mapping[str, int]) -> int:
    """The value of the one unknown symbol of a non-decreasing expression, by bisection."""
    low, high = 0, max(1, 2 * size + 2)
    while low < high:
        middle = (low + high) // 2
        if dims.evaluate(extent, {**binding, symbol: middle}) < size:
            low = middle + 1
        else:
            high = middle
    return low
