"""If, Loop, Scan and sequences against onnxruntime and the reference of the standard."""

import numpy as np
import onnx
import onnxruntime
import pytest

import mlc
from mlc.errors import MlcError, UnsupportedOp
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from mlc.ir.module import Module


def parse(body: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\nmain {body}')


def op_names(module: Module) -> list[str]:
    return [op.name for op in module.main.body.block.ops]


def assert_agrees(proto: onnx.ModelProto, *arrays: np.ndarray) -> Module:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), arrays, strict=True)})
    module = load(proto)
    for x, y in zip(interpreter.run(module, arrays), expected, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    return module


X = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)

CHOICE = """(float[N, 3] x, bool c) => (float[N, 3] y) {
    b = Relu(x)
    y = If (c) <then_branch = yes () => (float[N, 3] t) { t = Add(x, b) }, else_branch = no () => (float[N, 3] e) { e = Neg(b) }>
}"""


@pytest.mark.parametrize("condition", [True, False])
def test_an_open_if_holds_both_branches(condition: bool) -> None:
    assert "graph.if" in op_names(assert_agrees(parse(CHOICE), X, np.array(condition)))


@pytest.mark.parametrize(("value", "op"), [(True, "graph.add"), (False, "graph.neg")])
def test_only_the_branch_known_to_be_taken_is_built(value: bool, op: str) -> None:
    module = load(parse(CHOICE), known={"c": np.array(value)})
    assert [name for name in op_names(module) if name != "func.return"] == ["graph.relu", op]


def test_a_condition_on_sizes_that_bounds_decide_is_known() -> None:
    body = """(float[N, 3] x) => (float[N, 3] y) <int64 rank = {2}> {
        shape = Shape(x) n = Size(shape) c = Equal(n, rank)
        y = If (c) <then_branch = yes () => (t) { t = Neg(x) }, else_branch = no () => (e) { e = Unknown(x) }>
    }"""
    assert op_names(load(parse(body))) == ["graph.neg", "func.return"]


def test_branches_of_different_ranks_need_a_known_condition() -> None:
    body = """(float[N, 3] x, bool c) => (float[a, b] y) {
        y = If (c) <then_branch = yes () => (t) { t = Neg(x) }, else_branch = no () => (e) { e = ReduceSum <keepdims = 0> (x) }>
    }"""
    with pytest.raises(UnsupportedOp, match=r"output 0 the shapes \[N, 3\] and \[\]"):
        load(parse(body))
    assert load(parse(body), known={"c": np.array(False)}).main


LOOP = """(float[3] x, float[3] step) => (float[3] last, float[k, 3] all) <int64 trips = {%d}, bool go = {1}> {
    last, all = Loop (trips, go, x) <body = b (int64 i, bool before, float[3] state) => (bool after, float[3] next, float[3] seen) {
        after = Identity(before)
        f = Cast <to = 1> (i)
        scaled = Mul(step, f)
        next = Add(state, scaled)
        seen = Neg(next)
    }>
}"""


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_a_counted_loop_is_a_scan(trips: int) -> None:
    module = assert_agrees(parse(LOOP % trips), X[0], X[1])
    assert "graph.scan" in op_names(module)


def test_a_loop_may_run_over_a_size() -> None:
    body = """(float[N, 3] x, float[3] y) => (float[3] last) <bool go = {1}> {
        trips = Shape <start = 0, end = 1> (x) n = Squeeze(trips)
        last = Loop (n, go, y) <body = b (int64 i, bool before, float[3] state) => (bool after, float[3] next) {
            after = Identity(before) row = Gather <axis = 0> (x, i) next = Add(state, row)
        }>
    }"""
    proto = parse(body)
    for size in (0, 1, 5):
        rows = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
        assert_agrees(proto, rows, X[0])


@pytest.mark.parametrize("go", [True, False])
def test_whether_a_loop_begins_may_be_data(go: bool) -> None:
    body = """(float[3] x, bool open) => (float[3] y) <int64 trips = {3}> {
        y = Loop (trips, open, x) <body = b (int64 i, bool before, float[3] state) => (bool after, float[3] next) {
            after = Identity(before) next = Neg(state)
        }>
    }"""
    assert_agrees(parse(body), X[0], np.array(go))


