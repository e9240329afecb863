"""Modules: what they hold, how they are called, what they say."""

import copy
import threading

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc import nn
from tests.nn.calls import check_calls, random


class Block(nn.Module):
    def __init__(self, size: int):
        self.norm = nn.Linear(size, size)
        self.scale = nn.Parameter(np.ones(size, np.float32))

    def forward(self, x):
        return x + self.norm(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.blocks = [Block(4) for _ in range(2)]
        self.heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 2, bias=False)}
        self.calls = nn.Buffer(np.zeros((), np.float32))
        self.cache = nn.Buffer(np.zeros(2, np.float32), persistent=False)
        self.shift = nn.Parameter(np.full(4, 0.5, np.float32))

    def forward(self, x):
        x = nn.functional.relu(self.first(x)) + self.shift
        for block in self.blocks:
            x = block(x)
        if self.training:
            self.calls = self.calls + 1
        return {name: head(x) for name, head in self.heads.items()}


NAMES = ["shift", "first.weight", "first.bias"]
NAMES += [f"blocks.{k}.{name}" for k in (0, 1) for name in ("scale", "norm.weight", "norm.bias")]
NAMES += ["heads.a.weight", "heads.a.bias", "heads.b.weight"]


def test_what_a_module_holds_is_found_in_the_order_of_definition() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["calls", "cache"]
    paths = ["", "first", "blocks.0", "blocks.0.norm", "blocks.1", "blocks.1.norm", "heads.a", "heads.b"]
    assert [path for path, _ in net.named_modules()] == paths
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())
    assert not any(module.training for module in net.eval().modules())
    assert all(module.training for module in net.train().modules())
    assert list(net.state_dict()) == ["shift", "calls", *NAMES[1:]]
    assert "shift" in dir(net) and not hasattr(net, "other")


def reference(net: Net, x: np.ndarray) -> dict:
    p = {name: np.asarray(value, np.float64) for name, value in net.named_parameters()}
    x = np.maximum(x @ p["first.weight"].T + p["first.bias"], 0) + p["shift"]
    for k in (0, 1):
        x = x + (x @ p[f"blocks.{k}.norm.weight"].T + p[f"blocks.{k}.norm.bias"]) * p[f"blocks.{k}.scale"]
    return {"a": x @ p["heads.a.weight"].T + p["heads.a.bias"], "b": x @ p["heads.b.weight"].T}


def test_a_call_is_a_function_of_parameters_and_buffers() -> None:
    net, x = Net(), random((5, 3), dtype="float32")
    check_calls(net, reference(net, x), x)
    other = Net()
    _, after = nn.functional_call(net, other.values()[0], net.values()[1], x)
    assert float(after["calls"]) == 1 and float(net.calls) == 0
    found, _ = nn.functional_call(net, other.values()[0], {"calls": np.float32(0)}, x)
    for name, value in reference(other, x).items():
        np.testing.assert_allclose(np.asarray(found[name]), value, rtol=1e-5, atol=1e-6)
    net(x), net(x)
    assert float(net.calls) == 2
    net.eval()(x)
    assert float(net.calls) == 2


