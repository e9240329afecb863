"""Positions in inputs: a call refuses those out of range in words, or with check_indices=False stays inside of the tensor all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx.parser
import pytest

import mlc
from mlc.compiler import Compilation
from mlc.ir import builder as g
from mlc.ir.dims import symbol
from mlc.ir.graph.indexed import index_ranges
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.runtime.executable import Executable

TABLE = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
N, S, K = symbol("N"), symbol("S"), symbol("K")


def module(
    build: Callable[..., object], indices: tuple = ("K",), dtype: str = "i64", table: tuple = (7, 5), more: tuple = ()
) -> Module:
    m = g.module_builder("positions")
    with m.function(inputs=[("x", table, "f32"), ("i", indices, dtype), *more]) as values:
        m.outputs([("y", build(*values))])
    return m.finish()


def compiled(source, **options) -> Executable:
    executable = mlc.compile(source, threads=1, **options)
    assert isinstance(executable, Executable)
    return executable


def refusal(executable: Executable, *arrays: np.ndarray) -> str:
    with pytest.raises(mlc.OutOfRange) as caught:
        executable(*arrays)
    return caught.value.message


def test_the_error_names_input_position_value_range_table_and_node() -> None:
    numbers = ", ".join(map(str, range(36)))
    source = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> agraph (int64[N, S] input_ids) => (float[N, S, 12] y) '
        f"<float[3, 12] words = {{{numbers}}}> {{ y = Gather <axis = 0> (words, input_ids) }}"
    )
    source.graph.node[0].name = "/words/Gather"
    executable = compiled(source)
    got = refusal(executable, np.array([[0, 1, 2, -3], [0, 1, 2, 3]]))
    assert got == "input 'input_ids': [1, 3] is 3, outside of -3..2 (rows of 'words', node '/words/Gather')"
    assert isinstance(mlc.OutOfRange("x"), IndexError)


def test_positions_count_from_the_end_where_negative() -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 0)))
    every = np.arange(-7, 7)
    np.testing.assert_array_equal(executable(TABLE, every), TABLE[every])
    assert refusal(executable, TABLE, np.array([0, -8])).startswith("input 'i': [1] is -8, outside of -7..6")


@pytest.mark.parametrize("bad", [7, -8, 2**31, -(2**31) - 1, 2**62, -(2**63)])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_one_bad_position_among_any_number_is_found(bad: int, count: int) -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 0)))
    for place in {0, count - 1}:
        indices = np.zeros(count, np.int64)
        indices[place] = bad
        assert f"[{place}] is {bad}, outside of -7..6" in refusal(executable, TABLE, indices)


def test_the_range_follows_the_sizes_of_the_call() -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 0), table=("N", 5)))
    np.testing.assert_array_equal(executable(TABLE, np.array([6])), TABLE[[6]])
    assert "outside of -3..2 (rows of 'x', N = 3)" in refusal(executable, TABLE[:3], np.array([6]))
    with pytest.raises(mlc.ShapeError, match="N = 0 from x axis 0"):
        executable(TABLE[:0], np.array([0]))
    assert executable(TABLE[:0], np.zeros(0, np.int64)).shape == (0, 5)
    np.testing.assert_array_equal(executable(TABLE, np.array([6])), TABLE[[6]])


def test_a_scalar_position_has_no_place_of_its_own() -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 1), indices=()))
    np.testing.assert_array_equal(executable(TABLE, np.int64(-5)), TABLE[:, 0])
    assert refusal(executable, TABLE, np.int64(5)) == "input 'i' is 5, outside of -5..4 (axis 1 of 'x')"


@pytest.mark.parametrize("dtype", ["i8", "i16", "i32", "u8", "u16", "u32", "u64"])
def test_every_integer_dtype_is_tested(dtype: str) -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 0), dtype=dtype))
    indices = np.array([0, 6, 3]).astype(executable.plan.inputs[1].dtype.replace("i", "int").replace("u", "uint"))
    np.testing.assert_array_equal(executable(TABLE, indices), TABLE[[0, 6, 3]])
    indices[1] = 7
    assert "[1] is 7" in refusal(executable, TABLE, indices)


def test_scatters_are_tested_as_gathers_are() -> None:
    zeros = np.zeros((7, 5), np.float32)
    executable = compiled(module(lambda x, i, u: g.scatter_nd(x, i, u), ("K", 1), more=(("u", ("K", 5), "f32"),)))
    np.testing.assert_array_equal(executable(zeros, np.array([[-1]]), TABLE[:1])[6], TABLE[0])
    assert "[0, 0] is 7, outside of -7..6" in refusal(executable, zeros, np.array([[7]]), TABLE[:1])


def test_columns_of_positions_have_ranges_of_their_own() -> None:
    executable = compiled(module(lambda x, i: g.gather_nd(x, i), ("K", 2), table=("N", 5)))
    np.testing.assert_array_equal(executable(TABLE, np.array([[6, 4], [-7, -5]])), TABLE[[6, 0], [4, 0]])
    assert "[1, 0] is 7, outside of -7..6 (rows of 'x', N = 7)" in refusal(
        executable, TABLE, np.array([[0, 0], [7, 0]])
    )
    assert "[1, 1] is 5, outside of -5..4 (axis 1 of 'x')" in refusal(executable, TABLE, np.array([[0, 0], [6, 5]]))


KEEPING = {
    "an unsqueeze": lambda x, i: g.gather(x, g.unsqueeze(i, [0]), 0),
    "a reshape": lambda x, i: g.gather(x, g.reshape(i, [2, 2]), 0),
    "a transpose": lambda x, i: g.gather(x, g.transpose(g.reshape(i, [2, 2]), [1, 0]), 0),
    "a cast to fewer bits": lambda x, i: g.gather(x, g.cast(i, "i32"), 0),
    "a broadcast": lambda x, i: g.gather(x, g.broadcast(i, [3, 4], [1]), 0),
    "a concatenation": lambda x, i: g.gather(x, g.concatenate([g.constant(np.zeros(2, np.int64)), i], 0), 0),
    "a column of zeros": lambda x, i: g.gather_nd(x, g.concatenate([g.unsqueeze(i, [1]), g.full([4, 1], 0, "i64")], 1)),
}


@pytest.mark.parametrize("between", KEEPING)
def test_values_are_followed_through(between: str) -> None:
    executable = compiled(module(KEEPING[between], (4,)))
    assert np.isfinite(executable(TABLE, np.array([0, 6, -7, 3]))).all()
    for bad in (7, -8):
        assert f"'i': [2] is {bad}, outside of -7..6" in refusal(executable, TABLE, np.array([0, 6, bad, 3]))


def test_what_a_constant_adds_moves_the_range() -> None:
    def shifted(x, i):
        return g.gather(x, g.sub(g.add(i, g.full([4], 5, "i64")), g.full([4], 2, "i64")), 0)

    executable = compiled(module(shifted, (4,)))
    values = np.array([-10, 3, 0, -3])
    np.testing.assert_array_equal(executable(TABLE, values), TABLE[values + 3])
    assert "[1] is 4, outside of -10..3" in refusal(executable, TABLE, np.array([0, 4, 0, 0]))


def test_only_the_part_that_is_sliced_out_is_tested() -> None:
    def first_columns(x, i):
        return g.gather(x, g.reshape(g.slice(i, [0, 1], [2, 2], [1, 2]), [4]), 0)

    executable = compiled(module(first_columns, (2, 5)))
    values = np.full((2, 5), 99)
    values[:, 1::2] = [[1, 2], [3, -1]]
    np.testing.assert_array_equal(executable(TABLE, values), TABLE[[1, 2, 3, -1]])
    values[1, 3] = -8
    assert "'i': [1, 3] is -8, outside of -7..6" in refusal(executable, TABLE, values)


def test_a_slice_that_runs_backwards_to_the_start_is_followed() -> None:
    executable = compiled(module(lambda x, i: g.gather(x, g.slice(i, [2], [3], [-1]), 0), (4,)))
    np.testing.assert_array_equal(executable(TABLE, np.array([1, 2, 3, 99])), TABLE[[3, 2, 1]])
    assert "'i': [0] is 99" in refusal(executable, TABLE, np.array([99, 2, 3, 99]))


def test_a_broadcast_to_no_rows_reads_nothing() -> None:
    def repeated(x, i, rows):
        return g.gather(x, g.broadcast(i, [N, 2], [1]), 0)

    executable = compiled(module(repeated, (2,), more=(("rows", ("N",), "f32"),)))
    assert executable(TABLE, np.array([99, 0]), np.zeros(0, np.float32)).shape == (0, 2, 5)
    assert "[0] is 99" in refusal(executable, TABLE, np.array([99, 0]), np.zeros(3, np.float32))


def test_the_tightest_of_several_tables_decides_and_is_named() -> None:
    def both(x, i, z):
        return g.add(g.gather(x, i, 0), g.gather(z, i, 0))

    executable = compiled(module(both, more=(("z", ("M", 5), "f32"),)))
    assert "outside of -4..3 (rows of 'z', M = 4)" in refusal(executable, TABLE, np.array([0, 5]), TABLE[:4])
    assert "outside of -7..6 (rows of 'x')" in refusal(executable, TABLE, np.array([0, 8]), TABLE[:4])


def test_a_branch_that_is_not_taken_tests_nothing() -> None:
    def branch(x, i, flag):
        return g.cond(
            flag,
            lambda x, i: [g.gather(x, i, 0)],
            lambda x, i: [g.broadcast(g.iota([5], 0, "f32"), [2, 5], [1])],
            [x, i],
        )[0]

    executable = compiled(module(branch, (2,), more=(("flag", (), "bool"),)))
    assert executable(TABLE, np.array([99, 99]), np.bool_(False))[0, 4] == 4
    np.testing.assert_array_equal(executable(TABLE, np.array([99, -99]), np.bool_(True)), TABLE[[6, 0]])


def test_without_the_test_reading_takes_the_nearest_and_writing_leaves_out() -> None:
    executable = compiled(module(lambda x, i: g.gather(x, i, 0)), check_indices=False)
    np.testing.assert_array_equal(executable(TABLE, np.array([99, -99, 6])), TABLE[[6, 0, 6]])
    scatter = module(lambda x, i, u: g.scatter_nd(x, i, u, "add"), ("K", 1), more=(("u", ("K", 5), "f32"),))
    got = compiled(scatter, check_indices=False)(TABLE, np.array([[7], [-8]]), TABLE[:2])
    np.testing.assert_array_equal(got, TABLE)


def test_packages_and_text_keep_what_is_tested(tmp_path) -> None:
    source = module(lambda x, i: g.gather_nd(x, i), ("K", 2), table=("N", 5))
    executable = compiled(source)
    executable.save(tmp_path / "m.mlc")
    again = mlc.load_executable(tmp_path / "m.mlc")
    assert again.plan == executable.plan
    assert "[0, 1] is 5" in refusal(again, TABLE, np.array([[0, 5]]))
    carried = Module.parse(executable.module_text)
    assert carried.indices == executable.plan.indices == index_ranges(source)
    assert "[0, 1] is 5" in refusal(compiled(carried), TABLE, np.array([[0, 5]]))
    unchecked = compiled(source, check_indices=False)
    assert unchecked.plan.indices == Module.parse(unchecked.module_text).indices == ()


def test_lowered_text_keeps_what_is_tested() -> None:
    lowered = Compilation().lower(module(lambda x, i: g.gather(x, i, 0)))
    assert "outside of -7..6" in refusal(compiled(Module.parse(str(lowered))), TABLE, np.array([7]))


def test_random_inputs_are_positions_that_the_test_lets_pass() -> None:
    def shifted(x, i):
        return g.gather(x, g.add(i, g.broadcast(g.constant(np.int64(4)), [K], [])), 0)

    source = module(shifted)
    executable = compiled(source)
    for seed in range(5):
        executable(*random_inputs(source, sample_binding(source), seed))


# Positions that the model computes: no test of values, and no access outside of the data

COMPUTED = {
    "Gather": "(float[N, 700] x, float[M] p) => (float[M, 700] y) { i = Cast <to = 7> (p) y = Gather (x, i) }",
    "GatherElements": "(float[N, 9] x, float[M, K] p) => (float[M, K] y) { i = Cast <to = 7> (p) y = GatherElements (x, i) }",
    "GatherND": "(float[N, 700] x, float[M, 1] p) => (float[M, 700] y) { i = Cast <to = 7> (p) y = GatherND (x, i) }",
    "ScatterElements": "(float[N, 9] x, float[M, K] p, float[M, K] u) => (float[N, 9] y) { i = Cast <to = 7> (p) y = ScatterElements (x, i, u) }",
    "ScatterND": "(float[N, 700] x, float[M, 1] p, float[M, 700] u) => (float[N, 700] y) { i = Cast <to = 7> (p) y = ScatterND (x, i, u) }",
    "GridSample": "(float[1, 2, N, 700] x, float[1, M, 3, 2] g) => (float[1, 2, M, 3] y) { y = GridSample (x, g) }",
    "RoiAlign": "(float[1, 2, N, 700] x, float[M, 4] r, int64[M] b) => (float[M, 2, 2, 2] y) "
    "{ y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, b) }",
    "Resize": '(float[1, 2, N, 700] x) => (float[1, 2, A, B] y) <int64[4] s = {1, 2, 4, 40}> { y = Resize <mode = "linear"> (x, , , s) }',
    "Compress": "(float[N] x) => (float[1] y) <int64[1] first = {0}, float half = {0.5}> { c = Greater (x, half) k = Compress (x, c) y = Gather (k, first) }",
    "Loop": "(float[N, 700] x) => (float[N, 700] y) <float zero = {0}> { n = Shape <start = 0, end = 1> (x) t = Squeeze (n) last, y = Loop (t, , zero) "
    "<body = b (int64 i, bool c, float s) => (bool d, float t, float[700] r) { d = Identity (c) t = Neg (s) r = Gather (x, i) }> }",
}
GUARDED = """
import sys, numpy as np, onnx.parser, mlc
from benchmarks.random_programs.guard_pages import guard_memory, guarded_array
from mlc.ir import interpreter

