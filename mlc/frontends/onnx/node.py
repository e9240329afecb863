"""What a handler sees of an ONNX node: its attributes by type, its operands as known values, and its way to say no.

Attributes default to the schema's default. Operands that decide shapes are known at import as arrays (`constants`) or as dimension
expressions (`extents`); one that depends on the data of a graph input raises `NeedsValue`, which names that input.
"""

from __future__ import annotations

import builtins  # Node has methods named int and float
import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
from xdsl.ir import SSAValue

from mlc.errors import InvalidModel, MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx.element_types import DTYPES, element_type_name
from mlc.ir import dims
from mlc.ir.dims import Bounds, Extent

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

    from mlc.frontends.onnx.table import Absent, Items
    from mlc.frontends.onnx.tensor import Tensor
    from mlc.ir.types import Shape

_REQUIRED: Any = object()
_LARGEST_EXTENT = 1 << 63


def canonical_domain(domain: str) -> str:
    """Files write the standard's domain as "" or "ai.onnx"; here it is ""."""
    return "" if domain == "ai.onnx" else domain


class NeedsValue(UnsupportedOp):
    """A shape, axis or size is decided by data that is only known at run time. `inputs` names the graph inputs it comes from."""

    def __init__(self, message: str, *, inputs: Sequence[str] = (), **where: Any):
        super().__init__(message, **where)
        self.inputs = tuple(inputs)


@dataclass(frozen=True)
class Question:
    """What sizes decide: an expression of them that is 1 where `text` holds and else 0."""

    truth: Extent
    text: str


class NeedsSize(UnsupportedOp):
    """A rank, or which branch is imported, is decided by sizes that are only known at a call.

    `signature` gives the shapes of the inputs in which the symbols of the questions stand.
    """

    def __init__(self, message: str, *, questions: Sequence[Question], **where: Any):
        super().__init__(message, **where)
        self.questions = tuple(questions)
        self.signature: Mapping[str, Shape] = {}

    @property
    def symbols(self) -> list[str]:
        """The sizes that the questions are about."""
        return sorted({s for q in self.questions if isinstance(q.truth, dims.Dim) for s in q.truth.symbols()})


class Scope(Protocol):
    """What the importer offers to a node: the values of the graph by name, and importing a subgraph in place."""

    def constant(self, name: str) -> np.ndarray | None:
        """The value, where it is known at import as numbers."""

    def entries(self, name: str) -> np.ndarray | None:
        """The value as an object array of integers and dimension expressions, where it is known as such."""

    def sources(self, name: str) -> tuple[str, ...]:
        """The graph inputs that a value is computed from."""

    def is_brief(self, name: str) -> bool:
        """Whether a graph input holds a few whole numbers or truths, as a shape, an axis or a flag does."""

    def declared_rank(self, name: str) -> int | None:
        """The number of axes that the model's graph declares for a value of its own."""

    def answer(self, question: Question) -> bool | None:
        """What the import takes a question about sizes to be; None where it is open."""

    @property
    def asks(self) -> bool:
        """Whether the caller can answer questions about sizes."""

    def leave_open(self, sign: Extent) -> None:
        """A node is built without knowing the sign of this extent, and would be built in another way with it."""

    def tensor(self, proto: TensorProto) -> Tensor:
        """A tensor of the file, checked."""

    def dense(self, proto: SparseTensorProto) -> Tensor:
        """A sparse tensor of the file, written out on demand."""

    @property
    def bounds(self) -> Bounds:
        """Of the symbols of the model."""

    def maker(self, name: str) -> NodeProto | None:
        """The node that makes a value, where it is one of this scope or of those around it that it sees."""

    def captured(self, graph: GraphProto) -> dict[str, SSAValue | Items | Absent]:
        """The values around a subgraph that it reads, by name."""

    def enclosed(
        self,
        graph: GraphProto,
        operands: Sequence[SSAValue | Items | Absent],
        captured: Mapping[str, SSAValue | Items | Absent],
    ) -> list[SSAValue | Items | Absent]:
        """Import a subgraph as the body of an isolated region; `captured` gives what stands there for the outer values."""

    def trial(self, *fallible: type[MlcError]) -> AbstractContextManager[None]:
        """What is refused inside is forgotten where one of these errors comes out: something else will be tried."""

    def inline(
        self, graph: GraphProto, operands: Sequence[SSAValue | Items | Absent]
    ) -> list[SSAValue | Items | Absent]:
        """Import a subgraph here, its inputs being `operands`; names of the outer graph are visible."""


def node_name(proto: NodeProto) -> str:
    """What to call a node: by its first output where it has no name."""
    return proto.name or next((f"{proto.op_type}({output})" for output in proto.output if output), proto.op_type)


