"""What each op of scf, func and gpu prints as CUDA C: loops, branches, calls, numbers of threads, barriers."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import func, gpu, scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, MemRefType, VectorType
from xdsl.ir import Block, Operation, Region, SSAValue

from mlc.codegen.cuda import lane_ops, polynomial
from mlc.codegen.cuda.c_function import Function, prints
from mlc.ir.kernel.async_copies import AwaitCopiesOp, CommitCopiesOp, CopyAsyncOp
from mlc.ir.kernel.kernel import element_bytes, open_axes, type_of
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp
from mlc.ir.kernel.warp_ops import FoldLanesOp, PairOp, SyncWarpOp


@prints("scf.yield", "scf.condition", "scf.reduce", "func.return")
def _(f: Function, op: Operation) -> None:
    """The op around it reads the operands."""


@prints("scf.for")
def _(f: Function, op: scf.ForOp) -> None:
    iv, *carried = op.body.block.args
    variables = declared(f, carried, op.results, op.iter_args)
    outside = set(f.taken)
    name = f.fresh(iv.name_hint or "i")
    f.positions[iv] = polynomial.name(name)
    if (unroll := op.attributes.get("unroll")) is not None:
        f.line("#pragma unroll" + (f" {unroll.value.data}" if isinstance(unroll, IntegerAttr) else ""))
    start, step = f.value(op.lb), f.value(op.step)
    if "apart" in op.attributes and f.together > 1:
        start, step = "(int)threadIdx.x" if start == "0" else f"{start} + (int)threadIdx.x", str(f.together)
    advance = f"++{name}" if step == "1" else f"{name} += {step}"
    with f.braces(f"for ({f.index} {name} = {start}; {name} < {f.value(op.ub)}; {advance})"):
        f.block(op.body.block)
        assign(f, variables, last_operands(op.body.block))
    f.taken = outside


@prints("scf.if")
def _(f: Function, op: scf.IfOp) -> None:
    variables = declared(f, (), op.results)
    with f.braces(f"if ({f.value(op.cond)})"):
        f.block(op.true_region.block)
        assign(f, variables, last_operands(op.true_region.block))
    if op.false_region.blocks and len(list(op.false_region.block.ops)) + len(variables) > 1:
        with f.braces("else"):
            f.block(op.false_region.block)
            assign(f, variables, last_operands(op.false_region.block))


@prints("scf.index_switch")
def _(f: Function, op: scf.IndexSwitchOp) -> None:
    variables = declared(f, (), op.results)

    def case(head: str, region: Region) -> None:
        with f.braces(head):
            f.block(region.block)
            assign(f, variables, last_operands(region.block))
            f.line("break;")

    with f.braces(f"switch ({f.value(op.arg)})"):
        for number, region in zip(op.cases.get_values(), op.case_regions, strict=True):
            case(f"case {number}:", region)
        case("default:", op.default_region)


@prints("scf.while")
def _(f: Function, op: scf.WhileOp) -> None:
    """while (true) { what decides; if (!decided) break; body }"""
    before, after = op.before_region.block, op.after_region.block
    variables = declared(f, before.args, (), op.arguments)
    results = declared(f, after.args, op.results)
    with f.braces("while (true)"):
        f.block(before)
        test, *passed = last_operands(before)
        assign(f, results, passed)
        f.line(f"if (!({f.value(test)})) break;")
        f.block(after)
        assign(f, variables, last_operands(after))


def declared(
    f: Function, inside: Sequence[SSAValue], outside: Sequence[SSAValue], first: Sequence[SSAValue] = ()
) -> list[str]:
    """Variables for what a loop carries or a branch gives: the values that stand for them inside and behind it."""
    names = []
    for number in range(max(len(inside), len(outside))):
        values = [group[number] for group in (inside, outside) if number < len(group)]
        hint = next((v.name_hint for v in values if v.name_hint), None)
        name = f.fresh(hint or "r")
        if isinstance(values[0].type, VectorType):
            f.line(f"{lane_ops.vector_text(f, values[0].type)} {name};")
            if first:
                lane_ops.fill(f, name, first[number])
            for value in values:
                lane_ops.variable(f, value, name)
            names.append(name)
            continue
        start = f" = {f.value(first[number])}" if first else ""
        f.line(f"{f.type(values[0])} {name}{start};")
        for value in values:
            f.texts[value] = name
            if isinstance(value.type, IndexType):
                f.positions[value] = polynomial.name(name)
        names.append(name)
    return names


def assign(f: Function, names: Sequence[str], values: Sequence[SSAValue]) -> None:
    """All at once: a value may be what another variable was before."""
    texts = [lane_ops.whole(f, v) if isinstance(v.type, VectorType) else f.value(v) for v in values]
    pairs = [(name, text, value) for name, text, value in zip(names, texts, values, strict=True) if name != text]
    if len(pairs) > 1:
        held = []
        for name, text, value in pairs:
            new = f.fresh("next")
            if isinstance(value.type, VectorType):
                f.line(f"const {lane_ops.vector_text(f, value.type)} {new} = {text};")
                held.append((name, new))
                continue
            f.line(f"const {f.type(value)} {new} = {text};")
            held.append((name, new))
        for name, new in held:
            f.line(f"{name} = {new};")
        return
    for name, text, _ in pairs:
        f.line(f"{name} = {text};")


def last_operands(block: Block) -> Sequence[SSAValue]:
    return () if block.last_op is None else block.last_op.operands


# Grids ---------------------------------------------------------------------------------------------------------------
@prints("gpu.block_id", "gpu.thread_id")
def _(f: Function, op: gpu.BlockIdOp) -> None:
    """As a number with a sign: what is left of a loop behind a thread's tile is less than nothing."""
    what = "block" if op.name == "gpu.block_id" else "thread"
    name = f.fresh(f"{what}_{op.dimension.data}")
    f.line(f"const {f.index} {name} = {what}Idx.{op.dimension.data};")
    f.positions[op.result] = polynomial.name(name)


