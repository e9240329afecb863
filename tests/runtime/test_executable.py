"""Whole programs through the entry function: values, symbols, threads, control flow, errors before anything runs."""

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from mlc.codegen.llvm.entry import emit_entry
from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir.module import Module
from mlc.passes.kernel.arena import plan_arena
from tests.runtime.programs import arg, elementwise

ADD, ADD_CODE = elementwise("add", "fadd")
MUL, MUL_CODE = elementwise("mul", "fmul")
FLAT = "memref<?xf32>, memref<?xf32>, memref<?xf32>, index"


def chain(symbols: str = "{}", checks: str = "[]") -> str:
    """out = (x + y) * x + w over [N, S]; w has 12 elements, so N*S must be 12 where it is used."""
    x, y, out = arg("x", "input", ["N", "S"]), arg("y", "input", ["N", "S"]), arg("out", "output", ["N", "S"])
    return f"""
builtin.module attributes {{graph.symbols = {symbols}, graph.checks = {checks}}} {{
{ADD}{MUL}
func.func @main({x}, {y}, {out}) {{
  %n = kernel.size "N*S"
  %x1 = kernel.view %x dims ["N*S"] : memref<?x?xf32> to memref<?xf32>
  %y1 = kernel.view %y dims ["N*S"] : memref<?x?xf32> to memref<?xf32>
  %out1 = kernel.view %out dims ["N*S"] : memref<?x?xf32> to memref<?xf32>
  %a = kernel.buffer 0 dims ["N*S"] : memref<?xf32>
  %b = kernel.buffer 1 dims ["N*S"] : memref<?xf32>
  kernel.call @add(%x1, %y1, %a, %n) from ["first"] : {FLAT}
  kernel.call @mul(%a, %x1, %b, %n) from ["second"] : {FLAT}
  kernel.call @add(%b, %y1, %out1, %n) from ["third", "fourth"] : {FLAT}
  func.return
}}
}}"""


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (0, 4), (7, 0), (13, 17), (250, 401)])
def test_a_chain_of_kernels_computes_what_numpy_does(build, threads, shape):
    exe = build(chain(), [ADD_CODE, MUL_CODE], threads=threads)
    x, y = random(*shape, seed=1), random(*shape, seed=2)
    for _ in range(3):
        out = exe(x, y)
        assert out.shape == shape
        np.testing.assert_allclose(out, (x + y) * x + y, rtol=1e-6)
    assert exe.native_compilations == 0


def test_hundred_bindings_run_on_one_code(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE], threads=2)
    rng = np.random.default_rng(3)
    for seed in range(100):
        shape = tuple(rng.integers(0, 60, 2))
        x, y = random(*shape, seed=seed), random(*shape, seed=seed + 1)
        np.testing.assert_allclose(exe(x, y), (x + y) * x + y, rtol=1e-6)
    assert exe.native_compilations == 0