guard_memory()
for line in sys.stdin:
    name, text = line.split(" ", 1)
    proto = onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 18]> main ' + text)
    module, exe = mlc.load(proto), mlc.compile(proto, threads=1)
    for n, m, k in [(0, 0, 0), (0, 3, 9), (0, 3, 0), (0, 0, 9), (1, 3, 9), (3, 2, 5), (3, 2, 700), (3, 5, 9)]:
        rng = np.random.default_rng(n)
        sizes = {"N": n, "M": m, "K": k}
        feed = []
        for i in exe.get_inputs():
            shape = [sizes.get(e, e) for e in i.shape]
            feed.append(guarded_array(np.zeros(shape, np.int64) if "int64" in i.type else rng.random(shape, np.float32)))
        try:
            expected = interpreter.run(module, feed)
        except mlc.MlcError:
            expected = None
        try:
            found = exe(*feed)
        except mlc.ShapeError as error:
            assert expected is None, (name, n, m, k)
            assert error.message, name
            continue
        assert expected is not None, (name, n, m, k)
        np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-6)
    print(name, flush=True)
"""


def test_computed_positions_touch_nothing_outside_of_the_data_whatever_is_empty() -> None:
    """Every buffer ends in front of a page that ends the process where it is touched."""
    lines = "\n".join(f"{name} {text}" for name, text in COMPUTED.items())
    found = subprocess.run([sys.executable, "-c", GUARDED], input=lines, capture_output=True, text=True, check=False)
    assert found.stdout.split() == list(COMPUTED), found.stderr[-2000:]


def test_an_empty_axis_is_refused_by_name_and_a_loop_of_no_steps_reads_nothing() -> None:
    def source(name: str) -> onnx.ModelProto:
        return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> main {COMPUTED[name]}')

    executable = compiled(source("Gather"))
    assert executable(np.zeros((0, 700), np.float32), np.zeros(0, np.float32)).shape == (0, 700)
    with pytest.raises(mlc.ShapeError, match=r"Gather\(y\): axis 0 of what is gathered from has elements.*N = 0"):
        executable(np.zeros((0, 700), np.float32), np.zeros(2, np.float32))
    with pytest.raises(mlc.ShapeError, match=r"K is 10 \(from p axis 1\), outside of its bounds 0..9"):
        compiled(source("ScatterElements"))(*(np.zeros((2, n), np.float32) for n in (9, 10, 10)))
    with pytest.raises(mlc.ShapeError, match="count0 is 0, but must be at least 1"):
        compiled(source("Compress"))(np.zeros(3, np.float32))
    assert compiled(source("Loop"))(np.zeros((0, 700), np.float32)).shape == (0, 700)


def test_what_can_never_be_read_is_refused_at_import() -> None:
    with pytest.raises(mlc.ShapeError, match="axis 0 of what is gathered from has elements"):
        module(lambda x, i: g.gather(x, i, 0), ("2",), table=(0, 5))
    with pytest.raises(mlc.ShapeError, match="axis 1 of the data is as long as that of the indices"):
        module(lambda x, i: g.gather_elements(x, i, 0), (2, 6))
