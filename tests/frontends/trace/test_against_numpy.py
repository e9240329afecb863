"""The functions of mlc.numpy give what NumPy's give, in NumPy's dtypes: at once, traced and run by the interpreter, and compiled."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mlc
import mlc.numpy as mnp

SIZES = st.sampled_from([0, 1, 2, 3, 4, 5, 7])
DTYPES = st.sampled_from(
    [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
)
FLOATS = st.sampled_from([np.float64, np.float32])


def arrays(shape: object, dtype: np.dtype | type) -> st.SearchStrategy[np.ndarray]:
    kind = np.dtype(dtype).kind
    elements = {
        "f": st.sampled_from([-3.5, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5, 7.0]),
        "i": st.integers(-5, 9),
        "u": st.integers(0, 9),
        "b": st.booleans(),
    }[kind]
    return hnp.arrays(dtype, shape, elements=elements)  # type: ignore[arg-type]


def shapes(low: int = 0, high: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(SIZES, min_size=low, max_size=high).map(tuple)


def agree(found: object, expected: object) -> None:
    """Same shape, dtype and numbers; of floats within a few units of the last place of sums."""
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)  # type: ignore[arg-type]
        for one, other in zip(found, expected, strict=True):  # type: ignore[call-overload]
            agree(one, other)
        return
    expected = np.asarray(expected)
    result = np.asarray(found)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    tolerance = {"float16": 4e-3, "float32": 1e-5, "float64": 1e-12}.get(expected.dtype.name, 0)
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def same(function: Callable, *xs: np.ndarray) -> None:
    """The function of NumPy arrays, of tensors, and traced: of mnp where it asks for one."""
    with np.errstate(all="ignore"):
        expected = function(np, *xs)
    agree(function(mnp, *map(mlc.Tensor, xs)), expected)
    staged = mlc.jit(lambda *ts: function(mnp, *ts)).trace(*xs)
    found = staged.module.run(*xs)
    agree(found if isinstance(expected, tuple | list) else found[0], expected)


BINARY = ["add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "minimum", "equal", "less"]
BINARY += ["greater_equal", "not_equal", "logical_and", "logical_xor", "arctan2", "hypot", "logaddexp", "fmod"]


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(BINARY), hnp.mutually_broadcastable_shapes(num_shapes=2, max_side=3, min_side=0))
def test_two_operands_are_promoted_and_broadcast(data: st.DataObject, name: str, found: object) -> None:
    first, second = (data.draw(arrays(shape, data.draw(DTYPES))) for shape in found.input_shapes)  # type: ignore[attr-defined]
    try:
        with np.errstate(all="ignore"):
            getattr(np, name)(first, second)
    except TypeError:  # as bool - bool
        with pytest.raises(mlc.MlcError):
            getattr(mnp, name)(mlc.Tensor(first), mlc.Tensor(second))
        return
    if name in ("floor_divide", "remainder", "fmod") and first.dtype == second.dtype == np.bool_:
        return  # NumPy gives int8
    if name in ("arctan2", "hypot", "logaddexp") and "float" not in np.result_type(first, second).name:
        return  # NumPy computes them of small integers in f16 or f32, whichever comes first in its list
    same(lambda m, x, y: getattr(m, name)(x, y), first, second)


UNARY = ["exp", "sin", "tanh", "sqrt", "log1p", "floor", "trunc", "rint", "negative", "absolute", "sign", "square"]
UNARY += ["isnan", "isfinite", "exp2", "log2", "arctan", "cosh", "logical_not", "arcsinh", "reciprocal"]


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(UNARY), shapes(), DTYPES)
def test_functions_of_one_operand(data: st.DataObject, name: str, shape: tuple, dtype: type) -> None:
    x = data.draw(arrays(shape, dtype))
    if (name in ("negative", "sign", "square", "floor", "trunc", "rint") and dtype is np.bool_) or name == "reciprocal":
        x = x.astype(np.float32)
    if name == "rint" and x.dtype.kind in "iu":
        x = x.astype(np.float64)  # NumPy gives floats for integers, which are whole already
    same(lambda m, t: getattr(m, name)(t), x)


@settings(max_examples=60, deadline=None)
@given(
    st.data(), shapes(), DTYPES, st.sampled_from([2, -3, 0.5, True, 3.0]), st.sampled_from(["+", "*", "-", "<", "/"])
)
def test_a_python_number_is_weak(data: st.DataObject, shape: tuple, dtype: type, number: float, sign: str) -> None:
    x = data.draw(arrays(shape, dtype))
    if x.dtype == np.bool_ and sign == "-":
        x = x.astype(np.int8)
    if x.dtype == np.uint8:
        number = abs(number)
    operation = {
        "+": lambda a, b: a + b,
        "*": lambda a, b: a * b,
        "-": lambda a, b: a - b,
        "<": lambda a, b: a < b,
        "/": lambda a, b: a / b,
    }[sign]
    same(lambda m, t: operation(t, number), x)
    same(lambda m, t: operation(number, t), x)


@settings(max_examples=80, deadline=None)
@given(
    st.data(),
    st.sampled_from(["sum", "prod", "mean", "max", "min", "any", "all", "var", "std", "argmax", "argmin", "cumsum"]),
    shapes(1),
    DTYPES,
    st.booleans(),
)
def test_reductions(data: st.DataObject, name: str, shape: tuple, dtype: type, keepdims: bool) -> None:
    x = data.draw(arrays(shape, dtype))
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    empty = x.size == 0 if axis is None else shape[axis] == 0
    if name in ("max", "min", "argmax", "argmin") and (empty or 0 in shape):
        return
    if x.dtype == np.float16 and name in ("prod", "var", "std"):
        return  # NumPy rounds after each step
    if name in ("mean", "var", "std") and empty:
        return  # NaN, with NumPy's warning
    options = {"axis": axis} if name == "cumsum" else {"axis": axis, "keepdims": keepdims}
    same(lambda m, t: getattr(m, name)(t, **options), x)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple:
    """Slices with any step, positions, new axes, an ellipsis, arrays of positions."""
    found: list = []
    arrays_of = draw(hnp.array_shapes(max_dims=2, max_side=3))
    for size in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["slice", "slice", "position", "array"] if size else ["slice"]))
        if kind == "slice":
            bound = st.one_of(st.none(), st.integers(-size - 2, size + 2))
            found.append(slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, -1, -3]))))
        elif kind == "position":
            found.append(draw(st.integers(-size, size - 1)))
        else:
            found.append(draw(hnp.arrays(np.int64, arrays_of, elements=st.integers(-size, size - 1))))
    for _ in range(draw(st.integers(0, 1))):
        found.insert(draw(st.integers(0, len(found))), None)
    if draw(st.booleans()):
        found.insert(draw(st.integers(0, len(found))), Ellipsis)
    return tuple(found)


@settings(max_examples=150, deadline=None)
@given(st.data(), shapes(1), FLOATS)
def test_any_index_reads_what_numpy_reads(data: st.DataObject, shape: tuple, dtype: type) -> None:
    x = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    index = data.draw(indices(shape))
    # the ellipsis may move entries to axes that are shorter than those they were drawn for
    try:
        x[index]
    except IndexError:
        return
    same(lambda m, t: t[index], x)


@settings(max_examples=60, deadline=None)
@given(st.data(), shapes(1), st.sampled_from(["set", "add"]))
def test_writing_at_an_index_gives_a_new_tensor(data: st.DataObject, shape: tuple, kind: str) -> None:
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    index = data.draw(indices(shape))
    expected = x.copy()
    try:
        if kind == "set":
            expected[index] = -1
        else:
            np.add.at(expected, index, 0.5)
    except IndexError:
        return
    value = -1 if kind == "set" else 0.5
    write = lambda t: getattr(t.at[index], kind)(value)
    agree(write(mlc.Tensor(x)), expected)
    agree(mlc.jit(write).trace(x).module.run(x)[0], expected)


@pytest.mark.parametrize("kind", ["add", "multiply", "min", "max"])
def test_places_that_are_named_twice_are_folded_twice(kind: str) -> None:
    x, index, y = np.arange(4.0), np.array([1, 1, 3]), np.array([2.0, 3.0, 0.5])
    expected = x.copy()
    {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}[kind].at(expected, index, y)
    for where, value, result in ((index, y, expected), (slice(1, 3), 2.5, None)):
        write = lambda t: getattr(t.at[where], kind)(value)  # noqa: B023
        at_once = write(mlc.Tensor(x))
        if result is not None:
            agree(at_once, result)
        agree(mlc.jit(write).trace(x).module.run(x)[0], at_once)
        agree(write(mlc.Tensor(x, requires_grad=True)), at_once)


@pytest.mark.parametrize("mask", [[True, False, True], [False, False, False]])
def test_a_mask_selects_at_once(mask: list[bool]) -> None:
    x = np.arange(12.0).reshape(3, 4)
    agree(mlc.Tensor(x)[np.array(mask)], x[np.array(mask)])
    agree(mlc.Tensor(x)[mlc.Tensor(x) > 4], x[x > 4])
    with pytest.raises(mlc.ShapeError, match="a traced mask"):
        mlc.jit(lambda t: t[t > 4]).trace(x)


ARRANGED: list[Callable] = [
    lambda m, x: m.reshape(x, (3, -1)),
    lambda m, x: x.T,
    lambda m, x: m.swapaxes(x, 0, 1),
    lambda m, x: m.moveaxis(x, 0, -1),
    lambda m, x: m.expand_dims(x, (0, 2)),
    lambda m, x: m.squeeze(m.expand_dims(x, 1)),
    lambda m, x: m.broadcast_to(x, (2, 3, 4)),
    lambda m, x: m.concatenate([x, x[:1], x.astype("float64")], 0),
    lambda m, x: m.stack([x, x], -1),
    lambda m, x: m.vstack([x, x[0]]),
    lambda m, x: m.hstack([x, x]),
    lambda m, x: m.split(x, 2, 1),
    lambda m, x: m.split(x, [1, 3], 1),
    lambda m, x: m.flip(x, 0),
    lambda m, x: m.roll(x, -5),
    lambda m, x: m.roll(x, 3, 1),
    lambda m, x: m.tile(x, (2, 1, 2)),
    lambda m, x: m.repeat(x, 2, 0),
    lambda m, x: m.pad(x, ((1, 0), (2, 1)), constant_values=7),
    lambda m, x: m.pad(x, 1, mode="reflect"),
    lambda m, x: m.tril(x, 1),
    lambda m, x: m.triu(x),
    lambda m, x: m.where(x > 4, x, 0),
    lambda m, x: m.clip(x, 2, 5.5),
    lambda m, x: m.take(x, np.array([2, 0]), 1),
    lambda m, x: m.take_along_axis(x, m.argsort(-x, axis=1), 1),
    lambda m, x: m.sort(x[:, ::-1], 1),
    lambda m, x: m.count_nonzero(x, 0),
    lambda m, x: m.cumprod(x + 1, 1),
    lambda m, x: m.matmul(x, x.T),
    lambda m, x: m.dot(x[0], x[1]),
    lambda m, x: m.inner(x, x),
    lambda m, x: m.outer(x[0], x[:, 0]),
    lambda m, x: m.tensordot(x, x, ((0, 1), (0, 1))),
    lambda m, x: m.einsum("ij,kj->ik", x, x),
    lambda m, x: m.einsum("ij->j", x),
    lambda m, x: x**2 + x**3 + (x + 1) ** -1 + x**0.5 + 2.0**x,
    lambda m, x: x // 2 + x % 3 - 7 // (x + 1),
    lambda m, x: m.nan_to_num(x / x, nan=1.0),
    lambda m, x: m.zeros_like(x) + m.full_like(x, 3),
    lambda m, x: x + m.arange(4) + m.arange(0, 12, 3),
]


@pytest.mark.parametrize("number", range(len(ARRANGED)))
def test_functions_that_arrange_and_multiply(number: int) -> None:
    for dtype in (np.float32, np.float64):
        same(ARRANGED[number], np.arange(12, dtype=dtype).reshape(3, 4))


MADE = {
    "diff": lambda n, x: (n.diff(x), n.diff(x, 2, 0)),
    "average": lambda n, x: (
        n.average(x),
        n.average(x, 0),
        n.average(x, 1, abs(x[0]) + 1),
        n.average(x, None, abs(x) + 1),
    ),
    "nan": lambda n, x: [
        f(n.where(x > 1, n.nan, x), a) for f in (n.nansum, n.nanmean, n.nanmax, n.nanmin) for a in (None, 0)
    ],
    "median": lambda n, x: (
        n.median(x),
        n.median(x, 0),
        n.median(x, 1, keepdims=True),
        n.median(n.where(x > 2, n.nan, x), 1),
    ),
    "meshgrid": lambda n, x: [
        *n.meshgrid(x[0], x[:, 0]),
        *n.meshgrid(x[0], x[:, 0], x[0], indexing="ij"),
        *n.meshgrid(x[0]),
    ],
    "diag": lambda n, x: (n.diag(x), n.diag(x, 1), n.diag(x[0], 2), n.diag(x[:, 0], -1)),
    "kron": lambda n, x: (n.kron(x, x[:2]), n.kron(x[0], x)),
    "vdot": lambda n, x: (n.vdot(x, x), *n.atleast_1d(x[0, 0], x), *n.atleast_2d(x[0], x, x[0, 0])),
    "isclose": lambda n, x: (
        n.isclose(x, x * 1.000001),
        n.isclose(n.sqrt(x), n.sqrt(x), equal_nan=True),
        n.isclose(x / 0, x / 0),
    ),
}


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN")  # of NumPy
@pytest.mark.parametrize("name", MADE)
@settings(max_examples=6, deadline=None)
@given(data=st.data(), rows=st.sampled_from([1, 2, 5]), columns=st.sampled_from([1, 4, 5]), dtype=FLOATS)
def test_functions_that_are_made_of_others(
    name: str, data: st.DataObject, rows: int, columns: int, dtype: type
) -> None:
    same(MADE[name], data.draw(arrays((rows, columns), dtype)))


def test_numpys_own_functions_on_tensors_are_ours() -> None:
    x = mlc.Tensor(np.arange(6.0).reshape(2, 3))
    for found in (
        np.sin(x),
        np.add(1, x),
        np.arange(3.0) + x,
        np.concatenate([x, x]),
        np.mean(x),
        np.where(x > 1, x, 0),
    ):
        assert isinstance(found, mlc.Tensor)
    staged = mlc.jit(lambda t: np.exp(t).sum() + np.linalg.norm(t)).trace(x)
    np.testing.assert_allclose(staged.module.run(x.numpy())[0], np.exp(x.numpy()).sum() + np.linalg.norm(x.numpy()))
    with pytest.raises(TypeError):
        np.sin(x, out=np.zeros((2, 3)))


def test_compiled_functions_agree_with_numpy() -> None:
    rng = np.random.default_rng(5)
    x, w, at = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.integers(0, 5, 7)

    def function(m, x, w):
        rows = m.tanh(x @ w)[at][::-2, None]
        return m.where(rows > 0, rows, rows**2).sum(0), m.sort(x, 0), m.cumsum(w, 1), m.argmax(x, 1)

    agree(mlc.jit(lambda x, w: function(mnp, x, w))(x, w), function(np, x, w))


@settings(max_examples=30, deadline=None)
@given(st.data(), shapes(2, 4), DTYPES, st.integers(-5, 5))
def test_diagonals_are_of_any_two_axes(data: st.DataObject, shape: tuple, dtype: type, offset: int) -> None:
    x = data.draw(arrays(shape, dtype))
    first, second = data.draw(st.permutations(range(-len(shape), 0)))[:2]
    same(lambda m, t: (m.diagonal(t), m.diagonal(t, offset, first, second)), x)
    if x.dtype in (np.float64, np.int64):
        same(lambda m, t: (m.trace(t), m.trace(t, offset=offset, axis1=first, axis2=second)), x)