def test_functional_calls_nest_and_threads_do_not_meet() -> None:
    layer, x = nn.Linear(2, 2, bias=False), np.eye(2, dtype=np.float32)
    found = {}

    class Outer(nn.Module):
        def forward(self, x):
            inner, _ = nn.functional_call(layer, {"weight": x * 3}, {}, x)
            return inner, layer(x)

    def run(factor: float) -> None:
        net = Outer()
        net.layer = layer
        for _ in range(50):
            found[factor] = nn.functional_call(net, {"layer.weight": np.float32(factor) * x}, {}, x)[0]

    threads = [threading.Thread(target=run, args=(factor,)) for factor in (2.0, 5.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for factor in (2.0, 5.0):
        np.testing.assert_array_equal(np.asarray(found[factor][0]), 3 * x)
        np.testing.assert_array_equal(np.asarray(found[factor][1]), np.float32(factor) * x)


def test_a_parameter_that_two_modules_share_is_one() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = nn.Parameter(np.zeros((3, 3), np.float32))
    net[0].weight = vars(net[1])["_tensors"]["weight"]
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    net[1].weight = np.full((3, 3), 2.0)
    assert float(net[0].weight[1, 1]) == 2
    again = copy.deepcopy(net)
    again[0].weight = np.ones((3, 3))
    assert float(again[1].weight[0, 0]) == 1 and float(net[1].weight[0, 0]) == 2


def test_a_compiled_module_has_the_parameters_and_the_mode_of_the_moment() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    call, x = mlc.jit(net, shapes={"x": ("N", 2)}), random((6, 2), dtype="float32")
    first, second = np.asarray(call(x)), np.asarray(call(x))
    assert (first != second).any() and int(net[1].num_batches_tracked) == 2
    for scale in (1.0, 2.0):
        net.eval()[0].weight = scale * np.asarray(net[0].weight)
        np.testing.assert_allclose(np.asarray(call(x[:4])), np.asarray(net(x[:4])), rtol=1e-5, atol=1e-6)
    assert int(net[1].num_batches_tracked) == 2
    assert mlc.jit(lambda x: call(x) * 0)(x).shape == (6, 3)  # inside of a trace it is the module
    traced = call.trace(x)
    assert traced.module.input_names == ["x"] and "graph.batch_norm" in traced.as_text()
    np.testing.assert_allclose(traced.compile()(x), np.asarray(net(x)), rtol=1e-5, atol=1e-6)
    with pytest.raises(mlc.MlcError, match="Sequential: missing a required argument: 'x'"):
        call()
    with pytest.raises(mlc.MlcError, match="no gradient goes through the compiled function 'Sequential'"):
        call(x).sum().backward()
    with pytest.raises(mlc.MlcError, match="axis 1 is 5, the model takes 2"):
        call(x=np.zeros((1, 5), np.float32))


def test_hooks_see_and_replace_until_they_are_removed() -> None:
    layer, x = nn.Linear(2, 2), np.ones((1, 2), np.float32)
    plain, seen = np.asarray(layer(x)), []
    first = layer.register_forward_pre_hook(lambda module, args: seen.append((module, args)))
    assert np.array_equal(np.asarray(layer(x)), plain) and seen[0][0] is layer and seen[0][1][0] is x
    with layer.register_forward_pre_hook(lambda _, args: args[0] * 0):
        np.testing.assert_array_equal(np.asarray(layer(x))[0], np.asarray(layer.bias))
    with layer.register_forward_hook(lambda _, args, output: output + 1):
        np.testing.assert_allclose(np.asarray(layer(x)), plain + 1)
        check_calls(layer, plain + 1, x)
    first.remove(), first.remove()
    seen.clear()
    assert np.array_equal(np.asarray(layer(x)), plain) and seen == []


def test_hooks_see_and_replace_gradients_at_once_and_compiled() -> None:
    layer, x, seen = nn.Linear(2, 3), np.ones((1, 2), np.float32), []
    parameters, _ = layer.values()
    layer.register_backward_pre_hook(lambda module, gradient: gradient * 2)
    after = layer.register_backward_hook(lambda module, gradient: seen.append((module, gradient.shape)))

    def loss(parameters, x):
        return nn.functional_call(layer, parameters, {}, x)[0].sum()

    expected = 2 * np.asarray(layer.weight).sum(0, keepdims=True)
    given = mlc.Tensor(x, requires_grad=True)
    layer(given).sum().backward()
    np.testing.assert_allclose(np.asarray(given.grad), expected, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(layer.weight.grad), np.full((3, 2), 2))
    assert seen == [(layer, (1, 2))]
    for grad in (mlc.grad(loss, (0, 1)), mlc.jit(mlc.grad(loss, (0, 1)))):
        by_parameters, by_x = grad(parameters, x)
        np.testing.assert_allclose(np.asarray(by_x), expected, rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(by_parameters["bias"]), [2, 2, 2])
    with layer.register_backward_hook(lambda module, gradient: gradient * 0):
        assert not np.asarray(mlc.grad(loss, 1)(parameters, x)).any()
    after.remove()
    seen.clear()
    mlc.grad(loss, 1)(parameters, x)
    assert seen == []


def test_running_statistics_keep_no_graph() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x = mlc.Tensor(random((4, 2), dtype="float32"))
    _, buffers = nn.functional_call(net, dict(net.named_parameters()), net.values()[1], x)
    assert not any(value.requires_grad for value in buffers.values())
    net(x).sum().backward()
    assert net[0].weight.grad is not None and not net[1].running_mean.requires_grad


def test_the_text_fits() -> None:
    assert repr(nn.Linear(3, 4, bias=False)) == "Linear(3, 4, bias=False)"
    assert repr(Net()) == (
        "Net(\n  (first): Linear(3, 4)\n  (blocks.0-1): 2 x Block(\n    (norm): Linear(4, 4)\n  )\n"
        "  (heads.a): Linear(4, 1)\n  (heads.b): Linear(4, 2, bias=False)\n)"
    )
    layers = nn.Sequential(*[nn.ReLU() for _ in range(3)], nn.Tanh())
    assert repr(layers) == "Sequential(\n  (0-2): 3 x ReLU()\n  (3): Tanh()\n)"
    assert repr(layers[2:]) == "Sequential(\n  (0): ReLU()\n  (1): Tanh()\n)" and len(layers) == 4


def test_a_state_dict_goes_to_a_module_of_the_same_parts() -> None:
    net, other = Net(), Net()
    state = net.state_dict()
    other.load_state_dict({name: np.asarray(value, np.float64) for name, value in state.items()})
    x = random((2, 3), dtype="float32")
    for name, value in net(x).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(other(x)[name]))
    assert other.shift.dtype == np.float32
    del state["shift"], state["first.bias"]
    state["more"] = mnp.zeros(1)
    with pytest.raises(mlc.MlcError, match=r"Missing: shift, first.bias.\n  Unexpected: more."):
        other.load_state_dict(state)
    other.load_state_dict(state, strict=False)
    with pytest.raises(mlc.ShapeError, match=r"first.weight +f32\[4, 3\] +state dict: \[3, 4\]"):
        other.load_state_dict({"first.weight": np.zeros((3, 4))}, strict=False)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_error_names_the_part_the_shapes_and_the_line(compiled: bool) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Residual(nn.Sequential(nn.ReLU(), nn.Linear(5, 5))))
    call = mlc.jit(lambda x: net(x)) if compiled else net
    with pytest.raises(mlc.ShapeError) as error:
        call(np.ones((2, 3), np.float32))
    text = str(error.value)
    assert text.startswith("Linear '1.body.1': x is f32[2, 4], and its last axis must be 5\n")
    assert "f32[5, 5]" in text and "test_module.py:" in text


