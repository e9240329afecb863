"""Files, bytes and protos as sources; external data stays in the model's folder; declared sizes agree with the bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlc.errors import InvalidModel, UnsupportedOp
from mlc.frontends.onnx import load, reader
from mlc.ir import interpreter

TEXT = """
<ir_version: 9, opset_import: ["": 17]>
main (float[N, 3] x) => (float[N, 3] y) <float[3] b = {1, 2, 3}> { y = Add(x, b) }
"""
X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = X + np.array([1, 2, 3], np.float32)


def proto() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


def with_external(folder: Path, location: str, data: bytes | None = None, **entries: int) -> Path:
    """A model whose addend is 12 bytes of an external file."""
    model = proto()
    weight = model.graph.initializer[0]
    weight.CopyFrom(TensorProto(name="b", data_type=TensorProto.FLOAT, dims=[3]))
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))
    if data is not None:
        (folder / location).write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def assert_adds(source: object) -> None:
    np.testing.assert_array_equal(interpreter.run(load(source), [X])[0], Y)  # type: ignore[arg-type]


def test_a_model_is_read_from_path_bytes_proto_and_text(tmp_path: Path) -> None:
    binary, text = tmp_path / "model.onnx", tmp_path / "model.onnxtxt"
    binary.write_bytes(proto().SerializeToString())
    text.write_text(TEXT)
    for source in (binary, str(binary), text, binary.read_bytes(), TEXT.encode(), proto()):
        assert_adds(source)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the model is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<ir_version: 9>\nmain (", "not a model in ONNX text syntax"),
        (proto().SerializeToString()[:-7], "not an ONNX model"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "has no graph"),
    ],
)
def test_a_damaged_or_foreign_source_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(InvalidModel) as error:
        load(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"cannot read .*nowhere\.onnx: no such file"):
        load(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(("version", "words"), [(2, "older than 3"), (99, "newer than")])
def test_an_ir_version_outside_of_what_is_known_is_refused(version: int, words: str) -> None:
    model = proto()
    model.ir_version = version
    with pytest.raises(UnsupportedOp, match=words):
        load(model)


def test_external_data_is_mapped(tmp_path: Path) -> None:
    data = b"\0" * 8 + np.array([1, 2, 3], "<f4").tobytes()
    path = with_external(tmp_path, "weights.bin", data, offset=8, length=12)
    assert_adds(path)
    model = reader.read(path)
    assert isinstance(reader.tensor(model.proto.graph.initializer[0], model).load(), np.memmap)


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "C:\\secret.bin", "..\\secret.bin", "", "a\0b", "a\nb"],
)
def test_external_data_outside_of_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    with pytest.raises(InvalidModel, match="not inside of the model's folder"):
        load(with_external(folder, location))


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InvalidModel, match="through a link"):
        load(with_external(folder, "weights.bin"))


@pytest.mark.parametrize(
    ("data", "entries", "words"),
    [
        (None, {}, "'weights.bin' is missing"),
        (bytes(8), {}, "the file has 8"),
        (bytes(12), {"offset": 4}, "bytes 4 to 16"),
        (bytes(12), {"offset": -4}, "bytes -4 to 8"),
        (bytes(12), {"length": 8}, "needs 12 bytes, its external data has 8"),
    ],
)
def test_external_data_of_the_wrong_size_is_refused(
    data: bytes | None, entries: dict[str, int], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel) as error:
        load(with_external(tmp_path, "weights.bin", data, **entries))
    assert words in str(error.value)
    assert "'b'" in str(error.value)


def test_other_keys_of_external_data_mean_nothing(tmp_path: Path) -> None:
    data = np.array([1, 2, 3], "<f4").tobytes()
    assert_adds(with_external(tmp_path, "weights.bin", data, __class__=1, basepath=2, checksum=3))


def test_external_data_needs_a_model_from_a_file(tmp_path: Path) -> None:
    path = with_external(tmp_path, "weights.bin", bytes(12))
    with pytest.raises(InvalidModel, match="does not come from a file"):
        load(path.read_bytes())


@pytest.mark.parametrize(
    ("dims", "raw", "words"),
    [([3], bytes(8), "needs 12 bytes, the file has 8"), ([-3], bytes(12), "negative"), ([1 << 60], bytes(12), "needs")],
)
def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_refused(dims: list[int], raw: bytes, words: str) -> None:
    model = proto()
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(TensorProto(name="b", data_type=TensorProto.FLOAT, dims=dims, raw_data=raw))
    with pytest.raises(InvalidModel, match=f"'b'.*{words}"):
        load(model)


def test_too_few_typed_elements_are_refused() -> None:
    model = proto()
    model.graph.initializer[0].CopyFrom(TensorProto(name="b", data_type=TensorProto.FLOAT, dims=[3], float_data=[1.0]))
    with pytest.raises(InvalidModel, match="needs 3 elements, the file has 1"):
        load(model)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, np.uint16, np.bool_, np.int64])
def test_typed_and_raw_data_give_the_same_array(dtype: type) -> None:
    array = np.array([[1, 0], [3, 2]]).astype(dtype)
    raw = numpy_helper.from_array(array, "t")
    typed = helper.make_tensor("t", raw.data_type, array.shape, array.ravel().tolist())
    model = reader.Model(proto(), None, None)
    for tensor in (raw, typed):
        found = reader.tensor(tensor, model).load()
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_a_sparse_initializer_is_written_out() -> None:
    model = reader.Model(proto(), None, None)
    values = numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "s")
    flat = numpy_helper.from_array(np.array([1, 5], np.int64))
    pairs = numpy_helper.from_array(np.array([[0, 1], [1, 2]], np.int64))
    for indices in (flat, pairs):
        sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[2, 3])
        np.testing.assert_array_equal(reader.dense(sparse, model).load(), [[0, 5, 0], [0, 0, 7]])
    outside = numpy_helper.from_array(np.array([1, 6], np.int64))
    with pytest.raises(InvalidModel, match="outside of shape"):
        reader.dense(onnx.SparseTensorProto(values=values, indices=outside, dims=[2, 3]), model).load()


def test_an_element_type_without_a_dtype_is_refused_by_name() -> None:
    model = proto()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("b", TensorProto.STRING, [1], ["a"]))
    with pytest.raises(UnsupportedOp, match="'b': element type string"):
        load(model)
