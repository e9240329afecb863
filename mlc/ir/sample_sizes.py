"""Sizes to try a module at: a value for every symbol under which its checks hold and nothing is empty that need not be.

Small sizes are tried first. Where none of them will do, checks are solved one after another: a size is changed so that the first check that
fails holds, which may break another, until all hold or too many have been tried.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from xdsl.dialects.builtin import TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Check
from mlc.ir.indexing import IndexRange
from mlc.ir.types import Shape, shape_of

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
_TRIED = (3, 1, 2, 4, 8, 16, 32, 64, 224, 0)
_SCANNED = (*range(1, 65), 72, 80, 96, 100, 112, 128, 160, 192, 200, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 2048)
_VISITED = 1000  # sets of sizes that are tried before it is left to the user
_SHOWN = 6  # checks in an error


class Sized(Protocol):
    """What is read of a module (mlc.ir.module) to find its sizes."""

    symbols: dict[str, tuple[int, int | None]]
    checks: list[Check]
    indices: tuple[IndexRange, ...]

    @property
    def input_names(self) -> list[str]: ...
    @property
    def main(self) -> FuncOp: ...
    @property
    def is_program(self) -> bool: ...
    @property
    def input_types(self) -> list[tuple[Shape, str]]: ...
    @property
    def output_types(self) -> list[tuple[Shape, str]]: ...
    @property
    def counted(self) -> dict[str, Extent]: ...


def sample_binding(
    module: Sized, given: Mapping[str, int] | None = None, preferred: int | None = None
) -> dict[str, int]:
    """A value for every symbol that `given` does not name, so that the module's checks hold and no tensor is empty if that can be had.

    Tried first: `preferred` for all of them, or without it small distinct values. An input, or all of the outputs, are empty only where sizes
    in `given`, or bounds, make them so. Raises ShapeError, with the checks, where nothing that was tried meets them, and for a size that no
    input tells.
    """
    named = dict.fromkeys(
        [
            *module.symbols,
            *(s for shape, _ in module.input_types for e in shape if isinstance(e, Dim) for s in sorted(e.symbols())),
        ]
    )
    fixed = {name: size for name, size in (given or {}).items() if name in named}
    symbols = [symbol for symbol in named if symbol not in fixed]
    limits = {symbol: module.symbols.get(symbol, (0, None)) for symbol in symbols}
    conditions = _Conditions.of(module, fixed, limits)
    asked = {s for c in (*conditions.checks, *conditions.inside) for e in c.extents for s in e.symbols()}
    for name in sorted(asked - named.keys()):  # in text that somebody wrote
        raise ShapeError(
            f"no input tells the size {name}", remedy="Sizes are those of inputs, or counted by graph.prefix."
        )
    first: dict[str, int] | None = None
    empty: dict[str, int] | None = None  # meets the checks
    for choice in _choices(len(symbols), preferred):
        binding = {**fixed, **{s: _within(*limits[s], size) for s, size in zip(symbols, choice, strict=True)}}
        if all(condition.holds(binding) for condition in conditions.checks):
            if all(condition.holds(binding) for condition in conditions.inside):
                return binding
            if first is None and conditions.some(binding):
                first = binding
            empty = empty or binding
    if first is not None:
        return first
    for wanted in (conditions.inside, conditions.ends):
        for size in (preferred or 3, 1, 2, 4, 12):
            start = {**fixed, **{s: _within(*limits[s], size) for s in symbols}}
            found = _repaired(start, [*conditions.checks, *wanted], limits)
            if found is not None and conditions.some(found):
                return found
    if empty is not None and 0 in fixed.values():  # it is asked for
        return empty
    raise _unsolved(module, symbols or list(fixed))


def _choices(count: int, preferred: int | None) -> Iterator[list[int]]:
    yield [_PRIMES[i % len(_PRIMES)] for i in range(count)] if preferred is None else [preferred] * count
    if not count:
        return
    for size in _TRIED:
        yield [size] * count
    if 1 < count <= 3:
        first = _TRIED[0] if preferred is None else preferred
        for rest in itertools.product(_TRIED, repeat=count - 1):
            yield [first, *rest]
        for choice in itertools.product(_TRIED, repeat=count):
            yield list(choice)


def _within(low: int, high: int | None, value: int) -> int:
    value = max(value, low)
    return value if high is None else min(value, high)


# What sizes must be -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Condition:
    """lhs == rhs, or without a right side lhs >= least."""

    lhs: Extent
    rhs: Extent | None = None
    least: int = 1

    def holds(self, binding: Mapping[str, int]) -> bool:
        try:
            lhs = dims.evaluate(self.lhs, binding)
            return lhs >= self.least if self.rhs is None else lhs == dims.evaluate(self.rhs, binding)
        except dims.DivisionByZero:
            return False

    @property
    def extents(self) -> list[Dim]:
        return [e for e in (self.lhs, self.rhs) if isinstance(e, Dim)]

    def solutions(self, symbol: str, binding: Mapping[str, int]) -> list[int]:
        """Values of a symbol under which it holds, the others as they are: nearest to its present one first."""
        tried = set(_SCANNED)
        tried.update(int(number) for e in self.extents for number in re.findall(r"\b\d{1,9}\b", str(e)))
        if (root := self._root(symbol, binding)) is not None:
            tried.add(root)
        near = sorted((v for v in tried if v), key=lambda v: (abs(v - binding[symbol]), v))
        return list(itertools.islice((v for v in near if self.holds({**binding, symbol: v})), 3))

    def _root(self, symbol: str, binding: Mapping[str, int]) -> int | None:
        """Where a difference that is linear in the symbol is zero."""
        rhs = self.least if self.rhs is None else self.rhs
        try:
            at = [
                dims.evaluate(self.lhs, at) - dims.evaluate(rhs, at) for at in ({**binding, symbol: v} for v in (1, 2))
            ]
        except dims.DivisionByZero:
            return None
        slope = at[1] - at[0]
        return 1 - at[0] // slope if slope and at[0] % slope == 0 and 1 - at[0] // slope > 0 else None


@dataclass(frozen=True)
class _Conditions:
    checks: list[_Condition]
    inside: list[_Condition]  # no tensor is empty that sizes decide
    ends: list[_Condition]  # no input is empty, and some output is not
    outputs: list[list[Extent]]
    settled: Callable[[Extent], bool]  # whether an extent is empty whatever is chosen

    @classmethod
    def of(cls, module: Sized, fixed: Mapping[str, int], limits: Mapping[str, tuple[int, int | None]]) -> _Conditions:
        zero = {name: size for name, size in fixed.items() if size == 0}
        zero.update({name: 0 for name, (_, high) in limits.items() if high == 0})

        def settled(extent: Extent) -> bool:
            return isinstance(extent, int) or dims.substitute(extent, zero) == 0

        def filled(extents: Iterable[Extent]) -> list[_Condition]:
            return [_Condition(e) for e in dict.fromkeys(extents) if not settled(e)]

        counted = module.counted
        checks = [_Condition(check.lhs, check.rhs) for check in module.checks if not check.needs(counted)]
        inputs = [e for shape, _ in module.input_types for e in shape]
        checks += [_Condition(e, least=0) for e in dict.fromkeys(inputs) if isinstance(e, Dim)]
        outputs = [[dims.ceiling(e, counted) for e in shape] for shape in _output_shapes(module)]
        inside = [dims.ceiling(e, counted) for value in _values(module) for e in shape_of(value)]
        return cls(checks, filled(inside), filled(inputs), outputs, settled)

    def some(self, binding: Mapping[str, int]) -> bool:
        """Whether no input is empty that sizes decide, nor are all of the outputs."""
        if not all(condition.holds(binding) for condition in self.ends):
            return False
        open = [[e for e in shape if not self.settled(e)] for shape in self.outputs]
        return not open or any(all(_Condition(e).holds(binding) for e in shape) for shape in open)


def _values(module: Sized) -> list[SSAValue]:
    block = module.main.body.block
    found = [*block.args, *(result for op in block.ops for result in op.results)]
    return [value for value in found if isinstance(value.type, TensorType)]


def _output_shapes(module: Sized) -> list[tuple[Extent, ...]]:
    if module.is_program or module.main.body.block.last_op is None:
        return []
    return [shape_of(value) for value in module.main.body.block.last_op.operands]


def _repaired(
    start: dict[str, int], conditions: list[_Condition], limits: Mapping[str, tuple[int, int | None]]
) -> dict[str, int] | None:
    """Sizes that meet the conditions, few changes away from `start`; None where none was found."""
    pending, seen = deque([start]), {tuple(start.values())}
    while pending:
        binding = pending.popleft()
        broken = next((condition for condition in conditions if not condition.holds(binding)), None)
        if broken is None:
            return binding
        for symbol in sorted({s for e in broken.extents for s in e.symbols()} & limits.keys()):
            for value in broken.solutions(symbol, binding):
                following = {**binding, symbol: value}
                key = tuple(following.values())
                if _within(*limits[symbol], value) == value and key not in seen and len(seen) < _VISITED:
                    seen.add(key)
                    pending.append(following)
    return None


def _unsolved(module: Sized, symbols: list[str]) -> ShapeError:
    asked = [check for check in module.checks if not check.needs(module.counted)]
    named = [name for name in symbols if any(check.needs((name,)) for check in asked)] or symbols
    lines = [f"{check.lhs} = {check.rhs}{f' ({check.message})' if check.message else ''}" for check in asked[:_SHOWN]]
    lines += [f"and {len(asked) - _SHOWN} more"] if len(asked) > _SHOWN else []
    for name in named:
        low, high = module.symbols.get(name, (0, None))
        lines += [f"{name} is {low}..{'' if high is None else high}"] if (low, high) != (0, None) else []
    flags = ", ".join(f"{name}=SIZE" for name in named)
    return ShapeError(
        f"no sizes found for {', '.join(named)} that the model's checks allow and that leave its inputs elements",
        remedy="\n".join([*lines, f"Give sizes (--dim {flags}), or arrays for its inputs."]),
    )