@prints("gpu.barrier")
def _(f: Function, op: gpu.BarrierOp) -> None:
    f.line("__syncthreads();")


@prints("kernel.fragment")
def _(f: Function, op: FragmentOp) -> None:
    kind = op.instruction.data.rpartition("_")[2]
    name = f"mlc_pack_{kind}" if len(op.numbers) == 2 else f"mlc_f32_to_{kind}"
    f.define(op.result, f"(int32_t){name}({', '.join(map(f.value, op.numbers))})")


@prints("kernel.mma")
def _(f: Function, op: MmaOp) -> None:
    total, lhs, rhs = (f.pointer(value) for value in op.operands)
    rows = f"mlc_row<float, 4>({total}), mlc_row<unsigned, 4>({lhs}), mlc_row<unsigned, 2>({rhs})"
    f.line(f"mlc_mma_{op.instruction.data}({rows});")


@prints("kernel.fold_lanes")
def _(f: Function, op: FoldLanesOp) -> None:
    how = f"mlc_{op.kind.data}_of, {op.lanes.value.data}"
    f.define(op.result, f"mlc_fold_lanes<{how}>({f.value(op.x)})", inline=False)


@prints("kernel.sync_warp")
def _(f: Function, op: SyncWarpOp) -> None:
    f.line("__syncwarp();")


@prints("kernel.pair")
def _(f: Function, op: PairOp) -> None:
    place = f.element(op.memory, list(op.indices))
    f.define(op.result, f"mlc_pair(&{place})")


@prints("kernel.copy_async")
def _(f: Function, op: CopyAsyncOp) -> None:
    count, size = op.elements.value.data, element_bytes(type_of(op.source).element_type)
    source, target = f.element(op.source, list(op.at)), f.element(op.target, list(op.to))
    valid = f.value(op.valid)
    given = "" if valid == str(count) else f", {valid}" if size == 1 else f", ({valid}) * {size}"
    f.line(f"mlc_cp_async{count * size}(&{target}, &{source}{given});")


@prints("kernel.commit_copies")
def _(f: Function, op: CommitCopiesOp) -> None:
    f.line("mlc_cp_async_commit();")


@prints("kernel.await_copies")
def _(f: Function, op: AwaitCopiesOp) -> None:
    f.line(f"mlc_cp_async_wait<{op.groups.value.data}>();")


@prints("func.call")
def _(f: Function, op: func.CallOp) -> None:
    arguments = []
    for value in op.arguments:
        if isinstance(value.type, MemRefType):
            arguments.append(f.pointer(value))
            arguments += [polynomial.text(f.views[value].strides[axis]) for axis in open_axes(value.type)]
        else:
            arguments.append(f.value(value))
    text = f"{op.callee.root_reference.data}({', '.join(arguments)})"
    if op.results:
        f.define(op.results[0], text, inline=False)
    else:
        f.line(f"{text};")
