"""Functions traced into modules, and compiled: each gives what the same function of NumPy arrays gives."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError


def mlp(params: dict, x):
    hidden = mnp.tanh(x @ params["w"] + params["b"])
    return {"loss": (hidden**2).mean(), "hidden": hidden}


def arguments(rows: int = 3) -> tuple:
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(4, 5)), "b": rng.normal(size=5)}, rng.normal(size=(rows, 4))


def test_a_function_gives_the_same_at_once_traced_and_compiled() -> None:
    params, x = arguments()
    expected = np.tanh(x @ params["w"] + params["b"])
    staged = mlc.jit(mlp).trace(params, x)
    assert staged.module.input_names == ["params.b", "params.w", "x"]
    assert staged.module.output_names == ["result.hidden", "result.loss"]
    hidden, loss = staged.module.run(params["b"], params["w"], x)
    np.testing.assert_allclose(hidden, expected, rtol=1e-12)
    np.testing.assert_allclose(loss, (expected**2).mean(), rtol=1e-12)
    tensors = {name: mlc.Tensor(value) for name, value in params.items()}
    for result in (mlp(tensors, mlc.Tensor(x)), mlc.jit(mlp)(params, x), staged.compile()(params, x)):
        np.testing.assert_allclose(result["hidden"], expected, rtol=1e-12)
        np.testing.assert_allclose(result["loss"], (expected**2).mean(), rtol=1e-12)


def test_each_op_knows_the_line_that_it_came_from() -> None:
    text = mlc.jit(mlp).trace(*arguments()).module.text(locations=True)
    line = mlp.__code__.co_firstlineno
    assert f'test_trace.py":{line + 1}:' in text and f'test_trace.py":{line + 2}:' in text


def test_one_compilation_serves_every_size_of_a_symbol(caplog: pytest.LogCaptureFixture) -> None:
    centred = mlc.jit(lambda x: x - x.sum(0) / x.shape[0], shapes={"x": ("N", 3)})
    with caplog.at_level(logging.INFO, "mlc.trace"):
        for rows in (1, 2, 7):
            x = np.random.default_rng(rows).normal(size=(rows, 3))
            np.testing.assert_allclose(centred(x), x - x.mean(0), atol=1e-12)
    assert len(caplog.records) == 1 and "x f64[N, 3]" in caplog.text


def test_an_index_of_a_symbolic_size_takes_a_part_of_a_constant() -> None:
    table = mlc.Tensor(np.arange(10.0))
    head = mlc.jit(lambda x: x + table[: x.shape[0]] + table[x.shape[0]], shapes={"x": ("N",)})
    for rows in (1, 4):
        assert np.asarray(head(np.zeros(rows))).tolist() == [k + rows for k in range(rows)]


def test_functions_take_symbolic_sizes_as_numbers() -> None:
    def function(x):
        n = x.shape[0]
        return (
            x * n + mnp.divide(1, n),
            x / mnp.sqrt(n) * mnp.multiply(n, 0.5),
            mnp.asarray(n),
            mnp.array([n, 2]),
            mnp.array(n, "f32") / n,
        )

    found = mlc.jit(function, shapes={"x": ("N",)})(np.ones(4, np.float32))
    assert [each.tolist() for each in found] == [[4.25] * 4, [1.0] * 4, 4, [4, 2], 1.0]
    assert [str(each.dtype) for each in found] == ["float32", "float32", "int64", "int64", "float32"]


def test_shapes_are_extents_by_name() -> None:
    for wrong, name in (([("N",)], "shapes"), ({"x": "N"}, "x"), ({"x": 3}, "x")):
        for refused in (
            lambda: mlc.jit(lambda x: x, shapes=wrong),  # noqa: B023
            lambda: mlc.train_step(mlc.nn.Linear(2, 2), "mse", mlc.optim.SGD(0.1), shapes=wrong),  # noqa: B023
        ):
            with pytest.raises(MlcError, match=f"shapes are extents by the names of arguments, and {name} is "):
                refused()


def test_a_number_is_an_argument_without_a_dtype_of_its_own() -> None:
    scale = mlc.jit(lambda x, rate: x * rate + 1)
    x = np.ones(3, np.float32)
    assert scale(x, 0.5).dtype == np.float32 and scale(x, 2).dtype == np.float32
    assert np.asarray(scale(np.ones(3, np.int64), 0.5)).tolist() == [1.5, 1.5, 1.5]


def test_static_arguments_decide_what_is_traced() -> None:
    def act(x, kind: str = "relu"):
        return mnp.maximum(x, 0) if kind == "relu" else -x

    found = mlc.jit(act, static="kind")
    assert np.asarray(found(np.array([-1.0, 2.0]))).tolist() == [0, 2]
    assert np.asarray(found(np.array([-1.0, 2.0]), kind="negative")).tolist() == [1, -2]
    with pytest.raises(MlcError, match=r"static=\['kind'\]"):
        mlc.jit(act)(np.ones(2), kind="relu")


def test_a_traced_value_has_no_number() -> None:
    for use in (float, bool, int, lambda x: x.numpy(), lambda x: 1 if x > 0 else 2, np.asarray, lambda x: f"{x:.3f}"):
        with pytest.raises(MlcError, match=r"asks for the numbers of a traced value, (f64|bool)\[\]") as error:
            mlc.jit(lambda x: use(x)).trace(np.float64(1))  # noqa: B023
        assert error.value.file is not None and "test_trace.py" in str(error.value.file)


def test_a_tensor_is_formatted_as_a_number_or_as_text() -> None:
    x = mlc.Tensor([0.5, 1.0])
    assert f"{x[0]:.2f} {x[0]}" == "0.50 0.5" and f"{x:>30}" == f"{x!r:>30}"
    with pytest.raises(MlcError, match=r"the format '.2f' of f32\[2\], which has 2 elements"):
        print(f"{x:.2f}")


def test_functions_of_numpy_without_a_counterpart_are_named() -> None:
    x, array = mlc.Tensor([1.0, 2.0]), np.zeros(2)
    for use, name in (
        (lambda: np.linalg.inv(x), "linalg.inv"),
        (lambda: np.add.reduce(x), "add.reduce"),
        (lambda: mlc.jit(np.spacing)(x), "spacing"),
    ):
        with pytest.raises(MlcError, match=f"numpy.{name} has no counterpart for tensors") as error:
            use()
        assert "test_trace.py" in str(error.value)
    with pytest.raises(MlcError, match=r"numpy.add would write its result into an array"):
        array += x
    assert array.tolist() == [0, 0]


def test_a_traced_value_is_no_use_outside() -> None:
    kept = []
    mlc.jit(lambda x: kept.append(x) or x).trace(np.ones(2))
    with pytest.raises(MlcError, match=r"f64\[2\], is used outside of '<lambda>'"):
        kept[0] + 1


def test_tensors_are_immutable() -> None:
    x = mlc.Tensor([1.0, 2.0])
    with pytest.raises(MlcError, match="tensors are immutable") as error:
        x[0] = 3
    assert "x.at[...].set(value)" in str(error.value)
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 3
    y = x
    y += 1
    assert np.asarray(x).tolist() == [1, 2] and np.asarray(y).tolist() == [2, 3]


def test_shapes_that_do_not_fit_name_the_line_and_the_operands() -> None:
    with pytest.raises(MlcError) as error:
        mlc.Tensor(np.ones((2, 3))) + mlc.Tensor(np.ones((4,), np.float32))
    assert "test_trace.py" in str(error.value) and "f64[2, 3]" in str(error.value) and "f32[4]" in str(error.value)


def test_numbers_that_are_equal_and_of_different_kinds_are_told_apart() -> None:
    x = mlc.Tensor([3])
    assert [(x**n).dtype.kind for n in (2, 2.0, 2, 0.5)] == ["i", "f", "i", "f"]
    scaled = mlc.jit(lambda x, k: x * k, static=["k"])
    assert [scaled(x, k).dtype.kind for k in (2, 2.0, True)] == ["i", "f", "i"]
    assert [mlc.jit(lambda x, k: x * k)(x, k).dtype.kind for k in (2, 2.0)] == ["i", "f"]


def test_a_function_keeps_a_bounded_number_of_signatures(caplog: pytest.LogCaptureFixture) -> None:
    from mlc import jitted

    doubled: Any = mlc.jit(lambda x, k: x, static=["k"])
    for k in range(jitted.SIGNATURES + 2):
        doubled._compiled[k] = None
    doubled(np.ones(2), 0)
    assert len(doubled._compiled) == jitted.SIGNATURES and "symbolic sizes serve many" in caplog.text


def test_a_parameter_from_outside_that_was_given_other_numbers_is_seen() -> None:
    weight = mlc.nn.Parameter(np.array([2.0]))
    scaled = mlc.jit(lambda x: x * weight)
    assert np.asarray(scaled(np.ones(2))).tolist() == [2, 2]
    weight.assign(np.array([3.0]))
    assert np.asarray(scaled(np.ones(2))).tolist() == [3, 3]
    assert len(scaled._compiled) == 1


@pytest.mark.parametrize(
    ("use", "asked"),
    [
        (lambda x: x if x.shape[0] > 2 else -x, "whether N > 2"),
        (lambda x: x if x.shape[0] else -x, "whether N is 0"),
        (lambda x: sum(x[i] for i in range(x.shape[0])), "the number N"),
        (lambda x: x * (0.5 * x.shape[0]), r"the number N \* 0.5"),
        (lambda x: x * (1 / x.shape[0]), "the number N / 1"),
        (lambda x: x * (x.shape[0] - 0.5), "the number N - 0.5"),
        (lambda x: x * x.shape[0] ** 0.5, r"the number N \*\* 0.5"),
    ],
)
def test_python_cannot_decide_by_a_symbolic_size(use: Callable, asked: str) -> None:
    with pytest.raises(MlcError, match=f"^{asked} is not known: the size is symbolic") as error:
        mlc.jit(use, shapes={"x": ("N", 3)})(np.ones((4, 3)))
    assert "shapes=" in str(error.value) or "divide(1, x.shape[0])" in str(error.value)