def test_layers_take_whatever_is_a_tensor() -> None:
    assert nn.Linear(2, 3)([[1.0, 2.0]]).shape == (1, 3)
    for wrong in (None, "text"):
        with pytest.raises(mlc.MlcError, match="no tensor"):
            nn.Linear(2, 3)(wrong)
    with pytest.raises(mlc.ShapeError, match=r"Linear: x is f32\[\], and its last axis must be 2"):
        nn.Linear(2, 3)(1.0)
    with pytest.raises(mlc.ShapeError, match="a shape is of whole numbers"):
        nn.Linear(2.0, 3)


def test_what_a_module_cannot_do_it_says() -> None:
    net, x = Net(), np.ones((1, 3), np.float32)
    with pytest.raises(mlc.MlcError, match=r"has no parameter 'w'\n(.*\n)?  It has shift, first.weight"):
        nn.functional_call(net, {"w": x}, {}, x)
    with pytest.raises(mlc.ShapeError, match=r"'shift' is f32\[4\], and f32\[1, 3\] was given for it"):
        nn.functional_call(net, {"shift": x}, {}, x)
    with pytest.raises(mlc.MlcError, match=r"(?s)'calls' is given another value while .*buffers that a call changes"):
        mlc.jit(lambda x: net(x))(x)
    with pytest.raises(mlc.MlcError, match="'ps' is a list that holds a Parameter"):
        net.ps = [nn.Parameter(x)]
        list(net.parameters())
    with pytest.raises(mlc.MlcError, match="has something else called 'forward'"):
        net.forward = nn.Parameter(x)
    with pytest.raises(mlc.MlcError, match="part 1 of Sequential is ufunc, and no module"):
        nn.Sequential(nn.ReLU(), np.tanh)
    with pytest.raises(mlc.MlcError, match="Module: Module has no method forward"):
        nn.Module()(x)
