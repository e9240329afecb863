"""The right models that hostile ones are made of: small, and between them most of what an importer reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

_DIGITS = Path(__file__).parents[2] / "mlc/demo/digits.onnx"


def base_models() -> dict[str, bytes]:
    """Serialised models by name."""
    made = {
        "digits": onnx.load(_DIGITS),
        "shapes": _shapes(),
        "convolution": _convolution(),
        "control": _control(),
        "tokens": _tokens(),
        "layers": _layers(),
        "counted": _counted(),
    }
    return {name: model.SerializeToString() for name, model in made.items()}


def _model(nodes: list[onnx.NodeProto], inputs: list, outputs: list, weights: dict[str, np.ndarray]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _shapes() -> ModelProto:
    n = helper.make_node
    nodes = [
        n("Shape", ["x"], ["s"]),
        n("Gather", ["s", "zero"], ["rows"], axis=0),
        n("Concat", ["rows", "rest"], ["target"], axis=0),
        n("Reshape", ["x", "target"], ["r"]),
        n("Slice", ["r", "starts", "ends", "axes", "steps"], ["c"]),
        n("Pad", ["c", "pads"], ["p"]),
        n("Tile", ["p", "repeats"], ["t"]),
        n("Transpose", ["t"], ["y"], perm=[0, 2, 1]),
    ]
    weights = {
        "zero": _numbers(0),
        "rest": _numbers(2, -1),
        "starts": _numbers(0),
        "ends": _numbers(9),
        "axes": _numbers(2),
    }
    weights |= {"steps": _numbers(2), "pads": _numbers(0, 0, 1, 0, 0, 1), "repeats": _numbers(1, 2, 1)}
    return _model(nodes, [("x", TensorProto.FLOAT, ["N", 12])], [("y", TensorProto.FLOAT, None)], weights)


def _convolution() -> ModelProto:
    n = helper.make_node
    rng = np.random.default_rng(0)
    nodes = [
        n("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        n("Relu", ["c"], ["r"]),
        n("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        n("Resize", ["m", "", "scales"], ["u"], mode="linear"),
        n("GlobalAveragePool", ["u"], ["g"]),
        n("Flatten", ["g"], ["f"]),
        n("Gemm", ["f", "v"], ["y"], transB=1, alpha=0.5),
    ]
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "v": rng.standard_normal((5, 4)).astype(np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    return _model(nodes, [("x", TensorProto.FLOAT, ["N", 3, 16, 16])], [("y", TensorProto.FLOAT, None)], weights)


def _control() -> ModelProto:
    n = helper.make_node
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [n("Add", ["v", "v"], ["w"]), n("Identity", ["go"], ["still"]), n("Identity", ["w"], ["each"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, ["N"])],
        [
            info("still", TensorProto.BOOL, []),
            info("w", TensorProto.FLOAT, ["N"]),
            info("each", TensorProto.FLOAT, ["N"]),
        ],
    )
    branches = [
        helper.make_graph([n(op, ["total"], [f"out_{op}"])], op, [], [info(f"out_{op}", TensorProto.FLOAT, ["N"])])
        for op in ("Tanh", "Exp")
    ]
    nodes = [
        n("Loop", ["trips", "", "x"], ["total", "all"], body=body),
        n("ReduceSum", ["total"], ["sum"], keepdims=0),
        n("Greater", ["sum", "limit"], ["large"]),
        n("If", ["large"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    weights = {"trips": np.array(4, np.int64), "limit": np.array(1, np.float32)}
    outputs = [("y", TensorProto.FLOAT, None), ("all", TensorProto.FLOAT, None)]
    return _model(nodes, [("x", TensorProto.FLOAT, ["N"])], outputs, weights)


def _tokens() -> ModelProto:
    n = helper.make_node
    rng = np.random.default_rng(1)
    nodes = [
        n("Gather", ["table", "ids"], ["e"]),
        n("LayerNormalization", ["e", "scale"], ["h"], axis=-1),
        n("MatMul", ["h", "w"], ["q"]),
        n("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        n("MatMul", ["q", "k"], ["s"]),
        n("Softmax", ["s"], ["p"], axis=-1),
        n("MatMul", ["p", "h"], ["o"]),
        n("TopK", ["o", "count"], ["y", "where"], axis=-1),
    ]
    weights = {
        "table": rng.standard_normal((11, 8)).astype(np.float32),
        "scale": np.ones(8, np.float32),
        "w": rng.standard_normal((8, 8)).astype(np.float32),
        "count": _numbers(3),
    }
    outputs = [("y", TensorProto.FLOAT, None), ("where", TensorProto.INT64, None)]
    return _model(nodes, [("ids", TensorProto.INT64, ["N", "T"])], outputs, weights)


def _layers() -> ModelProto:
    """Layers that stay named in IR: recurrent ones, attention of heads, normalisations."""
    n = helper.make_node
    rng = np.random.default_rng(2)
    nodes = [
        n("LSTM", ["x", "w", "r", "b"], ["steps"], hidden_size=4, direction="bidirectional"),
        n("Transpose", ["steps"], ["rows"], perm=[2, 0, 1, 3]),
        n("Reshape", ["rows", "joined"], ["j"]),
        n("GRU", ["j", "gw", "gr"], ["again"], hidden_size=8),
        n("Squeeze", ["again", "one"], ["s"]),
        n("Attention", ["s", "s", "s"], ["a"], q_num_heads=2, kv_num_heads=2),
        n("Transpose", ["a"], ["c"], perm=[1, 2, 0]),
        n("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["m"]),
        n("GroupNormalization", ["m", "scale", "shift"], ["g"], num_groups=2),
        n("InstanceNormalization", ["g", "scale", "shift"], ["i"]),
        n("Gelu", ["i"], ["y"]),
    ]
    array = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    weights = {
        "w": array(2, 16, 3),
        "r": array(2, 16, 4),
        "b": array(2, 32),
        "gw": array(1, 24, 8),
        "gr": array(1, 24, 8),
    }
    weights |= {"joined": _numbers(0, 0, 8), "one": _numbers(1), "scale": array(8), "shift": array(8)}
    weights |= {"mean": array(8), "variance": np.ones(8, np.float32)}
    model = _model(nodes, [("x", TensorProto.FLOAT, ["T", "N", 3])], [("y", TensorProto.FLOAT, None)], weights)
    model.opset_import[0].version = 23
    return model


def _counted() -> ModelProto:
    """Sizes that data decides, and writes at places that are inputs."""
    n = helper.make_node
    nodes = [
        n("Greater", ["x", "limit"], ["large"]),
        n("NonZero", ["large"], ["places"]),
        n("Transpose", ["places"], ["rows"], perm=[1, 0]),
        n("GatherND", ["x", "rows"], ["kept"]),
        n("ScatterND", ["x", "rows", "kept"], ["same"]),
        n("ScatterElements", ["same", "at", "by"], ["put"], axis=1, reduction="add"),
        n("CumSum", ["put", "last"], ["sums"]),
        n("ReduceMax", ["sums", "axes"], ["y"], keepdims=0),
    ]
    weights = {"limit": np.array(0, np.float32), "last": np.array(1, np.int64), "axes": _numbers(0)}
    inputs = [
        ("x", TensorProto.FLOAT, ["N", 6]),
        ("at", TensorProto.INT64, ["N", 2]),
        ("by", TensorProto.FLOAT, ["N", 2]),
    ]
    outputs = [("y", TensorProto.FLOAT, None), ("kept", TensorProto.FLOAT, None)]
    return _model(nodes, inputs, outputs, weights)
