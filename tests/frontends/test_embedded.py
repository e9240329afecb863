"""Large initializers stay in the model's file: same tensors, same errors."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import mlc
from mlc.errors import InvalidModel
from mlc.frontends.onnx import embedded, load, reader
from mlc.ir import interpreter

RNG = np.random.default_rng(0)
LARGE = RNG.standard_normal((512, 640)).astype(np.float32)  # above the size from which a file is mapped
SMALL = RNG.standard_normal(640).astype(np.float32)


def model(large: TensorProto | None = None, padding: str = "") -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]
    tensors = [large or numpy_helper.from_array(LARGE, "w"), numpy_helper.from_array(SMALL, "b")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 512])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 640])]
    graph = helper.make_graph(nodes, f"g{padding}", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_large_tensor_is_left_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(), path)
    read = reader.read(path)
    assert read.proto.ByteSize() < 8192
    assert [tensor.name for tensor in read.proto.graph.initializer] == ["w", "b"]
    np.testing.assert_array_equal(reader.tensor(read.proto.graph.initializer[0], read).load(), LARGE)
    x = np.ones((3, 512), np.float32)
    (got,) = interpreter.run(load(path), [x])
    np.testing.assert_allclose(got, x.astype(np.float64) @ LARGE + SMALL, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["", "a", "ab", "abc"])
def test_arrays_are_read_wherever_their_bytes_begin(tmp_path: Path, padding: str) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(padding=padding), path)
    read = reader.read(path)
    array = reader.tensor(read.proto.graph.initializer[0], read).load()
    np.testing.assert_array_equal(array, LARGE)
    x = np.ones((3, 512), np.float32)
    np.testing.assert_allclose(mlc.compile(path)(x), x.astype(np.float64) @ LARGE + SMALL, rtol=1e-4, atol=1e-4)


def test_bytes_that_do_not_fit_the_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(TensorProto(name="w", dims=[512, 641], data_type=1, raw_data=LARGE.tobytes())), path)
    with pytest.raises(InvalidModel, match="needs 1312768 bytes, the file has 1310720"):
        load(path)


def test_a_file_that_claims_to_hold_a_tensor_elsewhere_reads_nothing_outside_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    forged = TensorProto(name="w", dims=[512, 640], data_type=1, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", embedded.EMBEDDED), ("offset", "1000000000"), ("length", str(LARGE.nbytes))):
        forged.external_data.add(key=key, value=value)
    proto = model(forged)
    proto.graph.initializer.append(numpy_helper.from_array(LARGE, "unused"))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModel, match="are wanted, the file has"):
        load(path)


def test_a_truncated_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString()[:-1000])
    with pytest.raises(InvalidModel, match="not an ONNX model"):
        load(path)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_what_is_not_a_message_is_malformed_or_kept_as_it_is(noise: bytes, seed: int) -> None:
    try:
        assert embedded.without_large_tensors(memoryview(noise)) == noise
    except embedded.Malformed:
        pass
    damaged = bytearray(model().SerializeToString())
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, len(damaged), 3):
        damaged[position] = rng.integers(0, 256)
    try:
        embedded.without_large_tensors(memoryview(bytes(damaged)))
    except embedded.Malformed:
        pass
