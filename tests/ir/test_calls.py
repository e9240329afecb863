"""Calls: bodies that stay apart until they are written out, those with `checkpoint` until nothing merges equal values any more."""

import numpy as np
import pytest
from xdsl.ir import Block

from mlc.errors import InvalidModel, ShapeError
from mlc.ir import builder as g
from mlc.ir.graph.base import emit
from mlc.ir.graph.control import CallOp, YieldOp
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes, parse
from tests.ir.every_stage import agree, built

X = [(("N", 3), "f32")]


def names(module: Module) -> list[str]:
    return [op.name.removeprefix("graph.") for op in module.op.walk() if op.name.startswith("graph.")]


def rows(*sizes: int) -> list[list[np.ndarray]]:
    return [[np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)] for n in sizes]


def twice(checkpoint: bool):  # type: ignore[no-untyped-def]
    """exp(x), and what computes it again from x."""

    def build(x):  # type: ignore[no-untyped-def]
        (again,) = g.call(lambda x: [g.neg(g.exp(x))], [x], "negated", checkpoint)
        return [g.mul(g.exp(x), x), again]

    return build


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("level", [0, 2])
def test_a_call_is_its_body_in_every_stage(checkpoint: bool, level: int) -> None:
    agree(twice(checkpoint), X, rows(0, 1, 5), lambda x: [np.exp(x) * x, -np.exp(x)], 1e-6, [level])


@pytest.mark.parametrize(("checkpoint", "left"), [(False, 1), (True, 2)])
def test_only_a_checkpoint_computes_again_what_is_known(checkpoint: bool, left: int) -> None:
    after = PassManager(graph_passes(2), verify_each=True).run(built(twice(checkpoint), X))
    assert names(after).count("exp") == left and "call" not in names(after)


def test_a_checkpoint_stays_while_passes_work_inside() -> None:
    def body(x, w):  # type: ignore[no-untyped-def]
        return [g.softmax(g.matmul(g.mul(x, g.full_like(x, 1)), g.transpose(w, [1, 0])))]

    def build(x):  # type: ignore[no-untyped-def]
        return g.call(body, [x, g.constant(np.eye(3, dtype=np.float32)[::-1].copy())], "layer", True)

    steps = [step for step in graph_passes(2) if step.name != "write-checkpoints"]
    after = PassManager(steps, verify_each=True).run(built(build, X))
    found = names(after)
    assert "call" in found and "softmax" not in found and "transpose" not in found
    agree(build, X, rows(0, 1, 4), lambda x: softmax(x[:, ::-1]), 1e-6)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True) if len(x) else x


def test_calls_within_calls_loops_and_branches_are_written_out() -> None:
    def outer(x):  # type: ignore[no-untyped-def]
        (y,) = g.call(lambda x: [g.exp(x)], [x], "inner", True)
        return [g.neg(y), y]

    def step(carries, xs, constants):  # type: ignore[no-untyped-def]
        negative, positive = g.call(outer, [xs[0]], "outer", True)
        return [g.add(carries[0], negative)], [positive]

    def build(x):  # type: ignore[no-untyped-def]
        (last,), (every,) = g.scan(step, [g.full((3,), 0, "f32")], [x], g.shape_of(x)[0])
        return [last, every]

    agree(build, X, rows(0, 1, 5), lambda x: [-np.exp(x).sum(0), np.exp(x)], 1e-5)


def test_a_call_without_operands_or_results() -> None:
    def build(x):  # type: ignore[no-untyped-def]
        g.call(list, [], "nothing")
        (one,) = g.call(lambda: [g.scalar(1, "f32")], [], "one", True)
        return g.add(x, g.broadcast(one, g.shape_of(x), []))

    agree(build, X, rows(0, 2), lambda x: x + 1)


def test_operands_that_do_not_fit_are_named() -> None:
    def build(x):  # type: ignore[no-untyped-def]
        block = Block(arg_types=[x.type, x.type])
        block.add_op(YieldOp([block.args[0]]))
        return emit(CallOp([x], "f", block))[0]

    with pytest.raises(ShapeError, match=r"call of f: it takes f32\[N, 3\], f32\[N, 3\], and is given f32\[N, 3\]"):
        built(build, X)


def test_a_body_sees_its_arguments_alone() -> None:
    with pytest.raises(Exception, match="isolated|IsolatedFromAbove|outside"):
        built(lambda x: g.call(lambda: [g.exp(x)], [], "leaky"), X)


def test_text_whose_call_does_not_fit_its_body_is_refused() -> None:
    text = str(built(twice(True), X))
    wrong = text.replace("}) : (tensor<N x 3 x f32>)", "}) : (tensor<N x 4 x f32>)")
    assert wrong != text
    with pytest.raises(InvalidModel):
        Module.parse(wrong)


def test_the_stop_of_a_gradient_is_what_it_stops() -> None:
    for dtype in ("f32", "i64", "bool"):
        x = np.array([[0, 1, 2], [3, 0, 5]]).astype({"f32": np.float32, "i64": np.int64, "bool": bool}[dtype])
        agree(g.stop_gradient, [(("N", 3), dtype)], [[x], [x[:0]]], lambda x: x)
    after = PassManager(parse("decompose")).run(built(lambda x: g.neg(g.stop_gradient(x)), X))
    assert names(after) == ["neg"]
