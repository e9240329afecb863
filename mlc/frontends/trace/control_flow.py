"""Control flow that the compiled code decides: branches and loops as functions of functions.

    cond(condition, then, otherwise, *operands)         then(*operands) or otherwise(*operands)
    while_loop(condition, body, init)                   state = init; while condition(state): state = body(state)
    scan(step, init, xs)                                for x in xs: state, y = step(state, x); the ys are stacked

Outside of a trace they run in Python; in a trace they become ops with bodies. States, xs and results are pytrees; functions may use tensors
from around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xdsl.ir import Attribute as Type
from xdsl.ir import Block, SSAValue

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.functions import arrangement
from mlc.frontends.trace.functions.promotion import Operand, Weak, as_dtype, common_dtype, value
from mlc.frontends.trace.pytree import Tree, difference, flatten
from mlc.frontends.trace.tensor import Tensor, array_of, bind, symbolic, type_text, value_in, wrap
from mlc.frontends.trace.traced import TensorSpec, trace
from mlc.frontends.trace.tracing import Trace, current_trace, tracing, user_line, user_location
from mlc.ir import builder as g
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import building, emit
from mlc.ir.graph.control import IfOp, ScanOp, WhileOp, YieldOp
from mlc.ir.types import dtype_of, numpy_dtype, shape_of, tensor


class ControlBody:
    """A function traced into a block: what it gives, as operands of its last op, and in which structure."""

    def __init__(
        self,
        name: str,
        types: Sequence[Type],
        function: Callable[[list[Tensor]], Any],
        lifted: Sequence[SSAValue] = (),
        steps: Sequence[Extent] = (),
    ):
        self.block = Block(arg_types=types)
        with tracing(name, self.block, steps) as self.trace:
            self.trace.take(lifted)
            found, self.tree = flatten(function([symbolic(a, self.trace) for a in self.block.args[: len(types)]]))
            self.results: list[Operand] = [value_in(self.trace, operand_of(leaf)) for leaf in found]

    def end(self, dtypes: Sequence[str]) -> Block:
        """The block, which gives the results in these dtypes as far as they are Python numbers."""
        with building(self.block):
            given = [as_dtype(r, d) if isinstance(r, Weak) else r for r, d in zip(self.results, dtypes, strict=True)]
            emit(YieldOp(given))
        return self.block


def operand_of(leaf: Any) -> Any:
    """A leaf as a tensor or number. Raises MlcError."""
    return leaf if isinstance(leaf, Tensor | int | float | Dim) else wrap(array_of(leaf, None, copy=False))


def _in_trace(function: Callable[[Trace], Any]) -> Any:
    """Ops built by the function, at the user's line; errors name it."""
    trace = current_trace()
    assert trace is not None
    try:
        with g.location(user_location()):
            return function(trace)
    except MlcError as error:
        error.file = error.file or user_line()
        raise


