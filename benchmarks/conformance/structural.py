"""Give the operands that decide shapes as initializers: constants in nearly every exported model, inputs in the suite."""

import onnx

from benchmarks.conformance.suite import Value, feeds

# Op -> positions of the inputs that decide shapes or loop structure.
STRUCTURAL: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Split", "TopK", "OneHot"), (1,)),
    **dict.fromkeys(("CumSum", "CumProd", "Trilu", "CenterCropPad", "AffineGrid", "Upsample", "SplitToSequence"), (1,)),
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceSumSquare"), (1,)),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Range": (0, 1, 2),
    "MaxUnpool": (2,),
    "Dropout": (1, 2),
    "Col2Im": (1, 2),
    "DFT": (1, 2),
    "STFT": (1, 3),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2,),
}


def bake(model: onnx.ModelProto, inputs: list[Value]) -> tuple[onnx.ModelProto, list[Value]]:
    """The same case with inputs that are used as structural operands alone made initializers."""
    given = feeds(model, inputs)
    structural: set[str] = set()
    as_data = {value.name for value in model.graph.output}
    for node in model.graph.node:
        positions = STRUCTURAL.get(node.op_type, ())
        for position, name in enumerate(node.input):
            (structural if position in positions else as_data).add(name)
    chosen = {name for name in (structural - as_data) & given.keys() if hasattr(given[name], "dtype")}
    if not chosen:
        return model, inputs
    baked = onnx.ModelProto()
    baked.CopyFrom(model)
    baked.graph.initializer.extend(onnx.numpy_helper.from_array(given[name], name) for name in sorted(chosen))
    for value in [value for value in baked.graph.input if value.name in chosen]:
        baked.graph.input.remove(value)
    return baked, [value for name, value in given.items() if name not in chosen]
