"""Kernels are measured on the rows that ops are tested with."""

from dataclasses import replace

import pytest

from benchmarks.kernels import RESNET50, agrees, case_of, convolution, gemm, rows
from tests.ir.examples import EXAMPLES


def test_every_row_has_a_label_of_its_own() -> None:
    assert len({str(row) for row in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("known", [True, False])
def test_work_is_that_of_the_op_at_the_sizes_of_the_case(known: bool) -> None:
    assert gemm(256, known).work == 2 * 256**3
    height, channels, out, window, stride = RESNET50[0]
    case = convolution(height, channels, out, window, stride, known)
    assert case.work == 2 * 112**2 * window**2 * channels * out  # nor what follows the convolution
    assert rows("softmax", 128, 768, known).work == rows("layer_norm", 128, 768, known).work == 8 * 128 * 768
    assert case.module().input_types == [((1, 224, 224, 3) if known else case.module().input_types[0][0], "f32")]
    assert (not case.module().symbols) == known


def test_any_row_can_be_measured_at_other_sizes() -> None:
    case = case_of("attention", {"S": 16})
    assert [x.shape for x in case.inputs] == [(1, 2, 16, 4), (1, 2, 5, 4), (1, 2, 5, 3)]
    assert case.work == 4 * sum(x.size for x in case.inputs) + 4 * 2 * 16 * 3
    for label, at, said in (("softsing", {}, "no row 'softsing'"), ("exp", {"Q": 3}, "no size Q; it has N")):
        with pytest.raises(SystemExit, match=said):
            case_of(label, at)


def test_what_disagrees_with_its_reference_is_not_measured() -> None:
    row = case_of("exp", {}).row
    assert agrees(row)
    assert not agrees(replace(row, meaning=lambda x: x))
