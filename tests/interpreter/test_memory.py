"""Views, vectors and control flow: what they show, and what is refused."""

import numpy as np
import pytest

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter import run_kernel
from tests.interpreter.ops_from_text import function

TILES = "memref<2x2x2x3xf32, strided<[12, 2, 6, 1], offset: 1>>"
INDICES = "\n".join(f"%c{n} = arith.constant {n} : index" for n in range(6))


def run(body: str, *arrays: np.ndarray, types: tuple[str, ...]) -> None:
    arguments = ", ".join(f"%{name}: {type}" for name, type in zip("xyz", types, strict=False))
    run_kernel(function(f"func.func @f({arguments}) {{ {INDICES}\n{body}\nfunc.return }}"), arrays)


def copy_of(view: str, into: str) -> str:
    return f'"memref.copy"(%v, %y) : ({view}, {into}) -> ()'


@pytest.mark.parametrize(
    "op, view, part",
    [
        ("memref.subview %x[1, 2] [2, 3] [1, 1] : memref<4x6xf32> to memref<2x3xf32, strided<[6, 1], offset: 8>>",
         "memref<2x3xf32, strided<[6, 1], offset: 8>>", lambda x: x[1:3, 2:5]),
        ("memref.subview %x[0, 1] [2, 3] [2, 2] : memref<4x6xf32> to memref<2x3xf32, strided<[12, 2], offset: 1>>",
         "memref<2x3xf32, strided<[12, 2], offset: 1>>", lambda x: x[::2, 1::2]),
        ("memref.subview %x[%c3, 0] [1, 6] [1, 1] : memref<4x6xf32> to memref<6xf32, strided<[1], offset: ?>>",
         "memref<6xf32, strided<[1], offset: ?>>", lambda x: x[3]),
        (f"memref.reinterpret_cast %x to offset: [1], sizes: [2, 2, 2, 3], strides: [12, 2, 6, 1] : memref<4x6xf32> to {TILES}",
         TILES,
         lambda x: np.lib.stride_tricks.as_strided(x.ravel()[1:], (2, 2, 2, 3), (48, 8, 24, 4))),
        ("memref.collapse_shape %x [[0, 1]] : memref<4x6xf32> into memref<24xf32>", "memref<24xf32>", lambda x: x.ravel()),
        ("memref.expand_shape %x [[0, 1], [2]] output_shape [2, 2, 6] : memref<4x6xf32> into memref<2x2x6xf32>",
         "memref<2x2x6xf32>", lambda x: x.reshape(2, 2, 6)),
    ],
)  # fmt: skip
def test_views_share_memory(op, view, part):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    want = part(x).copy()
    y = np.zeros(want.shape, np.float32)
    plain = f"memref<{'x'.join(map(str, want.shape))}xf32>"
    run(f"%v = {op}\n{copy_of(view, plain)}", x, y, types=("memref<4x6xf32>", plain))
    assert np.array_equal(y, want)
    run(f'%v = {op}\n"memref.copy"(%y, %v) : ({plain}, {view}) -> ()', x, -y, types=("memref<4x6xf32>", plain))
    assert np.array_equal(part(x), -want)


def test_a_view_of_scratch_bytes_has_another_type():
    body = """%b = memref.alloc() : memref<64xi8>
      %v = memref.view %b[%c4][] : memref<64xi8> to memref<3xf32>
      %f = arith.constant 2.5 : f32
      memref.store %f, %v[%c1] : memref<3xf32>
      %w = memref.view %b[%c0][] : memref<64xi8> to memref<16xi32>
      %i = memref.load %w[%c2] : memref<16xi32>
      memref.store %i, %x[%c0] : memref<1xi32>"""
    x = np.zeros(1, np.int32)
    run(body, x, types=("memref<1xi32>",))
    assert x.view(np.float32)[0] == 2.5


def test_memory_that_nothing_wrote_holds_nan():
    body = """%t = memref.alloc() : memref<2xf32>
      %a = memref.load %t[%c1] : memref<2xf32>
      memref.store %a, %x[%c0] : memref<1xf32>"""
    x = np.zeros(1, np.float32)
    run(body, x, types=("memref<1xf32>",))
    assert np.isnan(x[0])


@pytest.mark.parametrize(
    "body, complaint",
    [
        (
            "%a = memref.load %x[%c4] : memref<4xf32>",
            r"memref.load %a: \[4\] lies outside 'x', whose extents are \[4\]",
        ),
        ("%m = arith.subi %c0, %c1 : index\n%a = memref.load %x[%m] : memref<4xf32>", r"\[-1\] lies outside 'x'"),
        (
            "%v = memref.subview %x[2] [3] [1] : memref<4xf32> to memref<3xf32, strided<[1], offset: 2>>",
            r"memref.subview %v: \[2..4\] lies outside",
        ),
        (
            "%v = memref.subview %x[%c1] [2] [%c2] : memref<4xf32> to memref<2xf32, strided<[1], offset: ?>>",
            "are not memref<2xf32",
        ),
        ("%a = vector.load %x[%c1] : memref<4xf32>, vector<4xf32>", r"vector.load %a: \[1..4\] lies outside 'x'"),
        ("%s = arith.constant 0 : index\nscf.for %i = %c0 to %c4 step %s { }", "the step is 0"),
    ],
)
def test_what_lies_outside_is_an_error_that_names_op_and_buffer(body, complaint):
    with pytest.raises(InternalError, match=complaint):
        run(body, np.zeros(4, np.float32), types=("memref<4xf32>",))


