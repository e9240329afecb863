"""What ops on vectors print as CUDA C. A vector of 16 bytes or less is a thread's; a longer one is spread over the threads along x.

    %v = vector.load %x[%i] : vector<4xf32>         const mlc_vector<float, 4> v = mlc_load<4>(x + i);
    %e = math.exp(%v); vector.store %e, %y[%i]      mlc_vector<float, 4> e;  for (int l = 0; l < 4; ++l) e.at[l] = expf(v.at[l]);  mlc_store(y + i, e);

A value is kept as the text of its lane l; whoever needs the vector as a whole has it written into a variable. What is computed lane by lane is
printed as the same op on scalars. Of a vector of 128 lanes over 32 threads, thread t holds 4 t .. 4 t + 3 where all rows are aligned
("kernel.aligned" on the function), so that it moves 16 bytes at a time; otherwise t, t + 32, ..., so that neighbours read neighbours.
"""

from __future__ import annotations

from xdsl.dialects import arith, math, scf, vector
from xdsl.dialects.builtin import IntegerAttr, VectorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Block, Operation, SSAValue

from mlc.codegen.cuda import polynomial
from mlc.codegen.cuda.c_function import PRINT, Function, enclosed, prints, used_here
from mlc.codegen.cuda.scalar_types import type_text
from mlc.errors import InternalError

SCALAR: dict[str, type[Operation]] = {op.name: op for op in (*arith.Arith.operations, *math.Math.operations)}
LONG = 80  # characters of the texts of operands, beyond which the longest is written into a variable
FOLDS = {"add": "sum", "mul": "product", "maximumf": "max", "minimumf": "min"}


def spread_as(f: Function, leaf: FuncOp) -> None:
    """How a private function's vectors lie over the threads of a block."""
    threads = leaf.attributes.get("kernel.spread")
    if isinstance(threads, IntegerAttr):
        f.spread, f.aligned = threads.value.data, "kernel.aligned" in leaf.attributes


def lanes_of(f: Function, type: Attribute) -> int:
    """How many lanes of a vector a thread holds."""
    assert isinstance(type, VectorType)
    (count,) = type.get_shape()
    if count % f.spread:
        raise InternalError(f"CUDA C of '{f.kernel}': {count} lanes over {f.spread} threads")
    return count // f.spread


def vector_text(f: Function, type: Attribute) -> str:
    assert isinstance(type, VectorType)
    return f"mlc_vector<{type_text(type.element_type, f.index)}, {lanes_of(f, type)}>"


def lane(f: Function, held: int, name: str = "l") -> str:
    """Which lane of the whole vector a thread's lane l is."""
    if f.spread == 1:
        return name
    return f"(int)threadIdx.x * {held} + {name}" if f.aligned else f"{name} * {f.spread} + (int)threadIdx.x"


@prints("lanes")
def print_lanes(f: Function, op: Operation) -> None:
    """An op that computes each lane of its result from the same lane of its operands: as the op on scalars."""
    kind = {"vector.fma": math.FmaOp}.get(op.name) or SCALAR.get(op.name, type(op))
    (result,) = op.results
    if result.first_use is None:
        return
    block = Block(arg_types=[_element(value.type) for value in op.operands])
    vectors = [value for value in op.operands if isinstance(value.type, VectorType)]
    while sum(len(f.texts[value]) for value in vectors) > LONG and any(value not in f.vectors for value in vectors):
        whole(f, max((value for value in vectors if value not in f.vectors), key=lambda value: len(f.texts[value])))
    for value, twin in zip(op.operands, block.args, strict=True):
        f.texts[twin] = f.value(value)
        if value in f.positions:
            f.positions[twin] = f.positions[value]
    scalar = kind.create(operands=block.args, result_types=[_element(result.type)], properties=op.properties)
    block.add_ops([scalar, scf.YieldOp(scalar.results[0])])
    PRINT[scalar.name](f, scalar)
    f.texts[result] = f.value(scalar.results[0])
    if not used_here(result):
        whole(f, result)


def _element(type: Attribute) -> Attribute:
    return type.element_type if isinstance(type, VectorType) else type


def whole(f: Function, value: SSAValue) -> str:
    """The variable that holds a vector."""
    if value not in f.vectors:
        name = f.fresh(value.name_hint or "v")
        f.line(f"{vector_text(f, value.type)} {name};")
        fill(f, name, value)
        variable(f, value, name)
    return f.vectors[value]


def fill(f: Function, name: str, value: SSAValue) -> None:
    """Every lane of a variable gets that of a value."""
    if value in f.vectors:
        f.line(f"{name} = {f.vectors[value]};")
        return
    f.line("#pragma unroll")
    f.line(f"for (int l = 0; l < {lanes_of(f, value.type)}; ++l) {name}.at[l] = {f.texts[value]};")


def variable(f: Function, value: SSAValue, name: str) -> None:
    """A variable that a loop carries stands for a vector."""
    f.vectors[value] = name
    f.texts[value] = f"{name}.at[l]"


