"""Modules as ONNX models: each op becomes the nodes that mean the same. What has none is refused by name.

    model = export(module)          an onnx.ModelProto, of opset 21

Composites that ONNX has stay whole (softmax, layer_norm); others are written as the ops that they are made of. Symbolic sizes stay symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from mlc.errors import MlcError, UnsupportedKind, UnsupportedOp
from mlc.frontends.onnx import export_control, export_convolution  # noqa: F401  their handlers register themselves
from mlc.frontends.onnx.export_nodes import HANDLERS, NodeWriter
from mlc.ir.dims import Dim, Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph.base import location_name
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.constants import ConstantOp, WeightOp
from mlc.ir.graph.control import CallOp, yielded
from mlc.ir.module import Module
from mlc.ir.types import dtype_name, dtype_of, shape_of

OPSET = 21
_IR_VERSION = 10  # the first that has it
_LARGEST = (1 << 31) - (1 << 20)  # bytes of weights; the nodes need some too


def export(module: Module) -> onnx.ModelProto:
    """The ONNX model of a module. Raises UnsupportedOp with every kind of op that ONNX has no nodes for, MlcError where the weights are too large."""
    size = sum(module.weights.nbytes(key) for key in module.weights)
    if size >= _LARGEST:
        raise MlcError(
            f"the weights have {size:,} bytes, and an ONNX file holds 2 GiB",
            remedy="exe.save writes a package of any size.",
        )
    exporter = Exporter(module)
    exporter.run()
    graph = helper.make_graph(exporter.nodes, module.name, exporter.inputs, exporter.outputs, exporter.initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="mlc"
    )
    onnx.checker.check_model(model)
    return model


class Exporter(NodeWriter):
    """The nodes, initializers and names of one model."""

    def __init__(self, module: Module):
        self.module = module
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._names: dict[SSAValue, str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._extents: dict[Extent, str] = {}
        self._symbols: dict[str, tuple[str, int]] = {}  # where each is an axis of an input
        self._taken: set[str] = set()
        self._place = ""

    def run(self) -> None:
        """The whole module."""
        main = self.module.main
        for name, argument in zip(self.module.input_names, main.args, strict=True):
            self._names[argument] = self.fresh(name)
            self.inputs.append(_value_info(name, argument))
            for axis, extent in enumerate(shape_of(argument)):
                if isinstance(extent, Dim) and str(extent) in extent.symbols():
                    self._symbols.setdefault(str(extent), (name, axis))
        self._require_nodes(main.body.block)
        self._block(main.body.block)
        last = main.body.block.last_op
        assert isinstance(last, ReturnOp)
        for name, value in zip(self.module.output_names, last.operands, strict=True):
            self.node("Identity", [self.name(value)], outputs=[self.fresh(name)])
            self.outputs.append(_value_info(name, value))

    def _require_nodes(self, block: Block) -> None:
        missing: dict[str, list[str]] = {}
        for op in block.walk():
            known = type(op) in HANDLERS or isinstance(op, CompositeOp | CallOp | ConstantOp | WeightOp)
            if not known and op.results and not isinstance(op.parent_op(), CompositeOp):
                missing.setdefault(op.name.removeprefix("graph."), []).append(location_name(op) or op.name)
        if missing:
            kinds = [UnsupportedKind(kind, tuple(places)) for kind, places in missing.items()]
            raise UnsupportedOp(f"no ONNX nodes for {', '.join(missing)}", kinds=kinds)

    def _block(self, block: Block) -> None:
        for op in block.ops:
            if op is not block.last_op:
                self._op(op)

    def _op(self, op: Operation) -> None:
        self._place = location_name(op) or ""
        if isinstance(op, WeightOp):
            self._names[op.result] = self._weight(op.weight_key)
        elif isinstance(op, ConstantOp):
            self._names[op.result] = self.constant(op.value)
        elif (found := self._by_handler(op)) is not None:
            for result, name in zip(op.results, [found] if isinstance(found, str) else found, strict=True):
                self._names[result] = name
        else:
            body = op.body.block if isinstance(op, CallOp) else op.body() if isinstance(op, CompositeOp) else None
            if body is None or body.last_op is None:
                raise UnsupportedOp(f"no ONNX nodes for {op.name.removeprefix('graph.')}", node=self._place or None)
            self._require_nodes(body)
            for argument, operand in zip(body.args, op.operands, strict=True):
                self._names[argument] = self.name(operand)
            self._block(body)
            for result, value in zip(op.results, body.last_op.operands, strict=True):
                self._names[result] = self.name(value)

    def _by_handler(self, op: Operation) -> str | list[str] | None:
        handler = HANDLERS.get(type(op))
        return None if handler is None else handler(self, op, [self.name(x) for x in op.operands])

    # What handlers use ---------------------------------------------------------------------------------------------------

    def name(self, value: SSAValue) -> str:
        return self._names[value]

    def fresh(self, wanted: str) -> str:
        """A name that no other value has."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), count: int = 1, **attributes: Any
    ) -> str:
        """The (first) output of a new node."""
        results = list(outputs) or [self.fresh(kind.lower()) for _ in range(count)]
        made = helper.make_node(kind, list(inputs), results, name=self.fresh(f"{kind}.{len(self.nodes)}"), **attributes)
        if self._place:
            made.doc_string = self._place
        self.nodes.append(made)
        return results[0]

    def body(self, block: Block, arguments: Sequence[str], given: int) -> onnx.GraphProto:
        """The graph of a body: its first arguments, `given` of them, are inputs; the others have these names from around it. Sizes that are computed in
        it are its own."""
        outside, known, self.nodes = self.nodes, dict(self._extents), []
        inputs = [_value_info(self.fresh("argument"), x) for x in block.args[:given]]
        for argument, name in zip(block.args, [*(i.name for i in inputs), *arguments[given:]], strict=True):
            self._names[argument] = name
        self._block(block)
        outputs = [_value_info(self.node("Identity", [self.name(x)]), x) for x in yielded(block)]
        made = helper.make_graph(self.nodes, self.fresh("body"), inputs, outputs)
        self.nodes, self._extents = outside, known
        return made

    def constant(self, value: np.ndarray) -> str:
        key = dtype_name(value.dtype), value.shape, value.tobytes()
        if key not in self._constants:
            self._constants[key] = self._initializer(value, "constant")
        return self._constants[key]

    def _weight(self, key: str) -> str:
        array = self.module.weights.get(key)
        found = ("weight", (), key.encode())
        if found not in self._constants:
            self._constants[found] = self._initializer(array, key)
        return self._constants[found]

    def _initializer(self, array: np.ndarray, wanted: str) -> str:
        name = self.fresh(wanted)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def extents(self, shape: Sequence[Extent]) -> str:
        """A shape as i64[rank]."""
        if all(isinstance(e, int) for e in shape):
            return self.constant(np.array(shape, np.int64))
        return self.node("Concat", [self.node("Reshape", [self.extent(e), self.integers([1])]) for e in shape], axis=0)

    def extent(self, extent: Extent) -> str:
        """A size as a scalar i64, from the shapes of inputs."""
        if isinstance(extent, int):
            return self.constant(np.array(extent, np.int64))
        if extent not in self._extents:
            terms = []
            for monomial, coefficient in extent.terms:
                factors = [self._atom(atom) for atom in monomial]
                if coefficient != 1 or not factors:
                    factors.append(self.constant(np.array(coefficient, np.int64)))
                terms.append(self._chain("Mul", factors))
            self._extents[extent] = self._chain("Add", terms)
        return self._extents[extent]

    def _atom(self, atom: object) -> str:
        if isinstance(atom, str):
            if atom not in self._symbols:
                raise UnsupportedOp(
                    f"the size {atom} is no axis of an input", remedy="Give an input that has it as an axis."
                )
            name, axis = self._symbols[atom]
            return self.node("Gather", [self.node("Shape", [name]), self.constant(np.array(axis, np.int64))])
        args = [self.extent(arg) for arg in atom.args]  # type: ignore[attr-defined]
        if atom.op == "//":  # type: ignore[attr-defined]
            whole = self.node("Sub", [args[0], self.node("Mod", args)])  # Mod has the sign of the divisor
            return self.node("Div", [whole, args[1]])
        return self._chain({"min": "Min", "max": "Max"}[atom.op], args)  # type: ignore[attr-defined]

    def _chain(self, kind: str, names: Sequence[str]) -> str:
        found = names[0]
        for name in names[1:]:
            found = self.node(kind, [found, name])
        return found

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))


def _value_info(name: str, value: SSAValue) -> onnx.ValueInfoProto:
    kind = onnx.TensorProto.DataType.Value(TABLE[dtype_of(value)].onnx)
    return helper.make_tensor_value_info(name, kind, [e if isinstance(e, int) else str(e) for e in shape_of(value)])
