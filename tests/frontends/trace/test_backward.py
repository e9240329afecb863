"""loss.backward(): gradients of what was done to tensors at once, against central differences and mlc.grad."""

from collections.abc import Callable

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.errors import MlcError

RNG = np.random.default_rng(3)


def differences(function: Callable, xs: list[np.ndarray], step: float = 1e-6) -> list[np.ndarray]:
    """Central differences of a function that gives a number, by every element."""
    found = []
    for x in xs:
        slopes = np.zeros_like(x)
        for place in np.ndindex(*x.shape):
            ends = []
            for sign in (1, -1):
                old = x[place]
                x[place] = old + sign * step
                ends.append(float(function(*map(Tensor, xs))))
                x[place] = old
            slopes[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(slopes)
    return found


def check(function: Callable, *xs: np.ndarray) -> None:
    tensors = [Tensor(x, requires_grad=True) for x in xs]
    function(*tensors).backward()
    for t, expected in zip(tensors, differences(function, list(xs)), strict=True):
        np.testing.assert_allclose(np.zeros(t.shape) if t.grad is None else t.grad, expected, rtol=2e-5, atol=2e-7)
        assert t.grad is None or (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype)


X, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))
FUNCTIONS: list[Callable] = [
    lambda x, w: (x @ w).sum(),
    lambda x, w: mnp.tanh(x @ w * 2.0 + 1).mean() + (x * x).sum(),
    lambda x, w: (mnp.exp(x[::-1, 1:3]) / (1 + w[1:3].T.sum())).sum(),
    lambda x, w: (x[:, None, :] * w.T).max(axis=-1).sum() + x[0, 1] + x[[2, 0, 2]].sum(),
    lambda x, w: mnp.where(x > 0, x**3, mnp.abs(x)).sum() * w.std(),
    lambda x, w: mnp.concatenate([x, w.T], 0).prod(axis=1).sum() + mnp.stack([x[0], x[1]]).var(),
    lambda x, w: mnp.einsum("ij,jk,ik->", x, w, x @ w) + mnp.norm(w) * x.sum(),
    lambda x, w: mnp.logsumexp(x, 1).sum() + mnp.sort(w, 0)[1].sum() + mnp.cumsum(x, 1)[:, 2].sum(),
    lambda x, w: x.at[0].set(w[:, 0]).sum() * x.at[1:, 0].add(w[0, 0]).mean(),
    lambda x, w: mnp.clip(x, -0.5, 0.5).sum() + mnp.maximum(x, 0.1).sum() + mnp.arctan2(w, w + 3).sum(),
    lambda x, w: mlc.scan(lambda s, r: (mnp.tanh(s + r @ w), s.sum()), w[0] * 0, x)[1].sum(),
    lambda x, w: mlc.cond(x.sum() > 0, lambda: (x * w[0, 0]).sum(), lambda: (x + w[1, 1]).sum()),
    lambda x, w: (
        sum((row * row).sum() for row in x) + w.reshape(-1)[3] + mnp.pad(w, 1)[2].sum() + mnp.repeat(x, 2).sum()
    ),
]


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_gradients_are_those_of_differences(number: int) -> None:
    check(FUNCTIONS[number], X.copy(), W.copy())


@pytest.mark.parametrize("number", [0, 1, 2, 4, 8])
def test_gradients_are_those_of_grad(number: int) -> None:
    x, w = Tensor(X, requires_grad=True), Tensor(W, requires_grad=True)
    FUNCTIONS[number](x, w).backward()
    for t, expected in zip((x, w), mlc.grad(FUNCTIONS[number], argnums=(0, 1))(X, W), strict=True):
        np.testing.assert_allclose(t.grad, expected, rtol=1e-12)


def test_partial_gradients_of_several_uses_and_calls_add_up() -> None:
    x = Tensor(3.0, requires_grad=True)
    y = x * x
    (y * y + y + x).backward()
    assert float(x.grad) == 4 * 27 + 6 + 1
    (2.0 * x).backward()
    assert float(x.grad) == 4 * 27 + 6 + 1 + 2


def test_a_graph_is_gone_after_it_was_walked_unless_it_is_kept() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert np.asarray(x.grad).tolist() == [4, 8]
    with pytest.raises(MlcError, match=r"backward\(\) has been there before") as error:
        y.backward()
    assert "retain_graph=True" in str(error.value) and "test_backward.py" in str(error.value)


def test_gradients_of_gradients() -> None:
    x = Tensor(2.0, requires_grad=True)
    (mnp.exp(x) * x**3).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward(create_graph=True)
    second, x.grad = x.grad, None
    second.backward()
    e = np.exp(2.0)
    np.testing.assert_allclose([float(first), float(second), float(x.grad)], [20 * e, 44 * e, 86 * e], rtol=1e-6)