def test_outputs_are_aligned_and_their_own(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    x = random(4, 4)
    first = exe(x, x)
    kept = first.copy()
    second = exe(x * 2, x)
    assert first.ctypes.data % 64 == 0 and second.ctypes.data % 64 == 0
    np.testing.assert_array_equal(first, kept)


SHOWN_BY = {
    "itself": lambda out: out,
    "a view": lambda out: out[1:, ::2],
    "a transposed view of a view": lambda out: out[1:].T,
    "a memoryview": memoryview,
    "DLPack": np.from_dlpack,
    "the buffer it lies in": lambda out: out.base,
}


@pytest.mark.parametrize("show", SHOWN_BY.values(), ids=SHOWN_BY.keys())
def test_memory_of_an_output_is_not_used_again_while_anything_shows_it(build, show):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    kept = show(exe(random(4, 4), random(4, 4)))
    before = np.array(kept)
    for seed in range(1, 6):
        exe(random(4, 4, seed=seed), random(4, 4))
    np.testing.assert_array_equal(np.array(kept), before)


def test_memory_of_a_dropped_output_serves_the_next_call(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    x = random(4, 4)
    places = {exe(x, x).ctypes.data for _ in range(5)}
    assert len(places) == 1


def test_an_output_may_be_the_next_input(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    x = y = random(4, 4)
    expected = x.copy()
    for _ in range(4):
        x, expected = exe(x, y), (expected + y) * expected + y
    np.testing.assert_allclose(x, expected, rtol=1e-5)


def test_run_takes_and_returns_names(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    x, y = random(2, 3), random(2, 3, seed=1)
    (out,) = exe.run(None, {"y": y, "x": x})
    np.testing.assert_allclose(exe.run(["out"], {"x": x, "y": y})[0], out)
    assert [(a.name, a.shape, a.type) for a in exe.get_inputs()] == [
        ("x", ["N", "S"], "tensor(float)"),
        ("y", ["N", "S"], "tensor(float)"),
    ]
    assert exe.get_outputs()[0].name == "out"
    with pytest.raises(MlcError, match="there is no input 'z'"):
        exe.run(None, {"x": x, "z": y})
    with pytest.raises(MlcError, match="input 'y' is missing"):
        exe.run(None, {"x": x})
    with pytest.raises(MlcError, match="there is no output 'nothing'"):
        exe.run(["nothing"], {"x": x, "y": y})
    with pytest.raises(MlcError, match=r"2 inputs are needed \(x, y\), 1 given"):
        exe(x)


def test_what_is_no_plain_array_is_read_where_it_can_be(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    x, y = random(6, 4), random(6, 4, seed=1)
    want = (x + y) * x + y
    np.testing.assert_allclose(exe(np.asfortranarray(x), y), want, rtol=1e-6)
    cut = random(12, 8)[::2, ::2]
    np.testing.assert_allclose(exe(cut, y), (cut + y) * cut + y, rtol=1e-6)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_allclose(exe(frozen, y), want, rtol=1e-6)
    np.testing.assert_allclose(exe(x.tolist(), y), want, rtol=1e-6)

    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return x

    class Packed:
        def __dlpack__(self, **options):
            return x.__dlpack__(**options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    np.testing.assert_allclose(exe(Wrapped(), y), want, rtol=1e-6)
    np.testing.assert_allclose(exe(Packed(), y), want, rtol=1e-6)
    with pytest.raises(DTypeError, match="input 'x' takes float32, the array is float64"):
        exe(x.astype(np.float64), y)
    with pytest.raises(MlcError, match="cannot be read as an array"):
        exe("text", y)


def test_sizes_that_disagree_are_refused_before_anything_runs(build):
    exe = build(chain("{N = [1, 8]}"), [ADD_CODE, MUL_CODE])
    with pytest.raises(ShapeError, match=r"y: axis 1 is 4, but S is 3 \(from x axis 1\)"):
        exe(random(2, 3), random(2, 4))
    with pytest.raises(ShapeError, match=r"N is 9 \(from x axis 0\), outside of its bounds 1..8"):
        exe(random(9, 3), random(9, 3))
    with pytest.raises(ShapeError, match="input 'x' has 2 axes, the array has 1"):
        exe(random(9), random(9, 3))
    assert exe(random(8, 3), random(8, 3)).shape == (8, 3)


def test_checks_of_the_module_name_who_asks(build):
    exe = build(chain(checks='[["N", "4*(N//4)", "Concat up1/cat"], ["S", "N + 1", "Add a"]]'), [ADD_CODE, MUL_CODE])
    assert exe(random(4, 5), random(4, 5)).shape == (4, 5)
    with pytest.raises(ShapeError, match=r"N must be a multiple of 4 \(Concat up1/cat\): N is 6 \(from x axis 0\)"):
        exe(random(6, 7), random(6, 7))
    with pytest.raises(ShapeError, match=r"S is 4, but must equal N \+ 1, which is 5 \(Add a\): S = 4 from x axis 1"):
        exe(random(4, 4), random(4, 4))


def test_absurd_sizes_are_refused_before_memory_is_asked_for(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    huge = np.broadcast_to(np.float32(0), (1 << 20, 1 << 24))
    with pytest.raises(MlcError, match="this call needs"):
        exe._binder.bind((huge.shape, huge.shape))


def test_many_python_threads_may_call_at_once(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE], threads=2)
    wrong = []

    def work(seed: int) -> None:
        for turn in range(60):
            shape = (seed + 1, 40 * (turn % 7))
            x, y = random(*shape, seed=seed), random(*shape, seed=turn)
            if not np.allclose(exe(x, y), (x + y) * x + y, rtol=1e-6):
                wrong.append((seed, turn))

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_bindings_are_kept_in_a_bounded_number(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    for n in range(1, 101):
        exe(random(n, 2), random(n, 2))
    assert exe._binder.made == 100
    assert len(exe._binder.kept) == 64
    exe(random(100, 2), random(100, 2))
    assert exe._binder.made == 100


def test_weights_are_read_in_place(build):
    text = f"""
{ADD}
func.func @main({arg("x", "input", ["5"])}, {arg("out", "output", ["5"])}) {{
  %n = arith.constant 5 : index
  %w = kernel.weight "bias" : memref<5xf32>
  kernel.call @add(%x, %w, %out, %n) : memref<5xf32>, memref<5xf32>, memref<5xf32>, index
  func.return
}}"""
    bias = random(5, seed=4)
    exe = build(text, [ADD_CODE], {"bias": bias})
    np.testing.assert_allclose(exe(random(5)), random(5) + bias)


def test_a_loop_runs_over_rows(build):
    """out[t + 1] = out[t] + x[t], out[0] = start: a running sum along the first axis."""
    text = f"""
{ADD}
func.func @main({arg("start", "input", ["6"])}, {arg("x", "input", ["T", "6"])}, {arg("out", "output", ["T + 1", "6"])}) {{
  %t = kernel.size "T"
  %n = arith.constant 6 : index
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %first = kernel.row %out[%zero] : memref<?x6xf32> to memref<6xf32>
  "memref.copy"(%start, %first) : (memref<6xf32>, memref<6xf32>) -> ()
  scf.for %i = %zero to %t step %one {{
    %next = arith.addi %i, %one : index
    %a = kernel.row %out[%i] : memref<?x6xf32> to memref<6xf32>
    %b = kernel.row %x[%i] : memref<?x6xf32> to memref<6xf32>
    %c = kernel.row %out[%next] : memref<?x6xf32> to memref<6xf32>
    kernel.call @add(%a, %b, %c, %n) : memref<6xf32>, memref<6xf32>, memref<6xf32>, index
  }}
  func.return
}}"""
    exe = build(text, [ADD_CODE])
    for steps in (0, 1, 7):
        start, x = random(6), random(steps, 6)
        np.testing.assert_allclose(exe(start, x), np.cumsum(np.vstack([start, x]), axis=0), atol=1e-5)


def test_loops_carry_buffers_and_numbers(build):
    """Two buffers change places each turn; the number of turns that were even is counted along."""
    text = f"""
{ADD}
func.func @main({arg("turns", "input", [], "i64")}, {arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}, {arg("even", "output", ["1"], "i64")}) {{
  %n = kernel.size "N"
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %two = arith.constant 2 : index
  %t = memref.load %turns[] : memref<i64>
  %last = arith.index_cast %t : i64 to index
  %a = kernel.buffer 0 dims ["N"] : memref<?xf32>
  %b = kernel.buffer 1 dims ["N"] : memref<?xf32>
  "memref.copy"(%x, %a) : (memref<?xf32>, memref<?xf32>) -> ()
  %now, %other, %count = scf.for %i = %zero to %last step %one iter_args(%p = %a, %q = %b, %c = %zero) -> (memref<?xf32>, memref<?xf32>, index) {{
    kernel.call @add(%p, %x, %q, %n) : {FLAT}
    %rest = arith.remsi %i, %two : index
    %is_even = arith.cmpi eq, %rest, %zero : index
    %more = scf.if %is_even -> (index) {{
      %c1 = arith.addi %c, %one : index
      scf.yield %c1 : index
    }} else {{
      scf.yield %c : index
    }}
    scf.yield %q, %p, %more : memref<?xf32>, memref<?xf32>, index
  }}
  "memref.copy"(%now, %out) : (memref<?xf32>, memref<?xf32>) -> ()
  %found = arith.index_cast %count : index to i64
  memref.store %found, %even[%zero] : memref<1xi64>
  func.return
}}"""
    exe = build(text, [ADD_CODE])
    x = random(21)
    for turns in (0, 1, 2, 7):
        out, even = exe(np.array(turns), x)
        np.testing.assert_allclose(out, x * (turns + 1), rtol=1e-5)
        assert even[0] == (turns + 1) // 2


def test_a_program_of_many_calls_is_cut_into_functions_but_not_between_a_number_and_its_readers(build):
    """600 calls, a flag that is loaded before them and read behind them, a loop, 600 more calls."""
    first, second = (
        "\n".join(
            f"kernel.call @{kernel}(%{a}, %x, %{b}, %n) : {FLAT}"
            for turn in range(600)
            for kernel, a, b in [("add" if turn % 3 else "mul", *(("a", "b") if turn % 2 else ("b", "a")))]
        )
        for _ in range(2)
    )
    text = f"""
{ADD}{MUL}
func.func @main({arg("flag", "input", [], "bool")}, {arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}) {{
  %n = kernel.size "N"
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %five = arith.constant 5 : index
  %a = kernel.buffer 0 dims ["N"] : memref<?xf32>
  %b = kernel.buffer 1 dims ["N"] : memref<?xf32>
  "memref.copy"(%x, %b) : (memref<?xf32>, memref<?xf32>) -> ()
  %f = memref.load %flag[] : memref<i1>
  {first}
  scf.if %f {{
    kernel.call @add(%b, %b, %b, %n) : {FLAT}
  }}
  scf.for %i = %zero to %five step %one {{
    kernel.call @add(%b, %x, %b, %n) : {FLAT}
  }}
  {second}
  kernel.call @add(%b, %x, %out, %n) : {FLAT}
  func.return
}}"""
    module = Module.parse(text)
    plan_arena(module.main)
    parts = [part.count(".launch(") for part in emit_entry(module).text.split("define internal void @mlc_entry.part")]
    assert parts[1:] == [602, 256, 256, 89]

    def expected(flag: bool, x: np.ndarray) -> np.ndarray:
        now = x
        for half in range(2):
            for turn in range(600):
                now = now + x if turn % 3 else now * x
            if half == 0:
                now = (now + now if flag else now) + x + x + x + x + x
        return now + x

    x = np.linspace(-0.9, 0.9, 37, dtype=np.float32)
    exe = build(text, [ADD_CODE, MUL_CODE], threads=2)
    for flag in (False, True):
        np.testing.assert_allclose(exe(np.array(flag), x), expected(flag, x), rtol=1e-5, atol=1e-6)
        turns = {time.step: time.turns for time in exe.profile(np.array(flag), x)}
        assert len(turns) == 1202 + flag and turns[601] == 5


def test_a_branch_follows_a_flag_in_memory(build):
    text = f"""
{ADD}{MUL}
func.func @main({arg("flag", "input", [], "bool")}, {arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}) {{
  %n = kernel.size "N"
  %f = memref.load %flag[] : memref<i1>
  scf.if %f {{
    kernel.call @add(%x, %x, %out, %n) : {FLAT}
  }} else {{
    kernel.call @mul(%x, %x, %out, %n) : {FLAT}
  }}
  func.return
}}"""
    exe = build(text, [ADD_CODE, MUL_CODE])
    x = random(9)
    np.testing.assert_allclose(exe(np.array(True), x), x + x)
    np.testing.assert_allclose(exe(np.array(False), x), x * x)


def test_a_loop_may_end_when_data_says_so(build):
    """Doubles `out` until a counter in memory reaches the limit."""
    text = f"""
{ADD}
func.func @main({arg("limit", "input", [], "i64")}, {arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}) {{
  %n = kernel.size "N"
  %one = arith.constant 1 : i64
  %none = arith.constant 0 : i64
  %c = kernel.buffer 0 dims [] : memref<i64>
  memref.store %none, %c[] : memref<i64>
  "memref.copy"(%x, %out) : (memref<?xf32>, memref<?xf32>) -> ()
  "scf.while"() ({{
    %i = memref.load %c[] : memref<i64>
    %l = memref.load %limit[] : memref<i64>
    %more = arith.cmpi slt, %i, %l : i64
    scf.condition(%more)
  }}, {{
    kernel.call @add(%out, %out, %out, %n) : {FLAT}
    %j = memref.load %c[] : memref<i64>
    %k = arith.addi %j, %one : i64
    memref.store %k, %c[] : memref<i64>
    scf.yield
  }}) : () -> ()
  func.return
}}"""
    exe = build(text, [ADD_CODE])
    x = random(5)
    for limit in (0, 1, 5):
        np.testing.assert_allclose(exe(np.array(limit), x), x * 2.0**limit)


def test_a_counted_size_cuts_the_output(build):
    """The kernel copies the positive elements; how many they are is known only then."""
    head = """
func.func @positive(%x: memref<?xf32> {kernel.name = "x"}, %out: memref<?xf32> {kernel.name = "out"},
    %c: memref<1xi64> {kernel.name = "c"}, %n: index {kernel.name = "n", kernel.role = "extent"}) {
  func.return
}"""
    code = """
define void @positive(ptr %x, ptr %out, ptr %c, i64 %n) {
entry:
  store i64 0, ptr %c
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %end ]
  %next = add i64 %i, 1
  %more = icmp slt i64 %i, %n
  br i1 %more, label %work, label %done
work:
  %p = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %p
  %keep = fcmp ogt float %v, 0.0
  br i1 %keep, label %put, label %end
put:
  %k = load i64, ptr %c
  %q = getelementptr float, ptr %out, i64 %k
  store float %v, ptr %q
  %k1 = add i64 %k, 1
  store i64 %k1, ptr %c
  br label %end
end:
  br label %test
done:
  ret void
}"""
    text = f"""
{ADD}{head}
func.func @main({arg("x", "input", ["N"])}, {arg("out", "output", ["u"])}, {arg("twice", "output", ["2*u"])}) {{
  %n = kernel.size "N"
  %c = kernel.buffer 0 dims ["1"] : memref<1xi64>
  %b = kernel.buffer 1 dims ["u"] : memref<?xf32>
  kernel.call @positive(%x, %b, %c, %n) : memref<?xf32>, memref<?xf32>, memref<1xi64>, index
  kernel.count "u" most "N" in %c : memref<1xi64>
  %u = kernel.size "u"
  %rows = kernel.view %twice dims ["2", "u"] : memref<?xf32> to memref<2x?xf32>
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %r0 = kernel.row %rows[%zero] : memref<2x?xf32> to memref<?xf32>
  %r1 = kernel.row %rows[%one] : memref<2x?xf32> to memref<?xf32>
  "memref.copy"(%b, %out) : (memref<?xf32>, memref<?xf32>) -> ()
  kernel.call @add(%b, %b, %r0, %u) : {FLAT}
  "memref.copy"(%b, %r1) : (memref<?xf32>, memref<?xf32>) -> ()
  func.return
}}"""
    exe = build(text, [ADD_CODE, code])
    for n in (0, 1, 50, 1000):
        x = random(n)
        want = x[x > 0]
        out, twice = exe(x)
        np.testing.assert_array_equal(out, want)
        np.testing.assert_array_equal(twice, np.concatenate([want + want, want]))


def test_scratch_memory_belongs_to_one_thread(build):
    """The kernel passes its tile through scratch: threads that shared it would mix their tiles."""
    head = """
func.func @through(%x: memref<?xf32> {kernel.name = "x"}, %z: memref<?xf32> {kernel.name = "z"},
    %scratch: memref<?xi8> {kernel.role = "scratch"}, %n: index {kernel.name = "n", kernel.role = "extent"},
    %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"})
    attributes {kernel.tiles = "n", kernel.scratch = "8192"} {
  func.return
}"""
    code = """
define void @through(ptr %x, ptr %z, ptr %scratch, i64 %n, i64 %begin, i64 %end) {
entry:
  br label %test
test:
  %i = phi i64 [ %begin, %entry ], [ %next, %spread ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %work, label %done
work:
  %next = add i64 %i, 1
  %p = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %p
  br label %fill
fill:
  %j = phi i64 [ 0, %work ], [ %j1, %fill ]
  %s = getelementptr float, ptr %scratch, i64 %j
  store volatile float %v, ptr %s
  %j1 = add i64 %j, 1
  %again = icmp slt i64 %j1, 2048
  br i1 %again, label %fill, label %spread
spread:
  %last = getelementptr float, ptr %scratch, i64 1000
  %w = load volatile float, ptr %last
  %q = getelementptr float, ptr %z, i64 %i
  store float %w, ptr %q
  br label %test
done:
  ret void
}"""
    text = f"""
{head}
func.func @main({arg("x", "input", ["N"])}, {arg("out", "output", ["N"])}) {{
  %n = kernel.size "N"
  kernel.call @through(%x, %out, %n) : memref<?xf32>, memref<?xf32>, index
  func.return
}}"""
    exe = build(text, [code], threads=4)
    x = random(20000)
    for _ in range(5):
        np.testing.assert_array_equal(exe(x), x)


def test_symbols_are_solved_from_expressions(build):
    text = f"""
{ADD}
func.func @main({arg("cache", "input", ["P + 1", "4"])}, {arg("x", "input", ["2*N + P"])}, {arg("out", "output", ["2*N + P"])}) {{
  %n = kernel.size "2*N + P"
  kernel.call @add(%x, %x, %out, %n) : {FLAT}
  func.return
}}"""
    exe = build(text, [ADD_CODE])
    np.testing.assert_allclose(exe(random(4, 4), random(9)), random(9) * 2)
    with pytest.raises(
        ShapeError, match=r"x: axis 0 is 8, which P \+ 2\*N cannot be|x: axis 0 is 8, which 2\*N \+ P cannot be"
    ):
        exe(random(4, 4), random(8))
    with pytest.raises(ShapeError, match="cache: axis 1 is 5, the model takes 4"):
        exe(random(4, 5), random(9))
    with pytest.raises(ShapeError, match=r"cache: axis 0 is 0, which P \+ 1 cannot be"):
        exe(random(0, 4), random(9))


def test_a_size_that_no_input_tells_is_an_error_when_the_executable_is_made(build):
    text = f"""
{ADD}
func.func @main({arg("x", "input", ["N//2"])}, {arg("out", "output", ["N"])}) {{
  func.return
}}"""
    with pytest.raises(ShapeError, match="axis 0 is N//2, which does not tell its symbols"):
        build(text, [])


def test_memory_is_told_for_any_size(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE], threads=1)
    use = exe.memory_analysis(N=100, S=16)
    # a and b are alive together in the second call
    assert (use.peak, use.step, use.outputs) == (2 * 6400, 1, 6400)
    assert use.peak <= use.arena <= use.peak + 2 * 128
    assert exe.memory_analysis(N=0, S=3).peak == 0
    with pytest.raises(ShapeError, match="the size S is not given"):
        exe.memory_analysis(N=1)


def test_an_executable_describes_itself(build):
    text = repr(build(chain(), [ADD_CODE, MUL_CODE], threads=1))
    assert "in  x: f32[N, S]" in text and "3 kernel calls" in text
    assert len(text.splitlines()) <= 10


def test_a_new_binding_is_found_without_compiling_and_memory_stays_flat(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE], threads=1)
    x = np.zeros((64, 64), np.float32)

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def sweep() -> None:
        for n in range(1, 41):
            for s in range(1, 51):
                exe(x[:n, :s].copy(), x[:n, :s].copy())

    sweep()
    before = resident()
    sweep()
    assert resident() - before < 4 << 20
    assert exe._binder.made == 4000
    assert len(exe._free) == 1


def test_an_executable_goes_without_a_collection(build):
    exe = build(chain(), [ADD_CODE, MUL_CODE])
    exe(random(3, 4), random(3, 4))
    gone = [weakref.ref(exe), weakref.ref(exe._machine), weakref.ref(next(iter(exe._bindings.values())))]
    gc.disable()
    try:
        del exe
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


FORK = """
import os, sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.runtime import test_executable as t
from tests.runtime.conftest import compiled
exe = compiled(t.chain(), [t.ADD_CODE, t.MUL_CODE], threads=3)
x = t.random(300, 200)
want = exe(x, x)
child = os.fork()
if child == 0:
    same = all(np.array_equal(exe(x, x), want) for _ in range(50))
    os._exit(0 if same and exe._machine.pool.workers == 2 else 1)
same = all(np.array_equal(exe(x, x), want) for _ in range(50))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), same)
"""


def test_an_executable_works_in_parent_and_child_after_a_fork():
    program = FORK.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_running_a_package_needs_none_of_the_compiler():
    program = "import sys, mlc.runtime.package; print(*sys.modules.keys() & {'xdsl', 'onnx', 'mlc.passes'})"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == []
