"""cond, while_loop and scan give the same at once and compiled; their bodies may use what is around them."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import MlcError
from mlc.frontends.trace.pytree import leaves_of

RNG = np.random.default_rng(7)


def same(function, *xs, **options) -> None:
    """At once, and compiled."""
    one, other = (
        function(*[mlc.Tensor(x) if isinstance(x, np.ndarray) else x for x in xs]),
        mlc.jit(function, **options)(*xs),
    )
    for first, second in zip(leaves_of(one), leaves_of(other), strict=True):
        np.testing.assert_allclose(np.asarray(second), np.asarray(first), rtol=1e-6, atol=1e-12)


WEIGHT = mlc.Tensor(RNG.normal(size=(6, 6)))


def recurrence(x, state, scale, reverse=False):
    def step(state, row):
        state = {"h": mnp.tanh(state["h"] @ WEIGHT + row * scale), "n": state["n"] + 1}
        return state, {"sum": state["h"].sum(), "n": state["n"], "one": 1.0}

    return mlc.scan(step, state, x, reverse=reverse)


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_of_pytrees_with_a_weight_and_a_number_from_around(length: int, reverse: bool) -> None:
    x = RNG.normal(size=(length, 6))
    same(lambda x, scale: recurrence(x, {"h": mnp.zeros(6, "f64"), "n": 0}, scale, reverse), x, 2.0)


def test_scan_of_matrices_whose_rows_are_one_axis_to_a_kernel() -> None:
    """A kernel sees 3x4 as 12: a view of the row that a step reads, and of the one that it writes."""

    def step(state, row):
        y = mnp.tanh(row) * state
        return state + y, y.sum(axis=1, keepdims=True) * y

    same(lambda x: mlc.scan(step, x[0], x), RNG.normal(size=(5, 3, 4)))


def test_scan_of_a_symbolic_length() -> None:
    compiled = mlc.jit(lambda x: recurrence(x, {"h": mnp.zeros(6, "f64"), "n": 0}, 0.5), shapes={"x": ("T", 6)})
    for length in (1, 4):
        x = RNG.normal(size=(length, 6))
        (one, _), (other, _) = compiled(x), recurrence(mlc.Tensor(x), {"h": mnp.zeros(6, "f64"), "n": 0}, 0.5)
        np.testing.assert_allclose(one["h"], other["h"], rtol=1e-9)
        assert int(one["n"]) == length


@pytest.mark.parametrize("sign", [1, -1])
def test_cond_takes_one_branch(sign: int) -> None:
    def function(x, y):
        doubled = x * 2
        return mlc.cond(
            x.sum() > 0, lambda z: {"a": z + y, "b": 1}, lambda z: {"a": z - WEIGHT[0, :3], "b": 2}, doubled
        )

    same(function, sign * np.ones(3), np.arange(3.0))


def test_a_branch_inside_a_loop_inside_a_loop() -> None:
    def function(x):
        def outer(total, row):
            def inner(state, value):
                state = mlc.cond(value > 0, lambda s: s + value * row[0], lambda s: s - total[0], state)
                return state, state * 2

            last, all_ = mlc.scan(inner, total[1], row)
            return (last, last + 1), all_

        return mlc.scan(outer, (mnp.zeros((), "f64"), mnp.ones((), "f64")), x)

    same(function, RNG.normal(size=(3, 4)))


def test_while_loop_ends_by_its_condition() -> None:
    def steps(n):
        def body(state):
            n = state["n"]
            return {"n": mnp.where(n % 2 == 0, n // 2, 3 * n + 1), "count": state["count"] + 1}

        return mlc.while_loop(lambda s: s["n"] != 1, body, {"n": n, "count": 0})

    assert int(steps(27)["count"]) == 111
    same(steps, 27)
    same(steps, 1)


def test_python_decides_what_is_known() -> None:
    def function(x, depth):
        for _ in range(depth):
            x = mlc.cond(depth > 1, lambda x: x + 1, lambda x: x - 1, x)
        return x

    assert float(mlc.jit(function, static=["depth"])(np.float64(0), 3)) == 3


WRONG = {
    "the state is f64[2] before and f64[4] after": lambda x: mlc.scan(
        lambda s, r: (mnp.concatenate([s, r]), None), x[0], x
    ),
    "the state is f64[2] before and f32[2] after": lambda x: mlc.while_loop(
        lambda s: True, lambda s: s.astype("f32"), x[0]
    ),
    "a step gives a pair": lambda x: mlc.scan(lambda s, r: s, x[0], x),
    "the state changes its structure": lambda x: mlc.scan(lambda s, r: ((s, s), None), x[0], x),
    "nothing says how many steps": lambda x: mlc.scan(lambda s, _: (s, None), x[0]),
    "different lengths": lambda x: mlc.scan(lambda s, r: (s, None), x[0], (x, x[:2])),
    "a sequence is a scalar": lambda x: mlc.scan(lambda s, r: (s, None), x[0], x[0, 0]),
}


@pytest.mark.parametrize("message", WRONG)
@pytest.mark.parametrize("traced", [False, True])
def test_what_does_not_fit_is_refused_at_the_users_line(message: str, traced: bool) -> None:
    x = np.ones((3, 2))
    with pytest.raises(MlcError) as error:
        mlc.jit(WRONG[message]).trace(x) if traced else WRONG[message](mlc.Tensor(x))
    assert message in str(error.value) and "test_control.py" in str(error.value)


def test_a_condition_is_one_bool() -> None:
    for condition in (np.array([True, False]), mlc.Tensor([True])):
        with pytest.raises(MlcError, match=r"cond: the condition (has the shape|is bool)") as error:
            mlc.cond(condition, lambda: 1, lambda: 2)
        assert "test_control.py" in str(error.value)
        with pytest.raises(MlcError, match=r"cond: the condition (has the shape|is bool)"):
            mlc.jit(lambda c: mlc.cond(c, lambda: 1, lambda: 2)).trace(condition)


def test_branches_that_differ_are_refused() -> None:
    for second in (lambda x: x[0], lambda x: (x, x), lambda x: x.astype("f32")):
        with pytest.raises(MlcError, match="branches give different|one body gives"):
            mlc.jit(lambda x: mlc.cond(x.sum() > 0, lambda x: x, second, x)).trace(np.ones(3))  # noqa: B023


def test_a_value_of_a_body_is_no_use_outside_of_it() -> None:
    kept = []
    with pytest.raises(MlcError, match="is used outside of 'a step of scan'"):
        mlc.jit(lambda x: (mlc.scan(lambda s, r: (kept.append(r) or s, None), x[0], x), kept[0] + 1)).trace(
            np.ones((3, 2))
        )
