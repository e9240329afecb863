"""The graph dialect: typed tensors, pure values, primitives and composites. Build ops with mlc.ir.builder."""

from xdsl.ir import Dialect

from mlc.ir.graph import composites, control, counted, detection, elementwise, index, linear, reduce, shape, window
from mlc.ir.types import DimsAttr

GRAPH = Dialect(
    "graph",
    [
        *elementwise.OPS.values(),
        elementwise.CastOp,
        elementwise.BitcastOp,
        shape.ConstantOp,
        shape.WeightOp,
        shape.DimensionOp,
        shape.IotaOp,
        shape.BroadcastOp,
        shape.ReshapeOp,
        shape.TransposeOp,
        shape.SliceOp,
        shape.PadOp,
        shape.ConcatenateOp,
        linear.ContractOp,
        linear.ConvolutionOp,
        reduce.ReduceOp,
        reduce.ArgReduceOp,
        reduce.CumulativeOp,
        reduce.TopKOp,
        index.GatherOp,
        index.ScatterOp,
        counted.PrefixOp,
        counted.NonZeroOp,
        detection.NonMaxSuppressionOp,
        window.ReduceWindowOp,
        window.ArgMaxWindowOp,
        control.YieldOp,
        control.ScanOp,
        control.WhileOp,
        control.IfOp,
        control.GroupOp,
        composites.SoftmaxOp,
        composites.LogSoftmaxOp,
        composites.LayerNormOp,
        composites.RmsNormOp,
        composites.GeluOp,
    ],
    [DimsAttr],
)