# Memory --------------------------------------------------------------------------------------------------------------
def _pointer(f: Function, base: SSAValue, indices: list[SSAValue], held: int) -> str:
    view = f.views[base]
    offset = f.offset(base, indices)
    if f.spread > 1:
        thread = polynomial.name("threadIdx.x" if f.index == "int" else "(int64_t)threadIdx.x")
        offset = polynomial.plus(offset, polynomial.times(thread, polynomial.number(held if f.aligned else 1)))
    text = polynomial.text(offset)
    return view.pointer if text == "0" else f"{view.pointer} + {text}"


@prints("vector.load")
def _(f: Function, op: vector.LoadOp) -> None:
    result = op.results[0]
    name = f.vectors[result] = f.fresh(result.name_hint or op.base.name_hint or "v")
    held = lanes_of(f, result.type)
    pointer = _pointer(f, op.base, list(op.indices), held)
    step = "" if f.spread == 1 or f.aligned else f", {f.spread}"
    call = f"mlc_load<{held}{step}>({pointer})"
    f.line(f"const {vector_text(f, result.type)} {name} = {call};")
    f.texts[result] = f"{name}.at[l]"


@prints("vector.store")
def _(f: Function, op: vector.StoreOp) -> None:
    name = whole(f, op.vector)
    pointer = _pointer(f, op.base, list(op.indices), lanes_of(f, op.vector.type))
    step = "" if f.spread == 1 or f.aligned else f"<{f.spread}>"
    f.line(f"mlc_store{step}({pointer}, {name});")


def all_or_none(f: Function, mask: SSAValue, held: int) -> str:
    """Whether the lanes of this thread count, where that is one question: rows are aligned and end between the lanes of two threads."""
    if not isinstance(mask.owner, vector.CreateMaskOp) or not f.aligned or f.spread == 1 or held == 1:
        return ""
    (count,) = mask.owner.mask_dim_sizes
    known = count.owner.value if isinstance(count.owner, arith.ConstantOp) else None
    if not isinstance(known, IntegerAttr) or known.value.data % held:
        return ""
    return f"(int)threadIdx.x * {held} < {known.value.data}"


@prints("vector.maskedload")
def _(f: Function, op: vector.MaskedLoadOp) -> None:
    """Only the lanes that count are read."""
    result = op.results[0]
    held = lanes_of(f, result.type)
    pointer = enclosed(_pointer(f, op.base, list(op.indices), held))
    rest = f.factor(op.pass_thru)
    if there := all_or_none(f, op.mask, held):
        name = f.fresh(result.name_hint or op.base.name_hint or "v")
        f.line(f"{vector_text(f, result.type)} {name};")
        f.line("#pragma unroll")
        f.line(f"for (int l = 0; l < {held}; ++l) {name}.at[l] = {rest};")
        f.line(f"if ({there}) {name} = mlc_load<{held}>({pointer});")
        variable(f, result, name)
        return
    step = "l" if f.spread == 1 or f.aligned else f"l * {f.spread}"
    f.texts[result] = f"{f.factor(op.mask)} ? {pointer}[{step}] : {rest}"
    whole(f, result)


@prints("vector.maskedstore")
def _(f: Function, op: vector.MaskedStoreOp) -> None:
    held = lanes_of(f, op.value_to_store.type)
    pointer = enclosed(_pointer(f, op.base, list(op.indices), held))
    if there := all_or_none(f, op.mask, held):
        f.line(f"if ({there}) mlc_store({pointer}, {whole(f, op.value_to_store)});")
        return
    value = f.value(op.value_to_store)
    step = "l" if f.spread == 1 or f.aligned else f"l * {f.spread}"
    f.line("#pragma unroll")
    f.line(f"for (int l = 0; l < {held}; ++l)")
    f.line(f"  if ({f.value(op.mask)}) {pointer}[{step}] = {value};")


# Between lanes -------------------------------------------------------------------------------------------------------
@prints("vector.broadcast")
def _(f: Function, op: vector.BroadcastOp) -> None:
    """A scalar is every lane of it."""
    f.texts[op.vector] = f.factor(op.source)


@prints("vector.create_mask")
def _(f: Function, op: vector.CreateMaskOp) -> None:
    """The first lanes count."""
    (count,) = op.mask_dim_sizes
    f.texts[op.mask_vector] = f"{lane(f, lanes_of(f, op.mask_vector.type))} < {f.factor(count)}"


@prints("vector.extract")
def _(f: Function, op: vector.ExtractOp) -> None:
    (number,) = op.static_position.get_values()
    f.define(op.result, f"{whole(f, op.vector)}.at[{number}]")


@prints("vector.insert")
def _(f: Function, op: vector.InsertOp) -> None:
    (number,) = op.static_position.get_values()
    name = f.fresh(op.result.name_hint or "v")
    f.line(f"{vector_text(f, op.result.type)} {name};")
    fill(f, name, op.dest)
    f.line(f"{name}.at[{number}] = {f.value(op.source)};")
    variable(f, op.result, name)


@prints("vector.reduction")
def _(f: Function, op: vector.ReductionOp) -> None:
    """All lanes folded into one value, which every thread has."""
    kind = FOLDS[op.kind.data.value if hasattr(op.kind.data, "value") else str(op.kind.data)]
    name = whole(f, op.vector)
    text = f"mlc_fold<mlc_{kind}_of, {f.spread}>({name})"
    f.define(op.dest, text, inline=False)
