"""If whose branches do not fit every size, and ranks that sizes decide, against onnxruntime."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import mlc
from mlc.cases import Specialising
from mlc.cli import main
from mlc.errors import MlcError, ShapeError
from mlc.frontends.onnx.node import NeedsSize
from mlc.ir import interpreter

Feed = Mapping[str, np.ndarray]


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\nmain {text}')


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def reference(proto: onnx.ModelProto, feed: Feed) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it remarks on shapes that the declaration does not have
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feed))


def assert_right(exe: object, proto: onnx.ModelProto, feed: Feed) -> None:
    for found, expected in zip(exe.run(None, feed), reference(proto, feed), strict=True):  # type: ignore[attr-defined]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Conditions that are data


PAIRS = """(float[N] x, bool c) => (float[] y) <int64[2] shape = {-1, 2}, int64[1] last = {1}> {
    y = If (c) <then_branch = pairs () => (float[] t) { p = Reshape(x, shape) m = ReduceMax <axes = [1]> (p) t = ReduceSum <keepdims = 0> (m) },
                else_branch = whole () => (float[] e) { e = ReduceSum <keepdims = 0> (x) }>
}"""


@pytest.mark.parametrize("level", [0, 2])
def test_what_a_branch_asks_of_sizes_binds_calls_that_take_it(level: int, tmp_path: Path) -> None:
    proto = parse(PAIRS)
    exe = mlc.compile(proto, threads=1, opt_level=level)
    exe.save(tmp_path / "pairs.mlc")
    module = mlc.load(proto)
    for made in (exe, mlc.load_executable(tmp_path / "pairs.mlc")):
        for n, taken in [(4, True), (4, False), (3, False), (1, False), (0, False), (0, True)]:
            assert_right(made, proto, {"x": normal(n), "c": np.array(taken)})
        with pytest.raises(ShapeError, match=r"If 'If\(y\)', whose then_branch is taken.* N must equal 2\*\(N//2\)"):
            made(normal(3), np.array(True))
    np.testing.assert_allclose(interpreter.run(module, [normal(3), np.array(False)])[0], normal(3).sum(), rtol=1e-6)
    with pytest.raises(ShapeError, match="then_branch"):
        interpreter.run(module, [normal(3), np.array(True)])


def test_what_both_branches_ask_is_asked_of_every_call() -> None:
    proto = parse("""(float[N, 3] x, float[M, 3] z, bool c) => (float[N, 3] y) {
        y = If (c) <then_branch = plus () => (float[N, 3] t) { t = Add(x, z) }, else_branch = less () => (float[N, 3] e) { e = Sub(x, z) }>
    }""")
    module = mlc.load(proto)
    assert not module.counted
    assert [shape for shape, _ in module.input_types[:2]] == [module.input_types[0][0]] * 2


def test_a_bound_in_one_branch_does_not_narrow_the_module() -> None:
    proto = parse("""(float[N, 3] x, bool c) => (float[a, 3] y) <int64[2] four = {4, 3}> {
        y = If (c) <then_branch = first () => (float[a, 3] t) { t = Neg(x) }, else_branch = wide () => (float[a, 3] e) { w = Expand(x, four) m = ReduceSum <keepdims = 0> (w) e = Add(x, m) }>
    }""")
    exe = mlc.compile(proto, threads=1)
    for n, taken in [(1, True), (4, False), (3, True), (7, True)]:
        assert_right(exe, proto, {"x": normal(n, 3), "c": np.array(taken)})
    with pytest.raises(ShapeError, match="else_branch is taken"):
        exe(normal(3, 3), np.array(False))


def test_a_cheap_branch_that_needs_equal_sizes_is_not_run_where_they_differ() -> None:
    proto = parse("""(float[A, 3] x, float[B, 3] z, bool c) => (float[A, 3] y) {
        y = If (c) <then_branch = plus () => (float[A, 3] t) { b = Mul(z, z) s = Add(x, b) t = Sub(s, x) }, else_branch = less () => (float[B, 3] e) { e = Neg(x) }>
    }""")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    exe = mlc.compile(proto, threads=1)
    for n, m, taken in [(4, 4, True), (4, 4, False), (4, 3, False), (3, 40, False), (40, 3, False)]:
        assert_right(exe, proto, {"x": normal(n, 3), "z": normal(m, 3), "c": np.array(taken)})
    for n, m in [(4, 3), (3, 40), (40, 2)]:
        with pytest.raises(ShapeError, match="then_branch is taken"):
            exe(normal(n, 3), normal(m, 3), np.array(True))


def test_a_branch_that_needs_equal_sizes_may_give_either() -> None:
    proto = parse("""(float[N, 3] x, float[M, 3] z) => (float[N, 3] y) <float zero = {0}> {
        s = ReduceSum <keepdims = 0> (x) c = Greater(s, zero)
        y = If (c) <then_branch = plus () => (float[N, 3] t) { t = Add(x, z) }, else_branch = less () => (float[N, 3] e) { e = Neg(x) }>
    }""")
    exe = mlc.compile(proto, threads=1)
    for n, m, sign in [(4, 4, 1), (4, 4, -1), (4, 3, -1), (3, 30, -1)]:
        assert_right(exe, proto, {"x": np.full((n, 3), sign, np.float32), "z": normal(m, 3)})
    with pytest.raises(ShapeError, match="then_branch is taken"):
        exe(np.ones((4, 3), np.float32), normal(5, 3))


MISFIT = """(float[N, 3] x, int64 rate) => (float[N, 3] y) <int64 k = {8}, float[2, 2] w = {1, 2, 3, 4}> {
    c = Equal(rate, k)
    y = If (c) <then_branch = fits () => (float[N, 3] t) { t = Neg(x) }, else_branch = misfit () => (float[N, b] e) { e = MatMul(x, w) }>
}"""


def test_a_branch_that_fits_no_size_is_left_out_and_refused_where_it_is_taken() -> None:
    proto = parse(MISFIT)
    x = normal(5, 3)
    exe = mlc.compile(proto, threads=1)
    np.testing.assert_array_equal(exe(x, np.array(8)), -x)
    with pytest.raises(ShapeError, match=r"the else_branch does not fit these sizes.*MatMul 'misfit/MatMul\(e\)'"):
        exe(x, np.array(7))
    np.testing.assert_array_equal(exe(x, np.array(8)), -x)


def test_an_if_of_which_no_branch_fits_is_refused_at_import() -> None:
    text = MISFIT.replace("t = Neg(x)", "t = MatMul(x, w)")
    with pytest.raises(ShapeError, match=r"fits/MatMul\(t\)"):
        mlc.load(parse(text))


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_a_branch_within_a_branch_asks_only_where_the_outer_one_is_taken(outer: bool, inner: bool) -> None:
    proto = parse("""(float[N] x, bool c, bool d) => (float[] y) <int64[2] shape = {-1, 2}> {
        y = If (c) <then_branch = pairs () => (float[] t) {
            t = If (d) <then_branch = deep () => (float[] u) { p = Reshape(x, shape) u = ReduceMax <keepdims = 0> (p) },
                        else_branch = flat () => (float[] v) { v = ReduceMax <keepdims = 0> (x) }> },
                    else_branch = whole () => (float[] e) { e = ReduceSum <keepdims = 0> (x) }>
    }""")
    exe = mlc.compile(proto, threads=1)
    assert_right(exe, proto, {"x": normal(6), "c": np.array(outer), "d": np.array(inner)})
    if not outer:
        assert_right(exe, proto, {"x": normal(5), "c": np.array(outer), "d": np.array(inner)})


# Conditions that sizes decide


def test_the_branch_for_no_elements_serves_no_elements() -> None:
    proto = parse("""(float[N] x) => (float[] y) <int64 zero = {0}, float seven = {7}> {
        s = Size(x) c = Greater(s, zero)
        y = If (c) <then_branch = first () => (float[] t) { t = Gather(x, zero) }, else_branch = none () => (float[] e) { e = Identity(seven) }>
    }""")
    exe = mlc.compile(proto, threads=1)
    for n in (0, 1, 5):
        assert_right(exe, proto, {"x": normal(n)})


CONDITIONS = {
    "c = Equal(n, k)": lambda n: n == 4,
    "c = Less(n, k)": lambda n: n < 4,
    "c = GreaterOrEqual(n, k)": lambda n: n >= 4,
    "p = Equal(n, k) c = Not(p)": lambda n: n != 4,
    "p = Greater(n, k) q = Equal(n, one) c = Or(p, q)": lambda n: n > 4 or n == 1,
    "p = LessOrEqual(n, k) q = Greater(n, one) c = And(p, q)": lambda n: 1 < n <= 4,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_rank_that_sizes_decide_is_right_at_every_size(condition: str) -> None:
    proto = parse(f"""(float[N, 1] x) => (float y) <int64 k = {{4}}, int64 one = {{1}}, int64 zero = {{0}}, int64[1] axis = {{1}}> {{
        s = Shape(x) n = Gather(s, zero) {condition}
        z = If (c) <then_branch = thin () => (float[a] t) {{ t = Squeeze(x, axis) }}, else_branch = thick () => (float[a, b] e) {{ e = Neg(x) }}>
        y = Relu(z)
    }}""")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    exe = mlc.compile(proto, threads=1)
    assert isinstance(exe, Specialising)
    for n in (4, 1, 5, 0, 3, 4, 5):
        assert_right(exe, proto, {"x": normal(n, 1)})
        assert exe(normal(n, 1)).ndim == (1 if CONDITIONS[condition](n) else 2)
    assert exe.native_compilations == 2


def test_what_follows_an_if_needs_to_fit_the_branch_that_is_taken_alone() -> None:
    proto = parse("""(float[B, S] x) => (float[B, 3] y) <int64[1] one = {1}, int64[1] axis = {2}, int64 i2 = {2}, int64 k = {1}, float[1,1,4] w = {1, 2, 3, 4}, float[1,3] v = {1, 2, 3}> {
        u = Unsqueeze(x, one)
        f = Conv <kernel_shape = [4], strides = [4]> (u, w)
        s = Shape(f) e = Gather(s, i2) c = Equal(e, k)
        z = If (c) <then_branch = yes () => (float[B, O] zt) { zt = Squeeze(f, axis) }, else_branch = no () => (float[B, O, P] ze) { ze = Identity(f) }>
        g = Gemm(z, v)
        y = Relu(g)
    }""")
    exe = mlc.compile(proto, threads=1)
    for batch, length in [(2, 4), (1, 5), (3, 7)]:
        assert_right(exe, proto, {"x": normal(batch, length)})
    with pytest.raises(MlcError, match="Gemm"):
        exe(normal(2, 8))
    fixed = mlc.compile(proto, threads=1, shapes={"x": ("B", 4)})
    assert not isinstance(fixed, Specialising)
    assert_right(fixed, proto, {"x": normal(2, 4)})


# Squeeze without axes


def squeeze_all(shape: str) -> onnx.ModelProto:
    proto = parse(f"(float[{shape}] x) => (float y) {{ s = Squeeze(x) y = Neg(s) }}")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


def test_squeeze_without_axes_takes_away_what_is_1_at_the_call() -> None:
    proto = squeeze_all("N, 1, M")
    exe = mlc.compile(proto, threads=1)
    shapes = [(1, 1, 4), (3, 1, 4), (3, 1, 1), (1, 1, 1), (0, 1, 4), (2, 1, 5), (1, 1, 7)]
    for shape in shapes:
        assert_right(exe, proto, {"x": normal(*shape)})
    assert exe.native_compilations == 4
    named = exe.report["specialised"]
    assert named["sizes"] == ["N == 1", "M == 1"]
    assert {"N == 1": True, "M == 1": False} in named["compiled"]
    again = copy.deepcopy(exe)
    assert_right(again, proto, {"x": normal(1, 1, 4)})


def test_sizes_that_cannot_be_1_are_not_asked_about() -> None:
    proto = squeeze_all("N, 1, M")
    exe = mlc.compile(proto, threads=1, dims={"N": (2, None), "M": 4})
    assert not isinstance(exe, Specialising)
    assert_right(exe, proto, {"x": normal(3, 1, 4)})


def test_a_module_has_one_rank_and_says_which_sizes_it_is_for() -> None:
    module = mlc.load(squeeze_all("N, 1"))
    assert any("must not be 1" in check.message for check in module.checks)
    with pytest.raises(NeedsSize, match="whether N is 1 decides the rank") as caught:
        mlc.load(squeeze_all("N, 1"), answers={})
    assert caught.value.remedy is not None and "dims={'N': ...}" in caught.value.remedy


def test_a_case_can_be_saved_and_the_whole_cannot(tmp_path: Path) -> None:
    exe = mlc.compile(squeeze_all("N, 2"), threads=1)
    with pytest.raises(MlcError, match="whether N == 1") as caught:
        exe.save(tmp_path / "m.mlc")
    assert caught.value.remedy is not None and "variant" in caught.value.remedy
    x = normal(1, 2)
    exe.variant({"x": x}).save(tmp_path / "m.mlc")
    np.testing.assert_array_equal(mlc.load_executable(tmp_path / "m.mlc")(x), -x[0])


def test_a_command_names_the_option_that_fixes_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = parse("""(float[N, 1] x) => (float[a] y) <int64 k = {4}, int64[1] axis = {1}, int64 zero = {0}> {
        s = Shape(x) n = Gather(s, zero) c = Equal(n, k)
        y = If (c) <then_branch = thin () => (float[a] t) { t = Squeeze(x, axis) }, else_branch = thick () => (float[a, b] e) { e = Neg(x) }>
    }""")
    onnx.save(proto, tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx")]) != 0
    assert "whether N == 4 decides" in (said := capsys.readouterr().err)
    assert "--dim N=SIZE" in said
    assert main(["check", str(tmp_path / "m.onnx"), "--dim", "N=4"]) == 0


def test_an_if_on_a_size_in_the_body_of_a_loop() -> None:
    proto = parse("""(float[N] x) => (float[N] y) <int64 three = {3}, bool on = {1}, int64 k = {2}, int64[2] pairs = {-1, 2}, int64[1] flat = {-1}, int64 zero = {0}> {
        size = Size(x) left = Mod(size, k)
        y = Loop (three, on, x) <body = step (int64 i, bool go, float[N] v) => (bool again, float[N] w) {
            again = Identity(go)
            c = Equal(left, zero)
            w = If (c) <then_branch = even () => (float[M] t) { p = Reshape(v, pairs) q = Mul(p, p) t = Reshape(q, flat) }, else_branch = odd () => (float[N] e) { e = Neg(v) }>
        }>
    }""")
    exe = mlc.compile(proto, threads=1)
    for n in (4, 5, 1, 6):
        assert_right(exe, proto, {"x": normal(n)})


def test_a_few_whole_numbers_that_decide_what_a_branch_gives_are_compiled_for_at_the_call() -> None:
    """As a shape does: here the ranks differ by whether `size` has an entry above 3."""
    text = """(%s) => (y) <%s limit = {3}> {
        top = ReduceMax <keepdims = 0> (%s) c = Greater(top, limit)
        y = If (c) <then_branch = first () => (t) { t = ReduceSum <keepdims = 0> (x) }, else_branch = same () => (e) { e = Neg(x) }>
    }"""
    proto = parse(text % ("float[N, 3] x, int64[2] size", "int64", "size"))
    exe = mlc.compile(proto, threads=1)
    assert isinstance(exe, Specialising) and exe.deciding == ["size"]
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for size in ([1, 2], [5, 2], [3, 9]):
        assert_right(exe, proto, {"x": normal(4, 3), "size": np.array(size)})
    assert exe.native_compilations == 3
    with pytest.raises(mlc.UnsupportedOp, match=r"the branches give output 0 the shapes \[\] and \[N, 3\]"):
        mlc.compile(parse(text % ("float[N, 3] x", "float", "x")))


# Results of different extents

DOUBLED = "t = Concat <axis = 0> (x, x)"
EXTENTS = {
    "rows": (DOUBLED, "e = Neg(x)"),
    "columns": ("t = Concat <axis = -1> (x, x)", "e = Neg(x)"),
    "both axes": ("t = Transpose(x)", "e = Neg(x)"),
    "nothing": ("z = Sub(x, x) t = Compress <axis = 0> (z, none)", "e = Neg(x)"),
    "a number": ("t = Identity(eye)", "e = Neg(x)"),
    "counted": (
        "b = Greater(x, zero) d = ReduceSum <keepdims = 0> (x, one) p = Greater(d, zero) t = Compress <axis = 0> (x, p)",
        "e = Neg(x)",
    ),
}


@pytest.mark.parametrize("case", EXTENTS)
@pytest.mark.parametrize("level", [0, 2])
def test_branches_of_different_extents_give_as_much_as_the_one_that_runs(case: str, level: int, tmp_path: Path) -> None:
    then, other = EXTENTS[case]
    proto = parse(f"""(float[N, 3] x) => (float[a, b] y, float[b] total)
        <float zero = {{0}}, int64[1] one = {{1}}, int64[1] first = {{0}}, bool[1] none = {{0}}, float[2, 2] eye = {{1, 0, 0, 1}}> {{
        s = ReduceSum <keepdims = 0> (x)  c = Greater(s, zero)
        w = If (c) <then_branch = some () => (float[a, b] t) {{ {then} }}, else_branch = others () => (float[a, b] e) {{ {other} }}>
        y = Mul(w, w)  total = ReduceSum <keepdims = 0> (w, first)
    }}""")
    exe, module = mlc.compile(proto, threads=1, opt_level=level), mlc.load(proto)
    exe.save(tmp_path / "extents.mlc")
    for made in (exe, mlc.load_executable(tmp_path / "extents.mlc")):
        for n in (0, 1, 3, 5):
            for sign in (1, -1):
                x = np.abs(normal(n, 3)) * np.float32(sign)
                assert_right(made, proto, {"x": x})
                for found, expected in zip(interpreter.run(module, [x]), reference(proto, {"x": x}), strict=True):
                    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_results_that_differ_alike_have_one_size() -> None:
    proto = parse("""(float[N, 3] x, bool c) => (float[a, 3] y) {
        p, q = If (c) <then_branch = twice () => (float[a, 3] t, float[a, 3] u) { t = Concat <axis = 0> (x, x) u = Neg(t) },
                       else_branch = once () => (float[a, 3] e, float[a, 3] f) { e = Neg(x) f = Exp(x) }>
        y = Add(p, q)
    }""")
    exe = mlc.compile(proto, threads=1)
    assert list(mlc.load(proto).counted) == ["count0"]
    for n, taken in [(4, True), (4, False), (0, True), (1, False)]:
        assert_right(exe, proto, {"x": normal(n, 3), "c": np.array(taken)})


@pytest.mark.parametrize("outer", [1, -1])
@pytest.mark.parametrize("inner", [1, -1])
def test_an_open_extent_in_a_branch_of_a_branch(outer: int, inner: int) -> None:
    proto = parse("""(float[N, 3] x, float[M] z) => (float[a, 3] y) <float zero = {0}> {
        s = ReduceSum <keepdims = 0> (x) c = Greater(s, zero) r = ReduceSum <keepdims = 0> (z) d = Greater(r, zero)
        y = If (c) <then_branch = first () => (float[a, 3] t) {
            t = If (d) <then_branch = deep () => (float[a, 3] u) { u = Concat <axis = 0> (x, x) }, else_branch = flat () => (float[a, 3] v) { v = Exp(x) }> },
                    else_branch = whole () => (float[a, 3] e) { e = Neg(x) }>
    }""")
    exe = mlc.compile(proto, threads=1)
    assert_right(
        exe, proto, {"x": np.abs(normal(4, 3)) * np.float32(outer), "z": np.abs(normal(2)) * np.float32(inner)}
    )


def test_branches_of_different_extents_in_a_loop_are_refused_by_their_shapes() -> None:
    proto = parse("""(float[N, 3] x) => (float[3] y) <int64 trips = {3}, float zero = {0}, float[3] start = {0, 0, 0}, int64[1] rows = {0}> {
        y = Loop (trips, , start) <body = b (int64 i, bool go, float[3] s) => (bool on, float[3] after) {
            on = Identity(go) total = ReduceSum <keepdims = 0> (s) c = Greater(total, zero)
            q = If (c) <then_branch = twice () => (float[a, 3] t) { t = Concat <axis = 0> (x, x) }, else_branch = once () => (float[a, 3] e) { e = Neg(x) }>
            r = ReduceSum <keepdims = 0> (q, rows) after = Add(s, r) }>
    }""")
    with pytest.raises(mlc.UnsupportedOp, match=r"the branches give output 0 the shapes \[2\*N, 3\] and \[N, 3\]"):
        mlc.compile(proto)