def cond(condition: Any, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
    """then(*operands) where the condition, one bool, holds, else otherwise(*operands); only that one is computed.

    Both give pytrees of one structure, with the same shapes and dtypes. Raises MlcError where they differ.
    """
    if not isinstance(condition, Tensor) or condition.trace is None:
        if np.ndim(condition):
            raise ShapeError(
                f"cond: the condition has the shape {np.shape(condition)}, and is not one bool", file=user_line()
            )
        return (then if bool(condition) else otherwise)(*operands)

    def build(trace: Trace) -> Any:
        flag = g.cast(value(value_in(trace, condition)), "bool")
        if shape_of(flag):
            raise ShapeError(f"cond: the condition is {type_text(condition)}, not one bool")
        first = ControlBody("a branch of cond", [], lambda _: then(*operands))
        second = ControlBody("a branch of cond", [], lambda _: otherwise(*operands), list(first.trace.lifted))
        if first.tree != second.tree:
            raise MlcError("cond: the branches give different structures", remedy=difference(first.tree, second.tree))
        lifted = list(second.trace.lifted)
        first.trace.take(lifted)
        pairs = list(zip(first.results, second.results, strict=True))
        dtypes = [common_dtype(*pair) for pair in pairs]
        results = emit(IfOp(flag, lifted, first.end(dtypes), second.end(dtypes)))
        return first.tree.unflatten([symbolic(r, trace) for r in results])

    return _in_trace(build)


def _initial(leaves: Sequence[Any]) -> list[Tensor]:
    """The first state; Python numbers in their default dtype."""
    return [leaf if isinstance(leaf, Tensor) else wrap(array_of(leaf, None, copy=False)) for leaf in leaves]


def _same_structure(what: str, before: Tree, after: Tree) -> None:
    if before != after:
        raise MlcError(
            f"{what}: the state changes its structure in a step", file=user_line(), remedy=difference(before, after)
        )


def _require_stable(what: str, tree: Tree, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Raises ShapeError where a step gives a part of the state another shape or dtype."""
    for path, first, second in zip(tree.paths(), before, after, strict=True):
        second = second if isinstance(second, Tensor) else wrap(array_of(second, first.dtype, copy=False))
        if type_text(first) != type_text(second):
            raise ShapeError(
                f"{what}: the state{path} is {type_text(first)} before and {type_text(second)} after a step",
                file=user_line(),
                remedy="Give the first state the type that a step gives: x.astype(...), or numpy.zeros of that shape.",
            )


def while_loop(condition: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """state = init; while condition(state): state = body(state); the last state. Shapes and dtypes of the state stay as they are."""
    leaves, tree = flatten(init)
    start = _initial(leaves)
    if current_trace() is None:
        state = start
        while bool(condition(tree.unflatten(state))):
            found, after = flatten(body(tree.unflatten(state)))
            _same_structure("while_loop", tree, after)
            _require_stable("while_loop", tree, state, found)
            state = [
                x if isinstance(x, Tensor) else wrap(np.array(x, s.dtype)) for x, s in zip(found, state, strict=True)
            ]
        return tree.unflatten(state)

    def step(values: list[Tensor]) -> Any:
        found, after = flatten(body(tree.unflatten(values)))
        _same_structure("while_loop", tree, after)
        _require_stable("while_loop", tree, values, found)
        return [condition(after.unflatten(found)), *found]

    def build(trace: Trace) -> Any:
        state = [value(value_in(trace, x)) for x in start]
        first = value(value_in(trace, operand_of(condition(tree.unflatten([symbolic(v, trace) for v in state])))))
        made = ControlBody("the body of while_loop", [v.type for v in state], step)
        block = made.end(["bool", *map(dtype_of, state)])
        results = emit(WhileOp(first, [*state, *made.trace.lifted], len(state), None, block))
        return tree.unflatten([symbolic(r, trace) for r in results])

    return _in_trace(build)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Extent | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """(last state, stacked ys) of state, y = step(state, x) for each x of xs along axis 0; with `reverse` from the last to the first, and the
    ys stay in place. Without xs, `length` says how many steps there are. Shapes and dtypes of the state stay as they are."""
    leaves, tree = flatten(init)
    start, (sequences, form) = _initial(leaves), flatten(xs)
    rows = _initial(sequences)
    steps = _length(rows, length)
    if current_trace() is None:
        if isinstance(steps, Dim):
            raise ShapeError(f"scan: {steps} steps, and nothing is being traced", file=user_line())
        return _run_scan(step, start, tree, rows, form, steps, reverse)

    def body(values: list[Tensor]) -> Any:
        state, x = values[: len(start)], form.unflatten(values[len(start) :])
        found = step(tree.unflatten(state), x)
        after, ys = _pair(found)
        new, changed = flatten(after)
        _same_structure("scan", tree, changed)
        _require_stable("scan", tree, state, new)
        return [new, ys]

    def build(trace: Trace) -> Any:
        state = [value(value_in(trace, x)) for x in start]
        inputs = [value(value_in(trace, x)) for x in rows]
        for number, x in enumerate(inputs):
            size = g.require_equal(shape_of(x)[0], steps, "scan: the lengths of the sequences")
            inputs[number] = g.reshape(x, (steps if isinstance(size, Dim) else size, *shape_of(x)[1:]))
        slices = [tensor(shape_of(x)[1:], dtype_of(x)) for x in inputs]
        made = ControlBody("a step of scan", [*(v.type for v in state), *slices], body, steps=[steps])
        dtypes = [dtype_of(v) for v in state]
        dtypes += [common_dtype(y) for y in made.results[len(state) :]]
        block = made.end(dtypes)
        operands = [*state, *inputs, *made.trace.lifted]
        results = [symbolic(r, trace) for r in emit(ScanOp(operands, len(state), len(inputs), steps, reverse, block))]
        _, outputs = made.tree.children
        return tree.unflatten(results[: len(state)]), outputs.unflatten(results[len(state) :])

    return _in_trace(build)


def _pair(found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        raise MlcError("scan: a step gives a pair (state, y)", file=user_line(), remedy="y may be None.")
    return found


def _length(rows: Sequence[Tensor], length: Extent | None) -> Extent:
    sizes = [x.shape[0] for x in rows if x.ndim]
    if len(sizes) < len(rows):
        raise ShapeError("scan: a sequence is a scalar, which has no axis to go along", file=user_line())
    if not sizes and length is None:
        raise MlcError("scan: nothing says how many steps there are", file=user_line(), remedy="Give xs, or length=.")
    given = [*([] if length is None else [length]), *sizes]
    known = [e for e in given if isinstance(e, int)]
    if len(set(known)) > 1:
        raise ShapeError(f"scan: the sequences have different lengths, {', '.join(map(str, given))}", file=user_line())
    return known[0] if known else given[0]


def _run_scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    state: list[Tensor],
    tree: Tree,
    rows: list[Tensor],
    form: Tree,
    length: int,
    reverse: bool,
) -> tuple[Any, Any]:
    """A scan of tensors that hold arrays. Of no steps the shapes of the ys are found by tracing one."""
    if not length:
        specs = [TensorSpec(x.shape[1:], x.dtype) for x in rows]
        traced = trace(lambda s, x: _pair(step(tree.unflatten(s), form.unflatten(x)))[1], state, specs)
        empty = [wrap(np.zeros((0, *shape), numpy_dtype(dtype))) for shape, dtype in traced.module.output_types]
        return tree.unflatten(state), traced.results.unflatten(empty)
    columns: list[list[Any]] = []
    outputs = Tree()
    for t in reversed(range(length)) if reverse else range(length):
        after, ys = _pair(step(tree.unflatten(state), form.unflatten([x[t] for x in rows])))
        new, changed = flatten(after)
        _same_structure("scan", tree, changed)
        _require_stable("scan", tree, state, new)
        state = [x if isinstance(x, Tensor) else wrap(np.array(x, s.dtype)) for x, s in zip(new, state, strict=True)]
        found, outputs = flatten(ys)
        columns.append(found)
    if reverse:
        columns.reverse()
    stacked = [bind(arrangement.stack, column) for column in zip(*columns, strict=True)]
    return tree.unflatten(state), outputs.unflatten(stacked)