def test_masked_vectors_touch_only_their_lanes():
    body = """%m = vector.create_mask %c3 : vector<4xi1>
      %f = arith.constant 7.0 : f32
      %p = vector.broadcast %f : f32 to vector<4xf32>
      %v = vector.maskedload %x[%c0], %m, %p : memref<3xf32>, vector<4xi1>, vector<4xf32> into vector<4xf32>
      vector.store %v, %z[%c0] : memref<4xf32>, vector<4xf32>
      vector.maskedstore %y[%c0], %m, %v : memref<3xf32>, vector<4xi1>, vector<4xf32>"""
    x, y, z = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32)
    run(body, x, y, z, types=("memref<3xf32>", "memref<3xf32>", "memref<4xf32>"))
    assert y.tolist() == [1, 2, 3] and z.tolist() == [1, 2, 3, 7]


def test_lanes_are_shuffled_inserted_extracted_and_folded():
    body = """%v = vector.load %x[%c0] : memref<4xf32>, vector<4xf32>
      %s = vector.shuffle %v, %v [3, 4, 1, 6] : vector<4xf32>, vector<4xf32>
      %f = vector.extract %v[2] : f32 from vector<4xf32>
      %i = vector.insert %f, %s[0] : f32 into vector<4xf32>
      vector.store %i, %y[%c0] : memref<4xf32>, vector<4xf32>
      %sum = "vector.reduction"(%v) <{kind = #vector.kind<add>}> : (vector<4xf32>) -> f32
      %top = "vector.reduction"(%v, %sum) <{kind = #vector.kind<maximumf>}> : (vector<4xf32>, f32) -> f32
      memref.store %top, %z[%c0] : memref<1xf32>"""
    x, y, z = np.array([1, 2, 3, 4], np.float32), np.zeros(4, np.float32), np.zeros(1, np.float32)
    run(body, x, y, z, types=("memref<4xf32>", "memref<4xf32>", "memref<1xf32>"))
    assert y.tolist() == [3, 1, 2, 3] and z.tolist() == [10]


def test_a_while_loop_carries_values_until_its_condition_fails():
    """The first power of two that is not below x[0]."""
    body = """%one = arith.constant 1 : i32
      %limit = memref.load %x[%c0] : memref<1xi32>
      %p = scf.while (%a = %one) : (i32) -> i32 {
        %less = arith.cmpi slt, %a, %limit : i32
        scf.condition(%less) %a : i32
      } do {
      ^bb0(%b : i32):
        %twice = arith.addi %b, %b : i32
        scf.yield %twice : i32
      }
      memref.store %p, %y[%c0] : memref<1xi32>"""
    y = np.zeros(1, np.int32)
    run(body, np.array([37], np.int32), y, types=("memref<1xi32>", "memref<1xi32>"))
    assert y.tolist() == [64]


def test_loops_carry_values_and_switches_choose():
    """y[i] = i-th Fibonacci number where i is 1, 2, 4; else -1."""
    body = """%zero = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %none = arith.constant -1 : i32
      scf.for %i = %c0 to %c5 step %c1 {
        %n:2 = scf.for %k = %c0 to %i step %c1 iter_args(%a = %zero, %b = %one) -> (i32, i32) {
          %s = arith.addi %a, %b : i32
          scf.yield %b, %s : i32, i32
        }
        %f = scf.index_switch %i -> i32
        case 1 { scf.yield %n#0 : i32 }
        case 2 { scf.yield %n#0 : i32 }
        case 4 { scf.yield %n#0 : i32 }
        default { scf.yield %none : i32 }
        memref.store %f, %x[%i] : memref<5xi32>
      }"""
    x = np.zeros(5, np.int32)
    run(body, x, types=("memref<5xi32>",))
    assert x.tolist() == [-1, 1, 1, -1, 3]


def test_an_op_that_the_interpreter_does_not_know_is_named():
    with pytest.raises(InternalError, match="does not run memref.extract_aligned_pointer_as_index"):
        run(
            '%p = "memref.extract_aligned_pointer_as_index"(%x) : (memref<4xf32>) -> index',
            np.zeros(4, np.float32),
            types=("memref<4xf32>",),
        )


def test_a_value_that_is_used_before_it_is_defined_is_refused():
    """xDSL parses and verifies it."""
    body = """memref.store %later, %x[%c0] : memref<1xf32>
      %later = arith.constant 1.0 : f32"""
    with pytest.raises(InternalError, match="memref.store uses %later before it is defined"):
        run(body, np.zeros(1, np.float32), types=("memref<1xf32>",))
