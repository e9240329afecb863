"""bfloat16 by DLPack: in place both ways. The consumers here are NumPy and mlc itself; PyTorch's are in the tests of peers."""

import gc

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

import mlc
from mlc.runtime.dlpack import Bfloat16Array, from_dlpack


class Producer:
    """Offers an array by DLPack and nothing else."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def negate() -> mlc.Executable:
    x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["N", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    return mlc.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def sample(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 3)).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_bfloat16_goes_in_and_out_in_place(rows: int) -> None:
    x = sample(rows)
    shared = x.view(Bfloat16Array)
    y = negate()(Producer(shared))
    np.testing.assert_array_equal(y, -x)
    again = from_dlpack(Producer(y))
    assert again.dtype == ml_dtypes.bfloat16 and (rows == 0 or np.shares_memory(again, y))
    del y
    gc.collect()
    np.testing.assert_array_equal(again, -x)


def test_a_view_of_an_output_offers_what_it_shows() -> None:
    y = negate()(sample(4))
    np.testing.assert_array_equal(from_dlpack(Producer(y[1:, ::2])), np.asarray(y)[1:, ::2])
    assert from_dlpack(Producer(y.astype(np.float32))).dtype == np.float32


def test_another_dtype_by_dlpack_is_refused_by_its_name() -> None:
    with pytest.raises(mlc.DTypeError, match="takes bfloat16, the array is float32"):
        negate()(Producer(np.ones((2, 3), np.float32)))
