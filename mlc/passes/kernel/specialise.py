"""Specialise: kernels for single sizes beside the kernels for all sizes; @main chooses at each call.

                                             %0 = kernel.size "N"
                                             %1 = arith.constant 8 : index
                                             %2 = arith.cmpi eq, %0, %1 : index
    kernel.call @gemm_0(%x, %y, %n)    ->    scf.if %2 {
                                               %3 = kernel.view %x dims ["8", "768"] ...
                                               kernel.call @gemm_0_N_8(%3, %4)
                                             } else {
                                               kernel.call @gemm_0(%x, %y, %n)
                                             }

Buffers and their places in memory stay those of the program for all sizes. A kernel whose extents the sizes do not decide
stays as it is; kernels that become equal are one function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

from xdsl.dialects import arith, memref, scf
from xdsl.dialects.builtin import IntegerAttr, MemRefType, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.kernel import Kernel, allocation, buffer_type, index, loops_attr, loops_of, type_of
from mlc.ir.kernel.located import Builder
from mlc.ir.kernel.program import CallOp, SizeOp, ViewOp, buffer_shape
from mlc.ir.module import Module
from mlc.ir.variants import Variant, parse, require_possible, variant_text
from mlc.passes.base import Pass, Stage
from mlc.passes.loops.tile_view import accesses, visited


@dataclass(frozen=True)
class Specialise(Pass):
    """Add kernels for single sizes, as in `sizes=N@8` or `sizes=N@8,T@128`; a semicolon parts several."""

    name: ClassVar[str] = "specialise"
    takes: ClassVar[tuple[Stage, ...]] = ("kernels", "schedules")
    gives: ClassVar[Stage] = "kernels"
    sizes: str = ""

    def run(self, module: Module) -> None:
        variants = [parse(text) for text in self.sizes.split(";") if text]
        require_possible(variants, module.symbols)
        if variants:
            Specialiser(module, variants).run()


class Specialiser:
    def __init__(self, module: Module, variants: Sequence[Variant]):
        self.main, self.variants = module.main, variants
        self.calls = [op for op in self.main.walk() if isinstance(op, CallOp)]
        called = {call.kernel for call in self.calls}
        functions = [op for op in module.op.ops if isinstance(op, FuncOp) and op.sym_name.data in called]
        self.kernels = {op.sym_name.data: Kernel.from_func(op) for op in functions}
        self.by_key = {kernel.key(): name for name, kernel in self.kernels.items()}
        self.made: dict[tuple[str, tuple[tuple[str, int], ...]], str] = {}
        self.flags: dict[str, SSAValue] = {}

    def run(self) -> None:
        for call in self.calls:
            chosen = [(variant, ops) for variant in self.variants if (ops := self.variant_of(call, variant))]
            if not chosen:
                continue
            choice: Operation = call.clone()
            for variant, ops in reversed(chosen):
                choice = scf.IfOp(self.flag(variant), [], [*ops, scf.YieldOp()], [choice, scf.YieldOp()])
            Rewriter.replace_op(call, choice)

    def variant_of(self, call: CallOp, variant: Variant) -> list[Operation]:
        """The call of the kernel for these sizes, behind the views it needs; nothing where they decide no extent of the kernel."""
        general = self.kernels[call.kernel]
        buffers = [v for v in call.arguments if isinstance(v.type, MemRefType)]
        extents = dict(zip(general.extents, (v for v in call.arguments if v not in buffers), strict=True))
        try:
            shapes = [tuple(dims.substitute(extent, variant) for extent in buffer_shape(v)) for v in buffers]
            known = {
                name: dims.substitute(v.owner.extent, variant)
                for name, v in extents.items()
                if isinstance(v.owner, SizeOp)
            }
        except ZeroDivisionError:
            return []  # no call has these sizes
        sizes = {name: extent for name, extent in known.items() if isinstance(extent, int)}
        if not sizes or min(sizes.values()) < 1:  # nothing to compute is no work to save
            return []
        views = {
            n: ViewOp(v, shape)
            for n, (v, shape) in enumerate(zip(buffers, shapes, strict=True))
            if shape != buffer_shape(v)
        }
        seen = [views[n].result if n in views else v for n, v in enumerate(buffers)]
        left = [v for name, v in extents.items() if name not in sizes]
        source = [name.data for name in call.source.data]
        return [*views.values(), CallOp(self.kernel(general, sizes, variant), [*seen, *left], source)]

    def kernel(self, general: Kernel, sizes: Mapping[str, int], variant: Variant) -> str:
        """The name of the kernel for these sizes of its extents."""
        key = (general.name, tuple(sizes.items()))
        if key not in self.made:
            kernel = with_sizes(general, sizes)
            text = kernel.key()
            if text not in self.by_key:
                self.by_key[text] = self.add(kernel, general, variant)
            self.made[key] = self.by_key[text]
        return self.made[key]

    def add(self, kernel: Kernel, general: Kernel, variant: Variant) -> str:
        stem = name = re.sub(r"\W+", "_", f"{general.name}_{variant_text(variant)}", flags=re.ASCII)
        number = 2
        while name in self.kernels:
            name, number = f"{stem}_{number}", number + 1
        kernel.op.properties["sym_name"] = StringAttr(name)
        self.kernels[name] = kernel
        Rewriter.insert_op(kernel.op, InsertPoint.after(general.op))
        return name

    def flag(self, variant: Variant) -> SSAValue:
        """Whether the sizes of this call are those of the variant: known from the start of @main."""
        text = variant_text(variant)
        if text not in self.flags:
            b = Builder(InsertPoint.at_start(self.main.body.block))
            tests: list[SSAValue] = []
            for name, size in variant.items():
                have = b.insert(SizeOp(dims.symbol(name))).result
                want = b.insert(arith.ConstantOp(IntegerAttr(size, index))).result
                tests.append(b.insert(arith.CmpiOp(have, want, "eq")).result)
            self.flags[text] = reduce(lambda lhs, rhs: b.insert(arith.AndIOp(lhs, rhs)).result, tests)
        return self.flags[text]


def with_sizes(general: Kernel, sizes: Mapping[str, int]) -> Kernel:
    """The kernel with numbers in place of some of its extents. Raises InternalError for a kernel that is lowered already."""
    if general.applied:
        raise InternalError(f"kernel '{general.name}' is lowered and cannot be specialised", pass_name="specialise")
    kernel = Kernel.from_func(general.op.clone())
    kernel.schedule = ""

    def at(extent: Extent) -> Extent:
        return dims.substitute(extent, sizes)

    for name, buffer in kernel.buffers.items():
        shape = tuple(at(extent) for extent in kernel.shapes[buffer])
        typed = Rewriter.replace_value_with_new_type(buffer, buffer_type(shape, type_of(buffer).element_type))
        kernel.buffers[name], kernel.shapes[typed] = typed, shape
    for op in list(kernel.op.walk()):
        if isinstance(op, memref.AllocOp) and op.dynamic_sizes:
            extents = [at(extent) for extent in kernel.shape_of(op.memref)]
            made = allocation(
                [e if isinstance(e, int) else kernel.extent(e) for e in extents], type_of(op.memref).element_type
            )
            made.memref.name_hint = op.memref.name_hint
            Rewriter.replace_op(op, made)
        elif isinstance(op, GenericOp):
            loops = {name: at(extent) for name, extent in loops_of(op).items()}
            op.attributes["loops"] = loops_attr(loops)
            for number, access in enumerate(accesses(op)):
                op.operands[number] = visited(Builder(InsertPoint.before(op)), op.operands[number], access, loops)
    if kernel.tiles is not None:  # plain loops whose parts threads share
        kernel.tiles = at(kernel.tiles)
    for name, size in sizes.items():
        for use in list(kernel.extents.pop(name).uses):  # where it is used, since leaves take no constants from outside
            constant = Builder(InsertPoint.before(use.operation)).insert(arith.ConstantOp(IntegerAttr(size, index)))
            use.operation.operands[use.index] = constant.result
    kernel.finish()
    return kernel
