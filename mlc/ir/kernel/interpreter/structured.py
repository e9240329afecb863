"""linalg.generic on the whole iteration space at once.

An access is linear in the loops, so each operand, seen from the loops, is a strided NumPy view without a copy: A[m, k] over (m, n, k) has the
shape (M, 1, K). The scalar body is evaluated on these views. A reduction is folded by a NumPy ufunc, a sum of products is a matrix product;
other reductions run point by point over the loops they reduce, and bodies that store, or have regions, over every point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, DictionaryAttr, MemRefType
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.arith import FOLDS, compute, fold
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import View, label, strided
from mlc.ir.kernel.kernel import loops_of

LARGEST = 1 << 21  # elements of an intermediate array
Box = list[tuple[int, int]]  # begin and end of each loop


@dataclass(frozen=True)
class Form:
    """One axis of an access: sum(coefficients * loops) + constant."""

    coefficients: tuple[int, ...]
    constant: int

    def loop(self) -> int | None:
        """The loop that this is, if it is exactly one."""
        used = [loop for loop, c in enumerate(self.coefficients) if c]
        return used[0] if len(used) == 1 and self.coefficients[used[0]] == 1 and not self.constant else None


class StridedOperand:
    """An operand of one run, as the loops see it."""

    def __init__(self, view: View, access: Sequence[Form], loops: int):
        self.view = view
        axes = list(zip(access, view.strides, strict=True))
        self.offset = view.offset + sum(form.constant * stride for form, stride in axes)
        self.steps = [sum(form.coefficients[loop] * stride for form, stride in axes) for loop in range(loops)]
        self.depends = [any(form.coefficients[loop] for form in access) for loop in range(loops)]

    def array(self, box: Box) -> np.ndarray:
        """One axis per loop, of extent 1 where the operand does not depend on it."""
        return self._strided(self.view.elements, box)

    def positions(self, box: Box) -> np.ndarray:
        return self._strided(np.arange(len(self.view.elements)), box)

    def _strided(self, elements: np.ndarray, box: Box) -> np.ndarray:
        offset = self.offset + sum(begin * step for (begin, _), step in zip(box, self.steps, strict=True))
        shape = [end - begin if used else 1 for (begin, end), used in zip(box, self.depends, strict=True)]
        return strided(elements, offset, shape, self.steps)

    def geometry(self) -> tuple[object, ...]:
        return self.view.storage, self.offset, tuple(self.steps)


class ArrayBody:
    """The scalar computation, on arrays over a box of the iteration space."""

    def __init__(self, c: Compiler, op: GenericOp):
        self.block = op.body.block
        *self.ops, last = list(self.block.ops)
        self.yielded = list(last.operands)
        own = set(self.ops)
        self.outside = [v for o in self.ops for v in o.operands if v.owner not in own and v.owner is not self.block]
        self.outside = list(dict.fromkeys(self.outside + [v for v in self.yielded if self._is_outside(v, own)]))
        self.slots = c.slots(self.outside)
        self.loaded = [o.memref for o in self.ops if isinstance(o, memref.LoadOp)]
        self.functions: dict[Operation, Callable] = {}
        for o in self.ops:
            if function := compute(o):
                self.functions[o] = function
        known = (IndexOp, memref.LoadOp)
        self.vectorises = all(o in self.functions or isinstance(o, known) for o in self.ops)

    def _is_outside(self, value: SSAValue, own: set[Operation]) -> bool:
        return value.owner not in own and value.owner is not self.block

    def needed(self, values: Sequence[SSAValue]) -> list[Operation]:
        """The ops that compute these values, in order."""
        wanted, found = set(values), []
        for op in reversed(self.ops):
            if wanted & set(op.results):
                wanted |= set(op.operands)
                found.append(op)
        return found[::-1]

    def arguments(self, values: Sequence[SSAValue]) -> set[int]:
        """The numbers of the operands that these values depend on."""
        used = {v for op in self.needed(values) for v in op.operands} | set(values)
        return {v.index for v in used if isinstance(v, BlockArgument) and v.block is self.block}

    def evaluate(
        self, results: Sequence[SSAValue], operands: Sequence[StridedOperand], box: Box, outside: Mapping[SSAValue, Any]
    ) -> list[Any]:
        values: dict[SSAValue, Any] = dict(outside)
        for number in self.arguments(results):
            values[self.block.args[number]] = operands[number].array(box)
        for op in self.needed(results):
            if isinstance(op, IndexOp):
                loop = op.dim.value.data
                shape = [-1 if axis == loop else 1 for axis in range(len(box))]
                found: Any = np.arange(*box[loop]).reshape(shape)
            elif isinstance(op, memref.LoadOp):
                view: View = values[op.memref]
                where = view.positions([values[v] for v in op.indices], op)
                view.storage.read(where, np.size(where))
                found = view.elements[where]
            else:
                found = self.functions[op](*(values[v] for v in op.operands))
            values[op.results[0]] = found
        return [values[v] for v in results]


class Reduction:
    """A body that folds what does not depend on the result into the result: out = combine(out, value)."""

    def __init__(self, body: ArrayBody, op: Operation, value: SSAValue):
        self.body, self.value = body, value
        self.ufunc = FOLDS[op.name]
        self.factors: tuple[SSAValue, SSAValue] | None = None
        inner = value.owner
        sums = op.name in ("arith.addf", "arith.addi") and str(value.type) in ("f32", "f64", "i32", "i64")
        if sums and isinstance(inner, (arith.MulfOp, arith.MuliOp)):
            self.factors = (inner.lhs, inner.rhs)

    @staticmethod
    def of(body: ArrayBody, inputs: int) -> Reduction | None:
        if len(body.yielded) != 1 or not body.vectorises:
            return None
        out, op = body.block.args[inputs], body.yielded[0].owner
        if not isinstance(op, Operation) or op.name not in FOLDS or op not in body.functions or str(out.type) == "i1":
            return None
        others = [v for v in op.operands if v is not out]
        if len(others) != 1 or not out.has_one_use():
            return None
        return Reduction(body, op, others[0])

    def cost(self, operands: Sequence[StridedOperand], box: Box) -> int:
        """Elements of the largest array that `fold` makes."""
        if self.factors is None:
            return volume(box)
        sizes = []
        for factor in self.factors:
            used = [operands[number].depends for number in self.body.arguments([factor])]
            sizes.append(prod(end - begin for loop, (begin, end) in enumerate(box) if any(d[loop] for d in used)))
        return max(sizes)

    def fold(
        self, operands: Sequence[StridedOperand], box: Box, reduced: tuple[int, ...], outside: Mapping[SSAValue, Any]
    ) -> Any:
        """Over the reduced loops, which stay as axes of extent 1."""
        shape = [end - begin for begin, end in box]
        if self.factors is None:
            (values,) = self.body.evaluate([self.value], operands, box, outside)
            full = [n if loop in reduced else 1 for loop, n in enumerate(shape)]
            values = np.broadcast_to(values, np.broadcast_shapes(np.shape(values), full))
            return np.expand_dims(fold(self.ufunc, values, reduced), reduced)
        lhs, rhs = (
            np.asarray(v).reshape(np.shape(v) or (1,) * len(shape))
            for v in self.body.evaluate(self.factors, operands, box, outside)
        )
        return matrix_product(lhs, rhs, shape, reduced)


def matrix_product(lhs: np.ndarray, rhs: np.ndarray, shape: Sequence[int], reduced: Sequence[int]) -> np.ndarray:
    """sum(lhs * rhs) over the reduced axes, which stay with extent 1; an axis of extent 1 is one that a factor does not have."""
    dtype = lhs.dtype
    both: list[int] = []
    left: list[int] = []
    right: list[int] = []
    inner: list[int] = []
    for axis, extent in enumerate(shape):
        in_lhs, in_rhs = lhs.shape[axis] == extent, rhs.shape[axis] == extent
        if axis not in reduced:
            (both if in_lhs and in_rhs else left if in_lhs else right).append(axis)
        elif in_lhs and in_rhs:
            inner.append(axis)
        elif in_lhs:
            lhs = lhs.sum(axis, keepdims=True, dtype=dtype)
        elif in_rhs:
            rhs = rhs.sum(axis, keepdims=True, dtype=dtype)
        else:
            lhs = lhs * dtype.type(extent)
    rest = [axis for axis in reduced if axis not in inner]

    def size(axes: Sequence[int], of: np.ndarray) -> int:
        return prod(of.shape[axis] for axis in axes)

    x = lhs.transpose([*both, *left, *right, *rest, *inner]).reshape(size(both, lhs), size(left, lhs), size(inner, lhs))
    y = rhs.transpose([*both, *left, *rest, *inner, *right]).reshape(
        size(both, rhs), size(inner, rhs), size(right, rhs)
    )
    order = [*both, *left, *right, *reduced]
    found = np.matmul(x, y).reshape(
        [1 if axis in reduced else shape[axis] if axis not in right else rhs.shape[axis] for axis in order]
    )
    return found.transpose(np.argsort(order))


class Structured:
    """One linalg.generic: what is known before it runs."""

    def __init__(self, c: Compiler, op: GenericOp):
        self.c, self.op = c, op
        self.inputs = len(op.inputs)
        self.zeros = "zeros" in op.attributes  # in place of what the source of a copy does not have
        self.values = c.slots(op.operands)
        self.accesses = [_access(attr) for attr in op.indexing_maps.data]
        kinds = [kind.data for kind in op.iterator_types.data]
        self.reduced = tuple(loop for loop, kind in enumerate(kinds) if kind is not IteratorType.PARALLEL)
        self.parallel = tuple(loop for loop in range(len(kinds)) if loop not in self.reduced)
        named = isinstance(op.attributes.get("loops"), DictionaryAttr)
        self.names = list(loops_of(op)) if named else [f"d{loop}" for loop in range(len(kinds))]
        self.extents = [c.extent(extent, op) for extent in loops_of(op).values()] if named else None
        self.partial = list(dict.fromkeys(self.partial_views())) if named else []
        self.body = ArrayBody(c, op)
        self.reduction = Reduction.of(self.body, self.inputs)
        self.arguments = c.slots(op.body.block.args)
        self.point = c.points[op.body.block] = [0] * len(kinds)
        self.steps = c.block(op.body.block)
        self.yielded = c.slots(self.body.yielded)
        self.used = [bool(arg.uses.get_length()) for arg in op.body.block.args]

    def run(self, frame: Frame) -> None:
        views: list[View] = [frame[slot] for slot in self.values]
        if self.zeros:
            views[-1].array()[...] = 0
        extents = self.sizes(frame, views)
        if 0 in extents:
            return
        for view, access in zip(views, self.accesses, strict=True):
            self.check(view, access, extents)
        operands = [StridedOperand(v, access, len(extents)) for v, access in zip(views, self.accesses, strict=True)]
        for loop in self.parallel:
            if extents[loop] > 1 and not all(o.depends[loop] for o in operands[self.inputs :]):
                raise InternalError(
                    f"{label(self.op)}: loop {self.names[loop]} is parallel, and its points write one element"
                )
        outside = {v: frame[slot] for v, slot in zip(self.body.outside, self.body.slots, strict=True)}
        whole: Box = [(0, extent) for extent in extents]
        if not self.body.vectorises or self.overlaps(operands, outside):
            self.point_by_point(frame, operands, whole)
        elif not self.reduced:
            for box in pieces(whole, self.parallel, volume):
                self.map(operands, box, outside)
        elif self.reduction is not None:
            self.fold(self.reduction, operands, whole, outside)
        else:
            for box in pieces(whole, self.parallel, lambda b: volume([b[loop] for loop in self.parallel])):
                for point in product(*(range(*box[loop]) for loop in self.reduced)):
                    at = dict(zip(self.reduced, point, strict=True))
                    self.map(operands, [(at[n], at[n] + 1) if n in at else span for n, span in enumerate(box)], outside)

    # Extents ---------------------------------------------------------------------------------------------------------
    def sizes(self, frame: Frame, views: Sequence[View]) -> list[int]:
        """Of the loops. A tile whose views show less than its loops cover is a partial one: only what is there is computed."""
        if self.extents is not None:
            found = [extent(frame) for extent in self.extents]
            for loop, slot, axis in self.partial:
                found[loop] = min(found[loop], frame[slot].shape[axis])
            return found
        shown: dict[int, int] = {}
        for view, access in zip(views, self.accesses, strict=True):
            for form, there in zip(access, view.shape, strict=True):
                if (bare := form.loop()) is not None:
                    shown.setdefault(bare, there)
        if missing := [name for loop, name in enumerate(self.names) if loop not in shown]:
            raise InternalError(f"{label(self.op)}: no operand shows the extent of {missing[0]}")
        return [shown[loop] for loop in range(len(self.names))]

    def partial_views(self) -> Iterator[tuple[int, int, int]]:
        """(loop, slot, axis): views of run-time size, of this op or another in its block, along a loop of this op whose extent is a number."""
        fixed = {name: extent for name, extent in loops_of(self.op).items() if isinstance(extent, int)}
        block = self.op.parent
        assert block is not None
        order = {op: number for number, op in enumerate(block.ops)}
        for other in block.ops:
            if not isinstance(other, GenericOp) or "loops" not in other.attributes:
                continue
            names = list(loops_of(other))
            for value, attr in zip(other.operands, other.indexing_maps.data, strict=True):
                assert isinstance(value.type, MemRefType)
                if isinstance(value.owner, Operation) and order.get(value.owner, -1) > order[self.op]:
                    continue
                for axis, (form, stated) in enumerate(zip(_access(attr), value.type.get_shape(), strict=True)):
                    loop = form.loop()
                    if stated != DYNAMIC_INDEX or loop is None or names[loop] not in fixed:
                        continue
                    if loops_of(other)[names[loop]] == fixed[names[loop]]:
                        yield self.names.index(names[loop]), self.c.slot(value), axis

    def check(self, view: View, access: Sequence[Form], extents: Sequence[int]) -> None:
        spans = []
        for form in access:
            ends = [c * (n - 1) for c, n in zip(form.coefficients, extents, strict=True)]
            spans.append((form.constant + sum(min(0, e) for e in ends), form.constant + sum(max(0, e) for e in ends)))
        if any(low < 0 or high >= there for (low, high), there in zip(spans, view.shape, strict=True)):
            raise view.outside(self.op, [f"{low}..{high}" for low, high in spans])

    def overlaps(self, operands: Sequence[StridedOperand], outside: Mapping[SSAValue, Any]) -> bool:
        """Is what is written also read at another place? Then the order of the points counts."""
        for out in operands[self.inputs :]:
            if any(outside[v].storage is out.view.storage for v in self.body.loaded if v in outside):
                return True
            for read, used in zip(operands[: self.inputs], self.used, strict=False):
                elsewhere = read.view.storage is out.view.storage and read.geometry() != out.geometry()
                if used and elsewhere and np.may_share_memory(read.view.array(), out.view.array()):
                    return True
        return False

    # Ways to run -----------------------------------------------------------------------------------------------------
    def map(self, operands: Sequence[StridedOperand], box: Box, outside: Mapping[SSAValue, Any]) -> None:
        """The body on every point of a box at once."""
        self.watch(operands, box)
        found = self.body.evaluate(self.body.yielded, operands, box, outside)
        for out, value in zip(operands[self.inputs :], found, strict=True):
            out.array(box)[...] = value

    def fold(
        self, reduction: Reduction, operands: Sequence[StridedOperand], whole: Box, outside: Mapping[SSAValue, Any]
    ) -> None:
        out = operands[-1]
        for box in pieces(whole, range(len(whole)), lambda b: reduction.cost(operands, b)):
            self.watch(operands, box)
            value = reduction.fold(operands, box, self.reduced, outside)
            target = out.array(box)
            target[...] = reduction.ufunc(target, value)

    def point_by_point(self, frame: Frame, operands: Sequence[StridedOperand], box: Box) -> None:
        for point in product(*(range(*span) for span in box)):
            self.point[:] = point
            at = [o.offset + sum(i * s for i, s in zip(point, o.steps, strict=True)) for o in operands]
            for operand, position, slot, used in zip(operands, at, self.arguments, self.used, strict=True):
                if used:
                    operand.view.storage.read(position, 1)
                    frame[slot] = operand.view.elements[position]
            for step in self.steps:
                step(frame)
            for operand, position, slot in zip(operands[self.inputs :], at[self.inputs :], self.yielded, strict=True):
                operand.view.storage.wrote(position, 1)
                operand.view.elements[position] = frame[slot]

    def watch(self, operands: Sequence[StridedOperand], box: Box) -> None:
        """Tells the storage what a box reads and writes: each operand once per point."""
        if not self.c.machine.watched:
            return
        points = volume(box)
        for number, (operand, used) in enumerate(zip(operands, self.used, strict=True)):
            storage = operand.view.storage
            where = operand.positions(box) if storage.shadows else None
            if used:
                storage.read(where, points)
            if number >= self.inputs:
                storage.wrote(where, points)


def volume(box: Box) -> int:
    return prod(end - begin for begin, end in box)


def pieces(box: Box, loops: Sequence[int], cost: Callable[[Box], int]) -> Iterator[Box]:
    """The box in halves of the given loops, in order, until each piece is small."""
    longest = max(loops, key=lambda loop: box[loop][1] - box[loop][0], default=None)
    if longest is None or cost(box) <= LARGEST or box[longest][1] - box[longest][0] < 2:
        yield box
        return
    begin, end = box[longest]
    middle = (begin + end) // 2
    for span in ((begin, middle), (middle, end)):
        yield from pieces([span if loop == longest else other for loop, other in enumerate(box)], loops, cost)


def _access(attr: Any) -> list[Form]:
    map = attr.data
    zero = [0] * map.num_dims
    forms = []
    for expr in map.results:
        constant = expr.eval(zero, ())
        unit = [expr.eval([*zero[:d], 1, *zero[d + 1 :]], ()) - constant for d in range(map.num_dims)]
        twice = [expr.eval([*zero[:d], 2, *zero[d + 1 :]], ()) - constant for d in range(map.num_dims)]
        if any(t != 2 * u for t, u in zip(twice, unit, strict=True)):
            raise InternalError(f"the interpreter runs linear accesses, not {expr}")
        forms.append(Form(tuple(unit), constant))
    return forms


@steps("linalg.generic")
def _generic(c: Compiler, op: GenericOp) -> Action:
    return Structured(c, op).run


@steps("linalg.index")
def _index(c: Compiler, op: IndexOp) -> Action:
    assert op.parent is not None
    point, loop, result = c.points[op.parent], op.dim.value.data, c.slot(op.result)

    def step(frame: Frame) -> None:
        frame[result] = point[loop]

    return step
