"""Shape arithmetic is evaluated at import on dimension expressions; symbols are declared, replaced, unified and bounded."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlc.errors import MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx import load
from mlc.frontends.onnx.inputs import signature
from mlc.ir import dims, interpreter
from mlc.ir.module import Module
from mlc.ir.types import shape_text


def parse(body: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\nmain {body}')


def op_names(module: Module) -> list[str]:
    return [op.name for op in module.main.body.block.ops]


def input_shapes(module: Module) -> list[str]:
    return [shape_text(shape) for shape, _ in module.input_types]


def assert_agrees(model: onnx.ModelProto, module: Module, *arrays: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), arrays, strict=True)})
    for x, y in zip(interpreter.run(module, arrays), expected, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_a_legacy_reshape_chain_leaves_one_op() -> None:
    model = parse("""(float[N, S, 12] x) => (float[a, b, c, d] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] at = {0}, int64[1] four = {4}, int64[1] rest = {-1}> {
        shape = Shape(x)
        n = Gather(shape, zero)
        s = Gather(shape, one)
        n1 = Unsqueeze(n, at)
        s1 = Unsqueeze(s, at)
        to = Concat <axis = 0> (n1, s1, four, rest)
        y = Reshape(x, to)
    }""")
    module = load(model)
    assert op_names(module) == ["graph.reshape", "func.return"]
    assert_agrees(model, module, np.arange(72, dtype=np.float32).reshape(2, 3, 12))


def test_an_expand_written_with_where_and_equal_is_decided_by_bounds() -> None:
    """Equal(shape, -1) is decided for a size, which is never negative; Where then picks the shape."""
    model = parse("""(float[N, 1] x) => (float[N, b] y)
        <int64[2] wanted = {-1, 5}, int64[2] ones = {1, 1}, int64[2] minus = {-1, -1}> {
        same = Equal(wanted, minus)
        shape = Where(same, ones, wanted)
        y = Expand(x, shape)
    }""")
    module = load(model)
    assert op_names(module) == ["graph.reshape", "graph.broadcast", "func.return"]
    assert_agrees(model, module, np.ones((3, 1), np.float32))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_comparison_that_sizes_decide_is_an_expression_of_them(n: int) -> None:
    """N == 1 holds for one size only: to fold it would be right for that size alone."""
    model = parse("""(float[N, 2] x) => (float[a, b] y) <int64[1] one = {1}, int64[1] two = {2}, int64[1] rest = {-1}> {
        n = Shape <start = 0, end = 1> (x)
        same = Equal(n, one)
        first = Where(same, two, one)
        shape = Concat <axis = 0> (first, rest)
        y = Reshape(x, shape)
    }""")
    assert_agrees(model, load(model), np.arange(2.0 * n, dtype=np.float32).reshape(n, 2))


def test_a_size_that_is_data_is_computed_from_the_binding() -> None:
    model = parse("""(float[N, 3] x) => (float y) <float half = {0.5}> {
        size = Size(x)
        f = Cast <to = 1> (size)
        y = Mul(f, half)
    }""")
    assert_agrees(model, load(model), np.zeros((5, 3), np.float32))


def test_a_scaled_size_goes_through_floating_point_exactly() -> None:
    """How the older exporter writes the size of an upsampling: Floor(Cast(H) * 1.5)."""
    model = parse("""(float[1, H] x) => (float[a, b] y) <float scale = {1.5}, int64[1] one = {1}, int64[2] pad = {0, 0}> {
        h = Shape <start = 1, end = 2> (x)
        f = Cast <to = 1> (h)
        m = Mul(f, scale)
        r = Floor(m)
        i = Cast <to = 7> (r)
        shape = Concat <axis = 0> (one, i)
        y = ConstantOfShape(shape)
    }""")
    module = load(model)
    for size in (0, 1, 5, 8):
        assert_agrees(model, module, np.zeros((1, size), np.float32))


@pytest.mark.parametrize(
    ("op", "dtype", "lhs", "rhs"),
    [
        ("Add", "uint8", 200, 100),
        ("Sub", "uint64", 3, 4),
        ("Mul", "int32", 1 << 16, 1 << 15),
        ("Add", "int64", (1 << 63) - 1, 1),
    ],
)
def test_integers_that_wrap_are_left_to_the_ops(op: str, dtype: str, lhs: int, rhs: int) -> None:
    model = parse(
        f"(float[N] x) => ({dtype}[1] y) <{dtype}[1] a = {{{lhs}}}, {dtype}[1] b = {{{rhs}}}> {{ y = {op}(a, b) }}"
    )
    assert_agrees(model, load(model), np.zeros(2, np.float32))


def test_division_of_a_size_that_may_be_negative_truncates() -> None:
    """(T - 1) / 2 is 0 for T = 0, where a floor would be -1."""
    model = parse("""(float[T] x) => (float[a] y) <int64[1] one = {1}, int64[1] two = {2}> {
        t = Shape(x)
        less = Sub(t, one)
        half = Div(less, two)
        y = ConstantOfShape(half)
    }""")
    module = load(model)
    for size in (0, 1, 2, 5):
        assert_agrees(model, module, np.zeros(size, np.float32))


_UNARY = ["Neg", "Abs", "Identity"]
_BINARY = ["Add", "Sub", "Mul", "Div", "Mod", "Max", "Min"]


@settings(max_examples=40)
@given(st.data())
def test_random_shape_arithmetic_agrees_with_onnxruntime(data: st.DataObject) -> None:
    """A random program on the two sizes of x and small numbers; its results are data, at several bindings."""
    values = ["n", "m", "k"]
    lines = []
    for i in range(data.draw(st.integers(1, 6))):
        op = data.draw(st.sampled_from(_UNARY + _BINARY))
        count = 1 if op in _UNARY else 2
        operands = [data.draw(st.sampled_from(values)) for _ in range(count)]
        if op in ("Div", "Mod"):
            operands[1] = data.draw(st.sampled_from(["n1", "m1", "k"]))
        lines.append(f"v{i} = {op}({', '.join(operands)})")
        values.append(f"v{i}")
    k = data.draw(st.integers(1, 9))
    model = parse(f"""(float[N, M] x) => (int64[c] y) <int64[1] k = {{{k}}}, int64[1] one = {{1}}> {{
        n = Shape <start = 0, end = 1> (x)
        m = Shape <start = 1, end = 2> (x)
        n1 = Add(n, one)
        m1 = Add(m, one)
        {chr(10).join(lines)}
        y = Concat <axis = 0> ({", ".join(values)})
    }}""")
    module = load(model)
    for shape in ((0, 1), (1, 0), (7, 3), (4, 12)):
        assert_agrees(model, module, np.zeros(shape, np.float32))


@given(
    st.integers(-8, 8),
    st.one_of(st.integers(-8, 8), st.sampled_from([2**63 - 1, -(2**63) + 1, 2**31 - 1])),
    st.sampled_from([1, 2, 3, -1, -2]),
)
def test_a_symbolic_slice_agrees_with_onnxruntime_at_every_size(start: int, end: int, step: int) -> None:
    assume(step > 0 or end < 2**31 - 1)  # onnxruntime takes the largest end for "to the front" then; NumPy for nothing
    model = parse(f"""(float[N] x) => (float[a] y)
        <int64[1] s = {{{start}}}, int64[1] e = {{{end}}}, int64[1] a = {{0}}, int64[1] t = {{{step}}}> {{
        y = Slice(x, s, e, a, t)
    }}""")
    module = load(model)
    for size in range(12):
        assert_agrees(model, module, np.arange(size, dtype=np.float32))


def test_a_slice_of_a_shape_follows_python() -> None:
    model = parse("""(float[A, B, C, D] x) => (int64[n] y) <int64[1] s = {-1}, int64[1] e = {-9}, int64[1] a = {0}, int64[1] t = {-2}> {
        shape = Shape(x)
        y = Slice(shape, s, e, a, t)
    }""")
    assert_agrees(model, load(model), np.zeros((2, 3, 4, 5), np.float32))


# Symbols


def two_inputs(lhs: Sequence[int | str], rhs: Sequence[int | str], body: str = "z = Add(x, y)") -> onnx.ModelProto:
    shapes = [", ".join(map(str, shape)) for shape in (lhs, rhs)]
    model = parse("(float[P] x, float[P] y) => (float[c] z) { " + body + " }")
    for value, shape in zip(model.graph.input, (lhs, rhs), strict=True):
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape))
    assert shapes
    return model


def test_two_names_of_one_size_become_one_symbol() -> None:
    module = load(two_inputs(["past_0", 3], ["past_1", 3]))
    assert input_shapes(module) == ["[past_0, 3]", "[past_0, 3]"]
    assert module.checks == []


def test_a_size_added_to_a_constant_is_that_constant() -> None:
    assert input_shapes(load(two_inputs(["N"], [7]))) == ["[7]", "[7]"]


def test_a_size_that_must_be_even_is_twice_another() -> None:
    body = """n = Shape(x) two = Constant <value_ints = [2]> () half = Div(n, two)
        twice = Mul(half, two) e = Expand(y, twice) z = Add(x, e)"""
    module = load(two_inputs(["N"], [1], body))
    assert input_shapes(module) == ["[2*N_by_2]", "[1]"]
    assert interpreter.run(module, [np.ones(6, np.float32), np.ones(1, np.float32)])[0].shape == (6,)
    with pytest.raises(ShapeError):
        interpreter.run(module, [np.ones(5, np.float32), np.ones(1, np.float32)])


def test_sizes_that_cannot_be_unified_stay_a_check() -> None:
    body = "f = Flatten <axis = 0> (x) z = Add(f, y)"
    module = load(two_inputs(["N", "M"], [1, "K"], body))
    assert input_shapes(module) == ["[N, M]", "[1, K]"] or input_shapes(module)[1] == "[1, M*N]"
    with pytest.raises(ShapeError):
        interpreter.run(module, [np.ones((2, 3), np.float32), np.ones((1, 5), np.float32)])


def test_bounds_of_unified_symbols_are_narrowed_to_both() -> None:
    module = load(two_inputs(["A"], ["B"]), dims={"A": (1, 8), "B": (4, None)})
    assert module.symbols == {"A": (4, 8)}


@pytest.mark.parametrize(
    ("lhs", "rhs", "expected"),
    [
        (["past", "past"], ["past + 1"], ["[past, past]", "[past + 1]"]),
        (["4*h"], ["((h//2) + 1)"], ["[4*h]", "[h//2 + 1]"]),
        (["a + b"], ["a"], ["['a + b']", "[a]"]),
        (["batch size"], ["batch size"], ["['batch size']", "['batch size']"]),
        (["?"], ["?"], ["[x_0]", "[y_0]"]),
        ([None], [""], ["[x_0]", "[y_0]"]),
        (["Min(512, s20)"], ["s20"], ["[min(512, s20)]", "[s20]"]),
    ],
)
def test_declared_dimensions_are_read(lhs: list[str], rhs: list[str], expected: list[str]) -> None:
    found = signature(two_inputs(lhs, rhs).graph.input)
    assert [shape_text(i.shape) for i in found.inputs] == expected
    assert found.is_solvable


def test_a_given_shape_replaces_a_symbol_in_every_input() -> None:
    model = two_inputs(["N", 3], ["N", 3])
    assert input_shapes(load(model, shapes={"x": (4, 3)})) == ["[4, 3]", "[4, 3]"]
    assert input_shapes(load(model, shapes={"y": ("batch", 3)})) == ["[batch, 3]", "[batch, 3]"]
    assert input_shapes(load(model, shapes={"x": (dims.symbol("n") * 2, 3)})) == ["[2*n, 3]", "[2*n, 3]"]
    assert input_shapes(load(model, dims={"N": 5})) == ["[5, 3]", "[5, 3]"]


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"shapes": {"xx": (1, 3)}}, "no input 'xx'.*\n.*Did you mean 'x'"),
        ({"shapes": {"x": (1, 4)}}, "axis 1 is 3 in the model, 4 in the shape given"),
        ({"shapes": {"x": (1,)}}, "has 2 axes.*has 1"),
        ({"dims": {"M": 1}}, "no dimension 'M'.*\n.*It has: 'N'"),
        ({"shapes": {"x": (1, 3), "y": (2, 3)}}, "axis 0 is 1 in the model, 2 in the shape given"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given_: dict, words: str) -> None:
    with pytest.raises(MlcError, match=f"(?s){words}"):
        load(two_inputs(["N", 3], ["N", 3]), **given_)


def test_an_input_without_a_shape_needs_one() -> None:
    model = parse("(float[N] x) => (float[N] y) { y = Relu(x) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ShapeError, match="'x' has no shape"):
        load(model)
    assert input_shapes(load(model, shapes={"x": ("N", 2)})) == ["[N, 2]"]


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = parse("(seq(float[N]) x) => (float[N] y) { y = Relu(x) }")
    with pytest.raises(UnsupportedOp, match="'x' is a sequence or an optional value, and a module has tensors"):
        load(model)
