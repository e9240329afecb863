"""The dialect of planned main functions: text, verification, shapes."""

from io import StringIO

import pytest
from xdsl.context import Context
from xdsl.dialects import arith, builtin, func, memref, scf
from xdsl.dialects.builtin import f32
from xdsl.ir import Dialect
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from mlc.ir.dims import symbol
from mlc.ir.kernel.program import BufferOp, CallOp, KernelDialect, RowOp, SizeOp, ViewOp, buffer_shape, memref_type
from mlc.ir.types import DimsAttr

N, S = symbol("N"), symbol("S")

PROGRAM = """
func.func @main(%x : memref<?x768xf32> {kernel.name = "x", kernel.dims = #graph.dims<N, 768>, kernel.role = "input"}, %y : memref<?x768xf32> {kernel.name = "y", kernel.dims = #graph.dims<N, 768>, kernel.role = "output"}) {
  %n = kernel.size "N"
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %w = kernel.weight "fc.weight" : memref<24x768x32xf32>
  %b = kernel.buffer 3 dims ["N", "768"] : memref<?x768xf32>
  %v = kernel.view %b dims ["N*12", "64"] : memref<?x768xf32> to memref<?x64xf32>
  kernel.call @gemm(%x, %w, %b, %n) from ["layer1/MatMul", "layer1/Add"] : memref<?x768xf32>, memref<24x768x32xf32>, memref<?x768xf32>, index
  scf.for %t = %zero to %n step %one {
    %row = kernel.row %v[%t] : memref<?x64xf32> to memref<64xf32>
    kernel.call @step(%row) : memref<64xf32>
  }
  %c = kernel.buffer 4 dims ["1"] : memref<1xi64>
  kernel.count "k" most "64*N" in %c : memref<1xi64>
  kernel.call @nothing()
  func.return
}
"""


def parse(text: str) -> builtin.ModuleOp:
    context = Context()
    for dialect in (
        builtin.Builtin,
        func.Func,
        arith.Arith,
        scf.Scf,
        memref.MemRef,
        KernelDialect,
        Dialect("graph", [], [DimsAttr]),
    ):
        context.load_dialect(dialect)
    module = Parser(context, text).parse_module()
    module.verify()
    return module


def printed(module: builtin.ModuleOp) -> str:
    out = StringIO()
    Printer(out).print_op(module)
    return out.getvalue()


def test_a_program_reads_back_as_printed():
    module = parse(PROGRAM)
    again = parse(printed(module))
    assert again.is_structurally_equivalent(module)
    assert 'kernel.call @gemm(%x, %w, %b, %n) from ["layer1/MatMul", "layer1/Add"]' in printed(module)


def test_every_memref_has_named_extents():
    module = parse(PROGRAM)
    shapes = [buffer_shape(op.results[0]) for op in module.walk() if isinstance(op, BufferOp | ViewOp | RowOp)]
    assert shapes == [(N, 768), (12 * N, 64), (64,), (1,)]
    (main,) = [op for op in module.walk() if isinstance(op, func.FuncOp)]
    assert buffer_shape(main.body.block.args[0]) == (N, 768)


def test_constructors_state_the_same_as_text():
    buffer = BufferOp(0, (N, S), f32)
    view = ViewOp(buffer.result, (N * S,))
    size = SizeOp(N * S)
    call = CallOp("k", [view.result, size.result], ["a"])
    for op in (buffer, view, size, call):
        op.verify()
    assert buffer.result.type == memref_type((N, S), f32)
    assert size.extent == N * S
    assert call.kernel == "k"


@pytest.mark.parametrize(
    "line, complaint",
    [
        ('%a = kernel.buffer 0 dims ["N"] : memref<3xf32>', "does not have the extents"),
        ('%a = kernel.buffer 0 dims ["N"] : memref<?xf32, strided<[2]>>', "not row-major"),
        (
            '%a = kernel.buffer 0 dims ["2"] : memref<2xi64>\nkernel.count "k" most "N" in %a : memref<2xi64>',
            "a count is one i64",
        ),
        ('%a = kernel.size "N +"', "cannot read the dimension"),
        (
            '%a = kernel.buffer 0 dims ["4"] : memref<4xf32>\n%b = kernel.view %a dims ["5"] : memref<4xf32> to memref<5xf32>',
            "has 4 elements",
        ),
    ],
)
def test_what_cannot_be_is_refused(line, complaint):
    with pytest.raises(VerifyException, match=complaint):
        parse(f"func.func @main() {{\n{line}\nfunc.return\n}}")
