"""mlc.grad and its kin: nested, on pytrees, at once and compiled."""

from __future__ import annotations

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DTypeError, MlcError, NoDerivative, NumericMismatch, ShapeError
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.dce import Dce

X = np.array([1.0, 2.0, 3.0])
Y = np.array([3.0, 4.0, 5.0])


def loss(params, x):  # type: ignore[no-untyped-def]
    return (mnp.tanh(x @ params["w"] + params["b"]) ** 2).mean()


def cubes(x):  # type: ignore[no-untyped-def]
    return (x**3).sum()


def near(found: object, expected: object, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wrap", [lambda f: f, mlc.jit])
def test_gradients_have_the_structure_of_the_argument(wrap) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    params, x = {"w": rng.normal(size=(4, 5)), "b": rng.normal(size=5)}, rng.normal(size=(3, 4))
    value, gradient = wrap(mlc.value_and_grad(loss))(params, x)
    h = np.tanh(x @ params["w"] + params["b"])
    outer = 2 * h * (1 - h * h) / h.size
    near(value, (h * h).mean())
    near(gradient["b"], outer.sum(0))
    near(gradient["w"], x.T @ outer)
    both = wrap(mlc.grad(loss, argnums=(0, -1)))(params, x)
    near(both[1], outer @ params["w"].T)


def test_gradients_nest() -> None:
    near(mlc.grad(lambda x: cubes(mlc.grad(cubes)(x)))(X), 3 * (3 * X**2) ** 2 * 6 * X)
    # derivatives by x and by y do not meet: d/dx [x * d/dy ((x + y) * y)] = 2 x + 2 y - x ... at (2, 3): 10
    near(mlc.grad(lambda x: x * mlc.grad(lambda y: (x + y) * y)(3.0))(np.float64(2)), 10, 1e-6)
    near(mlc.grad(mlc.grad(mlc.grad(lambda x: x**4)))(np.float64(2)), 48)


@pytest.mark.parametrize("wrap", [lambda f: f, mlc.jit])
def test_products_with_jacobians_and_hessians(wrap) -> None:  # type: ignore[no-untyped-def]
    near(wrap(lambda x, v: mlc.hvp(cubes, [x], [v]))(X, Y), 6 * X * Y)
    value, change = wrap(lambda x, v: mlc.jvp(lambda x: {"y": mnp.sin(x), "n": x.sum()}, [x], [v]))(X, Y)
    near(value["y"], np.sin(X))
    near(change["y"], np.cos(X) * Y)
    near(change["n"], Y.sum())
    near(wrap(lambda x, y, c: mlc.vjp(lambda x, y: x * y, x, y)[1](c))(X, Y, X)[1], X * X)
    near(wrap(mlc.hessian(cubes))(X), np.diag(6 * X))


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_jacobians_of_structures(mode: str) -> None:
    f = lambda p: {"outer": mnp.sin(p["u"])[:, None] * p["v"], "sum": p["u"].sum()}
    found = mlc.jacobian(f, mode=mode)({"u": X, "v": Y[:2]})  # type: ignore[arg-type]
    expected = np.zeros((3, 2, 3))
    for i in range(3):
        expected[i, :, i] = np.cos(X[i]) * Y[:2]
    near(found["outer"]["u"], expected)
    near(found["outer"]["v"], np.sin(X)[:, None, None] * np.eye(2))
    near(found["sum"]["u"], np.ones(3))
    near(found["sum"]["v"], np.zeros(2))


def test_one_compilation_of_a_gradient_serves_every_size() -> None:
    gradient = mlc.jit(mlc.grad(cubes), shapes={"x": ("N",)})
    for n in (0, 1, 5):
        x = np.arange(n) + 1.0
        near(gradient(x), 3 * x**2)


def test_what_comes_along_with_the_loss_is_given_back() -> None:
    gradient, more = mlc.grad(lambda x: (cubes(x), {"mean": x.mean()}), has_aux=True)(X)
    near(gradient, 3 * X**2)
    near(more["mean"], 2)


def test_stop_gradient_and_checkpoint() -> None:
    near(mlc.grad(lambda x: (mlc.stop_gradient(x) * x).sum())(X), X)
    layer = mlc.checkpoint(lambda x, w: mnp.tanh(x @ w))
    near(mlc.grad(lambda x: mlc.checkpoint(lambda x, *, k: x * k)(x, k=2.0).sum())(X), np.full(3, 2.0))
    w = np.eye(3) * 0.5
    deep = lambda x, w, f: f(f(x, w), w).sum()
    plain = mlc.grad(lambda w: deep(X, w, lambda x, w: mnp.tanh(x @ w)))
    kept = mlc.grad(lambda w: deep(X, w, layer))
    near(kept(w), plain(w))
    near(mlc.jit(kept)(w), plain(w))
    near(mlc.grad(lambda w: (kept(w) ** 2).sum())(w), mlc.grad(lambda w: (plain(w) ** 2).sum())(w))
    text = mlc.jit(kept).trace(w).as_text("decompose")
    assert text.count("graph.call") == 3  # the first layer, and both again on the way back


def test_functions_state_their_vjp() -> None:
    f = mlc.custom_vjp(lambda x, y: mnp.sin(x) * y)
    f.defvjp(
        lambda x, y: (f(x, y), {"slope": mnp.cos(x), "y": y}), lambda kept, c: (2 * c * kept["slope"] * kept["y"], None)
    )
    near(mlc.grad(lambda x: f(x, Y).sum())(X), 2 * np.cos(X) * Y)
    near(mlc.jit(mlc.grad(lambda x, y: f(x, y).sum(), argnums=1))(X, Y), np.zeros(3))
    near(mlc.grad(lambda x: mlc.grad(lambda x: f(x, Y).sum())(x).sum())(X), -2 * np.sin(X) * Y)
    near(f(X, Y), np.sin(X) * Y)
    with pytest.raises(NoDerivative, match="'<lambda>' says how cotangents go back"):
        mlc.jvp(lambda x: f(x, Y), [X], [X])
    inner = mlc.custom_vjp(lambda x: x * 2)

    def outside(w):  # type: ignore[no-untyped-def]
        held = mlc.custom_vjp(lambda x: x * w)
        held.defvjp(lambda x: (held(x), ()), lambda kept, c: (c,))
        return held(w + 1).sum()

    with pytest.raises(NoDerivative, match="uses a value from outside"):
        mlc.grad(outside)(X)
    with pytest.raises(MlcError, match="has no derivative yet"):
        mlc.grad(lambda x: inner(x).sum())(X)


def test_rules_take_arguments_in_their_order_and_residuals_as_they_are() -> None:
    def scaled(x, factor=2, kind="plain"):
        return x * factor

    f = mlc.custom_vjp(scaled)

    def backward(kept, c):
        factor, half, kind = kept
        assert (factor, half, kind) == (3, 0.5, "plain")
        return c * factor * half, None, None

    f.defvjp(lambda x, factor, kind: (scaled(x, factor), (factor, 0.5, kind)), backward)
    for dtype in ("f16", "f64"):
        gradient = mlc.grad(lambda x: f(factor=3, x=x).sum())(mnp.array(X, dtype))
        near(gradient, np.full(3, 1.5))
    near(f(X, factor=3), 3 * X)
    with pytest.raises(MlcError, match="scaled: got an unexpected keyword argument 'by'"):
        mlc.grad(lambda x: f(x, by=3).sum())(X)
    named = mlc.custom_vjp(lambda x, *, factor: x * factor)
    named.defvjp(lambda x, factor: (x, ()), lambda kept, c: (c,))
    with pytest.raises(MlcError, match="takes factor by name alone, and its rules by position"):
        mlc.grad(lambda x: named(x, factor=3).sum())(X)
    with pytest.raises(MlcError, match="returns a tuple of 3, and has to return a tuple of 2 cotangents"):
        g = mlc.custom_vjp(lambda x, y: x * y)
        g.defvjp(lambda x, y: (x * y, ()), lambda kept, c: (c, c, c))
        mlc.grad(lambda x: g(x, Y).sum())(X)


def test_functions_state_their_jvp() -> None:
    h = mlc.custom_jvp(lambda x: x**2)
    h.defjvp(lambda primals, tangents: (h(*primals), 3 * primals[0] * tangents[0]))
    near(mlc.grad(lambda x: h(x).sum())(X), 3 * X)
    near(mlc.jvp(h, [X], [Y])[1], 3 * X * Y)
    near(mlc.jit(mlc.grad(lambda x: mlc.grad(lambda x: h(x).sum())(x).sum()))(X), np.full(3, 3.0))
    with pytest.raises(NumericMismatch, match="reverse mode says"):
        mlc.check_grads(lambda x: h(x).sum(), [X])


def test_check_grads_says_where_a_function_is_not_smooth() -> None:
    mlc.check_grads(loss, [{"w": np.ones((2, 2)), "b": np.zeros(2)}, np.ones((3, 2))])
    mlc.check_grads(lambda x: 1e6 * mnp.sin(x / 1e6), [X * 1e6])  # the step grows with the point
    backwards = mlc.custom_vjp(lambda x: x * x)
    backwards.defvjp(lambda x: (x * x, x), lambda x, c: (2 * c * x,))
    mlc.check_grads(lambda x: backwards(x).sum(), [X], modes=["reverse"])
    with pytest.raises(NoDerivative, match=r'modes=\["reverse"\]\) leaves forward mode out'):
        mlc.check_grads(lambda x: backwards(x).sum(), [X])
    with pytest.raises(MlcError, match="not smooth here"):
        mlc.check_grads(lambda x: abs(x).sum(), [np.zeros(2)])


def test_gradients_of_a_module_by_its_weights() -> None:
    from mlc.ir import builder as g

    m = g.module_builder("main")
    with m.function([("x", ("N", 2), "f64")]) as (x,):
        w = g.weight(np.array([[1.0, 2.0], [3.0, 4.0]]), "fc.weight")
        m.outputs([("loss", g.reduce(g.tanh(g.matmul(x, w)), None, "sum"))])
    module = m.finish()
    found = mlc.grad(module, wrt="fc.*")
    assert found.output_names == ["loss", "gradient.fc.weight"] and found.input_names == ["x", "fc.weight"]
    x, w = np.ones((3, 2)) / 9, module.weights.get("fc.weight")
    near(found.run(x, w)[1], x.T @ (1 - np.tanh(x @ w) ** 2))
    assert module.output_names == ["loss"]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: mlc.grad(lambda x: x)(X), ShapeError, r"a gradient is of one number, and <lambda> returns f64\[3\]"),
        (
            lambda: mlc.grad(cubes)(np.arange(3)),
            DTypeError,
            r"no gradient of cubes by argument\[0\], which is i64\[3\]",
        ),
        (lambda: mlc.grad(lambda n: cubes(X) * n)(3), DTypeError, r"by argument\[0\], which is 3"),
        (lambda: mlc.grad(lambda x: x.argmax())(X), DTypeError, r"which returns i64\[\]"),
        (lambda: mlc.grad(lambda x: (cubes(x), x))(X), MlcError, "returns tuple, and a gradient is of one number"),
        (lambda: mlc.grad(cubes, argnums=1)(X), MlcError, "differentiated by argument 1"),
        (lambda: mlc.grad(3), MlcError, "a gradient is of a function, not of int"),
        (lambda: mlc.grad(cubes, argnums="x")(X), MlcError, "argnums of cubes is 'x'"),
        (lambda: mlc.jvp(cubes, [X], [X, X]), MlcError, "the tangents have another structure"),
        (lambda: mlc.jvp(cubes, X, X), MlcError, "jvp: the primals are one ndarray, and no tuple"),
        (lambda: mlc.hvp(cubes, (X,), mnp.array(X)), MlcError, "hvp: the tangents are one Tensor, and no tuple"),
        (lambda: mlc.grad(cubes, has_aux=True)(X), MlcError, r"cubes returns f64\[\], and with has_aux=True a pair"),
        (
            lambda: mlc.grad(lambda x: (cubes(x), x, x), has_aux=True)(X),
            MlcError,
            "returns tuple of 3, and with has_aux=True a pair",
        ),
        (lambda: mlc.jvp(cubes, [X], [X[:2]]), ShapeError, r"the tangent 0 is f64\[2\], and belongs to f64\[3\]"),
    ],
)
def test_errors_name_the_function_and_the_argument(call, kind, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "test_functions.py:" in str(caught.value)


def test_a_traced_gradient_holds_no_value_that_it_does_not_need_and_none_twice() -> None:
    """f = (exp v)(exp v + 1): one exp, and not f itself; f' = (2 exp v + 1) exp v."""
    module = mlc.jit(mlc.grad(lambda v: mnp.exp(v) * (mnp.exp(v) + 1))).trace(mlc.Tensor(0.5)).module
    names = [op.name for op in module.main.body.block.ops]
    assert names.count("graph.exp") == 1 and names.count("graph.mul") <= 2
    before = module.text()
    for kind in (Cse, Dce):
        kind().run(module)
    assert module.text() == before
