"""Bodies: loops and branches as Python has them, calls as functions, groups of a fused graph written out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xdsl.ir import Block, Operation, SSAValue

from mlc.codegen.python.numpy_expression import Expr
from mlc.codegen.python.registry import form
from mlc.codegen.python.writer import DEEPEST, Writer, place_of, used_once, whole
from mlc.ir.graph.control import CallOp, GroupOp, IfOp, ScanOp, WhileOp, yielded
from mlc.ir.graph.custom import CustomOp
from mlc.ir.types import dtype_of, shape_of


def _full(text: str, value: SSAValue) -> Expr:
    return Expr(text, (True,) * len(shape_of(value)), free=True)


def _names(w: Writer, values: Sequence[SSAValue]) -> list[str]:
    """A new name for each."""
    return [w.names.new(w.hint(value)) for value in values]


def _set(w: Writer, names: Sequence[str], texts: Sequence[str]) -> None:
    """All at once: none reads what another has set."""
    pairs = [(name, text) for name, text in zip(names, texts, strict=True) if name != text]
    if pairs:
        w.line(f"{', '.join(name for name, _ in pairs)} = {', '.join(text for _, text in pairs)}")


@contextmanager
def _inside(w: Writer, head: str, op: Operation) -> Iterator[None]:
    w.line(head, (place,) if (place := place_of(op)) else ())
    w.indent += 1
    yield
    w.indent -= 1


def _body(w: Writer, block: Block, arguments: Sequence[Expr], title: str) -> list[str]:
    """The statements of a body; what it gives. One that lies too deep becomes a function."""
    if w.indent <= DEEPEST:
        w.values.update(zip(block.args, arguments, strict=True))
        w.block(block)
        return [w.array(value).text for value in yielded(block)]
    given = [e.text for e in arguments]
    results = [w.names.new("result") for _ in yielded(block)]
    call = w.body_call(block, title, given, [text if text.isidentifier() else "x" for text in given])
    w.line(f"{', '.join(results)} = {call}" if results else call)
    return results


def _rows(w: Writer, op: Operation, names: Sequence[str], values: Sequence[SSAValue], rows: str) -> None:
    """Memory for what the steps of a loop stack."""
    for name, value in zip(names, values, strict=True):
        shape = ", ".join([rows, *(w.size(e) for e in shape_of(value)[1:])])
        w.line(f"{name} = np.zeros(({shape}{',' if ',' not in shape else ''}), {w.dtype(dtype_of(value))})")


@form(ScanOp)
def _scan(w: Writer, op: ScanOp) -> None:
    carried, scanned = op.carried.value.data, op.scanned.value.data
    inputs = [w.named(v) for v in op.inputs]
    names, t = _names(w, op.outputs), w.names.new("t")
    length = w.size(op.extent)
    _set(w, names[:carried], inputs[:carried])
    _rows(w, op, names[carried:], op.outputs[carried:], length)
    steps = f"reversed(range({length}))" if op.reverse.value.data else f"range({length})"
    block = op.body.block
    given = [
        *names[:carried],
        *(f"{x}[{t}]" for x in inputs[carried : carried + scanned]),
        *inputs[carried + scanned :],
    ]
    with _inside(w, f"for {t} in {steps}:", op):
        arguments = [_full(text, argument) for text, argument in zip(given, block.args, strict=True)]
        results = _body(w, block, arguments, "step")
        for name, text in zip(names[carried:], results[carried:], strict=True):
            w.line(f"{name}[{t}] = {text}")
        _set(w, names[:carried], results[:carried])
        if not results:
            w.line("pass")
    w.values.update((value, _full(name, value)) for value, name in zip(op.outputs, names, strict=True))


@form(WhileOp)
def _while(w: Writer, op: WhileOp) -> None:
    carried, most = op.carried.value.data, op.extent
    condition, inputs = w.array(op.condition).text, [w.named(v) for v in op.inputs]
    names, going = _names(w, op.outputs), w.names.new("going")
    _set(w, [going, *names[:carried]], [condition, *inputs[:carried]])
    head = f"while {going}:"
    if most is not None:
        t = w.names.new("t")
        _rows(w, op, names[carried:], op.outputs[carried:], w.size(most))
        w.line(f"{t} = 0")
        head = f"while {going} and {t} < {w.size(most)}:"
    with _inside(w, head, op):
        block = op.body.block
        given = [*names[:carried], *inputs[carried:]]
        arguments = [_full(text, argument) for text, argument in zip(given, block.args, strict=True)]
        again, *results = _body(w, block, arguments, "step")
        for name, text in zip(names[carried:], results[carried:], strict=True):
            w.line(f"{name}[{t}] = {text}")
        _set(w, [going, *names[:carried]], [again, *results[:carried]])
        if most is not None:
            w.line(f"{t} += 1")
    w.values.update((value, _full(name, value)) for value, name in zip(op.outputs, names, strict=True))


@form(IfOp)
def _if(w: Writer, op: IfOp) -> None:
    condition, inputs = w.array(op.condition).text, [w.named(v) for v in op.inputs]
    names = _names(w, op.outputs)
    for head, block in ((f"if {condition}:", op.then.block), ("else:", op.otherwise.block)):
        with _inside(w, head, op):
            arguments = [_full(text, argument) for text, argument in zip(inputs, block.args, strict=True)]
            _set(w, names, _body(w, block, arguments, "branch"))
            if not names:
                w.line("pass")
    w.values.update((value, _full(name, value)) for value, name in zip(op.outputs, names, strict=True))


@form(CallOp, CustomOp)
def _call(w: Writer, op: CallOp | CustomOp) -> Expr | str | None:
    text = w.function(op.body.block, op.callee.data, op.inputs)
    if not op.outputs:
        w.line(text)
        return None
    return whole(op.outputs[0], text) if len(op.outputs) == 1 else text


@form(GroupOp)
def _group(w: Writer, op: GroupOp) -> None:
    """The ops of a kernel, between those of others."""
    block = op.body.block
    for value, argument in zip(op.inputs, block.args, strict=True):
        if not w.operand(value).free:
            w.assign(value, w.values[value])
        w.values[argument] = w.values[value]
    w.block(block)
    for value, result in zip(yielded(block), op.outputs, strict=True):
        if not w.operand(value).free and not used_once(result):
            w.assign(value, w.values[value])
        w.values[result] = w.values[value]
