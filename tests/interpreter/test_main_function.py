"""Planned programs: buffers, views, rows, counts, weights in panels, kernels with tiles and scratch."""

import numpy as np
import pytest

from mlc.errors import InternalError, ShapeError
from mlc.ir.kernel.interpreter import Counters, run_program
from mlc.ir.module import Module
from mlc.ir.weights import WeightStore

SIGNATURE = 'kernel.name = "{0}", kernel.role = "{1}", kernel.dtype = "f32", kernel.dims = #graph.dims<[{2}]>'


def argument(name: str, role: str, *extents: str) -> str:
    shape = "x".join("?" if not e.isdecimal() else e for e in extents)
    quoted = ", ".join(f'"{extent}"' for extent in extents)
    return f"%{name}: memref<{shape}xf32> {{{SIGNATURE.format(name, role, quoted)}}}"


ADD = """func.func @add(%x: memref<?xf32> {kernel.name = "x", kernel.shape = ["E"]}, %y: memref<?xf32> {kernel.name = "y", kernel.shape = ["E"]},
    %E: index {kernel.name = "E", kernel.role = "extent"}) {
  linalg.generic {indexing_maps = [affine_map<(e) -> (e)>, affine_map<(e) -> (e)>], iterator_types = ["parallel"]}
    ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) attrs = {loops = {e = "E"}} {
    ^bb0(%a: f32, %b: f32):
      %c = arith.addf %a, %b : f32
      linalg.yield %c : f32
  }
  func.return
}"""


def program(body: str, *arguments: str, kernels: str = ADD, weights: WeightStore | None = None) -> Module:
    return Module.parse(
        f"builtin.module {{ {kernels}\nfunc.func @main({', '.join(arguments)}) {{ {body} func.return }} }}", weights
    )


def test_rows_of_a_sequence_are_added_into_a_buffer_and_seen_through_views():
    """y[s] = x[0] + ... + x[s]"""
    body = """
      %n = kernel.size "N"
      %row = kernel.size "M"
      %zero = arith.constant 0 : index
      %one = arith.constant 1 : index
      %sum = kernel.buffer 0 dims ["M"] : memref<?xf32>
      %first = kernel.row %x[%zero] : memref<?x?xf32> to memref<?xf32>
      "memref.copy"(%first, %sum) : (memref<?xf32>, memref<?xf32>) -> ()
      scf.for %s = %zero to %n step %one {
        %out = kernel.row %y[%s] : memref<?x?xf32> to memref<?xf32>
        "memref.copy"(%sum, %out) : (memref<?xf32>, memref<?xf32>) -> ()
        %next = arith.addi %s, %one : index
        %more = arith.cmpi slt, %next, %n : index
        scf.if %more {
          %in = kernel.row %x[%next] : memref<?x?xf32> to memref<?xf32>
          kernel.call @add(%in, %sum, %row) : memref<?xf32>, memref<?xf32>, index
        }
      }"""
    module = program(body, argument("x", "input", "N", "M"), argument("y", "output", "N", "M"))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    (y,) = run_program(module, [x])
    assert np.allclose(y, np.cumsum(x, axis=0), atol=1e-6)


def test_a_view_has_the_same_bytes_with_other_extents():
    body = """
      %e = kernel.size "N*6"
      %flat = kernel.view %x dims ["N*6"] : memref<?x6xf32> to memref<?xf32>
      %out = kernel.view %y dims ["N*6"] : memref<?x2x3xf32> to memref<?xf32>
      "memref.copy"(%flat, %out) : (memref<?xf32>, memref<?xf32>) -> ()
      kernel.call @add(%flat, %out, %e) from ["Add_1"] : memref<?xf32>, memref<?xf32>, index"""
    module = program(body, argument("x", "input", "N", "6"), argument("y", "output", "N", "2", "3"))
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    counters = Counters()
    (y,) = run_program(module, [x], counters=counters)
    assert np.array_equal(y, 2 * x.reshape(4, 2, 3))
    assert counters.loads == {"x": 48, "y": 24}
    with pytest.raises(ShapeError, match="x: axis 1 is 5, but 6 is 6"):
        run_program(module, [np.zeros((4, 5), np.float32)])
    with pytest.raises(ShapeError, match="x: dtype is float64"):
        run_program(module, [np.zeros((4, 6))])


