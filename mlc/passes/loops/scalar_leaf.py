"""The scalar leaf: what is left of a structured op becomes loops over single elements; neighbouring ops with the same loops share them.

    linalg.generic {loops = {col = 10}} ins(%x, %s) outs(%y)
->  scf.for %col = 0 to 10 { %a = memref.load %x[%col]; ...; memref.store %r, %y[%col] }

Any dtype, linalg.index and loads from other buffers are allowed. LLVM's own passes keep temporaries of one element in registers and vectorise
the innermost loops: the kernel is marked so. Functions of the math dialect are expanded (math.py), because a library call stops that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from xdsl.dialects import arith, memref, scf
from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, IntegerAttr, UnitAttr
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp, IndexOp, YieldOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint

from mlc.ir.kernel.access import Affine
from mlc.ir.kernel.kernel import Kernel, erase, float_attr, index, loops_of, space_of, strides_of, type_of
from mlc.ir.kernel.located import Builder, located
from mlc.ir.kernel.schedule import Scalar
from mlc.ir.kernel.target import Target
from mlc.passes.loops.copies import inside_of
from mlc.passes.loops.narrow import expand_scalar, needs_expansion
from mlc.passes.loops.scf_blocks import branch, for_loop
from mlc.passes.loops.tile_view import accesses, valid_sizes

SHORT, LONGEST = 8, 64  # steps of loops that are unrolled on a GPU: of any, and of those through registers


def lower_scalar(kernel: Kernel, leaf: Scalar, target: Target) -> None:
    """Every structured op, anywhere in the kernel."""
    for run in list(neighbours(kernel.op)):
        for group in jammed(run):
            Nest(kernel, group).lower(Builder(InsertPoint.before(run[0])))
        erase(run)
    for op in list(kernel.op.walk()):
        if isinstance(op, memref.AllocOp) and "constant" in op.attributes:
            fill_constant(op)
    if target.lowering.math == "expand":
        expand_loose_ops(kernel)
    kernel.optimise = True


def neighbours(root: Operation) -> Iterator[list[GenericOp]]:
    for region in root.regions:
        for block in region.blocks:
            run: list[GenericOp] = []
            for op in block.ops:
                if isinstance(op, GenericOp):
                    run.append(op)
                    continue
                if run:
                    yield run
                    run = []
                yield from neighbours(op)
            if run:
                yield run


def jammed(run: Sequence[GenericOp]) -> Iterator[list[GenericOp]]:
    """Ops that may share one nest: equal parallel loops, and each element is touched by the others only where it was just written."""
    group: list[GenericOp] = []
    for op in run:
        if group and not all(may_share(other, op) for other in group):
            yield group
            group = []
        group = [*group, op]
    if group:
        yield group


def may_share(op: GenericOp, later: GenericOp) -> bool:
    if op.attributes["loops"] != later.attributes["loops"]:
        return False
    if any(kind.data is not IteratorType.PARALLEL for kind in (*op.iterator_types.data, *later.iterator_types.data)):
        return False
    if any(isinstance(inner, memref.LoadOp | memref.StoreOp) for o in (op, later) for inner in o.body.walk()):
        return False
    mine, others = accesses(op), accesses(later)
    for target, written, users, read in (
        (op.outputs[0], mine[-1], later.operands, others),
        (later.outputs[0], others[-1], op.operands, mine),
    ):
        if any(value is target and access != written for value, access in zip(users, read, strict=True)):
            return False
    return True


class Nest:
    """The loops of a group of ops, and the elements that its bodies have at hand."""

    def __init__(self, kernel: Kernel, ops: Sequence[GenericOp]):
        self.kernel, self.ops = kernel, ops
        self.accesses = [accesses(op) for op in ops]
        self.extents = loops_of(ops[0])
        self.valid = {
            name: size for op in ops for name, size in valid_sizes(op).items()
        }  # of a tile that is there in part
        self.names = [name for name in self.order() if self.extents[name] != 1]

    def order(self) -> list[str]:
        """As written, but the loop that runs through most operands by unit steps is the innermost: LLVM vectorises that one. Only
        operands of ops are reordered, never what one element is reduced from."""
        names = list(self.extents)
        kinds = dict(zip(names, (kind.data for kind in self.ops[0].iterator_types.data), strict=True))
        candidates = [n for n in names if kinds[n] is IteratorType.PARALLEL and self.extents[n] != 1]
        if not candidates or IteratorType.REDUCTION not in kinds.values():
            return names
        best = max(candidates, key=self.unit_steps)
        reduced = [n for n in names if kinds[n] is IteratorType.REDUCTION and self.extents[n] != 1]
        if self.unit_steps(best) < max((self.unit_steps(n) for n in reduced), default=0):
            return [*(n for n in names if n not in reduced), *reduced]
        return [*(n for n in names if n != best), best]

    def unit_steps(self, name: str) -> int:
        return sum(
            strides_of(value)[axis] == 1 and form.terms.get(name) == 1
            for op, found in zip(self.ops, self.accesses, strict=True)
            for value, access in zip(op.operands, found, strict=True)
            for axis, form in enumerate(access)
        )

    def lower(self, b: Builder) -> None:
        with located(self.ops[-1]):
            self.loops(b, self.names, {})

    def loops(self, b: Builder, names: Sequence[str], ivs: Mapping[str, SSAValue]) -> None:
        if not names:
            self.body(b, ivs)
            return
        const, extent = self.kernel.const, self.extents[names[0]]

        def fill(b: Builder, iv: SSAValue) -> None:
            self.loops(b, names[1:], {**ivs, names[0]: iv})

        guarded = self.kernel.launch and isinstance(extent, int)  # a static loop can be unrolled
        stop = (None if guarded else self.valid.get(names[0])) or self.kernel.extent(extent)
        loop = for_loop(const(0), stop, const(1), names[0], fill)
        if self.unrolls(names[0]):
            loop.attributes["unroll"] = UnitAttr()
        b.insert(loop)

    def unrolls(self, name: str) -> bool:
        """On a GPU short loops, and all that run through registers: these have no addresses."""
        extent = self.extents[name]
        if not self.kernel.launch or not isinstance(extent, int) or extent > LONGEST:
            return False
        registers = any(
            space_of(value) == "register" and any(name in form.terms for form in access)
            for op, found in zip(self.ops, self.accesses, strict=True)
            for value, access in zip(op.operands, found, strict=True)
        )
        return registers or extent <= SHORT

    def body(self, b: Builder, ivs: Mapping[str, SSAValue]) -> None:
        if self.kernel.launch:
            zero = self.kernel.const(0)
            limits = {ivs.get(name, zero): size for name, size in self.valid.items()}
            if (inside := inside_of(b, limits)) is not None:
                b.insert(scf.IfOp(inside, [], [branch(lambda b: self.point(b, ivs))]))
                return
        self.point(b, ivs)

    def point(self, b: Builder, ivs: Mapping[str, SSAValue]) -> None:
        for op, found in zip(self.ops, self.accesses, strict=True):
            with located(op):
                self.element(b, op, found, ivs)

    def element(self, b: Builder, op: GenericOp, found: list, ivs: Mapping[str, SSAValue]) -> None:
        """The body of one op at one point."""
        block, names = op.body.block, list(loops_of(op))
        at: dict[tuple[SSAValue, tuple[Affine, ...]], list[SSAValue]] = {}
        values: dict[SSAValue, SSAValue] = {}
        for value, access, arg in zip(op.operands, found, block.args, strict=True):
            key = (value, tuple(access))
            if key not in at:
                at[key] = [self.index(b, form, ivs) for form in access]
            if arg.uses.get_length():
                values[arg] = b.insert(memref.LoadOp.get(value, at[key])).results[0]
        for inner in block.ops:
            if isinstance(inner, YieldOp):
                result = values.get(inner.operands[0], inner.operands[0])
                b.insert(memref.StoreOp.get(result, op.outputs[0], at[op.outputs[0], tuple(found[-1])]))
            elif isinstance(inner, IndexOp):
                values[inner.result] = ivs.get(names[inner.dim.value.data], self.kernel.const(0))
            else:
                clone = inner.clone(values)
                b.insert(clone)
                values.update(zip(inner.results, clone.results, strict=True))

    def index(self, b: Builder, form: Affine, ivs: Mapping[str, SSAValue]) -> SSAValue:
        total: SSAValue | None = None
        for name, c in form.terms.items():
            if name in ivs:
                term = ivs[name] if c == 1 else b.insert(arith.MuliOp(ivs[name], self.kernel.const(c))).result
                total = term if total is None else b.insert(arith.AddiOp(total, term)).result
        if total is None:
            return self.kernel.const(form.constant)
        return b.insert(arith.AddiOp(total, self.kernel.const(form.constant))).result if form.constant else total


def fill_constant(op: memref.AllocOp) -> None:
    """Numbers that no vector leaf folded into its code are stored at the entry."""
    attr = op.attributes.pop("constant")
    assert isinstance(attr, DenseIntOrFPElementsAttr)
    b = Builder(InsertPoint.after(op))
    shape = type_of(op.memref).get_shape()
    for position, value in zip(product(*map(range, shape)), attr.get_values(), strict=True):
        stored = b.insert(arith.ConstantOp(float_attr(float(value), type_of(op.memref).element_type))).result
        at = [b.insert(arith.ConstantOp(IntegerAttr(p, index))).result for p in position]
        b.insert(memref.StoreOp.get(stored, op.memref, at))


def expand_loose_ops(kernel: Kernel) -> None:
    """Code that was written as loops to begin with: its scalar ops are expanded where they stand."""
    for op in [op for op in kernel.op.walk() if needs_expansion(op)]:
        result = expand_scalar(Builder(InsertPoint.before(op)), op, list(op.operands))
        op.results[0].replace_all_uses_with(result)
        erase([op])
