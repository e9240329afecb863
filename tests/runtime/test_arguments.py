"""Calls in order and by name: what is missing, given twice or unknown is said in the names of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx.parser
import pytest

import mlc
from mlc.errors import MlcError

TWO = """<ir_version: 8, opset_import: ["": 17]> main (float[N] lhs, float[N] rhs) => (float[N] y, float[N] z) { y = Sub (lhs, rhs) z = Neg (lhs) }"""
DECIDED = """<ir_version: 8, opset_import: ["": 17]> main (float[6] lhs, int64[2] rhs) => (float[A, B] y) { y = Reshape (lhs, rhs) }"""
LISTS = """<ir_version: 8, opset_import: ["": 18]> main (seq(float[N]) lhs, float[N] rhs) => (float[M] y)
    { a = ConcatFromSequence <axis = 0> (lhs) y = Concat <axis = 0> (a, rhs) }"""
GROUPED = """<ir_version: 8, opset_import: ["": 18]> main (float[N] lhs, float[N] rhs) => (seq(float[N]) y) { y = SequenceConstruct (lhs, rhs) }"""

X, Y = np.arange(6, dtype=np.float32), np.ones(6, np.float32)
KINDS: dict[str, tuple[str, Any, Any]] = {
    "one code": (TWO, X, Y),
    "code per value": (DECIDED, X, np.array([2, 3])),
    "code per length": (LISTS, [X, Y], X),
    "lists out": (GROUPED, X, Y),
}


def first(found: Any) -> np.ndarray:
    while isinstance(found, tuple | list):
        found = found[0]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_by_name_are_inputs_in_order(kind: str) -> None:
    text, lhs, rhs = KINDS[kind]
    exe = mlc.compile(onnx.parser.parse_model(text))
    want = first(exe(lhs, rhs))
    for found in (
        exe(lhs=lhs, rhs=rhs),
        exe(rhs=rhs, lhs=lhs),
        exe(lhs, rhs=rhs),
        exe.run(None, {"rhs": rhs, "lhs": lhs}),
    ):
        np.testing.assert_array_equal(first(found), want)
    with pytest.raises(MlcError, match="'lhs' is given twice"):
        exe(lhs, lhs=lhs, rhs=rhs)
    with pytest.raises(MlcError, match="no input 'lsh'") as error:
        exe(rhs=rhs, lsh=lhs)
    assert "Did you mean 'lhs'? Inputs: lhs, rhs." in (error.value.remedy or "")
    with pytest.raises(MlcError, match=r"'rhs' is missing|2 inputs are needed \(lhs, rhs\), 1 given"):
        exe(lhs)
    with pytest.raises(MlcError, match="'rhs' is missing"):
        exe(lhs=lhs)
    with pytest.raises(MlcError, match="one by one") as error:
        exe({"lhs": lhs, "rhs": rhs})
    assert "exe(**inputs)" in (error.value.remedy or "")
    for wrong in (
        lambda: exe.run([lhs, rhs]),
        lambda: exe.run({"lhs": lhs}),
        lambda: exe.run("y", {"lhs": lhs, "rhs": rhs}),
    ):
        with pytest.raises(MlcError):
            wrong()
    with pytest.raises(MlcError, match="go by name"):
        exe.run(None)


def test_a_name_of_an_input_may_be_any() -> None:
    text = TWO.replace("lhs", "self").replace("rhs", "arrays")
    exe = mlc.compile(onnx.parser.parse_model(text))
    np.testing.assert_array_equal(exe(self=X, arrays=Y)[0], X - Y)
    assert exe.profile(self=X, arrays=Y)


CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "outputs as text": (lambda exe: exe.run("y", {"lhs": X, "rhs": Y}), "['y']"),
    "outputs as numbers": (lambda exe: exe.run([0], {"lhs": X, "rhs": Y}), "None"),
    "an output that is near": (lambda exe: exe.run(["Y"], {"lhs": X, "rhs": Y}), "Did you mean 'y'"),
    "a masked array": (lambda exe: exe(np.ma.masked_array(X, X > 2), Y), "x.filled(0)"),
    "no shapes": (lambda exe: exe.threads_of(3, 4), "threads_of((3, 64))"),
    "a size that is none": (lambda exe: exe.memory_analysis(N=3, M=2), "Sizes: N."),
    "no repeats": (lambda exe: exe.profile(X, Y, repeats=0), "at least 1"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_be_says_how_it_is_written(name: str) -> None:
    call, remedy = CALLS[name]
    with pytest.raises(MlcError) as error:
        call(mlc.compile(onnx.parser.parse_model(TWO)))
    assert remedy in (error.value.remedy or "")