@pytest.mark.parametrize("start", [1, 4, 20])
def test_a_loop_that_computes_its_condition_ends_early(start: int) -> None:
    body = """(float x) => (float y) <int64 trips = {3}, bool go = {1}, float limit = {10.0}> {
        y = Loop (trips, go, x) <body = b (int64 i, bool before, float state) => (bool after, float next) {
            next = Add(state, state) after = Less(next, limit)
        }>
    }"""
    assert "graph.while" in op_names(assert_agrees(parse(body), np.array(start, np.float32)))


SCAN = """(float[3] x, float[%s] xs) => (float[3] last, float[%s] all) {
    last, all = Scan <num_scan_inputs = 1, %s
        body = b (float[3] state, float[3] row) => (float[3] next, float[3] seen) { next = Add(state, row) seen = Mul(next, row) }
    > (x, xs)
}"""


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ("T, 3", ""),
        ("T, 3", "scan_input_directions = [1],"),
        ("T, 3", "scan_input_directions = [1], scan_output_directions = [1],"),
        ("3, T", "scan_input_axes = [1],"),
        ("3, T", "scan_input_axes = [-1], scan_output_axes = [1],"),
    ],
)
def test_scan_over_any_axis_in_both_directions(shape: str, attributes: str) -> None:
    proto = parse(SCAN % (shape, "a, b", attributes))
    for steps in (1, 4):
        rows = np.random.default_rng(steps).standard_normal((steps, 3)).astype(np.float32)
        assert_agrees(proto, X[0], rows if shape == "T, 3" else np.ascontiguousarray(rows.T))


def test_a_body_reads_values_and_constants_from_outside() -> None:
    weights = ", ".join(str(i % 5) for i in range(18))
    body = f"""(float[3] x, float[T, 6] xs) => (float[3] last) <float[6, 3] w = {{{weights}}}, int64[2] to = {{1, 3}}, int64[1] flat = {{3}}> {{
        scale = Exp(x)
        last = Scan <num_scan_inputs = 1, body = b (float[3] state, float[6] row) => (float[3] next) {{
            m = MatMul(row, w)
            two = Reshape(m, to)
            one = Reshape(two, flat)
            s = Mul(one, scale)
            next = Add(state, s)
        }}> (x, xs)
    }}"""
    assert_agrees(parse(body), X[0] * 0.1, np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32))


BATCHES = """(%s float[%s, 3] states, float[%s, 3] xs, float[3] w) => (float[N, 3] last, float[N, T, 3] all) {
    last, all = Scan <num_scan_inputs = 1, directions = [%d], body = b (float[3] state, float[3] row) => (float[3] next, float[3] seen) {
        scaled = Mul(state, w) next = Add(scaled, row) seen = Sub(row, state)
    }> (%s, states, xs)
}"""