def test_nothing_is_remembered_inside_no_grad() -> None:
    x = Tensor([1.0], requires_grad=True)
    with mlc.no_grad():
        y = x * 2
        with mlc.enable_grad():
            z = x * 3
    assert not y.requires_grad and z.requires_grad and (x * 2).requires_grad

    @mlc.no_grad()
    def double(x):
        return x * 2

    assert not double(x).requires_grad
    assert not x.detach().requires_grad and not (x > 0).requires_grad and not mnp.argmax(x).requires_grad


def test_a_constant_gets_no_gradient() -> None:
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0])
    (x * y + (x * 5).detach()).sum().backward()
    assert np.asarray(x.grad).tolist() == [3, 4] and y.grad is None


def test_a_hook_sees_the_whole_gradient_and_may_replace_it() -> None:
    seen = []
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: seen.append(np.asarray(g).tolist()))
    handle = x.register_hook(lambda g: g * 10)
    ((y * y).sum() + y.sum()).backward(retain_graph=True)
    assert seen == [[5, 9]] and np.asarray(x.grad).tolist() == [100, 180]
    handle.remove()
    x.grad = None
    (y * 1).sum().backward()
    assert np.asarray(x.grad).tolist() == [2, 2]
    with pytest.raises(MlcError, match="would never be called"):
        Tensor([1.0]).register_hook(print)


def test_a_long_chain_needs_no_recursion() -> None:
    x = Tensor(1.0, "f64", requires_grad=True)
    y = x
    for _ in range(3000):
        y = y * 1.001
    y.backward()
    np.testing.assert_allclose(x.grad, 1.001**3000, rtol=1e-9)


def test_numbers_that_were_changed_since_are_those_of_then() -> None:
    w = mlc.nn.Parameter(np.array([2.0]))
    y = (w * w).sum()
    w.assign(np.array([5.0]))
    y.backward(retain_graph=True)
    assert np.asarray(w.grad).tolist() == [4]
    with pytest.raises(MlcError, match="was given other numbers after it was used"):
        y.backward(create_graph=True)


def test_backward_goes_through_a_compiled_function() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    (mlc.jit(lambda x: x * x)(x) * 3).sum().backward()
    assert np.asarray(x.grad).tolist() == [6, 12]


def test_no_gradient_is_lost_in_a_compiled_function() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    compiled = mlc.jit(lambda x: (x * w).sum())
    with mlc.no_grad():
        assert not compiled(np.ones(2, np.float32)).requires_grad
    with pytest.raises(MlcError, match="no gradient goes through the compiled function") as error:
        (compiled(np.ones(2, np.float32)) + w.sum()).backward()
    assert "Pass them as arguments" in str(error.value)


def test_steps_of_descent_find_the_least() -> None:
    w = mlc.nn.Parameter(np.zeros(3, np.float32))
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    target = mnp.array(x @ np.array([1, -2, 3], np.float32))
    optimizer = mlc.optim.SGD([w], lr=0.1)
    for _ in range(200):
        loss = ((mnp.array(x) @ w - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(w, [1, -2, 3], atol=1e-3)


WRONG: dict[str, Callable] = {
    "a gradient is of one number": lambda x: (x * 2).backward(),
    "made of nothing that requires a gradient": lambda x: x.detach().sum().backward(),
    "the gradient is f32[3], and belongs to f32[2]": lambda x: (x * 2).backward(np.ones(3, np.float32)),
    "derivatives are by floats": lambda x: Tensor([1], requires_grad=True),
    "while '<lambda>' is traced": lambda x: mlc.jit(lambda t: t.sum().backward()).trace(x),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_has_no_gradient_is_refused_in_words(message: str) -> None:
    with pytest.raises(MlcError) as error:
        WRONG[message](Tensor([1.0, 2.0], requires_grad=True))
    assert message in str(error.value) and "test_backward.py" in str(error.value)


def test_a_gradient_of_several_numbers_is_given_its_cotangent() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward([1.0, 10.0])
    assert np.asarray(x.grad).tolist() == [2, 40]


@pytest.mark.parametrize("row", [[1.0, 2.0, -0.5], [5.0, 5.0], [1e300, -1e300], [-np.inf, 1.0]])
def test_the_gradient_of_logsumexp_is_softmax(row):
    x = np.array(row)
    e = np.exp(x - x.max())
    p = e / e.sum()
    np.testing.assert_allclose(mlc.grad(mnp.logsumexp)(x), p, rtol=1e-14)
    np.testing.assert_allclose(mlc.hessian(mnp.logsumexp)(x), np.diag(p) - np.outer(p, p), atol=1e-15)