class Node:
    """One node of an ONNX graph, as a handler sees it.

    name, op_type, domain   as in the file; a node without a name is called after its first output
    version                 the since_version of its schema
    opset                   the version of its domain that the model imports
    inputs, outputs         names; "" where omitted
    """

    def __init__(
        self,
        proto: NodeProto,
        *,
        version: builtins.int,
        opset: builtins.int,
        scope: Scope,
        schema: onnx.defs.OpSchema | None = None,
        file: str | None = None,
        index: builtins.int | None = None,
    ):
        self.proto = proto
        self.name = node_name(proto)
        self.op_type: str = proto.op_type
        self.domain: str = canonical_domain(proto.domain)
        self.version = version
        self.opset = opset
        self.inputs: tuple[str, ...] = tuple(proto.input)
        self.outputs: tuple[str, ...] = tuple(proto.output)
        self.file = file
        self.index = index
        self.scope = scope
        self.schema = schema
        self._attributes: dict[str, AttributeProto] = {a.name: a for a in proto.attribute}

    def standing_for(self, op_type: str, version: builtins.int) -> Node:
        """This node read as a standard operator: attributes that it does not give have that one's defaults."""
        other = copy.copy(self)
        other.schema, other.version = onnx.defs.get_schema(op_type, version, ""), version
        return other

    # Attributes

    def has(self, name: str) -> bool:
        """Whether the file gives this attribute (the schema's default does not count)."""
        return name in self._attributes

    def _attribute(self, name: str, kind: builtins.int, default: Any) -> Any:
        attribute = self._attributes.get(name)
        if attribute is None:
            if default is not _REQUIRED:
                return default
            attribute = self.schema.attributes[name].default_value if self.schema else None
            if attribute is None or not attribute.name:
                raise InvalidModel(f"{self.title}: attribute '{name}' is missing", node=self.index, file=self.file)
        elif attribute.type != kind:
            expected, found = (onnx.AttributeProto.AttributeType.Name(t) for t in (kind, attribute.type))
            raise self.invalid(f"attribute '{name}' has type {found}, expected {expected}")
        return onnx.helper.get_attribute_value(attribute)

    def int(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._attribute(name, onnx.AttributeProto.INT, default)

    def ints(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self._attribute(name, onnx.AttributeProto.INTS, default)
        return value if value is default else list(value)

    def float(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._attribute(name, onnx.AttributeProto.FLOAT, default)

    def floats(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self._attribute(name, onnx.AttributeProto.FLOATS, default)
        return value if value is default else list(value)

    def string(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self._attribute(name, onnx.AttributeProto.STRING, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def strings(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self._attribute(name, onnx.AttributeProto.STRINGS, default)
        return value if value is default else [s.decode("utf-8", "replace") for s in value]

    def tensor(self, name: str, default: Any = _REQUIRED) -> Any:
        """A tensor attribute as an array."""
        value = self._attribute(name, onnx.AttributeProto.TENSOR, default)
        return self.scope.tensor(value).load() if isinstance(value, onnx.TensorProto) else value

    def sparse_tensor(self, name: str) -> np.ndarray:
        """A sparse tensor attribute, written out."""
        value = self._attribute(name, onnx.AttributeProto.SPARSE_TENSOR, _REQUIRED)
        return self.scope.dense(value).load()

    def graph(self, name: str) -> GraphProto:
        return self._attribute(name, onnx.AttributeProto.GRAPH, _REQUIRED)

    def dtype(self, name: str, default: Any = _REQUIRED) -> Any:
        """An attribute that holds an element type (`to`, `dtype`), as the name of a dtype."""
        value = self.int(name, default)
        if value is default:
            return default
        return self.dtype_name(value)

    def dtype_name(self, element_type: builtins.int) -> str:
        """The dtype of an ONNX element type; refused where mlc has none (strings, float8, 4-bit integers, complex)."""
        if element_type not in DTYPES:
            raise self.unsupported(f"element type {element_type_name(element_type)} is not supported")
        return DTYPES[element_type]

    # Operands and results

    def given(self, i: builtins.int) -> bool:
        """Whether input i is there."""
        return i < len(self.inputs) and self.inputs[i] != ""

    def wants(self, i: builtins.int) -> bool:
        """Whether output i is used by the file."""
        return i < len(self.outputs) and self.outputs[i] != ""

    def constant(self, i: builtins.int) -> np.ndarray | None:
        """The value of input i where it is known at import; None where it is omitted or not known."""
        return self.scope.constant(self.inputs[i]) if self.given(i) else None

    def constants(self, i: builtins.int, what: str) -> np.ndarray:
        """The value of input i, which must be there and known at import; `what` names it in the error ("axes")."""
        value = self.constant(i)
        if value is None:
            raise self.needs_value(i, what)
        return value

    def number(self, i: builtins.int, what: str) -> Any:
        """The one element of input i, which must be known at import and finite, as a number of Python."""
        value = self.constants(i, what)
        if value.size != 1:
            raise self.error(f"{what} has {value.size} elements, expected 1")
        return self.finite(value, what)[0]

    def finite(self, values: Any, what: str) -> list[Any]:
        """Numbers that decide shapes, as numbers of Python. Raises ShapeError for NaN and infinities."""
        found = [v.item() for v in np.asarray(values).ravel()]
        for value in found:
            if not math.isfinite(value):
                raise self.error(f"{what} is {value}, and decides a size")
        return found

    def whole(self, value: builtins.float, what: str) -> builtins.int:
        """The largest whole number below a real one, as an extent. Raises ShapeError for one that is no extent of a tensor."""
        if not abs(value) < _LARGEST_EXTENT:
            raise self.error(f"{what} would be {value:g}")
        return math.floor(value)

    def extents(self, i: builtins.int, what: str = "shape") -> list[Extent]:
        """The elements of integer input i (rank 0 or 1) as numbers and dimension expressions."""
        entries: np.ndarray | None = self.entries(i)
        if entries is None:
            entries = self.constant(i)  # more numbers than are followed one by one
        if entries is None:
            raise self.needs_value(i, what)
        if entries.ndim > 1:
            raise self.error(f"{what} has {entries.ndim} axes, expected 1")
        return entries.ravel().tolist()

    def extent(self, i: builtins.int, what: str) -> Extent:
        """The one element of integer input i as a number or a dimension expression."""
        found = self.extents(i, what)
        if len(found) != 1:
            raise self.error(f"{what} has {len(found)} elements, expected 1")
        return found[0]

    def entries(self, i: builtins.int) -> np.ndarray | None:
        """The value of integer input i as an object array of numbers and dimension expressions, or None."""
        return self.scope.entries(self.inputs[i]) if self.given(i) else None

    def inline(
        self, graph: GraphProto, operands: Sequence[SSAValue | Items | Absent] = ()
    ) -> list[SSAValue | Items | Absent]:
        """Build a subgraph here and return its outputs."""
        return self.scope.inline(graph, operands)

    def axis(self, axis: builtins.int, rank: builtins.int) -> builtins.int:
        """One of `rank` axes counted from the front, where the file may count from the end (-1)."""
        if not -rank <= axis < rank:
            raise self.error(f"axis {axis} is not one of the {rank} axes")
        return axis % rank

    def simplify(self, extent: Extent) -> Extent:
        """The extent without the minima and maxima that the bounds of symbols decide."""
        return dims.simplify(extent, self.scope.bounds)

    def at_least(self, extent: Extent, low: builtins.int) -> bool:
        """Whether an extent is never below `low`."""
        least = dims.bounds_of(extent, self.scope.bounds)[0]
        if least is not None and least >= low:
            return True
        self.scope.leave_open(extent - low + 1)
        return False

    # Errors, to be raised by the caller

    @property
    def title(self) -> str:
        label = f"{self.domain}.{self.op_type}" if self.domain else self.op_type
        return f"{label} '{self.name}'"

    def error(self, message: str, remedy: str | None = None) -> MlcError:
        """Shapes or operands disagree."""
        return ShapeError(f"{self.title}: {message}", node=self.index, file=self.file, remedy=remedy)

    def invalid(self, message: str, remedy: str | None = None) -> MlcError:
        """The node breaks the standard."""
        return InvalidModel(f"{self.title}: {message}", node=self.index, file=self.file, remedy=remedy)

    def unsupported(self, message: str, remedy: str | None = None) -> UnsupportedOp:
        """The node is correct and mlc cannot do it."""
        return UnsupportedOp(f"{self.title}: {message}", node=self.index, file=self.file, remedy=remedy)

    def decided_by(self, i: builtins.int, message: str) -> UnsupportedOp:
        """What input i decides, and is not known at import, cannot be compiled: NeedsValue where it is a graph input, or comes from inputs that
        hold a few whole numbers, as a shape does. Those may be given."""
        name = self.inputs[i]
        found = self.scope.sources(name)
        if found != (name,) and not (found and all(self.scope.is_brief(source) for source in found)):
            return self.unsupported(message)
        remedy = f"Give its value at import: known={{'{found[0]}': ...}}."
        return NeedsValue(f"{self.title}: {message}", inputs=found, node=self.index, file=self.file, remedy=remedy)

    def needs_sizes(self, message: str, questions: Sequence[Question]) -> NeedsSize:
        """The answers to these questions are needed to import the node."""
        need = NeedsSize(f"{self.title}: {message}", questions=questions, node=self.index, file=self.file)
        need.remedy = f"Fix it at import (dims={{'{need.symbols[0]}': ...}}); mlc.compile makes code for each case at its first call."
        return need

    def needs_value(self, i: builtins.int, what: str) -> MlcError:
        """Input i decides a shape and is not known at import."""
        if not self.given(i):
            return self.invalid(f"input {i} ({what}) is missing")
        name = self.inputs[i]
        inputs = self.scope.sources(name)
        origin = f" comes from {', '.join(repr(s) for s in inputs)} and" if inputs else ""
        hint = (
            f" give its value at import (known={{'{inputs[0]}': ...}})"
            if inputs
            else " make it a constant of the model"
        )
        return NeedsValue(
            f"{self.title}: {what} '{name}'{origin} is known only at run time",
            inputs=inputs,
            node=self.index,
            file=self.file,
            remedy=f"It decides a shape:{hint}.",
        )