@pytest.mark.parametrize("symbolic", [True, False])
@pytest.mark.parametrize(("backward", "lengths"), [(0, False), (1, False), (0, True)])
def test_the_first_scan_runs_over_each_row_of_a_batch(symbolic: bool, backward: int, lengths: bool) -> None:
    rng = np.random.default_rng(0)
    for n, steps in [(1, 1), (3, 4), (2, 7)]:
        sizes = ("N", "N, T") if symbolic else (f"{n}", f"{n}, {steps}")
        first = (f"int64[{sizes[0]}] lengths,", "lengths") if lengths else ("", "")
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in [(n, 3), (n, steps, 3), (3,)]]
        arrays = [rng.integers(1, steps + 1, n), *arrays] if lengths else arrays
        proto = parse(BATCHES % (first[0], *sizes, backward, first[1]), opset=8)
        proto.ir_version = 4
        assert_agrees(proto, *arrays)
        exe = mlc.compile(proto, threads=1)
        for x, y in zip(exe(*arrays), interpreter.run(load(proto), arrays), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_the_first_scan_needs_rows_of_one_batch() -> None:
    proto = parse(BATCHES % ("", "2", "3, 4", 0, ""), opset=8)
    with pytest.raises(
        MlcError, match="axis 0 of what is scanned: 3 and 2 differ|axis 0 of what is scanned: 2 and 3 differ"
    ):
        load(proto)
    with pytest.raises(UnsupportedOp, match="a scan backwards over rows of different lengths"):
        load(parse(BATCHES % ("int64[2] lengths,", "2", "2, 4", 1, "lengths"), opset=8))


# Sequences


def test_a_split_into_a_sequence_is_slices() -> None:
    body = """(float[4, N] x) => (float[a, N] y, int64 n) <int64 two = {2}, int64 last = {-1}, int64 axis = {0}> {
        parts = SplitToSequence <axis = 0> (x, two)
        first = SequenceAt(parts, axis)
        z = SequenceAt(parts, last)
        y = Sub(first, z)
        n = SequenceLength(parts)
    }"""
    module = assert_agrees(parse(body), np.arange(12, dtype=np.float32).reshape(4, 3))
    assert op_names(module) == ["graph.slice", "graph.slice", "graph.sub", "graph.constant", "func.return"]


@pytest.mark.parametrize("new_axis", [0, 1])
def test_a_sequence_is_built_changed_and_joined(new_axis: int) -> None:
    body = f"""(float[2, 3] a, float[2, 3] b) => (float[p, q] y) <int64 zero = {{0}}> {{
        empty = SequenceEmpty <dtype = 1> ()
        one = SequenceInsert(empty, a)
        two = SequenceInsert(one, b, zero)
        three = SequenceInsert(two, a)
        less = SequenceErase(three, zero)
        pair = Identity(less)
        joined = ConcatFromSequence <axis = -1, new_axis = {new_axis}> (pair)
        y = Neg(joined)
    }}"""
    proto = parse(body)
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert_agrees(proto, X, X + 1)


def test_pieces_of_size_one_lose_their_axis_unless_kept() -> None:
    for keep, shape in ((1, (1, 3)), (0, (3,))):
        body = f"""(float[2, 3] x) => (float[a] y) <int64 one = {{1}}> {{
            parts = SplitToSequence <keepdims = {keep}> (x) z = SequenceAt(parts, one) y = Neg(z)
        }}"""
        proto = parse(body)
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        (found,) = interpreter.run(load(proto), [X])
        np.testing.assert_array_equal(found, -X[1].reshape(shape))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("y = SequenceAt(s, p)", "position 5 is outside of 2 places"),
        ("y = SequenceAt(s, open)", "position 'open' comes from 'open'"),
        ("y = Neg(s)", "a sequence as operand is not supported"),
        ("y = Identity(s)", "'y' is a sequence, where a tensor is expected"),
    ],
)
def test_what_cannot_be_done_with_a_sequence_is_said(line: str, words: str) -> None:
    with pytest.raises(MlcError, match=words):
        load(
            parse(
                f"(float[3] x, int64 open) => (float[3] y) <int64 p = {{5}}> {{ s = SequenceConstruct(x, x) {line} }}"
            )
        )


def test_a_body_is_mapped_over_a_sequence() -> None:
    body = """(float[4, 3] x, float[3] scale) => (float[4, 3] y) <int64 two = {2}> {
        rows = SplitToSequence <axis = 0> (x, two)
        squares = SequenceMap <body = square (float[2, 3] row) => (float[2, 3] found) { found = Mul(row, row) }> (rows)
        sums = SequenceMap <body = sum (float[2, 3] row, float[2, 3] other, float[3] by) => (float[2, 3] found) {
            scaled = Mul(other, by) found = Add(row, scaled)
        }> (rows, squares, scale)
        y = ConcatFromSequence <axis = 0> (sums)
    }"""
    assert_agrees(parse(body), np.arange(12, dtype=np.float32).reshape(4, 3), X[1])