def test_a_size_that_is_counted_while_the_program_runs():
    """y = the first c elements of x, c = 3 but at most N."""
    count = """func.func @count(%c: memref<1xi64>) {
      %zero = arith.constant 0 : index
      %three = arith.constant 3 : i64
      memref.store %three, %c[%zero] : memref<1xi64>
      func.return
    }
    func.func @head(%x: memref<?xf32> {kernel.name = "x", kernel.shape = ["N"]}, %y: memref<?xf32> {kernel.name = "y", kernel.shape = ["C"]},
        %N: index {kernel.name = "N", kernel.role = "extent"}, %C: index {kernel.name = "C", kernel.role = "extent"}) {
      linalg.generic {indexing_maps = [affine_map<(e) -> (e)>, affine_map<(e) -> (e)>], iterator_types = ["parallel"]}
        ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) attrs = {loops = {e = "C"}} {
        ^bb0(%a: f32, %b: f32):
          linalg.yield %a : f32
      }
      func.return
    }"""
    body = """
      %c = kernel.buffer 0 dims ["1"] : memref<1xi64>
      kernel.call @count(%c) : memref<1xi64>
      kernel.count "c" most "N" in %c : memref<1xi64>
      %n = kernel.size "N"
      %m = kernel.size "c"
      kernel.call @head(%x, %y, %n, %m) : memref<?xf32>, memref<?xf32>, index, index"""
    module = program(body, argument("x", "input", "N"), argument("y", "output", "c"), kernels=count)
    (y,) = run_program(module, [np.arange(7, dtype=np.float32)])
    assert y.tolist() == [0, 1, 2]
    (y,) = run_program(module, [np.arange(2, dtype=np.float32)])
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize("packed", [False, True])
def test_weights_in_panels_reach_a_kernel_as_it_wants_them(packed):
    from mlc.ir.kernel.cpu_target import cpu_target
    from mlc.ir.kernel.pack import pack
    from mlc.ir.kernel.schedule import Level, Schedule, Stage, Vector
    from mlc.passes.loops.lower import lower
    from tests.kernel import hand_made

    levels = (Level({"n": 32}, stage={"B": Stage("panel")}), Level({"m": 2}, {"m": "parallel"}))
    schedule = Schedule(levels, Vector(("n",), 16, ("m", "n")))
    kernel = lower(hand_made.gemm("M", 37, 5, epilogue=False), schedule, cpu_target("x86-64-v4"))
    weight = np.random.default_rng(1).standard_normal((5, 37)).astype(np.float32)
    store = WeightStore()
    key = store.add(pack(weight, kernel.packs["B"]) if packed else weight, "w")
    type = str(kernel.buffers["B"].type)
    body = f"""
      %m = kernel.size "N"
      %w = kernel.weight "{key}" : {type}
      kernel.call @gemm(%x, %w, %y, %m) : memref<?x5xf32>, {type}, memref<?x37xf32>, index"""
    module = program(
        body, argument("x", "input", "N", "5"), argument("y", "output", "N", "37"), kernels=kernel.text(), weights=store
    )
    x = np.random.default_rng(2).standard_normal((6, 5)).astype(np.float32)
    (y,) = run_program(module, [x], races=True)
    assert np.allclose(y, x.astype(float) @ weight, atol=1e-5)


def test_a_call_whose_extents_disagree_names_the_kernel():
    body = """
      %n = kernel.size "N + 1"
      kernel.call @add(%x, %y, %n) : memref<?xf32>, memref<?xf32>, index"""
    module = program(body, argument("x", "input", "N"), argument("y", "output", "N"))
    with pytest.raises(InternalError, match=r"@add takes \[5\] for 'x', the program gives \[4\]"):
        run_program(module, [np.zeros(4, np.float32)])
