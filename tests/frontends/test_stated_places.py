"""Positions and counts that the file states, in tensors whose extents the call states: what does not fit is refused in words."""

import numpy as np
import pytest

import mlc
from mlc.errors import ShapeError
from mlc.frontends.onnx import load
from tests.frontends.one_node import assert_same, model, normal, reference

ROWS = normal(2, 2)
# operator: its inputs behind x [N, 2], attributes, and the least N
CASES = {
    "TopK": ([np.array([3])], {"axis": 0, "outputs": 2}, 3),
    "ArgMax": ([], {"axis": 0}, 1),
    "ArgMin": ([], {"axis": 0, "select_last_index": 1}, 1),
    "Gather": ([np.array([[0, 4], [-2, 1]])], {"axis": 0}, 5),
    "Gather from the end": ([np.array(-4)], {"axis": 0}, 4),
    "GatherElements": ([np.array([[1, 2]])], {"axis": 0}, 3),
    "GatherND": ([np.array([[2, 1], [-3, -2]])], {}, 3),
    "ScatterElements": ([np.array([[1, 3], [0, 0]]), ROWS], {"axis": 0, "opset": 16}, 4),
    "ScatterND": ([np.array([[1], [-5]]), ROWS], {"opset": 16}, 5),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_file_asks_of_an_extent_is_tested_at_the_call(case: str) -> None:
    more, attributes, least = CASES[case]
    given = {"opset": 13, "constants": range(1, 1 + len(more)), **attributes}

    def proto(rows: int | str) -> object:
        return model(case.split(" ")[0], [normal(4, 2), *more], **given, shapes={0: (rows, 2)})

    executable = mlc.compile(proto("N"))
    for rows in (least, least + 3):
        x = normal(rows, 2)
        assert_same(executable.run(None, {"x0": x}), reference(proto(rows), [x, *more]), 1e-6, 1e-6)
    for rows in {0, least - 1}:
        with pytest.raises(ShapeError, match=f"N is {rows} .*outside of its bounds {least}"):
            executable.run(None, {"x0": normal(rows, 2)})
    if more and least > 1:
        with pytest.raises(ShapeError, match="position|elements"):
            load(proto(least - 1))


def test_a_condition_longer_than_its_axis_has_no_say_behind_the_end() -> None:
    condition = np.array([False, True, False, True])
    for rows in (2, "N"):
        proto = model("Compress", [normal(2, 2), condition], opset=11, constants=(1,), axis=0, shapes={0: (rows, 2)})
        executable = mlc.compile(proto)
        for n in (1, 2, 3, 4, 6) if rows == "N" else (2,):
            x = normal(n, 2)
            (found,) = executable.run(None, {"x0": x})
            np.testing.assert_array_equal(found, np.compress(condition[:n], x, axis=0))
