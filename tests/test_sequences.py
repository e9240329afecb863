"""Sequences and optional values as inputs and outputs, against the reference of the standard and onnxruntime."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import mlc
from mlc.compiler import load
from mlc.errors import MlcError, UnsupportedOp
from mlc.grouped import Grouped
from mlc.sequences import Structured


def parse(body: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\nmain {body}')


def rows(*sizes: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32) for n in sizes]


def same(found: object, want: object) -> None:
    if isinstance(want, list):
        assert isinstance(found, list) and len(found) == len(want)
        for x, y in zip(found, want, strict=True):
            same(x, y)
    elif want is None:
        assert found is None
    else:
        assert found.dtype == want.dtype and found.shape == want.shape  # type: ignore[attr-defined]
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


JOINED = """(seq(float[N, 3]) xs, float[M, 3] y) => (float[P, 3] joined, seq(float[K, 3]) more, int64 n) <int64 zero = {0}> {
    more = SequenceInsert(xs, y, zero)
    whole = ConcatFromSequence <axis = 0> (more)
    joined = Exp(whole)
    n = SequenceLength(more)
}"""


def test_a_list_goes_in_and_a_list_comes_out() -> None:
    proto = parse(JOINED)
    executable = mlc.compile(proto)
    for sizes in ((1, 2), (), (4, 0), (5,), (7, 3)):
        feed = {"xs": rows(*sizes), "y": rows(2)[0]}
        more = [feed["y"], *feed["xs"]]
        same(executable.run(None, feed), [np.exp(np.concatenate(more)), more, np.array(len(more))])
        same(executable.run(["n", "more"], feed), [np.array(len(more)), more])
    assert isinstance(executable, Structured) and len(executable._made) == 3  # two, none, one
    assert [i.type for i in executable.get_inputs()] == ["seq(tensor(float))", "tensor(float)"]
    assert executable(rows(1, 2), rows(2)[0])[2] == 3


OPTIONAL = """(optional(float[3]) x, float[3] y) => (float[3] z, bool there) {
    there = OptionalHasElement(x)
    z = If (there) <then_branch = yes () => (float[3] a) { v = OptionalGetElement(x) a = Add(v, y) },
                    else_branch = no () => (float[3] b) { b = Neg(y) }>
}"""


def test_an_optional_input_is_given_or_not() -> None:
    executable = mlc.compile(parse(OPTIONAL))
    x, y = rows(1, 2)[0][0], rows(2)[0][0]
    same(executable.run(None, {"x": x, "y": y}), [x + y, np.array(True)])
    for feed in ({"x": None, "y": y}, {"y": y}):
        same(executable.run(None, feed), [-y, np.array(False)])


def test_an_optional_output_may_be_empty() -> None:
    body = """(optional(seq(float[N, 3])) xs) => (optional(seq(float[K, 3])) ys) { ys = Identity(xs) }"""
    executable = mlc.compile(parse(body))
    for value in (None, [], rows(2, 5)):
        same(executable.run(None, {"xs": value}), [value])


def test_outputs_alone_may_be_sequences() -> None:
    body = """(float[4, N] x) => (seq(float[a, b]) parts) <int64 two = {2}> { y = Neg(x) parts = SplitToSequence <axis = 0> (y, two) }"""
    proto = parse(body)
    executable = mlc.compile(proto)
    assert isinstance(executable, Grouped) and executable.get_outputs()[0].name == "parts[0]"
    for n in (0, 1, 5):
        x = np.arange(4 * n, dtype=np.float32).reshape(4, n)
        same(executable(x), [-x[:2], -x[2:]])
    same(copy.copy(executable)(x), [-x[:2], -x[2:]])


def test_a_branch_that_data_decides_gives_a_sequence() -> None:
    body = """(bool c, float[N, 3] x) => (seq(float[a, b]) ys) <float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> {
        pair = SequenceConstruct(x, x)
        ys = If (c) <then_branch = yes () => (seq(float[N, 3]) t) { p = MatMul(x, w) t = SequenceConstruct(p, x) },
                     else_branch = no () => (seq(float[N, 3]) e) { e = Identity(pair) }>
    }"""
    proto = parse(body)
    reference, executable = ReferenceEvaluator(proto), mlc.compile(proto)
    for c in (True, False):
        feed = {"c": np.array(c), "x": rows(4)[0]}
        same(executable.run(None, feed), reference.run(None, feed))


@pytest.mark.parametrize("known", [True, False])
def test_a_loop_collects_a_sequence(known: bool) -> None:
    """With a trip count that is an input one compilation per count."""
    head = "(float[5] x) => (seq(float[a]) ys) <int64 trips = {3}, bool go = {1}, int64[1] zero = {0}, int64 one = {1}>"
    if not known:
        head = "(float[5] x, int64 trips) => (seq(float[a]) ys) <bool go = {1}, int64[1] zero = {0}, int64 one = {1}>"
    body = """ {
        empty = SequenceEmpty <dtype = 1> ()
        ys = Loop (trips, go, empty) <body = b (int64 i, bool c, seq(float[a]) before) => (bool on, seq(float[a]) after) {
            on = Identity(c) end = Add(i, one) last = Unsqueeze(end, zero)
            piece = Slice(x, zero, last) after = SequenceInsert(before, piece)
        }>
    }"""
    executable, x = mlc.compile(parse(head + body)), np.arange(5, dtype=np.float32)
    for trips in (3,) if known else (0, 1, 3):
        feed = {"x": x} if known else {"x": x, "trips": np.array(trips)}
        same(executable.run(None, feed), [[x[: n + 1] for n in range(trips)]])


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({"xs": rows(1)[0], "y": rows(1)[0]}, r"input 'xs' is seq\(tensor\(float\)\), given is a tensor"),
        ({"xs": None, "y": rows(1)[0]}, "given is nothing"),
        ({"xs": [], "y": rows(1)[0], "z": []}, "there is no input 'z'"),
        ({"xs": [rows(1)[0].astype(np.int32)], "y": rows(1)[0]}, r"xs\[0\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(feed: dict, words: str) -> None:
    with pytest.raises(MlcError, match=words):
        mlc.compile(parse(JOINED)).run(None, feed)


def test_a_module_needs_tensors_and_a_package_a_form(tmp_path: object) -> None:
    with pytest.raises(UnsupportedOp, match="input 'xs' is a sequence or an optional value"):
        load(parse(JOINED))
    executable = mlc.compile(parse(JOINED))
    with pytest.raises(MlcError, match="how many tensors there are in 'xs' decides it"):
        executable.save(f"{tmp_path}/m.mlc")
    feed = {"xs": rows(1, 2), "y": rows(2)[0]}
    executable.variant(feed).save(f"{tmp_path}/m.mlc")
    flat = mlc.load_executable(f"{tmp_path}/m.mlc")
    same(flat(*feed["xs"], feed["y"])[0], executable.run(["joined"], feed)[0])
